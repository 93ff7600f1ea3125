"""Bake images: the exact network paints one whole texture per frame, in the backend; here is what goes there and how the pictures come back."""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import bpy
import numpy as np
from mathutils import Matrix

from ..backend_link import backend_module
from ..scene.axes import BLENDER_FROM_RIG
from ..scene.dynamic_texture import DYNAMIC
from ..scene.face_group import BASE
from ..scene.names import BONE_OF_JOINT, CONTROL_BONE, camera_of, rig_of

SEQUENCE = "Baked texture"
"""Label of the image node that ``use_baked_images`` puts into a material."""
FRAMES_VERSION = 1
_FACING = np.diag([1.0, -1.0, -1.0])
"""As in docs/formats/texture-frames.md: a head that looks into the camera counts as not turned."""
_HEAD_JOINTS = ("head", "neck", "root")
_LIVE = "video_avatar_live_dynamic"
"""Custom property of the head while baked images are in use: value that ``dynamic`` had before."""


@dataclasses.dataclass(frozen=True)
class BakedImages:
    """image: name of the sequence. materials: names of those that show it. first, last: frames."""

    image: str
    materials: tuple[str, ...]
    first: int
    last: int


def write_texture_frames(path: Path, root: bpy.types.Object, scene: bpy.types.Scene, frame_start: int, frame_end: int, use_view: bool) -> int:
    """Writes the file of texture frames (docs/formats/texture-frames.md) for a range of the scene.

    Args:
        use_view: the texture also follows how the head is turned to the scene's camera, as the clip showed it; otherwise it is the same from everywhere.

    Returns:
        Number of frames.

    Raises:
        AvatarError: ``bad_request`` when the range is empty or there is no camera to turn to.
    """
    rig, camera = rig_of(root), camera_of(root)
    error = backend_module("errors").AvatarError
    if frame_end < frame_start or frame_start < 0:
        raise error("bad_request", f"The range from {frame_start} to {frame_end} cannot be baked.", "Frames are numbered from 0; start comes before end.", {})
    if use_view and camera is None:
        raise error("bad_request", f"{root.name} has no camera of the clip.", "Bake without the view, or import the avatar again.", {})
    names = [key for key in rig.pose.bones[CONTROL_BONE].keys() if isinstance(rig.pose.bones[CONTROL_BONE][key], float | int)]
    joints = [joint for joint in ("eye_left", "eye_right", "jaw") if BONE_OF_JOINT[joint] in rig.pose.bones]
    controls, rotations, orientation = [], [], []
    before = scene.frame_current, scene.frame_subframe
    try:
        for frame in range(frame_start, frame_end + 1):
            scene.frame_set(frame)
            depsgraph = bpy.context.evaluated_depsgraph_get()
            posed = rig.evaluated_get(depsgraph)
            controls.append([float(posed.pose.bones[CONTROL_BONE][name]) for name in names])
            rotations.append([_axis_angle(_own_rotation(posed, BONE_OF_JOINT[joint])) for joint in joints])
            if use_view:
                orientation.append(_orientation(posed, camera.evaluated_get(depsgraph)))
    finally:
        scene.frame_set(before[0], subframe=before[1])
    count = frame_end - frame_start + 1
    arrays: dict[str, Any] = {
        "format_version": np.array(FRAMES_VERSION, np.int32), "control_names": np.array(names), "controls": np.array(controls, np.float32),
        "joint_names": np.array(joints), "joint_rotations": np.array(rotations, np.float32).reshape(count, len(joints), 3),
        "numbers": np.arange(frame_start, frame_end + 1, dtype=np.int32),
    }  # fmt: skip
    if use_view:
        arrays["orientation"] = np.array(orientation, np.float32)
    np.savez_compressed(path, **arrays)
    return count


def _own_rotation(posed: bpy.types.Object, bone: str) -> Matrix:
    """Rotation of a bone against its parent, constraints included, in its own axes, which are the package's."""
    pose_bone = posed.pose.bones[bone]
    return posed.convert_space(pose_bone=pose_bone, matrix=pose_bone.matrix, from_space="POSE", to_space="LOCAL").to_3x3()


def _orientation(posed: bpy.types.Object, camera: bpy.types.Object) -> np.ndarray:
    """(3,) axis-angle rad of the head as the camera sees it."""
    head = next(BONE_OF_JOINT[joint] for joint in _HEAD_JOINTS if BONE_OF_JOINT[joint] in posed.pose.bones)
    rest = np.array(posed.data.bones[head].matrix_local.to_3x3())
    turned = np.array((posed.matrix_world @ posed.pose.bones[head].matrix).to_3x3().normalized()) @ rest.T  # of the head against its rest, Blender's axes
    view = np.array(camera.matrix_world.to_3x3().normalized()) @ _FACING  # OpenCV axes of the camera in Blender's world
    return _axis_angle(Matrix((_FACING @ view.T @ turned @ BLENDER_FROM_RIG[:3, :3]).tolist()))


