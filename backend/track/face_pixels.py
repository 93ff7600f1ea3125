"""The pixels the photometric term looks at: one box around the face for the whole clip, at a known size."""

from __future__ import annotations

import dataclasses

import cv2
import numpy as np

from ..capture.model import PARSING, Capture
from ..capture.video import iterate_frames

_MARGIN = 0.35
"""Room around the landmarks of all frames, share of the face's height."""
_SKIN = ("skin", "lips", "brows", "eyes", "inner_mouth")
"""Classes whose pixels may be compared with the face's skin: lips and lids move over eyes and mouth."""
_BORDER_PX = 2
"""Pixels of ``Capture.parsing`` next to other classes that are left out: borders are soft."""


@dataclasses.dataclass(frozen=True)
class FaceBox:
    """A box of the frame and how much smaller its picture is.

    origin_px: (2,) upper left corner in the frame. size_px: (2,) width and height in the frame. picture_hw: of the picture.
    scale: (2,) picture pixels per frame pixel.
    """

    origin_px: np.ndarray
    size_px: np.ndarray
    picture_hw: tuple[int, int]

    @property
    def scale(self) -> np.ndarray:
        return np.array([self.picture_hw[1], self.picture_hw[0]]) / self.size_px

    def to_picture(self, points_px: np.ndarray) -> np.ndarray:
        """(..., 2) frame pixels to picture pixels; pixel centres are at +0.5 in both."""
        return (points_px - self.origin_px) * self.scale


def face_box(capture: Capture, face_px: int) -> FaceBox:
    """The box of all training frames' faces, in which a face of usual size is about ``face_px`` pixels high (never enlarged)."""
    points = capture.landmarks_px[capture.has_face & capture.is_train]
    low, high = np.nanmin(points, (0, 1)), np.nanmax(points, (0, 1))
    height = float(np.median(np.nanmax(points[..., 1], 1) - np.nanmin(points[..., 1], 1)))
    limit = np.array([capture.size_hw[1], capture.size_hw[0]], np.float64)
    low = np.floor(np.clip(low - _MARGIN * height, 0, limit - 2))
    high = np.ceil(np.clip(high + _MARGIN * height, low + 2, limit))
    scale = min(1.0, face_px / max(height, 1.0))
    width_px, height_px = np.maximum(np.round((high - low) * scale), 2).astype(int)
    return FaceBox(low, high - low, (int(height_px), int(width_px)))


def read_pictures(capture: Capture, box: FaceBox, samples: np.ndarray) -> np.ndarray:
    """(n, h, w, 3) uint8 sRGB pictures of the box for some samples, in their order; zero where a frame does not decode."""
    pictures = np.zeros((len(samples), *box.picture_hw, 3), np.uint8)
    rows = {int(capture.time_index[sample]): row for row, sample in enumerate(samples)}
    left, top = box.origin_px.astype(int)
    width, height = box.size_px.astype(int)
    size = (box.picture_hw[1], box.picture_hw[0])
    for time_index, _, rgb in iterate_frames(capture.source_path, sorted(rows)):
        cut = rgb[top : top + height, left : left + width]
        pictures[rows[time_index]] = cut if cut.shape[:2] == box.picture_hw else cv2.resize(cut, size, interpolation=cv2.INTER_AREA)
    return pictures


def comparable_pixels(capture: Capture, sample: int) -> np.ndarray:
    """(h, w) bool in the capture's crop: pixels of the face that nothing covers."""
    usable = np.isin(capture.parsing[sample], [PARSING.index(name) for name in _SKIN]).astype(np.uint8)
    return cv2.erode(usable, np.ones((2 * _BORDER_PX + 1,) * 2, np.uint8)) > 0
