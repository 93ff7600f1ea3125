"""Cuts, interruptions and repeated pictures, told from a thumbnail of every decoded frame."""

from __future__ import annotations

import dataclasses

import av
import cv2
import numpy as np

THUMB_PX = 64
CUT_CHANGE = 0.25
"""Change of the picture (1 - correlation of thumbnails) that may be a cut; pans of a hand-held phone stay below a tenth, frame to frame."""
CUT_RATIO = 3.0
"""A cut changes the picture this many times as much as the five frames before it and the five after, but for one of each: whip pans and shaking do not."""
INTERRUPTION_S = 1.0
"""A shorter piece between two views of the same scene is an interruption (flash, insert, hand before the lens), not a take."""
FROZEN_MEAN, FROZEN_MAX = 0.06, 2.5
"""Mean and largest change of a repeated picture, 8-bit levels of 64 x 64 averages. Sensor noise alone leaves 0.13 and 5 (measured on phone clips)."""
FROZEN_PULSE = 0.7
"""Mean change of a single picture inside a freeze that is still the freeze: the encoder paints it anew at a key frame."""
_FLAT_LEVELS = 1.0


@dataclasses.dataclass(frozen=True)
class Takes:
    """Takes of a clip.

    take: (N,) int32, number of the take a frame belongs to. is_interruption: (N,) bool, frames that show something else for a moment.
    is_frozen: (N,) bool, frames that repeat the one before.
    """

    take: np.ndarray
    is_interruption: np.ndarray
    is_frozen: np.ndarray

    @property
    def num_takes(self) -> int:
        return int(self.take.max()) + 1

    def range_of(self, number: int) -> tuple[int, int]:
        """First frame of a take, and the frame after its last."""
        frames = np.flatnonzero(self.take == number)
        return int(frames[0]), int(frames[-1]) + 1


def frame_thumb(frame: av.VideoFrame) -> np.ndarray:
    """(64, 64) float32, 8-bit levels: luma of a decoded frame as stored (not turned upright)."""
    plane = _luma(frame)
    shrink = max(1, min(plane.shape) // (4 * THUMB_PX))
    small = cv2.resize(np.ascontiguousarray(plane[::shrink, ::shrink]), (THUMB_PX, THUMB_PX), interpolation=cv2.INTER_AREA) if shrink > 1 else _shrunk(plane)
    return small.astype(np.float32) / (1.0 if plane.dtype == np.uint8 else _levels(frame) / 255.0)


def find_takes(thumbs: np.ndarray, fps: float) -> Takes:
    """Splits a clip at its cuts and finds repeated pictures.

    A change of exposure is no cut (thumbnails are compared by correlation), neither is fast motion (neighbours change as much), nor something that
    passes and leaves the same scene behind. Slow dissolves are not found.

    Args:
        thumbs: (N, 64, 64) float32 levels, N at least 1. fps: frames per second.
    """
    num = len(thumbs)
    change = np.array([0.0, *(picture_change(thumbs[i - 1], thumbs[i]) for i in range(1, num))])
    cuts = []
    for i in np.flatnonzero(change > CUT_CHANGE):
        # The second largest on each side: one other peak may be a cut (an insert begins and ends), more than one is motion.
        sides = [float(np.sort(side)[-2]) for side in (change[max(1, i - 5) : i], change[i + 1 : i + 6]) if len(side) > 1]
        if change[i] > CUT_RATIO * max(sides, default=0.0):
            cuts.append(int(i))
    is_interruption = np.zeros(num, bool)
    kept: list[int] = []
    number = 0
    while number < len(cuts):
        start = cuts[number]
        back = [
            other for other in cuts[number + 1 :]
            if other - start <= INTERRUPTION_S * fps and picture_change(thumbs[start - 1], thumbs[other]) < CUT_CHANGE
        ]
        if back:
            is_interruption[start : back[-1]] = True
            number = cuts.index(back[-1]) + 1
        else:
            kept.append(start)
            number += 1
    take = np.zeros(num, np.int32)
    take[kept] = 1
    return Takes(np.cumsum(take).astype(np.int32), is_interruption, frozen_frames(thumbs))


def picture_change(one: np.ndarray, two: np.ndarray) -> float:
    """1 - correlation of two thumbnails: 0 for the same picture at any exposure, about 1 for unrelated ones."""
    a, b = one.ravel() - one.mean(), two.ravel() - two.mean()
    flat_a, flat_b = float(a.std()) < _FLAT_LEVELS, float(b.std()) < _FLAT_LEVELS
    if flat_a or flat_b:
        return 0.0 if flat_a and flat_b else 1.0
    return 1.0 - float(a @ b) / float(np.linalg.norm(a) * np.linalg.norm(b))


def frozen_frames(thumbs: np.ndarray) -> np.ndarray:
    """(N,) bool: pictures that repeat the one before.

    Args:
        thumbs: (N, 64, 64) float32 levels.
    """
    difference = np.abs(np.diff(thumbs, axis=0)).reshape(len(thumbs) - 1, -1)
    mean = np.concatenate([[np.inf], difference.mean(1)])
    frozen = (mean < FROZEN_MEAN) & np.concatenate([[False], difference.max(1, initial=0.0) < FROZEN_MAX])
    is_pulse = ~frozen & (mean < FROZEN_PULSE)
    is_pulse[0] = is_pulse[-1] = False
    is_pulse[1:-1] &= frozen[:-2] & frozen[2:]
    return frozen | is_pulse


def take_notes(takes: Takes, used: int, time_s: np.ndarray, clip_name: str) -> tuple[str, ...]:
    """Says that a clip has cuts, which part is used, and how to use the others."""
    if takes.num_takes == 1:
        return ()
    spans = []
    for number in range(takes.num_takes):
        first, stop = takes.range_of(number)
        spans.append(f"{time_s[first] - time_s[0]:.1f} to {time_s[stop - 1] - time_s[0]:.1f} s")
    first, stop = takes.range_of(used)
    others = [span for number, span in enumerate(spans) if number != used]
    more = f" and {len(others) - 4} more" if len(others) > 4 else ""
    return (
        f"{clip_name} has {takes.num_takes - 1} cut(s). Only its take {used + 1}, {spans[used]} (frames {first} to {stop - 1}), is used: the longest that shows a face. "
        f"To use another ({', '.join(others[:4])}{more}), export that part as a clip of its own.",
    )


def _luma(frame: av.VideoFrame) -> np.ndarray:
    """(h, w) uint8 or uint16 view of the luma plane; other layouts are converted."""
    name = frame.format.name
    is_wide = any(depth in name for depth in ("10", "12", "14", "16")) and name not in ("nv12", "nv21", "nv16")
    if name.startswith(("yuv4", "yuvj4", "nv12", "nv21")) and not name.endswith("be"):
        plane = frame.planes[0]
        values = np.frombuffer(memoryview(plane), np.uint16 if is_wide else np.uint8)
        stride = plane.line_size // values.itemsize
        return values[: stride * frame.height].reshape(frame.height, stride)[:, : frame.width]
    return frame.reformat(width=4 * THUMB_PX, height=4 * THUMB_PX, format="gray").to_ndarray()


def _levels(frame: av.VideoFrame) -> float:
    depth = frame.format.components[0].bits
    return float(2**depth - 1)


def _shrunk(plane: np.ndarray) -> np.ndarray:
    return cv2.resize(np.ascontiguousarray(plane), (THUMB_PX, THUMB_PX), interpolation=cv2.INTER_AREA)
