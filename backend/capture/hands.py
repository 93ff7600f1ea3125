"""Hands in front of the face."""

from __future__ import annotations

from types import TracebackType
from typing import Any

import cv2
import numpy as np

from .landmarks import quiet_stderr

_FINGERS = ((0, 1, 2, 3, 4), (0, 5, 6, 7, 8), (9, 10, 11, 12), (13, 14, 15, 16), (0, 17, 18, 19, 20))
_PALM = (0, 1, 5, 9, 13, 17)


class HandFinder:
    """Outlines of hands. Use as a context manager, from one thread."""

    def __init__(self) -> None:
        self._network: Any = None

    def __enter__(self) -> "HandFinder":
        with quiet_stderr():
            import mediapipe

            self._network = mediapipe.solutions.hands.Hands(
                static_image_mode=True, max_num_hands=2, model_complexity=0, min_detection_confidence=0.5,
            )
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None) -> None:
        self._network.close()
        self._network = None

    def __call__(self, crop: np.ndarray) -> list[np.ndarray]:
        """(21, 2) float64 joints in pixels of each hand seen in an (h, w, 3) uint8 sRGB picture."""
        if self._network is None:
            raise RuntimeError("use HandFinder as a context manager")
        height, width = crop.shape[:2]
        found = self._network.process(np.ascontiguousarray(crop)).multi_hand_landmarks or ()
        return [np.array([(point.x * width, point.y * height) for point in hand.landmark]) for hand in found]


def hand_mask(hands: list[np.ndarray], size_hw: tuple[int, int]) -> np.ndarray:
    """(h, w) uint8, 255 on hands: the palm's outline and fingers as thick lines a quarter of the palm's width."""
    mask = np.zeros(size_hw, np.uint8)
    for joints in hands:
        palm_px = max(float(np.linalg.norm(joints[5] - joints[17])), 0.35 * float(np.linalg.norm(joints[0] - joints[9])), 2.0)
        thickness = max(1, round(0.3 * palm_px))
        shifted = np.round(joints * 16).astype(np.int32)
        cv2.fillPoly(mask, [shifted[list(_PALM)]], 255, shift=4)
        for finger in _FINGERS:
            cv2.polylines(mask, [np.round(joints[list(finger)]).astype(np.int32)], False, 255, thickness)
    return mask
