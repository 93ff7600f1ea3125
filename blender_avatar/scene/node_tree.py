"""Building node trees: every node gets a label and a place, so that an artist can read what was made."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import bpy

Value = bpy.types.NodeSocket | float | Sequence[float]
"""What an input takes: the output of another node, or a constant."""

COLUMN, ROW = 190, 150
"""Distance of neighbouring nodes in the editor."""


class Nodes:
    """A node tree under construction. Places are counted in columns (to the right) and rows (downwards)."""

    def __init__(self, tree: bpy.types.NodeTree) -> None:
        self.tree = tree

    def add(self, kind: str, label: str, column: float, row: float, **fields: Any) -> bpy.types.Node:
        """A node of a kind, with its fields set before its sockets are used."""
        node = self.tree.nodes.new(kind)
        node.label, node.location = label, (column * COLUMN, -row * ROW)
        for field, value in fields.items():
            setattr(node, field, value)
        return node

    def connect(self, socket: bpy.types.NodeSocket, value: Value) -> None:
        """Links an input, or sets its constant."""
        if isinstance(value, bpy.types.NodeSocket):
            self.tree.links.new(value, socket)
        else:
            socket.default_value = value

    def math(self, operation: str, label: str, column: float, row: float, *values: Value, is_clamped: bool = False) -> bpy.types.NodeSocket:
        """One number of one, two or three."""
        node = self.add("ShaderNodeMath", label, column, row, operation=operation, use_clamp=is_clamped)
        for socket, value in zip(node.inputs, values):
            self.connect(socket, value)
        return node.outputs[0]

    def vector(self, operation: str, label: str, column: float, row: float, *values: Value) -> bpy.types.NodeSocket:
        """Three numbers of one, two or three triples (SCALE: a triple and a number; DOT_PRODUCT, DISTANCE: one number)."""
        node = self.add("ShaderNodeVectorMath", label, column, row, operation=operation)
        if operation == "SCALE":
            self.connect(node.inputs[0], values[0])
            self.connect(node.inputs["Scale"], values[1])
            return node.outputs["Vector"]
        for socket, value in zip(node.inputs, values):
            self.connect(socket, value)
        return node.outputs["Value" if operation in ("DOT_PRODUCT", "DISTANCE", "LENGTH") else "Vector"]


def new_group(name: str, kind: str, text: str) -> bpy.types.NodeTree:
    """An empty node group. kind: ShaderNodeTree or GeometryNodeTree. text: what it is for, shown in the asset browser and node editor."""
    tree = bpy.data.node_groups.new(name, kind)
    if hasattr(tree, "description"):  # 4.3 and later
        tree.description = text
    return tree


def add_socket(tree: bpy.types.NodeTree, name: str, kind: str, text: str, is_output: bool = False, **limits: float) -> Any:
    """A socket of a group. kind: Float, Color, Vector, Shader, Geometry or Object. limits: default, low, high."""
    socket = tree.interface.new_socket(name, in_out="OUTPUT" if is_output else "INPUT", socket_type=f"NodeSocket{kind}")
    socket.description = text
    if "low" in limits:
        socket.min_value, socket.max_value = limits["low"], limits["high"]
        socket.subtype = "FACTOR"
    if "default" in limits:
        socket.default_value = limits["default"]
    return socket


def set_modifier_input(modifier: bpy.types.Modifier, identifier: str, value: Any) -> None:
    """An input of a Geometry Nodes modifier in any Blender version."""
    inputs = getattr(getattr(modifier, "properties", None), "inputs", None)
    if inputs is not None:
        getattr(inputs, identifier).value = value
    else:
        modifier[identifier] = value