def _axis_angle(matrix: Matrix) -> np.ndarray:
    turn = matrix.to_quaternion()
    axis, angle = turn.to_axis_angle()
    return np.array(axis) * (angle if angle <= np.pi else angle - 2 * np.pi)


def use_baked_images(root: bpy.types.Object, folder: Path) -> BakedImages:
    """Shows a folder of baked textures instead of the live one; every frame of the scene shows the picture of its number.

    Args:
        folder: what the job ``bake_textures`` made (docs/formats/texture-frames.md).

    Raises:
        AvatarError: ``asset_missing`` when pictures are not there, ``bad_input`` when the avatar has no material that takes them.
    """
    error = backend_module("errors").AvatarError
    paths = baked_pictures(folder)
    first, last = min(paths), max(paths)
    heads = [ob for ob in root.children_recursive if DYNAMIC in ob]
    groups = [(material, group) for material, group in _faces(root)]
    if not groups or not heads:
        raise error("bad_input", f"{root.name} has no material with a dynamic texture.", "Import an avatar that has one.", {})
    use_live_texture(root)
    image = bpy.data.images.load(str(paths[first]), check_existing=False)
    image.name = f"{root.name}.baked"
    image.source = "SEQUENCE"
    image.colorspace_settings.name = "sRGB" if paths[first].suffix == ".png" else "Linear Rec.709"
    if bpy.data.filepath:
        try:
            image.filepath = bpy.path.relpath(str(paths[first]))
        except ValueError:  # another drive on Windows: stays absolute
            image.filepath = str(paths[first])
    for material, group in groups:
        tree = material.node_tree
        albedo = group.inputs[BASE].links[0].from_node
        node = tree.nodes.new("ShaderNodeTexImage")
        node.label, node.location = SEQUENCE, (albedo.location.x, albedo.location.y + 320)
        node.image, node.interpolation, node.extension = image, "Linear", "EXTEND"
        user = node.image_user
        user.frame_start, user.frame_offset, user.frame_duration, user.use_auto_refresh, user.use_cyclic = first, first - 1, last - first + 1, True, False
        tree.links.new(albedo.inputs[0].links[0].from_socket, node.inputs[0])
        tree.links.new(node.outputs["Color"], group.inputs[BASE])
    for head in heads:
        head[_LIVE] = float(head[DYNAMIC])
        head[DYNAMIC] = 0.0  # the pictures hold it already
        head.update_tag()
    return BakedImages(image.name, tuple(material.name for material, _ in groups), first, last)


def use_live_texture(root: bpy.types.Object) -> bool:
    """Takes baked images out of the materials again. Returns whether there were any."""
    has_changed = False
    for material, group in _faces(root):
        tree = material.node_tree
        for node in [node for node in tree.nodes if node.label == SEQUENCE]:
            image = node.image
            tree.nodes.remove(node)
            albedo = next((each for each in tree.nodes if each.type == "TEX_IMAGE" and each.image and each.image.name.endswith(".albedo")), None)
            if albedo is not None:
                tree.links.new(albedo.outputs["Color"], group.inputs[BASE])
            if image is not None and not image.users:
                bpy.data.images.remove(image)
            has_changed = True
    for head in (ob for ob in root.children_recursive if _LIVE in ob):
        head[DYNAMIC] = float(head[_LIVE])
        del head[_LIVE]
        head.update_tag()
    return has_changed


def _faces(root: bpy.types.Object) -> Iterator[tuple[bpy.types.Material, Any]]:
    """Materials of the avatar and their node ``VA Face``."""
    done = set()
    for ob in root.children_recursive:
        for slot in ob.material_slots:
            material = slot.material
            if material is None or material.name in done:
                continue
            done.add(material.name)
            for node in material.node_tree.nodes:
                if node.type == "GROUP" and node.node_tree and BASE in node.inputs and "VA Face" in node.node_tree.name:
                    yield material, node


def baked_pictures(folder: Path) -> dict[int, Path]:
    """Number -> picture of a folder of baked textures.

    Raises:
        AvatarError: ``asset_missing`` when it is no such folder, or a picture of the range is missing.
    """
    error = backend_module("errors").AvatarError
    folder = Path(folder)
    try:
        numbers = [int(number) for number in json.loads((folder / "frames.json").read_text(encoding="utf-8"))["numbers"]]
    except (OSError, ValueError, KeyError, TypeError) as problem:
        raise error("asset_missing", f"{folder} holds no baked textures ({problem}).", "Bake the images again.", {"path": str(folder)}) from problem
    found = {int(match[1]): path for path in sorted(folder.iterdir()) if (match := re.fullmatch(r"texture_(\d+)\.(?:png|exr)", path.name))}
    missing = [number for number in numbers if number not in found]
    if missing or not numbers:
        raise error("asset_missing", f"{folder} lacks the baked texture of frame {missing[0] if missing else 1}.", "Bake the images again.", {"path": str(folder)})
    return {number: found[number] for number in numbers}
