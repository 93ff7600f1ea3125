"""Which samples may be learnt from, and which are kept for measuring. The contract is notes on evaluation, restated in docs/formats/capture.md."""

from __future__ import annotations

import hashlib

import numpy as np

from .model import GAP, TEST, TRAIN

TEST_SHARE = 0.15
GAP_S = 1.0
GAP_SHARE = 0.10
INTERPOLATED_EVERY = 10


def make_split(time_s: np.ndarray, first: int = 0, stop: int | None = None) -> tuple[np.ndarray, np.ndarray]:
    """The last contiguous 15 % of the clip is test; before it lies a gap of 1 s, at most 10 % of the clip.

    Args:
        time_s: (N,) float, presentation times, strictly increasing. first, stop: the take that is used; the rest of the clip is neither learnt
        from nor measured, so it is gap.

    Returns:
        split: (N,) uint8 of TRAIN, GAP, TEST. is_interpolated: (N,) bool, every 10th training sample.
        With fewer than 4 samples everything is training. Otherwise at least one sample is test and at least one is training.
    """
    time_s = np.asarray(time_s, dtype=np.float64)
    if first > 0 or (stop is not None and stop < len(time_s)):
        split, is_interpolated = np.full(len(time_s), GAP, np.uint8), np.zeros(len(time_s), bool)
        split[first:stop], is_interpolated[first:stop] = make_split(time_s[first:stop])
        return split, is_interpolated
    num = len(time_s)
    split = np.full(num, TRAIN, np.uint8)
    if num >= 4:
        num_test = max(1, round(TEST_SHARE * num))
        first_test = num - num_test
        length_s = (time_s[-1] - time_s[0]) * num / (num - 1)  # each sample lasts until the next
        gap_s = min(GAP_S, GAP_SHARE * length_s)
        # half a microsecond of slack: presentation times are rounded to the container's ticks
        is_gap = (np.arange(num) < first_test) & (time_s > time_s[first_test] - gap_s - 5e-7)
        is_gap[0] = False
        split[is_gap] = GAP
        split[first_test:] = TEST
    is_interpolated = np.zeros(num, bool)
    is_interpolated[np.flatnonzero(split == TRAIN)[INTERPOLATED_EVERY - 1::INTERPOLATED_EVERY]] = True
    return split, is_interpolated


def split_sha256(time_index: np.ndarray, split: np.ndarray, is_interpolated: np.ndarray) -> str:
    """SHA-256 over time index (int32), split (uint8) and flag (uint8) of all samples, little endian, one array after the other."""
    digest = hashlib.sha256()
    digest.update(np.asarray(time_index, dtype="<i4").tobytes())
    digest.update(np.asarray(split, dtype="u1").tobytes())
    digest.update(np.asarray(is_interpolated, dtype="u1").tobytes())
    return digest.hexdigest()
