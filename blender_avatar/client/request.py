"""What the artist chose, as the worker's request. Pure functions; the defaults equal the backend's (a test compares them)."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

from .paths import output_folder

QUALITIES = ("DRAFT", "STANDARD", "HIGH")
DEVICES = ("AUTO", "CPU", "CUDA")
HEAD_MODELS = ("ANNY", "FLAME", "ICT")


@dataclasses.dataclass(frozen=True)
class Choices:
    """What can be chosen for a new avatar, in the words of the sidebar."""

    video: str = ""
    """Absolute path of the clip."""
    quality: str = "STANDARD"
    """One of QUALITIES."""
    has_consent: bool = False
    """The person in the clip agreed."""
    out: str = ""
    """Absolute path: ``NAME.avatar``, or the folder to put it in; empty = beside the clip."""
    head_model: str = "ANNY"
    """One of HEAD_MODELS."""
    head_model_path: str = ""
    """The user's FLAME file or ICT folder."""
    device: str = "AUTO"
    """One of DEVICES."""
    overwrite: bool = False
    """Replace an avatar of that name."""


def reconstruct_settings(choices: Choices) -> dict[str, Any]:
    """The ``settings`` of a ``reconstruct`` job (``docs/protocol.md``).

    Args:
        choices: paths absolute.
    """
    model = choices.head_model.lower()
    return {
        "video": choices.video,
        "out": str(output_folder(Path(choices.video), Path(choices.out) if choices.out else None, choices.overwrite)),
        "preset": choices.quality.lower(),
        "rig": model if model == "anny" else f"{model}:{choices.head_model_path}",
        "device": choices.device.lower(),
        "consent": choices.has_consent,
        "overwrite": choices.overwrite,
    }


def track_again_settings(folder: str, video: str, frame_start: int, frame_end: int, pins: list[dict[str, Any]], out: str) -> dict[str, Any]:
    """The ``settings`` of a ``track_again`` job.

    Args:
        folder: the avatar package. video: its clip, empty = where it was then. frame_start, frame_end: pictures of the clip, inclusive.
        pins: all pins of the avatar, as ``pins.Pin``; those outside the range are left out. out: the .npz to write.
    """
    used = [pin for pin in pins if frame_start <= pin["frame"] <= frame_end]
    return {"folder": folder, "video": video, "frame_start": frame_start, "frame_end": frame_end, "pins": used, "out": out}


def bake_textures_settings(folder: str, frames: str, out: str, file_format: str) -> dict[str, Any]:
    """The ``settings`` of a ``bake_textures`` job. A folder that was baked before is replaced, nothing else.

    Args:
        folder: the avatar package. frames: the .npz that says how it moves. out: folder to make. file_format: PNG or EXR.
    """
    return {"folder": folder, "frames": frames, "out": out, "file_format": file_format.lower(), "overwrite": True}


def missing_choice(choices: Choices) -> str:
    """Why the job cannot start yet, as one sentence for the artist; empty when it can."""
    if not choices.video:
        return "Choose a video first."
    if not choices.has_consent:
        return "Tick the consent box: reconstruct only yourself, or people who agreed."
    if choices.head_model != "ANNY" and not choices.head_model_path:
        return f"Choose the {choices.head_model} file under Advanced, or use the built-in head."
    return ""
