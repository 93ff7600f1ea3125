"""The texture that follows the expression, as ordinary datablocks without any handler (docs/blender-scene.md, Dynamic texture).

Geometry Nodes compute weights from the controls and store them on the head's faces; shader nodes sum the tiles of one picture by these weights.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import bpy

from .rig import add_property
from .tile_images import create_tile_image
from .tile_nodes import create_tile_group
from .tile_plan import MAX_ATTRIBUTES, TilePlan, plan_tiles
from .weights_nodes import add_face_blocks, add_weights_modifier, create_controls, create_weights_group

DYNAMIC = "dynamic"
"""Custom property of the head: how much of the dynamic texture is seen, 0..1."""


@dataclasses.dataclass(frozen=True)
class TileMaterial:
    """What materials need of the dynamic texture. group: sums the tiles. warnings: for the user."""

    plan: TilePlan
    group: bpy.types.NodeTree
    image: bpy.types.Image
    warnings: tuple[str, ...]


def create_tile_material(name: str, package: Any, dynamic: Any, uv_name: str) -> TileMaterial:
    """Makes the picture of the tiles and the shader group that sums them.

    Args:
        package: an ``AvatarPackage``. dynamic: its ``DynamicTexture``.
    """
    plan = plan_tiles(package.mesh, dynamic)
    image = create_tile_image(name, dynamic, plan)
    warnings = ()
    if plan.num_attributes > MAX_ATTRIBUTES:
        warnings = (f"The dynamic texture needs {plan.num_attributes} attributes, Eevee has room for {MAX_ATTRIBUTES}: render it with Cycles.",)
    return TileMaterial(plan, create_tile_group(name, dynamic, plan, image, uv_name), image, warnings)


def add_dynamic_texture(
    name: str, package: Any, dynamic: Any, tiles: TileMaterial, collection: bpy.types.Collection, rig: bpy.types.Object, head: bpy.types.Object
) -> bpy.types.Object:
    """Brings the weights of the tiles onto the head. Returns ``NAME.controls``."""
    add_property(head, DYNAMIC, 1.0, 0.0, 1.0, "How much of the dynamic texture is seen: 0 = the static texture alone, 1 = all of it")
    add_face_blocks(head.data, tiles.plan)
    controls = create_controls(name, dynamic, package.mesh, rig, collection)
    add_weights_modifier(head, create_weights_group(name, dynamic, tiles.plan), controls)
    return controls
