"""The armature: bones at the package's joints, the controls on the bone ``face``, the gaze target."""

from __future__ import annotations

from typing import Any

import bpy
import numpy as np

from . import shapes
from .axes import blender_points
from .drivers import average_driver, gaze_path
from .names import BONE_OF_JOINT, CONTROL_BONE, FOLLOW, GAZE_BONE, LIDS_FOLLOW, bone_name

BONE_LENGTH_M = 0.05
GAZE_DISTANCE_M = 0.6
_COLLECTION_OF = {"eye.L": "Eyes", "eye.R": "Eyes", GAZE_BONE: "Eyes", CONTROL_BONE: "Face"}
_PALETTE_OF = {"Head": "THEME09", "Eyes": "THEME07", "Face": "THEME03"}


def create_rig(name: str, package: Any, collection: bpy.types.Collection, root: bpy.types.Object, layer: bpy.types.ViewLayer) -> bpy.types.Object:
    """Makes the armature object ``NAME.rig`` in its rest pose, with every control at its neutral value.

    Args:
        name: of the avatar. package: an ``AvatarPackage``. collection, root: where it goes. layer: a view layer that shows the collection.
    """
    mesh = package.mesh
    armature = bpy.data.armatures.new(f"{name}.rig")
    rig = bpy.data.objects.new(f"{name}.rig", armature)
    rig.parent = root
    rig.show_in_front = True
    collection.objects.link(rig)
    eyes = _eye_positions(mesh)
    _create_bones(rig, mesh, eyes, layer)
    layer.update()  # makes the pose, also in a scene that is not on show
    for pose_bone in rig.pose.bones:
        pose_bone.rotation_mode = "QUATERNION"
    _group_bones(armature)
    _draw_bones(name, rig, mesh, eyes)
    _add_controls(rig, package.controls)
    if eyes:
        _add_gaze(rig, eyes)
    return rig


def _eye_positions(mesh: Any) -> dict[str, np.ndarray]:
    """Bone name -> (3,) rest position, package axes."""
    return {BONE_OF_JOINT[joint]: mesh.joints[mesh.joint_names.index(joint)].astype(float) for joint in ("eye_left", "eye_right") if joint in mesh.joint_names}


def _create_bones(rig: bpy.types.Object, mesh: Any, eyes: dict[str, np.ndarray], layer: bpy.types.ViewLayer) -> None:
    # bones can only be made in edit mode, which works on the active object
    if bpy.context.object is not None and bpy.context.object.mode != "OBJECT":
        bpy.ops.object.mode_set(mode="OBJECT")
    layer.objects.active = rig
    with bpy.context.temp_override(scene=layer.id_data, view_layer=layer, active_object=rig, object=rig):
        bpy.ops.object.mode_set(mode="EDIT")
        try:
            _add_bones(rig.data.edit_bones, mesh, eyes)
        finally:
            bpy.ops.object.mode_set(mode="OBJECT")


def _add_bones(bones: Any, mesh: Any, eyes: dict[str, np.ndarray]) -> None:
    made = []
    for joint, parent in enumerate(mesh.joint_parents.tolist()):
        made.append(_upright_bone(bones, bone_name(mesh.joint_names[joint]), mesh.joints[joint], made[parent] if parent >= 0 else None))
    head = bones.get("head") or made[-1]
    top = mesh.vertices.max(0)
    side = np.array([top[0] + 0.06, 0.5 * (top[1] + mesh.joints[:, 1].max()), 0.0])
    _upright_bone(bones, CONTROL_BONE, side, head).use_deform = False
    if eyes:
        middle = np.mean(list(eyes.values()), 0) + [0, 0, GAZE_DISTANCE_M]
        # no parent: a head that turns keeps looking at one place
        _upright_bone(bones, GAZE_BONE, middle, None).use_deform = False


def _upright_bone(bones: Any, name: str, position: np.ndarray, parent: Any) -> Any:
    bone = bones.new(name)
    bone.head = blender_points(np.asarray(position, dtype=float)).tolist()
    bone.tail = (bone.head[0], bone.head[1], bone.head[2] + BONE_LENGTH_M)
    bone.roll = 0
    bone.use_connect = False
    bone.parent = parent
    return bone


