"""Clips that go wrong, made from pieces of the shared real ones: cuts, freezes, two people, rolling heads. Frames are (H, W, 3) uint8 sRGB."""

from __future__ import annotations

import functools

import cv2
import numpy as np
from shared_data import shared_path

from backend.capture.colour import srgb_decode, srgb_encode
from backend.capture.landmarks import Face, FaceDetector
from backend.capture.video import iterate_frames

SIZE_HW = (480, 360)


@functools.lru_cache(maxsize=4)
def piece(name: str = "talking_man_kitchen", num: int = 36, first: int = 0) -> tuple[np.ndarray, ...]:
    """Frames of a shared clip, the head's part of the picture at 480 x 360; the face is about 100 px wide."""
    source = shared_path(f"clips/{name}.mp4")
    frames = []
    for _, _, rgb in iterate_frames(source, range(first, first + num)):
        frames.append(cv2.resize(rgb[100:1540], SIZE_HW[::-1], interpolation=cv2.INTER_AREA))
    return tuple(frames)


def shifted(frames: tuple[np.ndarray, ...], right_px: np.ndarray) -> list[np.ndarray]:
    """Each frame moved to the right by its own number of pixels, as if the person walked; the left edge repeats."""
    return [cv2.warpAffine(rgb, np.float64([[1, 0, by], [0, 1, 0]]), SIZE_HW[::-1], borderMode=cv2.BORDER_REPLICATE) for rgb, by in zip(frames, right_px)]


def rolled(frames: tuple[np.ndarray, ...], clockwise_deg: np.ndarray, middle: tuple[float, float]) -> list[np.ndarray]:
    """Each frame turned about a point, grey around."""
    turned = []
    for rgb, angle in zip(frames, clockwise_deg):
        matrix = cv2.getRotationMatrix2D((middle[0] - 0.5, middle[1] - 0.5), -float(angle), 1.0)
        turned.append(cv2.warpAffine(rgb, matrix, SIZE_HW[::-1], borderValue=(110, 110, 110)))
    return turned


def rolled_points(points: np.ndarray, clockwise_deg: float, middle: tuple[float, float]) -> np.ndarray:
    """Where ``rolled`` moves (N, 2) points."""
    c, s = np.cos(np.radians(clockwise_deg)), np.sin(np.radians(clockwise_deg))
    return (points - np.array(middle)) @ np.array([[c, s], [-s, c]]) + np.array(middle)


def dimmed(rgb: np.ndarray, gain: float) -> np.ndarray:
    """The picture at another exposure: linear light times ``gain``."""
    return np.round(255 * srgb_encode(np.clip(gain * srgb_decode(rgb / 255.0), 0, 1))).astype(np.uint8)


def first_face(rgb: np.ndarray) -> Face:
    with FaceDetector() as detector:
        return detector.detect(rgb)[0]


def crossing(num: int = 40) -> tuple[list[np.ndarray], np.ndarray, np.ndarray]:
    """Two heads cross before a wall: the larger walks to the right, behind; the smaller to the left, in front.

    Returns:
        frames (360 x 640); (num, 2) centres of the larger face's landmarks, and of the smaller one's, px.
    """
    wall = np.full((360, 640, 3), (150, 140, 125), np.uint8)
    wall = np.clip(wall + np.random.default_rng(0).normal(0, 2, wall.shape), 0, 255).astype(np.uint8)
    heads = [_head("talking_man_kitchen", num, 130.0), _head("talking_man_gestures", num, 95.0)]
    x = [np.linspace(130, 510, num), np.linspace(520, 120, num)]
    frames, centres = [], np.zeros((2, num, 2))
    for k in range(num):
        frame = wall.astype(np.float32)
        for who in (0, 1):
            patches, mask, middle = heads[who]
            corner = np.array([x[who][k], 180.0]).round().astype(int) - np.round(middle).astype(int)
            h, w = mask.shape
            part = frame[corner[1] : corner[1] + h, corner[0] : corner[0] + w]
            part[:] = part * (1 - mask[..., None]) + patches[k] * mask[..., None]
            centres[who, k] = corner + middle
        frames.append(frame.round().astype(np.uint8))
    return frames, centres[0], centres[1]


def _head(name: str, num: int, face_px: float) -> tuple[list[np.ndarray], np.ndarray, np.ndarray]:
    """Cut-out heads of one person: frames, (h, w) soft mask, middle of the landmarks of the first frame in it."""
    frames = piece(name, num)
    face = first_face(frames[0])
    scale = face_px / face.width_px
    centre = face.landmarks_px.mean(0)
    half = np.array([0.85, 1.15]) * face.width_px
    low = np.maximum(np.round(centre - half).astype(int), 0)
    high = np.minimum(np.round(centre + half).astype(int), SIZE_HW[::-1])
    small = [cv2.resize(rgb[low[1] : high[1], low[0] : high[0]], None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA).astype(np.float32) for rgb in frames]
    h, w = small[0].shape[:2]
    middle = (centre - low) * scale
    y, x = np.mgrid[:h, :w] + 0.5
    radius = np.hypot((x - middle[0]) / (0.75 * face_px), (y - middle[1]) / (1.0 * face_px))
    return small, np.clip((1 - radius) / 0.08, 0, 1).astype(np.float32), middle
