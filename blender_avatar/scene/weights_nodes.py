"""Geometry Nodes that bring the weights of the eigen tiles onto the head, and the small mesh that computes them.

A shape key adds value times offset to every vertex: that is a matrix product, and Blender has done it before any node runs. So ``NAME.controls`` has a key per
input control whose offsets are a column of the map; where its vertices stand, in millimetres, are the weights, three to a vertex. With a hidden layer its
vertices stand for the units of that layer; nodes cut them at zero and sum them with the rows of the map.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import bpy
import numpy as np

from .drivers import drive_shape_keys
from .node_tree import Nodes, add_socket, new_group, set_modifier_input
from .tile_nodes import weight_attribute
from .tile_plan import PER_ATTRIBUTE, TilePlan

MODIFIER = "Texture weights"
UNIT_M = 0.001
"""Length that stands for 1: weights of a few units stay inside the head, where they disturb nobody's view."""
_TEXT = "Brings the weights of the dynamic texture, which the controls move, onto the faces for the materials"


def block_attribute(slot: int) -> str:
    """Name of the face attribute that says which block's weights a face needs in a slot; -1 = none."""
    return f"tile_block_{slot}"


def _map_attribute(number: int) -> str:
    """Name of the point attribute with rows ``3 number ... 3 number + 2`` of the map."""
    return f"map_{number}"


def create_controls(name: str, dynamic: Any, mesh: Any, rig: bpy.types.Object, collection: bpy.types.Collection) -> bpy.types.Object:
    """Makes ``NAME.controls`` under the armature: nothing to see, but selectable, so that it is duplicated with the rest.

    Args:
        dynamic: the package's ``DynamicTexture``. mesh: its ``MeshAsset``.
    """
    rest, columns = _first_layer(dynamic)
    data = bpy.data.meshes.new(f"{name}.controls")
    data.vertices.add(len(rest))
    data.vertices.foreach_set("co", rest.ravel())
    if dynamic.hidden_weight is not None:
        _store_map(data, dynamic.map_weight)
    ob = bpy.data.objects.new(data.name, data)
    ob.parent = rig
    collection.objects.link(ob)
    ob.shape_key_add(name="Basis", from_mix=False)
    for control, offsets in zip(dynamic.input_names, columns):
        key = ob.shape_key_add(name=control, from_mix=False)
        key.points.foreach_set("co", (rest + offsets).astype(np.float32).ravel())
        low, high = (float(limit) for limit in mesh.shape_key_limits[mesh.shape_key_names.index(control)])
        key.slider_min, key.slider_max, key.value = low, high, 0.0
    data.shape_keys.name = ob.name
    drive_shape_keys(data.shape_keys.key_blocks, rig, dataclasses.replace(mesh, shape_key_names=dynamic.input_names))
    return ob


