"""How much a track trembles while the head rests: what is faster than a head can move, before and after smoothing."""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy.ndimage import gaussian_filter1d, minimum_filter1d
from scipy.signal import butter, sosfiltfilt

from ..geometry.rotations import rotation_angles_deg
from .performance import Performance
from .points import OUTER_EYE_CORNERS
from .rounding import number

CUTOFF_HZ = 6.0
"""Heads hardly move faster than this; lips and lids do."""
FILTER_ORDER, MIN_RUN = 4, 16
"""Of the Butterworth filter; frames it needs in one run."""
STEADY_POINTS = (33, 133, 263, 362, 168, 6, 197, 195)
"""Eye corners and the bridge of the nose: landmarks that speech does not move."""
STILL_PER_S = 0.4
"""The head is still while those points move slower than this share of the outer-eye distance per second ..."""
STILL_SMOOTH_S, STILL_AROUND_S = 0.12, 0.12
"""... measured on landmarks smoothed by this deviation, and all this time before and after."""
MIN_STILL_FRAMES = 10
_QUICK = ("eyeBlink", "eyeLook", "eyeWide", "eyeSquint")
"""Controls that are legitimately fast, lids and gaze, are not counted as trembling."""


def measure_jitter(raw: Performance, smooth: Performance, landmarks_px: np.ndarray, split: np.ndarray) -> dict[str, Any]:
    """Energy above ``CUTOFF_HZ`` and second differences of head pose and expression, over the frames on which the head rests.

    Args:
        raw, smooth: the same track before and after smoothing. landmarks_px: (N, 478, 2), NaN where no face was found.
        split: (N,) runs of equal values are filtered apart, as they were tracked apart.

    Returns:
        The report's ``jitter`` object; ``raw`` and ``smooth`` are None with fewer than ``MIN_STILL_FRAMES`` still frames.
    """
    still = still_frames(landmarks_px, raw.time_s, split) & raw.is_tracked
    is_enough = int(still.sum()) >= MIN_STILL_FRAMES
    return {
        "num_still_frames": int(still.sum()), "cutoff_hz": CUTOFF_HZ,
        "raw": _trembling(raw, still, split) if is_enough else None, "smooth": _trembling(smooth, still, split) if is_enough else None,
    }


def still_frames(landmarks_px: np.ndarray, time_s: np.ndarray, split: np.ndarray) -> np.ndarray:
    """(N,) bool: the head rests, by the landmarks alone. Frames without a face are not still, nor is what lies next to them."""
    points = np.asarray(landmarks_px, np.float64)
    has_face = np.isfinite(points).all((1, 2))
    still = np.zeros(len(points), bool)
    for run in runs(np.where(has_face, split.astype(int), -1)):
        if not has_face[run.start] or run.stop - run.start < 3:
            continue
        step_s = float(np.median(np.diff(time_s[run])))
        eye_px = np.median(np.linalg.norm(points[run, OUTER_EYE_CORNERS[0]] - points[run, OUTER_EYE_CORNERS[1]], axis=-1))
        steady = gaussian_filter1d(points[run][:, STEADY_POINTS], STILL_SMOOTH_S / step_s, axis=0, mode="nearest")
        speed = np.linalg.norm(np.gradient(steady, step_s, axis=0), axis=-1).mean(1) / max(float(eye_px), 1e-9)
        around = 2 * int(round(STILL_AROUND_S / step_s)) + 1
        still[run] = minimum_filter1d((speed < STILL_PER_S).astype(np.uint8), around, mode="nearest") > 0
    return still


def runs(labels: np.ndarray) -> list[slice]:
    """Stretches of equal neighbours."""
    cuts = [0, *(np.flatnonzero(np.diff(labels)) + 1), len(labels)]
    return [slice(int(start), int(stop)) for start, stop in zip(cuts[:-1], cuts[1:]) if stop > start]


def fast_part(values: np.ndarray, time_s: np.ndarray, split: np.ndarray) -> np.ndarray:
    """What is above ``CUTOFF_HZ``: zero-phase Butterworth high pass along time, each run of the split for itself.

    Args:
        values: (N, C).

    Returns:
        (N, C); NaN in runs that are too short for the filter, and everywhere when the frame rate is too low to show such frequencies.
    """
    result = np.full(values.shape, np.nan)
    for run in runs(split):
        rate_hz = 1 / float(np.median(np.diff(time_s[run]))) if run.stop - run.start > 1 else 0.0
        if rate_hz <= 2.2 * CUTOFF_HZ:
            continue
        filters = butter(FILTER_ORDER, CUTOFF_HZ, "highpass", fs=rate_hz, output="sos")
        if run.stop - run.start > MIN_RUN:
            result[run] = sosfiltfilt(filters, values[run], axis=0)
    return result


def _trembling(performance: Performance, still: np.ndarray, split: np.ndarray) -> dict[str, float | None]:
    rotation = performance.cam_from_root[:, :3, :3]
    # A point of the face: at the root's origin, some distance below, every tremble of the rotation would look like one of the position.
    face = performance.regions.get("face")
    neutral = performance.head.neutral.numpy().astype(np.float64)
    centre = neutral[face].mean(0) if face is not None and face.any() else neutral.mean(0)
    position_mm = 1000 * (rotation @ centre + performance.cam_from_root[:, :3, 3])
    steady = np.array([not name.startswith(_QUICK) for name in performance.control_names], bool)
    controls = performance.controls[:, steady].astype(np.float64)
    turn_deg = _turns_deg(rotation, split)
    time_s = performance.time_s
    result: dict[str, float | None] = {}
    for name, values, is_length in (("rotation_deg", turn_deg, True), ("position_mm", position_mm, True), ("depth_mm", position_mm[:, 2:], True), ("expression", controls, False)):
        quick = fast_part(values, time_s, split)[still]
        bend = _second_difference(values, split)[still]
        result[name] = _rms(quick, is_length)
        result[f"{name}_second_difference"] = _rms(bend, is_length)
    return result


def _turns_deg(rotation: np.ndarray, split: np.ndarray) -> np.ndarray:
    """(N, 3) degrees: rotation vectors against each run's own middle, so that they are small and add up."""
    vectors = np.zeros((len(rotation), 3))
    for run in runs(split):
        middle = rotation[(run.start + run.stop) // 2]
        relative = rotation[run] @ middle.T
        angle = rotation_angles_deg(relative)
        axis = np.stack([relative[:, 2, 1] - relative[:, 1, 2], relative[:, 0, 2] - relative[:, 2, 0], relative[:, 1, 0] - relative[:, 0, 1]], -1)
        vectors[run] = axis * (angle / np.maximum(np.linalg.norm(axis, axis=1), 1e-12))[:, None]
    return vectors


def _second_difference(values: np.ndarray, split: np.ndarray) -> np.ndarray:
    result = np.full(values.shape, np.nan)
    for run in runs(split):
        if run.stop - run.start >= 3:
            result[run.start + 1 : run.stop - 1] = np.diff(values[run], 2, axis=0)
    return result


def _rms(values: np.ndarray, is_length: bool) -> float | None:
    """Root mean square over frames: of the vectors' lengths, or of single values."""
    values = values[np.isfinite(values).all(1)]
    if not values.size:
        return None
    return number(np.sqrt((values**2).sum(1).mean() if is_length else (values**2).mean()))
