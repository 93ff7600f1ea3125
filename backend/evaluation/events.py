"""Blinks: short dips of a lid-aperture signal, and how well two lists of them agree."""

from __future__ import annotations

import dataclasses

import numpy as np
from scipy.ndimage import percentile_filter

CLOSE_BELOW = 0.60
"""A dip counts once the aperture falls below this share of open; the blink is the time below it."""
OPEN_ABOVE = 0.80
"""Two dips between which the aperture stays below this share may be one blink (hysteresis)."""
MIN_BLINK_S = 0.05
"""A shorter dip (below ``OPEN_ABOVE``) is noise."""
MAX_DIP_S = 0.8
"""A longer dip is a lowered gaze, unless the eye really closes (below ``CLOSED_BELOW``) ..."""
CLOSED_BELOW = 0.25
MAX_BLINK_S = 1.5
"""... for less than this; after that it is a shut eye, not a blink."""
BASELINE_S = 3.0
"""Width of the window in which "open" is estimated, so that a lowered gaze is not taken for a blink."""
TOLERANCE_S = 0.1
"""How far outside a true blink the model's minimum may lie: 2.5 frames at 25 fps, 3 at 30."""


@dataclasses.dataclass(frozen=True)
class Blink:
    """Samples ``start`` to ``stop`` (exclusive), from the first to the last below ``CLOSE_BELOW``; ``lowest`` is the sample of the minimum."""

    start: int
    stop: int
    lowest: int


def open_level(aperture: np.ndarray, time_s: np.ndarray) -> np.ndarray:
    """What "open" means at every sample: the upper-quartile aperture nearby, no less than half the clip's median.

    Args:
        aperture: (N,) any unit, finite.
        time_s: (N,) increasing.

    Returns:
        (N,) same unit.
    """
    step_s = float(np.median(np.diff(time_s))) if len(time_s) > 1 else 1.0
    width = max(3, int(round(BASELINE_S / max(step_s, 1e-6))) | 1)
    return np.maximum(percentile_filter(np.asarray(aperture, np.float64), 75, size=min(width, 2 * len(aperture) + 1), mode="nearest"), 0.5 * np.median(aperture))


def find_blinks(aperture: np.ndarray, time_s: np.ndarray) -> list[Blink]:
    """Blinks in a lid-aperture signal, by a threshold relative to the open level nearby, with hysteresis.

    Args:
        aperture: (N,) any unit; NaN = not seen (treated as open).
        time_s: (N,) s.

    Returns:
        Blinks in order of time.
    """
    aperture = np.asarray(aperture, np.float64)
    is_seen = np.isfinite(aperture)
    if is_seen.sum() < 3:
        return []
    filled = np.where(is_seen, aperture, np.median(aperture[is_seen]))
    share = np.where(is_seen, filled / np.maximum(open_level(filled, time_s), 1e-12), 1.0)
    step_s = float(np.median(np.diff(time_s)))
    blinks = []
    for start, stop in _runs(share < OPEN_ABOVE):
        if (stop - start) * step_s < MIN_BLINK_S - 1e-6:
            continue
        for blink in _split(share, start, stop):
            duration_s = (blink.stop - blink.start) * step_s
            is_closed = share[blink.lowest] < CLOSED_BELOW
            if duration_s <= (MAX_BLINK_S if is_closed else MAX_DIP_S):
                blinks.append(blink)
    return blinks


def _runs(is_inside: np.ndarray) -> list[tuple[int, int]]:
    """Start and stop (exclusive) of every run of True."""
    edges = np.flatnonzero(np.diff(np.concatenate([[0], is_inside.astype(np.int8), [0]])))
    return [(int(start), int(stop)) for start, stop in zip(edges[::2], edges[1::2])]


def _split(share: np.ndarray, start: int, stop: int) -> list[Blink]:
    """The blinks of one dip: two when the lids opened in between by at least half of the shallower one's depth."""
    groups: list[list[int]] = []
    for first, last in ((start + a, start + b) for a, b in _runs(share[start:stop] < CLOSE_BELOW)):
        if groups:
            peak = float(share[groups[-1][1] : first].max())
            shallow = max(float(share[groups[-1][0] : groups[-1][1]].min()), float(share[first:last].min()))
            if peak - shallow < 0.5 * (1 - shallow):
                groups[-1][1] = last
                continue
        groups.append([first, last])
    return [Blink(first, last, first + int(np.argmin(share[first:last]))) for first, last in groups]


@dataclasses.dataclass(frozen=True)
class Agreement:
    """How many of the true events were found. ``pairs``: (index of the true, index of the found event)."""

    num_true: int
    num_found: int
    pairs: tuple[tuple[int, int], ...]

    @property
    def num_missed(self) -> int:
        return self.num_true - len(self.pairs)

    @property
    def num_false(self) -> int:
        return self.num_found - len(self.pairs)

    @property
    def f1(self) -> float | None:
        """2 TP / (2 TP + FP + FN); None when there is nothing to find and nothing was found."""
        total = 2 * len(self.pairs) + self.num_false + self.num_missed
        return 2 * len(self.pairs) / total if total else None


def match_blinks(true: list[Blink], found: list[Blink], time_s: np.ndarray) -> Agreement:
    """Pairs each true blink with at most one found blink whose minimum lies inside it, give or take ``TOLERANCE_S``.

    The nearest pairs are taken first; a second found blink on the same true one counts as false.
    """
    step_s = float(np.median(np.diff(time_s))) if len(time_s) > 1 else 0.0
    candidates = []
    for index_true, blink in enumerate(true):
        first_s, last_s = time_s[blink.start] - TOLERANCE_S - 0.51 * step_s, time_s[blink.stop - 1] + TOLERANCE_S + 0.51 * step_s
        for index_found, other in enumerate(found):
            if first_s <= time_s[other.lowest] <= last_s:
                candidates.append((abs(float(time_s[other.lowest] - time_s[blink.lowest])), index_true, index_found))
    pairs: list[tuple[int, int]] = []
    for _, index_true, index_found in sorted(candidates):
        if all(index_true != a and index_found != b for a, b in pairs):
            pairs.append((index_true, index_found))
    return Agreement(len(true), len(found), tuple(sorted(pairs)))
