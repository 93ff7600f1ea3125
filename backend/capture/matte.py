"""Where the person is: MediaPipe's selfie segmentation, its edge moved onto the picture's edges."""

from __future__ import annotations

from types import TracebackType
from typing import Any

import cv2
import numpy as np

from .landmarks import quiet_stderr

_NETWORK_PX = 256


class Matter:
    """Person against background, each picture on its own. Use as a context manager, from one thread."""

    def __init__(self) -> None:
        self._network: Any = None

    def __enter__(self) -> "Matter":
        with quiet_stderr():
            import mediapipe

            self._network = mediapipe.solutions.selfie_segmentation.SelfieSegmentation(model_selection=0)
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None) -> None:
        self._network.close()
        self._network = None

    def __call__(self, crop: np.ndarray) -> np.ndarray:
        """(h, w) uint8, 255 = the person, for an (h, w, 3) uint8 sRGB picture."""
        if self._network is None:
            raise RuntimeError("use Matter as a context manager")
        height, width = crop.shape[:2]
        small = crop if (height, width) == (_NETWORK_PX, _NETWORK_PX) else cv2.resize(crop, (_NETWORK_PX, _NETWORK_PX), interpolation=cv2.INTER_AREA)
        raw = self._network.process(np.ascontiguousarray(small)).segmentation_mask
        mask = cv2.resize(np.asarray(raw, np.float32), (width, height), interpolation=cv2.INTER_LINEAR)
        radius = max(2, round(min(height, width) / 64))
        refined = guided_filter(crop.astype(np.float32) / 255, mask, radius, 1e-3)
        # far from the network's own edge its answer stands: the filter may only move the edge
        is_sure = np.abs(mask - 0.5) > 0.47
        soft = np.clip((np.where(is_sure, mask, refined) - 0.1) / 0.8, 0, 1)
        return without_islands(np.round(255 * soft).astype(np.uint8))


def without_islands(matte: np.ndarray, min_share: float = 0.05) -> np.ndarray:
    """The matte without parts smaller than ``min_share`` of its largest part: round things on walls look like heads to the network."""
    count, numbers, statistics, _ = cv2.connectedComponentsWithStats((matte > 25).astype(np.uint8), connectivity=8)
    if count <= 2:
        return matte
    areas = statistics[:, cv2.CC_STAT_AREA].copy()
    areas[0] = 0
    is_small = areas < min_share * areas.max()
    is_small[0] = False
    return np.where(is_small[numbers], 0, matte).astype(np.uint8)


def guided_filter(guide: np.ndarray, values: np.ndarray, radius_px: int, epsilon: float) -> np.ndarray:
    """He, Sun and Tang, "Guided Image Filtering", ECCV 2010, equations 14 and 15 (colour guide).

    Args:
        guide: (h, w, 3) float32 in [0, 1]. values: (h, w) float32. radius_px: half the window. epsilon: regularisation.

    Returns:
        (h, w) float32: in every window a linear function of the guide's colour.
    """
    size = (2 * radius_px + 1, 2 * radius_px + 1)

    def mean(picture: np.ndarray) -> np.ndarray:
        return cv2.blur(picture, size, borderType=cv2.BORDER_REFLECT)

    centre = mean(guide)
    value = mean(values)
    covariance = mean(guide * values[..., None]) - centre * value[..., None]
    r, g, b = cv2.split(guide)
    mr, mg, mb = cv2.split(centre)
    rr, gg, bb = mean(r * r) - mr * mr + epsilon, mean(g * g) - mg * mg + epsilon, mean(b * b) - mb * mb + epsilon
    rg, rb, gb = mean(r * g) - mr * mg, mean(r * b) - mr * mb, mean(g * b) - mg * mb
    # inverse of the symmetric 3x3 matrix by cofactors
    i_rr, i_rg, i_rb = gg * bb - gb * gb, gb * rb - rg * bb, rg * gb - gg * rb
    i_gg, i_gb, i_bb = rr * bb - rb * rb, rb * rg - rr * gb, rr * gg - rg * rg
    determinant = np.maximum(rr * i_rr + rg * i_rg + rb * i_rb, 1e-12)
    cr, cg, cb = cv2.split(covariance)
    slope = np.stack([i_rr * cr + i_rg * cg + i_rb * cb, i_rg * cr + i_gg * cg + i_gb * cb, i_rb * cr + i_gb * cg + i_bb * cb], -1)
    slope /= determinant[..., None]
    offset = value - (slope * centre).sum(-1)
    return (mean(slope) * guide).sum(-1) + mean(offset)
