"""Clips made by code for the capture tests: any times, any colour tags, any turn, cut anywhere."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import av
import numpy as np


def write_clip(
    path: Path, frames: Sequence[np.ndarray], fps: float = 25, time_s: Sequence[float] | None = None, codec: str = "libx264",
    metadata: dict[str, str] | None = None, is_index_first: bool = False, gop: int = 12,
) -> Path:
    """Writes (h, w, 3) uint8 sRGB frames as BT.709 video, at a constant rate or at the given times."""
    flags = ["+faststart"] * is_index_first + ["+use_metadata_tags"] * bool(metadata)
    with av.open(str(path), "w", options={"movflags": "".join(flags)} if flags else {}) as container:
        container.metadata.update(metadata or {})
        stream = container.add_stream(codec, rate=Fraction(fps).limit_denominator(1001))
        stream.height, stream.width = frames[0].shape[:2]
        stream.pix_fmt = "yuv420p"
        stream.options = {"crf": "12", "preset": "ultrafast"}
        stream.codec_context.gop_size = gop
        stream.codec_context.max_b_frames = 0
        stream.codec_context.time_base = Fraction(1, 90000)
        stream.codec_context.colorspace = stream.codec_context.color_primaries = stream.codec_context.color_trc = 1
        for number, rgb in enumerate(frames):
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(rgb), format="rgb24").reformat(
                format="yuv420p", src_colorspace=1, dst_colorspace=1, src_color_range=2, dst_color_range=1
            )
            frame.pts = round((time_s[number] if time_s is not None else number / fps) * 90000)
            frame.time_base = Fraction(1, 90000)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def write_planes(
    path: Path, planes: Sequence[np.ndarray], pixel_format: str, matrix: int, primaries: int, transfer: int, colour_range: int = 1, num_frames: int = 1
) -> Path:
    """Writes a picture given as (h, w) Y, Cb, Cr planes without loss (FFV1), tagged with code points of ITU-T H.273."""
    with av.open(str(path), "w", format="matroska") as container:
        stream = container.add_stream("ffv1", rate=25)
        stream.height, stream.width = planes[0].shape
        stream.pix_fmt = pixel_format
        context = stream.codec_context
        context.colorspace, context.color_primaries, context.color_trc, context.color_range = matrix, primaries, transfer, colour_range
        for number in range(num_frames):
            frame = av.VideoFrame(planes[0].shape[1], planes[0].shape[0], pixel_format)
            for plane, values in zip(frame.planes, planes):
                padded = np.zeros((plane.height, plane.line_size // values.itemsize), values.dtype)
                padded[:, : values.shape[1]] = values
                plane.update(padded.tobytes())
            frame.pts, frame.time_base = number, Fraction(1, 25)
            frame.colorspace, frame.color_range = matrix, colour_range
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def turn_movie(path: Path, clockwise_deg: int) -> Path:
    """Writes a display matrix into an MP4 so that players turn the picture clockwise, as phones do."""
    a, b, c, d = {0: (1, 0, 0, 1), 90: (0, 1, -1, 0), 180: (-1, 0, 0, -1), 270: (0, -1, 1, 0)}[clockwise_deg]
    data = bytearray(path.read_bytes())
    start = data.index(b"tkhd") + 4
    matrix = start + (52 if data[start] == 1 else 40)  # version 1 has 64-bit times
    data[matrix:matrix + 36] = struct.pack(">9i", a << 16, b << 16, 0, c << 16, d << 16, 0, 0, 0, 1 << 30)
    path.write_bytes(bytes(data))
    return path


def cut_file(path: Path, share: float) -> Path:
    """Keeps the first ``share`` of the bytes."""
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * share)])
    return path


def grey_frames(levels: Sequence[int], size_hw: tuple[int, int] = (64, 96)) -> list[np.ndarray]:
    """One flat grey frame per level."""
    return [np.full((*size_hw, 3), level, np.uint8) for level in levels]


def noisy_frames(num: int, size_hw: tuple[int, int] = (96, 128), seed: int = 0) -> list[np.ndarray]:
    """Frames that compress badly, so that a file can be cut in the middle of its pictures."""
    generator = np.random.default_rng(seed)
    return [generator.integers(0, 256, (*size_hw, 3), dtype=np.uint8) for _ in range(num)]
