"""Writes ONNX files: just enough of the format for a chain of layers, with equal bytes for equal content and no further package.

ONNX is protocol buffers (onnx.proto3 of the Open Neural Network Exchange, IR version 8); a message is a row of fields, each a key
(number << 3 | kind) and a value: kind 0 a variable-length integer, kind 2 a length and bytes, kind 5 four bytes.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence

import numpy as np

IR_VERSION, OPSET = 8, 17
_FLOAT, _INT64 = 1, 7
_ATTRIBUTE_FLOAT, _ATTRIBUTE_INT, _ATTRIBUTE_STRING, _ATTRIBUTE_INTS = 1, 2, 3, 7

Attribute = float | int | str | Sequence[int]


class OnnxGraph:
    """Collects nodes and constants in order; ``encoded`` gives the file's bytes.

    Args:
        name: of the graph.
    """

    def __init__(self, name: str):
        self.name = name
        self._nodes: list[bytes] = []
        self._constants: dict[str, bytes] = {}
        self._count = 0

    def constant(self, array: np.ndarray, name: str = "") -> str:
        """Adds an array, float32 or int64; returns its name."""
        array = np.asarray(array)
        array = array.astype("<i8") if array.dtype.kind in "iu" else array.astype("<f4")
        name = name or f"constant_{len(self._constants)}"
        kind = _INT64 if array.dtype.kind == "i" else _FLOAT
        fields = b"".join(_integer(1, size) for size in array.shape)
        self._constants[name] = fields + _integer(2, kind) + _text(8, name) + _bytes(9, np.ascontiguousarray(array).tobytes())
        return name

    def node(self, operator: str, inputs: Sequence[str], output: str = "", **attributes: Attribute) -> str:
        """Adds an operator with one output; returns the output's name."""
        output = output or f"{operator.lower()}_{self._count}"
        self._count += 1
        fields = b"".join(_text(1, name) for name in inputs) + _text(2, output) + _text(3, output) + _text(4, operator)
        fields += b"".join(_bytes(5, _attribute(key, value)) for key, value in sorted(attributes.items()))
        self._nodes.append(fields)
        return output

    def encoded(
        self, inputs: Mapping[str, Sequence[int | str]], outputs: Mapping[str, Sequence[int | str]], producer: str, metadata: Mapping[str, str]
    ) -> bytes:
        """The file. ``inputs``, ``outputs``: names and shapes of float tensors; a text in a shape is a free size. ``metadata``: further texts."""
        graph = b"".join(_bytes(1, node) for node in self._nodes) + _text(2, self.name)
        graph += b"".join(_bytes(5, constant) for constant in self._constants.values())
        graph += b"".join(_bytes(11, _value(name, shape)) for name, shape in inputs.items())
        graph += b"".join(_bytes(12, _value(name, shape)) for name, shape in outputs.items())
        model = _integer(1, IR_VERSION) + _text(2, producer) + _bytes(7, graph) + _bytes(8, _text(1, "") + _integer(2, OPSET))
        return model + b"".join(_bytes(14, _text(1, key) + _text(2, value)) for key, value in sorted(metadata.items()))


def _value(name: str, shape: Sequence[int | str]) -> bytes:
    sizes = b"".join(_bytes(1, _text(2, size) if isinstance(size, str) else _integer(1, size)) for size in shape)
    return _text(1, name) + _bytes(2, _bytes(1, _integer(1, _FLOAT) + _bytes(2, sizes)))


def _attribute(name: str, value: Attribute) -> bytes:
    fields = _text(1, name)
    if isinstance(value, float):
        return fields + _key(2, 5) + struct.pack("<f", value) + _integer(20, _ATTRIBUTE_FLOAT)
    if isinstance(value, int):
        return fields + _integer(3, value) + _integer(20, _ATTRIBUTE_INT)
    if isinstance(value, str):
        return fields + _bytes(4, value.encode()) + _integer(20, _ATTRIBUTE_STRING)
    return fields + b"".join(_integer(8, number) for number in value) + _integer(20, _ATTRIBUTE_INTS)


def _key(field: int, kind: int) -> bytes:
    return _variable(field << 3 | kind)


def _variable(number: int) -> bytes:
    """Seven bits a byte, lowest first; negative numbers as 64 bit."""
    number &= (1 << 64) - 1
    result = bytearray()
    while number > 127:
        result.append(number & 127 | 128)
        number >>= 7
    result.append(number)
    return bytes(result)


def _integer(field: int, number: int) -> bytes:
    return _key(field, 0) + _variable(int(number))


def _bytes(field: int, content: bytes) -> bytes:
    return _key(field, 2) + _variable(len(content)) + content


def _text(field: int, text: str) -> bytes:
    return _bytes(field, text.encode())
