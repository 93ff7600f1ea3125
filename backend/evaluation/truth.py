"""Errors against the truth of a synthetic clip, beside those of no effort at all (docs/evaluation.md).

Scale and focal length cannot be seen in a talking clip, so positions are compared after removing one constant rigid offset per clip
and rotations after one constant rigid alignment; what remains when both are given is reported as the absolute errors. The zero-effort
answer is the mean head, neutral, its pose found by PnP from the same landmarks. The truth may be another head model than the one that was
tracked: then surfaces take the place of vertices, and landmarks that both models carry by name the place of regions.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import cv2
import numpy as np

from ..geometry.cameras import intrinsics
from ..geometry.rotations import rotation_angles_deg
from ..rig.landmark_names import GROUPS
from ..rig.model import RigModel
from ..rig.posing import posable_head
from ..synth.truth import Truth, rig_sha256, truth_head
from .alignment import mean_rotation, rigid_fit
from .performance import Performance
from .points import LID_PAIRS, LIP_PAIRS
from .rounding import number
from .signals import landmark_points
from .truth_surface import MAX_SURFACE_FRAMES, common_points, skin_triangles, surface_distances_mm
from .truth_units import expression_relative, unit_table

MAX_FRAMES = 150
_LIP_LID = (
    "lips_upper", "lips_lower", "lip_inner_upper", "lip_inner_lower", "lid_upper_left", "lid_lower_left", "lid_upper_right", "lid_lower_right",
)
_LIP_LID_POINTS = tuple(sorted({point for name, points in GROUPS.items() if name.startswith(("lip_", "lid_")) for point in points}))
KEYS = (
    "face_vertex_mm", "face_surface_mm", "expression_relative", "lip_lid_mm", "lip_gap_mm", "lid_gap_mm", "rotation_deg", "depth_mm", "depth_absolute_mm",
    "translation_mm", "depth_sized_mm", "translation_sized_mm", "size_percent", "focal_percent", "identity_mm", "identity_scaled_mm",
)
"""Errors of which ``factor`` says how many times smaller than zero effort's they are."""


def measure_truth(
    performance: Performance, truth: Truth, rig: RigModel, landmarks_px: np.ndarray, focal_prior_px: float, truth_rig: RigModel | None = None
) -> dict[str, Any]:
    """Errors of a tracked performance.

    Args:
        performance: what was tracked. truth: of the clip. rig: the model that was tracked. landmarks_px: (N, 478, 2) detections.
        focal_prior_px: the focal length a program would start from; used by the zero-effort answer.
        truth_rig: the model the clip was made with, with its landmark embedding; None = ``rig``.

    Returns:
        The report's ``truth`` object: the errors (``KEYS``), the same of the zero-effort answer under ``zero_effort``, how many times smaller
        under ``factor``, and every expression unit under ``units``.

    Raises:
        AvatarError: bad_input when the truth belongs to neither rig.
    """
    is_own = truth_rig is None or rig_sha256(truth_rig) == rig_sha256(rig)
    shown = rig if truth_rig is None or is_own else truth_rig
    if shown.mediapipe478 is None:
        raise ValueError("the rig has no landmark embedding; load it with load_rig_with_landmarks")
    exact = Performance(
        truth_head(truth, shown), shown.triangles, shown.mediapipe478, shown.regions, truth.control_names, truth.controls, truth.joint_rotations,
        truth.cam_from_root, truth.px_from_cam, truth.time_s, np.arange(truth.num_frames), np.ones(truth.num_frames, bool),
    )
    skin = skin_triangles(rig)
    ours = _usable(performance, truth, landmarks_px)
    frames = performance.time_index[ours]
    errors = compare(performance, ours, exact, frames, skin, is_own)
    idle = zero_effort(rig, performance, landmarks_px, truth.size_hw, focal_prior_px, ours)
    baseline = compare(idle, np.arange(idle.num_samples), exact, frames, skin, is_own)
    factor = {key: number(baseline[key] / errors[key]) if errors[key] and baseline[key] is not None else None for key in KEYS}
    return {
        "topology": "own" if is_own else "mismatched", **errors, "num_frames": int(len(ours)), "zero_effort": baseline, "factor": factor,
        "units": unit_table(performance, ours, exact, frames),
    }


