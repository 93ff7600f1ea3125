"""The camera as the file describes it."""

from __future__ import annotations

import math
import re

SIGMA_LOG_METADATA = 0.05
SIGMA_LOG_USER = 0.01
SIGMA_LOG_DEFAULT = 0.35
FULL_FRAME_WIDTH_MM = 36.0
DEFAULT_FOCAL_SHARE = 0.85
"""Focal length of a phone as a share of the longer side when nothing is known."""


def focal_35mm_mm(metadata: dict[str, str]) -> float | None:
    """The 35-mm-equivalent focal length in mm that a phone wrote, or None.

    iPhones write ``com.apple.quicktime.camera.focal_length.35mm_equivalent`` to the file or to the video track; others use EXIF's
    spelling (``FocalLengthIn35mmFilm``, ``focal_length_35mm`` ...). Any key that names both is taken, values outside 8 to 400 mm are not.
    """
    for key in sorted(metadata):
        plain = re.sub(r"[^a-z0-9]", "", key.lower())
        if "focal" in plain and ("35mm" in plain or "in35" in plain or "equivalent" in plain):
            match = re.match(r"\s*([0-9]+(?:\.[0-9]+)?)\s*(?:/\s*([0-9]+(?:\.[0-9]+)?))?", str(metadata[key]))
            if match:
                value = float(match[1]) / (float(match[2]) if match[2] and float(match[2]) else 1.0)
                if 8.0 <= value <= 400.0:
                    return value
    return None


def focal_prior(metadata: dict[str, str], size_hw: tuple[int, int], focal_px: float = 0.0) -> tuple[float, float, str]:
    """Where the search for the focal length starts.

    Args:
        metadata: of the clip. size_hw: (height, width) of the upright frame, px.
        focal_px: the user's own figure, px; 0 = none.

    Returns:
        focal length in px; its standard deviation (natural log); "user", "metadata" or "default".
    """
    longer_px = max(size_hw)
    if focal_px > 0:
        return float(focal_px), SIGMA_LOG_USER, "user"
    equivalent_mm = focal_35mm_mm(metadata)
    if equivalent_mm is not None and math.isfinite(equivalent_mm):
        # The longer side of the frame is taken as the 36 mm side. Stabilisation crops (longer) and the 4:3 sensor's diagonal (3 % longer
        # at 16:9) pull the same way by a few per cent: that is what the 5 % stands for.
        return equivalent_mm / FULL_FRAME_WIDTH_MM * longer_px, SIGMA_LOG_METADATA, "metadata"
    return DEFAULT_FOCAL_SHARE * longer_px, SIGMA_LOG_DEFAULT, "default"
