"""Picks the few frames that identity is estimated from: spread over pose and expression, sharp, well detected."""

from __future__ import annotations

import numpy as np


def select_key_frames(descriptors: np.ndarray, quality: np.ndarray, num: int) -> np.ndarray:
    """Farthest-point sampling weighted by quality.

    Args:
        descriptors: (F, D), comparable scale per column (pose angles, openings, ...).
        quality: (F,) in [0, 1]; 0 excludes a frame.
        num: how many at most.

    Returns:
        (K,) increasing frame numbers. Deterministic.
    """
    allowed = np.flatnonzero(quality > 0)
    if len(allowed) <= num:
        return allowed
    spread = descriptors[allowed].std(0)
    points = (descriptors[allowed] - np.median(descriptors[allowed], 0)) / np.where(spread > 1e-9, spread, 1)
    points = np.clip(points, -4, 4)
    worth = quality[allowed]
    chosen = [int(np.argmin(np.linalg.norm(points, axis=1) / np.maximum(worth, 1e-6)))]
    distance = np.linalg.norm(points - points[chosen[0]], axis=1)
    while len(chosen) < num:
        score = distance * worth
        score[chosen] = -1
        best = int(np.argmax(score))
        chosen.append(best)
        distance = np.minimum(distance, np.linalg.norm(points - points[best], axis=1))
    return np.sort(allowed[chosen])
