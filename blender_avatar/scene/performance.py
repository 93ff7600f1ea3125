"""What the clip recorded, kept on the Action as plain custom properties: raw keys, confidence, and how far each frame is smoothed.

So smoothing can always be taken back, weak frames are known without the package, and a copy of the avatar carries its own record.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Any

import bpy
import numpy as np

from ..backend_link import backend_module
from ..confidence import RECORD
from .animation import Curve
from .names import camera_of, rig_of

RECORD_VERSION = 1

GROUPS = ("HEAD", "EXPRESSIONS", "BLINKS", "GAZE")
"""Channels that are smoothed together. HEAD: root, neck, head, camera. GAZE: eye bones and the lids that go with them."""

AS_TRACKED = -1.0
"""Stands in ``smoothing`` for the tracker's own smoothing; 0 is raw, else frames."""


@dataclasses.dataclass(frozen=True)
class Performance:
    """The record of one Action, N samples, C curves, R regions.

    frames: (N,) float32 scene frames of the keys. time_index: (N,) pictures of the clip. split: (N,) 0 train, 1 gap, 2 test.
    curves: (path, index) each. raw: (C, N) float32 keys as tracked, without smoothing. smoothing: (4, N) float32 of GROUPS, frames.
    region_confidence: (N, R).
    """

    frames: np.ndarray
    time_index: np.ndarray
    split: np.ndarray
    confidence: np.ndarray
    is_tracked: np.ndarray
    region_names: tuple[str, ...]
    region_confidence: np.ndarray
    curves: tuple[tuple[str, int], ...]
    raw: np.ndarray
    smoothing: np.ndarray

    def samples_between(self, frame_start: float, frame_end: float) -> np.ndarray:
        """Indices of the samples whose keys lie in a range of scene frames, both ends included."""
        return np.flatnonzero((self.frames >= frame_start - 1e-3) & (self.frames <= frame_end + 1e-3))

    def chains(self) -> list[slice]:
        """Runs of samples of one split: nothing is smoothed across their ends."""
        cuts = [0, *(np.flatnonzero(np.diff(self.split)) + 1).tolist(), len(self.frames)]
        return [slice(start, stop) for start, stop in zip(cuts[:-1], cuts[1:])]


@dataclasses.dataclass(frozen=True)
class RecordedAction:
    """An Action with a record, the object it moves, and its slot (None before Blender 4.4)."""

    owner: bpy.types.Object
    action: bpy.types.Action
    slot: Any

    def fcurves(self) -> dict[tuple[str, int], bpy.types.FCurve]:
        """The F-curves of the owner by path and index."""
        if self.slot is None:
            return {(curve.data_path, curve.array_index): curve for curve in self.action.fcurves}
        found = {}
        for layer in self.action.layers:
            for strip in layer.strips:
                bag = strip.channelbag(self.slot)
                for curve in bag.fcurves if bag else ():
                    found.setdefault((curve.data_path, curve.array_index), curve)
        return found


def new_performance(clip: Any, frames: np.ndarray, keyed: list[Curve], raw: list[Curve]) -> Performance:
    """The record of a fresh import, whose keys are smoothed as tracked.

    Args:
        clip: the package's ``AnimationAsset``. frames: (N,). keyed: the curves in the Action. raw: raw curves, among them those keyed.
    """
    raw_of = {(curve.path, curve.index): curve.values for curve in raw}
    num_samples = len(frames)
    names = tuple(getattr(clip, "region_names", None) or ())
    regions = getattr(clip, "region_confidence", None)
    return Performance(
        frames=frames.astype(np.float32), time_index=clip.time_index.astype(np.int32), split=clip.split.astype(np.int32),
        confidence=clip.confidence.astype(np.float32), is_tracked=clip.is_tracked.astype(np.int32), region_names=names if regions is not None else (),
        region_confidence=np.zeros((num_samples, 0), np.float32) if regions is None else np.asarray(regions, np.float32),
        curves=tuple((curve.path, curve.index) for curve in keyed),
        raw=np.stack([raw_of[curve.path, curve.index] for curve in keyed]).astype(np.float32),
        smoothing=np.full((len(GROUPS), num_samples), AS_TRACKED, np.float32),
    )  # fmt: skip


