"""A coarse map of the head: skin, lips, inner mouth, eyes, brows, hair, what covers the face, and the rest.

No network: polygons of the landmarks give the features, the matte gives the person, and the clip's own colours (``appearance``) decide between
skin, hair and things in front of the face. Coarse by nature: clothes and shoulders count as background, beards count as skin.
"""

from __future__ import annotations

import cv2
import numpy as np

from .appearance import Appearance, face_brightness, lab_of, triangle_samples
from .landmark_sets import BROW_LEFT, BROW_RIGHT, CHIN, EYE_LEFT, EYE_RIGHT, FACE_OVAL, FOREHEAD_TOP, LIPS_INNER, LIPS_OUTER
from .model import PARSING

BACKGROUND, SKIN, LIPS, INNER_MOUTH, EYES, BROWS, HAIR, OCCLUSION = range(len(PARSING))

UNUSUAL = 4.0
"""Robust standard deviations from its usual colour at which a place of the face counts as covered."""
MIN_COVER_SHARE = 0.015
"""Smallest connected cover that is believed, as a share of the face."""


def parse_face(crop: np.ndarray, matte: np.ndarray, landmarks_px: np.ndarray | None, appearance: Appearance, hands: np.ndarray) -> tuple[np.ndarray, float]:
    """Labels one crop.

    Args:
        crop: (h, w, 3) uint8 sRGB. matte: (h, w) uint8. landmarks_px: (478, 2) in crop pixels, None when there is no face.
        appearance: of the clip. hands: (h, w) uint8, 255 on hands.

    Returns:
        (h, w) uint8, numbers into ``PARSING``; share of the face region covered by hands, hair or other things, in [0, 1].
    """
    labels = np.full(matte.shape, BACKGROUND, np.uint8)
    if landmarks_px is None:
        return labels, 0.0
    is_person = matte >= 128
    oval = polygon_mask(landmarks_px, FACE_OVAL, matte.shape)
    lab = lab_of(cv2.GaussianBlur(crop, (0, 0), 0.8))
    skin_far = appearance.skin.distance_squared(lab)
    hair_lead = _hair_lead(lab, skin_far, appearance)
    frame = _HeadFrame(landmarks_px, matte.shape)

    # outside the face: hair above and beside it, skin on ears and neck
    is_around = is_person & (frame.radius < 1.15)
    is_hair = is_around & (hair_lead > 0) & (frame.height > -0.62)
    is_skin = is_around & ~is_hair & (skin_far < 30) & (frame.height > -1.3)
    labels[_clean(is_skin)] = SKIN
    labels[_clean(is_hair)] = HAIR

    # the face: skin unless something says otherwise
    is_face = oval > 0
    labels[is_face] = SKIN
    forehead = is_face & (frame.height > 0.12)
    is_fringe = _clean(forehead & (hair_lead > 4))
    labels[is_fringe] = HAIR
    for loop, label in ((BROW_RIGHT, BROWS), (BROW_LEFT, BROWS)):
        brow = polygon_mask(landmarks_px, loop, matte.shape, grow=0.12) > 0
        labels[brow & is_face & ~_is_mostly(is_fringe, brow)] = label
    for loop, label in ((EYE_RIGHT, EYES), (EYE_LEFT, EYES), (LIPS_OUTER, LIPS), (LIPS_INNER, INNER_MOUTH)):
        labels[polygon_mask(landmarks_px, loop, matte.shape) > 0] = label

    unusual = _unusual_places(lab, landmarks_px, appearance, matte.shape) & is_face
    in_front = unusual & np.isin(labels, (SKIN, BROWS))
    is_strand = in_front & (hair_lead > 0) & (frame.height > 0.0)
    is_cover = (in_front & ~is_strand) | (is_face & (hands > 0))
    labels[is_strand] = HAIR
    labels[_large_parts(is_cover, MIN_COVER_SHARE * is_face.sum())] = OCCLUSION
    # hands beside the face are neither skin of the head nor hair
    labels[(hands > 0) & ~is_face & (labels != BACKGROUND)] = OCCLUSION
    covered = is_face & np.isin(labels, (HAIR, OCCLUSION))
    return labels, float(covered.sum() / max(1, is_face.sum()))


