"""Tremble measured on motions whose tremble is known."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from point_face import point_face

from backend.evaluation import signals
from backend.evaluation.jitter import fast_part, measure_jitter, still_frames

NUM, FPS = 240, 25.0


@pytest.fixture(scope="module")
def resting():
    """A face at rest for 8 s that turns quickly between 4 and 6 s, and its exact landmarks."""
    turns = np.zeros((NUM, 3))
    time = np.arange(NUM) / FPS
    turns[:, 1] = np.where((time > 4) & (time < 6), 0.5 * np.sin(2 * np.pi * (time - 4)), 0)
    face = point_face(np.zeros((NUM, 2)), turns)
    return face, signals.to_pixels(face, signals.to_camera(face, signals.landmark_points(face)))


def test_frames_of_rest_are_found_by_the_landmarks(resting):
    face, pixels = resting
    split = np.zeros(NUM, int)
    still = still_frames(pixels, face.time_s, split)
    assert still[10:90].all() and not still[105:145].any() and still[160:].all()
    lost = pixels.copy()
    lost[50] = np.nan
    found = still_frames(lost, face.time_s, split)
    assert not found[50] and found[30] and found[70]


def test_tremble_is_measured_and_slow_motion_is_not(resting):
    face, pixels = resting
    split = np.zeros(NUM, int)
    still = measure_jitter(face, face, pixels, split)
    assert still["num_still_frames"] > 150
    assert still["raw"]["rotation_deg"] < 0.05 and still["raw"]["position_mm"] < 0.05
    shaken = face.cam_from_root.copy()
    wobble_mm = 0.8 * np.sin(2 * np.pi * 9 * face.time_s)
    shaken[:, 2, 3] += wobble_mm / 1000
    swaying = face.cam_from_root.copy()
    swaying[:, 2, 3] += 0.02 * np.sin(2 * np.pi * 0.3 * face.time_s)
    result = measure_jitter(dataclasses.replace(face, cam_from_root=shaken), dataclasses.replace(face, cam_from_root=swaying), pixels, split)
    assert result["raw"]["depth_mm"] == pytest.approx(0.8 / np.sqrt(2), rel=0.1)
    assert result["raw"]["position_mm"] == pytest.approx(result["raw"]["depth_mm"], rel=0.01)
    assert result["smooth"]["depth_mm"] < 0.05
    # A sine's second difference is its value times 2 - 2 cos(phase step).
    assert result["raw"]["depth_mm_second_difference"] == pytest.approx(0.8 / np.sqrt(2) * (2 - 2 * np.cos(2 * np.pi * 9 / FPS)), rel=0.05)


def test_blinks_are_no_tremble_and_other_controls_are(resting):
    face, pixels = resting
    split = np.zeros(NUM, int)
    quick = np.zeros((NUM, 2))
    quick[:, 0] = 0.1 * (np.arange(NUM) % 2)
    moved = dataclasses.replace(face, controls=quick, control_names=("jawOpen", "eyeBlinkLeft"))
    blinking = dataclasses.replace(face, controls=quick, control_names=("eyeBlinkLeft", "jawOpen"))
    result = measure_jitter(moved, blinking, pixels, split)
    assert result["raw"]["expression"] == pytest.approx(0.05, rel=0.05) and result["smooth"]["expression"] < 1e-9


def test_nothing_is_filtered_across_the_split():
    values = np.concatenate([np.zeros(60), np.ones(60)])[:, None]
    time_s = np.arange(120) / FPS
    split = np.repeat([0, 2], 60)
    assert np.abs(fast_part(values, time_s, split)).max() < 1e-9
    assert np.abs(fast_part(values, time_s, np.zeros(120, int))).max() > 0.2
    assert np.isnan(fast_part(values[:10], time_s[:10], split[:10])).all()
    assert np.isnan(fast_part(values, time_s * 2.5, split)).all()


def test_a_head_that_never_rests_has_no_figure(resting):
    face, pixels = resting
    running = pixels + 40 * np.sin(np.arange(NUM) / 4)[:, None, None]
    result = measure_jitter(face, face, running, np.zeros(NUM, int))
    assert result["num_still_frames"] < 10 and result["raw"] is None and result["smooth"] is None
