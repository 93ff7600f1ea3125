"""Strips around the eyes and the mouth, so that the eye can compare what the columns count."""

from __future__ import annotations

import cv2
import numpy as np

from .appearances import DISTILLED, DYNAMIC, STATIC
from .images import Shot

ASPECT = 2.5
"""Width over height of a strip."""
_MARGIN = 1.15


def strip_names(shots: list[Shot]) -> list[str]:
    """Which pictures stand below one another, the clip last; only the clip and the avatar when there is nothing to compare."""
    painted = shots[0].over_clip if shots else {}
    shown = [name for name in (STATIC, DYNAMIC, DISTILLED) if name in painted]
    if len(shown) < 2:
        shown = list(painted)
    return [*shown, "clip"]


def close_ups(shot: Shot, region: str, names: list[str], width_px: int) -> list[np.ndarray]:
    """One strip (width / ASPECT, width, 3) float32 sRGB for each name, cut around a region of the face; grey where it is not seen.

    Args:
        region: "eyes" or "mouth". names: of ``strip_names``.
    """
    size_wh = (width_px, round(width_px / ASPECT))
    box = _box(shot.regions[region])
    if box is None:
        return [np.full((size_wh[1], size_wh[0], 3), 0.13, np.float32) for _ in names]
    pictures = [shot.seen if name == "clip" else shot.over_clip[name] for name in names]
    return [cv2.resize(np.ascontiguousarray(picture[box]), size_wh, interpolation=cv2.INTER_AREA) for picture in pictures]


def _box(mask: np.ndarray) -> tuple[slice, slice] | None:
    """The strip around a mask, as rows and columns inside the picture."""
    rows, cols = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    if not len(rows):
        return None
    size = len(mask)
    width = min(size, max(16, round(_MARGIN * max(np.ptp(cols) + 1, ASPECT * (np.ptp(rows) + 1)))))
    height = max(6, round(width / ASPECT))
    top, left = (int(np.clip((values[0] + values[-1]) // 2 - side // 2, 0, size - side)) for values, side in ((rows, height), (cols, width)))
    return slice(top, top + height), slice(left, left + width)
