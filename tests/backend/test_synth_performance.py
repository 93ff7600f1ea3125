"""Invented performances: ranges, timing of blinks and saccades, one source of gaze."""

from __future__ import annotations

import numpy as np
import pytest
from procedural_rig import procedural_rig
from scipy.spatial.transform import Rotation

from backend.errors import AvatarError
from backend.rig.gaze import GAZE_LIMITS_DEG, gaze_angles_rad
from backend.synth.config import SynthConfig
from backend.synth.performance import perform, world_from_root
from backend.synth.scene import world_from_body

RIG = procedural_rig()
NAMES = {name: index for index, name in enumerate(RIG.expression_names)}


def performance(seed=1, **settings):
    return perform(RIG, SynthConfig(**{"seconds": 8.0, **settings}), np.random.default_rng(seed))


@pytest.mark.parametrize("seed", range(4))
def test_controls_stay_within_limits_and_move_smoothly(seed):
    acted = performance(seed)
    assert acted.controls.shape == (200, len(RIG.expression_names)) and acted.controls.dtype == np.float32
    assert (acted.controls >= 0).all() and (acted.controls <= 1).all()
    assert (acted.controls[:, NAMES["mouthClose"]] <= acted.controls[:, NAMES["jawOpen"]]).all()
    moved = np.abs(np.diff(acted.controls, axis=0)).max(0)
    assert moved[NAMES["jawOpen"]] < 0.45 and moved[NAMES["mouthSmileLeft"]] < 0.4
    assert acted.controls[:, NAMES["jawOpen"]].max() > 0.4 and acted.controls[:, NAMES["mouthSmileLeft"]].max() > 0.4
    speed_deg = np.degrees(np.abs(np.diff(acted.head_rotations, axis=0))).max() * 25
    assert speed_deg < 90


@pytest.mark.parametrize("seed", range(4))
def test_blinks_close_fully_and_last_four_to_six_frames(seed):
    acted = performance(seed)
    closed = acted.controls[:, NAMES["eyeBlinkLeft"]]
    assert 2 <= len(acted.blinks_s) <= 7
    for start, peak, end in acted.blinks_s:
        during = (acted.time_s > start) & (acted.time_s < end)
        assert 4 <= during.sum() <= 6
        assert closed[during].max() > 0.99 and closed[np.argmin(np.abs(acted.time_s - peak))] > 0.99
    outside = ~np.any([(acted.time_s > start) & (acted.time_s < end) for start, _, end in acted.blinks_s], axis=0)
    assert (closed[outside] == 0).all()


def test_blinks_are_at_the_same_time_at_any_frame_rate():
    slow, fast = performance(3, fps=25.0), performance(3, fps=50.0)
    assert len(fast.controls) == 2 * len(slow.controls)
    assert np.abs(fast.blinks_s[0] - slow.blinks_s[0]).max() < 0.03


@pytest.mark.parametrize("seed", range(4))
def test_gaze_lies_in_the_eye_joints_alone(seed):
    acted = performance(seed)
    left = gaze_angles_rad(acted.joint_rotations[:, RIG.joint_names.index("eye_left")])
    assert np.degrees(np.abs(left[:, 0])).max() < 17 and np.degrees(np.abs(left[:, 1])).max() < 10
    assert np.ptp(np.degrees(left[:, 0])) > 8
    still = [index for index, name in enumerate(RIG.joint_names) if not name.startswith("eye_")]
    assert (acted.joint_rotations[:, still] == 0).all()
    is_open = acted.controls[:, NAMES["eyeBlinkLeft"]] == 0
    expected = np.clip(np.degrees(left[is_open, 1]) / GAZE_LIMITS_DEG[2], 0, 1)
    assert np.allclose(acted.controls[is_open, NAMES["eyeLookDownLeft"]], expected, atol=1e-5)


