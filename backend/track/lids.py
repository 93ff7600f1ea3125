"""How open each eye looks, and what that says about the lids and the iris behind them."""

from __future__ import annotations

import numpy as np

from . import point_roles as names

EYES = ((names.LID_PAIRS_RIGHT, (33, 133), names.IRIS_RIGHT), (names.LID_PAIRS_LEFT, (362, 263), names.IRIS_LEFT))
"""Lid pairs, corners and iris of the right and the left eye."""
SHUT_LOOKS_LIKE = 0.10
"""The detector's lid points keep about this share of the open distance when an eye is shut (seen on blinks of real clips)."""
SHUT_BELOW = 0.5
IRIS_HIDDEN, IRIS_SEEN = 0.35, 0.65
"""Openness below which the detector's iris is a guess, and above which it is believed."""


def lid_openness(landmarks_px: np.ndarray, is_reference: np.ndarray) -> np.ndarray:
    """Lid distance of each eye relative to open.

    Args:
        landmarks_px: (N, 478, 2). is_reference: (N,) bool, frames that define "open" (training frames with a face).

    Returns:
        (N, 2) right and left, 1 = the 70th percentile of the reference frames; NaN without a face.
    """
    out = []
    for pairs, (outer, inner), _ in EYES:
        upper, lower = (landmarks_px[:, list(points)].mean(1) for points in zip(*pairs))
        width = np.linalg.norm(landmarks_px[:, outer] - landmarks_px[:, inner], axis=-1)
        ratio = np.linalg.norm(upper - lower, axis=-1) / np.maximum(width, 1e-6)
        known = ratio[is_reference & np.isfinite(ratio)]
        out.append(ratio / max(float(np.percentile(known, 70)) if len(known) else 1.0, 1e-6))
    return np.stack(out, 1)


def closed_share(openness: np.ndarray) -> np.ndarray:
    """What the lid distance should be multiplied by so that a shut eye is shut: 1 above half open, 0 at a detector's "shut"."""
    target = SHUT_BELOW * np.clip((openness - SHUT_LOOKS_LIKE) / (SHUT_BELOW - SHUT_LOOKS_LIKE), 0, 1)
    return np.where(openness < SHUT_BELOW, target / np.maximum(openness, 1e-6), 1.0)


def iris_trust(openness: np.ndarray) -> np.ndarray:
    """(N, 2) to (N, 2) in [0, 1]: an iris behind a lid is a guess."""
    return np.clip((openness - IRIS_HIDDEN) / (IRIS_SEEN - IRIS_HIDDEN), 0.0, 1.0)
