"""A newly tracked range goes into the animation: its keys change, everything else stays."""

from __future__ import annotations

import dataclasses
from typing import Any

import bpy
import numpy as np

from ..backend_link import backend_module
from .animation import Curve, Motion, camera_curves, motions_of, rig_curves
from .keys import write_keys
from .patch_file import Patch
from .performance import AS_TRACKED, GROUPS, Performance, RecordedAction, read_record, recorded_actions, write_record
from .smoothing import group_of, smoothed


@dataclasses.dataclass(frozen=True)
class Applied:
    """frame_start, frame_end: scene frames that changed. num_keys: replaced or made again. num_made_again: of them.

    locked, missing: tracked channels left alone. which: the animation that was in use there: "raw", "smoothed" or "partly smoothed".
    """

    frame_start: float
    frame_end: float
    num_keys: int
    num_made_again: int
    locked: tuple[str, ...]
    missing: tuple[str, ...]
    which: str

    @property
    def text(self) -> str:
        """One line for the artist."""
        parts = [f"Tracked {self.frame_start:g} to {self.frame_end:g} again ({self.which} animation, {self.num_keys} keys)"]
        if self.num_made_again:
            parts.append(f"{self.num_made_again} deleted keys are back")
        if self.locked:
            parts.append(f"{len(self.locked)} locked channels left alone")
        if self.missing:
            parts.append(f"{len(self.missing)} removed channels left out")
        return "; ".join(parts)


def apply_patch(root: bpy.types.Object, patch: Patch, package: Any) -> Applied:
    """Replaces the keys of the patch's frames on the tracked channels, in whichever form (raw or smoothed) each is in use.

    Keys between frames, keys of other frames, other channels, modifiers, drivers and NLA strips are not touched. Everything is
    worked out before the first key changes.

    Args:
        root: of the avatar. package: the ``AvatarPackage`` it was imported from.

    Raises:
        AvatarError: ``bad_input`` when patch, package and scene do not belong together.
    """
    _check_fit(patch, package)
    head_moves = bool(root.get("head_moves", True))
    work = []
    for recorded in recorded_actions(root):
        performance = read_record(recorded.action)
        samples = _samples_of(performance, patch)
        raw, smooth = (_curves(motion, package, head_moves, recorded, samples) for motion in motions_of(patch))
        old = performance.raw[:, samples[0] - 1] if samples[0] else (performance.raw[:, samples[-1] + 1] if samples[-1] + 1 < performance.raw.shape[1] else None)
        new_raw = performance.raw.copy()
        new_raw[:, samples] = _aligned(performance.curves, raw, performance.raw[:, samples], old)
        changed = dataclasses.replace(
            performance, raw=new_raw, **_new_confidence(performance, patch, samples),
        )  # fmt: skip
        as_tracked = _aligned(performance.curves, smooth, new_raw[:, samples], None)
        work.append((recorded, changed, samples, _values_in_use(changed, samples, as_tracked)))
    num_keys, num_inserted, locked, missing = 0, 0, [], []
    for recorded, performance, samples, values in work:
        fcurves = recorded.fcurves()
        for row, key in enumerate(performance.curves):
            curve = fcurves.get(key)
            if curve is None:
                missing.append(key[0])
            elif curve.lock:
                locked.append(key[0])
            else:
                written = write_keys(curve, performance.frames[samples], values[row])
                num_keys, num_inserted = num_keys + len(samples), num_inserted + written.num_inserted
        write_record(recorded.action, performance)
        recorded.action.update_tag()
    first, samples = work[0][1], work[0][2]
    return Applied(
        float(first.frames[samples[0]]), float(first.frames[samples[-1]]), num_keys, num_inserted, tuple(dict.fromkeys(locked)),
        tuple(dict.fromkeys(missing)), _words(first.smoothing[:, samples]),
    )  # fmt: skip


def _check_fit(patch: Patch, package: Any) -> None:
    if patch.joint_rotations.shape[1] != len(package.mesh.joint_names) or set(patch.control_names) != set(package.animation.control_names):
        raise _misfit("it has other joints or controls than the avatar")


def _samples_of(performance: Performance, patch: Patch) -> np.ndarray:
    places = np.searchsorted(performance.time_index, patch.time_index)
    if places[-1] >= len(performance.time_index) or (performance.time_index[places] != patch.time_index).any():
        raise _misfit("it holds pictures that the avatar's clip does not have")
    return places


def _curves(motion: Motion, package: Any, head_moves: bool, recorded: RecordedAction, samples: np.ndarray) -> dict[tuple[str, int], np.ndarray]:
    """New values (n,) of the owner's curves."""
    if recorded.owner.type == "CAMERA":
        curves: list[Curve] = camera_curves(np.linalg.inv(motion.world_from_root) @ package.animation.world_from_cam[samples])
    else:
        curves = rig_curves(package.mesh, motion, is_root_keyed=head_moves, with_resting_joints=True)
    return {(curve.path, curve.index): curve.values for curve in curves}


def _aligned(curves: tuple[tuple[str, int], ...], new: dict[tuple[str, int], np.ndarray], like: np.ndarray, neighbour: np.ndarray | None) -> np.ndarray:
    """(C, n) new values in the order of the record. Quaternions get the sign that follows on from the key beside the range.

    Args:
        like: (C, n) values of the same frames; they give the sign where there is no neighbour. neighbour: (C,) key beside the range.
    """
    missing = [key for key in curves if key not in new]
    if missing:
        raise _misfit(f"it does not move {missing[0][0]}")
    out = np.stack([new[key] for key in curves]).astype(np.float64)
    for path in dict.fromkeys(path for path, _ in curves if path.endswith("rotation_quaternion")):
        rows = [row for row, key in enumerate(curves) if key[0] == path]
        # the new curve is continuous in itself: one sign for all of it
        reference, own = (like[rows], out[rows]) if neighbour is None else (neighbour[rows][:, None], out[rows][:, :1])
        if (reference * own).sum() < 0:
            out[rows] *= -1
    return out.astype(np.float32)


def _values_in_use(performance: Performance, samples: np.ndarray, as_tracked: np.ndarray) -> np.ndarray:
    """(C, n) values of the frames in the form in which each channel is in use."""
    values = as_tracked.copy()
    for number, group in enumerate(GROUPS):
        rows = [row for row, (path, _) in enumerate(performance.curves) if group_of(path)[0] == group]
        state = performance.smoothing[number, samples]
        for strength in np.unique(state[state != AS_TRACKED]) if rows else ():
            columns = np.flatnonzero(state == strength)
            values[np.ix_(rows, columns)] = smoothed(performance, rows, float(strength))[:, samples[columns]]
    return values


def _new_confidence(performance: Performance, patch: Patch, samples: np.ndarray) -> dict[str, np.ndarray]:
    confidence, is_tracked, regions = performance.confidence.copy(), performance.is_tracked.copy(), performance.region_confidence.copy()
    confidence[samples] = patch.confidence
    is_tracked[samples] = patch.confidence > 0
    for number, name in enumerate(performance.region_names):
        if name in patch.region_names:
            regions[samples, number] = patch.region_confidence[:, patch.region_names.index(name)]
    return {"confidence": confidence, "is_tracked": is_tracked, "region_confidence": regions}


def _words(smoothing: np.ndarray) -> str:
    if (smoothing == 0).all():
        return "raw"
    return "smoothed" if (smoothing != 0).all() else "partly smoothed"


def _misfit(what: str) -> Exception:
    return backend_module("errors").AvatarError("bad_input", f"The new track does not fit the avatar: {what}.", "Import the avatar again, then track again.", {})
