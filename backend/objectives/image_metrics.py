"""How alike two pictures are, inside a mask. Numpy, for reports; not differentiable."""

from __future__ import annotations

import cv2
import numpy as np

from ..geometry.shapes import check_shape

WINDOW_SIGMA_PX = 1.5
_WINDOW_PX = 11
_C1, _C2 = 0.01**2, 0.03**2


def psnr_db(picture: np.ndarray, reference: np.ndarray, mask: np.ndarray) -> float:
    """Peak signal to noise ratio over the pixels of a mask, all channels together.

    Args:
        picture, reference: (H, W, C) float in [0, 1]. mask: (H, W) bool.

    Returns:
        dB; inf for equal pictures, NaN for an empty mask.
    """
    check_shape("picture", picture, *reference.shape)
    check_shape("mask", mask, *reference.shape[:2])
    if not mask.any():
        return float("nan")
    mean_square = float(np.mean((picture[mask].astype(np.float64) - reference[mask].astype(np.float64)) ** 2))
    return float("inf") if mean_square == 0 else -10.0 * float(np.log10(mean_square))


def ssim_map(picture: np.ndarray, reference: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Structural similarity at every pixel, mean of the channels; pixels outside the mask have no part in any window.

    Wang, Bovik, Sheikh, Simoncelli, "Image quality assessment: from error visibility to structural similarity", IEEE TIP 13(4), 2004:
    Gaussian window of 11 x 11 pixels, sigma 1.5, K1 = 0.01, K2 = 0.03, dynamic range 1. Windows that the mask or the border cut are
    renormalised, so no invented surroundings raise or lower the value.

    Args:
        picture, reference: (H, W, C) float in [0, 1]. mask: (H, W) bool.

    Returns:
        (H, W) float64 (computed in single precision), meaningful inside the mask, 0 outside.
    """
    check_shape("picture", picture, *reference.shape)
    check_shape("mask", mask, *reference.shape[:2])
    result = np.zeros(mask.shape)
    rows, cols = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    if not len(rows):
        return result
    box = (slice(rows[0], rows[-1] + 1), slice(cols[0], cols[-1] + 1))
    inside = mask[box].astype(np.float32)[..., None]
    first, second = picture[box].astype(np.float32) * inside, reference[box].astype(np.float32) * inside
    total = np.maximum(_blurred(inside), 1e-9)
    mean = lambda values: _blurred(values) / total  # noqa: E731
    mean_1, mean_2 = mean(first), mean(second)
    variance_1 = mean(first * first) - mean_1 * mean_1
    variance_2 = mean(second * second) - mean_2 * mean_2
    covariance = mean(first * second) - mean_1 * mean_2
    value = (2 * mean_1 * mean_2 + _C1) * (2 * covariance + _C2) / ((mean_1**2 + mean_2**2 + _C1) * (variance_1 + variance_2 + _C2))
    result[box] = value.mean(-1) * inside[..., 0]
    return result


def _blurred(values: np.ndarray) -> np.ndarray:
    blurred = cv2.GaussianBlur(values, (_WINDOW_PX, _WINDOW_PX), WINDOW_SIGMA_PX, borderType=cv2.BORDER_CONSTANT)
    return blurred.reshape(values.shape)
