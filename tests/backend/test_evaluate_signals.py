"""Signals on faces whose every number is known."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from point_face import FOCAL_PX, point_face

from backend.evaluation import signals
from backend.evaluation.events import Blink, find_blinks, match_blinks
from backend.evaluation.points import LID_PAIRS, LIP_PAIRS, NUM_POINTS, point_groups

NUM = 200
BLINK_AT = (30, 80, 83 + 40)


def script() -> tuple[np.ndarray, np.ndarray]:
    time = np.arange(NUM) / 25.0
    controls = np.zeros((NUM, 2))
    controls[:, 0] = 0.4 * (1 + np.sin(2 * np.pi * 1.3 * time)) / 2
    for at in BLINK_AT:
        controls[at - 2 : at + 3, 1] = [0.5, 1, 1, 0.7, 0.3]
    rotations = np.stack([0.15 * np.sin(time), 0.35 * np.sin(0.7 * time), 0.1 * np.sin(1.1 * time)], -1)
    return controls, rotations


@pytest.fixture(scope="module")
def face():
    return point_face(*script())


@pytest.fixture(scope="module")
def pixels(face):
    return signals.to_pixels(face, signals.to_camera(face, signals.landmark_points(face)))


def test_a_model_on_its_landmarks_scores_perfectly(face, pixels):
    result = signals.measure_signals(face, pixels, np.arange(NUM) >= 170)
    assert result["landmarks"]["mean_percent"] < 1e-9 and result["landmarks"]["test_percent"] < 1e-9
    assert result["landmarks"]["num_points"] == NUM_POINTS
    assert result["signals"]["lip_gap_correlation"] == pytest.approx(1, abs=1e-9)
    assert result["signals"]["lip_gap_slope"] == pytest.approx(1, abs=1e-9)
    assert (result["signals"]["blink_true"], result["signals"]["blink_missed"], result["signals"]["blink_false"]) == (3, 0, 0)
    assert result["signals"]["blink_f1"] == 1 and result["signals"]["lid_aperture_at_blink_max_percent"] < 1


def test_landmark_distance_is_in_percent_of_the_frontal_eye_distance(face, pixels):
    is_test = np.arange(NUM) >= 170
    result = signals.landmark_distances(face, signals.landmark_points(face), pixels + [3.0, 4.0], np.ones(NUM, bool), is_test)
    depth_m = signals.to_camera(face, np.tile([0, 0.03, 0.04], (NUM, 1, 1)))[:, 0, 2]
    expected = 100 * 5.0 / (FOCAL_PX * 0.09 / depth_m)
    assert result["mean_percent"] == pytest.approx(expected.mean(), rel=1e-4)
    assert result["test_percent"] == pytest.approx(expected[is_test].mean(), rel=1e-4)
    assert result["groups"]["irises"] == pytest.approx(expected.mean(), rel=1e-4)


def test_points_without_a_place_and_frames_without_a_face_do_not_count(face, pixels):
    embedding = dataclasses.replace(face.embedding, triangle_ids=face.embedding.triangle_ids.copy())
    embedding.triangle_ids[7] = -1
    seen = pixels.copy()
    seen[:, 7] += 500
    seen[5] = np.nan
    result = signals.measure_signals(dataclasses.replace(face, embedding=embedding), seen, np.zeros(NUM, bool))["landmarks"]
    assert result["num_points"] == NUM_POINTS - 1 and result["num_frames"] == NUM - 1
    assert result["mean_percent"] < 1e-9 and result["test_percent"] is None


def test_lip_slope_sees_a_mouth_that_opens_too_little(face, pixels):
    controls, rotations = script()
    controls[:, 0] *= 0.6
    lazy = point_face(controls, rotations)
    result = signals.measure_signals(lazy, pixels, np.zeros(NUM, bool))["signals"]
    assert result["lip_gap_correlation"] > 0.99
    assert result["lip_gap_slope"] == pytest.approx(0.6, abs=0.02)


def test_lip_gap_is_measured_in_the_heads_frame(pixels):
    """The same mouth, nodded by 30 degrees, shows a shorter gap in the image but the same one in the head's frame."""
    controls = np.tile([[0.5, 0.0]], (2, 1))
    nodding = point_face(controls, np.array([[0, 0, 0], [0.5, 0, 0]]))
    points = signals.landmark_points(nodding)
    seen = signals.to_pixels(nodding, signals.to_camera(nodding, points))
    upper, lower = LIP_PAIRS[2]
    in_image = np.linalg.norm(seen[:, upper] - seen[:, lower], axis=-1)
    assert abs(in_image[1] / in_image[0] - 1) > 0.1
    np.testing.assert_allclose(signals.lip_gaps(nodding, points, seen)[1], 10.0, atol=1e-6)


