"""Which of the 478 MediaPipe face mesh points is what. Left and right are the subject's own.

MediaPipe gives its points no names; the groups below follow the index sets its own package publishes
(``face_mesh_connections``), each ordered along its line. Lines across the face run from the subject's right (-X) to left (+X).
"""

from __future__ import annotations

import numpy as np

NUM_POINTS = 478
MIDDLE = (0, 1, 2, 4, 5, 6, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 94, 151, 152, 164, 168, 175, 195, 197, 199, 200)
"""Points on the middle line."""

IRIS_RIGHT, IRIS_LEFT = (468, 469, 470, 471, 472), (473, 474, 475, 476, 477)
"""Centre, then the border seen from the front: image right (+X), top, image left, bottom."""

LIP_OUTER_UPPER = (61, 185, 40, 39, 37, 0, 267, 269, 270, 409, 291)
LIP_OUTER_LOWER = (61, 146, 91, 181, 84, 17, 314, 405, 321, 375, 291)
LIP_INNER_UPPER = (78, 191, 80, 81, 82, 13, 312, 311, 310, 415, 308)
LIP_INNER_LOWER = (78, 95, 88, 178, 87, 14, 317, 402, 318, 324, 308)
LIP_MIDDLE_UPPER = ((76, 184, 74, 73, 72, 11, 302, 303, 304, 408, 306), (62, 183, 42, 41, 38, 12, 268, 271, 272, 407, 292))
LIP_MIDDLE_LOWER = ((76, 77, 90, 180, 85, 16, 315, 404, 320, 307, 306), (62, 96, 89, 179, 86, 15, 316, 403, 319, 325, 292))
"""Rows on the red of the lips between the outer and the inner line (outer one first)."""

LID_UPPER_RIGHT = (33, 246, 161, 160, 159, 158, 157, 173, 133)
LID_LOWER_RIGHT = (33, 7, 163, 144, 145, 153, 154, 155, 133)
LID_UPPER_LEFT = (362, 398, 384, 385, 386, 387, 388, 466, 263)
LID_LOWER_LEFT = (362, 382, 381, 380, 374, 373, 390, 249, 263)

BROW_RIGHT = (70, 63, 105, 66, 107, 55, 65, 52, 53, 46)
BROW_LEFT = (336, 296, 334, 293, 300, 276, 283, 282, 295, 285)
"""Outline of each brow: upper edge, then back along the lower one."""

NOSE_BRIDGE = (168, 6, 197, 195, 5, 4)
NOSE_TIP = 1
NOSE_BASE = (98, 97, 2, 326, 327)
NOSTRIL_WINGS = (48, 64, 278, 294)

FACE_OVAL = (
    10, 338, 297, 332, 284, 251, 389, 356, 454, 323, 361, 288, 397, 365, 379, 378, 400, 377,
    152, 148, 176, 149, 150, 136, 172, 58, 132, 93, 234, 127, 162, 21, 54, 103, 67, 109,
)
"""The outline, from the top of the forehead over the subject's left. In a turned view these points slide along the silhouette."""
JAW_LINE = (127, 234, 93, 132, 58, 172, 136, 150, 149, 176, 148, 152, 377, 400, 378, 379, 365, 397, 288, 361, 323, 454, 356)
"""The lower part of the outline, from the subject's right temple over the chin to the left temple."""

EYE_CORNERS = (33, 133, 362, 263)
"""Right outer, right inner, left inner, left outer."""
OUTER_EYES = (33, 263)
"""Their distance is the yardstick of every landmark error."""
MOUTH_CORNERS = (61, 291)

IBUG68_FROM_MEDIAPIPE = (
    # jaw, from the subject's right ear over the chin
    127, 234, 93, 132, 172, 150, 176, 148, 152, 377, 400, 379, 397, 361, 323, 454, 356,
    # brows, right then left
    70, 63, 105, 66, 107, 336, 296, 334, 293, 300,
    # nose: bridge, base
    168, 197, 5, 4, 98, 97, 2, 326, 327,
    # eyes, right then left: outer right, over the upper lid, back under the lower one
    33, 160, 158, 133, 153, 144, 362, 385, 387, 263, 373, 380,
    # lips: outer line, inner line, from the subject's right corner over the upper lip
    61, 40, 37, 0, 267, 270, 291, 321, 314, 17, 84, 91, 78, 81, 13, 311, 308, 402, 14, 178,
)
"""For each of the 68 iBUG points the MediaPipe point at the same place of the face."""

GROUPS: dict[str, tuple[int, ...]] = {
    "iris_right": IRIS_RIGHT, "iris_left": IRIS_LEFT,
    "lip_outer_upper": LIP_OUTER_UPPER, "lip_outer_lower": LIP_OUTER_LOWER,
    "lip_inner_upper": LIP_INNER_UPPER, "lip_inner_lower": LIP_INNER_LOWER,
    "lid_upper_right": LID_UPPER_RIGHT, "lid_lower_right": LID_LOWER_RIGHT,
    "lid_upper_left": LID_UPPER_LEFT, "lid_lower_left": LID_LOWER_LEFT,
    "brow_right": BROW_RIGHT, "brow_left": BROW_LEFT,
    "nose_bridge": NOSE_BRIDGE, "nose_base": NOSE_BASE, "face_oval": FACE_OVAL,
}

RIMS: dict[str, tuple[int, ...]] = {
    "lip_inner_upper": LIP_INNER_UPPER, "lip_inner_lower": LIP_INNER_LOWER,
    "lid_upper_right": LID_UPPER_RIGHT, "lid_lower_right": LID_LOWER_RIGHT,
    "lid_upper_left": LID_UPPER_LEFT, "lid_lower_left": LID_LOWER_LEFT,
}
"""Region of a rig model -> the points that lie on it, in order of growing x."""


def mirrored_points() -> np.ndarray:
    """(478,) int: the point at the same place on the other side of the face (itself on the middle line).

    MediaPipe numbers the subject's right side and the middle 0..247 and the left side 248..467 in the same order.
    """
    mirror = np.arange(NUM_POINTS)
    right = np.array([point for point in range(248) if point not in MIDDLE])
    left = np.arange(248, 468)
    mirror[right], mirror[left] = left, right
    # A mirror image exchanges the two side points of an iris.
    for right_point, left_point in ((468, 473), (469, 476), (470, 475), (471, 474), (472, 477)):
        mirror[right_point], mirror[left_point] = left_point, right_point
    return mirror
