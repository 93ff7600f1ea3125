"""Smooth random fields in space: gradient noise (Perlin, "Improving noise", 2002) with a hashed lattice. Compiled, deterministic."""

from __future__ import annotations

import numba
import numpy as np


@numba.njit(cache=True)
def _hash(x, y, z, seed):  # pragma: no cover - compiled
    h = np.uint32(x) * np.uint32(374761393) + np.uint32(y) * np.uint32(668265263) + np.uint32(z) * np.uint32(2147483647) + np.uint32(seed) * np.uint32(974634167)
    h = (h ^ (h >> np.uint32(13))) * np.uint32(1274126177)
    h = (h ^ (h >> np.uint32(15))) * np.uint32(2246822519)
    return h ^ (h >> np.uint32(16))


@numba.njit(cache=True)
def _corner(hashed, x, y, z):  # pragma: no cover - compiled
    choice = hashed & np.uint32(15)
    u = x if choice < 8 else y
    v = y if choice < 4 else (x if choice == 12 or choice == 14 else z)
    return (u if choice & np.uint32(1) == 0 else -u) + (v if choice & np.uint32(2) == 0 else -v)


@numba.njit(cache=True)
def gradient_noise(x, y, z, seed):  # pragma: no cover - compiled
    """Gradient noise of one point, for use inside compiled loops."""
    x0, y0, z0 = np.floor(x), np.floor(y), np.floor(z)
    fx, fy, fz = x - x0, y - y0, z - z0
    ix, iy, iz = np.int64(x0), np.int64(y0), np.int64(z0)
    u = fx * fx * fx * (fx * (fx * 6 - 15) + 10)
    v = fy * fy * fy * (fy * (fy * 6 - 15) + 10)
    w = fz * fz * fz * (fz * (fz * 6 - 15) + 10)
    total = 0.0
    for dx in range(2):
        for dy in range(2):
            for dz in range(2):
                weight = (u if dx else 1 - u) * (v if dy else 1 - v) * (w if dz else 1 - w)
                total += weight * _corner(_hash(ix + dx, iy + dy, iz + dz, seed), fx - dx, fy - dy, fz - dz)
    return total


@numba.njit(cache=True, parallel=True)
def _noise_of_points(points, seed, out):  # pragma: no cover - compiled
    for index in numba.prange(points.shape[0]):
        out[index] = gradient_noise(points[index, 0], points[index, 1], points[index, 2], seed)


def noise(points: np.ndarray, seed: int) -> np.ndarray:
    """Gradient noise of (..., 3) points with features of size 1; (...,) float32, mean 0, mostly within [-0.7, 0.7]."""
    flat = np.ascontiguousarray(np.asarray(points, dtype=np.float64).reshape(-1, 3))
    out = np.empty(len(flat), np.float32)
    _noise_of_points(flat, seed, out)
    return out.reshape(points.shape[:-1])


def layered_noise(points: np.ndarray, seed: int, octaves: int = 4, gain: float = 0.5) -> np.ndarray:
    """Sum of ``octaves`` noises, each twice as fine and ``gain`` times as strong as the one before."""
    total = np.zeros(points.shape[:-1], np.float32)
    for octave in range(octaves):
        total += gain**octave * noise(points * 2.0**octave + 17.3 * octave, seed + octave)
    return total
