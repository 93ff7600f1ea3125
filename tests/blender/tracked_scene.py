"""What the tests of tracking again share: a package whose raw and smoothed motion differ, patches, and every bit of an Action. Not a test."""

from __future__ import annotations

import functools
import tempfile
from pathlib import Path

import bpy
import numpy as np
from imported import curves_of, rig, scratch
from synthetic_take import checker_texture, synthetic_take

from backend.geometry.rotations import matrices_from_axis_angles
from backend.package.read import read_package
from backend.package.write import write_package
from backend.track.smoothing import smooth_rotations, smooth_values

NUM_FRAMES = 48
WEAK = (10, 11, 12, 30)
LOST = (20, 21)


@functools.cache
def tracked_package() -> Path:
    """48 frames (train to 35, gap to 39, test to the end) with noise on the raw track; smoothed by the tracker's own functions, 1 frame."""
    scratch.append(Path(tempfile.mkdtemp(prefix="avatar-test-")))
    capture, track = synthetic_take(rig(), num_frames=NUM_FRAMES)
    random = np.random.default_rng(4)
    controls = np.clip(track.controls + random.normal(0, 0.05, track.controls.shape), 0, 1)
    joints = track.joint_rotations.copy()
    joints[:, 3:] += random.normal(0, 0.01, joints[:, 3:].shape)
    world = track.world_from_root.copy()
    world[:, :3, :3] = world[:, :3, :3] @ matrices_from_axis_angles(random.normal(0, 0.01, (NUM_FRAMES, 3)))
    world[:, :3, 3] += random.normal(0, 0.001, (NUM_FRAMES, 3))
    cuts = [0, *(np.flatnonzero(np.diff(capture.split)) + 1).tolist(), NUM_FRAMES]
    chains = [slice(start, stop) for start, stop in zip(cuts[:-1], cuts[1:])]
    names = rig().expression_names
    close, opened = names.index("mouthClose"), names.index("jawOpen")
    controls[:, close] = np.minimum(controls[:, close], controls[:, opened])
    sigmas = np.array([0.4 if name.startswith(("eyeBlink", "eyeLook")) else 1.0 for name in names])
    smooth = world.copy()
    smooth[:, :3, :3], smooth[:, :3, 3] = smooth_rotations(world[:, :3, :3], 1.0, chains), smooth_values(world[:, :3, 3], 1.0, chains)
    confidence = np.full(NUM_FRAMES, 0.95, np.float32)
    confidence[list(WEAK)] = 0.3
    confidence[list(LOST)] = 0.0
    is_tracked = np.ones(NUM_FRAMES, bool)
    is_tracked[list(LOST)] = False
    track = track.replace(
        controls=controls.astype(np.float32), joint_rotations=joints.astype(np.float32), world_from_root=world, world_from_root_smooth=smooth,
        controls_smooth=smooth_values(controls, sigmas, chains).astype(np.float32), confidence=confidence, is_tracked=is_tracked,
        joint_rotations_smooth=smooth_values(joints.reshape(NUM_FRAMES, -1), 0.4, chains).reshape(joints.shape).astype(np.float32),
    )  # fmt: skip
    texture, seen = checker_texture()
    return write_package(
        scratch[-1] / "Anna.avatar", name="Anna", rig=rig(), track=track, capture=capture, texture=texture, seen=seen, background_mp4=None, consent=True
    )


def write_patch(path: Path, first: int, last: int, **changed: object) -> Path:
    """A patch for pictures ``first`` to ``last``: what the package says, with open jaw, head turned by 0.2 rad and moved by 1 cm."""
    clip = read_package(tracked_package()).animation
    here = slice(first, last + 1)
    arrays = {"format_version": np.array(1, np.int32), "time_index": clip.time_index[here], "control_names": np.array(clip.control_names)}
    jaw = clip.control_names.index("jawOpen")
    turn = matrices_from_axis_angles(np.array([0.0, 0.2, 0.0]))
    for suffix in ("", "_smooth"):
        controls, world = getattr(clip, f"controls{suffix}")[here].copy(), getattr(clip, f"world_from_root{suffix}")[here].copy()
        controls[:, jaw] = 0.75 if suffix else 0.8
        world[:, :3, :3] = world[:, :3, :3] @ turn
        world[:, 0, 3] += 0.01
        arrays |= {f"controls{suffix}": controls, f"world_from_root{suffix}": world, f"joint_rotations{suffix}": getattr(clip, f"joint_rotations{suffix}")[here]}
    arrays |= {
        "confidence": np.full(last + 1 - first, 0.9, np.float32), "region_names": np.array(["mouth", "eyes"]),
        "region_confidence": np.full((last + 1 - first, 2), 0.9, np.float32),
    } | changed  # fmt: skip
    np.savez(path, **{key: value for key, value in arrays.items() if value is not None})
    return path


def channels_of(action: bpy.types.Action) -> object:
    """What holds the F-curves of an Action with one slot, in any Blender version."""
    return action if hasattr(action, "fcurves") else action.layers[0].strips[0].channelbags[0]


def every_bit(action: bpy.types.Action, skip_frames: tuple[float, float] | None = None, skip_paths: tuple[str, ...] = ()) -> dict[tuple[str, int], tuple]:
    """All there is to know about the F-curves of an Action, floats as bytes.

    Args:
        skip_frames: whole-frame keys from .. to (inclusive) are left out, except on curves of ``skip_paths``.
    """
    found = {}
    for curve in curves_of(action):
        keys = []
        for point in curve.keyframe_points:
            is_tracked_frame = abs(point.co.x - round(point.co.x)) < 1e-3
            if skip_frames and curve.data_path not in skip_paths and is_tracked_frame and skip_frames[0] <= point.co.x <= skip_frames[1]:
                continue
            floats = np.array([*point.co, *point.handle_left, *point.handle_right, point.back, point.amplitude, point.period], np.float32).tobytes()
            keys.append((floats, point.interpolation, point.easing, point.handle_left_type, point.handle_right_type, point.type, point.select_control_point))
        found[curve.data_path, curve.array_index] = (
            tuple(keys), tuple(modifier.type for modifier in curve.modifiers), curve.extrapolation, curve.mute, curve.lock, curve.group and curve.group.name,
        )  # fmt: skip
    return found


def key_values(action: bpy.types.Action, path: str, index: int = 0) -> dict[float, float]:
    """Frame -> value of the keys of one curve."""
    (curve,) = (curve for curve in curves_of(action) if (curve.data_path, curve.array_index) == (path, index))
    return {float(point.co.x): float(point.co.y) for point in curve.keyframe_points}
