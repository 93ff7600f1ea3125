"""The shader group that sums the eigen tiles: for each slot, where on the picture this place lies, and component times weight."""

from __future__ import annotations

from typing import Any

import bpy

from .node_tree import Nodes, add_socket, new_group
from .tile_plan import PER_ATTRIBUTE, TilePlan

_TEXT = "Offset of the dynamic texture from the static one: the sum of its eigen tiles, each times a weight that Geometry Nodes compute from the controls"


def weight_attribute(slot: int, number: int) -> str:
    """Name of the face attribute with the weights ``4 number + 1 ... 4 number + 4`` of a slot (component 0 always counts 1)."""
    return f"tile_weights_{slot}_{number}"


def create_tile_group(name: str, dynamic: Any, plan: TilePlan, image: bpy.types.Image, uv_name: str) -> bpy.types.NodeTree:
    """Makes ``NAME.VA Tiles``.

    Args:
        dynamic: the package's ``DynamicTexture``. image: the picture of all tiles. uv_name: UV map of the head.
    """
    tree = new_group(f"{name}.VA Tiles", "ShaderNodeTree", _TEXT)
    add_socket(tree, "Offset", "Color", "Signed, linear light", is_output=True)
    nodes = Nodes(tree)
    uv = nodes.add("ShaderNodeUVMap", "Where on the head's texture", 0, 0, uv_map=uv_name).outputs[0]
    offset: Any = None
    row = 0.0
    for slot in range(plan.num_slots):
        place, is_inside, height = _add_place(nodes, dynamic, plan, slot, uv, row)
        summed = _add_sum(nodes, plan, slot, place, image, row)
        column = 12 + 2 * int(plan.num_weights[slot])
        kept = nodes.vector("SCALE", f"Slot {slot}, where it has patches", column, row, summed, is_inside)
        offset = kept if offset is None else nodes.vector("ADD", f"Slots 0 to {slot}", column + 1, row, offset, kept)
        row += max(height, 4) + 1
    out = nodes.add("NodeGroupOutput", "Offset", 16 + 2 * int(plan.num_weights.max()), 0)
    nodes.connect(out.inputs[0], offset)
    return tree


def _add_place(nodes: Nodes, dynamic: Any, plan: TilePlan, slot: int, uv: bpy.types.NodeSocket, row: float) -> tuple[Any, Any, float]:
    """Place on the picture in cell 0, 1 or 0 for inside or outside of all patches, and how many rows the nodes take.

    Outside, the place stays at the edge of the nearest patch: a jump there would make a graphics card take a coarser version of the picture.
    """
    place: Any = None
    nearest: Any = None
    number = 0
    for patch, (u0, v0, u1, v1) in enumerate(dynamic.patch_uv_rect.tolist()):
        if plan.slot_of_patch[patch] != slot:
            continue
        at = row + number
        number += 1
        what = f"{dynamic.block_names[dynamic.patch_block[patch]]}, patch {patch}"
        height, width = dynamic.tiles[patch].shape[1:3]
        low = nodes.vector("MAXIMUM", f"{what}: not left of or below it", 1, at, uv, (u0, v0, 0.0))
        kept = nodes.vector("MINIMUM", "not right of or above it", 2, at, low, (u1, v1, 0.0))
        away = nodes.vector("DISTANCE", "how far outside", 3, at, uv, kept)
        size = (width / plan.size_px[0] / (u1 - u0), height / plan.size_px[1] / (v1 - v0), 0.0)
        corner = (float(plan.corners_px[patch, 0]) / plan.size_px[0] - u0 * size[0], float(plan.corners_px[patch, 1]) / plan.size_px[1] - v0 * size[1], 0.0)
        on_picture = nodes.vector("MULTIPLY_ADD", f"{what} on the picture", 4, at, kept, size, corner)
        if place is None:
            place, nearest = on_picture, away
            continue
        is_nearer = nodes.math("LESS_THAN", f"nearer to {what}?", 5, at, away, nearest)
        mix = nodes.add("ShaderNodeMix", "the nearer one", 6, at, data_type="VECTOR")
        for socket, value in zip((mix.inputs["Factor"], *(each for each in mix.inputs if each.type == "VECTOR" and "Factor" not in each.name)), (is_nearer, place, on_picture)):
            nodes.connect(socket, value)
        place = next(each for each in mix.outputs if each.type == "VECTOR")
        nearest = nodes.math("MINIMUM", "distance of the nearest", 7, at, nearest, away)
    inside = nodes.math("LESS_THAN", "inside one of them?", 8, row, nearest, 1e-6)
    return place, inside, number


def _add_sum(nodes: Nodes, plan: TilePlan, slot: int, place: bpy.types.NodeSocket, image: bpy.types.Image, row: float) -> bpy.types.NodeSocket:
    """Component 0 plus each further component times its weight.

    Cycles computes nodes in the order in which they were made, and holds 255 numbers at a time: each tile is added before the next is looked up.
    Only colours are linked to colours, because a conversion between two kinds of sockets counts as a node made last.
    """
    summed = _add_tile(nodes, plan, 0, place, image, 10, row)
    for component in range(1, int(plan.num_weights[slot]) + 1):
        column = 9 + 2 * component
        number, channel = divmod(component - 1, PER_ATTRIBUTE)
        if channel == 0:
            attribute = nodes.add(
                "ShaderNodeAttribute", f"Weights {component} ... of slot {slot}", column, row + 2, attribute_type="GEOMETRY", attribute_name=weight_attribute(slot, number)
            )
            parts = nodes.add("ShaderNodeSeparateColor", "one by one", column + 1, row + 2)
            nodes.connect(parts.inputs[0], attribute.outputs["Color"])
        weight = parts.outputs[channel] if channel < 3 else attribute.outputs["Alpha"]
        tile = _add_tile(nodes, plan, component, place, image, column, row)
        add = nodes.add("ShaderNodeMix", f"+ weight {component} x component {component}", column + 1, row, data_type="RGBA", blend_type="ADD", clamp_factor=False)
        for socket, value in zip((add.inputs["Factor"], *(each for each in add.inputs if each.type == "RGBA")), (weight, summed, tile)):
            nodes.connect(socket, value)
        summed = next(each for each in add.outputs if each.type == "RGBA")
    return summed


def _add_tile(nodes: Nodes, plan: TilePlan, component: int, place: bpy.types.NodeSocket, image: bpy.types.Image, column: float, row: float) -> Any:
    texture = nodes.add("ShaderNodeTexImage", f"Component {component}", column, row, image=image, interpolation="Linear", extension="EXTEND")
    texture.texture_mapping.translation[:2] = plan.cell_offset(component)
    nodes.connect(texture.inputs[0], place)
    return texture.outputs["Color"]
