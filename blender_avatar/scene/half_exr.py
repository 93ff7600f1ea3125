"""Half-float pictures as OpenEXR files. Blender itself packs float pictures at twice the size. numpy and standard library only.

The file layout is that of "The OpenEXR File Layout": single part, scan lines, ZIP compression of 16 lines at a time.
"""

from __future__ import annotations

import struct
import zlib

import numpy as np

LINES_PER_CHUNK = 16
_HALF, _ZIP = 1, 3


def exr_bytes(pixels: np.ndarray) -> bytes:
    """A whole file.

    Args:
        pixels: (height, width, 3) red, green, blue; the top row first; rounded to float16.
    """
    height, width = pixels.shape[:2]
    lines = np.ascontiguousarray(pixels[..., ::-1].astype("<f2").transpose(0, 2, 1))  # channels in order of their names: B, G, R
    channels = b"".join(name + struct.pack("<iB3xii", _HALF, 0, 1, 1) for name in (b"B\0", b"G\0", b"R\0")) + b"\0"
    window = struct.pack("<4i", 0, 0, width - 1, height - 1)
    header = struct.pack("<II", 0x01312F76, 2)
    for name, kind, value in (
        (b"channels", b"chlist", channels), (b"compression", b"compression", bytes([_ZIP])), (b"dataWindow", b"box2i", window),
        (b"displayWindow", b"box2i", window), (b"lineOrder", b"lineOrder", b"\0"), (b"pixelAspectRatio", b"float", struct.pack("<f", 1)),
        (b"screenWindowCenter", b"v2f", struct.pack("<2f", 0, 0)), (b"screenWindowWidth", b"float", struct.pack("<f", 1)),
    ):  # fmt: skip
        header += name + b"\0" + kind + b"\0" + struct.pack("<i", len(value)) + value
    header += b"\0"
    chunks = []
    for start in range(0, height, LINES_PER_CHUNK):
        raw = lines[start : start + LINES_PER_CHUNK].tobytes()
        packed = _zipped(raw)
        packed = packed if len(packed) < len(raw) else raw
        chunks.append(struct.pack("<ii", start, len(packed)) + packed)
    first = len(header) + 8 * len(chunks)
    places = first + np.concatenate([[0], np.cumsum([len(chunk) for chunk in chunks])[:-1]])
    return header + places.astype("<u8").tobytes() + b"".join(chunks)


def _zipped(raw: bytes) -> bytes:
    """Even bytes before odd ones, differences of neighbours, deflate."""
    values = np.frombuffer(raw, np.uint8)
    values = np.concatenate([values[0::2], values[1::2]]).astype(np.int16)
    values[1:] = (values[1:] - values[:-1] + 128) & 255
    return zlib.compress(values.astype(np.uint8).tobytes(), 6)
