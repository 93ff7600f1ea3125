"""Joins a filling to what was seen: it keeps its own gradients and takes on the colour of the border, fading over a band.

P. Pérez, M. Gangnet, A. Blake, "Poisson Image Editing", 2003, as a membrane: the difference at the border is spread into the filling. Neighbours are
neighbours on the surface: texels on the two sides of a texture seam are linked.
"""

from __future__ import annotations

import numpy as np
import scipy.sparse as sp
from scipy.sparse.csgraph import dijkstra
from scipy.sparse.linalg import cg
from scipy.spatial import cKDTree

from .texels import Texels

BAND_TEXELS = 32
"""Width of the band, of 1024 texels."""


def surface_links(texels: Texels, chosen: np.ndarray, places_m: np.ndarray, corners: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Pairs of neighbouring texels of a surface, those across texture seams included.

    Args:
        chosen: (n,) bool. places_m: (n, 3), where each texel lies. corners: (n, 3) vertices of its triangle; across a seam only triangles that share a
            vertex are neighbours, so that lips and lids that touch are not.

    Returns:
        two (e,) int arrays of texel numbers, every pair once.
    """
    number = np.full((texels.size_px + 1, texels.size_px + 1), -1)
    ids = np.flatnonzero(chosen)
    number[texels.rows[ids], texels.cols[ids]] = ids
    first, second = [], []
    degree = np.zeros(len(texels), int)
    for step in ((0, 1), (1, 0)):
        other = number[texels.rows[ids] + step[0], texels.cols[ids] + step[1]]
        # Texels side by side in the image may lie on different islands.
        near = (other >= 0) & (np.linalg.norm(places_m[np.maximum(other, 0)] - places_m[ids], axis=1) < _TOUCHING_M * 1024 / texels.size_px)
        first.append(ids[near])
        second.append(other[near])
        degree += np.bincount(ids[near], minlength=len(texels)) + np.bincount(other[near], minlength=len(texels))
    rim = ids[degree[ids] < 4]
    if len(rim) > 1:
        away, nearest = cKDTree(places_m[rim]).query(places_m[rim], k=min(6, len(rim)))
        a, b, away = np.repeat(rim, nearest.shape[1]), rim[nearest.ravel()], away.ravel()
        far = np.maximum(np.abs(texels.rows[a] - texels.rows[b]), np.abs(texels.cols[a] - texels.cols[b])) > 4
        is_seam = far & (away < _SEAM_M) & (corners[a][:, :, None] == corners[b][:, None, :]).any((1, 2))
        pairs = np.unique(np.sort(np.stack([a[is_seam], b[is_seam]], -1), axis=1), axis=0)
        first.append(pairs[:, 0])
        second.append(pairs[:, 1])
    return np.concatenate(first), np.concatenate(second)


_TOUCHING_M = 0.004
"""Texels of a 1024 square that lie side by side on one island are nearer than this, even where the layout is coarsest."""
_SEAM_M = 0.0015


def blend_border(
    texels: Texels, links: tuple[np.ndarray, np.ndarray], filling: np.ndarray, colour: np.ndarray, is_known: np.ndarray, chosen: np.ndarray
) -> np.ndarray:
    """Gives a filling the colour of its border.

    Args:
        links: of ``surface_links``. filling: (n, 3). colour: (n, 3), valid where ``is_known``. is_known, chosen: (n,) bool.

    Returns:
        (n, 3) float64: the filling plus the border's difference, spread within ``BAND_TEXELS``; unchanged farther away and at known texels.
    """
    result = filling.astype(np.float64).copy()
    num, band = len(texels), BAND_TEXELS * texels.size_px / 1024
    first, second = links
    graph = sp.coo_matrix((np.ones(len(first)), (first, second)), shape=(num, num))
    graph = (graph + graph.T).tocsr()
    known = is_known & chosen
    border = np.flatnonzero(known & (graph @ (chosen & ~known).astype(float) > 0))
    if not len(border):
        return result
    away = dijkstra(graph, indices=border, min_only=True, limit=band, unweighted=True)
    inside = np.flatnonzero(chosen & ~known & np.isfinite(away))
    rows = graph[inside]
    system = (sp.diags(np.asarray(rows.sum(1)).ravel() + (2 / band) ** 2) - rows[:, inside]).tocsr()
    difference = np.where(known[:, None], colour - filling, 0.0)
    right = rows @ difference
    scale = sp.diags(1 / system.diagonal())
    for channel in range(result.shape[1]):
        offset, _ = cg(system, right[:, channel], rtol=1e-5, maxiter=400, M=scale)
        # The band ends without a trace.
        fade = np.clip((band - away[inside]) / (0.25 * band), 0, 1)
        result[inside, channel] += offset * fade
    return result
