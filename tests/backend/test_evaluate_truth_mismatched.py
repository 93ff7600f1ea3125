"""Errors against the truth of another head: the same surface under other vertices, and truths known otherwise."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from procedural_rig import procedural_rig
from synthetic_take import synthetic_take

from backend.evaluation.performance import performance_from_track
from backend.evaluation.signals import landmark_points, to_camera, to_pixels
from backend.evaluation.truth import measure_truth
from backend.evaluation.truth_surface import surface_distances_mm
from backend.evaluation.truth_units import unit_table
from backend.geometry.rotations import matrices_from_axis_angles
from backend.rig.model import RigModel
from backend.rig.posing import posable_head
from backend.synth.truth import Truth, rig_sha256

NUM = 12


def renumbered(rig: RigModel, turn: np.ndarray) -> RigModel:
    """The same head with its vertices in another order, in a root frame turned by ``turn``: no vertex corresponds any more, the surface is the same."""
    order = np.random.default_rng(3).permutation(rig.num_vertices)
    new_number = np.argsort(order).astype(np.int32)
    turned = lambda array: np.einsum("ij,vjk->vik", turn, array[order]).astype(np.float32)  # noqa: E731
    quads = np.where(rig.quads >= 0, new_number[np.maximum(rig.quads, 0)], -1).astype(np.int32)
    return rig.replace(
        name="other", template=(rig.template[order] @ turn.T).astype(np.float32), quads=quads, identity_basis=turned(rig.identity_basis),
        expression_basis=turned(rig.expression_basis), joint_regressor=rig.joint_regressor[:, order], skin_weights=rig.skin_weights[order],
        regions={name: mask[order] for name, mask in rig.regions.items()}, source_vertex_ids=rig.source_vertex_ids[order],
        mirror_vertices=np.full(rig.num_vertices, -1, np.int32), correctives=None if rig.correctives is None else turned(rig.correctives),
    )


@pytest.fixture(scope="module")
def world():
    """Our rig, its exact track, the other rig, the truth told by that one, pixels. Only turns about X differ, so that eyes that do not turn agree."""
    rig = procedural_rig()
    capture, track = synthetic_take(rig, NUM)
    track = track.replace(joint_rotations=np.zeros_like(track.joint_rotations))
    turn = matrices_from_axis_angles(np.array([0.1, 0.0, 0.0]))
    other = renumbered(rig, turn)
    placed = track.world_from_root.copy()
    placed[:, :3, :3] = placed[:, :3, :3] @ turn.T
    neutral = posable_head(other, torch.from_numpy(track.identity), track.scale).neutral.numpy()
    truth = Truth(
        rig_name=other.name, rig_sha256=rig_sha256(other), seed=1, renderer="fast", size_hw=capture.size_hw, fps=25.0, time_s=track.time_s,
        identity=track.identity, scale=track.scale, neutral=neutral, control_names=other.expression_names, controls=track.controls,
        joint_names=other.joint_names, joint_rotations=track.joint_rotations, world_from_root=placed, world_from_cam=track.world_from_cam,
        px_from_cam=track.px_from_cam, light=np.zeros((9, 3), np.float32), blinks_s=np.zeros((0, 3)),
    )
    exact = performance_from_track(rig, track)
    return rig, track, other, truth, np.nan_to_num(to_pixels(exact, to_camera(exact, landmark_points(exact))), nan=100.0)


def errors_of(world, **changes):
    rig, track, other, truth, pixels = world
    return measure_truth(performance_from_track(rig, track.replace(**changes)), truth, rig, pixels, 1.3 * float(track.px_from_cam[0, 0]), other)


def test_the_same_surface_under_other_vertices_has_no_errors(world):
    errors = errors_of(world)
    assert errors["topology"] == "mismatched"
    for key in ("face_vertex_mm", "face_surface_mm", "identity_mm", "identity_scaled_mm", "lip_lid_mm", "lip_gap_mm", "lid_gap_mm", "depth_mm", "depth_absolute_mm",
                "translation_mm", "translation_sized_mm"):  # fmt: skip
        assert errors[key] == pytest.approx(0, abs=5e-3), key
    for key in ("expression_relative", "rotation_deg", "focal_percent", "size_percent"):
        assert errors[key] == pytest.approx(0, abs=2e-2), key
    assert set(errors["units"]) == set(world[0].expression_names)
    assert errors["zero_effort"]["face_vertex_mm"] > 0.1


def test_own_topology_says_so(world):
    rig, track, _, truth, pixels = world
    neutral = posable_head(rig, torch.from_numpy(track.identity), track.scale).neutral.numpy()
    own = dataclasses.replace(truth, rig_name=rig.name, rig_sha256=rig_sha256(rig), neutral=neutral, world_from_root=track.world_from_root)
    for given in (None, rig):
        errors = measure_truth(performance_from_track(rig, track), own, rig, pixels, 500.0, given)
        assert errors["topology"] == "own" and errors["face_vertex_mm"] == pytest.approx(0, abs=2e-3) and errors["face_surface_mm"] == pytest.approx(0, abs=2e-3)


def test_absolute_and_mean_free_depth(world):
    moved = world[1].world_from_root.copy()
    moved[:, 2, 3] += 0.05
    errors = errors_of(world, world_from_root=moved)
    assert errors["depth_absolute_mm"] == pytest.approx(50, abs=0.2) and errors["translation_mm"] == pytest.approx(50, abs=0.2)
    assert errors["depth_mm"] == pytest.approx(0, abs=0.01) and errors["face_vertex_mm"] == pytest.approx(0, abs=0.05)


def test_a_wrong_size_is_forgiven_where_the_size_is_given(world):
    """Head and distance 4 % too large look exactly the same; the sized rows see through it, the absolute ones do not."""
    track = world[1]
    cam = track.world_from_cam[0]
    from_cam = np.linalg.inv(cam) @ track.world_from_root
    from_cam[:, :3, 3] *= 1.04
    errors = errors_of(world, scale=1.04 * track.scale, world_from_root=cam @ from_cam)
    assert errors["size_percent"] == pytest.approx(4, abs=0.1)
    assert errors["depth_sized_mm"] < 0.5 and errors["translation_sized_mm"] < 0.5 and errors["depth_absolute_mm"] > 20
    assert errors["identity_scaled_mm"] == pytest.approx(0, abs=0.02) and errors["identity_mm"] > 0.3


def test_rotation_lips_and_units(world):
    rig, track = world[0], world[1]
    wobble = np.zeros((NUM, 3))
    wobble[:, 1] = np.radians(2.0) * np.where(np.arange(NUM) % 2, 1, -1)
    turned = track.world_from_root.copy()
    turned[:, :3, :3] = turned[:, :3, :3] @ matrices_from_axis_angles(wobble)
    assert errors_of(world, world_from_root=turned)["rotation_deg"] == pytest.approx(2.0, abs=0.03)
    half = errors_of(world, controls=0.5 * track.controls)
    assert half["expression_relative"] == pytest.approx(0.5, abs=5e-3) and half["lip_lid_mm"] > 0.05
    busy = [name for name, unit in half["units"].items() if unit["relative"] is not None]
    assert busy and all(half["units"][name]["relative"] == pytest.approx(0.5, abs=1e-3) for name in busy)
    assert all(half["units"][name]["induced_mm"] > 0 for name in busy if np.abs(rig.expression_basis[..., rig.expression_names.index(name)]).max() > 0)


def test_units_are_compared_by_name(world):
    rig, track = world[0], world[1]
    ours = performance_from_track(rig, track)
    shuffled = np.arange(len(rig.expression_names))[::-1]
    other = dataclasses.replace(ours, control_names=tuple(rig.expression_names[i] for i in shuffled), controls=track.controls[:, shuffled])
    table = unit_table(other, np.arange(NUM), ours, np.arange(NUM))
    assert all(unit["error_rms"] == pytest.approx(0, abs=1e-7) for unit in table.values())
    stranger = dataclasses.replace(ours, control_names=tuple(f"x{i}" for i in shuffled))
    assert unit_table(stranger, np.arange(NUM), ours, np.arange(NUM)) == {}


def test_alignment_slides_the_truth_onto_the_surface():
    """Points of a bumpy sheet, moved: the distance is what was added along the normal, whatever the motion was."""
    side = np.linspace(-1, 1, 25)
    x, y = np.meshgrid(side, side)
    sheet = np.stack([x, y, 0.3 * np.sin(3 * x) * np.cos(2 * y) + 0.2 * x * y], -1).reshape(-1, 3) * 0.1
    index = np.arange(625).reshape(25, 25)
    a, b, c, d = index[:-1, :-1].ravel(), index[:-1, 1:].ravel(), index[1:, 1:].ravel(), index[1:, :-1].ravel()
    triangles = np.concatenate([np.stack([a, b, c], 1), np.stack([a, c, d], 1)]).astype(np.int32)
    turn = matrices_from_axis_angles(np.array([0.2, -0.1, 0.15]))
    inner = sheet[index[4:-4, 4:-4].ravel()]
    true = inner @ turn.T + [0.02, -0.01, 0.5]
    near = (sheet[::40], sheet[::40] @ turn.T + [0.023, -0.008, 0.499])
    distance_mm, motion = surface_distances_mm(sheet[None], triangles, true[None], near)
    assert distance_mm.max() < 0.05
    np.testing.assert_allclose(motion.apply(inner), true, atol=1e-4)
    np.testing.assert_allclose(motion.undo(motion.apply(inner)), inner, atol=1e-12)
