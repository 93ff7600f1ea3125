"""A range of a packaged avatar tracked again: finds package, clip, capture and settings; writes the patch."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from .capture.embed import load_rig_with_landmarks
from .capture.model import Capture, read_capture
from .config import CaptureConfig, TrackConfig, from_dict, to_dict
from .errors import AvatarError
from .output_folder import check_writable, work_folder
from .package.model import REPORT_FILE, AnimationAsset, AvatarPackage
from .package.person_rig import animation_scale, person_rig
from .package.read import read_package
from .package.write import packaged_controls
from .pipeline import CAPTURE_FILE, JOB_FILE, code_version, compute_capture
from .reevaluate import find_clip
from .reporter import Reporter
from .resources import cache_folder
from .rig.model import RigModel
from .stage_cache import COMMIT_MARK, StageCache
from .stage_progress import StageProgress
from .storage import read_json
from .track.again import StoredTrack, track_again
from .track.patch import TrackPatch, write_patch
from .track.pins import checked_pins

WEIGHTS_S = {"capture": 40.0, "track": 30.0}


def track_package_again(
    folder: Path, video: Path | None, frame_start: int, frame_end: int, pins: Sequence[Any], out: Path, changes: Mapping[str, Any], reporter: Reporter
) -> TrackPatch:
    """Tracks a range of an avatar's clip again and writes a patch; the package itself stays as it is.

    Args:
        folder: the package. video: its clip; None looks where it was, and beside the package. frame_start, frame_end: ``time_index``, inclusive.
        pins: objects with the fields of ``track.pins.Pin``. out: the .npz to write. changes: fields of ``TrackConfig`` that differ from the
            clip's own track.

    Raises:
        AvatarError: ``bad_request`` for range, pins, settings or output; ``bad_input`` when the clip or the package are not what they were.
        Cancelled: nothing was written to ``out``.
    """
    folder, out = Path(folder).absolute(), Path(out).absolute()
    if out.suffix != ".npz" or out.is_dir():
        raise AvatarError("bad_request", f"out is {str(out)!r}.", "Allowed: the name of a file that ends in .npz.", {"field": "out", "value": str(out)})
    package = read_package(folder)
    made_with = _settings(folder)
    config = from_dict(TrackConfig, {**_known(TrackConfig, made_with.get("track")), **changes}, "config.")
    check_frames(package.animation, frame_start, frame_end)
    rig = person_rig(package)
    times = package.animation.time_index
    checked = checked_pins(pins, times[(times >= frame_start) & (times <= frame_end)], rig, package.animation.size_hw)
    check_writable(out)
    clip = find_clip(folder, package.info["source"], video)
    progress = StageProgress(reporter, WEIGHTS_S)
    capture = _capture(folder, package, clip, made_with.get("capture"), progress)
    progress.begin("track")
    reference = _reference(str(made_with.get("rig", "anny")), rig, progress) if config.use_photometric else None
    patch = as_packaged(track_again(capture, rig, stored_track(package), frame_start, frame_end, checked, config, progress, reference), rig)
    progress.check()
    write_patch(out, patch)
    progress.end("track", was_reused=False)
    progress.artifact(out)
    return patch


def stored_track(package: AvatarPackage) -> StoredTrack:
    """The raw motion of a package, as the tracker takes it up again."""
    one = package.animation
    return StoredTrack(one.controls, one.joint_rotations, one.world_from_root, one.world_from_cam, one.px_from_cam, animation_scale(package), one.landmark_trust)


def check_frames(animation: AnimationAsset, frame_start: int, frame_end: int) -> None:
    """Raises ``bad_request`` when a range does not lie in the clip."""
    first, last = int(animation.time_index[0]), int(animation.time_index[-1])
    for name, value, low in (("frame_start", frame_start, first), ("frame_end", frame_end, max(frame_start, first))):
        if not low <= value <= last:
            allowed = f"{low} to {last}"
            raise AvatarError("bad_request", f"{name} is {value}.", f"Allowed: {allowed}.", {"field": name, "value": value, "allowed": allowed})


def as_packaged(patch: TrackPatch, rig: RigModel) -> TrackPatch:
    """Controls as a package would hold them: lids that follow the eyes exactly, lips in order."""
    return dataclasses.replace(
        patch, controls=packaged_controls(rig, patch.controls, patch.joint_rotations),
        controls_smooth=packaged_controls(rig, patch.controls_smooth, patch.joint_rotations_smooth),
    )


def _reference(spec: str, rig: RigModel, reporter: Reporter) -> RigModel | None:
    """The head model the avatar was made with, if it is still there (FLAME and ICT are files of the user)."""
    try:
        found = load_rig_with_landmarks(spec, cache_folder())
    except AvatarError as error:
        reporter.log(f"Tracking again without the head model's own file, slightly less like before: {error.message}")
        return None
    is_same = found.name == rig.name and np.array_equal(found.quads, rig.quads)
    return found if is_same else None


def _settings(folder: Path) -> dict[str, Any]:
    """The settings the avatar was made with: of the work folder, else of the report; empty when neither tells."""
    for path, keys in ((work_folder(folder) / JOB_FILE, ("config",)), (folder / REPORT_FILE, ("provenance", "config"))):
        try:
            found = read_json(path)
            for key in keys:
                found = found[key]
        except (AvatarError, KeyError, TypeError):
            continue
        if isinstance(found, dict):
            return found
    return {}


def _known(cls: type, values: Any) -> dict[str, Any]:
    """The fields that this version knows: another one may have had more."""
    names = {field.name for field in dataclasses.fields(cls)}
    return {name: value for name, value in values.items() if name in names} if isinstance(values, dict) else {}


def _capture(folder: Path, package: AvatarPackage, clip: Path, settings: Any, progress: StageProgress) -> Capture:
    """The capture the avatar was made from: out of the work folder, else computed from the clip and kept there."""
    progress.begin("capture")
    config = from_dict(CaptureConfig, {"is_mirrored": bool(package.info["source"].get("is_mirrored", False)), **_known(CaptureConfig, settings)}, "capture.")
    with StageCache(work_folder(folder)) as cache:
        inputs = {"video": package.source_sha256}
        arguments: dict[str, Any] = {"code_version": code_version("capture"), "inputs": inputs, "config": to_dict(config)}
        found = None if cache.has("capture", **arguments) else _older_capture(cache.work, package)
        was_reused = found is not None
        if found is None:
            result = cache.run("capture", **arguments, compute=lambda part: compute_capture(clip, config, part, progress))
            found, was_reused = read_capture(result.folder / CAPTURE_FILE), result.was_reused
    if not _fits(found, package):
        raise AvatarError(
            "bad_input", f"{clip} was cut into frames differently when the avatar was made.", "Reconstruct the avatar again; its settings are not known any more.",
            {"path": str(clip)},
        )
    progress.end("capture", was_reused)
    return found.replace(source_path=str(clip))


def _older_capture(work: Path, package: AvatarPackage) -> Capture | None:
    """A capture of the same clip and split that an earlier version made: it is the very one the track belongs to. The newest, when several fit."""
    marks = sorted(work.glob(f"capture-*/{COMMIT_MARK}"), key=lambda mark: (-mark.stat().st_mtime_ns, str(mark)))
    for mark in marks:
        try:
            capture = read_capture(mark.parent / CAPTURE_FILE)
        except AvatarError:
            continue
        if _fits(capture, package):
            return capture
    return None


def _fits(capture: Capture, package: AvatarPackage) -> bool:
    animation = package.animation
    return (
        capture.source_sha256 == package.source_sha256 and capture.split_sha256 == animation.split_sha256 and np.array_equal(capture.time_index, animation.time_index)
        and np.array_equal(capture.split, animation.split) and tuple(capture.size_hw) == tuple(animation.size_hw)
    )