def test_a_model_whose_eyes_never_close_misses_every_blink(pixels):
    controls, rotations = script()
    controls[:, 1] = 0
    result = signals.measure_signals(point_face(controls, rotations), pixels, np.zeros(NUM, bool))["signals"]
    assert result["blink_f1"] == 0 and result["blink_missed"] == 3 and result["blink_false"] == 0
    assert result["lid_aperture_at_blink_percent"] == pytest.approx(100, abs=1)


def test_half_closed_model_lids_are_reported(pixels):
    controls, rotations = script()
    controls[:, 1] *= 0.55
    result = signals.measure_signals(point_face(controls, rotations), pixels, np.zeros(NUM, bool))["signals"]
    assert result["lid_aperture_at_blink_percent"] == pytest.approx(45, abs=2)


def test_invented_and_doubled_blinks_are_false(pixels):
    controls, rotations = script()
    controls[150:154, 1] = 1
    result = signals.measure_signals(point_face(controls, rotations), pixels, np.zeros(NUM, bool))["signals"]
    assert result["blink_false"] == 1 and result["blink_f1"] == pytest.approx(6 / 7, abs=1e-5)
    time_s = np.arange(20) / 25
    two_on_one = match_blinks([Blink(5, 12, 8)], [Blink(5, 7, 6), Blink(9, 12, 10)], time_s)
    assert (two_on_one.num_false, two_on_one.num_missed) == (1, 0)


def test_blinks_are_told_from_lowered_eyes_and_noise():
    rng = np.random.default_rng(1)
    time_s = np.arange(400) / 30
    aperture = 0.3 + 0.01 * rng.standard_normal(400)
    aperture[100:160] *= 0.5  # looks down for two seconds
    aperture[200] *= 0.7  # one noisy frame
    aperture[250:256] *= [0.6, 0.2, 0.1, 0.2, 0.5, 0.8]
    aperture[300:312] *= [0.5, 0.1, 0.1, 0.6, 0.75, 0.78, 0.7, 0.3, 0.1, 0.4, 0.7, 0.9]  # two blinks, lids not fully open between them
    aperture[350:380] *= 0.05  # closes the eyes for a second
    found = find_blinks(aperture, time_s)
    assert [blink.lowest for blink in found][:3] == [252, 301, 308] or [blink.lowest for blink in found][:3] == [252, 302, 308]
    assert len(found) == 4 and 350 <= found[3].lowest < 380


def test_a_signal_of_nothing_has_no_blinks():
    assert find_blinks(np.full(50, np.nan), np.arange(50) / 25) == []
    assert match_blinks([], [], np.arange(50) / 25).f1 is None


def test_model_without_lid_regions_reports_null(face, pixels):
    result = signals.measure_signals(dataclasses.replace(face, regions={}), pixels, np.zeros(NUM, bool))["signals"]
    assert result["blink_true"] == 3 and result["blink_f1"] is None and result["lid_aperture_at_blink_percent"] is None


def test_every_point_is_in_one_group():
    groups = point_groups()
    assert sorted(np.concatenate(list(groups.values()))) == list(range(NUM_POINTS))
    assert all(set(pair) <= set(groups["eyes"]) for pairs in LID_PAIRS.values() for pair in pairs)
