"""The performance as keyframes: one Action, one key per decoded frame, written in bulk."""

from __future__ import annotations

import dataclasses
from typing import Any

import bpy
import numpy as np

from . import axes
from .drivers import control_path
from .names import bone_name

FIRST_FRAME = 1
_LINEAR = 1  # number of 'LINEAR' among the keyframe interpolations


@dataclasses.dataclass(frozen=True)
class Curve:
    """One animated number. path, index: as in an F-curve. group: what it is listed under. values: (N,)."""

    path: str
    index: int
    group: str
    values: np.ndarray


def key_frames(time_s: np.ndarray, fps: float) -> np.ndarray:
    """Frame of each decoded picture, in a scene that runs at the clip's rate.

    Pictures of a (nearly) constant-rate clip fall on whole frames, one each: their times are merely rounded. Pictures of a
    variable-rate phone clip sit where they belong, between frames if need be. The background clip is made by the same rule.

    Args:
        time_s: (N,) presentation times. fps: average rate.

    Returns:
        (N,) float64, first at ``FIRST_FRAME``.
    """
    exact = (np.asarray(time_s, dtype=np.float64) - time_s[0]) * fps
    count = np.arange(len(exact), dtype=np.float64)
    return FIRST_FRAME + (count if (np.abs(exact - count) < 0.5).all() else exact)


@dataclasses.dataclass(frozen=True)
class Motion:
    """What moves, raw or smoothed: control_names (E), controls (N, E), joint_rotations (N, J, 3) rad, world_from_root (N, 4, 4)."""

    control_names: tuple[str, ...]
    controls: np.ndarray
    joint_rotations: np.ndarray
    world_from_root: np.ndarray


def motions_of(clip: Any) -> tuple[Motion, Motion]:
    """Raw and smoothed motion of a package's animation or of a patch."""
    return (
        Motion(clip.control_names, clip.controls, clip.joint_rotations, clip.world_from_root),
        Motion(clip.control_names, clip.controls_smooth, clip.joint_rotations_smooth, clip.world_from_root_smooth),
    )


def rig_curves(mesh: Any, motion: Motion, is_root_keyed: bool, with_resting_joints: bool = False) -> list[Curve]:
    """Curves of the armature object: root, turning joints, and every control.

    Args:
        mesh: the package's ``MeshAsset``. with_resting_joints: also joints that never turn in this motion.
    """
    curves: list[Curve] = []
    if is_root_keyed:
        root = bone_name(mesh.joint_names[0])
        rotation = motion.world_from_root[:, :3, :3] @ _matrices(motion.joint_rotations[:, 0])
        place = axes.root_bone_locations(motion.world_from_root, mesh.joints[0].astype(np.float64))
        curves += _bone_curves(root, "location", place)
        curves += _bone_curves(root, "rotation_quaternion", axes.continuous_quaternions(axes.quaternions_from_matrices(rotation)))
    for joint, joint_name in enumerate(mesh.joint_names):
        rotations = motion.joint_rotations[:, joint]
        turns = joint_name.startswith("eye_") or with_resting_joints or bool(rotations.any())
        if turns and (joint > 0 or not is_root_keyed):
            quaternions = axes.continuous_quaternions(axes.quaternions_from_axis_angles(rotations))
            curves += _bone_curves(bone_name(joint_name), "rotation_quaternion", quaternions)
    for index, name in enumerate(motion.control_names):
        curves.append(Curve(control_path(name), 0, "face", motion.controls[:, index]))
    return curves


def camera_curves(world_from_cam: np.ndarray) -> list[Curve]:
    """Location and rotation of the camera object under the avatar's root. world_from_cam: (N, 4, 4), package axes."""
    matrices = axes.blender_camera_matrices(world_from_cam)
    quaternions = axes.continuous_quaternions(axes.quaternions_from_matrices(matrices[:, :3, :3]))
    columns = [("location", matrices[:, :3, 3]), ("rotation_quaternion", quaternions)]
    return [Curve(path, index, "Camera", values[:, index]) for path, values in columns for index in range(values.shape[1])]


def _matrices(rotations: np.ndarray) -> np.ndarray:
    """(N, 3) axis-angle rad to (N, 3, 3)."""
    w, x, y, z = np.moveaxis(axes.quaternions_from_axis_angles(rotations), -1, 0)
    rows = (
        (1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)),
        (2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)),
        (2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)),
    )
    return np.stack([np.stack(row, -1) for row in rows], -2)


def _bone_curves(bone: str, channel: str, values: np.ndarray) -> list[Curve]:
    return [Curve(f'pose.bones["{bone}"].{channel}', index, bone, values[:, index]) for index in range(values.shape[1])]


def create_action(
    name: str, owner: bpy.types.ID, frames: np.ndarray, curves: list[Curve], with_track: bool, id_type: str = "OBJECT"
) -> bpy.types.Action:
    """Makes an Action of the curves and assigns it to an object.

    Args:
        name: of the Action. owner: the animated object (or datablock of ``id_type``). frames: (N,). with_track: also lay it into a muted NLA track.
    """
    action = bpy.data.actions.new(name)
    action.use_fake_user = True
    animation = owner.animation_data or owner.animation_data_create()
    if hasattr(action, "slots"):  # Blender 4.4 and later
        slot = action.slots.new(id_type=id_type, name=owner.name)
        strip = action.layers.new("Layer").strips.new(type="KEYFRAME")
        channels = strip.channelbag(slot, ensure=True)
        animation.action = action
        animation.action_slot = slot
    else:
        slot, channels = None, action
        animation.action = action
    groups: dict[str, Any] = {}
    for curve in curves:
        fcurve = channels.fcurves.new(curve.path, index=curve.index)
        if curve.group not in groups:
            groups[curve.group] = channels.groups.new(curve.group)
        fcurve.group = groups[curve.group]
        _fill(fcurve, frames, curve.values)
    action.use_frame_range = True
    action.frame_start, action.frame_end = float(frames[0]), max(float(np.ceil(frames[-1])), float(frames[0]) + 1)
    if with_track:
        _add_track(animation, action, slot)
    return action


def _fill(fcurve: bpy.types.FCurve, frames: np.ndarray, values: np.ndarray) -> None:
    points = fcurve.keyframe_points
    points.add(len(frames))
    points.foreach_set("co", np.stack([frames, values], 1).astype(np.float32).ravel())
    points.foreach_set("interpolation", np.full(len(frames), _LINEAR, dtype=np.int32))
    fcurve.update()


def _add_track(animation: bpy.types.AnimData, action: bpy.types.Action, slot: Any) -> None:
    track = animation.nla_tracks.new()
    track.name = action.name
    strip = track.strips.new(action.name, int(action.frame_start), action)
    if slot is not None:
        strip.action_slot = slot
    strip.extrapolation = "NOTHING"
    track.mute = True
