"""Which landmarks play which part in the fit."""

from __future__ import annotations

from ..rig import landmark_names as names

LIDS = (*names.LID_UPPER_RIGHT, *names.LID_LOWER_RIGHT, *names.LID_UPPER_LEFT, *names.LID_LOWER_LEFT)
LIPS_INNER = (*names.LIP_INNER_UPPER, *names.LIP_INNER_LOWER)
LIPS = (*names.LIP_OUTER_UPPER, *names.LIP_OUTER_LOWER, *(point for row in (*names.LIP_MIDDLE_UPPER, *names.LIP_MIDDLE_LOWER) for point in row))
BROWS = (*names.BROW_RIGHT, *names.BROW_LEFT)
IRIS_RIGHT, IRIS_LEFT = names.IRIS_RIGHT, names.IRIS_LEFT
IRISES = (*IRIS_RIGHT, *IRIS_LEFT)
IRIS_CENTRES = (IRIS_RIGHT[0], IRIS_LEFT[0])
FACE_OVAL = names.FACE_OVAL
FOREHEAD = (10, 338, 297, 332, 284, 109, 67, 103, 54, 151, 108, 69, 104, 68, 71, 337, 299, 333, 298, 301)
OUTER_EYE_CORNERS = names.OUTER_EYES
STEADY = (*names.EYE_CORNERS, *names.NOSE_BRIDGE, *names.NOSE_BASE, 1, 2, 48, 64, 278, 294, 9, 8, 10, 234, 454, 127, 356, 116, 345, 123, 352)
"""Points that expressions hardly move: for a first rigid pose."""

MIDDLE = slice(3, -3)
"""The middle of a rim; near its corners it says little about the opening."""
LIP_PAIRS = tuple(zip(names.LIP_INNER_UPPER[MIDDLE], names.LIP_INNER_LOWER[MIDDLE]))
LID_PAIRS_RIGHT = tuple(zip(names.LID_UPPER_RIGHT[MIDDLE], names.LID_LOWER_RIGHT[MIDDLE]))
LID_PAIRS_LEFT = tuple(zip(names.LID_UPPER_LEFT[MIDDLE], names.LID_LOWER_LEFT[MIDDLE]))
