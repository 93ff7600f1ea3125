"""Sizes of a multi-resolution hash encoding: what its levels hold and where (source: ``hash_encoding``)."""

from __future__ import annotations

import dataclasses
import functools
import math

import numpy as np


@dataclasses.dataclass(frozen=True)
class HashGrid:
    """Sizes of the levels, coarse to fine.

    Args:
        num_levels: L, 1 or more. num_features: F per level, 1 or more.
        log2_entries: T = 2^log2_entries is the most entries that a level has; 1 to 24.
        coarsest, finest: cells per side of the first and of the last level; 1 <= coarsest <= finest <= 65536.

    Raises:
        ValueError: a size is out of range.
    """

    num_levels: int = 16
    num_features: int = 2
    log2_entries: int = 19
    coarsest: int = 16
    finest: int = 2048

    def __post_init__(self) -> None:
        for name, value, low, high in (
            ("num_levels", self.num_levels, 1, 64),
            ("num_features", self.num_features, 1, 64),
            ("log2_entries", self.log2_entries, 1, 24),
            ("coarsest", self.coarsest, 1, 65536),
            ("finest", self.finest, self.coarsest, 65536),
        ):
            if not low <= value <= high:
                raise ValueError(f"{name} must be from {low} to {high}, got {value}")

    @functools.cached_property
    def resolutions(self) -> np.ndarray:
        """(L,) int64, cells per side."""
        growth = math.log(self.finest / self.coarsest) / max(self.num_levels - 1, 1)
        # The last level is the one asked for: exp(log()) may round just below it.
        sides = [math.floor(self.coarsest * math.exp(growth * level) + 1e-9) for level in range(self.num_levels)]
        return np.array(sides, np.int64)

    @functools.cached_property
    def is_dense(self) -> np.ndarray:
        """(L,) bool: one entry per corner."""
        return (self.resolutions + 1) ** 3 <= 2**self.log2_entries

    @functools.cached_property
    def offsets(self) -> np.ndarray:
        """(L + 1,) int64: where the entries of each level begin; the last one is the number of entries."""
        entries = np.minimum((self.resolutions + 1) ** 3, 2**self.log2_entries)
        return np.concatenate([[0], np.cumsum(entries)]).astype(np.int64)

    @property
    def num_entries(self) -> int:
        return int(self.offsets[-1])

    @property
    def num_outputs(self) -> int:
        """L * F."""
        return self.num_levels * self.num_features

    @property
    def mask(self) -> int:
        """Low bits that pick an entry of a hashed level."""
        return 2**self.log2_entries - 1

    @functools.cached_property
    def task_order(self) -> np.ndarray:
        """(L,) int64: every other level first, so that threads which take neighbouring tasks share coarse and fine ones evenly."""
        return np.concatenate([np.arange(first, self.num_levels, 4) for first in (0, 2, 1, 3)]).astype(np.int64)

    def num_shares(self, num_samples: int) -> int:
        """Shares of the samples, each with a gradient buffer of its own: more tasks for more threads where the buffers cost little."""
        return int(min(max(num_samples * 8 * self.num_levels // (8 * self.num_entries), 1), 4))
