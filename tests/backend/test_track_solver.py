"""The landmark fit's machinery: block solver against a dense one, gradients against finite differences, bounds, freezing."""

import dataclasses

import numpy as np
import pytest

from backend.geometry.rotations import matrices_from_axis_angles
from backend.track.block_solver import BlockSystem, solve
from backend.track.energy import Observations, Shared, cost, landmarks_in_camera, linearise, projected
from backend.track.initial_pose import CAM_FROM_UPRIGHT, head_angles_deg
from backend.track.key_frames import select_key_frames
from backend.track.landmark_model import LandmarkModel, TurningJoint
from backend.track.levenberg import minimise
from backend.track.prior_terms import frame_priors
from backend.track.scale import estimate_scale
from backend.track.smoothing import smooth_rotations, smooth_values
from backend.track.state import FrameStates, unknowns_of

NAMES = ("jawOpen", "mouthClose", "eyeBlinkLeft", "eyeBlinkRight", "eyeLookDownLeft", "eyeLookUpLeft", "eyeLookInLeft", "eyeLookOutLeft",
         "eyeLookDownRight", "mouthSmileLeft", "mouthSmileRight", "tongueOut")  # fmt: skip


@pytest.fixture
def toy():
    """A model of 60 points with 5 identity modes, 12 controls, two eyes and a jaw, and 7 frames of motion."""
    rng = np.random.default_rng(3)
    count, num_identity = 60, 5
    points = rng.normal(size=(count, 3)) * [0.05, 0.07, 0.03] + [0, 0.1, 0.06]
    identity, expression = rng.normal(size=(count, 3, num_identity)) * 0.003, rng.normal(size=(count, 3, len(NAMES))) * 0.006
    joints = []
    for index, (name, rows) in enumerate((("eye_left", np.arange(50, 55)), ("eye_right", np.arange(55, 60)), ("jaw", np.arange(20, 40)))):
        share = rng.uniform(0.4, 1, len(rows))

        def weigh(field, rows=rows, share=share):
            return share.reshape(-1, *[1] * (field.ndim - 1)) * field[rows]

        joints.append(
            TurningJoint(name, index, rows, share, weigh(points), weigh(identity), weigh(expression), points[rows].mean(0) - [0, 0, 0.012],
                         rng.normal(size=(3, num_identity)) * 0.002)
        )  # fmt: skip
    normals = np.tile([0.0, 0, 1], (count, 1))
    limits = np.tile([0.0, 1], (len(NAMES), 1))
    model = LandmarkModel(np.arange(count), points, identity, expression, normals, tuple(joints), NAMES, limits, np.full(len(NAMES), -1))
    unknowns = unknowns_of(model)
    frames = 7
    controls = np.zeros((frames, len(NAMES)))
    controls[:, unknowns.free_controls] = rng.uniform(0.05, 0.9, (frames, len(unknowns.free_controls)))
    controls[:, 1] = 0.5 * controls[:, 0]
    rotation = matrices_from_axis_angles(np.cumsum(rng.normal(size=(frames, 3)) * 0.03, 0)) @ CAM_FROM_UPRIGHT
    states = FrameStates(
        rotation, np.array([0.02, 0.1, 0.6]) + rng.normal(size=(frames, 3)) * 0.01, controls, rng.normal(size=(frames, 4)) * 0.05, rng.uniform(0, 0.1, (frames, 3))
    )
    shared = Shared(rng.normal(size=num_identity) * 0.5, 900.0, np.array([320.0, 250.0]))
    return model, unknowns, shared, states, rng


def observations_of(model, unknowns, shared, states, rng, noise_px=0.0):
    points = projected(landmarks_in_camera(model, unknowns, shared, states), shared)
    points = points + rng.normal(size=points.shape) * noise_px
    whitening = np.tile(np.eye(2), (*points.shape[:2], 1, 1)) * rng.uniform(0.5, 1.5, (*points.shape[:2], 1, 1))
    pairs = np.array([[0, 1], [2, 3]])
    return Observations(points, whitening, np.full(len(points), 90.0), pairs, np.full((len(points), 2), 2.0), np.zeros((len(points), 2, 2)))


def priors_of(model, unknowns, frames, linked=True):
    return frame_priors(
        model, unknowns, np.full(frames - 1, linked), identity_weight=0.5, focal_prior_px=850.0, focal_sigma_log=0.3, num_frames=frames
    )


