"""Frames to an H.264 file with the colour tags phones write."""

from __future__ import annotations

from collections.abc import Iterable
from fractions import Fraction
from pathlib import Path

import numpy as np

from ..storage import replacing


def write_video(path: Path, frames: Iterable[np.ndarray], size_hw: tuple[int, int], fps: float, crf: int = 18) -> int:
    """Encodes a clip (H.264, 4:2:0, BT.709 limited range). One encoder thread, so that equal frames give equal bytes.

    Args:
        frames: (H, W, 3) uint8 sRGB each.
        crf: 0 (lossless) to 51.

    Returns:
        The number of frames.
    """
    import av
    from av.video.reformatter import ColorRange, Colorspace, Interpolation

    height, width = size_hw
    count = 0
    with replacing(path) as temporary, av.open(str(temporary), "w", format="mp4") as container:
        # cpu-independent: the encoder's fast paths decide a little differently from run to run; equal frames must give equal bytes.
        options = {"crf": str(crf), "preset": "medium", "threads": "1", "x264-params": "cpu-independent=1"}
        stream = container.add_stream("libx264", rate=Fraction(fps).limit_denominator(1001), options=options)
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        context = stream.codec_context
        context.thread_count = 1
        context.color_primaries, context.color_trc, context.colorspace = 1, 1, 1
        context.color_range = ColorRange.MPEG
        for count, picture in enumerate(frames, 1):
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(picture), format="rgb24")
            frame = frame.reformat(
                format="yuv420p", src_colorspace=Colorspace.ITU709, dst_colorspace=Colorspace.ITU709, src_color_range=ColorRange.JPEG,
                dst_color_range=ColorRange.MPEG, interpolation=int(Interpolation.AREA | Interpolation.ACCURATE_RND | Interpolation.FULL_CHR_H_INP),
            )
            frame.pts = count - 1
            frame.time_base = Fraction(1) / Fraction(fps).limit_denominator(1001)
            for packet in stream.encode(frame):
                container.mux(packet)
        for packet in stream.encode():
            container.mux(packet)
    return count
