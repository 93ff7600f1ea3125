"""One square cut-out for the whole clip, at 512 pixels, and the regions in it. Everything here comes from the capture alone."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from pathlib import Path

import cv2
import numpy as np
from scipy.ndimage import binary_fill_holes

from ..capture.model import PARSING, Capture
from ..capture.video import iterate_frames
from ..reporter import Reporter
from ..rig import landmark_names as points_of

SIZE_PX = 512
_HEAD = tuple(PARSING.index(name) for name in ("skin", "lips", "inner_mouth", "eyes", "brows", "hair"))
_FACE = tuple(PARSING.index(name) for name in ("skin", "lips", "inner_mouth", "eyes", "brows"))
_NEVER = tuple(PARSING.index(name) for name in ("background", "occlusion"))
_SUBPIXEL = 4


@dataclasses.dataclass(frozen=True)
class Cutout:
    """A square box of whole pixels of the upright frame, resized to ``SIZE_PX``.

    left_px, top_px, side_px: int; the box may stick out of the frame (the border pixels repeat there, and no mask reaches them).
    """

    left_px: int
    top_px: int
    side_px: int

    @property
    def cutout_from_px(self) -> np.ndarray:
        """(3, 3): frame pixels to pixels of the cut-out."""
        scale = SIZE_PX / self.side_px
        return np.array([[scale, 0, -scale * self.left_px], [0, scale, -scale * self.top_px], [0, 0, 1.0]])

    def cut(self, rgb: np.ndarray) -> np.ndarray:
        """(512, 512, 3) uint8 of a frame (H, W, 3) uint8."""
        rows = np.clip(np.arange(self.top_px, self.top_px + self.side_px), 0, rgb.shape[0] - 1)
        cols = np.clip(np.arange(self.left_px, self.left_px + self.side_px), 0, rgb.shape[1] - 1)
        box = rgb[rows[0] : rows[-1] + 1, cols[0] : cols[-1] + 1] if rows[-1] - rows[0] == cols[-1] - cols[0] == self.side_px - 1 else rgb[np.ix_(rows, cols)]
        return cv2.resize(np.ascontiguousarray(box), (SIZE_PX, SIZE_PX), interpolation=cv2.INTER_AREA if self.side_px >= SIZE_PX else cv2.INTER_CUBIC)


def cutout_of(capture: Capture) -> Cutout:
    """The capture's crop, rounded to whole pixels of the frame."""
    px_from_crop = np.linalg.inv(capture.px_crop_from_px)
    low = (px_from_crop @ [0, 0, 1])[:2]
    high = (px_from_crop @ [capture.crop_size_hw[1], capture.crop_size_hw[0], 1])[:2]
    side = max(8, int(round(float((high - low).max()))))
    left, top = np.round(0.5 * (low + high) - 0.5 * side).astype(int)
    return Cutout(int(left), int(top), side)


def cut_frames(video: Path, cutout: Cutout, time_indices: Iterable[int], reporter: Reporter) -> dict[int, np.ndarray]:
    """Decodes the clip once: frame number -> (512, 512, 3) uint8."""
    wanted = sorted({int(index) for index in time_indices})
    frames: dict[int, np.ndarray] = {}
    for index, _, rgb in iterate_frames(video, wanted):
        frames[index] = cutout.cut(rgb)
        reporter.progress("report", 0.3 * len(frames) / max(len(wanted), 1), 1.0)
    return frames


def regions_of(capture: Capture, sample: int, cutout: Cutout) -> dict[str, np.ndarray]:
    """Masks of one frame, from matte, parsing and landmarks of the capture; never from a rendered picture.

    Returns:
        (512, 512) bool each. face: inside MediaPipe's face oval and parsed as face; eyes: lid outlines widened by a quarter of an
        eye; mouth: outer lip outline widened by a tenth of a mouth; head: everything parsed as head (hair too, hands not).
    """
    to_cutout = cutout.cutout_from_px @ np.linalg.inv(capture.px_crop_from_px)
    # Maps between pixel centres at +0.5: cv2 puts the first centre at 0.
    shift = np.array([[1, 0, 0.5], [0, 1, 0.5], [0, 0, 1.0]])
    warp = np.linalg.inv(shift) @ to_cutout @ shift
    size = (SIZE_PX, SIZE_PX)
    parsing = cv2.warpAffine(capture.parsing[sample], warp[:2], size, flags=cv2.INTER_NEAREST)
    matte = cv2.warpAffine(capture.matte[sample], warp[:2], size, flags=cv2.INTER_LINEAR) > 127
    height, width = capture.size_hw
    centres = np.arange(SIZE_PX) + 0.5
    scale = SIZE_PX / cutout.side_px
    in_x, in_y = centres / scale + cutout.left_px, centres / scale + cutout.top_px
    in_frame = ((in_y >= 0) & (in_y < height))[:, None] & ((in_x >= 0) & (in_x < width))[None]
    points = capture.landmarks_px[sample].astype(np.float64) @ cutout.cutout_from_px[:2, :2].T + cutout.cutout_from_px[:2, 2]
    has_face = bool(np.isfinite(points).all())
    outline = lambda ids: _filled(points[list(ids)]) if has_face else np.zeros(size, bool)  # noqa: E731
    is_face = in_frame & np.isin(parsing, _FACE)
    oval = outline(points_of.FACE_OVAL) & in_frame
    # Patches enclosed by face (shadows under a brow taken for hair) belong to it; hair that reaches in from the border does not.
    is_face = is_face | (oval & binary_fill_holes(oval & is_face) & ~np.isin(parsing, _NEVER))
    face = oval & is_face
    eyes = np.zeros(size, bool)
    for upper, lower in ((points_of.LID_UPPER_RIGHT, points_of.LID_LOWER_RIGHT), (points_of.LID_UPPER_LEFT, points_of.LID_LOWER_LEFT)):
        if has_face:
            width_px = float(np.linalg.norm(points[upper[0]] - points[upper[-1]]))
            eyes |= _widened(outline((*upper, *lower[::-1])), 0.25 * width_px)
    mouth = np.zeros(size, bool)
    if has_face:
        width_px = float(np.linalg.norm(points[points_of.LIP_OUTER_UPPER[0]] - points[points_of.LIP_OUTER_UPPER[-1]]))
        mouth = _widened(outline((*points_of.LIP_OUTER_UPPER, *points_of.LIP_OUTER_LOWER[::-1])), 0.1 * width_px)
    head = matte & np.isin(parsing, _HEAD) & in_frame
    return {"face": face, "eyes": eyes & is_face, "mouth": mouth & is_face, "head": head | face}


def boundary_ring(head: np.ndarray, alpha: np.ndarray) -> np.ndarray:
    """(512, 512) bool: the head of the capture minus the mesh's silhouette shrunk by 2 % of the cut-out."""
    radius = int(round(0.02 * SIZE_PX))
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * radius + 1,) * 2)
    return head & (cv2.erode((alpha > 0.5).astype(np.uint8), kernel) == 0)


def _filled(points: np.ndarray) -> np.ndarray:
    mask = np.zeros((SIZE_PX, SIZE_PX), np.uint8)
    corners = np.round((points - 0.5) * 2**_SUBPIXEL).astype(np.int32)
    cv2.fillPoly(mask, [corners], 1, shift=_SUBPIXEL)
    return mask > 0


def _widened(mask: np.ndarray, radius_px: float) -> np.ndarray:
    size = 2 * max(1, int(round(radius_px))) + 1
    return cv2.dilate(mask.astype(np.uint8), cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (size, size))) > 0
