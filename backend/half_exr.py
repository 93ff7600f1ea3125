"""OpenEXR files with half floats: three channels, ZIP over sixteen lines, equal bytes for equal pixels. numpy and standard library only.

Source: "OpenEXR File Layout" and the description of ZIP compression in the OpenEXR documentation. Own writer because OpenCV's is switched off
unless an environment variable was set before it was loaded.
"""

from __future__ import annotations

import struct
import zlib
from pathlib import Path

import numpy as np

from .geometry.shapes import check_shape
from .storage import replacing

_MAGIC, _VERSION, _ZIP, _HALF, _LINES = 20000630, 2, 3, 1, 16


def write_half_exr(path: Path, linear: np.ndarray) -> None:
    """Writes (H, W, 3) linear RGB as a scene-linear EXR; values are rounded to half precision. The file is there completely or not at all."""
    check_shape("linear", linear, None, None, 3)
    height, width = linear.shape[:2]
    header = struct.pack("<ii", _MAGIC, _VERSION)
    channels = b"".join(name + b"\0" + struct.pack("<iBxxxii", _HALF, 0, 1, 1) for name in (b"B", b"G", b"R")) + b"\0"
    box = struct.pack("<iiii", 0, 0, width - 1, height - 1)
    for name, kind, value in (
        (b"channels", b"chlist", channels), (b"compression", b"compression", bytes([_ZIP])), (b"dataWindow", b"box2i", box), (b"displayWindow", b"box2i", box),
        (b"lineOrder", b"lineOrder", b"\0"), (b"pixelAspectRatio", b"float", struct.pack("<f", 1)), (b"screenWindowCenter", b"v2f", struct.pack("<ff", 0, 0)),
        (b"screenWindowWidth", b"float", struct.pack("<f", 1)),
    ):  # fmt: skip
        header += name + b"\0" + kind + b"\0" + struct.pack("<i", len(value)) + value
    header += b"\0"
    # Line after line, in each line the channels by name.
    lines = np.ascontiguousarray(np.asarray(linear, np.float32)[..., ::-1].astype("<f2").transpose(0, 2, 1)).view(np.uint8).reshape(height, -1)
    chunks = [struct.pack("<i", top) + _packed(lines[top : top + _LINES].reshape(-1)) for top in range(0, height, _LINES)]
    place = len(header) + 8 * len(chunks)
    table = []
    for chunk in chunks:
        table.append(place)
        place += len(chunk)
    with replacing(Path(path)) as part:
        part.write_bytes(header + struct.pack(f"<{len(table)}Q", *table) + b"".join(chunks))


def _packed(data: np.ndarray) -> bytes:
    """Size and compressed bytes: low bytes apart from high ones, differences of neighbours, deflate; raw where that is not smaller."""
    sorted_bytes = np.concatenate([data[0::2], data[1::2]]).astype(np.int16)
    differences = sorted_bytes.copy()
    differences[1:] = (sorted_bytes[1:] - sorted_bytes[:-1] + 128) & 255
    packed = zlib.compress(differences.astype(np.uint8).tobytes(), 4)
    content = packed if len(packed) < len(data) else data.tobytes()
    return struct.pack("<i", len(content)) + content
