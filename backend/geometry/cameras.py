"""The pinhole camera. OpenCV axes (x right, y down, z forward), K in pixels, pixel centres at +0.5."""

from __future__ import annotations

import numpy as np
import torch

from .shapes import check_shape


def intrinsics(focal_px: float, principal_px: tuple[float, float]) -> np.ndarray:
    """(3, 3) float64 K with square pixels and no skew."""
    return np.array([[focal_px, 0.0, principal_px[0]], [0.0, focal_px, principal_px[1]], [0.0, 0.0, 1.0]])


def transform_points(matrix: np.ndarray | torch.Tensor, points: np.ndarray | torch.Tensor) -> np.ndarray | torch.Tensor:
    """Applies (..., 4, 4) affine transforms to (..., N, 3) points (numpy or torch alike)."""
    check_shape("matrix", matrix, 4, 4)
    check_shape("points", points, None, 3)
    return points @ matrix[..., :3, :3].swapaxes(-1, -2) + matrix[..., None, :3, 3]


def project(px_from_cam: np.ndarray | torch.Tensor, points_m: np.ndarray | torch.Tensor) -> np.ndarray | torch.Tensor:
    """Perspective projection.

    Args:
        px_from_cam: (..., 3, 3) K.
        points_m: (..., N, 3) camera frame.

    Returns:
        (..., N, 2) pixels. Points at z <= 0 give meaningless values; the caller tests z.
    """
    check_shape("px_from_cam", px_from_cam, 3, 3)
    check_shape("points_m", points_m, None, 3)
    homogeneous = points_m @ px_from_cam.swapaxes(-1, -2)
    return homogeneous[..., :2] / homogeneous[..., 2:]


def invert_rigid(matrix: np.ndarray) -> np.ndarray:
    """The inverse of (..., 4, 4) rotation-and-translation matrices."""
    check_shape("matrix", matrix, 4, 4)
    inverse = np.zeros_like(matrix)
    inverse[..., :3, :3] = np.swapaxes(matrix[..., :3, :3], -1, -2)
    inverse[..., :3, 3] = -np.einsum("...ij,...j->...i", inverse[..., :3, :3], matrix[..., :3, 3])
    inverse[..., 3, 3] = 1
    return inverse
