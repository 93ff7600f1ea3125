"""Loops and triangles of the 478 landmarks. Indices are MediaPipe's; left and right are the subject's."""

from __future__ import annotations

import functools

import numpy as np

from ..rig.landmark_names import BROW_RIGHT as BROW_RIGHT
from ..rig.landmark_names import FACE_OVAL as FACE_OVAL

LIPS_OUTER = (61, 146, 91, 181, 84, 17, 314, 405, 321, 375, 291, 409, 270, 269, 267, 0, 37, 39, 40, 185)
LIPS_INNER = (78, 95, 88, 178, 87, 14, 317, 402, 318, 324, 308, 415, 310, 311, 312, 13, 82, 81, 80, 191)
EYE_RIGHT = (33, 7, 163, 144, 145, 153, 154, 155, 133, 173, 157, 158, 159, 160, 161, 246)
EYE_LEFT = (263, 249, 390, 373, 374, 380, 381, 382, 362, 398, 384, 385, 386, 387, 388, 466)
BROW_LEFT = (300, 293, 334, 296, 336, 285, 295, 282, 283, 276)
FOREHEAD = (21, 54, 103, 67, 109, 10, 338, 297, 332, 284, 251, 300, 293, 334, 296, 336, 107, 66, 105, 63, 70)
"""From the upper end of the mesh down to the upper edge of the brows."""
TEMPLE_RIGHT = (21, 162, 127, 34, 143, 156, 70)
TEMPLE_LEFT = (251, 389, 356, 264, 372, 383, 300)
LID_PAIRS_RIGHT = ((160, 144), (159, 145), (158, 153))
"""Upper and lower lid points facing each other; the corners are 33 and 133."""
LID_PAIRS_LEFT = ((387, 373), (386, 374), (385, 380))
"""The same for the left eye; the corners are 263 and 362."""
LIP_UPPER_INNER, LIP_LOWER_INNER = 13, 14
CHIN, FOREHEAD_TOP, NOSE_TIP = 152, 10, 1
CHEEK_RIGHT, CHEEK_LEFT = 234, 454
"""Ends of the face mesh in front of the ears."""
STILL_SKIN = (6, 8, 9, 50, 101, 118, 117, 123, 187, 205, 36, 280, 330, 347, 346, 352, 411, 425, 266, 151, 108, 337, 195, 5, 4, 197)
"""Points on forehead, nose and cheeks that are bare skin on almost everybody (no beard, brow or lip)."""


@functools.lru_cache(maxsize=1)
def mesh_triangles() -> np.ndarray:
    """(T, 3) int32: triangles of the 468-point face mesh, every three points that are joined pairwise."""
    from mediapipe.python.solutions.face_mesh_connections import FACEMESH_TESSELATION

    neighbours: dict[int, set[int]] = {}
    for a, b in FACEMESH_TESSELATION:
        neighbours.setdefault(a, set()).add(b)
        neighbours.setdefault(b, set()).add(a)
    found = {
        tuple(sorted((a, b, c)))
        for a, around in neighbours.items() for b in around for c in neighbours[b] if c in around
    }
    return np.array(sorted(found), dtype=np.int32)


def eye_openness(landmarks_px: np.ndarray) -> np.ndarray:
    """(..., 2): mean lid gap over corner distance of the right and the left eye, for (..., 478, 2) landmarks."""
    ratios = []
    for pairs, (inner, outer) in ((LID_PAIRS_RIGHT, (133, 33)), (LID_PAIRS_LEFT, (362, 263))):
        gaps = [np.linalg.norm(landmarks_px[..., top, :] - landmarks_px[..., low, :], axis=-1) for top, low in pairs]
        width = np.linalg.norm(landmarks_px[..., inner, :] - landmarks_px[..., outer, :], axis=-1)
        ratios.append(np.mean(gaps, axis=0) / np.maximum(width, 1e-6))
    return np.stack(ratios, axis=-1)


def lip_gap(landmarks_px: np.ndarray) -> np.ndarray:
    """(...): distance between the inner lips over the outer-eye distance, for (..., 478, 2) landmarks."""
    gap = np.linalg.norm(landmarks_px[..., LIP_UPPER_INNER, :] - landmarks_px[..., LIP_LOWER_INNER, :], axis=-1)
    return gap / np.maximum(np.linalg.norm(landmarks_px[..., 33, :] - landmarks_px[..., 263, :], axis=-1), 1e-6)
