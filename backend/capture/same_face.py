"""Is this still the same face? A colour signature taken at places of the face mesh, so that pose and size hardly matter.

Not a biometric: it tells two people of one clip apart when they meet, nothing more, and nothing of it is stored.
"""

from __future__ import annotations

import dataclasses
import functools

import cv2
import numpy as np

from .appearance import telling_triangles
from .colour import srgb_decode
from .landmarks import cut_patch, region_around

PATCH_PX = 64
PATTERN_SCALE = 0.3
"""Loss of correlation of the light and dark pattern that counts 1. One person: below 0.15 in similar poses; two people: 0.4 and more (measured)."""
CHROMA_SCALE = 0.12
"""Difference of the skin's log chromaticity that counts 1, and at most 1: white balance may change it in one person."""
MIN_COMMON = 120
"""Fewer places seen in both looks say nothing."""


@dataclasses.dataclass(frozen=True)
class FaceLook:
    """lightness: (T,) float32 square root of the linear luminance at each triangle. side: (T,) int8, sign of the triangle's area on the screen,
    0 where it is seen edge-on or lies outside the picture. chroma: (2,) median of log(R / G) and log(B / G), linear light."""

    lightness: np.ndarray
    side: np.ndarray
    chroma: np.ndarray


def face_look(rgb: np.ndarray, landmarks_px: np.ndarray) -> FaceLook:
    """Looks at a face once, about half a millisecond.

    Args:
        rgb: (H, W, 3) uint8 sRGB. landmarks_px: (478, 2).
    """
    region = region_around(landmarks_px, 1.1)
    patch = cv2.GaussianBlur(cut_patch(rgb, region, PATCH_PX), (0, 0), 1.0)
    patch_from_px = region.patch_from_px(PATCH_PX)
    corners = (landmarks_px @ patch_from_px[:, :2].T + patch_from_px[:, 2])[_triangles()]
    one, two = corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]
    area = 0.5 * (one[:, 0] * two[:, 1] - one[:, 1] * two[:, 0])
    middle = corners.mean(1)
    column, row = np.clip(np.floor(middle).astype(int), 0, PATCH_PX - 1).T
    in_picture = landmarks_px[_triangles()].mean(1)
    is_inside = ((in_picture >= 0) & (in_picture < [rgb.shape[1], rgb.shape[0]])).all(1)
    is_seen = is_inside & (np.abs(area) > 0.25 * float(np.median(np.abs(area))))
    linear = _linear_levels()[patch[row, column]]
    lightness = np.sqrt(linear @ np.array([0.2126, 0.7152, 0.0722]))
    seen = linear[is_seen] if is_seen.any() else linear
    logs = np.log(seen + max(0.02 * float(seen.mean()), 1e-4))
    chroma = np.array([np.median(logs[:, 0] - logs[:, 1]), np.median(logs[:, 2] - logs[:, 1])])
    return FaceLook(lightness.astype(np.float32), (np.sign(area) * is_seen).astype(np.int8), chroma)


def unlike(one: FaceLook, other: FaceLook) -> float:
    """How much two looks differ: up to 0.3 the same face in a similar pose, from 0.8 on hardly the same person. Exposure does not matter."""
    common = (one.side == other.side) & (one.side != 0)  # a triangle of the far cheek turns over
    chroma = min(1.0, float(np.linalg.norm(one.chroma - other.chroma)) / CHROMA_SCALE)
    if common.sum() < MIN_COMMON:
        return chroma
    a, b = one.lightness[common].astype(np.float64), other.lightness[common].astype(np.float64)
    a, b = a - a.mean(), b - b.mean()
    loss = 1.0 - float(a @ b) / max(float(np.linalg.norm(a) * np.linalg.norm(b)), 1e-9)
    return float(np.hypot(chroma, loss / PATTERN_SCALE))


def least_unlike(look: FaceLook, others: list[FaceLook]) -> float:
    """The smallest difference to any of some looks; infinite without any."""
    return min((unlike(look, other) for other in others), default=float("inf"))


@functools.lru_cache(maxsize=1)
def _triangles() -> np.ndarray:
    return telling_triangles()


@functools.lru_cache(maxsize=1)
def _linear_levels() -> np.ndarray:
    return srgb_decode(np.arange(256) / 255.0)