def _group_bones(armature: bpy.types.Armature) -> None:
    groups = {group: armature.collections.new(group) for group in ("Head", "Eyes", "Face")}
    for bone in armature.bones:
        group = _COLLECTION_OF.get(bone.name, "Head")
        groups[group].assign(bone)
        bone.color.palette = _PALETTE_OF[group]


def _draw_bones(name: str, rig: bpy.types.Object, mesh: Any, eyes: dict[str, np.ndarray]) -> None:
    size = mesh.vertices.max(0) - mesh.vertices.min(0)
    head_at = float(mesh.joints[mesh.joint_names.index("head")][1]) if "head" in mesh.joint_names else 0.0
    half = 0.5 * float(np.ptp([at[0] for at in eyes.values()])) if eyes else 0.03
    outlines = {
        "root": shapes.root_ring(float(size[0])),
        "neck": shapes.circle(0.45 * float(size[0]), "xz"),
        "head": shapes.head_ring(float(size[0]), float(mesh.vertices[:, 1].max()) - 0.35 * float(size[1]) - head_at + 0.02),
        "jaw": shapes.circle(0.02, "xy", (0, -0.05, 0.11)),
        "eye.L": shapes.eye_ring(0.045),
        "eye.R": shapes.eye_ring(0.045),
        GAZE_BONE: shapes.gaze_target(half),
        CONTROL_BONE: shapes.face_badge(),
    }
    shared: dict[str, bpy.types.Object] = {}
    for pose_bone in rig.pose.bones:
        if pose_bone.name not in outlines:
            continue
        kind = pose_bone.name.split(".")[0]
        if kind not in shared:
            points, edges = outlines[pose_bone.name]
            outline = bpy.data.meshes.new(f"{name}.shape.{kind}")
            outline.from_pydata(points.tolist(), edges.tolist(), [])
            # in no collection: only bones use it
            shared[kind] = bpy.data.objects.new(f"{name}.shape.{kind}", outline)
        pose_bone.custom_shape = shared[kind]
        pose_bone.use_custom_shape_bone_size = False


def _add_controls(rig: bpy.types.Object, controls: Any) -> None:
    face = rig.pose.bones[CONTROL_BONE]
    for control in controls:
        text = f"{_words(control.name)} (seen in the clip: {control.seen_min:.2f} to {control.seen_max:.2f})"
        if control.name.startswith("eyeLook"):
            text += ". Moves the lids; turn the eye bones or use the gaze target to turn the eyes"
        add_property(face, control.name, control.neutral, control.min, control.max, text)
    # the face is a badge: only its properties mean something
    face.lock_location = face.lock_rotation = face.lock_scale = (True, True, True)
    face.lock_rotation_w = True


def _words(name: str) -> str:
    """``mouthSmileLeft`` -> ``Mouth smile left``."""
    return "".join(f" {letter.lower()}" if letter.isupper() else letter for letter in name).strip().capitalize()


def add_property(owner: Any, name: str, value: float, low: float, high: float, text: str) -> None:
    """A custom property with a range and a tooltip that library overrides may change."""
    owner[name] = float(value)
    owner.id_properties_ui(name).update(min=low, max=high, soft_min=low, soft_max=high, default=float(value), description=text)
    owner.property_overridable_library_set(f'["{name}"]', True)


def _add_gaze(rig: bpy.types.Object, eyes: dict[str, np.ndarray]) -> None:
    gaze = rig.pose.bones[GAZE_BONE]
    add_property(gaze, FOLLOW, 0.0, 0.0, 1.0, "How far both eyes and their lids follow this target instead of the keys")
    add_property(gaze, LIDS_FOLLOW, 0.0, 0.0, 1.0, "How far the lids follow eye bones turned by hand")
    for bone in eyes:
        track = rig.pose.bones[bone].constraints.new("DAMPED_TRACK")
        track.name = "Follow gaze"
        track.target, track.subtarget, track.track_axis = rig, GAZE_BONE, "TRACK_Z"
        average_driver(track, "influence", "follow", rig, gaze_path(FOLLOW))
