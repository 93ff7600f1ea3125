"""Texture coordinates for meshes that come without: a flat, one-to-one picture of a surface with one border.

Tutte's theorem: with the border on a convex curve and every other vertex at a positively weighted average of its neighbours,
no triangle flips. The weights start as mean value coordinates (M. Floater, "Mean value coordinates", 2003) and are then
divided, round by round, by how much the surface is stretched there (S. Yoshizawa, A. Belyaev, H.-P. Seidel, "A fast and simple
stretch-minimizing mesh parameterization", 2004); both keep them positive.
"""

from __future__ import annotations

import numpy as np
import scipy.sparse as sp
from scipy.sparse.linalg import spsolve

from .rims import border_edges

STEP = 0.1
"""How strongly the weights follow the stretch in one round; larger steps overshoot and end worse."""


def cut_along(triangles: np.ndarray, path: list[int]) -> tuple[np.ndarray, np.ndarray]:
    """Opens a mesh along a path of edges that starts on its border; the path's last vertex stays whole.

    Args:
        triangles: (F, 3). path: vertex ids, first one on the border.

    Returns:
        triangles (F, 3) that use new vertices on the path's right-hand side, and (N,) the old vertex each vertex is a copy of.
    """
    num = int(triangles.max()) + 1
    corner_of: dict[tuple[int, int], int] = {}
    for index, triangle in enumerate(triangles.tolist()):
        for k in range(3):
            corner_of[(triangle[k], triangle[(k + 1) % 3])] = index
    cut = {(a, b) for a, b in zip(path[:-1], path[1:])} | {(b, a) for a, b in zip(path[:-1], path[1:])}
    result, origin = triangles.copy(), list(range(num))
    for here, after in zip(path[:-1], path[1:]):
        # Walk the fan around ``here`` on one side of the cut, from the edge that leaves along the path.
        fan, edge = [], (after, here)
        while edge in corner_of:
            index = corner_of[edge]
            fan.append(index)
            third = next(int(v) for v in triangles[index] if v not in edge)
            if (third, here) in cut or (here, third) in cut:
                break
            edge = (third, here)
        copy = len(origin)
        origin.append(here)
        for index in fan:
            result[index] = np.where(triangles[index] == here, copy, result[index])
    return result, np.array(origin)


def border_loops(triangles: np.ndarray) -> list[list[int]]:
    """Vertex ids around every border, each in order, the one with the smallest id first.

    Raises:
        ValueError: two borders touch in a vertex.
    """
    quads = np.concatenate([triangles, np.full((len(triangles), 1), -1)], 1)
    neighbours: dict[int, list[int]] = {}
    for a, b in border_edges(quads).tolist():
        neighbours.setdefault(a, []).append(b)
        neighbours.setdefault(b, []).append(a)
    if any(len(pair) != 2 for pair in neighbours.values()):
        raise ValueError("the mesh has no simple border")
    loops = []
    while neighbours:
        loop = [min(neighbours)]
        following = neighbours[loop[0]][0]
        while following != loop[0]:
            one, two = neighbours[following]
            loop.append(following)
            following = two if one == loop[-2] else one
        for vertex in loop:
            del neighbours[vertex]
        loops.append(loop)
    return loops


def fill_loop(triangles: np.ndarray, loop: list[int], vertex: int) -> np.ndarray:
    """(len(loop), 3) triangles that close a hole with a fan around a new vertex."""
    edges = {(int(t[k]), int(t[(k + 1) % 3])) for t in triangles for k in range(3)}
    after = loop[1:] + loop[:1]
    # Neighbouring triangles run along a shared edge in opposite directions.
    return np.array([(b, a, vertex) if (a, b) in edges else (a, b, vertex) for a, b in zip(loop, after)])


