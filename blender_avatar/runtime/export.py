"""An avatar for other programs: glTF or FBX with skin, named morph targets, the clip's motion and the static texture."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import bpy

from ..backend_link import backend_module
from ..scene.materials import LASH_COLOUR, LOOKS
from ..scene.names import rig_of
from .bake_keys import bake_keyframes, unbake_keyframes

FORMATS = (".glb", ".gltf", ".fbx")
_ALPHA = {"Cornea": (1.0, 1.0, 1.0, 0.08), "Lashes": (*LASH_COLOUR[:3], 0.4)}
"""Materials that other programs cannot cut out as Blender's nodes do become plain and partly clear."""


@dataclasses.dataclass(frozen=True)
class Exported:
    """path: the file. morph_targets: their names in order. frame_start, frame_end: exported motion, inclusive."""

    path: str
    morph_targets: tuple[str, ...]
    frame_start: int
    frame_end: int


def export_avatar(root: bpy.types.Object, scene: bpy.types.Scene, path: Path | str, frame_start: int | None = None, frame_end: int | None = None) -> Exported:
    """Writes rig and head of one avatar. The scene is left as it was.

    Driven shape keys are baked for the file; only the Action in use goes along; materials are plain with the static albedo, because the dynamic texture and
    the clip's light live in nodes that these formats do not have.

    Args:
        path: ends in .glb, .gltf or .fbx. frame_start, frame_end: None = the scene's range.

    Raises:
        AvatarError: ``bad_request`` for another ending or a folder that is not there, ``bad_input`` when Blender's exporter gives up.
    """
    path = Path(path)
    error = backend_module("errors").AvatarError
    if path.suffix.lower() not in FORMATS:
        raise error("bad_request", f"{path.name} ends in none of {', '.join(FORMATS)}.", "Choose another name.", {"field": "filepath"})
    if not path.parent.is_dir():
        raise error("bad_request", f"The folder {path.parent} does not exist.", "Choose another folder.", {"field": "filepath"})
    rig = rig_of(root)
    head = next((ob for ob in root.children_recursive if ob.type == "MESH" and ob.find_armature() == rig and ob.data.shape_keys), None)
    if rig is None or head is None:
        raise error("bad_input", f"{root.name} has no rig with a head.", "Import the avatar again.", {})
    first, last = (scene.frame_start if frame_start is None else frame_start), (scene.frame_end if frame_end is None else frame_end)
    is_baked = any(driver.mute for driver in head.data.shape_keys.animation_data.drivers) if head.data.shape_keys.animation_data else True
    has_drivers = bool(head.data.shape_keys.animation_data and head.data.shape_keys.animation_data.drivers)
    with _only_selected([rig, head], rig), _plain_materials(head), _modifiers_off(head), _scene_range(scene, first, last):
        if has_drivers and not is_baked:
            bake_keyframes(root, scene, first, last)
        try:
            _write(path, rig)
        except RuntimeError as problem:
            raise error("bad_input", f"Blender could not write {path.name}: {problem}", "Look at the system console for more.", {"path": str(path)}) from problem
        finally:
            if has_drivers and not is_baked:
                unbake_keyframes(root)
    return Exported(str(path), tuple(block.name for block in head.data.shape_keys.key_blocks[1:]), first, last)


def _write(path: Path, rig: bpy.types.Object) -> None:
    if path.suffix.lower() == ".fbx":
        bpy.ops.export_scene.fbx(
            filepath=str(path), use_selection=True, object_types={"ARMATURE", "MESH"}, use_mesh_modifiers=False, add_leaf_bones=False, path_mode="COPY",
            embed_textures=True, bake_anim=True, bake_anim_use_all_actions=False, bake_anim_use_nla_strips=False, bake_anim_simplify_factor=0.0,
        )  # fmt: skip
        return
    bpy.ops.export_scene.gltf(
        filepath=str(path), export_format="GLB" if path.suffix.lower() == ".glb" else "GLTF_SEPARATE", use_selection=True, export_apply=False, export_morph=True,
        export_morph_normal=False, export_skins=True, export_animations=True, export_animation_mode="ACTIVE_ACTIONS", export_frame_range=True,
        export_force_sampling=True, export_morph_animation=True, export_cameras=False, export_lights=False, export_extras=False, export_yup=True,
        export_def_bones=False, export_leaf_bone=False, export_reset_pose_bones=True, export_attributes=False,
        export_nla_strips_merged_animation_name=rig.name,
    )  # fmt: skip