def compare(
    ours: Performance, samples: np.ndarray, exact: Performance, frames: np.ndarray, skin: np.ndarray, is_own: bool = True
) -> dict[str, float | None]:
    """The errors of some samples of one performance against the same instants of the true one.

    Args:
        skin: (F, 3) our triangles on which the true face is looked for. is_own: both heads have the same vertices.
    """
    turn_ours, turn_true = ours.cam_from_root[samples, :3, :3], exact.cam_from_root[frames, :3, :3]
    gauge = mean_rotation(np.swapaxes(turn_ours, -1, -2) @ turn_true)
    angle = rotation_angles_deg(np.swapaxes(turn_ours @ gauge, -1, -2) @ turn_true)
    common = common_points(ours, exact)
    named_ours, named_true = landmark_points(picked(ours, samples)), landmark_points(picked(exact, frames))
    if is_own:
        face = np.flatnonzero(exact.regions["face"])
        root_ours, root_true = ours.vertices(samples, face).astype(np.float64), exact.vertices(frames, face).astype(np.float64)
    else:
        root_ours, root_true = named_ours[:, common], named_true[:, common]
    cam_ours, cam_true = _in_camera(ours, samples, root_ours), _in_camera(exact, frames, root_true)
    surface_mm = _posed_surface_mm(ours, samples, exact, frames, skin, (cam_ours, cam_true))
    vertex_mm = surface_mm
    if is_own:
        rotation, shift, _ = rigid_fit(cam_ours.reshape(-1, 3), cam_true.reshape(-1, 3))
        vertex_mm = float(1000 * np.linalg.norm(cam_ours @ rotation.T + shift - cam_true, axis=-1).mean())
    identity_mm, identity_scaled_mm, size = _identity(ours, exact, common, skin, is_own)
    centre_ours, centre_true = cam_ours.mean(1), cam_true.mean(1)
    depth_mm = 1000 * (centre_ours - centre_true)[:, 2]
    lip_gap_mm, lid_gap_mm = (_gap_error_mm(named_ours @ gauge, named_true, pairs) for pairs in (LIP_PAIRS, sum(LID_PAIRS.values(), ())))
    lip_lid_mm = _lip_lid_mm(ours, samples, exact, frames) if is_own else _lip_lid_named_mm(ours, named_ours, exact, named_true, gauge)
    return {
        "face_vertex_mm": number(vertex_mm),
        "face_surface_mm": number(surface_mm),
        "expression_relative": expression_relative(ours, samples, exact, frames),
        "lip_lid_mm": number(lip_lid_mm),
        "lip_gap_mm": number(lip_gap_mm),
        "lid_gap_mm": number(lid_gap_mm),
        "rotation_deg": number(angle.mean()),
        "depth_mm": number(np.abs(depth_mm - depth_mm.mean()).mean()),
        "depth_offset_mm": number(depth_mm.mean()),
        "depth_absolute_mm": number(np.abs(depth_mm).mean()),
        "translation_mm": number(1000 * np.linalg.norm(centre_ours - centre_true, axis=-1).mean()),
        "depth_sized_mm": number(1000 * np.abs(size * centre_ours - centre_true)[:, 2].mean()),
        "translation_sized_mm": number(1000 * np.linalg.norm(size * centre_ours - centre_true, axis=-1).mean()),
        "size_percent": number(100 * abs(1 / size - 1)),
        "focal_percent": number(100 * abs(ours.px_from_cam[0, 0] / exact.px_from_cam[0, 0] - 1)),
        "identity_mm": number(identity_mm),
        "identity_scaled_mm": number(identity_scaled_mm),
    }


