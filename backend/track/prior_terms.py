"""What is known about controls before looking: sparse, bounded, roughly symmetric, smooth in time."""

from __future__ import annotations

import numpy as np

from .energy import Priors
from .landmark_model import LandmarkModel
from .state import Unknowns

SPARSE, RIDGE = 20.0, 40.0
"""Weights of the sum and of the squares of controls per frame, against landmark terms in squared percent."""
SPARSE_FACTOR = {"eyeBlink": 0.05, "eyeSquint": 2.0, "eyeWide": 2.0}
"""Lids close by blinking before they squint; otherwise squint and gaze would explain half of every blink."""
UNSEEN_RIDGE = {"cheekPuff": 120.0, "jawForward": 200.0, "noseSneerLeft": 40.0, "noseSneerRight": 40.0, "cheekSquintLeft": 40.0, "cheekSquintRight": 40.0}
"""Extra squares for controls that 2D points hardly see."""
TIE = 25.0
BLINK_TIE, GAZE_TIE = 30.0, 3000.0
"""Weights of left against right: controls (per unit squared), blinks, gaze (per rad squared; eyes move together)."""
GAZE_RIDGE = 30.0
FAST = ("eyeBlink", "jawOpen", "mouthClose")
TEMPORAL, TEMPORAL_FAST, TEMPORAL_GAZE = 60.0, 4.0, 800.0
TEMPORAL_ROTATION, TEMPORAL_TRANSLATION = 2000.0, 4000.0
"""Weights of squared first differences: per unit, per rad, per metre. Blinks and jaw are fast."""
RESTING_WEIGHT = 1e6
"""Holds the resting modes still: only the neutral gauge moves them."""
ORDERED = 1e6
"""Keeps mouthClose below jawOpen: practically a constraint."""
VERGENCE_RAD = 0.05
"""Eyes of a person who looks at a phone converge by about three degrees."""


def frame_priors(
    model: LandmarkModel, unknowns: Unknowns, is_linked: np.ndarray, *, identity_weight: float, focal_prior_px: float, focal_sigma_log: float, num_frames: int
) -> Priors:
    """The priors of one solve.

    Args:
        is_linked: (F - 1,) bool. identity_weight: per frame, so that the balance does not depend on how many are used.
        focal_sigma_log: uncertainty of the focal length, natural logarithm.
    """
    size = unknowns.size
    controls = np.arange(unknowns.controls.start, unknowns.controls.stop)
    names = [model.expression_names[index] for index in unknowns.free_controls]
    sparse, ridge, temporal = np.zeros(size), np.zeros(size), np.zeros(size)
    is_one_sided = model.limits[unknowns.free_controls, 0] >= 0
    sparse[controls] = np.where(is_one_sided, SPARSE, 0)
    ridge[controls] = np.where(is_one_sided, RIDGE, 4 * RIDGE)
    temporal[:3], temporal[3:6] = TEMPORAL_ROTATION, TEMPORAL_TRANSLATION
    temporal[controls] = TEMPORAL
    for column, name in zip(controls, names):
        ridge[column] += UNSEEN_RIDGE.get(name, 0)
        factor = SPARSE_FACTOR.get(name.removesuffix("Left").removesuffix("Right"), 1.0)
        sparse[column] *= factor
        ridge[column] *= factor
        if name.startswith(FAST):
            temporal[column] = TEMPORAL_FAST
    temporal[unknowns.gaze], ridge[unknowns.gaze] = TEMPORAL_GAZE, GAZE_RIDGE
    temporal[unknowns.jaw], ridge[unknowns.jaw] = TEMPORAL_FAST * 10, 40.0

    column_of = dict(zip(names, controls))
    ties, weights, offsets = [], [], []
    for name, column in column_of.items():
        other = column_of.get(name.removesuffix("Left") + "Right") if name.endswith("Left") else None
        if other is not None and name not in ("jawLeft", "mouthLeft"):
            ties.append((column, other))
            weights.append(BLINK_TIE if name == "eyeBlinkLeft" else TIE)
            offsets.append(0.0)
    if unknowns.has_eyes:
        left_yaw, left_pitch, right_yaw, right_pitch = range(unknowns.gaze.start, unknowns.gaze.stop)
        ties += [(left_yaw, right_yaw), (left_pitch, right_pitch)]
        weights += [GAZE_TIE, GAZE_TIE * 4]
        offsets += [-VERGENCE_RAD, 0.0]
    ordered = (int(column_of["mouthClose"]), int(column_of["jawOpen"]), ORDERED) if {"mouthClose", "jawOpen"} <= column_of.keys() else None
    identity = np.full(model.identity.shape[2], identity_weight * num_frames)
    identity[model.resting_mode[model.resting_mode >= 0]] = RESTING_WEIGHT * num_frames
    return Priors(
        sparse, ridge, np.array(ties, dtype=int).reshape(-1, 2), np.array(weights), np.array(offsets), ordered, temporal, is_linked,
        identity, np.zeros(len(identity)), 1 / focal_sigma_log**2, focal_prior_px,
    )