def test_block_solver_equals_a_dense_solver():
    rng = np.random.default_rng(0)
    frames, size, shared = 6, 5, 3
    total = frames * size + shared
    coupling = -rng.uniform(0.1, 1, (frames - 1, size))
    coupling[2] = 0  # a cut chain
    base = rng.normal(size=(frames, size, size))
    diagonal = base @ base.swapaxes(1, 2) + 5 * np.eye(size)
    border = rng.normal(size=(frames, size, shared)) * 0.3
    corner = 8 * np.eye(shared)
    gradient, shared_gradient = rng.normal(size=(frames, size)), rng.normal(size=shared)
    fixed = rng.uniform(size=(frames, size)) < 0.2
    dense = np.zeros((total, total))
    for frame in range(frames):
        block = slice(frame * size, (frame + 1) * size)
        dense[block, block] = diagonal[frame]
        dense[block, -shared:] = border[frame]
        dense[-shared:, block] = border[frame].T
        if frame + 1 < frames:
            following = slice((frame + 1) * size, (frame + 2) * size)
            dense[block, following] = dense[following, block] = np.diag(coupling[frame])
    dense[-shared:, -shared:] = corner
    keep = np.concatenate([~fixed.ravel(), np.ones(shared, dtype=bool)])
    expected = np.zeros(total)
    expected[keep] = np.linalg.solve(dense[np.ix_(keep, keep)], -np.concatenate([gradient.ravel(), shared_gradient])[keep])
    step, shared_step = solve(BlockSystem(diagonal, coupling, gradient, border, corner, shared_gradient), fixed, 0.0)
    np.testing.assert_allclose(step.ravel(), expected[:-shared], atol=1e-7)
    np.testing.assert_allclose(shared_step, expected[-shared:], atol=1e-7)


def test_gradient_equals_finite_differences(toy):
    model, unknowns, shared, states, rng = toy
    seen = observations_of(model, unknowns, shared, states, rng, noise_px=3.0)
    priors = priors_of(model, unknowns, len(states))
    system = linearise(model, unknowns, shared, states, seen, priors, True)
    frame, step = 3, 1e-6
    for column in range(unknowns.size):
        nudge = np.zeros((len(states), unknowns.size))
        nudge[frame, column] = step
        up = cost(model, unknowns, shared, unknowns.moved(states, nudge), seen, priors)
        down = cost(model, unknowns, shared, unknowns.moved(states, -nudge), seen, priors)
        # The gradient of the rotation's temporal term leaves out the turn between neighbours: a few percent of a small term.
        tolerance = 2e-2 if column < 3 else 1e-4
        assert (up - down) / (2 * step) == pytest.approx(system.gradient[frame, column], rel=tolerance, abs=2e-2)
    for column in range(len(shared.identity)):
        nudge = np.zeros(len(shared.identity))
        nudge[column] = step
        up = cost(model, unknowns, Shared(shared.identity + nudge, shared.focal_px, shared.principal_px), states, seen, priors)
        down = cost(model, unknowns, Shared(shared.identity - nudge, shared.focal_px, shared.principal_px), states, seen, priors)
        assert (up - down) / (2 * step) == pytest.approx(system.shared_gradient[column], rel=1e-4, abs=1e-3)
    up = cost(model, unknowns, Shared(shared.identity, shared.focal_px * np.exp(step), shared.principal_px), states, seen, priors)
    down = cost(model, unknowns, Shared(shared.identity, shared.focal_px * np.exp(-step), shared.principal_px), states, seen, priors)
    assert (up - down) / (2 * step) == pytest.approx(system.shared_gradient[-1], rel=1e-4, abs=1e-3)


def test_fit_reaches_the_truth_without_noise(toy):
    model, unknowns, shared, states, rng = toy
    seen = observations_of(model, unknowns, shared, states, rng)
    priors = priors_of(model, unknowns, len(states), linked=False)
    priors = dataclasses.replace(priors, sparse=priors.sparse * 0, ridge=priors.ridge * 1e-3, tie_weight=priors.tie_weight * 0)
    start = FrameStates(states.cam_from_root_rotation, states.translation_m + 0.01, states.controls * 0, states.gaze * 0, states.jaw * 0)
    start.controls[:, unknowns.free_controls] = 0.3
    solution = minimise(model, unknowns, shared, start, seen, priors, solve_shared=False, num_steps=80, tolerance=1e-12)
    error_px = projected(landmarks_in_camera(model, unknowns, shared, solution.states), shared) - seen.points_px
    assert np.abs(error_px).mean() < 0.02
    assert solution.energy < cost(model, unknowns, shared, start, seen, priors) / 20
    values = unknowns.values(solution.states)[:, unknowns.controls]
    assert (values >= -1e-12).all() and (values <= 1 + 1e-12).all()