def picked(performance: Performance, samples: np.ndarray) -> Performance:
    """Some samples of a performance."""
    names = ("controls", "joint_rotations", "cam_from_root", "time_s", "time_index", "is_tracked")
    return dataclasses.replace(performance, **{name: getattr(performance, name)[samples] for name in names})


def neutral_points(performance: Performance) -> np.ndarray:
    """(478, 3) m: the named points of the neutral face; NaN without a place."""
    first = picked(performance, np.zeros(1, int))
    return landmark_points(dataclasses.replace(first, controls=np.zeros_like(first.controls), joint_rotations=np.zeros_like(first.joint_rotations)))[0]


def _posed_surface_mm(
    ours: Performance, samples: np.ndarray, exact: Performance, frames: np.ndarray, skin: np.ndarray, start: tuple[np.ndarray, np.ndarray]
) -> float:
    """Mean distance of the true face to our surface, after one rigid motion per clip; camera frame, at most ``MAX_SURFACE_FRAMES`` frames."""
    chosen = np.unique(np.round(np.linspace(0, len(samples) - 1, min(len(samples), MAX_SURFACE_FRAMES))).astype(int))
    face = np.flatnonzero(exact.regions["face"])
    surface = _in_camera(ours, samples[chosen], ours.vertices(samples[chosen]).astype(np.float64))
    true = _in_camera(exact, frames[chosen], exact.vertices(frames[chosen], face).astype(np.float64))
    distance_mm, _ = surface_distances_mm(surface, skin, true, (start[0].reshape(-1, 3), start[1].reshape(-1, 3)))
    return float(distance_mm.mean())


def _identity(ours: Performance, exact: Performance, common: np.ndarray, skin: np.ndarray, is_own: bool) -> tuple[float, float, float]:
    """Neutral face after rigid alignment in mm, the same with the size corrected, and the size factor that takes ours to the truth."""
    neutral_ours, neutral_true = (one.head.neutral.numpy().astype(np.float64) for one in (ours, exact))
    face = np.flatnonzero(exact.regions["face"])
    if is_own:
        errors = [_shape_error_mm(neutral_ours[face], neutral_true[face], with_scale) for with_scale in (False, True)]
        return errors[0], errors[1], rigid_fit(neutral_ours[face], neutral_true[face], True)[2]
    named = neutral_points(ours)[common], neutral_points(exact)[common]
    distances = [surface_distances_mm(neutral_ours[None], skin, neutral_true[face][None], named, with_scale)[0] for with_scale in (False, True)]
    # The size comes from named points: surfaces can slide along each other while they grow.
    return float(distances[0].mean()), float(distances[1].mean()), rigid_fit(*named, True)[2]


def _gap_error_mm(named_ours: np.ndarray, named_true: np.ndarray, pairs: tuple[tuple[int, int], ...]) -> float:
    """Mean error of an opening, averaged over its pairs of points, along the true head's up axis. Points (n, 478, 3) in its frame."""
    placed = np.isfinite(named_ours).all((0, 2)) & np.isfinite(named_true).all((0, 2))
    upper, lower = np.array([pair for pair in pairs if placed[list(pair)].all()], int).reshape(-1, 2).T
    if not len(upper):
        return float("nan")
    gap = lambda points: (points[:, upper, 1] - points[:, lower, 1]).mean(1)  # noqa: E731
    return float(1000 * np.abs(gap(named_ours) - gap(named_true)).mean())


def _lip_lid_mm(ours: Performance, samples: np.ndarray, exact: Performance, frames: np.ndarray) -> float:
    """Mean difference of what the controls do to lip and lid vertices, in the head's frame."""
    mask = np.zeros(len(exact.head.neutral), bool)
    for name in _LIP_LID:
        mask |= exact.regions.get(name, np.zeros_like(mask))
    ids = np.flatnonzero(mask)
    moved = lambda one, rows: one.vertices(rows, ids).astype(np.float64) - one.head.neutral.numpy()[ids]  # noqa: E731
    return float(1000 * np.linalg.norm(moved(ours, samples) - moved(exact, frames), axis=-1).mean())


