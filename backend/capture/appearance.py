"""What this person looks like in this clip: colour of skin and hair, and the usual colour at each place of the face.

Learnt once per clip from a few dozen training frames, in CIE Lab (L 0..100). The parsing asks it two questions: is this pixel rather
skin or rather hair, and does this place of the face look as it usually does?
"""

from __future__ import annotations

import dataclasses

import cv2
import numpy as np

from .landmark_sets import EYE_LEFT, EYE_RIGHT, FACE_OVAL, FOREHEAD_TOP, LIPS_OUTER, STILL_SKIN, mesh_triangles
from .landmarks import region_around

PATCH_PX = 256
PATCH_MARGIN = 2.2
"""Head patches show 2.2 face sizes, so hair and neck are in them."""
_MIN_LAB_SPREAD = np.array([7.0, 3.0, 3.0])
"""Smallest standard deviations believed, Lab units: light and compression move colours at least this much."""


@dataclasses.dataclass(frozen=True)
class ColourModel:
    """A Gaussian in Lab. mean: (3,). inverse: (3, 3) inverse covariance. log_volume: log of the covariance's determinant."""

    mean: np.ndarray
    inverse: np.ndarray
    log_volume: float

    def distance_squared(self, lab: np.ndarray) -> np.ndarray:
        """(...): squared Mahalanobis distance of (..., 3) colours."""
        away = (lab - self.mean).astype(np.float32)
        return np.einsum("...i,ij,...j->...", away, self.inverse.astype(np.float32), away, optimize=True)


@dataclasses.dataclass(frozen=True)
class Appearance:
    """skin, hair: colour models; hair is None when too little of it was seen (bald, or under a hat the colour of skin).

    triangles: (T, 3) int32, mesh triangles whose colour says something (not lips, eyes, inner mouth).
    usual_lab: (T, 3) and usual_spread: (T, 3): median and robust deviation of each triangle's colour, brightness of the face removed.
    usual_area: (T,) median area of each triangle as a share of the squared outer-eye distance, sign as on the screen.
    """

    skin: ColourModel
    hair: ColourModel | None
    triangles: np.ndarray
    usual_lab: np.ndarray
    usual_spread: np.ndarray
    usual_area: np.ndarray


def fit_gaussian(lab: np.ndarray) -> ColourModel:
    """A Gaussian through the inner 95 % of (N, 3) colours, never narrower than ``_MIN_LAB_SPREAD``."""
    middle = np.median(lab, axis=0)
    spread = 1.4826 * np.median(np.abs(lab - middle), axis=0) + _MIN_LAB_SPREAD
    kept = lab[(((lab - middle) / spread) ** 2).sum(1) < 12]
    kept = kept if len(kept) >= 8 else lab
    covariance = np.cov(kept.T) + np.diag(_MIN_LAB_SPREAD**2)
    return ColourModel(kept.mean(0), np.linalg.inv(covariance), float(np.linalg.slogdet(covariance)[1]))


def lab_of(rgb: np.ndarray) -> np.ndarray:
    """(..., h, w, 3) float32 CIE Lab, L 0..100, of uint8 sRGB."""
    return cv2.cvtColor(rgb.astype(np.float32) / 255, cv2.COLOR_RGB2LAB)


def telling_triangles() -> np.ndarray:
    """(T, 3) int32: triangles of the face mesh that touch neither eyes nor lips."""
    moving = set(EYE_RIGHT) | set(EYE_LEFT) | set(LIPS_OUTER)
    triangles = mesh_triangles()
    is_moving = np.isin(triangles, sorted(moving)).sum(1) >= 2
    return triangles[~is_moving]


