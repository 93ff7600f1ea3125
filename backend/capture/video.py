"""Reading a video: upright, square-pixel, sRGB frames keyed by presentation time."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Collection, Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np

from ..errors import AvatarError
from .colour import SDR, ColourDecoder, transfer_name


@dataclasses.dataclass(frozen=True)
class VideoInfo:
    """What a file says about itself, and what its first frame shows.

    path: the file. size_hw: (height, width) of the upright frame with square pixels.
    fps: average frame rate. num_frames: the container's own count, 0 when it has none (a hint, not a promise).
    duration_s: the container's own duration, 0 when unknown. start_s: presentation time of the first frame.
    rotation_deg: counter-clockwise turn that makes stored pictures upright: 0, 90, 180 or 270.
    codec: name of the video codec. transfer: "sdr", "hlg" or "pq". primaries: code point of ITU-T H.273.
    metadata: keys of the container and of the video stream (the stream's win).
    """

    path: Path
    size_hw: tuple[int, int]
    fps: float
    num_frames: int
    duration_s: float
    start_s: float
    rotation_deg: int
    codec: str
    transfer: str
    primaries: int
    metadata: dict[str, str]

    @property
    def expected_frames(self) -> int:
        """Frames the file promises: its own count, else duration times rate, at least 1."""
        return max(1, self.num_frames or round(self.duration_s * self.fps))

    @property
    def is_hdr(self) -> bool:
        return self.transfer != SDR


def open_clip(path: Path | str) -> VideoInfo:
    """Reads what a clip is, decoding its first frame only.

    Raises:
        AvatarError: ``bad_input`` when the file is missing, is no video or holds no frame.
    """
    path = Path(path)
    with _open_container(path) as container:
        stream = _video_stream(path, container)
        frame = next(_frames(container, stream), None)
        if frame is None:
            raise _no_frames(path)
        return VideoInfo(
            path=path,
            size_hw=_upright_size_hw(frame, stream),
            fps=_average_fps(stream),
            num_frames=int(stream.frames or 0),
            duration_s=_duration_s(container, stream),
            start_s=_time_s(frame, stream, 0),
            rotation_deg=_rotation_deg(frame),
            codec=stream.codec_context.name,
            transfer=transfer_name(int(frame.color_trc)),
            primaries=int(frame.color_primaries),
            metadata={**dict(container.metadata), **dict(stream.metadata)},
        )


def iterate_frames(path: Path | str, indices: Collection[int] | None = None) -> Iterator[tuple[int, float, np.ndarray]]:
    """Decodes a clip from start to end.

    Frames are numbered in the order of their presentation times. Frames that repeat or precede the time of the frame before them are
    dropped, so times strictly increase. A damaged stretch is skipped; what decodes after it is delivered.

    Args:
        path: the clip.
        indices: wanted frame numbers; the others are decoded but not converted (much faster). None = all.

    Yields:
        time_index: number of the frame; time_s: presentation time, s; rgb: (H, W, 3) uint8, sRGB, upright.

    Raises:
        AvatarError: ``bad_input`` as for ``open_clip``, or when the picture's size changes on the way.
    """
    wanted = None if indices is None else frozenset(int(index) for index in indices)
    last = None if wanted is None else max(wanted, default=-1)
    if last is not None and last < 0:
        return
    for index, time_s, rgb in walk_frames(path, lambda index: wanted is None or index in wanted):
        if rgb is not None:
            yield index, time_s, rgb
        if last is not None and index >= last:
            return


def walk_frames(
    path: Path | str, is_wanted: Callable[[int], bool], on_frame: Callable[[av.VideoFrame], None] | None = None,
) -> Iterator[tuple[int, float, np.ndarray | None]]:
    """Like ``iterate_frames``, but yields every frame, with its picture only where ``is_wanted(time_index)``. ``on_frame`` sees each as it was decoded."""
    path = Path(path)
    with _open_container(path) as container:
        stream = _video_stream(path, container)
        decoder = ColourDecoder()
        previous_s = -np.inf
        index = -1
        size_hw: tuple[int, int] | None = None
        for frame in _frames(container, stream):
            time_s = _time_s(frame, stream, index + 1)
            if time_s <= previous_s:
                continue
            previous_s = time_s
            index += 1
            if on_frame is not None:
                on_frame(frame)
            rgb = upright_rgb(frame, stream, decoder) if is_wanted(index) else None
            if rgb is not None:
                size_hw = size_hw or (rgb.shape[0], rgb.shape[1])
                if rgb.shape[:2] != size_hw:
                    raise AvatarError(
                        "bad_input", f"The picture of {path.name} changes its size at frame {index}.", "Export the clip with one resolution throughout.",
                        {"path": str(path), "frame": index},
                    )
            yield index, time_s, rgb
        if index < 0:
            raise _no_frames(path)


def frame_times(path: Path | str) -> np.ndarray:
    """(N,) float64: presentation times in s of all frames that decode, in the numbering of ``iterate_frames``."""
    return np.array([time_s for _, time_s, _ in walk_frames(path, lambda index: False)])


def upright_rgb(frame: av.VideoFrame, stream: Any, decoder: ColourDecoder) -> np.ndarray:
    """(H, W, 3) uint8 sRGB picture of a decoded frame, turned upright, with square pixels."""
    rgb = decoder.rgb(frame)
    aspect = _pixel_aspect(frame, stream)
    if aspect != 1:
        rgb = cv2.resize(rgb, (max(1, round(rgb.shape[1] * aspect)), rgb.shape[0]), interpolation=cv2.INTER_AREA)
    turns = _rotation_deg(frame) // 90
    return np.ascontiguousarray(np.rot90(rgb, turns)) if turns else rgb


def _no_frames(path: Path) -> AvatarError:
    return AvatarError(
        "bad_input", f"{path.name} holds no video frame that can be decoded.", "The recording is empty or cut off at its start; export or record it again.",
        {"path": str(path)},
    )


def _open_container(path: Path) -> Any:
    if not path.exists():
        raise AvatarError("bad_input", f"There is no file {path}.", "Check the path of the clip.", {"path": str(path)})
    if not path.is_file():
        raise AvatarError("bad_input", f"{path} is not a file.", "Choose a video file.", {"path": str(path)})
    if path.stat().st_size == 0:
        raise AvatarError("bad_input", f"{path.name} is empty (0 bytes).", "Copy the clip from the phone again.", {"path": str(path)})
    try:
        return av.open(str(path), metadata_errors="ignore")
    except (av.error.FFmpegError, OSError, ValueError) as error:
        if _is_cut_movie(path):
            raise AvatarError(
                "bad_input", f"{path.name} is cut off before its index was written, so no frame of it can be decoded.",
                "The recording or the copy was interrupted; copy the clip again or record it again.", {"path": str(path)},
            ) from error
        raise AvatarError(
            "bad_input", f"{path.name} is not a video that can be read: {getattr(error, 'strerror', None) or error}.", "Choose a video file such as .mp4, .mov, .mkv or .webm.", {"path": str(path)},
        ) from error


def _is_cut_movie(path: Path) -> bool:
    """Whether the file starts like an MP4 or QuickTime movie but has no complete ``moov`` box."""
    size = path.stat().st_size
    with open(path, "rb") as handle:
        position, is_movie = 0, False
        while position + 8 <= size:
            handle.seek(position)
            head = handle.read(16)
            length, kind = int.from_bytes(head[:4], "big"), head[4:8]
            if length == 1 and len(head) == 16:
                length = int.from_bytes(head[8:16], "big")
            if position == 0 and kind not in (b"ftyp", b"wide", b"mdat", b"moov", b"free", b"skip"):
                return False
            is_movie = True
            if length == 0:
                length = size - position
            if length < 8:
                return is_movie
            if kind == b"moov":
                return position + length > size
            position += length
    return is_movie


def _video_stream(path: Path, container: Any) -> Any:
    streams = [stream for stream in container.streams.video if not int(stream.disposition) & int(av.stream.Disposition.attached_pic)]
    if not streams or streams[0].codec_context is None:
        raise AvatarError("bad_input", f"{path.name} has no video track.", "Choose a file with moving pictures.", {"path": str(path)})
    stream = streams[0]
    stream.thread_type = "AUTO"
    return stream


def _frames(container: Any, stream: Any) -> Iterator[av.VideoFrame]:
    """Decoded frames; damaged packets are skipped, the end of a cut file ends the iteration."""
    packets = container.demux(stream)
    while True:
        try:
            packet = next(packets)
        except StopIteration:
            return
        except av.error.FFmpegError:
            packet = None  # the file ends in the middle of a packet: deliver what the decoder still holds
        try:
            yield from (frame for frame in (packet.decode() if packet is not None else stream.decode(None)) if not frame.is_corrupt)
        except av.error.EOFError:
            return
        except av.error.FFmpegError:
            pass
        if packet is None:
            return


def _time_s(frame: av.VideoFrame, stream: Any, index: int) -> float:
    if frame.pts is not None and frame.time_base is not None:
        return float(frame.pts * frame.time_base)
    return index / _average_fps(stream)


def _average_fps(stream: Any) -> float:
    for rate in (stream.average_rate, stream.guessed_rate, stream.base_rate):
        if rate:
            return float(rate)
    return 30.0


def _duration_s(container: Any, stream: Any) -> float:
    if stream.duration and stream.time_base:
        return float(stream.duration * stream.time_base)
    return float(container.duration or 0) / av.time_base


def _rotation_deg(frame: av.VideoFrame) -> int:
    return round(int(frame.rotation) / 90) * 90 % 360


def _pixel_aspect(frame: av.VideoFrame, stream: Any) -> float:
    aspect = stream.sample_aspect_ratio or Fraction(1)
    return float(aspect) if 0.2 < float(aspect) < 5 else 1.0


def _upright_size_hw(frame: av.VideoFrame, stream: Any) -> tuple[int, int]:
    height, width = frame.height, max(1, round(frame.width * _pixel_aspect(frame, stream)))
    return (width, height) if _rotation_deg(frame) in (90, 270) else (height, width)
