"""A coarse map of the head: skin, lips, inner mouth, eyes, brows, hair, what covers the face, and the rest.

No network: polygons of the landmarks give the features, the matte gives the person, and the clip's own colours (``appearance``) decide between
skin, hair and things in front of the face. Coarse by nature: clothes and shoulders count as background, beards count as skin.
"""

from __future__ import annotations

import cv2
import numba
import numpy as np

from .appearance import Appearance, face_brightness, lab_of, triangle_samples
from .landmark_sets import (
    BROW_LEFT,
    BROW_RIGHT,
    CHIN,
    EYE_LEFT,
    EYE_RIGHT,
    FACE_OVAL,
    FOREHEAD,
    FOREHEAD_TOP,
    LIPS_INNER,
    LIPS_OUTER,
    TEMPLE_LEFT,
    TEMPLE_RIGHT,
)
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

    # outside the face: hair above and beside it, down to the chin where it hangs on the hair above; skin on ears and neck
    is_around = is_person & (frame.radius < 1.15)
    is_beard = (_grown(oval, 0.08 * frame.face_px) > 0) & (frame.height < -0.5)
    is_hair = _hanging_from(is_around & ~is_beard & (hair_lead > 0) & (frame.height > -1.25), frame.height > -0.3)
    is_neck = is_person & (frame.height < -0.5) & (frame.height > -2.4) & (np.abs(frame.side) < 0.5)
    is_skin = (is_around | is_neck) & ~is_hair & ((skin_far < 30) | is_beard)
    is_skin = _hanging_from(is_skin | (oval > 0), oval > 0)
    labels[_clean(is_skin)] = SKIN
    labels[_clean(is_hair)] = HAIR

    # the face: skin unless something says otherwise
    is_face = oval > 0
    labels[is_face] = SKIN
    brows = [_grown(polygon_mask(landmarks_px, loop, matte.shape), 0.012 * frame.face_px) > 0 for loop in (BROW_RIGHT, BROW_LEFT)]
    is_forehead = np.zeros(matte.shape, bool)
    for loop in (FOREHEAD, TEMPLE_RIGHT, TEMPLE_LEFT):
        is_forehead |= polygon_mask(landmarks_px, loop, matte.shape) > 0
    is_forehead &= is_face & ~brows[0] & ~brows[1]
    is_fringe = _clean(is_forehead & (hair_lead > 4))
    labels[is_fringe] = HAIR
    for brow in brows:
        # a brow under a fringe is a fringe
        above = _shift_up(brow, landmarks_px) & is_forehead
        labels[brow & is_face] = HAIR if is_fringe[above].sum() > 0.6 * max(1, above.sum()) else BROWS
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


def polygon_mask(landmarks_px: np.ndarray, loop: tuple[int, ...], size_hw: tuple[int, ...]) -> np.ndarray:
    """(h, w) uint8, 255 inside the loop of landmarks."""
    points = landmarks_px[list(loop)].astype(np.float64)
    mask = np.zeros(size_hw[:2], np.uint8)
    _fill(mask, points)
    return mask


@numba.njit(cache=True)
def _fill(mask, points):  # type: ignore[no-untyped-def]
    """Sets the pixels whose centres lie inside a polygon (even-odd). OpenCV's fill also takes the outline, half a pixel too much all round."""
    height, width = mask.shape
    count = points.shape[0]
    crossings = np.empty(count)
    for row in range(max(0, int(np.floor(points[:, 1].min()))), min(height, int(np.ceil(points[:, 1].max())))):
        y, found = row + 0.5, 0
        for i in range(count):
            x0, y0, x1, y1 = points[i - 1, 0], points[i - 1, 1], points[i, 0], points[i, 1]
            if (y0 <= y) != (y1 <= y):
                crossings[found] = x0 + (y - y0) / (y1 - y0) * (x1 - x0)
                found += 1
        ordered = np.sort(crossings[:found])
        for k in range(0, found - 1, 2):
            start, end = max(0, int(np.ceil(ordered[k] - 0.5))), min(width, int(np.ceil(ordered[k + 1] - 0.5)))
            for column in range(start, end):
                mask[row, column] = 255


class _HeadFrame:
    """Coordinates of each pixel on the head.

    face_px: height of the face mesh. height: (h, w), 0 between the eyes, about 0.7 at the mesh's upper end and -1.3 at the chin.
    side: (h, w), sideways from the middle, in face heights. radius: (h, w), 1 on an ellipse that holds hair and ears.
    """

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
        self.face_px = face_px
        self.side = along_side
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


def _shift_up(mask: np.ndarray, landmarks_px: np.ndarray) -> np.ndarray:
    """(h, w) bool: the mask moved towards the forehead by 9 % of the face's height."""
    up = 0.09 * (landmarks_px[FOREHEAD_TOP] - landmarks_px[CHIN])
    matrix = np.array([[1, 0, up[0]], [0, 1, up[1]]])
    return cv2.warpAffine(mask.astype(np.uint8), matrix, mask.shape[::-1], flags=cv2.INTER_NEAREST) > 0


def _hanging_from(mask: np.ndarray, anchor: np.ndarray) -> np.ndarray:
    """Connected parts of ``mask`` that reach into ``anchor``."""
    count, numbers = cv2.connectedComponents(mask.astype(np.uint8), connectivity=4)
    is_kept = np.zeros(count, bool)
    is_kept[numbers[mask & anchor]] = True
    is_kept[0] = False
    return is_kept[numbers]


def _grown(mask: np.ndarray, by_px: float) -> np.ndarray:
    size = 2 * max(1, round(by_px)) + 1
    return cv2.dilate(mask, cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (size, size)))


def _clean(mask: np.ndarray) -> np.ndarray:
    """Removes specks."""
    return cv2.medianBlur(mask.astype(np.uint8), 3) > 0


def _large_parts(mask: np.ndarray, min_pixels: float) -> np.ndarray:
    """Connected parts of at least ``min_pixels`` pixels."""
    count, numbers, statistics, _ = cv2.connectedComponentsWithStats(mask.astype(np.uint8), connectivity=8)
    is_large = statistics[:, cv2.CC_STAT_AREA] >= min_pixels
    is_large[0] = False
    return is_large[numbers]