def triangle_samples(lab: np.ndarray, landmarks_px: np.ndarray, triangles: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Colour in the middle of each triangle, and its area.

    Args:
        lab: (h, w, 3) float32. landmarks_px: (478, 2) in pixels of ``lab``. triangles: (T, 3).

    Returns:
        (T, 3) float64 Lab, NaN outside the picture; (T,) signed area over the squared outer-eye distance.
    """
    corners = landmarks_px[triangles]
    middle = corners.mean(1)
    height, width = lab.shape[:2]
    column, row = np.floor(middle).astype(int).T
    is_inside = (column >= 0) & (column < width) & (row >= 0) & (row < height)
    colours = np.full((len(triangles), 3), np.nan)
    colours[is_inside] = lab[row[is_inside], column[is_inside]]
    one, two = corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]
    eye_squared = float(((landmarks_px[263] - landmarks_px[33]) ** 2).sum())
    return colours, 0.5 * (one[:, 0] * two[:, 1] - one[:, 1] * two[:, 0]) / max(eye_squared, 1e-6)


def learn_appearance(patches: list[tuple[np.ndarray, np.ndarray, np.ndarray]]) -> Appearance:
    """Learns from head patches of training frames.

    Args:
        patches: (rgb (p, p, 3) uint8, matte (p, p) uint8, landmarks (478, 2) in patch pixels) of each frame; at least one.
    """
    triangles = telling_triangles()
    skin, hair, colours, areas = [], [], [], []
    for rgb, matte, landmarks_px in patches:
        blurred = lab_of(cv2.GaussianBlur(rgb, (0, 0), 1.0))
        rows, columns = np.clip(landmarks_px[list(STILL_SKIN), ::-1].astype(int), 0, np.array(rgb.shape[:2]) - 1).T
        skin.append(blurred[rows, columns])
        hair.append(_hair_pixels(blurred, matte, landmarks_px))
        sampled, area = triangle_samples(blurred, landmarks_px, triangles)
        colours.append(sampled - face_brightness(sampled))
        areas.append(area)
    skin_model = fit_gaussian(np.concatenate(skin).astype(np.float64))
    above = np.concatenate(hair).astype(np.float64)
    # what lies above the forehead and is not skin-coloured is hair; a bald head leaves next to nothing
    above = above[skin_model.distance_squared(above) > 9] if len(above) else above
    hair_model = fit_gaussian(above) if len(above) > 50 * len(patches) ** 0.5 else None
    stack = np.stack(colours)
    usual = np.nanmedian(stack, axis=0)
    spread = 1.4826 * np.nanmedian(np.abs(stack - usual), axis=0) + _MIN_LAB_SPREAD
    return Appearance(skin_model, hair_model, triangles, usual, spread, np.median(np.stack(areas), axis=0))


def face_brightness(colours: np.ndarray) -> np.ndarray:
    """(3,): the median lightness over (T, 3) triangle colours, and two zeros: exposure and distance from the lamp change it."""
    return np.array([float(np.nanmedian(colours[:, 0])), 0.0, 0.0])


def _hair_pixels(lab: np.ndarray, matte: np.ndarray, landmarks_px: np.ndarray) -> np.ndarray:
    """(M, 3): colours of the person in a band above the forehead."""
    mask = np.zeros(matte.shape, np.uint8)
    cv2.fillPoly(mask, [np.round(landmarks_px[list(FACE_OVAL)]).astype(np.int32)], 255)
    side = region_around(landmarks_px, 1.0).side_px
    mask = cv2.dilate(mask, np.ones((3, 3), np.uint8), iterations=max(1, round(0.03 * side)))
    up = landmarks_px[FOREHEAD_TOP] - landmarks_px[6]
    up = up / max(float(np.linalg.norm(up)), 1e-6)
    rows, columns = np.mgrid[: matte.shape[0], : matte.shape[1]]
    height = (columns + 0.5 - landmarks_px[FOREHEAD_TOP, 0]) * up[0] + (rows + 0.5 - landmarks_px[FOREHEAD_TOP, 1]) * up[1]
    is_above = (height > -0.1 * side) & (height < 0.35 * side) & (mask == 0) & (matte > 230)
    found = lab[is_above]
    return found[:: max(1, len(found) // 400)]