def write_record(action: bpy.types.Action, performance: Performance) -> None:
    """Stores the record as custom properties of the Action."""
    action[RECORD] = {
        "version": RECORD_VERSION,
        "frames": performance.frames,
        "time_index": performance.time_index,
        "split": performance.split,
        "confidence": performance.confidence,
        "is_tracked": performance.is_tracked,
        "region_names": "\n".join(performance.region_names),
        "region_confidence": performance.region_confidence.ravel(),
        "curves": "\n".join(f"{path}\t{index}" for path, index in performance.curves),
        "raw": performance.raw.ravel(),
        "smoothing": performance.smoothing.ravel(),
    }


def read_record(action: bpy.types.Action) -> Performance:
    """The record of an Action.

    Raises:
        AvatarError: ``bad_input`` when there is none, it is newer than this add-on, or its parts do not fit together.
    """
    record = action.get(RECORD)
    if record is None or not hasattr(record, "keys"):
        raise _no_record(action.name)
    if record.get("version") != RECORD_VERSION:
        raise _error("bad_input", f"The tracked motion of {action.name} was stored by another version of Video Avatar.", "Import the avatar again.")
    try:
        frames = _array(record["frames"], np.float32)
        names = tuple(text for text in record["region_names"].split("\n") if text)
        curves = tuple((path, int(index)) for path, index in (line.rsplit("\t", 1) for line in record["curves"].split("\n")))
        count = len(frames)
        performance = Performance(
            frames, _array(record["time_index"], np.int32), _array(record["split"], np.int32), _array(record["confidence"], np.float32),
            _array(record["is_tracked"], np.int32), names, _array(record["region_confidence"], np.float32).reshape(count, len(names)), curves,
            _array(record["raw"], np.float32).reshape(len(curves), count), _array(record["smoothing"], np.float32).reshape(len(GROUPS), count),
        )  # fmt: skip
    except (KeyError, ValueError, AttributeError) as problem:
        raise _error("bad_input", f"The tracked motion stored with {action.name} is damaged ({problem}).", "Import the avatar again.") from problem
    if any(len(part) != count for part in (performance.time_index, performance.split, performance.confidence, performance.is_tracked)):
        raise _error("bad_input", f"The tracked motion stored with {action.name} is damaged.", "Import the avatar again.")
    return performance


def recorded_actions(root: bpy.types.Object) -> list[RecordedAction]:
    """The Actions of an avatar that hold tracked motion: the rig's, and the camera's when the camera moves instead of the head.

    An Action that was pushed down into the NLA is found there.

    Raises:
        AvatarError: ``bad_input`` when the rig has none; ``bad_request`` when it is linked from another file.
    """
    rig = rig_of(root)
    found = [recorded for owner in (rig, camera_of(root)) if owner is not None for recorded in [_recorded_action(owner)] if recorded]
    if rig is None or not found or found[0].owner != rig:
        raise _no_record(root.name)
    for recorded in found:
        if recorded.action.library is not None:
            text = f"The animation {recorded.action.name} is linked from another file."
            raise _error("bad_request", text, "Make it local (Object › Relations › Make Local › with animation data), or work in the file it comes from.")
    return found


def _recorded_action(owner: bpy.types.Object) -> RecordedAction | None:
    animation = owner.animation_data
    if animation is None:
        return None
    for action, slot in _actions(animation):
        if action is not None and RECORD in action:
            slots = getattr(action, "slots", None)
            return RecordedAction(owner, action, slot or (slots[0] if slots else None))
    return None


def _actions(animation: bpy.types.AnimData) -> Iterator[tuple[Any, Any]]:
    yield animation.action, getattr(animation, "action_slot", None)
    strips = [(track.mute, strip) for track in animation.nla_tracks for strip in track.strips]
    for _, strip in sorted(strips, key=lambda pair: pair[0]):  # what plays comes before what is muted
        yield strip.action, getattr(strip, "action_slot", None)


def _array(values: Any, dtype: Any) -> np.ndarray:
    """A custom property as an array (through a list: reading its memory directly has crashed Blender 4.5)."""
    return np.array(values.to_list(), dtype=dtype) if hasattr(values, "to_list") else np.zeros(0, dtype)


def _no_record(name: str) -> Exception:
    text = f"{name} has no animation with tracked motion."
    return _error("bad_input", text, "Assign its Action NAME|clip, or import the avatar again (avatars imported by older versions have no record).")


def _error(code: str, message: str, hint: str) -> Exception:
    return backend_module("errors").AvatarError(code, message, hint, {})
