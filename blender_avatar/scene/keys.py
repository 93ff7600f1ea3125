"""Changes keys at given frames and nothing else: every other key, handle and setting of the curve stays as it is, bit for bit."""

from __future__ import annotations

import dataclasses

import bpy
import numpy as np

SAME_FRAME = 1e-3
"""Keys closer than this to a tracked frame are that frame's key; artists' keys between frames are further away."""


@dataclasses.dataclass(frozen=True)
class Written:
    """How many keys were replaced, and how many the artist had deleted and are back."""

    num_replaced: int
    num_inserted: int


def write_keys(curve: bpy.types.FCurve, frames: np.ndarray, values: np.ndarray) -> Written:
    """Sets the value of the keys at ``frames``; makes those that are missing.

    Interpolation, easing, handle types and selection of existing keys stay; their handles move along. Handles of all other keys are
    restored after Blender's own recalculation, because an automatic handle beside a changed key would move.

    Args:
        frames: (n,) rising. values: (n,).
    """
    points = curve.keyframe_points
    frames, values = frames.astype(np.float32), values.astype(np.float32)
    missing = np.flatnonzero(_places(_floats(points, "co"), frames) < 0)
    others_before = {name: _floats(points, name) for name in ("handle_left", "handle_right")} if len(missing) else {}
    co_before = _floats(points, "co")
    for place in missing:
        points.insert(float(frames[place]), float(values[place]), options={"FAST"}).interpolation = "LINEAR"
    if len(missing):
        # making a key may have touched the handles of its neighbours
        old = _places(_floats(points, "co"), co_before[:, 0])
        for name, before in others_before.items():
            now = _floats(points, name)
            now[old] = before
            points.foreach_set(name, now.ravel())
    co = _floats(points, "co")
    handles = {name: _floats(points, name) for name in ("handle_left", "handle_right")}
    places = _places(co, frames)
    shift = values - co[places, 1]
    co[places, 1] = values
    points.foreach_set("co", co.ravel())
    moved = {}
    for name, before in handles.items():
        moved[name] = before.copy()
        moved[name][places, 1] += shift
        points.foreach_set(name, moved[name].ravel())
    curve.update()
    for name, before in handles.items():
        after = _floats(points, name)
        kept = before.copy()
        kept[places] = after[places]
        points.foreach_set(name, kept.ravel())
    return Written(len(frames) - len(missing), len(missing))


def _floats(points: bpy.types.bpy_prop_collection, name: str) -> np.ndarray:
    """(K, 2) float32."""
    values = np.empty(2 * len(points), np.float32)
    points.foreach_get(name, values)
    return values.reshape(-1, 2)


def _places(co: np.ndarray, frames: np.ndarray) -> np.ndarray:
    """(n,) index of the key at each frame, -1 where there is none. co: (K, 2), sorted by frame."""
    if not len(co):
        return np.full(len(frames), -1)
    x = co[:, 0].astype(np.float64)
    after = np.clip(np.searchsorted(x, frames), 0, len(x) - 1)
    before = np.maximum(after - 1, 0)
    nearest = np.where(np.abs(x[before] - frames) <= np.abs(x[after] - frames), before, after)
    return np.where(np.abs(x[nearest] - frames) < SAME_FRAME, nearest, -1)
