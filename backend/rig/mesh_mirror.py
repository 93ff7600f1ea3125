"""Which vertex is on the other side, found by walking the mesh instead of measuring: it works on a face that is not symmetric."""

from __future__ import annotations

import collections

import numpy as np


def walk_mirror(triangles: np.ndarray, num_vertices: int, middle_edge: tuple[int, int]) -> np.ndarray:
    """Pairs the vertices of a mesh whose connections are the same on both sides.

    Both sides are walked at once from an edge on the middle line, triangle by triangle in mirrored sense.

    Args:
        triangles: (F, 3). middle_edge: two neighbouring vertices that are their own mirror image.

    Returns:
        (num_vertices,) int32 partner, itself on the middle line, -1 where the sides differ or the walk does not reach.
    """
    third = {}
    for triangle in triangles.tolist():
        for k in range(3):
            third[(triangle[k], triangle[(k + 1) % 3])] = triangle[(k + 2) % 3]
    first, second = middle_edge
    partner = {first: first, second: second}
    waiting = collections.deque([(first, second), (second, first)])
    seen = set()
    while waiting:
        edge = waiting.popleft()
        if edge in seen:
            continue
        seen.add(edge)
        a, b = edge
        here, there = third.get((a, b)), third.get((partner[b], partner[a]))
        if here is None or there is None:
            continue
        if partner.setdefault(here, there) == there:
            waiting.extend([(b, here), (here, b), (here, a), (a, here)])
    mirror = np.full(num_vertices, -1, np.int32)
    for vertex, other in partner.items():
        if partner.get(other) == vertex:
            mirror[vertex] = other
    return mirror
