"""How far the track can be trusted: weak ranges for the list, coloured bars for the strip. Standard library only, so panels may use it."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

RECORD = "video_avatar"
"""Custom property of an Action that holds what the clip recorded (``scene/performance.py``)."""

WEAK_BELOW = 0.6
"""Confidence below which a frame is called weak, unless the artist chooses another limit."""

JOIN_FRAMES = 3.0
"""Weak frames no further apart than this are one range."""

LOST, WEAK, DOUBTFUL, GOOD = (0.85, 0.10, 0.35, 0.95), (0.95, 0.45, 0.10, 0.95), (0.90, 0.75, 0.20, 0.80), (0.25, 0.60, 0.65, 0.45)
"""Colours (r, g, b, a): no face was followed; below the limit; up to half way between limit and 1; above."""

Colour = tuple[float, float, float, float]


@dataclasses.dataclass(frozen=True)
class WeakRange:
    """Frames where the track is not to be trusted. start, end: scene frames, inclusive. lowest: 0..1. region: the weakest one, or ""."""

    start: float
    end: float
    lowest: float
    region: str


@dataclasses.dataclass(frozen=True)
class Bar:
    """One rectangle of the strip, px of the region from the lower left corner."""

    left_px: float
    right_px: float
    bottom_px: float
    top_px: float
    colour: Colour


def level(confidence: float, is_tracked: bool, weak_below: float) -> int:
    """0 lost, 1 weak, 2 doubtful, 3 good."""
    if not is_tracked:
        return 0
    if confidence < weak_below:
        return 1
    return 2 if confidence < 0.5 * (1.0 + weak_below) else 3


def colour_of(which: int) -> Colour:
    """Colour of a level."""
    return (LOST, WEAK, DOUBTFUL, GOOD)[which]


def weak_ranges(
    frames: Sequence[float], confidence: Sequence[float], is_tracked: Sequence[int], weak_below: float = WEAK_BELOW,
    region_names: Sequence[str] = (), region_confidence: Sequence[float] = (),
) -> list[WeakRange]:
    """Runs of weak or lost frames, in order of time.

    Args:
        frames: (N,) scene frames, rising. confidence: (N,) in 0..1. is_tracked: (N,) 0 where no face was followed.
        region_confidence: (N * R,) row by row; empty when the package has none.
    """
    weak = [index for index in range(len(frames)) if level(confidence[index], bool(is_tracked[index]), weak_below) < 2]
    runs: list[list[int]] = []
    for index in weak:
        if runs and frames[index] - frames[runs[-1][-1]] <= JOIN_FRAMES:
            runs[-1].append(index)
        else:
            runs.append([index])
    num_regions = len(region_names)
    found = []
    for run in runs:
        region = ""
        if num_regions and len(region_confidence) == num_regions * len(frames):
            sums = [sum(region_confidence[index * num_regions + number] for index in run) for number in range(num_regions)]
            region = region_names[sums.index(min(sums))]
        lowest = min(confidence[index] if is_tracked[index] else 0.0 for index in run)
        found.append(WeakRange(frames[run[0]], frames[run[-1]], lowest, region))
    return found


def strip_bars(
    frames: Sequence[float], confidence: Sequence[float], is_tracked: Sequence[int], view: tuple[float, float], width_px: float,
    bottom_px: float, height_px: float, weak_below: float = WEAK_BELOW,
) -> list[Bar]:
    """The strip as rectangles. Where several frames share a pixel the worst one shows, so that a lost frame is never hidden.

    Args:
        view: scene frames at the left and right edge of the region. width_px: of the region. bottom_px, height_px: of the strip.

    Returns:
        Bars from left to right, not overlapping; neighbours of one colour are one bar. Empty when nothing is in view.
    """
    left, right = view
    if right <= left or width_px < 1 or not len(frames):
        return []
    px_from_frame = width_px / (right - left)
    columns: dict[int, int] = {}
    for index, frame in enumerate(frames):
        # a picture is there until the next one comes
        until = frames[index + 1] if index + 1 < len(frames) else frame + 1.0
        if until <= left or frame >= right:
            continue
        which = level(confidence[index], bool(is_tracked[index]), weak_below)
        first = max(0, int((frame - left) * px_from_frame))
        last = min(int(width_px), max(first + 1, int((until - left) * px_from_frame)))
        for column in range(first, last):
            columns[column] = min(which, columns.get(column, 3))
    bars: list[Bar] = []
    for column in sorted(columns):
        colour = colour_of(columns[column])
        if bars and bars[-1].right_px == column and bars[-1].colour == colour:
            bars[-1] = dataclasses.replace(bars[-1], right_px=float(column + 1))
        else:
            bars.append(Bar(float(column), float(column + 1), bottom_px, bottom_px + height_px, colour))
    return bars