def polygon_mask(landmarks_px: np.ndarray, loop: tuple[int, ...], size_hw: tuple[int, ...], grow: float = 0.0) -> np.ndarray:
    """(h, w) uint8, 255 inside the loop of landmarks; ``grow`` pushes its points outwards by a share of the loop's height and width."""
    points = landmarks_px[list(loop)].astype(np.float64)
    if grow:
        points = points.mean(0) + (points - points.mean(0)) * (1 + grow)
    mask = np.zeros(size_hw[:2], np.uint8)
    # OpenCV counts from pixel centres
    cv2.fillPoly(mask, [np.round((points - 0.5) * 16).astype(np.int32)], 255, shift=4)
    return mask


class _HeadFrame:
    """Coordinates of each pixel on the head. height: 0 between the eyes, 1 at the face mesh's upper end, about -1.2 at the chin; radius: 1 is
    an ellipse that holds hair and ears."""

    def __init__(self, landmarks_px: np.ndarray, size_hw: tuple[int, ...]):
        rows, columns = np.mgrid[: size_hw[0], : size_hw[1]].astype(np.float32) + np.float32(0.5)
        middle = landmarks_px[6]
        up = landmarks_px[FOREHEAD_TOP] - landmarks_px[CHIN]
        face_px = max(float(np.linalg.norm(up)), 1e-6)
        up = up / face_px
        across = np.array([-up[1], up[0]])
        x, y = columns - middle[0], rows - middle[1]
        along_up = (x * up[0] + y * up[1]) / face_px
        along_side = (x * across[0] + y * across[1]) / face_px
        # the mesh's upper end lies 0.36 face heights above the point between the eyes, the chin 0.64 below
        self.height = along_up / np.float32(0.5)
        self.radius = np.sqrt((along_side / np.float32(0.85)) ** 2 + ((along_up - np.float32(0.05)) / np.float32(0.95)) ** 2)


def _hair_lead(lab: np.ndarray, skin_far: np.ndarray, appearance: Appearance) -> np.ndarray:
    """(h, w): by how much hair explains the colour better than skin (twice the log likelihood ratio); very negative without a hair model."""
    if appearance.hair is None:
        return np.full(skin_far.shape, -1e3, np.float32)
    hair_far = appearance.hair.distance_squared(lab)
    return skin_far + np.float32(appearance.skin.log_volume) - hair_far - np.float32(appearance.hair.log_volume)


def _unusual_places(lab: np.ndarray, landmarks_px: np.ndarray, appearance: Appearance, size_hw: tuple[int, ...]) -> np.ndarray:
    """(h, w) bool: triangles of the face whose colour is far from what it usually is there, lonely ones removed."""
    colours, areas = triangle_samples(lab, landmarks_px, appearance.triangles)
    away = (colours - face_brightness(colours) - appearance.usual_lab) / appearance.usual_spread
    distance = np.sqrt((away**2).mean(1) * 1.5)
    # a triangle seen edge-on shows what is behind it
    is_visible = areas * np.sign(appearance.usual_area) > 0.35 * np.abs(appearance.usual_area)
    is_unusual = is_visible & (distance > UNUSUAL)
    mask = np.zeros(size_hw[:2], np.uint8)
    if is_unusual.any():
        corners = np.round((landmarks_px[appearance.triangles[is_unusual]] - 0.5) * 16).astype(np.int32)
        for triangle in corners:
            cv2.fillConvexPoly(mask, triangle, 255, shift=4)
        mask = cv2.medianBlur(mask, 5)
    return mask > 0


def _is_mostly(part: np.ndarray, whole: np.ndarray) -> bool:
    return bool((part & whole).sum() > 0.6 * max(1, whole.sum()))


def _clean(mask: np.ndarray) -> np.ndarray:
    """Removes specks."""
    return cv2.medianBlur(mask.astype(np.uint8), 3) > 0


def _large_parts(mask: np.ndarray, min_pixels: float) -> np.ndarray:
    """Connected parts of at least ``min_pixels`` pixels."""
    count, numbers, statistics, _ = cv2.connectedComponentsWithStats(mask.astype(np.uint8), connectivity=8)
    is_large = statistics[:, cv2.CC_STAT_AREA] >= min_pixels
    is_large[0] = False
    return is_large[numbers]
