"""Parts of the face for which confidence is told apart."""

from __future__ import annotations

import numpy as np
from scipy.spatial import cKDTree

from . import point_roles as names
from .landmark_model import LandmarkModel

REGIONS = ("forehead", "brows", "eyes", "middle", "mouth", "jaw")
"""Names of the regions; "middle" is nose and cheeks."""
_LOWER_SHARE = 0.45
"""Contour points this far down the face (share of its height) belong to the jaw."""


def point_regions(landmarks: LandmarkModel, points: LandmarkModel) -> np.ndarray:
    """(P,) region of each surface point: that of the nearest landmark of the mean head."""
    region = np.full(len(landmarks.ids), REGIONS.index("middle"))
    height = landmarks.points[:, 1]
    low = height < height.min() + _LOWER_SHARE * np.ptp(height)
    for name, members in (("forehead", names.FOREHEAD), ("brows", names.BROWS), ("eyes", names.LIDS), ("mouth", names.LIPS), ("mouth", names.LIPS_INNER)):
        region[np.isin(landmarks.ids, members)] = REGIONS.index(name)
    region[np.isin(landmarks.ids, names.FACE_OVAL) & low] = REGIONS.index("jaw")
    return region[cKDTree(landmarks.points).query(points.points)[1]]


def region_confidence(residual: np.ndarray, region: np.ndarray, usual_frames: np.ndarray) -> np.ndarray:
    """How far each region of each frame is believed.

    Args:
        residual: (N, P) sRGB residual of the points, NaN where a point is hidden, covered or turned away.
        region: (P,) of each point. usual_frames: frames that say what is usual for this clip (training frames).

    Returns:
        (N, R) in [0, 1]: the seen share of the region (against its usual share), lowered where its residual exceeds the usual one.
    """
    out = np.zeros((len(residual), len(REGIONS)), np.float32)
    for number in range(len(REGIONS)):
        part = residual[:, region == number]
        if not part.shape[1]:
            continue
        is_seen = np.isfinite(part)
        share = is_seen.mean(1)
        size = np.sqrt(np.where(is_seen, part, 0) ** 2).sum(1) / np.maximum(is_seen.sum(1), 1)
        known = size[usual_frames][share[usual_frames] > 0]
        usual = float(np.median(known)) if len(known) else 0.0
        spread = max(float(1.4826 * np.median(np.abs(known - usual))) if len(known) else 0.0, 0.15 * usual, 1e-6)
        excess = np.clip((size - usual) / (3 * spread), 0, None)
        full = max(float(np.percentile(share[usual_frames], 90)) if len(usual_frames) else 1.0, 1e-6)
        out[:, number] = np.clip(share / full, 0, 1) * np.exp(-0.5 * excess**2)
    return out
