"""The edges of a mesh and the triangles around them: what silhouettes are found with."""

from __future__ import annotations

import dataclasses

import numpy as np
import torch

from ..geometry.shapes import check_shape

_MOST_TRIANGLES = 8
"""An edge shared by more triangles is never a silhouette (no surface has one; it bounds the size of the table)."""


@dataclasses.dataclass(frozen=True)
class EdgeTopology:
    """The edges of a mesh; made once by ``edge_topology``.

    edges: (E, 2) int32 vertices, lower first, each edge once. opposites: (E, K) int32, the third vertices of the edge's triangles,
    the first repeated where there are fewer than K. num_vertices: the mesh must have at least so many.
    """

    edges: torch.Tensor
    opposites: torch.Tensor
    num_vertices: int

    def to(self, device: torch.device | str) -> EdgeTopology:
        return EdgeTopology(self.edges.to(device), self.opposites.to(device), self.num_vertices)


def edge_topology(triangles: torch.Tensor) -> EdgeTopology:
    """Every edge with the triangles on it, on the device of ``triangles``.

    Args:
        triangles: (F, 3) int, welded: a seam of doubled vertices counts as two open boundaries and is blended like one.
            Degenerate triangles (a vertex twice) and the winding do not matter.

    Raises:
        ValueError: wrong shape, a negative index.
    """
    triangles = torch.as_tensor(triangles)
    check_shape("triangles", triangles, None, 3)
    faces = triangles.detach().cpu().numpy().astype(np.int64).reshape(-1, 3)
    if faces.size and faces.min() < 0:
        raise ValueError(f"triangles must not have negative indices, got {faces.min()}")
    num_vertices = int(faces.max()) + 1 if faces.size else 0
    pairs = np.sort(np.concatenate([faces[:, [1, 2]], faces[:, [2, 0]], faces[:, [0, 1]]]), 1)
    thirds = np.concatenate([faces[:, 0], faces[:, 1], faces[:, 2]])
    is_proper = (pairs[:, 0] != pairs[:, 1]) & (thirds != pairs[:, 0]) & (thirds != pairs[:, 1])
    pairs, thirds = pairs[is_proper], thirds[is_proper]
    keys, place, counts = np.unique(pairs[:, 0] * max(num_vertices, 1) + pairs[:, 1], return_inverse=True, return_counts=True)
    order = np.argsort(place, kind="stable")
    starts = np.cumsum(counts) - counts
    columns = np.arange(max(2, min(_MOST_TRIANGLES, int(counts.max(initial=2)))))
    index = starts[:, None] + np.where(columns < counts[:, None], columns, 0)
    kept = counts <= _MOST_TRIANGLES
    edges, opposites = pairs[order][starts][kept], thirds[order][index][kept]
    return EdgeTopology(
        torch.from_numpy(edges.astype(np.int32).reshape(-1, 2)).to(triangles.device),
        torch.from_numpy(opposites.astype(np.int32).reshape(-1, len(columns))).to(triangles.device),
        num_vertices,
    )
