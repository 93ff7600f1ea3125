"""How a level of a mip pyramid is averaged from the next finer one, for sides of any length."""

from __future__ import annotations

import functools

import numpy as np


@functools.lru_cache(maxsize=64)
def halving_weights(size: int) -> np.ndarray:
    """(max(size // 2, 1), 3) float64: what texels 2i, 2i + 1, 2i + 2 of an axis give to texel i of the next level; rows sum to 1."""
    half = max(size // 2, 1)
    weights = np.zeros((half, 3))
    if size == 1:
        weights[:, 0] = 1
    elif size % 2 == 0:
        weights[:, :2] = 0.5
    else:
        index = np.arange(half)
        weights[:, 0], weights[:, 1], weights[:, 2] = (half - index) / size, half / size, (index + 1) / size
    weights.setflags(write=False)
    return weights