def _lip_lid_named_mm(ours: Performance, named_ours: np.ndarray, exact: Performance, named_true: np.ndarray, gauge: np.ndarray) -> float:
    """The same at the named points of lips and lids; ``gauge`` takes directions of the true head's frame into ours."""
    points = np.array([point for point in _LIP_LID_POINTS if ours.embedding.is_placed[point] and exact.embedding.is_placed[point]], int)
    moved_ours = (named_ours[:, points] - neutral_points(ours)[points]) @ gauge
    moved_true = named_true[:, points] - neutral_points(exact)[points]
    return float(1000 * np.linalg.norm(moved_ours - moved_true, axis=-1).mean()) if len(points) else float("nan")


def zero_effort(
    rig: RigModel, performance: Performance, landmarks_px: np.ndarray, size_hw: tuple[int, int], focal_prior_px: float, samples: np.ndarray
) -> Performance:
    """The mean head, neutral, with the pose that PnP gives for the detected landmarks and the focal length one starts from."""
    head = posable_head(rig)
    px_from_cam = intrinsics(focal_prior_px, (size_hw[1] / 2, size_hw[0] / 2))
    still = dataclasses.replace(
        performance, head=head, controls=np.zeros((1, len(rig.expression_names)), np.float32), joint_rotations=np.zeros((1, len(rig.joint_names), 3), np.float32),
        cam_from_root=np.eye(4)[None], px_from_cam=px_from_cam, time_s=np.zeros(1), time_index=np.zeros(1, int), is_tracked=np.ones(1, bool),
    )
    points = landmark_points(still)[0]
    placed = np.flatnonzero(np.isfinite(points).all(1))
    poses = np.tile(np.eye(4), (len(samples), 1, 1))
    for row, sample in enumerate(samples):
        _, turn, shift = cv2.solvePnP(points[placed], landmarks_px[sample, placed].astype(np.float64), px_from_cam, None, flags=cv2.SOLVEPNP_SQPNP)
        turn, shift = cv2.solvePnPRefineLM(points[placed], landmarks_px[sample, placed].astype(np.float64), px_from_cam, None, turn, shift)
        poses[row, :3, :3], poses[row, :3, 3] = cv2.Rodrigues(turn)[0], shift[:, 0]
    num = len(samples)
    return dataclasses.replace(
        still, controls=np.zeros((num, len(rig.expression_names)), np.float32), joint_rotations=np.zeros((num, len(rig.joint_names), 3), np.float32),
        cam_from_root=poses, time_s=performance.time_s[samples], time_index=performance.time_index[samples], is_tracked=np.ones(num, bool),
    )


def _usable(performance: Performance, truth: Truth, landmarks_px: np.ndarray) -> np.ndarray:
    good = performance.is_tracked & np.isfinite(landmarks_px).all(axis=(1, 2)) & (performance.time_index < truth.num_frames)
    samples = np.flatnonzero(good)
    return samples if len(samples) <= MAX_FRAMES else samples[np.unique(np.round(np.linspace(0, len(samples) - 1, MAX_FRAMES)).astype(int))]


def _in_camera(performance: Performance, samples: np.ndarray, vertices: np.ndarray) -> np.ndarray:
    matrices = performance.cam_from_root[samples]
    return np.einsum("nij,nvj->nvi", matrices[:, :3, :3], vertices) + matrices[:, None, :3, 3]


def _shape_error_mm(ours: np.ndarray, true: np.ndarray, with_scale: bool) -> float:
    rotation, shift, scale = rigid_fit(ours, true, with_scale)
    return float(1000 * np.linalg.norm(scale * ours @ rotation.T + shift - true, axis=-1).mean())
