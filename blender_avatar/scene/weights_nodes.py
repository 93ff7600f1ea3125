"""Geometry Nodes that compute the weights of the eigen tiles from the controls, and the small meshes they read.

``NAME.controls`` has one vertex per input control, and a shape key for each that lifts that vertex by 1 m: its height is the control's value. A sum over
the vertices of (row of the map) x height is one row of a matrix product. With a hidden layer there is a second mesh, one vertex per entry of its matrix;
then the sum is over the values of the hidden layer, which take the place of the heights.
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
_TEXT = "Computes the weights of the dynamic texture from the controls and stores them on the faces, for the materials"
_ROW, _COLUMN, _ENTRY, _BIAS = "row", "column", "entry", "bias"


def block_attribute(slot: int) -> str:
    """Name of the face attribute that says which block's weights a face needs in a slot; -1 = none."""
    return f"tile_block_{slot}"


def _map_attribute(number: int) -> str:
    """Name of the point attribute with rows ``3 number ... 3 number + 2`` of the map."""
    return f"map_{number}"


def create_controls(name: str, dynamic: Any, mesh: Any, rig: bpy.types.Object, collection: bpy.types.Collection) -> bpy.types.Object:
    """Makes ``NAME.controls`` under the armature: invisible, but selectable, so that it is duplicated with the rest.

    Args:
        dynamic: the package's ``DynamicTexture``. mesh: its ``MeshAsset``.
    """
    count = max(len(dynamic.input_names), dynamic.map_weight.shape[1])
    data = bpy.data.meshes.new(f"{name}.controls")
    data.vertices.add(count)
    points = np.zeros((count, 3), np.float32)
    data.vertices.foreach_set("co", points.ravel())
    ob = bpy.data.objects.new(data.name, data)
    ob.parent = rig
    collection.objects.link(ob)
    ob.shape_key_add(name="Basis", from_mix=False)
    for row, control in enumerate(dynamic.input_names):
        key = ob.shape_key_add(name=control, from_mix=False)
        lifted = points.copy()
        lifted[row, 2] = 1.0
        key.points.foreach_set("co", lifted.ravel())
        low, high = (float(limit) for limit in mesh.shape_key_limits[mesh.shape_key_names.index(control)])
        key.slider_min, key.slider_max, key.value = low, high, 0.0
    data.shape_keys.name = ob.name
    drive_shape_keys(data.shape_keys.key_blocks, rig, dataclasses.replace(mesh, shape_key_names=dynamic.input_names))
    padded = np.zeros((len(dynamic.map_bias), count), np.float32)
    padded[:, : dynamic.map_weight.shape[1]] = dynamic.map_weight
    _store_map(data, padded)
    return ob


def create_hidden_layer(name: str, dynamic: Any, rig: bpy.types.Object, collection: bpy.types.Collection) -> bpy.types.Object | None:
    """Makes ``NAME.hidden``: H x E vertices with the entries of the hidden layer, row after row. None when there is no such layer."""
    if dynamic.hidden_weight is None:
        return None
    num_rows, num_columns = dynamic.hidden_weight.shape
    data = bpy.data.meshes.new(f"{name}.hidden")
    data.vertices.add(num_rows * num_columns)
    data.vertices.foreach_set("co", np.zeros(3 * num_rows * num_columns, np.float32))
    rows, columns = (index.ravel().astype(np.int32) for index in np.indices((num_rows, num_columns)))
    data.attributes.new(_ROW, "INT", "POINT").data.foreach_set("value", rows)
    data.attributes.new(_COLUMN, "INT", "POINT").data.foreach_set("value", columns)
    data.attributes.new(_ENTRY, "FLOAT", "POINT").data.foreach_set("value", np.ascontiguousarray(dynamic.hidden_weight, np.float32).ravel())
    data.attributes.new(_BIAS, "FLOAT", "POINT").data.foreach_set("value", np.repeat(dynamic.hidden_bias.astype(np.float32), num_columns))
    ob = bpy.data.objects.new(data.name, data)
    ob.parent = rig
    collection.objects.link(ob)
    return ob


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
    add_socket(tree, "Controls", "Object", "One vertex per control, as high as the control's value")
    if dynamic.hidden_weight is not None:
        add_socket(tree, "Hidden layer", "Object", "One vertex per entry of the hidden layer")
    nodes = Nodes(tree)
    given = nodes.add("NodeGroupInput", "What comes in", -8, 0).outputs
    controls = nodes.add("GeometryNodeObjectInfo", "Controls", -7, 1, transform_space="ORIGINAL")
    nodes.connect(controls.inputs["Object"], given["Controls"])
    height = nodes.add("GeometryNodeInputPosition", "Where the vertices are", -7, 3)
    split = nodes.add("ShaderNodeSeparateXYZ", "Height = value of the control", -6, 3)
    nodes.connect(split.inputs[0], height.outputs[0])
    points, value = controls.outputs["Geometry"], split.outputs["Z"]
    if dynamic.hidden_weight is not None:
        value = _add_hidden_layer(nodes, given["Hidden layer"], points, value, dynamic.hidden_weight.shape[1])
    weights = _add_map(nodes, dynamic, points, value)
    head = given["Geometry"]
    row = 0.0
    for slot in range(plan.num_slots):
        head, row = _add_slot(nodes, dynamic, plan, slot, weights, head, row)
    out = nodes.add("NodeGroupOutput", "The head with weights", 12, 0)
    nodes.connect(out.inputs[0], head)
    return tree


