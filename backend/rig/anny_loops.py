"""Edge loops around openings, rings of neighbours."""

from __future__ import annotations

import numpy as np

from .anny_cut import QuadGraph


def closed_loop_through(graph: QuadGraph, first: int, wanted: int) -> np.ndarray:
    """The closed edge loop through ``first`` that also holds ``wanted``."""
    for neighbour in sorted(graph.neighbours[first]):
        try:
            loop = graph.edge_loop(first, neighbour)
        except ValueError:
            continue
        if wanted in loop:
            return np.array(loop)
    raise ValueError(f"no edge loop through {first} and {wanted}")


def split_rim(loop: np.ndarray, vertices: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Splits a loop around an opening at its two corners (extreme x).

    Returns:
        upper and lower vertex ids, both from small to large x, each with both corners at its ends.
    """
    loop = np.roll(loop, -int(np.argmin(vertices[loop, 0])))
    far = int(np.argmax(vertices[loop, 0]))
    one, other = loop[: far + 1], np.append(loop[far:], loop[0])[::-1]
    return (one, other) if vertices[one, 1].mean() > vertices[other, 1].mean() else (other, one)


def flag(num_vertices: int, ids: np.ndarray) -> np.ndarray:
    """(num_vertices,) bool, True at ``ids``."""
    mask = np.zeros(num_vertices, dtype=bool)
    mask[ids] = True
    return mask


def rings_around(graph: QuadGraph, ids: np.ndarray, num_rings: int) -> np.ndarray:
    """Vertex ids within ``num_rings`` edges of ``ids`` (included), ascending."""
    reached = set(int(i) for i in ids)
    edge = set(reached)
    for _ in range(num_rings):
        edge = {n for i in edge for n in graph.neighbours[i]} - reached
        reached |= edge
    return np.array(sorted(reached))

