"""Measuring a finished package again: finds its clip and truth, keeps what only the first run knew."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from .errors import AvatarError
from .evaluate import evaluate_package
from .output_folder import work_folder
from .package.model import INDEX, REPORT_FILE
from .pipeline import JOB_FILE
from .reporter import Reporter
from .storage import file_sha256, read_json


def reevaluate(folder: Path, video: Path | None, truth: Path | None, reporter: Reporter, truth_rig: str = "") -> dict[str, Any]:
    """Recomputes every figure of a package from the package and its clip; rewrites ``report.json`` and ``contact_sheet.png``.

    Args:
        folder: the package. video: its clip; None looks where it was, and beside the package.
        truth: ``truth.npz`` of a synthetic clip; None takes the one beside the clip, if there is one.
        truth_rig: the head model that clip was made with; empty = the avatar's own.

    Returns:
        The report. Timings and provenance come from the run that made the package.

    Raises:
        AvatarError: ``bad_input`` when the package is damaged or its clip is not found.
    """
    folder = Path(folder).absolute()
    source = read_json(folder / INDEX).get("source", {})
    clip = find_clip(folder, source, video)
    if truth is None and (clip.parent / "truth.npz").exists():
        truth = clip.parent / "truth.npz"
    before: dict[str, Any] = {}
    if (folder / REPORT_FILE).exists():
        before = read_json(folder / REPORT_FILE)
    return evaluate_package(folder, clip, truth=truth, reporter=reporter, stages=before.get("stages"), provenance=before.get("provenance"), truth_rig=truth_rig)


def find_clip(folder: Path, source: dict[str, Any], video: Path | None) -> Path:
    """The clip a package was made from, recognised by its hash.

    Raises:
        AvatarError: ``bad_input`` when it is not found, or ``video`` is another clip.
    """
    wanted, name = source.get("sha256"), source.get("file_name", "the clip")
    if video is not None:
        if not video.is_file():
            raise AvatarError("bad_input", f"There is no file {video}.", "Check the name of the clip.", {"path": str(video)})
        if file_sha256(video) != wanted:
            raise AvatarError("bad_input", f"{video} is not the clip this avatar was made from.", f"Give {name} itself, unchanged.", {"path": str(video)})
        return video.absolute()
    places = [folder.parent / name]
    try:
        places.insert(0, Path(read_json(work_folder(folder) / JOB_FILE)["video"]))
    except (AvatarError, KeyError, TypeError):
        pass
    for place in places:
        if place.is_file() and file_sha256(place) == wanted:
            return place
    raise AvatarError("bad_input", f"The clip {name} was not found.", "Say where it is: --video PATH.", {"looked_in": [str(place) for place in places]})
