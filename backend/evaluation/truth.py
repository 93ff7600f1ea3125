"""Errors against the truth of a synthetic clip, beside those of no effort at all (docs/evaluation.md).

Scale and focal length cannot be seen in a talking clip, so positions are compared after removing one constant rigid offset per clip
and rotations after one constant rigid alignment. The zero-effort answer is the mean head, neutral, its pose found by PnP from the same landmarks.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import cv2
import numpy as np

from ..geometry.cameras import intrinsics
from ..geometry.rotations import rotation_angles_deg
from ..rig.model import RigModel
from ..rig.posing import posable_head
from ..synth.truth import Truth, truth_head
from .alignment import mean_rotation, rigid_fit
from .performance import Performance
from .rounding import number
from .signals import landmark_points

TIED = 0.8
"""Units whose displacement fields have a cosine of at least this size are one unit."""
ACTIVE = 0.1
"""A unit counts when the truth moves it at least this far from 0."""
MAX_FRAMES = 150
_LIP_LID = (
    "lips_upper", "lips_lower", "lip_inner_upper", "lip_inner_lower", "lid_upper_left", "lid_lower_left", "lid_upper_right", "lid_lower_right",
)
KEYS = ("face_vertex_mm", "expression_relative", "lip_lid_mm", "rotation_deg", "depth_mm", "focal_percent")


def measure_truth(performance: Performance, truth: Truth, rig: RigModel, landmarks_px: np.ndarray, focal_prior_px: float) -> dict[str, Any]:
    """Errors of a tracked performance.

    Args:
        performance: of the package; its mesh must be the truth's rig (same vertices).
        truth: of the clip. rig: the model both were made with. landmarks_px: (N, 478, 2) detections.
        focal_prior_px: the focal length a program would start from; used by the zero-effort answer.

    Returns:
        The report's ``truth`` object: six errors, the same of the zero-effort answer under ``zero_effort``, and how many times smaller under ``factor``.

    Raises:
        AvatarError: bad_input when the truth belongs to another rig.
    """
    head = truth_head(truth, rig)
    exact = Performance(
        head, performance.triangles, performance.embedding, performance.regions, truth.control_names, truth.controls, truth.joint_rotations,
        truth.cam_from_root, truth.px_from_cam, truth.time_s, np.arange(truth.num_frames), np.ones(truth.num_frames, bool),
    )
    ours = _usable(performance, truth, landmarks_px)
    frames = performance.time_index[ours]
    errors = compare(performance, ours, exact, frames)
    idle = zero_effort(rig, performance, landmarks_px, truth.size_hw, focal_prior_px, ours)
    baseline = compare(idle, np.arange(idle.num_samples), exact, frames)
    factor = {key: number(baseline[key] / errors[key]) if errors[key] and baseline[key] is not None else None for key in KEYS}
    return {**errors, "num_frames": int(len(ours)), "zero_effort": baseline, "factor": factor}


def compare(ours: Performance, samples: np.ndarray, exact: Performance, frames: np.ndarray) -> dict[str, float | None]:
    """The six errors of some samples of one performance against the same instants of the true one."""
    face = np.flatnonzero(exact.regions["face"])
    root_ours, root_true = ours.vertices(samples, face).astype(np.float64), exact.vertices(frames, face).astype(np.float64)
    cam_ours, cam_true = _in_camera(ours, samples, root_ours), _in_camera(exact, frames, root_true)
    rotation, shift, _ = rigid_fit(cam_ours.reshape(-1, 3), cam_true.reshape(-1, 3))
    vertex_mm = 1000 * np.linalg.norm(cam_ours @ rotation.T + shift - cam_true, axis=-1)
    depth_mm = 1000 * (cam_ours[..., 2].mean(1) - cam_true[..., 2].mean(1))
    turn_ours, turn_true = ours.cam_from_root[samples, :3, :3], exact.cam_from_root[frames, :3, :3]
    gauge = mean_rotation(np.swapaxes(turn_ours, -1, -2) @ turn_true)
    angle = rotation_angles_deg(np.swapaxes(turn_ours @ gauge, -1, -2) @ turn_true)
    neutral_ours = ours.head.neutral.numpy().astype(np.float64)[face]
    neutral_true = exact.head.neutral.numpy().astype(np.float64)[face]
    return {
        "face_vertex_mm": number(vertex_mm.mean()),
        "expression_relative": expression_relative(ours, samples, exact, frames),
        "lip_lid_mm": number(lip_lid_error_mm(ours, samples, exact, frames).mean()),
        "rotation_deg": number(angle.mean()),
        "depth_mm": number(np.abs(depth_mm - depth_mm.mean()).mean()),
        "focal_percent": number(100 * abs(ours.px_from_cam[0, 0] / exact.px_from_cam[0, 0] - 1)),
        "depth_offset_mm": number(depth_mm.mean()),
        "identity_mm": number(_shape_error_mm(neutral_ours, neutral_true, False)),
        "identity_scaled_mm": number(_shape_error_mm(neutral_ours, neutral_true, True)),
    }


def expression_relative(ours: Performance, samples: np.ndarray, exact: Performance, frames: np.ndarray) -> float | None:
    """Error of the active units after tying redundant ones, relative to the all-zero answer (1 = no better than doing nothing).

    Units whose displacement fields point the same or the opposite way are summed with sign and size into one. The figure is the
    root of the mean squared error over root of the mean square of the truth, over active units and frames.
    """
    if tuple(ours.control_names) != tuple(exact.control_names):
        return None
    fields = exact.head.expressions.numpy().astype(np.float64)
    tie = tied_units(fields)
    error = ours.controls[samples].astype(np.float64) @ tie - exact.controls[frames].astype(np.float64) @ tie
    true = exact.controls[frames].astype(np.float64) @ tie
    active = np.abs(true).max(0) >= ACTIVE
    return number(np.sqrt((error[:, active] ** 2).mean() / (true[:, active] ** 2).mean())) if active.any() else None


def tied_units(fields: np.ndarray) -> np.ndarray:
    """(E, G): how much of each unit counts towards each group. Groups form around the largest unit not yet taken.

    Args:
        fields: (E, D), what each unit moves.
    """
    size = np.linalg.norm(fields, axis=1)
    cosine = (fields @ fields.T) / np.maximum(size[:, None] * size[None], 1e-18)
    free = size > 0
    columns = []
    while free.any():
        leader = int(np.argmax(np.where(free, size, -1)))
        members = free & (np.abs(cosine[leader]) >= TIED)
        members[leader] = True
        columns.append(np.where(members, np.sign(cosine[leader]) * size / size[leader], 0.0))
        free &= ~members
    return np.stack(columns, 1) if columns else np.zeros((len(fields), 0))


def lip_lid_error_mm(ours: Performance, samples: np.ndarray, exact: Performance, frames: np.ndarray) -> np.ndarray:
    """(n, m) mm: difference of what the controls do to lip and lid vertices, in the head's frame."""
    mask = np.zeros(len(exact.head.neutral), bool)
    for name in _LIP_LID:
        mask |= exact.regions.get(name, np.zeros_like(mask))
    ids = np.flatnonzero(mask)
    moved = lambda one, rows: one.vertices(rows, ids).astype(np.float64) - one.head.neutral.numpy()[ids]  # noqa: E731
    return 1000 * np.linalg.norm(moved(ours, samples) - moved(exact, frames), axis=-1)


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
