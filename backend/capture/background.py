"""The clip as a scene's background: upright, constant rate, sRGB, quick to scrub."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
from av.video.reformatter import ColorRange, Colorspace, Interpolation

from ..errors import AvatarError
from ..reporter import Reporter
from ..storage import replacing, storage_error
from .prefetch import prefetched
from .timing import average_fps, rate_fraction, samples_for_proxy
from .video import frame_times, open_clip, walk_frames

STAGE = "background"
KEY_FRAME_EVERY = 10
"""Frames between key frames: jumping to a frame decodes at most this many."""


def write_background(
    source: Path | str, target_mp4: Path | str, max_side_px: int, reporter: Reporter, num_frames: int = 0, fps: float = 0.0
) -> dict[str, Any]:
    """Writes an upright, constant-rate H.264 copy of a clip without sound, BT.709 limited range with sRGB code values.

    Frame k shows sample ``timing.samples_for_proxy(time_s, fps)[k]``: sample k itself when the clip is of (nearly) constant rate, else the
    sample nearest to ``t0 + k / fps``. ``timing.proxy_frames`` is the way back. Equal input gives equal bytes.

    Args:
        source: the clip. target_mp4: written at once or not at all. max_side_px: longest side, never enlarged; sizes are made even.
        reporter: told the progress of stage "background".
        num_frames: use at most this many samples (0 = all). fps: rate of the copy (0 = the clip's average; give ``Capture.fps``).

    Returns:
        {"fps": float, "num_frames": int, "size_hw": (height, width)} of the copy.

    Raises:
        AvatarError: ``bad_input`` for a bad source or an unwritable target, ``environment`` when the disk is full.
    """
    info = open_clip(source)
    target_mp4 = Path(target_mp4)
    time_s = frame_times(source)
    time_s = time_s[:num_frames] if num_frames else time_s
    rate = rate_fraction(fps or average_fps(time_s, info.fps))
    shown = samples_for_proxy(time_s, float(rate))
    repeats = np.bincount(shown, minlength=len(time_s))
    size_hw = _even_size_hw(info.size_hw, max_side_px)
    written = 0
    with replacing(target_mp4) as temporary:
        try:
            with av.open(str(temporary), "w", format="mp4", options={"movflags": "+faststart", "fflags": "+bitexact"}) as container:
                stream = _add_stream(container, rate, size_hw)
                for index, _, rgb in prefetched(walk_frames(source, lambda index: index < len(time_s) and repeats[index] > 0)):
                    if index >= len(time_s):
                        break
                    if rgb is None:
                        continue
                    if rgb.shape[:2] != size_hw:
                        rgb = cv2.resize(rgb, size_hw[::-1], interpolation=cv2.INTER_AREA)
                    for _ in range(int(repeats[index])):
                        for packet in stream.encode(_video_frame(rgb, written, rate)):
                            container.mux(packet)
                        written += 1
                    reporter.progress(STAGE, index + 1, len(time_s), "frames")
                for packet in stream.encode(None):
                    container.mux(packet)
        except av.error.FFmpegError as error:
            if isinstance(error, OSError) and error.errno:
                raise storage_error(target_mp4, error) from error
            raise AvatarError("environment", f"The background clip cannot be encoded: {error}.", "", {"path": str(target_mp4)}) from error
    return {"fps": float(rate), "num_frames": written, "size_hw": size_hw}


def _even_size_hw(size_hw: tuple[int, int], max_side_px: int) -> tuple[int, int]:
    scale = min(1.0, max_side_px / max(size_hw))
    height, width = (max(2, int(round(side * scale / 2)) * 2) for side in size_hw)
    # rounding up must not enlarge an odd-sized clip
    return (height - 2 if height > size_hw[0] else height, width - 2 if width > size_hw[1] else width)


def _add_stream(container: Any, rate: Any, size_hw: tuple[int, int]) -> Any:
    stream = container.add_stream("libx264", rate=rate)
    stream.height, stream.width = size_hw
    stream.pix_fmt = "yuv420p"
    stream.time_base = 1 / rate
    context = stream.codec_context
    context.time_base = 1 / rate
    context.gop_size = KEY_FRAME_EVERY
    context.max_b_frames = 0
    context.thread_count = 2  # the encoder's output depends on it
    context.color_primaries, context.color_trc, context.colorspace, context.color_range = 1, 1, 1, 1
    stream.options = {"crf": "20", "preset": "veryfast", "x264-params": f"keyint={KEY_FRAME_EVERY}:scenecut=0:cpu-independent=1"}
    return stream


def _video_frame(rgb: np.ndarray, number: int, rate: Any) -> av.VideoFrame:
    frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(rgb), format="rgb24").reformat(
        format="yuv420p", src_colorspace=Colorspace.ITU709, dst_colorspace=Colorspace.ITU709,
        src_color_range=ColorRange.JPEG, dst_color_range=ColorRange.MPEG, interpolation=int(Interpolation.AREA | Interpolation.ACCURATE_RND | Interpolation.FULL_CHR_H_INP),
    )
    frame.pts, frame.time_base = number, 1 / rate
    return frame
