"""The default head: topology, symmetry, bases, joints, lids, lips, texture layout."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from default_head import default_head

from backend.rig.anny import build_anny
from backend.rig.anny_expressions import ARKIT_NAMES
from backend.rig.anny_lids import clearance_m
from backend.rig.model import PARTS, RigModel, read_rig_model, write_rig_model
from backend.rig.rims import border_edges, edges_of_quads, ordered_rim


@pytest.fixture(scope="module")
def rig() -> RigModel:
    return default_head()


def part_quads(rig: RigModel, *parts: str) -> np.ndarray:
    return rig.quads[np.isin(rig.quad_parts, [rig.part_names.index(part) for part in parts])]


def part_vertices(rig: RigModel, *parts: str) -> np.ndarray:
    quads = part_quads(rig, *parts)
    return np.unique(quads[quads >= 0])


def shape(rig: RigModel, name: str) -> np.ndarray:
    return rig.expression_basis[:, :, rig.expression_names.index(name)].astype(np.float64)


def person(rig: RigModel, coefficients: np.ndarray) -> np.ndarray:
    return rig.template.astype(np.float64) + rig.identity_basis @ coefficients


def some_people(rig: RigModel) -> list[np.ndarray]:
    """The template, the first modes at two sigma either way, and random people."""
    num = rig.identity_basis.shape[2]
    rng = np.random.default_rng(7)
    coefficients = [np.zeros(num)] + [sign * 2 * np.eye(num)[mode] for mode in range(8) for sign in (-1, 1)]
    return [person(rig, c) for c in [*coefficients, *rng.normal(size=(6, num))]]


def rim(rig: RigModel, name: str) -> np.ndarray:
    return ordered_rim(rig.template, edges_of_quads(rig.quads), rig.regions[name])


def distance_to_line(points: np.ndarray, line: np.ndarray) -> np.ndarray:
    """(N,) distance of points (N, 3) to a polyline (M, 3)."""
    start, along = line[:-1], np.diff(line, axis=0)
    reach = np.clip(((points[:, None] - start) * along).sum(-1) / (along * along).sum(-1), 0, 1)
    return np.linalg.norm(points[:, None] - start - reach[..., None] * along, axis=-1).min(1)


def signed_volume(points: np.ndarray, quads: np.ndarray) -> float:
    triangles = np.concatenate([quads[:, :3], quads[quads[:, 3] >= 0][:, [0, 2, 3]]])
    a, b, c = (points[triangles[:, k]] for k in range(3))
    return float(np.einsum("ij,ij->i", a, np.cross(b, c)).sum() / 6)


def test_counts_and_parts(rig: RigModel) -> None:
    assert 4500 < rig.num_vertices < 6000
    assert set(np.unique(rig.quad_parts)) == set(range(len(PARTS)))
    assert set(np.unique(rig.quads[rig.quads >= 0])) == set(range(rig.num_vertices))
    assert (rig.quads[:, 3] < 0).sum() < 0.03 * len(rig.quads)  # only the poles of eyeballs and corneas
    assert rig.identity_basis.shape == (rig.num_vertices, 3, 100)
    for name in (field.name for field in dataclasses.fields(rig)):
        value = getattr(rig, name)
        if isinstance(value, np.ndarray) and value.dtype.kind == "f":
            assert np.isfinite(value).all(), name


def test_size_and_axes_are_human(rig: RigModel) -> None:
    joints = rig.joint_regressor @ rig.template
    eye_left, eye_right = (joints[rig.joint_names.index(name)] for name in ("eye_left", "eye_right"))
    assert eye_left[0] - eye_right[0] == pytest.approx(0.063, abs=5e-4)
    assert eye_left[2] > 0.08  # the face looks along +Z
    crown, chin = rig.template[:, 1].max(), rig.template[rig.regions["face"], 1].min()
    assert 0.205 < crown - chin < 0.240
    assert np.abs(rig.template[rig.regions["neck_loop"]].mean(0)).max() < 1e-5


def test_skin_has_one_border_the_neck_loop(rig: RigModel) -> None:
    edges = border_edges(part_quads(rig, "skin", "scalp"))
    ids, counts = np.unique(edges, return_counts=True)
    assert (counts == 2).all()
    assert set(ids.tolist()) == set(np.flatnonzero(rig.regions["neck_loop"]).tolist())
    reached, pending = {int(ids[0])}, [int(ids[0])]
    while pending:
        here = pending.pop()
        for other in edges[(edges == here).any(1)].ravel().tolist():
            if other not in reached:
                reached.add(other)
                pending.append(other)
    assert len(reached) == len(ids)
    loop = rig.template[ids] - rig.template[ids].mean(0)
    assert np.linalg.svd(loop, compute_uv=False)[2] / np.sqrt(len(ids)) < 0.008  # nearly a plane


@pytest.mark.parametrize("part", ["eye_left", "eye_right", "tongue"])
def test_closed_parts_are_wound_outward(rig: RigModel, part: str) -> None:
    quads = part_quads(rig, part)
    assert not len(border_edges(quads))
    assert signed_volume(rig.template.astype(np.float64), quads) > 1e-6


def test_open_parts_are_wound_outward(rig: RigModel) -> None:
    points = rig.template.astype(np.float64)
    quads = part_quads(rig, "skin", "scalp")
    loop = points[rig.regions["neck_loop"]].mean(0)
    assert 0.002 < signed_volume(points - loop, quads) < 0.006  # the cone to the origin closes the neck
    for side in ("left", "right"):
        cap = part_quads(rig, f"cornea_{side}")
        normal = np.cross(points[cap[:, 1]] - points[cap[:, 0]], points[cap[:, 2]] - points[cap[:, 0]])
        assert (normal[:, 2] > 0).all()


def test_every_edge_is_walked_both_ways(rig: RigModel) -> None:
    seen: set[tuple[int, int]] = set()
    for quad in rig.quads.tolist():
        corners = [i for i in quad if i >= 0]
        for edge in zip(corners, corners[1:] + corners[:1]):
            assert edge not in seen
            seen.add(edge)


def test_symmetry(rig: RigModel) -> None:
    mirror, flip = rig.mirror_vertices, np.array([-1.0, 1.0, 1.0])
    assert np.array_equal(mirror[mirror], np.arange(rig.num_vertices))
    assert np.abs(rig.template[mirror] * flip - rig.template).max() < 1e-7
    assert np.abs(rig.expression_basis[mirror][:, :, rig.mirror_expressions] * flip[:, None] - rig.expression_basis).max() < 1e-7
    assert np.abs(rig.skin_weights[mirror][:, [0, 1, 2, 4, 3]] - rig.skin_weights).max() < 1e-6
    for left in [name for name in rig.regions if name.endswith("_left")]:
        assert np.array_equal(rig.regions[left], rig.regions[left.replace("_left", "_right")][mirror])
    modes = rig.identity_basis
    flipped = modes[mirror] * flip[:, None]
    same, opposite = (np.abs(flipped - sign * modes).max((0, 1)) < 2e-6 for sign in (1, -1))
    assert (same ^ opposite).all()
    assert 8 < opposite.sum() < 60  # faces may be lopsided


def test_left_is_the_subjects_left(rig: RigModel) -> None:
    for name in ("eyeBlink", "eyeSquint", "eyeWide", "mouthSmile", "browDown", "cheekSquint", "noseSneer"):
        moved = np.linalg.norm(shape(rig, name + "Left"), axis=1)
        assert moved @ rig.template[:, 0] > 0, name
    blink = np.abs(shape(rig, "eyeBlinkLeft")).max(1)
    assert blink[rig.template[:, 0] < -0.005].max() < 1e-4


def test_weights(rig: RigModel) -> None:
    assert np.abs(rig.skin_weights.sum(1) - 1).max() < 1e-6 and rig.skin_weights.min() >= 0
    assert (rig.skin_weights[rig.regions["neck_loop"], 0] == 1).all()
    assert rig.skin_weights[rig.regions["face"], 2].min() > 0.9
    for side in ("left", "right"):
        assert (rig.skin_weights[part_vertices(rig, f"eye_{side}", f"cornea_{side}"), rig.joint_names.index(f"eye_{side}")] == 1).all()
    edges = edges_of_quads(part_quads(rig, "skin", "scalp"))
    steps = np.abs(rig.skin_weights[edges[:, 0]] - rig.skin_weights[edges[:, 1]])
    assert steps.max() < 0.4  # no crease when the neck bends


def test_joints_follow_identity(rig: RigModel) -> None:
    assert np.abs(rig.joint_regressor.sum(1) - 1).max() < 1e-5
    for points in some_people(rig):
        joints = rig.joint_regressor @ points
        for side, joint in (("left", 3), ("right", 4)):
            outer = points[rig.regions[f"eye_{side}"]] - joints[joint]
            radius = np.linalg.norm(outer, axis=1)
            assert radius.max() == pytest.approx(0.012, abs=2e-6)
    rest = rig.joint_regressor @ rig.template
    assert rest[0] == pytest.approx([0, 0, 0], abs=1e-5)
    assert rest[0, 1] < rest[1, 1] < rest[2, 1] < rest[3, 1]
    assert np.abs(rest[:3, 0]).max() < 1e-6


def test_arkit_names_in_order(rig: RigModel) -> None:
    assert rig.expression_names == ARKIT_NAMES and len(set(ARKIT_NAMES)) == 52
    assert rig.expression_names[:7] == ("eyeBlinkLeft", "eyeLookDownLeft", "eyeLookInLeft", "eyeLookOutLeft", "eyeLookUpLeft", "eyeSquintLeft", "eyeWideLeft")
    assert rig.expression_names[-1] == "tongueOut"
    assert (rig.expression_limits == [0, 1]).all()
    pairs = rig.mirror_expressions
    assert ARKIT_NAMES[pairs[ARKIT_NAMES.index("mouthLeft")]] == "mouthRight" and pairs[ARKIT_NAMES.index("jawOpen")] == ARKIT_NAMES.index("jawOpen")
    moved = np.linalg.norm(rig.expression_basis, axis=1).max(0)
    assert (moved > 5e-4).all()  # every control does something


def test_no_expression_moves_the_eyeballs(rig: RigModel) -> None:
    balls = part_vertices(rig, "eye_left", "eye_right", "cornea_left", "cornea_right")
    assert np.abs(rig.expression_basis[balls]).max() == 0
    lid = rig.regions["lid_upper_left"]
    assert np.abs(shape(rig, "eyeLookDownLeft")[lid]).max() > 1e-3  # but the lids go along


def test_identity_moves_eyes_and_teeth_rigidly(rig: RigModel) -> None:
    for parts in (("eye_left", "cornea_left"), ("eye_right", "cornea_right"), ("teeth_upper", "teeth_lower", "tongue")):
        rows = rig.identity_basis[part_vertices(rig, *parts)]
        assert np.abs(rows - rows[:1]).max() < 1e-7
    assert np.abs(rig.identity_basis[part_vertices(rig, "teeth_upper")[0]]).max() > 1e-4


def test_identity_variation_is_believable(rig: RigModel) -> None:
    face = rig.identity_basis[rig.regions["face"]].astype(np.float64)
    assert 0.002 < np.sqrt((face**2).sum((1, 2)).mean()) < 0.0045
    gram = np.einsum("vcs,vct->st", face, face)
    energy = np.diag(gram)
    assert energy[:5].sum() > 0.4 * energy.sum() > 0.4 * energy[50:].sum()


@pytest.mark.parametrize("side", ["Left", "Right"])
def test_blink_closes_for_everybody(rig: RigModel, side: str) -> None:
    low = side.lower()
    upper, lower = rim(rig, f"lid_upper_{low}"), rim(rig, f"lid_lower_{low}")
    blink = shape(rig, f"eyeBlink{side}")
    for points in some_people(rig):
        opening = distance_to_line(points[upper], points[lower]).max()
        closed = points + blink
        assert 0.0085 < opening < 0.0115
        assert distance_to_line(closed[upper], closed[lower]).max() < 0.05 * opening


@pytest.mark.parametrize("side", ["left", "right"])
def test_lids_rest_on_the_eyeball(rig: RigModel, side: str) -> None:
    rows = np.concatenate([rim(rig, f"lid_upper_{side}"), rim(rig, f"lid_lower_{side}")])
    blink = shape(rig, f"eyeBlink{side.capitalize()}")
    joint = rig.joint_names.index(f"eye_{side}")
    for points in some_people(rig):
        centre = (rig.joint_regressor @ points)[joint]
        rest = clearance_m(points[rows] - centre)
        assert rest.min() > 1e-4 and np.median(rest) < 0.0025
        for value in (0.25, 0.5, 0.75, 1.0):
            assert clearance_m(points[rows] + value * blink[rows] - centre).min() > 1e-4


def test_no_eye_unit_pushes_lid_skin_into_the_eyeball(rig: RigModel) -> None:
    centre = (rig.joint_regressor @ rig.template)[rig.joint_names.index("eye_left")]
    offset = rig.template.astype(np.float64) - centre
    skin = np.zeros(rig.num_vertices, dtype=bool)
    skin[part_vertices(rig, "skin")] = True
    outside = skin & (clearance_m(offset) > 2e-4) & (np.linalg.norm(offset, axis=1) < 0.022) & (offset[:, 2] > 0.003)
    assert outside.sum() > 100
    for name in [name for name in rig.expression_names if name.startswith("eye") and name.endswith("Left")]:
        for value in (0.5, 1.0):
            assert clearance_m((offset + value * shape(rig, name))[outside]).min() > -1e-4, name


def test_lids_cover_the_eyeball_when_shut(rig: RigModel) -> None:
    """Seen along -Z, no eyeball vertex in front of the lids: the shut lid skin hides the ball."""
    points = rig.template.astype(np.float64) + shape(rig, "eyeBlinkLeft")
    centre = (rig.joint_regressor @ rig.template)[3]
    skin = part_quads(rig, "skin")
    near = skin[(np.abs(points[skin] - centre)[..., :2] < 0.02).all((1, 2)) & (points[skin][..., 2] > centre[2]).all(1)]
    triangles = points[np.concatenate([near[:, [0, 1, 2]], near[:, [0, 2, 3]]])]
    ball = points[part_vertices(rig, "eye_left", "cornea_left")]
    for spot in ball[(ball[:, 2] > centre[2] + 0.008) & (np.abs(ball[:, 0] - centre[0]) < 0.009)]:
        a, b, c = triangles[:, 0, :2], triangles[:, 1, :2], triangles[:, 2, :2]
        area = np.cross(b - a, c - a)
        with np.errstate(divide="ignore", invalid="ignore"):
            u, v = np.cross(c - b, spot[:2] - b) / area, np.cross(a - c, spot[:2] - c) / area
        inside = (u >= -1e-9) & (v >= -1e-9) & (u + v <= 1 + 1e-9)
        depth = u * triangles[:, 0, 2] + v * triangles[:, 1, 2] + (1 - u - v) * triangles[:, 2, 2]
        assert inside.any() and depth[inside].max() > spot[2]


def test_lips_meet_for_everybody(rig: RigModel) -> None:
    upper, lower = rim(rig, "lip_inner_upper"), rim(rig, "lip_inner_lower")
    close = shape(rig, "jawOpen") + shape(rig, "mouthClose")
    for points in some_people(rig):
        assert distance_to_line(points[lower], points[upper]).max() < 4e-4
        for amount in (0.5, 1.0):
            moved = points + amount * close
            assert distance_to_line(moved[lower], moved[upper]).max() < 4e-4
    opened = rig.template + shape(rig, "jawOpen")
    assert distance_to_line(opened[lower], opened[upper]).max() > 0.025


def test_jaw_opens_below_only(rig: RigModel) -> None:
    jaw = np.linalg.norm(shape(rig, "jawOpen"), axis=1)
    assert jaw[part_vertices(rig, "teeth_upper")].max() == 0
    assert jaw[part_vertices(rig, "teeth_lower")].min() > 0.005
    assert jaw[part_vertices(rig, "tongue")].mean() > 0.005


def test_regions(rig: RigModel) -> None:
    wanted = {"face", "lips_upper", "lips_lower", "lip_inner_upper", "lip_inner_lower", "eye_left", "eye_right", "neck_loop", "scalp"}
    wanted |= {f"lid_{row}_{side}" for row in ("upper", "lower") for side in ("left", "right")}
    assert wanted <= set(rig.regions)
    skin = np.zeros(rig.num_vertices, dtype=bool)
    skin[part_vertices(rig, "skin", "scalp")] = True
    face = rig.regions["face"]
    assert 1200 < face.sum() < 2200 and not (face & ~skin).any()
    assert not (face & (rig.regions["ear_left"] | rig.regions["scalp"] & (rig.template[:, 1] > 0.25))).any()
    assert (face | ~rig.regions["lips_upper"]).sum() > rig.num_vertices - 25  # lips belong to the face, but for the mouth's inside
    for row in ("upper", "lower"):
        assert (rig.regions[f"lips_{row}"] | ~rig.regions[f"lip_inner_{row}"]).all()
    edges = edges_of_quads(rig.quads)
    for name in wanted - {"face", "lips_upper", "lips_lower", "eye_left", "eye_right", "neck_loop", "scalp"}:
        ids = set(np.flatnonzero(rig.regions[name]).tolist())
        inner = [edge for edge in edges.tolist() if edge[0] in ids and edge[1] in ids]
        assert len(inner) >= len(ids) - 1, name  # one row of connected vertices
    mean = lambda name: rig.template[rig.regions[name], 1].mean()  # noqa: E731
    assert mean("lid_upper_left") > mean("lid_lower_left") and mean("lips_upper") > mean("lips_lower")


def test_two_builds_are_equal(rig: RigModel) -> None:
    again = build_anny()
    for field in dataclasses.fields(rig):
        one, other = getattr(rig, field.name), getattr(again, field.name)
        if field.name == "regions":
            assert one.keys() == other.keys() and all(np.array_equal(one[key], other[key]) for key in one)
        elif isinstance(one, np.ndarray):
            assert one.tobytes() == other.tobytes(), field.name
        else:
            assert one == other, field.name


def test_file_round_trip(rig: RigModel, tmp_path) -> None:
    path = tmp_path / "anny.npz"
    write_rig_model(path, rig)
    again = read_rig_model(path)
    assert again.expression_names == rig.expression_names and again.regions.keys() == rig.regions.keys()
    assert np.array_equal(again.identity_basis, rig.identity_basis) and np.array_equal(again.quad_uv, rig.quad_uv)
