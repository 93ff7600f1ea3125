"""Zero-phase smoothing of a track for animation. Avatars train on the raw track."""

from __future__ import annotations

import numpy as np
from scipy.ndimage import gaussian_filter1d
from scipy.spatial.transform import Rotation


def smooth_values(values: np.ndarray, sigma_frames: np.ndarray | float, chains: list[slice]) -> np.ndarray:
    """Gaussian smoothing along time, within each chain of consecutive frames only.

    Args:
        values: (F, ...). sigma_frames: standard deviation, one for all or one per column of a (F, C) array.
        chains: slices of frames; nothing crosses their ends.
    """
    out = values.astype(np.float64)
    sigmas = np.broadcast_to(np.asarray(sigma_frames, dtype=np.float64), values.shape[1:2] or (1,))
    for chain in chains:
        for column, sigma in enumerate(sigmas):
            if sigma > 0 and chain.stop - chain.start > 1:
                out[chain, column] = gaussian_filter1d(out[chain, column], sigma, axis=0, mode="nearest")
    return out


def smooth_rotations(matrices: np.ndarray, sigma_frames: float, chains: list[slice]) -> np.ndarray:
    """(F, 3, 3) rotation matrices: quaternions made sign-continuous, smoothed, normalised."""
    if sigma_frames <= 0:
        return matrices.copy()
    quaternions = Rotation.from_matrix(matrices).as_quat()
    out = np.empty_like(quaternions)
    for chain in chains:
        part = quaternions[chain].copy()
        for index in range(1, len(part)):
            if part[index] @ part[index - 1] < 0:
                part[index] *= -1
        out[chain] = gaussian_filter1d(part, sigma_frames, axis=0, mode="nearest") if len(part) > 1 else part
    return Rotation.from_quat(out).as_matrix()
