"""Image quilting: a large texture out of blocks of a small one, joined where they differ least.

A. Efros, W. Freeman, "Image Quilting for Texture Synthesis and Transfer", 2001; settings of spec dynamic_texture.md 13.8. Written from the paper.
"""

from __future__ import annotations

import numba
import numpy as np

TOLERANCE = 0.1
"""A block is drawn from all candidates whose error is within this share above the least."""
MAX_CANDIDATES = 400
_MIN_BLOCK = 8


def quilt(exemplar: np.ndarray, is_valid: np.ndarray, size_hw: tuple[int, int], block: int, overlap: int, seed: int) -> np.ndarray:
    """Synthesises a texture.

    Args:
        exemplar: (h, w, C) float. is_valid: (h, w) bool, which of its pixels may be used.
        size_hw: of the result. block: side of the blocks, px. overlap: px by which neighbours overlap. seed: equal seeds give equal results.

    Returns:
        (H, W, C) float32. Blocks are halved until one fits into the valid part; zeros when none does.
    """
    exemplar = np.ascontiguousarray(exemplar, np.float32)
    while block >= _MIN_BLOCK:
        corners = _whole_blocks(is_valid, block)
        if len(corners):
            break
        block, overlap = block // 2, max(2, overlap // 2)
    else:
        return np.zeros((*size_hw, exemplar.shape[2]), np.float32)
    rng = np.random.default_rng(seed)
    if len(corners) > MAX_CANDIDATES:
        corners = corners[np.sort(rng.choice(len(corners), MAX_CANDIDATES, replace=False))]
    candidates = np.stack([exemplar[row : row + block, col : col + block] for row, col in corners])
    step = block - overlap
    rows, cols = (max(1, -(-(side - overlap) // step)) for side in size_hw)
    canvas = np.zeros((rows * step + overlap, cols * step + overlap, exemplar.shape[2]), np.float32)
    above, beside = candidates[:, :overlap].reshape(len(candidates), -1), candidates[:, :, :overlap].reshape(len(candidates), -1)
    squared_above, squared_beside = (above**2).sum(1), (beside**2).sum(1)
    for i in range(rows):
        for j in range(cols):
            place = canvas[i * step : i * step + block, j * step : j * step + block]
            error = np.zeros(len(candidates), np.float32)
            if i:
                error += squared_above - 2 * above @ place[:overlap].ravel()
            if j:
                error += squared_beside - 2 * beside @ place[:, :overlap].ravel()
            if i or j:
                # Add what is the same for all candidates, so that the tolerance is one of the error itself.
                error += (place[:overlap] ** 2).sum() * (i > 0) + (place[:, :overlap] ** 2).sum() * (j > 0)
                good = np.flatnonzero(error <= max(float(error.min()), 0.0) * (1 + TOLERANCE) + 1e-9)
                good = good if len(good) else np.array([int(error.argmin())])
            else:
                good = np.arange(len(candidates))
            chosen = candidates[int(good[rng.integers(len(good))])]
            _place(place, chosen, overlap, i > 0, j > 0)
    return np.ascontiguousarray(canvas[: size_hw[0], : size_hw[1]])


def _whole_blocks(is_valid: np.ndarray, block: int) -> np.ndarray:
    """(k, 2) upper left corners of the blocks that hold valid pixels only."""
    if min(is_valid.shape) < block:
        return np.zeros((0, 2), int)
    sums = np.pad(is_valid.astype(np.int64).cumsum(0).cumsum(1), ((1, 0), (1, 0)))
    inside = sums[block:, block:] - sums[:-block, block:] - sums[block:, :-block] + sums[:-block, :-block]
    return np.argwhere(inside == block * block)


@numba.njit(cache=True)
def _place(place, chosen, overlap, has_above, has_left):  # type: ignore[no-untyped-def]
    """Writes a block over ``place`` beyond the cheapest cuts through the overlaps. Both (block, block, C); changed in place."""
    block = place.shape[0]
    is_new = np.ones((block, block), np.bool_)
    if has_left:
        cost = np.empty((block, overlap))
        for r in range(block):
            for c in range(overlap):
                cost[r, c] = ((place[r, c] - chosen[r, c]) ** 2).sum()
        cut = _cheapest_cut(cost)
        for r in range(block):
            for c in range(cut[r]):
                is_new[r, c] = False
    if has_above:
        cost = np.empty((block, overlap))
        for c in range(block):
            for r in range(overlap):
                cost[c, r] = ((place[r, c] - chosen[r, c]) ** 2).sum()
        cut = _cheapest_cut(cost)
        for c in range(block):
            for r in range(cut[c]):
                is_new[r, c] = False
    for r in range(block):
        for c in range(block):
            if is_new[r, c]:
                place[r, c] = chosen[r, c]


@numba.njit(cache=True)
def _cheapest_cut(cost):  # type: ignore[no-untyped-def]
    """(length,) int column of the path of least sum from the first row of (length, width) costs to the last, by dynamic programming."""
    length, width = cost.shape
    total = cost.copy()
    for r in range(1, length):
        for c in range(width):
            best = total[r - 1, c]
            if c > 0:
                best = min(best, total[r - 1, c - 1])
            if c + 1 < width:
                best = min(best, total[r - 1, c + 1])
            total[r, c] += best
    path = np.empty(length, np.int64)
    path[length - 1] = np.argmin(total[length - 1])
    for r in range(length - 2, -1, -1):
        c = path[r + 1]
        low, high = max(c - 1, 0), min(c + 2, width)
        path[r] = low + np.argmin(total[r, low:high])
    return path
