"""Carries corrections from a few vertices smoothly into their surroundings."""

from __future__ import annotations

import numpy as np
import scipy.sparse as sp
from scipy.sparse.linalg import splu

from .anny_cut import QuadGraph
from .anny_loops import rings_around


class SmoothSpread:
    """The smoothest displacement that has given values at some vertices and vanishes a few rings away.

    Minimises the squared umbrella Laplacian (Botsch and Sorkine 2008, section III) between the given vertices and the outermost ring.
    """

    def __init__(self, graph: QuadGraph, fixed: np.ndarray, num_rings: int, seeds: np.ndarray | None = None):
        """fixed: vertex ids whose values are given. num_rings: how far from ``seeds`` (default: fixed) the correction reaches."""
        self.fixed = np.asarray(fixed)
        region = rings_around(graph, self.fixed if seeds is None else seeds, num_rings)
        is_fixed = set(self.fixed.tolist())
        self.free = np.array([i for i in region.tolist() if i not in is_fixed])
        known = set(self.free.tolist()) | is_fixed
        rest = sorted({n for i in self.free.tolist() for n in graph.neighbours[i]} - known)
        everyone = np.concatenate([self.free, self.fixed, rest]).astype(np.int64)
        place = {int(v): index for index, v in enumerate(everyone)}
        rows, columns, values = [], [], []
        for row, vertex in enumerate(self.free.tolist() + rest):
            around = [place[n] for n in sorted(graph.neighbours[vertex]) if n in place]
            rows += [row] * (len(around) + 1)
            columns += [*around, place[vertex]]
            values += [-1.0 / len(around)] * len(around) + [1.0]
        laplacian = sp.csr_matrix((values, (rows, columns)), shape=(len(self.free) + len(rest), len(everyone)))
        energy = (laplacian.T @ laplacian).tocsc()
        num_free = len(self.free)
        self._solve = splu(energy[:num_free, :num_free])
        self._coupling = energy[:num_free, num_free : num_free + len(self.fixed)]

    def apply(self, values: np.ndarray, num_vertices: int) -> np.ndarray:
        """Displacements (num_vertices, ...) for values (F, ...) at the fixed vertices; zero outside the region."""
        flat = values.reshape(len(self.fixed), -1)
        out = np.zeros((num_vertices, flat.shape[1]))
        out[self.free] = self._solve.solve(-np.asarray(self._coupling @ flat))
        out[self.fixed] = flat
        return out.reshape(num_vertices, *values.shape[1:])
