"""Lines and patches on a mesh: paths along edges, borders, what lies between two paths, joints as weighted vertices."""

from __future__ import annotations

import numpy as np
import scipy.sparse as sp
from scipy.sparse.csgraph import connected_components, dijkstra


def edges_of_quads(quads: np.ndarray) -> np.ndarray:
    """(N, 2) int64 undirected edges of (Q, 4) faces (-1 pads a triangle), each once, lower vertex first."""
    triangle = quads[:, 3] < 0
    loops = np.where(triangle[:, None], quads[:, [0, 1, 2, 0]], quads)
    after = np.where(triangle[:, None], quads[:, [1, 2, 0, 1]], quads[:, [1, 2, 3, 0]])
    pairs = np.sort(np.stack([loops, after], -1).reshape(-1, 2).astype(np.int64), axis=1)
    return np.unique(pairs, axis=0)


def border_edges(quads: np.ndarray) -> np.ndarray:
    """(N, 2) edges that belong to one face only."""
    triangle = quads[:, 3] < 0
    loops = np.where(triangle[:, None], quads[:, [0, 1, 2, 2]], quads)
    after = np.where(triangle[:, None], quads[:, [1, 2, 0, 0]], quads[:, [1, 2, 3, 0]])
    real = np.ones(loops.shape, bool)
    real[triangle, 3] = False
    pairs = np.sort(np.stack([loops[real], after[real]], -1).astype(np.int64), axis=1)
    unique, counts = np.unique(pairs, axis=0, return_counts=True)
    return unique[counts == 1]


def edge_graph(vertices: np.ndarray, edges: np.ndarray) -> sp.csr_matrix:
    """(V, V) symmetric matrix of edge lengths."""
    length = np.linalg.norm(vertices[edges[:, 0]] - vertices[edges[:, 1]], axis=1) + 1e-9
    half = sp.coo_matrix((length, (edges[:, 0], edges[:, 1])), shape=(len(vertices), len(vertices)))
    return (half + half.T).tocsr()


def path_through(graph: sp.csr_matrix, stops: list[int] | tuple[int, ...]) -> list[int]:
    """Vertex ids of the shortest edge path that visits ``stops`` in order, ends included.

    Raises:
        ValueError: two neighbouring stops are not connected.
    """
    path = [int(stops[0])]
    for start, stop in zip(stops[:-1], stops[1:]):
        _, previous = dijkstra(graph, indices=int(start), return_predecessors=True)
        leg = [int(stop)]
        while leg[-1] != int(start):
            before = int(previous[leg[-1]])
            if before < 0:
                raise ValueError(f"no path from vertex {start} to vertex {stop}")
            leg.append(before)
        path.extend(leg[::-1][1:])
    return path


def ordered_rim(vertices: np.ndarray, edges: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Vertex ids along a rim, from the smaller to the larger x.

    Args:
        vertices: (V, 3). edges: (N, 2). mask: (V,) bool, the rim (one row of vertices, maybe a second beside it).

    Returns:
        ids along the shortest edge path between the rim's two ends; where the rim is not connected, its ids sorted by x.
    """
    ids = np.flatnonzero(mask)
    by_x = ids[np.argsort(vertices[ids, 0], kind="stable")]
    inside = edges[mask[edges].all(1)]
    graph = edge_graph(vertices, inside) if len(inside) else sp.csr_matrix((len(vertices), len(vertices)))
    try:
        return np.array(path_through(graph, [by_x[0], by_x[-1]]))
    except ValueError:
        return by_x


def inside_polygon(points: np.ndarray, polygon: np.ndarray) -> np.ndarray:
    """(N,) bool: which (N, 2) points lie inside the closed (P, 2) polygon (even-odd rule)."""
    x, y = points[:, 0][:, None], points[:, 1][:, None]
    x0, y0 = polygon[:, 0], polygon[:, 1]
    x1, y1 = np.roll(x0, -1), np.roll(y0, -1)
    crosses = (y0 > y) != (y1 > y)
    rise = np.where(y1 == y0, 1.0, y1 - y0)
    return (crosses & (x < (x1 - x0) * (y - y0) / rise + x0)).sum(1) % 2 == 1


def components(num_vertices: int, edges: np.ndarray) -> np.ndarray:
    """(V,) int label of the connected piece each vertex belongs to, in order of the smallest vertex id."""
    ones = np.ones(len(edges))
    return connected_components(sp.coo_matrix((ones, (edges[:, 0], edges[:, 1])), shape=(num_vertices, num_vertices)), directed=False)[1]


def lowest_border_loop(vertices: np.ndarray, quads: np.ndarray) -> np.ndarray:
    """(V,) bool: the border loop whose centre is lowest (the open end of a neck). All False when the mesh has no border."""
    mask = np.zeros(len(vertices), bool)
    edges = border_edges(quads)
    if not len(edges):
        return mask
    label = components(len(vertices), edges)
    on_border = np.unique(edges)
    loops = np.unique(label[on_border])
    heights = [vertices[on_border[label[on_border] == loop], 1].mean() for loop in loops]
    mask[on_border[label[on_border] == loops[int(np.argmin(heights))]]] = True
    return mask


def regressor_row(vertices: np.ndarray, ids: np.ndarray, point: np.ndarray) -> np.ndarray:
    """(V,) weights, sum 1, that place ``point`` as a combination of the vertices ``ids``: the most even ones that do."""
    system = np.concatenate([vertices[ids].T.astype(np.float64), np.ones((1, len(ids)))])
    wanted = np.append(np.asarray(point, np.float64), 1.0)
    even = np.full(len(ids), 1.0 / len(ids))
    row = np.zeros(len(vertices))
    row[ids] = even + np.linalg.pinv(system) @ (wanted - system @ even)
    return row


def mirrored_vertices(vertices: np.ndarray, labels: np.ndarray, mirrored_label: np.ndarray, tolerance_m: float = 2e-3) -> np.ndarray:
    """(V,) int32 vertex on the other side of x = 0, by position; -1 where none lies within the tolerance.

    Args:
        vertices: (V, 3) m. labels: (V,) int, piece of each vertex. mirrored_label: label -> label of the other side.
            Only vertices of the mirrored piece are candidates, so that layers that lie close together do not mix.
    """
    from scipy.spatial import cKDTree

    mirror = np.full(len(vertices), -1, np.int32)
    for label in np.unique(labels):
        ids = np.flatnonzero(labels == label)
        others = np.flatnonzero(labels == mirrored_label[label])
        if not len(others):
            continue
        distance, nearest = cKDTree(vertices[others]).query(vertices[ids] * [-1, 1, 1])
        mirror[ids] = np.where(distance <= tolerance_m, others[nearest], -1)
    # A pair must agree from both sides; a vertex that is nobody's partner stays without one.
    known = mirror >= 0
    mutual = known.copy()
    mutual[known] = mirror[mirror[known]] == np.flatnonzero(known)
    return np.where(mutual, mirror, -1).astype(np.int32)


def smooth_step(low: float, high: float, value: np.ndarray) -> np.ndarray:
    """0 below ``low``, 1 above ``high``, a smooth cubic between."""
    t = np.clip((value - low) / (high - low), 0, 1)
    return t * t * (3 - 2 * t)
