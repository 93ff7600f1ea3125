"""What the sidebar says about a running job."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .job import Job, State

STAGE_WORDS = {
    "rig": "Preparing the head",
    "capture": "Looking at the clip",
    "track": "Following the face",
    "texture": "Painting the skin",
    "avatar": "Learning the expressions",
    "distil": "Bringing them into Blender's form",
    "textures": "Painting the frames",
    "background": "Preparing the background clip",
    "package": "Packing the avatar",
    "report": "Checking the result",
}
"""Stage names of the backend's pipeline -> words an artist uses. Others are shown as they are."""


def status_text(job: Job) -> str:
    """One line: what happens now."""
    if job.state is State.STARTING:
        return "Starting the backend"
    if job.state is State.CANCELLING:
        return "Stopping"
    return STAGE_WORDS.get(job.stage, job.stage.replace("_", " ").capitalize()) or "Starting"


def time_left_text(remaining_s: float | None) -> str:
    """The estimated time left, rounded so that it does not flicker; empty while unknown."""
    if remaining_s is None:
        return ""
    if remaining_s < 10:
        return "a few seconds left"
    if remaining_s < 60:
        return f"about {round(remaining_s / 10) * 10:.0f} s left"
    if remaining_s < 3600:
        return f"about {round(remaining_s / 60):.0f} min left"
    return f"about {remaining_s / 3600:.1f} h left"


def remarks(job: Job) -> list[str]:
    """What a reconstruction has to say about the clip, for the artist: its log lines, without what the panel's title says."""
    if job.kind != "reconstruct":
        return []
    return [text[:1].upper() + text[1:] for text in (line.removeprefix("Clip check: ") for line in job.logs)]


def machine_text(probe: Mapping[str, Any]) -> str:
    """What a ``probe`` found to compute on, such as "CPU, 8 cores" or the name of the graphics card."""
    cards = probe.get("device", {}).get("cuda", [])
    return str(cards[0]).partition(",")[0] if cards else f"CPU, {probe['machine']['cores']} cores" if "machine" in probe else ""


def missing_text(probe: Mapping[str, Any]) -> tuple[str, str] | None:
    """What a ``probe`` found missing, as message and hint; None when nothing is."""
    missing = probe.get("missing", [])
    if not missing:
        return None
    return f"The backend lacks {', '.join(str(item['what']) for item in missing)}.", str(missing[0]["how"])