def flatten_disc(vertices: np.ndarray, triangles: np.ndarray, importance: np.ndarray, num_rounds: int = 24) -> np.ndarray:
    """Lays a surface with one border into the unit disc.

    Args:
        vertices: (N, 3). triangles: (F, 3). importance: (N,) > 0, how much more (linear) size a vertex's surroundings shall get.
        num_rounds: how often the weights follow the stretch; the round with the least weighted stretch is kept.

    Returns:
        (N, 2) in the disc of radius 1 around 0; all triangles keep their turning sense.
    """
    loops = border_loops(triangles)
    if len(loops) != 1:
        raise ValueError(f"the mesh has {len(loops)} borders, not one")
    loop = loops[0]
    steps = np.linalg.norm(vertices[loop] - vertices[np.roll(loop, -1)], axis=1)
    angle = 2 * np.pi * np.concatenate([[0], np.cumsum(steps)[:-1]]) / steps.sum()
    edges = {(int(t[k]), int(t[(k + 1) % 3])) for t in triangles for k in range(3)}
    if (loop[0], loop[1]) not in edges:
        angle = -angle
    fixed = np.stack([np.cos(angle), np.sin(angle)], 1)
    weights = _mean_value_weights(vertices, triangles)
    best, least = None, np.inf
    for _ in range(num_rounds):
        flat = _solve(weights, loop, fixed, len(vertices))
        stretch, total = _stretch(vertices, triangles, flat, importance)
        if total < least:
            best, least = flat, total
        columns = sp.diags(stretch**-STEP)
        weights = (weights @ columns).tocsr()
    assert best is not None  # noqa: S101  (num_rounds >= 1)
    return best


def _mean_value_weights(vertices: np.ndarray, triangles: np.ndarray) -> sp.csr_matrix:
    rows, columns, values = [], [], []
    for k in range(3):
        a, b, c = vertices[triangles[:, k]], vertices[triangles[:, (k + 1) % 3]], vertices[triangles[:, (k + 2) % 3]]
        ab, ac = b - a, c - a
        length_b, length_c = np.linalg.norm(ab, axis=1), np.linalg.norm(ac, axis=1)
        cosine = np.clip((ab * ac).sum(1) / np.maximum(length_b * length_c, 1e-12), -1, 1)
        tangent = np.tan(np.arccos(cosine) / 2)
        for other, length in ((1, length_b), (2, length_c)):
            rows.append(triangles[:, k])
            columns.append(triangles[:, (k + other) % 3])
            values.append(np.maximum(tangent, 1e-4) / np.maximum(length, 1e-9))
    num = len(vertices)
    return sp.csr_matrix((np.concatenate(values), (np.concatenate(rows), np.concatenate(columns))), shape=(num, num))


def _solve(weights: sp.csr_matrix, loop: list[int], fixed: np.ndarray, num: int) -> np.ndarray:
    is_free = np.ones(num, bool)
    is_free[loop] = False
    total = np.asarray(weights.sum(1)).ravel()
    average = sp.diags(1 / np.maximum(total, 1e-30)) @ weights
    flat = np.zeros((num, 2))
    flat[loop] = fixed
    free = np.flatnonzero(is_free)
    system = (sp.identity(num) - average)[free]
    flat[free] = spsolve(system[:, free].tocsc(), -(system[:, loop] @ fixed))
    return flat


def _stretch(vertices: np.ndarray, triangles: np.ndarray, flat: np.ndarray, importance: np.ndarray) -> tuple[np.ndarray, float]:
    """Per vertex: surface metres per flat unit times the wanted importance, mean 1; and the weighted total."""
    a, b, c = (flat[triangles[:, k]] for k in range(3))
    p, q, r = (vertices[triangles[:, k]] for k in range(3))
    twice = (b[:, 0] - a[:, 0]) * (c[:, 1] - a[:, 1]) - (c[:, 0] - a[:, 0]) * (b[:, 1] - a[:, 1])
    twice = np.maximum(np.abs(twice), 1e-12)[:, None]
    along_u = (p * (b - c)[:, 1:] + q * (c - a)[:, 1:] + r * (a - b)[:, 1:]) / twice
    along_v = (p * (c - b)[:, :1] + q * (a - c)[:, :1] + r * (b - a)[:, :1]) / twice
    per_triangle = np.sqrt(((along_u**2).sum(1) + (along_v**2).sum(1)) / 2)
    area = np.linalg.norm(np.cross(q - p, r - p), axis=1) + 1e-15
    weight = np.zeros(len(vertices))
    mean = np.zeros(len(vertices))
    for k in range(3):
        np.add.at(weight, triangles[:, k], area)
        np.add.at(mean, triangles[:, k], area * per_triangle)
    per_vertex = mean / np.maximum(weight, 1e-15) * importance
    total = float((area * (per_triangle * importance[triangles].mean(1)) ** 2).sum())
    return np.clip(per_vertex / np.median(per_vertex), 0.05, 20), total