def _add_hidden_layer(nodes: Nodes, hidden: Any, controls: Any, height: Any, num_columns: int) -> Any:
    """relu(sum of entry x control + bias) of row i, for the vertex i of the controls' mesh."""
    info = nodes.add("GeometryNodeObjectInfo", "Entries of the hidden layer", -7, -4, transform_space="ORIGINAL")
    nodes.connect(info.inputs["Object"], hidden)
    named = {key: _named(nodes, key, kind, -6, -6 + place) for place, (key, kind) in enumerate(((_COLUMN, "INT"), (_ENTRY, "FLOAT"), (_ROW, "INT"), (_BIAS, "FLOAT")))}
    sample = nodes.add("GeometryNodeSampleIndex", "Value of the entry's control", -5, -5, data_type="FLOAT", domain="POINT")
    nodes.connect(sample.inputs["Geometry"], controls)
    nodes.connect(_active(sample.inputs, "Value"), height)
    nodes.connect(sample.inputs["Index"], named[_COLUMN])
    product = nodes.math("MULTIPLY", "Entry x control", -4, -5, named[_ENTRY], _active(sample.outputs, "Value"))
    total = nodes.add("GeometryNodeAccumulateField", "Sum of each row", -3, -5, data_type="FLOAT", domain="POINT")
    nodes.connect(_active(total.inputs, "Value"), product)
    nodes.connect(total.inputs["Group ID"], named[_ROW])
    biased = nodes.math("ADD", "plus bias", -2, -5, _active(total.outputs, "Total"), named[_BIAS])
    kept = nodes.math("MAXIMUM", "not below 0", -1, -5, biased, 0.0)
    number = nodes.add("GeometryNodeInputIndex", "Number of the vertex", -1, -3).outputs[0]
    first = nodes.math("MULTIPLY", "where its row begins", 0, -3, number, float(num_columns))
    value = nodes.add("GeometryNodeSampleIndex", "Value of the hidden layer", 1, -5, data_type="FLOAT", domain="POINT", clamp=True)
    nodes.connect(value.inputs["Geometry"], info.outputs["Geometry"])
    nodes.connect(_active(value.inputs, "Value"), kept)
    nodes.connect(value.inputs["Index"], first)
    return _active(value.outputs, "Value")


def _add_map(nodes: Nodes, dynamic: Any, points: Any, value: Any) -> list[Any]:
    """One output per row of the map: weights of all components, block after block."""
    weights: list[Any] = []
    num_rows = len(dynamic.map_bias)
    for number in range(-(-num_rows // 3)):
        row = 5 + 2 * number
        entries = _named(nodes, _map_attribute(number), "FLOAT_VECTOR", -5, row)
        product = nodes.vector("SCALE", "x value of the control", -4, row, entries, value)
        total = nodes.add("GeometryNodeAttributeStatistic", f"Rows {3 * number} ... of the map", -3, row, data_type="FLOAT_VECTOR", domain="POINT")
        nodes.connect(total.inputs["Geometry"], points)
        nodes.connect(_active(total.inputs, "Attribute", "VECTOR"), product)
        bias = [float(dynamic.map_bias[index]) if index < num_rows else 0.0 for index in range(3 * number, 3 * number + 3)]
        biased = nodes.vector("ADD", "plus bias", -2, row, _active(total.outputs, "Sum", "VECTOR"), bias)
        split = nodes.add("ShaderNodeSeparateXYZ", "one by one", -1, row)
        nodes.connect(split.inputs[0], biased)
        weights += list(split.outputs)
    return weights[:num_rows]


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


def add_weights_modifier(head: bpy.types.Object, group: bpy.types.NodeTree, controls: bpy.types.Object, hidden: bpy.types.Object | None) -> None:
    """Puts the group on the head, behind the Armature."""
    modifier = head.modifiers.new(MODIFIER, "NODES")
    modifier.node_group = group
    objects = [controls, hidden]
    sockets = [item for item in group.interface.items_tree if item.in_out == "INPUT" and item.socket_type == "NodeSocketObject"]
    for socket, ob in zip(sockets, objects):
        set_modifier_input(modifier, socket.identifier, ob)
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
