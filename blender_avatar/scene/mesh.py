"""The head: one mesh object whose vertices keep the package's order, with shape keys, weights, materials and modifiers."""

from __future__ import annotations

from typing import Any

import bpy
import numpy as np

from .axes import blender_points
from .drivers import corrective_names, drive_correctives, drive_shape_keys
from .lashes import add_lash_attributes
from .names import AS_FILMED, bone_name
from .rig import add_property

UV_NAME = "UVMap"
MATERIAL_OF_PART = {
    "skin": "Skin", "scalp": "Scalp", "lashes": "Lashes", "eye_left": "Eye", "eye_right": "Eye", "cornea_left": "Cornea",
    "cornea_right": "Cornea", "teeth_upper": "Teeth", "teeth_lower": "Teeth", "tongue": "Tongue",
}  # fmt: skip
"""Which material each part of the mesh wears; parts unknown to this version wear Skin."""


def materials_needed(mesh: Any) -> list[str]:
    """Material names in slot order: as in ``MATERIAL_OF_PART``, only those with faces."""
    used = {MATERIAL_OF_PART.get(mesh.part_names[part], "Skin") for part in np.unique(mesh.quad_parts).tolist()}
    return [name for name in dict.fromkeys(MATERIAL_OF_PART.values()) if name in used]


def create_head(
    name: str, package: Any, collection: bpy.types.Collection, rig: bpy.types.Object, materials: dict[str, bpy.types.Material]
) -> bpy.types.Object:
    """Makes ``NAME.head`` under the armature.

    Args:
        name: of the avatar. package: an ``AvatarPackage``. materials: material name -> datablock (``materials_needed``).
    """
    mesh = package.mesh
    data = _create_mesh(f"{name}.head", mesh, materials)
    head = bpy.data.objects.new(f"{name}.head", data)
    head.parent = rig
    collection.objects.link(head)
    _add_weights(head, mesh)
    _add_shape_keys(head, mesh, rig)
    _add_modifiers(head, rig)
    add_property(head, AS_FILMED, 0.0, 0.0, 1.0, "Light of the materials: 0 = lights of the scene, 1 = as in the clip")
    return head


def _create_mesh(name: str, mesh: Any, materials: dict[str, bpy.types.Material]) -> bpy.types.Mesh:
    data = bpy.data.meshes.new(name)
    is_corner = mesh.quads >= 0
    sizes = is_corner.sum(1)
    num_corners = int(sizes.sum())
    data.vertices.add(len(mesh.vertices))
    data.vertices.foreach_set("co", np.ascontiguousarray(blender_points(mesh.vertices), dtype=np.float32).ravel())
    data.loops.add(num_corners)
    data.loops.foreach_set("vertex_index", np.ascontiguousarray(mesh.quads[is_corner], dtype=np.int32))
    data.polygons.add(len(mesh.quads))
    data.polygons.foreach_set("loop_start", np.concatenate([[0], np.cumsum(sizes)[:-1]]).astype(np.int32))
    slots = {material: slot for slot, material in enumerate(materials)}
    slot_of_part = np.array([slots.get(MATERIAL_OF_PART.get(part, "Skin"), 0) for part in mesh.part_names], dtype=np.int32)
    data.polygons.foreach_set("material_index", slot_of_part[mesh.quad_parts])
    data.polygons.foreach_set("use_smooth", np.ones(len(mesh.quads), dtype=bool))
    for material in materials.values():
        data.materials.append(material)
    layer = data.uv_layers.new(name=UV_NAME)
    layer.uv.foreach_set("vector", np.ascontiguousarray(mesh.uv[mesh.quad_uv[is_corner]], dtype=np.float32).ravel())
    add_lash_attributes(data, mesh)
    data.update(calc_edges=True)
    if data.validate(verbose=False) or len(data.polygons) != len(mesh.quads):
        raise ValueError(f"the faces of {name} are not valid")
    return data


def _add_weights(head: bpy.types.Object, mesh: Any) -> None:
    for joint, joint_name in enumerate(mesh.joint_names):
        group = head.vertex_groups.new(name=bone_name(joint_name))
        column = mesh.skin_weights[:, joint]
        # equal weights in one call: most vertices follow one bone entirely
        used = np.flatnonzero(column > 0)
        order = used[np.argsort(column[used], kind="stable")]
        starts = np.flatnonzero(np.diff(column[order], prepend=-1.0))
        for rows in np.split(order, starts[1:]) if len(order) else []:
            group.add(rows.tolist(), float(column[rows[0]]), "REPLACE")


def _add_shape_keys(head: bpy.types.Object, mesh: Any, rig: bpy.types.Object) -> None:
    head.shape_key_add(name="Basis", from_mix=False)
    for index, name in enumerate(mesh.shape_key_names):
        low, high = (float(limit) for limit in mesh.shape_key_limits[index])
        _add_key(head, name, mesh.vertices + mesh.shape_keys[index], low, high)
    for index, (name, _, _) in enumerate(corrective_names(mesh)):
        _add_key(head, name, mesh.vertices + mesh.correctives[index], -2.0, 2.0)
    keys = head.data.shape_keys
    keys.name = head.name
    drive_shape_keys(keys.key_blocks, rig, mesh)
    drive_correctives(keys.key_blocks, rig, mesh)
    head.active_shape_key_index = 0
    head.show_only_shape_key = False


def _add_key(head: bpy.types.Object, name: str, points: np.ndarray, low: float, high: float) -> None:
    key = head.shape_key_add(name=name, from_mix=False)
    key.points.foreach_set("co", np.ascontiguousarray(blender_points(points), dtype=np.float32).ravel())
    key.slider_min, key.slider_max = low, high
    key.value = 0.0  # new keys start at 1 in Blender 5


def _add_modifiers(head: bpy.types.Object, rig: bpy.types.Object) -> None:
    armature = head.modifiers.new("Armature", "ARMATURE")
    armature.object = rig
    armature.use_deform_preserve_volume = False  # linear blend skinning, as the backend computes it
    surface = head.modifiers.new("Subdivision", "SUBSURF")
    surface.levels, surface.render_levels = 0, 1
    surface.uv_smooth = "PRESERVE_BOUNDARIES"
    surface.boundary_smooth = "PRESERVE_CORNERS"
