"""The mask pass: matte, parsing, occlusion and exposure of every frame in the clip's one crop."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np

from .appearance import PATCH_MARGIN, PATCH_PX, learn_appearance
from .hands import HandFinder, hand_mask
from .landmarks import cut_patch, region_around
from .matte import Matter
from .parsing import parse_face
from .prefetch import prefetched
from .quality import skin_exposure
from .video import walk_frames

HANDS_EVERY = 4
"""Frames between two searches for hands; in between the last ones stay."""


@dataclasses.dataclass(frozen=True)
class Masks:
    """matte, parsing: (N, h, w) uint8. occlusion, exposure, burnt: (N,) float32; see ``Capture`` and ``quality.skin_exposure``."""

    matte: np.ndarray
    parsing: np.ndarray
    occlusion: np.ndarray
    exposure: np.ndarray
    burnt: np.ndarray


def crop_transform(landmarks_px: np.ndarray, crop_px: int) -> np.ndarray:
    """(3, 3) float64: frame pixels to pixels of the clip's one square crop, which holds the whole head in every frame.

    The face mesh's box over all frames grows by 60 % upwards (hair), 35 % sideways and 45 % downwards (neck) of the median face width.

    Args:
        landmarks_px: (N, 478, 2), NaN where there is no face; at least one face. crop_px: side of the crop.
    """
    seen = landmarks_px[~np.isnan(landmarks_px[:, 0, 0])]
    low, high = seen.min((0, 1)).astype(np.float64), seen.max((0, 1)).astype(np.float64)
    face_px = float(np.median(np.ptp(seen[:, :, 0], axis=1)))
    low -= np.array([0.35, 0.6]) * face_px
    high += np.array([0.35, 0.45]) * face_px
    side = float((high - low).max())
    scale = crop_px / side
    corner = (low + high) / 2 - side / 2
    return np.array([[scale, 0, -scale * corner[0]], [0, scale, -scale * corner[1]], [0, 0, 1.0]])


def cut_crop(rgb: np.ndarray, px_crop_from_px: np.ndarray, crop_px: int) -> np.ndarray:
    """(crop, crop, 3) uint8: the clip's crop of one frame, low-passed when it shrinks; black outside the frame."""
    scale = float(px_crop_from_px[0, 0])
    height, width = rgb.shape[:2]
    corner = -px_crop_from_px[:2, 2] / scale
    x0, y0 = np.clip(np.floor(corner - 8).astype(int), 0, [width - 1, height - 1])
    x1, y1 = np.clip(np.ceil(corner + crop_px / scale + 8).astype(int), [x0 + 1, y0 + 1], [width, height])
    part = rgb[y0:y1, x0:x1]
    if scale < 0.9:
        part = cv2.GaussianBlur(part, (0, 0), 0.5 * float(np.sqrt(1 / scale**2 - 1)))
    # OpenCV counts from pixel centres
    shift = px_crop_from_px[:2, 2] + scale * (np.array([x0, y0]) + 0.5) - 0.5
    matrix = np.column_stack([np.eye(2) * scale, shift])
    return cv2.warpAffine(part, matrix, (crop_px, crop_px), flags=cv2.INTER_LINEAR)


def to_crop(landmarks_px: np.ndarray, px_crop_from_px: np.ndarray) -> np.ndarray:
    """(..., 2) frame pixels to crop pixels."""
    return landmarks_px @ px_crop_from_px[:2, :2].T + px_crop_from_px[:2, 2]


def head_patch(rgb: np.ndarray, landmarks_px: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """A turned picture of one head with hair and neck, (256, 256, 3) uint8, and the landmarks in it, (478, 2)."""
    region = region_around(landmarks_px, PATCH_MARGIN)
    patch_from_px = region.patch_from_px(PATCH_PX)
    return cut_patch(rgb, region, PATCH_PX), landmarks_px @ patch_from_px[:, :2].T + patch_from_px[:, 2]


def make_masks(
    path: Path, landmarks_px: np.ndarray, patches: list[tuple[np.ndarray, np.ndarray]], px_crop_from_px: np.ndarray, crop_px: int,
    tell: Callable[[int], None], is_wanted: np.ndarray | None = None,
) -> Masks:
    """Decodes the clip once more and labels every frame.

    Args:
        path: the clip. landmarks_px: (N, 478, 2), NaN without a face. patches: from ``head_patch``, training frames only.
        px_crop_from_px: (3, 3). crop_px: side of the crop. tell: called with the number of frames done.
        is_wanted: (N,) bool, frames to label; the others stay background.
    """
    num = len(landmarks_px)
    matte = np.zeros((num, crop_px, crop_px), np.uint8)
    parsing = np.zeros((num, crop_px, crop_px), np.uint8)
    numbers = np.zeros((3, num), np.float32)
    with Matter() as matter, HandFinder() as finder:
        appearance = learn_appearance([(rgb, matter(rgb), points) for rgb, points in patches])
        hands: list[np.ndarray] = []
        is_fresh = True
        wanted = np.ones(num, bool) if is_wanted is None else is_wanted
        for index, _, rgb in prefetched(walk_frames(path, lambda index: index < num and bool(wanted[index]))):
            if index >= num:
                break
            if rgb is None:
                is_fresh = True
                continue
            crop = cut_crop(rgb, px_crop_from_px, crop_px)
            matte[index] = matter(crop)
            if index % HANDS_EVERY == 0 or is_fresh:
                hands, is_fresh = finder(crop), False
            points = None if np.isnan(landmarks_px[index, 0, 0]) else to_crop(landmarks_px[index].astype(np.float64), px_crop_from_px)
            parsing[index], numbers[0, index] = parse_face(crop, matte[index], points, appearance, hand_mask(hands, matte.shape[1:]))
            if points is not None:
                numbers[1:, index] = skin_exposure(crop, parsing[index], points)
            tell(index + 1)
    return Masks(matte, parsing, *numbers)
