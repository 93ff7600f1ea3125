"""Names of an avatar's datablocks, and how to find them again. All datablocks of one avatar start with its name."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

import bpy

MARK = "video_avatar"
"""Custom property of the root empty that makes it an avatar; its value is the package's format version."""

CONTROL_BONE = "face"
GAZE_BONE = "gaze"
BONE_OF_JOINT = {"root": "root", "neck": "neck", "head": "head", "jaw": "jaw", "eye_left": "eye.L", "eye_right": "eye.R"}
FOLLOW, LIDS_FOLLOW = "follow", "lids_follow"
"""Custom properties of the gaze bone."""
AS_FILMED = "as_filmed"
"""Custom property of the head: 0 = lit by the scene, 1 = the clip's own light."""

_LONGEST_NAME = 40  # bytes; names end at 63 bytes before Blender 5.0, and the longest suffix needs about 20
_DATA = ("collections", "objects", "armatures", "meshes", "cameras", "materials", "images", "actions", "movieclips", "node_groups", "worlds", "shape_keys")


@dataclasses.dataclass(frozen=True)
class ImportedAvatar:
    """Names of what an import made (names, because references die with undo and file load).

    name: of the avatar, with .001 when it was taken. heads: mesh objects. camera_action, background: None when there is none.
    is_scene_matched: the scene took over rate, range, size, camera and colours of the clip. warnings: for the user.
    """

    name: str
    collection: str
    root: str
    rig: str
    heads: tuple[str, ...]
    camera: str
    action: str
    camera_action: str | None
    background: str | None
    is_scene_matched: bool
    warnings: tuple[str, ...] = ()


def bone_name(joint: str) -> str:
    """The bone that a joint of the package becomes."""
    return BONE_OF_JOINT.get(joint, joint)


def free_name(wanted: str) -> str:
    """``wanted``, or ``wanted.001`` and so on when any datablock of an avatar of that name exists."""
    base = " ".join(wanted.replace("|", " ").split()) or "Avatar"
    while len(base.encode()) > _LONGEST_NAME:
        base = base[:-1]
    taken = {datablock.name for kind in _DATA for datablock in getattr(bpy.data, kind)}
    candidate, number = base, 0
    while any(name == candidate or _is_part_of(name, candidate) for name in taken):
        number += 1
        candidate = f"{base}.{number:03d}"
    return candidate


def _is_part_of(name: str, avatar: str) -> bool:
    """Whether ``name`` is one of the derived names: NAME.rig, NAME|clip; but not NAME.001, which is its own avatar."""
    rest = name[len(avatar):]
    return name.startswith(avatar) and rest[:1] in ("|", ".") and not rest[1:4].isdigit()


def avatar_roots(scene: bpy.types.Scene) -> list[bpy.types.Object]:
    """Root empties of the avatars in a scene, by name."""
    return sorted((ob for ob in scene.objects if MARK in ob), key=lambda ob: ob.name)


def root_of(ob: bpy.types.Object | None) -> bpy.types.Object | None:
    """The root empty above an object, or None when it belongs to no avatar."""
    while ob is not None and MARK not in ob:
        ob = ob.parent
    return ob


def parts_of(root: bpy.types.Object) -> Iterator[bpy.types.Object]:
    """Everything below a root empty."""
    return iter(root.children_recursive)


def rig_of(root: bpy.types.Object) -> bpy.types.Object | None:
    return next((ob for ob in parts_of(root) if ob.type == "ARMATURE"), None)


def camera_of(root: bpy.types.Object) -> bpy.types.Object | None:
    return next((ob for ob in parts_of(root) if ob.type == "CAMERA"), None)


class NewDatablocks:
    """Remembers what exists, so that a failed import can be undone completely."""

    def __init__(self) -> None:
        self._before = {kind: {datablock.as_pointer() for datablock in getattr(bpy.data, kind)} for kind in _DATA}

    def remove(self) -> None:
        """Removes every datablock made since."""
        new = [
            datablock for kind in _DATA if kind != "shape_keys" for datablock in getattr(bpy.data, kind) if datablock.as_pointer() not in self._before[kind]
        ]
        bpy.data.batch_remove(new)