@contextlib.contextmanager
def _only_selected(objects: list[bpy.types.Object], active: bpy.types.Object) -> Iterator[None]:
    layer = bpy.context.view_layer
    if bpy.context.object is not None and bpy.context.object.mode != "OBJECT":
        bpy.ops.object.mode_set(mode="OBJECT")
    selected, was_active = [ob for ob in layer.objects if ob.select_get()], layer.objects.active
    hidden = [(ob, ob.hide_get(), ob.hide_viewport) for ob in objects]
    try:
        for ob in layer.objects:
            ob.select_set(False)
        for ob in objects:
            ob.hide_viewport = False
            ob.hide_set(False)
            ob.select_set(True)
        layer.objects.active = active
        yield
    finally:
        for ob in objects:
            ob.select_set(False)
        for ob, is_hidden, in_viewport in hidden:
            ob.hide_set(is_hidden)
            ob.hide_viewport = in_viewport
        for ob in selected:
            ob.select_set(True)
        layer.objects.active = was_active


@contextlib.contextmanager
def _plain_materials(head: bpy.types.Object) -> Iterator[None]:
    """Every material is replaced by a plain one of the same name for the time of the export."""
    before = [slot.material for slot in head.material_slots]
    albedo = next((image for material in before if material for node in material.node_tree.nodes if node.type == "TEX_IMAGE" for image in [node.image] if image and image.name.endswith(".albedo")), None)
    names = {material.name: material for material in before if material}
    made = []
    try:
        for slot, material in zip(head.material_slots, before):
            if material is None:
                continue
            name = material.name
            material.name = f"{name[:40]} (live)"
            plain = bpy.data.materials.new(name)
            made.append(plain)
            _fill_plain(plain, name.rsplit(".", 1)[-1], albedo)
            slot.material = plain
        yield
    finally:
        for slot, material in zip(head.material_slots, before):
            slot.material = material
        bpy.data.batch_remove(made)
        for name, material in names.items():
            material.name = name


def _fill_plain(material: bpy.types.Material, kind: str, albedo: bpy.types.Image | None) -> None:
    if bpy.app.version < (5, 0, 0):
        material.use_nodes = True
    tree = material.node_tree
    tree.nodes.clear()
    surface = tree.nodes.new("ShaderNodeBsdfPrincipled")
    tree.links.new(surface.outputs[0], tree.nodes.new("ShaderNodeOutputMaterial").inputs["Surface"])
    if kind in _ALPHA:
        colour = _ALPHA[kind]
        surface.inputs["Base Color"].default_value = (*colour[:3], 1.0)
        surface.inputs["Alpha"].default_value = colour[3]
        surface.inputs["Roughness"].default_value = 0.1 if kind == "Cornea" else 0.6
        return
    if kind in LOOKS:
        surface.inputs["Roughness"].default_value = LOOKS[kind].roughness
    if albedo is not None:
        texture = tree.nodes.new("ShaderNodeTexImage")
        texture.image, texture.extension = albedo, "EXTEND"
        tree.links.new(texture.outputs["Color"], surface.inputs["Base Color"])


@contextlib.contextmanager
def _modifiers_off(head: bpy.types.Object) -> Iterator[None]:
    """Only the Armature: the others are Blender's own business."""
    before = [(modifier, modifier.show_viewport, modifier.show_render) for modifier in head.modifiers if modifier.type != "ARMATURE"]
    try:
        for modifier, _, _ in before:
            modifier.show_viewport = modifier.show_render = False
        yield
    finally:
        for modifier, in_viewport, in_render in before:
            modifier.show_viewport, modifier.show_render = in_viewport, in_render


@contextlib.contextmanager
def _scene_range(scene: bpy.types.Scene, first: int, last: int) -> Iterator[Any]:
    before = scene.frame_start, scene.frame_end, scene.frame_current
    try:
        scene.frame_start, scene.frame_end = first, last
        yield
    finally:
        scene.frame_start, scene.frame_end = before[:2]
        scene.frame_set(before[2])
