"""The documented point list: which of MediaPipe's 478 points the measurements use, and how they are grouped.

Sides are the subject's. Upper and lower lists run from the subject's right to left and pair up entry by entry.
"""

from __future__ import annotations

import numpy as np

from ..rig.landmark_names import FACE_OVAL

NUM_POINTS = 478
OUTER_EYE_CORNERS = (33, 263)
"""Right and left outer corner; their distance on the model is the unit of landmark distances."""

LIP_PAIRS = ((81, 178), (82, 87), (13, 14), (312, 317), (311, 402))
"""Upper and lower point of the inner lip rim, the five pairs around the middle."""

LID_PAIRS = {
    "right": ((160, 144), (159, 145), (158, 153)),
    "left": ((385, 380), (386, 374), (387, 373)),
}
"""Upper and lower point of the lid rims around the middle of each eye."""

EYE_CORNERS = {"right": (33, 133), "left": (263, 362)}
"""Outer and inner corner of each eye."""

_LIPS = (
    61, 146, 91, 181, 84, 17, 314, 405, 321, 375, 291, 185, 40, 39, 37, 0, 267, 269, 270, 409,
    78, 95, 88, 178, 87, 14, 317, 402, 318, 324, 308, 191, 80, 81, 82, 13, 312, 311, 310, 415,
)  # fmt: skip
_EYES = (
    33, 7, 163, 144, 145, 153, 154, 155, 133, 246, 161, 160, 159, 158, 157, 173,
    263, 249, 390, 373, 374, 380, 381, 382, 362, 466, 388, 387, 386, 385, 384, 398,
)  # fmt: skip
_BROWS = (70, 63, 105, 66, 107, 46, 53, 52, 65, 55, 300, 293, 334, 296, 336, 276, 283, 282, 295, 285)
_NOSE = (
    1, 2, 4, 5, 6, 19, 94, 97, 98, 64, 48, 115, 220, 45, 275, 440, 344, 278, 294, 327, 326, 168, 195, 197, 122, 351, 129, 358, 240, 460, 99, 328,
)  # fmt: skip


def point_groups() -> dict[str, np.ndarray]:
    """Group name -> indices. Every point is in exactly one group; ``contour`` is the face oval, whose points slide on the surface."""
    groups = {
        "lips": _LIPS, "eyes": _EYES, "irises": tuple(range(468, 478)), "brows": _BROWS, "nose": _NOSE, "contour": FACE_OVAL,
    }
    taken = {index for group in groups.values() for index in group}
    groups["rest"] = tuple(index for index in range(NUM_POINTS) if index not in taken)
    return {name: np.array(sorted(group)) for name, group in groups.items()}
