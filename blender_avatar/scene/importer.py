"""Brings an avatar package into a scene as ordinary datablocks that need none of our Python afterwards."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import bpy
import numpy as np

from ..backend_link import backend_module
from . import dynamic_texture
from .animation import camera_curves, create_action, key_frames, motions_of, rig_curves
from .camera import add_background, create_camera
from .face_group import FaceParts, create_face_group
from .light_nodes import LIGHT, scene_light
from .matching import is_empty, match_clip_colours, match_scene_to_clip
from .materials import create_materials
from .mesh import UV_NAME, create_head, materials_needed
from .names import MARK, ImportedAvatar, NewDatablocks, free_name
from .package_place import FOLDER
from .performance import new_performance, write_record
from .rig import create_rig
from .tile_images import pack_image


def import_avatar(
    context_or_scene: bpy.types.Context | bpy.types.Scene, folder: Path | str, *, head_moves: bool = True, name: str | None = None, match: bool | None = None
) -> ImportedAvatar:
    """Imports ``NAME.avatar/``.

    The package is read and checked completely before anything is created; if creating fails, everything new is removed.

    Args:
        context_or_scene: where to. folder: the package. head_moves: the head moves before a still camera (as filmed);
            otherwise the head stays still and the camera moves, which shows the same picture. name: instead of the
            package's own name. match: also match the scene's rate, range, size, camera and colours; None = only in an empty scene.

    Returns:
        The names of what was made.

    Raises:
        AvatarError (of the backend): the package is missing, damaged, tampered with or too new.
    """
    package = backend_module("package.read").read_package(Path(folder))
    dynamic = backend_module("package.read_dynamic").read_dynamic_texture(package)
    scene = context_or_scene if isinstance(context_or_scene, bpy.types.Scene) else context_or_scene.scene
    use_match = is_empty(scene) if match is None else match
    new = NewDatablocks()
    try:
        layer = bpy.context.view_layer if bpy.context.scene == scene else scene.view_layers[0]
        return _create(scene, layer, package, dynamic, head_moves, free_name(name or package.name), use_match)
    except BaseException:
        new.remove()
        raise


def _create(
    scene: bpy.types.Scene, layer: bpy.types.ViewLayer, package: Any, dynamic: Any | None, head_moves: bool, name: str, use_match: bool
) -> ImportedAvatar:
    clip = package.animation
    collection = bpy.data.collections.new(name)
    scene.collection.children.link(collection)
    root = bpy.data.objects.new(name, None)
    root.empty_display_type, root.empty_display_size = "PLAIN_AXES", 0.15
    collection.objects.link(root)
    rig = create_rig(name, package, collection, root, layer)
    light = scene_light(package.texture.light, clip.world_from_cam, head_moves) if package.texture.light is not None else None
    tiles = dynamic_texture.create_tile_material(name, package, dynamic, UV_NAME) if dynamic is not None else None
    albedo = pack_image(f"{name}.albedo", package.texture.albedo.read_bytes(), "png", "sRGB")
    mask = pack_image(f"{name}.mask", package.texture.mask.read_bytes(), "png", "Non-Color") if tiles else None
    parts = FaceParts(create_face_group(name, light, tiles.group if tiles else None), albedo, mask)
    materials = create_materials(name, materials_needed(package.mesh), parts)
    head = create_head(name, package, collection, rig, materials)
    if tiles:
        dynamic_texture.add_dynamic_texture(name, package, dynamic, tiles, collection, rig, head)
    if light is not None:
        root[LIGHT] = light.to_json()

    frames = key_frames(clip.time_s, package.fps)
    raw, smooth = motions_of(clip)
    keyed = rig_curves(package.mesh, smooth, is_root_keyed=head_moves)
    action = create_action(f"{name}|clip", rig, frames, keyed, with_track=True)
    write_record(action, new_performance(clip, frames, keyed, rig_curves(package.mesh, raw, is_root_keyed=head_moves, with_resting_joints=True)))
    views = clip.world_from_cam if head_moves else np.linalg.inv(clip.world_from_root_smooth) @ clip.world_from_cam
    camera = create_camera(name, package, collection, root, views[0])
    camera_action = None
    if np.abs(views - views[0]).max() > 1e-9:
        keyed = camera_curves(views)
        camera_action = create_action(f"{name}|camera", camera, frames, keyed, with_track=False)
        if not head_moves:  # else the camera does not depend on the track
            write_record(camera_action, new_performance(clip, frames, keyed, camera_curves(np.linalg.inv(clip.world_from_root) @ clip.world_from_cam)))
    background = add_background(name, camera, clip.background) if clip.background is not None else None
    warnings = tiles.warnings if tiles else ()
    if clip.background is not None and background is None:
        warnings += ("Blender cannot read the background clip; it was left out.",)

    _add_facts(root, package, frames, head_moves)
    if use_match:
        match_scene_to_clip(scene, root)
        match_clip_colours(scene)
    _select(layer, rig)
    return ImportedAvatar(
        name, collection.name, root.name, rig.name, (head.name,), camera.name, action.name, camera_action.name if camera_action else None,
        background.name if background else None, use_match, warnings,
    )  # fmt: skip


def _add_facts(root: bpy.types.Object, package: Any, frames: np.ndarray, head_moves: bool) -> None:
    """Where the avatar comes from and what its clip was like, as custom properties of the root empty."""
    height, width = package.animation.size_hw
    facts: dict[str, Any] = {
        MARK: int(package.info["format_version"]),
        "consent": package.consent,
        "licences": "\n".join(package.licences),
        "head_model": package.rig_name,
        "source_file": package.source_name,
        "source_sha256": package.source_sha256,
        FOLDER: package.folder.absolute().name,
        "writer_version": str(package.info.get("writer_version", "")),
        "clip_fps": float(package.fps),
        "clip_frame_start": int(frames[0]),
        "clip_frame_end": int(np.ceil(frames[-1])),
        "clip_width_px": int(width),
        "clip_height_px": int(height),
        "head_moves": head_moves,
    }
    for key, value in facts.items():
        root[key] = value
    texts = {
        "consent": "The person who made this avatar said that the person shown agreed", "licences": "Licences of everything this avatar was made with",
        "source_sha256": "Hash of the clip it was made from",
    }  # fmt: skip
    for key, text in texts.items():
        root.id_properties_ui(key).update(description=text)


def _select(layer: bpy.types.ViewLayer, rig: bpy.types.Object) -> None:
    for ob in layer.objects:
        ob.select_set(False, view_layer=layer)
    rig.select_set(True, view_layer=layer)
    layer.objects.active = rig


