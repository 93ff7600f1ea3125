"""Points on a mesh as a sparse matrix: landmarks = matrix @ vertices."""

from __future__ import annotations

import numpy as np
import scipy.sparse as sp

from .model import LandmarkEmbedding, RigModel


def embedding_matrix(rig: RigModel, embedding: LandmarkEmbedding) -> sp.csr_matrix:
    """(L, V) float64 selection of ``embedding`` on the vertices of ``rig``; rows of points without a place are empty."""
    placed = np.flatnonzero(embedding.is_placed)
    corners = rig.triangles[embedding.triangle_ids[placed]]
    rows = np.repeat(placed, 3)
    values = embedding.barycentric[placed].astype(np.float64).ravel()
    return sp.csr_matrix((values, (rows, corners.ravel())), shape=(len(embedding.triangle_ids), rig.num_vertices))


def landmark_points(rig: RigModel, embedding: LandmarkEmbedding, vertices: np.ndarray | None = None) -> np.ndarray:
    """(..., L, 3) m positions of the landmarks on ``vertices`` (..., V, 3) (the template when none are given); NaN where a point has no place."""
    vertices = rig.template if vertices is None else vertices
    triangles = rig.triangles
    placed = embedding.is_placed
    corners = triangles[np.where(placed, embedding.triangle_ids, 0)]
    points = np.einsum("lc,...lcx->...lx", embedding.barycentric.astype(np.float64), vertices[..., corners, :].astype(np.float64))
    points[..., ~placed, :] = np.nan
    return points
