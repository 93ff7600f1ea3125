"""A first rigid pose for every frame: the mean head against the landmarks, nothing bends."""

from __future__ import annotations

import cv2
import numpy as np

from ..geometry.cameras import intrinsics
from .energy import Shared
from .landmark_model import LandmarkModel
from .state import FrameStates

CAM_FROM_UPRIGHT = np.diag([1.0, -1.0, -1.0])
"""A head that faces the camera: the rig has y up and looks along +z, the camera has y down and looks along +z."""


def initial_poses(model: LandmarkModel, shared: Shared, points_px: np.ndarray, is_seen: np.ndarray, rows: np.ndarray) -> FrameStates:
    """Perspective-n-point on the neutral head.

    Args:
        points_px: (F, L, 2). is_seen: (F,) bool; other frames take the pose of the nearest seen one in time.
        rows: landmarks that hardly move with the expression.

    Returns:
        Poses with neutral controls and straight gaze.
    """
    num_frames = len(points_px)
    head = (model.points + model.identity @ shared.identity)[rows]
    px_from_cam = intrinsics(shared.focal_px, tuple(shared.principal_px))
    rotations = np.tile(CAM_FROM_UPRIGHT, (num_frames, 1, 1))
    translations = np.zeros((num_frames, 3))
    is_solved = np.zeros(num_frames, dtype=bool)
    for frame in np.flatnonzero(is_seen):
        points = np.ascontiguousarray(points_px[frame, rows], dtype=np.float64)
        found, vector, translation = cv2.solvePnP(head, points, px_from_cam, None, flags=cv2.SOLVEPNP_SQPNP)
        if found:
            found, vector, translation = cv2.solvePnP(head, points, px_from_cam, None, vector, translation, True, cv2.SOLVEPNP_ITERATIVE)
        if found and translation[2, 0] > 0:
            rotations[frame], translations[frame] = cv2.Rodrigues(vector)[0], translation[:, 0]
            is_solved[frame] = True
    solved = np.flatnonzero(is_solved)
    if len(solved):
        nearest = solved[np.abs(np.arange(num_frames)[:, None] - solved).argmin(1)]
        rotations, translations = rotations[nearest], translations[nearest]
    num_controls = model.expression.shape[2]
    return FrameStates(rotations, translations, np.zeros((num_frames, num_controls)), np.zeros((num_frames, 4)), np.zeros((num_frames, 3)))


def head_angles_deg(cam_from_root_rotation: np.ndarray) -> np.ndarray:
    """(F, 3, 3) to (F, 3): yaw (to the subject's left), pitch (down), roll, deg, relative to facing the camera."""
    upright = CAM_FROM_UPRIGHT @ cam_from_root_rotation
    yaw = np.arctan2(upright[:, 0, 2], upright[:, 2, 2])
    pitch = np.arcsin(np.clip(-upright[:, 1, 2], -1, 1))
    roll = np.arctan2(upright[:, 1, 0], upright[:, 1, 1])
    return np.degrees(np.stack([yaw, pitch, roll], 1))