def test_bounds_hold_when_the_data_pull_outside(toy):
    model, unknowns, shared, states, rng = toy
    beyond = FrameStates(states.cam_from_root_rotation, states.translation_m, states.controls.copy(), states.gaze, states.jaw)
    beyond.controls[:, 9] = 2.5  # a smile the model cannot reach
    seen = observations_of(model, unknowns, shared, beyond, rng)
    solution = minimise(model, unknowns, shared, states, seen, priors_of(model, unknowns, len(states)), solve_shared=False, num_steps=20)
    assert solution.states.controls.max() <= 1.0
    assert (solution.states.controls[:, 9] > 0.9).all()


def test_chains_do_not_influence_each_other(toy):
    model, unknowns, shared, states, rng = toy
    seen = observations_of(model, unknowns, shared, states, rng, noise_px=2.0)
    linked = np.array([True, True, False, True, True, True])
    priors = frame_priors(model, unknowns, linked, identity_weight=1, focal_prior_px=900, focal_sigma_log=0.3, num_frames=7)
    system = linearise(model, unknowns, shared, states, seen, priors, False)
    step, _ = solve(system, np.zeros((7, unknowns.size), dtype=bool), 0.0)
    changed = BlockSystem(system.diagonal, system.coupling, system.gradient.copy(), system.border, system.shared, system.shared_gradient)
    changed.gradient[4:] += 100
    other, _ = solve(changed, np.zeros((7, unknowns.size), dtype=bool), 0.0)
    np.testing.assert_array_equal(step[:3], other[:3])
    assert np.abs(step[3:] - other[3:]).max() > 1e-3


def test_a_frame_without_landmarks_lies_between_its_neighbours(toy):
    model, unknowns, shared, states, rng = toy
    seen = observations_of(model, unknowns, shared, states, rng)
    seen.whitening[3] = 0
    seen.pair_weight[3] = 0
    solution = minimise(model, unknowns, shared, states, seen, priors_of(model, unknowns, 7), solve_shared=False, num_steps=30, tolerance=1e-10)
    middle = solution.states.translation_m[[2, 4]].mean(0)
    np.testing.assert_allclose(solution.states.translation_m[3], middle, atol=1e-4)


def test_head_angles_follow_the_conventions():
    yaw_left = matrices_from_axis_angles(np.array([[0, np.radians(20), 0]]))
    look_down = matrices_from_axis_angles(np.array([[np.radians(10), 0, 0]]))
    np.testing.assert_allclose(head_angles_deg(CAM_FROM_UPRIGHT @ yaw_left), [[20, 0, 0]], atol=1e-9)
    np.testing.assert_allclose(head_angles_deg(CAM_FROM_UPRIGHT @ look_down), [[0, 10, 0]], atol=1e-9)


def test_key_frames_are_spread_and_avoid_bad_ones():
    descriptors = np.linspace(-1, 1, 101)[:, None]
    quality = np.ones(101)
    quality[100] = 0
    chosen = select_key_frames(descriptors, quality, 5)
    assert len(chosen) == 5 and 100 not in chosen and 0 in chosen and chosen[-1] >= 97
    assert np.diff(chosen).min() >= 20


def test_scale_combines_both_priors():
    both = estimate_scale(np.full(10, 11.7), 63.0)
    assert both.factor == pytest.approx(1.0) and both.source == "iris+pupil_distance" and both.sigma < 0.5 / 11.7
    bigger = estimate_scale(np.full(10, 11.7 / 1.1), 63.0 / 1.1)
    assert bigger.factor == pytest.approx(1.1, rel=1e-6)
    assert estimate_scale(np.zeros(0), 60.0).source == "pupil_distance"


def test_smoothing_is_zero_phase_and_stays_within_chains():
    values = np.zeros((41, 1))
    values[20] = 1
    smooth = smooth_values(values, 2.0, [slice(0, 41)])
    np.testing.assert_allclose(smooth, smooth[::-1], atol=1e-12)
    step = np.concatenate([np.zeros((20, 1)), np.ones((20, 1))])
    np.testing.assert_array_equal(smooth_values(step, 3.0, [slice(0, 20), slice(20, 40)]), step)
    turning = matrices_from_axis_angles(np.linspace(0, 1, 30)[:, None] * np.array([0, 2.5, 0]))
    smooth = smooth_rotations(turning, 1.5, [slice(0, 30)])
    np.testing.assert_allclose(smooth @ smooth.swapaxes(1, 2), np.tile(np.eye(3), (30, 1, 1)), atol=1e-9)
    np.testing.assert_allclose(smooth[8:-8], turning[8:-8], atol=2e-3)
