"""Least squares with the structure of a clip: many frames, neighbours coupled, a few quantities shared by all.

The normal equations are block tridiagonal (frames) with a border (shared quantities). A block Cholesky factorisation
along time and a Schur complement onto the border solve them in time linear in the number of frames.
"""

from __future__ import annotations

import dataclasses

import numpy as np
from scipy.linalg.lapack import dpotrf, dpotrs


@dataclasses.dataclass(frozen=True)
class BlockSystem:
    """Normal equations H x = -g of F frames with n unknowns each and m shared ones.

    diagonal: (F, n, n). coupling: (F - 1, n), diagonal of the block between frame t and t + 1 (zero where a chain is cut).
    gradient: (F, n). border: (F, n, m). shared: (m, m). shared_gradient: (m,).
    """

    diagonal: np.ndarray
    coupling: np.ndarray
    gradient: np.ndarray
    border: np.ndarray
    shared: np.ndarray
    shared_gradient: np.ndarray


def solve(system: BlockSystem, is_fixed: np.ndarray, damping: float) -> tuple[np.ndarray, np.ndarray]:
    """The damped Gauss-Newton step with some unknowns held.

    Args:
        is_fixed: (F, n) bool, unknowns that must not move (they sit on a bound that the gradient pushes against).
        damping: Levenberg-Marquardt factor on the diagonal, relative.

    Returns:
        (F, n) step and (m,) shared step.
    """
    num_frames, size = system.gradient.shape
    num_shared = len(system.shared_gradient)
    free = ~is_fixed
    diagonal = system.diagonal * (free[:, :, None] & free[:, None, :])
    index = np.arange(size)
    diagonal[:, index, index] += damping * diagonal[:, index, index] + np.where(free, 1e-9, 1.0)
    coupling = system.coupling * (free[:-1] & free[1:])
    right = np.concatenate([np.where(free, -system.gradient, 0.0)[:, :, None], system.border * free[:, :, None]], 2)

    factors = []
    for frame in range(num_frames):
        if frame and coupling[frame - 1].any():
            link = coupling[frame - 1]
            half = dpotrs(factors[-1], np.concatenate([np.diag(link), right[frame - 1]], 1), lower=1)[0]
            diagonal[frame] -= link[:, None] * half[:, :size]
            right[frame] -= link[:, None] * half[:, size:]
        factors.append(dpotrf(diagonal[frame], lower=1)[0])
    solution = np.empty_like(right)
    for frame in range(num_frames - 1, -1, -1):
        rest = right[frame]
        if frame + 1 < num_frames and coupling[frame].any():
            rest = rest - coupling[frame][:, None] * solution[frame + 1]
        solution[frame] = dpotrs(factors[frame], rest, lower=1)[0]
    if num_shared == 0:
        return solution[:, :, 0], np.zeros(0)
    frames_of_gradient, frames_of_border = solution[:, :, 0], solution[:, :, 1:]
    border = system.border * free[:, :, None]
    schur = system.shared - np.einsum("fnm,fnk->mk", border, frames_of_border)
    schur[np.arange(num_shared), np.arange(num_shared)] += damping * np.diag(system.shared) + 1e-9
    shared_step = np.linalg.solve(schur, -system.shared_gradient - np.einsum("fnm,fn->m", border, frames_of_gradient))
    return frames_of_gradient - frames_of_border @ shared_step, shared_step


def gradient_at(system: BlockSystem, step: np.ndarray) -> BlockSystem:
    """The same system seen from a point ``step`` (F, n) away: its gradients there, shared unknowns unmoved."""
    gradient = system.gradient + (system.diagonal @ step[..., None])[..., 0]
    gradient[:-1] += system.coupling * step[1:]
    gradient[1:] += system.coupling * step[:-1]
    shared_gradient = system.shared_gradient + np.einsum("fnm,fn->m", system.border, step)
    return dataclasses.replace(system, gradient=gradient, shared_gradient=shared_gradient)