def _first_layer(dynamic: Any) -> tuple[np.ndarray, np.ndarray]:
    """(n, 3) float32 places of the vertices at rest and (E, n, 3) offsets per control, m.

    Of a linear map: three rows to a vertex. Of a hidden layer: one unit to a vertex, along z.
    """
    if dynamic.hidden_weight is not None:
        rest = np.zeros((len(dynamic.hidden_bias), 3), np.float32)
        rest[:, 2] = dynamic.hidden_bias
        columns = np.zeros((len(dynamic.input_names), *rest.shape), np.float32)
        columns[..., 2] = dynamic.hidden_weight.T
    else:
        count = -(-len(dynamic.map_bias) // 3)
        rest = np.resize(np.append(dynamic.map_bias, np.zeros(3 * count - len(dynamic.map_bias))), (count, 3)).astype(np.float32)
        padded = np.zeros((3 * count, len(dynamic.input_names)), np.float32)
        padded[: len(dynamic.map_bias)] = dynamic.map_weight
        columns = padded.T.reshape(len(dynamic.input_names), count, 3)
    return rest * np.float32(UNIT_M), columns * np.float32(UNIT_M)


def _store_map(data: bpy.types.Mesh, rows: np.ndarray) -> None:
    """Stores (K, points) as point attributes, three rows each."""
    padded = np.zeros((-(-len(rows) // 3) * 3, rows.shape[1]), np.float32)
    padded[: len(rows)] = rows
    for number in range(len(padded) // 3):
        values = np.ascontiguousarray(padded[3 * number : 3 * number + 3].T)
        data.attributes.new(_map_attribute(number), "FLOAT_VECTOR", "POINT").data.foreach_set("vector", values.ravel())


def add_face_blocks(data: bpy.types.Mesh, plan: TilePlan) -> None:
    """Stores which blocks paint on each face. Only slots with several blocks need it."""
    for slot in range(plan.num_slots):
        data.attributes.new(block_attribute(slot), "INT", "FACE").data.foreach_set("value", np.ascontiguousarray(plan.block_of_face[slot], np.int32))


def create_weights_group(name: str, dynamic: Any, plan: TilePlan) -> bpy.types.NodeTree:
    """Makes ``NAME.VA Weights``."""
    tree = new_group(f"{name}.VA Weights", "GeometryNodeTree", _TEXT)
    tree.is_modifier = True
    add_socket(tree, "Geometry", "Geometry", "The head", is_output=True)
    add_socket(tree, "Geometry", "Geometry", "The head")
    add_socket(tree, "Controls", "Object", "The mesh whose shape keys are the map from controls to weights")
    nodes = Nodes(tree)
    given = nodes.add("NodeGroupInput", "What comes in", -8, 0).outputs
    controls = nodes.add("GeometryNodeObjectInfo", "Controls", -7, 1, transform_space="ORIGINAL")
    nodes.connect(controls.inputs["Object"], given["Controls"])
    place = nodes.add("GeometryNodeInputPosition", "Where the vertices are", -7, 3).outputs[0]
    values = nodes.vector("SCALE", "in millimetres: the values", -6, 3, place, 1 / UNIT_M)
    weights = (_read_weights if dynamic.hidden_weight is None else _sum_map)(nodes, dynamic, controls.outputs["Geometry"], values)
    head = given["Geometry"]
    row = 0.0
    for slot in range(plan.num_slots):
        head, row = _add_slot(nodes, dynamic, plan, slot, weights, head, row)
    out = nodes.add("NodeGroupOutput", "The head with weights", 12, 0)
    nodes.connect(out.inputs[0], head)
    return tree


def _read_weights(nodes: Nodes, dynamic: Any, points: Any, values: Any) -> list[Any]:
    """One output per row of a linear map, from the vertices: weights of all components, block after block."""
    weights: list[Any] = []
    for number in range(-(-len(dynamic.map_bias) // 3)):
        row = 5 + 1.2 * number
        sample = nodes.add("GeometryNodeSampleIndex", f"Rows {3 * number} ... of the map", -3, row, data_type="FLOAT_VECTOR", domain="POINT")
        nodes.connect(sample.inputs["Geometry"], points)
        nodes.connect(_active(sample.inputs, "Value", "VECTOR"), values)
        sample.inputs["Index"].default_value = number
        weights += _one_by_one(nodes, _active(sample.outputs, "Value", "VECTOR"), row)
    return weights[: len(dynamic.map_bias)]


def _sum_map(nodes: Nodes, dynamic: Any, points: Any, values: Any) -> list[Any]:
    """The same behind a hidden layer: sum over its units of relu(value) x rows of the map, plus bias."""
    split = nodes.add("ShaderNodeSeparateXYZ", "Value of the unit", -6, 4.2)
    nodes.connect(split.inputs[0], values)
    active = nodes.math("MAXIMUM", "not below 0", -5, 4.2, split.outputs["Z"], 0.0)
    weights: list[Any] = []
    num_rows = len(dynamic.map_bias)
    for number in range(-(-num_rows // 3)):
        row = 6 + 1.2 * number
        product = nodes.vector("SCALE", "x value of the unit", -4, row, _named(nodes, _map_attribute(number), "FLOAT_VECTOR", -5, row), active)
        total = nodes.add("GeometryNodeAttributeStatistic", f"Rows {3 * number} ... of the map", -3, row, data_type="FLOAT_VECTOR", domain="POINT")
        nodes.connect(total.inputs["Geometry"], points)
        nodes.connect(_active(total.inputs, "Attribute", "VECTOR"), product)
        bias = [float(dynamic.map_bias[index]) if index < num_rows else 0.0 for index in range(3 * number, 3 * number + 3)]
        weights += _one_by_one(nodes, nodes.vector("ADD", "plus bias", -2, row, _active(total.outputs, "Sum", "VECTOR"), bias), row)
    return weights[:num_rows]


def _one_by_one(nodes: Nodes, triple: Any, row: float) -> list[Any]:
    split = nodes.add("ShaderNodeSeparateXYZ", "one by one", -1, row)
    nodes.connect(split.inputs[0], triple)
    return list(split.outputs)


def _add_slot(nodes: Nodes, dynamic: Any, plan: TilePlan, slot: int, weights: list[Any], head: Any, row: float) -> tuple[Any, float]:
    """Stores the attributes of one slot; returns the head with them, and the next free row."""
    blocks = [int(block) for block in np.unique(plan.block_of_face[slot]) if block >= 0]
    which = _named(nodes, block_attribute(slot), "INT", 3, row + 1) if len(blocks) > 1 else None
    for number in range(-(-int(plan.num_weights[slot]) // PER_ATTRIBUTE)):
        colours = []
        for place, block in enumerate(blocks):
            combine = nodes.add("FunctionNodeCombineColor", f"{dynamic.block_names[block]}, weights {4 * number + 1} ...", 2, row + place)
            for channel in range(PER_ATTRIBUTE):
                component = number * PER_ATTRIBUTE + channel + 1
                has = component < int(dynamic.block_num_components[block])
                nodes.connect(combine.inputs[channel], weights[dynamic.block_starts[block] + component] if has else 0.0)
            colours.append(combine.outputs[0])
        value = colours[0]
        if which is not None:
            value = _add_choice(nodes, blocks, colours, which, row)
        store = nodes.add("GeometryNodeStoreNamedAttribute", f"Weights for the shader, slot {slot}", 5 + number + slot, row, data_type="FLOAT_COLOR", domain="FACE")
        nodes.connect(store.inputs["Geometry"], head)
        nodes.connect(store.inputs["Name"], weight_attribute(slot, number))
        nodes.connect(_active(store.inputs, "Value", "RGBA"), value)
        head = store.outputs[0]
        row += len(blocks) + 1
    return head, row


def _add_choice(nodes: Nodes, blocks: list[int], colours: list[Any], which: Any, row: float) -> Any:
    """The colour of each face's block. One point per block holds it and the faces look it up: four times as fast as choosing on every face."""
    points = nodes.add("GeometryNodePoints", "One point per block", 4, row + 1)
    points.inputs["Count"].default_value = max(blocks) + 1
    switch = nodes.add("GeometryNodeIndexSwitch", "Weights of each block", 4, row, data_type="RGBA")
    while len(switch.index_switch_items) < max(blocks) + 1:
        switch.index_switch_items.new()
    nodes.connect(switch.inputs["Index"], nodes.add("GeometryNodeInputIndex", "Number of the block", 3, row).outputs[0])
    for block, colour in zip(blocks, colours):
        nodes.connect(switch.inputs[1 + block], colour)
    sample = nodes.add("GeometryNodeSampleIndex", "The face's block", 5, row, data_type="FLOAT_COLOR", domain="POINT", clamp=True)
    nodes.connect(sample.inputs["Geometry"], points.outputs[0])
    nodes.connect(_active(sample.inputs, "Value"), switch.outputs[0])
    nodes.connect(sample.inputs["Index"], which)
    return _active(sample.outputs, "Value")


def add_weights_modifier(head: bpy.types.Object, group: bpy.types.NodeTree, controls: bpy.types.Object) -> None:
    """Puts the group on the head, behind the Armature."""
    modifier = head.modifiers.new(MODIFIER, "NODES")
    modifier.node_group = group
    socket = next(item for item in group.interface.items_tree if item.in_out == "INPUT" and item.socket_type == "NodeSocketObject")
    set_modifier_input(modifier, socket.identifier, controls)
    head.modifiers.move(len(head.modifiers) - 1, [each.type for each in head.modifiers].index("ARMATURE") + 1)
    modifier.show_expanded = False


def _named(nodes: Nodes, name: str, kind: str, column: float, row: float) -> Any:
    node = nodes.add("GeometryNodeInputNamedAttribute", name, column, row, data_type=kind)
    node.inputs["Name"].default_value = name
    return _active(node.outputs, "Attribute")


def _active(sockets: Any, name: str, kind: str = "") -> Any:
    """The socket of that name that is in use: some nodes have one per type of data."""
    found = [socket for socket in sockets if socket.name == name and (not kind or socket.type == kind)]
    return next((socket for socket in found if socket.enabled), found[0])
