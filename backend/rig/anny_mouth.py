"""Lips that meet at rest, for every identity, and when mouthClose answers jawOpen."""

from __future__ import annotations

import numpy as np

from .anny_cut import HeadCut, QuadGraph
from .anny_loops import closed_loop_through, split_rim
from .anny_rim_pairs import RimPair, make_rim_pair
from .anny_spread import SmoothSpread

LIP_RIM = (474, 493)
"""Body vertices on the middle line where the upper and the lower lip meet: one loop of 38 vertices."""

LIP_SLIT_M = 0.00004
"""What is left between the shut lips, so that they do not share a surface."""

NUM_RINGS = 5


class LipFitter:
    """Corrections around the rim where the lips meet."""

    def __init__(self, cut: HeadCut, graph: QuadGraph, points: np.ndarray):
        """points: (V, 3) m, neutral."""
        first, second = (int(i) for i in cut.head_ids(np.array(LIP_RIM)))
        self.pair: RimPair = make_rim_pair(*split_rim(closed_loop_through(graph, first, second), points), points)
        self._num_vertices = len(points)
        self._spread = SmoothSpread(graph, self.pair.ids, NUM_RINGS)

    def _slit(self) -> np.ndarray:
        """(rim, 3) m: half the slit, up for the upper row, down for the lower, nothing in the corners."""
        rise = np.full(len(self.pair.ids), -LIP_SLIT_M / 2)
        rise[: len(self.pair.upper)] = LIP_SLIT_M / 2
        rise[[0, len(self.pair.upper) - 1]] = 0
        return rise[:, None] * [0, 1, 0]

    def close(self, points: np.ndarray) -> np.ndarray:
        """(V, 3) m correction after which the lips of ``points`` meet."""
        wanted = self.pair.blend(points, 0.5) + self._slit()
        return self._spread.apply(wanted - points[self.pair.ids], self._num_vertices)

    def hold_together(self, fields: np.ndarray) -> np.ndarray:
        """(V, 3, ...) correction after which both rims move alike in the displacement fields (V, 3, ...)."""
        return self._spread.apply(self.pair.blend(fields, 0.5) - fields[self.pair.ids], self._num_vertices)

    def keep_apart(self, neutral: np.ndarray, shape: np.ndarray) -> np.ndarray:
        """(V, 3) m correction of an expression that would push the lips through one another at value 1."""
        upper, lower = self.pair.upper, self.pair.lower
        moved = neutral + shape
        crossing = np.minimum(self.pair.gap(moved)[:, 1], 0)
        change = np.zeros_like(neutral)
        change[lower, 1] = self.pair.on_lower(crossing) / 2
        change[upper, 1] = -crossing / 2
        change[upper[[0, -1]]] = 0
        return self._spread.apply(change[self.pair.ids], self._num_vertices)
