"""The compiled walk of rays through an occupancy grid (CPU, numba)."""

from __future__ import annotations

import math

import numba
import numpy as np

_RAYS_PER_CHUNK = 64


@numba.njit(cache=True, parallel=True)
def march(origins, directions, enter, leave, shift, is_occupied, box, step, most, ray_start, ray_ids, t):  # pragma: no cover - compiled
    """Counts the samples of each ray (empty ``t``: into ray_start[ray + 1]) or writes them (at ray_start[ray]).

    The samples lie at enter + (k + shift) step for whole k. In an empty cell k jumps to just before the cell's far wall, so that no
    sample of the next cell can be lost to rounding; every sample that is kept has been looked up at its own position.

    Args:
        origins, directions: (R, 3) float32. enter, leave, shift: (R,) float32. is_occupied: (X, Y, Z) bool. box: (2, 3) float32.
        step: float32. most: samples per ray. ray_start: (R + 1,) int64. ray_ids: (M,) int64. t: (M,) float32.
    """
    num_rays = origins.shape[0]
    is_counting = t.shape[0] == 0
    size_x, size_y, size_z = is_occupied.shape
    per_m_x = np.float32(size_x) / (box[1, 0] - box[0, 0])
    per_m_y = np.float32(size_y) / (box[1, 1] - box[0, 1])
    per_m_z = np.float32(size_z) / (box[1, 2] - box[0, 2])
    for chunk in numba.prange((num_rays + _RAYS_PER_CHUNK - 1) // _RAYS_PER_CHUNK):
        for ray in range(chunk * _RAYS_PER_CHUNK, min((chunk + 1) * _RAYS_PER_CHUNK, num_rays)):
            count = 0
            first = ray_start[ray]
            wanted = most if is_counting else ray_start[ray + 1] - first
            begin = enter[ray]
            end = leave[ray]
            k = 0
            while count < wanted:
                here = begin + (np.float32(k) + shift[ray]) * step
                if not here < end:
                    break
                x = (origins[ray, 0] + here * directions[ray, 0] - box[0, 0]) * per_m_x
                y = (origins[ray, 1] + here * directions[ray, 1] - box[0, 1]) * per_m_y
                z = (origins[ray, 2] + here * directions[ray, 2] - box[0, 2]) * per_m_z
                i = min(max(int(x), 0), size_x - 1)
                j = min(max(int(y), 0), size_y - 1)
                m = min(max(int(z), 0), size_z - 1)
                if is_occupied[i, j, m]:
                    if not is_counting:
                        t[first + count] = here
                        ray_ids[first + count] = ray
                    count += 1
                    k += 1
                    continue
                away = _steps_to_wall(x, i, directions[ray, 0] * per_m_x * step)
                away = min(away, _steps_to_wall(y, j, directions[ray, 1] * per_m_y * step))
                away = min(away, _steps_to_wall(z, m, directions[ray, 2] * per_m_z * step))
                k += max(1, int(math.ceil(away - 0.01)))
            if is_counting:
                ray_start[ray + 1] = count


@numba.njit(cache=True)
def _steps_to_wall(place, cell, cells_per_step):  # pragma: no cover - compiled
    """Steps from ``place`` to the wall of its cell that lies ahead, at most a million."""
    if cells_per_step > 0.0:
        distance = np.float32(cell + 1) - place
    else:
        distance = place - np.float32(cell)
        cells_per_step = -cells_per_step
    if distance > cells_per_step * 1e6:
        return np.float32(1e6)
    if distance <= 0.0:
        return np.float32(0.0)
    return np.float32(distance / cells_per_step)
