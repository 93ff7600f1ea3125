"""Best constant rigid motions between two sets of points or poses."""

from __future__ import annotations

import numpy as np


def rigid_fit(points: np.ndarray, targets: np.ndarray, with_scale: bool = False) -> tuple[np.ndarray, np.ndarray, float]:
    """Least-squares rotation, translation (and scale) that takes ``points`` onto ``targets``.

    Umeyama, "Least-squares estimation of transformation parameters between two point patterns", IEEE PAMI 13(4), 1991.

    Args:
        points, targets: (P, 3).

    Returns:
        rotation (3, 3), translation (3,), scale: target = scale rotation point + translation.
    """
    points, targets = np.asarray(points, np.float64), np.asarray(targets, np.float64)
    mean_p, mean_t = points.mean(0), targets.mean(0)
    u, singular, vt = np.linalg.svd((targets - mean_t).T @ (points - mean_p))
    sign = np.array([1.0, 1.0, np.sign(np.linalg.det(u) * np.linalg.det(vt))])
    rotation = (u * sign) @ vt
    scale = float((singular * sign).sum() / max(((points - mean_p) ** 2).sum(), 1e-18)) if with_scale else 1.0
    return rotation, mean_t - scale * rotation @ mean_p, scale


def mean_rotation(rotations: np.ndarray) -> np.ndarray:
    """(3, 3): the rotation nearest to the mean of (N, 3, 3) matrices (chordal mean)."""
    u, _, vt = np.linalg.svd(np.asarray(rotations, np.float64).mean(0))
    return u @ np.diag([1, 1, np.linalg.det(u @ vt)]) @ vt
