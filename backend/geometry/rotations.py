"""Rotations: axis-angle and matrices, in numpy and torch, safe at zero."""

from __future__ import annotations

import numpy as np
import torch

from .shapes import check_shape


def matrix_from_axis_angle(rotation: torch.Tensor) -> torch.Tensor:
    """Rodrigues' formula.

    Args:
        rotation: (..., 3) float, axis times angle, rad.

    Returns:
        (..., 3, 3), differentiable everywhere, also at zero (series below 1e-4 rad).
    """
    check_shape("rotation", rotation, 3)
    squared = (rotation * rotation).sum(-1)
    is_small = squared < 1e-8
    safe = torch.where(is_small, torch.ones_like(squared), squared)
    angle = safe.sqrt()
    a = torch.where(is_small, 1 - squared / 6, torch.sin(angle) / angle)
    b = torch.where(is_small, 0.5 - squared / 24, (1 - torch.cos(angle)) / safe)
    x, y, z = rotation.unbind(-1)
    zero = torch.zeros_like(x)
    cross = torch.stack([zero, -z, y, z, zero, -x, -y, x, zero], -1).reshape(*rotation.shape[:-1], 3, 3)
    eye = torch.eye(3, dtype=rotation.dtype, device=rotation.device)
    return eye + a[..., None, None] * cross + b[..., None, None] * (cross @ cross)


def matrices_from_axis_angles(rotations: np.ndarray) -> np.ndarray:
    """The same in numpy: (..., 3) rad to (..., 3, 3), float64."""
    return matrix_from_axis_angle(torch.from_numpy(np.asarray(rotations, dtype=np.float64))).numpy()


def axis_angles_from_matrices(matrices: np.ndarray) -> np.ndarray:
    """(..., 3, 3) rotation matrices to (..., 3) axis times angle, rad, angle in [0, pi]."""
    from scipy.spatial.transform import Rotation

    matrices = np.asarray(matrices, dtype=np.float64)
    check_shape("matrices", matrices, 3, 3)
    return Rotation.from_matrix(matrices.reshape(-1, 3, 3)).as_rotvec().reshape(*matrices.shape[:-2], 3)


def rotation_angles_deg(matrices: np.ndarray) -> np.ndarray:
    """(..., 3, 3) to the angle of each rotation, deg."""
    return np.degrees(np.linalg.norm(axis_angles_from_matrices(matrices), axis=-1))
