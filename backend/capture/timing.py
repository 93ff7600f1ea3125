"""Presentation times and constant frame rates."""

from __future__ import annotations

from fractions import Fraction

import numpy as np


def average_fps(time_s: np.ndarray, nominal_fps: float) -> float:
    """Frames per second over the clip: (N - 1) intervals in the time from the first to the last frame.

    A nominal rate such as 30000/1001 is kept when counting with it drifts by less than a quarter of a frame over the clip.
    """
    time_s = np.asarray(time_s, dtype=np.float64)
    length_s = float(time_s[-1] - time_s[0]) if len(time_s) else 0.0
    if len(time_s) < 2 or length_s <= 0:
        return float(nominal_fps)
    measured = (len(time_s) - 1) / length_s
    drift_frames = abs(length_s * nominal_fps - (len(time_s) - 1))
    return float(nominal_fps) if drift_frames < 0.25 else measured


def is_constant_rate(time_s: np.ndarray, fps: float) -> bool:
    """Whether every frame lies within half a frame of its place on a constant-rate grid that starts at the first frame."""
    time_s = np.asarray(time_s, dtype=np.float64)
    return bool(np.all(np.abs((time_s - time_s[0]) * fps - np.arange(len(time_s))) < 0.5)) if len(time_s) else True


def proxy_frames(time_s: np.ndarray, fps: float) -> np.ndarray:
    """(N,) int32: frame of the constant-rate background clip (counted from 0) that shows each sample.

    Sample i is frame i when the clip is of (nearly) constant rate. Otherwise it is the frame whose time ``t0 + k / fps`` is nearest;
    then two samples may share a frame, and a frame between two distant samples repeats the nearer one.
    """
    time_s = np.asarray(time_s, dtype=np.float64)
    if is_constant_rate(time_s, fps):
        return np.arange(len(time_s), dtype=np.int32)
    return np.floor((time_s - time_s[0]) * fps + 0.5).astype(np.int32)


def samples_for_proxy(time_s: np.ndarray, fps: float) -> np.ndarray:
    """(M,) int32, not decreasing: the sample that each frame of the background clip shows."""
    time_s = np.asarray(time_s, dtype=np.float64)
    if is_constant_rate(time_s, fps):
        return np.arange(len(time_s), dtype=np.int32)
    grid_s = time_s[0] + np.arange(int(np.floor((time_s[-1] - time_s[0]) * fps + 0.5)) + 1) / fps
    right = np.clip(np.searchsorted(time_s, grid_s), 1, len(time_s) - 1)
    is_left = grid_s - time_s[right - 1] <= time_s[right] - grid_s
    return np.where(is_left, right - 1, right).astype(np.int32)


def rate_fraction(fps: float) -> Fraction:
    """The frame rate as containers write it; 29.97 becomes 30000/1001."""
    for nominal in (24, 30, 48, 60, 120, 240):
        ntsc = Fraction(nominal * 1000, 1001)
        if abs(float(ntsc) - fps) < 5e-4 * nominal / 30:
            return ntsc
    return Fraction(fps).limit_denominator(1000)
