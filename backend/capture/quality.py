"""How good a frame is: sharpness and exposure of the face."""

from __future__ import annotations

import functools

import cv2
import numpy as np

from .colour import srgb_decode
from .landmark_sets import FACE_OVAL
from .landmarks import cut_patch, region_around
from .parsing import SKIN, polygon_mask

SHARPNESS_FACE_PX = 256
_LUMINANCE = (0.2126, 0.7152, 0.0722)


def face_sharpness(rgb: np.ndarray, landmarks_px: np.ndarray) -> float:
    """Variance of the Laplacian of the 8-bit luma over the face, with the face scaled to 256 px.

    A face that is smaller in the picture is enlarged and measures as the soft picture it is.

    Args:
        rgb: (H, W, 3) uint8 sRGB. landmarks_px: (478, 2).
    """
    region = region_around(landmarks_px, 1.1)
    size_px = round(1.1 * SHARPNESS_FACE_PX)
    patch = cv2.cvtColor(cut_patch(rgb, region, size_px), cv2.COLOR_RGB2GRAY)
    patch_from_px = region.patch_from_px(size_px)
    mask = polygon_mask(landmarks_px @ patch_from_px[:, :2].T + patch_from_px[:, 2], FACE_OVAL, patch.shape)
    mask = cv2.erode(mask, np.ones((9, 9), np.uint8))
    return float(cv2.Laplacian(patch, cv2.CV_32F)[mask > 0].var()) if mask.any() else 0.0


def skin_exposure(crop: np.ndarray, labels: np.ndarray, landmarks_px: np.ndarray) -> tuple[float, float]:
    """Mean linear luminance of facial skin, and the share of it that is burnt out.

    Args:
        crop: (h, w, 3) uint8 sRGB. labels: (h, w) parsing. landmarks_px: (478, 2) in crop pixels.

    Returns:
        luminance in [0, 1] (0 without skin); share of skin pixels in which two channels reach 245:
        a lamp's reflection turns white, while warm light alone saturates red only.
    """
    is_skin = (labels == SKIN) & (polygon_mask(landmarks_px, FACE_OVAL, labels.shape) > 0)
    pixels = crop[is_skin]
    if not len(pixels):
        return 0.0, 0.0
    return float((_linear_levels()[pixels] @ np.array(_LUMINANCE)).mean()), float((np.median(pixels, axis=1) >= 245).mean())


@functools.lru_cache(maxsize=1)
def _linear_levels() -> np.ndarray:
    return srgb_decode(np.arange(256) / 255.0)