def test_eyes_hold_the_camera_against_the_head():
    """While the head turns, fixations keep the gaze in the world steadier than the head."""
    acted = performance(2)
    left = gaze_angles_rad(acted.joint_rotations[:, RIG.joint_names.index("eye_left")])[:, 0]
    head = acted.head_rotations[:, 0]
    assert np.corrcoef(left, head)[0, 1] < -0.4
    assert np.median(np.abs(np.diff(left + head))) < np.median(np.abs(np.diff(head)))


def test_head_turns_to_both_sides():
    acted = performance(5)
    yaw_deg = np.degrees(acted.head_rotations[:, 0])
    assert yaw_deg.max() > 18 and yaw_deg.min() < -18 and np.abs(yaw_deg).max() < 30
    still = performance(5, head_motion=0.0)
    assert (still.head_rotations == 0).all() and (still.head_shift_m == 0).all()
    pivot = np.array([0.0, 0.04, 0.0])
    placed = world_from_root(acted, pivot)
    assert np.abs(placed[:, :3, 3].mean(0)).max() < 1e-12
    # The pivot moves only by the head's shift, whatever the turn.
    moved = placed[:, :3, :3] @ pivot + placed[:, :3, 3] - acted.head_shift_m
    assert np.abs(moved - moved[0]).max() < 1e-12


@pytest.mark.parametrize("seed", range(2))
def test_on_the_chair_the_person_turns_to_both_profiles_slowly_and_quietly(seed):
    acted = performance(seed, performance="chair", seconds=10.0)
    yaw_deg = np.degrees(acted.head_rotations[:, 0])
    assert yaw_deg.max() == pytest.approx(75, abs=0.1) and yaw_deg.min() == pytest.approx(-75, abs=0.1)
    assert abs(yaw_deg[0]) < 1e-6 and abs(yaw_deg[-1]) < 1e-6
    assert np.abs(np.diff(yaw_deg)).max() * 25 < 50
    assert np.degrees(np.abs(acted.head_rotations[:, 1:])).max() < 5
    assert acted.controls[:, NAMES["jawOpen"]].max() < 0.3 and acted.controls[:, NAMES["eyeBlinkLeft"]].max() > 0.99
    eyes = gaze_angles_rad(acted.joint_rotations[:, RIG.joint_names.index("eye_left")])
    assert np.abs(np.corrcoef(eyes[:, 0], acted.head_rotations[:, 0])[0, 1]) < 0.8 and np.degrees(np.abs(eyes[:, 0])).max() < 17


def test_the_shoulders_turn_with_the_chair_but_follow_a_talking_head_half_way():
    placed = world_from_root(performance(1, performance="chair", seconds=10.0), np.zeros(3))
    for share in (1.0, 0.5):
        body = Rotation.from_matrix(world_from_body(placed, np.zeros(3), share)[:, :3, :3]).magnitude()
        assert body.max() == pytest.approx(share * Rotation.from_matrix(placed[:, :3, :3]).magnitude().max(), abs=1e-6)


def test_expressiveness_leaves_blinks_alone():
    calm = performance(1, expressiveness=0.0)
    assert (calm.controls[:, NAMES["jawOpen"]] == 0).all() and calm.controls[:, NAMES["eyeBlinkLeft"]].max() > 0.99


def test_equal_seeds_give_equal_performances():
    one, same, other = performance(7), performance(7), performance(8)
    assert (one.controls == same.controls).all() and (one.joint_rotations == same.joint_rotations).all()
    assert np.abs(one.controls - other.controls).max() > 0.1


@pytest.mark.parametrize(
    "bad", [{"seconds": 0.0}, {"fps": 0.5}, {"size_hw": (255, 256)}, {"renderer": "eevee"}, {"performance": "dance"}, {"samples": 0}, {"texture_px": 300}, {"seed": -1}, {"num_cameras": 0}]
)
def test_bad_settings_are_named(bad):
    with pytest.raises(AvatarError) as caught:
        SynthConfig(**bad)
    assert caught.value.code == "bad_request" and next(iter(bad)) in caught.value.message


def test_one_frame_is_a_clip_too():
    assert performance(1, seconds=0.04).controls.shape[0] == 1
