"""How large the head is. One camera cannot know, so two things about people must: irises and pupil distances."""

from __future__ import annotations

import dataclasses

import numpy as np

IRIS_MM, IRIS_SIGMA_MM = 11.7, 0.5
"""Horizontal visible iris diameter of adults."""
PUPIL_DISTANCE_MM, PUPIL_DISTANCE_SIGMA_MM = 63.0, 3.6
"""Pupil distance of adults, both sexes."""


@dataclasses.dataclass(frozen=True)
class Scale:
    """factor: multiplies the rig. source: where it came from. sigma: relative uncertainty."""

    factor: float
    source: str
    sigma: float


def estimate_scale(iris_mm: np.ndarray, pupil_distance_mm: float) -> Scale:
    """Combines both priors by their inverse variances, in the logarithm.

    Args:
        iris_mm: iris diameters as they measure on the unscaled head (one per observation; empty when unseen).
        pupil_distance_mm: pupil distance of the unscaled head.
    """
    guesses = [(np.log(PUPIL_DISTANCE_MM / pupil_distance_mm), PUPIL_DISTANCE_SIGMA_MM / PUPIL_DISTANCE_MM, "pupil_distance")]
    usable = iris_mm[np.isfinite(iris_mm) & (iris_mm > 0)]
    if len(usable) >= 3:
        centre = np.median(usable)
        scatter = 1.4826 * np.median(np.abs(usable - centre)) / centre / np.sqrt(min(len(usable), 20))
        guesses.insert(0, (np.log(IRIS_MM / centre), float(np.hypot(IRIS_SIGMA_MM / IRIS_MM, scatter)), "iris"))
    weights = np.array([1 / sigma**2 for _, sigma, _ in guesses])
    log_factor = float(np.dot(weights, [value for value, _, _ in guesses]) / weights.sum())
    return Scale(float(np.exp(log_factor)), "+".join(name for _, _, name in guesses), float(weights.sum() ** -0.5))
