"""Errors against a truth that the test itself invented."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from procedural_rig import procedural_rig
from synthetic_take import synthetic_take

from backend.errors import AvatarError
from backend.evaluation.alignment import mean_rotation, rigid_fit
from backend.evaluation.performance import performance_from_track
from backend.evaluation.signals import landmark_points, to_camera, to_pixels
from backend.evaluation.truth import KEYS, measure_truth
from backend.evaluation.truth_units import tied_units
from backend.geometry.rotations import matrices_from_axis_angles
from backend.rig.posing import posable_head
from backend.synth.truth import Truth, rig_sha256

NUM = 20


@pytest.fixture(scope="module")
def world():
    rig = procedural_rig()
    capture, track = synthetic_take(rig, NUM)
    neutral = posable_head(rig, torch.from_numpy(track.identity), track.scale).neutral.numpy()
    truth = Truth(
        rig_name=rig.name, rig_sha256=rig_sha256(rig), seed=1, renderer="fast", size_hw=capture.size_hw, fps=25.0, time_s=track.time_s,
        identity=track.identity, scale=track.scale, neutral=neutral, control_names=rig.expression_names, controls=track.controls,
        joint_names=rig.joint_names, joint_rotations=track.joint_rotations, world_from_root=track.world_from_root, world_from_cam=track.world_from_cam,
        px_from_cam=track.px_from_cam, light=np.zeros((9, 3), np.float32), blinks_s=np.zeros((0, 3)),
    )
    exact = performance_from_track(rig, track)
    points = landmark_points(exact)
    pixels = to_pixels(exact, to_camera(exact, points))
    # The procedural rig leaves one point without a place; a detector would still report it.
    return rig, track, truth, np.nan_to_num(pixels, nan=100.0)


def errors_of(world, **changes):
    rig, track, truth, pixels = world
    return measure_truth(performance_from_track(rig, track.replace(**changes)), truth, rig, pixels, 1.3 * float(track.px_from_cam[0, 0]))


def test_the_truth_itself_has_no_errors(world):
    errors = errors_of(world)
    assert all(errors[key] == pytest.approx(0, abs=2e-3) for key in KEYS)
    assert errors["num_frames"] == NUM


def test_a_constant_rigid_motion_is_forgiven_but_reported(world):
    track = world[1]
    moved = track.world_from_root.copy()
    moved[:, 2, 3] += 0.05
    errors = errors_of(world, world_from_root=moved)
    assert errors["face_vertex_mm"] == pytest.approx(0, abs=2e-2) and errors["depth_mm"] == pytest.approx(0, abs=1e-2)
    assert errors["depth_offset_mm"] == pytest.approx(-50, abs=0.5)


def test_rotation_errors_are_measured_after_a_constant_one(world):
    track = world[1]
    turned = track.world_from_root.copy()
    turned[:, :3, :3] = turned[:, :3, :3] @ matrices_from_axis_angles(np.array([0.0, 0.2, 0.0]))
    assert errors_of(world, world_from_root=turned)["rotation_deg"] == pytest.approx(0, abs=1e-2)
    wobble = np.zeros((NUM, 3))
    wobble[:, 1] = np.radians(2.0) * np.where(np.arange(NUM) % 2, 1, -1)
    turned[:, :3, :3] = track.world_from_root[:, :3, :3] @ matrices_from_axis_angles(wobble)
    assert errors_of(world, world_from_root=turned)["rotation_deg"] == pytest.approx(2.0, abs=0.02)


def test_an_all_zero_expression_scores_one(world):
    track = world[1]
    errors = errors_of(world, controls=np.zeros_like(track.controls))
    assert errors["expression_relative"] == pytest.approx(1, abs=1e-4)
    assert errors["lip_lid_mm"] > 0.1
    half = errors_of(world, controls=0.5 * track.controls)
    assert half["expression_relative"] == pytest.approx(0.5, abs=1e-3)


def test_focal_and_scale_errors(world):
    track = world[1]
    wrong = track.px_from_cam.copy()
    wrong[0, 0] *= 1.1
    wrong[1, 1] *= 1.1
    assert errors_of(world, px_from_cam=wrong)["focal_percent"] == pytest.approx(10, abs=1e-3)
    errors = errors_of(world, scale=1.05 * track.scale)
    assert errors["identity_mm"] > 1 and errors["identity_scaled_mm"] == pytest.approx(0, abs=2e-2)


def test_zero_effort_is_the_mean_head_posed_by_its_landmarks(world):
    errors = errors_of(world)
    idle = errors["zero_effort"]
    assert idle["focal_percent"] == pytest.approx(30, abs=1e-2)
    assert idle["expression_relative"] == pytest.approx(1, abs=1e-4)
    assert 0 < idle["rotation_deg"] < 15 and idle["identity_mm"] > 0.3
    off = errors_of(world, controls=0.5 * world[1].controls)
    assert off["factor"]["expression_relative"] == pytest.approx(2, abs=5e-3)


def test_the_truth_of_another_head_is_refused(world):
    rig, track, truth, pixels = world
    with pytest.raises(AvatarError) as caught:
        measure_truth(performance_from_track(rig, track), dataclasses.replace(truth, rig_sha256="0" * 64), rig, pixels, 500.0)
    assert caught.value.code == "bad_input"


def test_units_that_do_the_same_are_tied():
    fields = np.array([[2.0, 0, 0], [-1.0, 0.1, 0], [0, 1.0, 0], [0.0, 0.95, 0.05]])
    tie = tied_units(fields)
    assert tie.shape == (4, 2)
    np.testing.assert_allclose(tie[:, 0], [1, -0.5, 0, 0], atol=0.01)
    np.testing.assert_allclose(tie[:, 1], [0, 0, 1, 0.95], atol=0.01)


def test_alignment_finds_the_motion_it_was_given():
    rng = np.random.default_rng(0)
    points = rng.standard_normal((30, 3))
    turn = matrices_from_axis_angles(np.array([0.3, -0.8, 0.5]))
    rotation, shift, scale = rigid_fit(points, 1.7 * points @ turn.T + [1, 2, 3], with_scale=True)
    np.testing.assert_allclose(rotation, turn, atol=1e-12)
    np.testing.assert_allclose(shift, [1, 2, 3], atol=1e-12)
    assert scale == pytest.approx(1.7)
    np.testing.assert_allclose(mean_rotation(np.stack([turn, turn])), turn, atol=1e-12)
