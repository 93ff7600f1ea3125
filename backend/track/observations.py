"""Turns detected landmarks into weighted observations: who is trusted how much, and in which direction."""

from __future__ import annotations

import numpy as np

from . import point_roles as names
from .energy import Observations, Shared, landmarks_in_camera, projected
from .landmark_model import LandmarkModel
from .lids import EYES, closed_share, iris_trust
from .state import FrameStates, Unknowns

WEIGHTS = {"lids": 2.0, "lips_inner": 2.0, "lips": 1.5, "brows": 1.2, "irises": 2.0, "forehead": 0.4, "contour": 0.6, "rest": 1.0}
"""Relative trust in one point of each group (squared residuals are multiplied by it)."""
CONTOUR_SLIDE = 0.06
"""Share of a contour point's weight that acts along the contour: such points slide on the surface as the head turns."""
LID_GAP_WEIGHT, LIP_GAP_WEIGHT = 60.0, 40.0
"""Weight of an opening (difference of an upper and a lower point), beside the points themselves."""
CLOSED_LIPS_FACTOR, CLOSED_LIPS_PERCENT = 8.0, 2.0
"""Lips that meet must meet: extra weight of an opening below this many percent of the eye distance."""
HUBER_PERCENT = 2.0
"""Residual from which a point counts linearly, percent of the outer-eye distance."""


def point_weights(ids: np.ndarray) -> np.ndarray:
    """(L,) trust in each landmark."""
    weights = np.full(len(ids), WEIGHTS["rest"])
    for group, members in (
        ("brows", names.BROWS), ("forehead", names.FOREHEAD), ("contour", names.FACE_OVAL), ("lips", names.LIPS), ("lips_inner", names.LIPS_INNER),
        ("lids", names.LIDS), ("irises", names.IRISES),
    ):
        weights[np.isin(ids, members)] = WEIGHTS[group]
    return weights


def opening_pairs(ids: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(G, 2) rows of upper and lower points whose opening counts extra, and (G,) weights; only placed points."""
    row_of = {int(landmark): row for row, landmark in enumerate(ids)}
    pairs, weights = [], []
    for group, weight in ((names.LID_PAIRS_RIGHT, LID_GAP_WEIGHT), (names.LID_PAIRS_LEFT, LID_GAP_WEIGHT), (names.LIP_PAIRS, LIP_GAP_WEIGHT)):
        present = [(row_of[a], row_of[b]) for a, b in group if a in row_of and b in row_of]
        pairs += present
        weights += [weight / max(len(present), 1) * 3] * len(present)
    return np.array(pairs, dtype=int).reshape(-1, 2), np.array(weights)


def observe(
    model: LandmarkModel, unknowns: Unknowns, shared: Shared, states: FrameStates, landmarks_px: np.ndarray, confidence: np.ndarray,
    openness: np.ndarray,
) -> Observations:
    """Weighted observations around the current state (weights are refreshed between rounds, not inside one).

    Args:
        landmarks_px: (F, 478, 2), NaN where nothing was found. confidence: (F,) in [0, 1]; 0 switches a frame off.
        openness: (F, 2) of the right and the left eye (``lids.lid_openness``).
    """
    points = landmarks_px[:, model.ids].astype(np.float64)
    is_seen = np.isfinite(points).all(-1) & (confidence > 0)[:, None]
    points = np.where(is_seen[..., None], points, 0)
    in_cam = landmarks_in_camera(model, unknowns, shared, states)
    eye_px = eye_distance_px(model, shared, in_cam)
    error = (projected(in_cam, shared) - points) * (100 / eye_px)[:, None, None]
    robust = np.minimum(1, HUBER_PERCENT / np.maximum(np.linalg.norm(error, axis=-1), 1e-9))

    normals = model.normals @ states.cam_from_root_rotation.swapaxes(1, 2)
    towards = -np.einsum("fla,fla->fl", normals, in_cam) / np.linalg.norm(in_cam, axis=-1)
    facing = np.clip((towards + 0.1) / 0.4, 0.1, 1)
    weight = point_weights(model.ids) * robust * facing * is_seen * confidence[:, None]
    for side, (_, _, iris) in enumerate(EYES):
        weight[:, np.isin(model.ids, iris)] *= iris_trust(np.nan_to_num(openness[:, side]))[:, None]
    whitening = np.sqrt(weight)[..., None, None] * np.eye(2)
    rows, directions = _contour_normals(model.ids, points)
    along = directions[..., ::-1] * np.array([-1.0, 1.0])
    root = np.sqrt(weight[:, rows])[..., None]
    whitening[:, rows] = np.stack([directions * root, along * root * np.sqrt(CONTOUR_SLIDE)], -2)

    pairs, pair_weights = opening_pairs(model.ids)
    gap = np.linalg.norm(points[:, pairs[:, 0]] - points[:, pairs[:, 1]], axis=-1) * (100 / eye_px)[:, None]
    is_lip = np.isin(model.ids[pairs[:, 0]], [upper for upper, _ in names.LIP_PAIRS])
    pair_weights = pair_weights * (1 + CLOSED_LIPS_FACTOR * is_lip * np.exp(-((gap / CLOSED_LIPS_PERCENT) ** 2)))
    both = is_seen[:, pairs[:, 0]] & is_seen[:, pairs[:, 1]]
    pair_weight = np.sqrt(pair_weights * both * confidence[:, None])
    offset = np.zeros((len(points), len(pairs), 2))
    for side, (lid_pairs, _, _) in enumerate(EYES):
        rows_of_side = np.isin(model.ids[pairs[:, 0]], [upper for upper, _ in lid_pairs])
        share = closed_share(np.nan_to_num(openness[:, side], nan=1.0))[:, None, None]
        offset[:, rows_of_side] = (share - 1) * (points[:, pairs[rows_of_side, 0]] - points[:, pairs[rows_of_side, 1]])
    return Observations(points, whitening, eye_px, pairs, pair_weight, offset)


def eye_distance_px(model: LandmarkModel, shared: Shared, in_cam: np.ndarray) -> np.ndarray:
    """(F,) the person's outer-eye distance (m, neutral) as seen at the depth of the head, px: the unit of all residuals."""
    neutral = model.points + model.identity @ shared.identity
    right, left = (int(np.flatnonzero(model.ids == point)[0]) for point in names.OUTER_EYE_CORNERS)
    distance_m = np.linalg.norm(neutral[left] - neutral[right])
    return shared.focal_px * distance_m / in_cam[:, [left, right], 2].mean(1)


def _contour_normals(ids: np.ndarray, points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Rows of the face-oval points that are placed, and (F, K, 2) unit normals of the detected contour there."""
    row_of = {int(landmark): row for row, landmark in enumerate(ids)}
    ring = [row_of[point] for point in names.FACE_OVAL if point in row_of]
    loop = points[:, ring]
    tangent = np.roll(loop, -1, 1) - np.roll(loop, 1, 1)
    length = np.linalg.norm(tangent, axis=-1, keepdims=True)
    tangent = np.where(length > 1e-6, tangent / np.maximum(length, 1e-6), np.array([1.0, 0.0]))
    return np.array(ring, dtype=int), np.stack([-tangent[..., 1], tangent[..., 0]], -1)
