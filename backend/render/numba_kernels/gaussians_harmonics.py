"""Spherical harmonics of one direction per splat, and their gradients (CPU, numba). Order and signs: ``gaussian_harmonics``."""

from __future__ import annotations

import math

import numba
import numpy as np

NUM_CHUNKS = 64  # Runs of splats; scratch is allocated once per run.


@numba.njit(cache=True)
def _harmonics(x, y, z, num, values):  # pragma: no cover - compiled
    values[0] = 0.28209479177387814
    if num > 1:
        values[1] = -0.4886025119029199 * y
        values[2] = 0.4886025119029199 * z
        values[3] = -0.4886025119029199 * x
    if num > 4:
        values[4] = 1.0925484305920792 * x * y
        values[5] = -1.0925484305920792 * y * z
        values[6] = 0.31539156525252005 * (3.0 * z * z - 1.0)
        values[7] = -1.0925484305920792 * x * z
        values[8] = 0.5462742152960396 * (x * x - y * y)
    if num > 9:
        values[9] = -0.5900435899266435 * y * (3.0 * x * x - y * y)
        values[10] = 2.890611442640554 * x * y * z
        values[11] = -0.4570457994644658 * y * (5.0 * z * z - 1.0)
        values[12] = 0.3731763325901154 * z * (5.0 * z * z - 3.0)
        values[13] = -0.4570457994644658 * x * (5.0 * z * z - 1.0)
        values[14] = 1.445305721320277 * z * (x * x - y * y)
        values[15] = -0.5900435899266435 * x * (x * x - 3.0 * y * y)


@numba.njit(cache=True)
def _slope(x, y, z, num, g):  # pragma: no cover - compiled
    """Gradient of sum_k g[k] Y_k with respect to (x, y, z), as polynomials in free variables."""
    s_x = 0.0
    s_y = 0.0
    s_z = 0.0
    if num > 1:
        s_y -= 0.4886025119029199 * g[1]
        s_z += 0.4886025119029199 * g[2]
        s_x -= 0.4886025119029199 * g[3]
    if num > 4:
        a = 1.0925484305920792
        s_x += a * (y * g[4] - z * g[7] + x * g[8])
        s_y += a * (x * g[4] - z * g[5] - y * g[8])
        s_z += 6.0 * 0.31539156525252005 * z * g[6] - a * (y * g[5] + x * g[7])
    if num > 9:
        a = 0.5900435899266435
        b = 2.890611442640554
        c = 0.4570457994644658
        s_x += -6.0 * a * x * y * g[9] + b * y * z * g[10] - c * (5.0 * z * z - 1.0) * g[13] + b * x * z * g[14] - 3.0 * a * (x * x - y * y) * g[15]
        s_y += -3.0 * a * (x * x - y * y) * g[9] + b * x * z * g[10] - c * (5.0 * z * z - 1.0) * g[11] - b * y * z * g[14] + 6.0 * a * x * y * g[15]
        s_z += b * x * y * g[10] - 10.0 * c * z * (y * g[11] + x * g[13]) + 0.3731763325901154 * (15.0 * z * z - 3.0) * g[12] + 0.5 * b * (x * x - y * y) * g[14]
    return s_x, s_y, s_z


@numba.njit(cache=True, parallel=True)
def colours_forward(coefficients, directions, colours):  # pragma: no cover - compiled
    """coefficients: (N, K, C), directions: (N, 3) float, colours: (N, C), out."""
    num, num_harmonics, num_channels = coefficients.shape
    for chunk in numba.prange(NUM_CHUNKS):
        values = np.empty(16)
        sums = np.empty(num_channels)
        for i in range(chunk * num // NUM_CHUNKS, (chunk + 1) * num // NUM_CHUNKS):
            x = np.float64(directions[i, 0])
            y = np.float64(directions[i, 1])
            z = np.float64(directions[i, 2])
            inverse = 1.0 / max(math.sqrt(x * x + y * y + z * z), 1e-12)
            _harmonics(x * inverse, y * inverse, z * inverse, num_harmonics, values)
            for q in range(num_channels):
                sums[q] = 0.0
            for k in range(num_harmonics):
                for q in range(num_channels):
                    sums[q] += values[k] * coefficients[i, k, q]
            for q in range(num_channels):
                colours[i, q] = sums[q]


@numba.njit(cache=True, parallel=True)
def colours_backward(coefficients, directions, grad_colours, grad_coefficients, grad_directions):  # pragma: no cover - compiled
    """Gradients of ``colours_forward``; the last two are written."""
    num, num_harmonics, num_channels = coefficients.shape
    for chunk in numba.prange(NUM_CHUNKS):
        values = np.empty(16)
        g = np.empty(16)
        for i in range(chunk * num // NUM_CHUNKS, (chunk + 1) * num // NUM_CHUNKS):
            x = np.float64(directions[i, 0])
            y = np.float64(directions[i, 1])
            z = np.float64(directions[i, 2])
            inverse = 1.0 / max(math.sqrt(x * x + y * y + z * z), 1e-12)
            x *= inverse
            y *= inverse
            z *= inverse
            _harmonics(x, y, z, num_harmonics, values)
            for k in range(num_harmonics):
                total = 0.0
                for q in range(num_channels):
                    total += grad_colours[i, q] * coefficients[i, k, q]
                    grad_coefficients[i, k, q] = values[k] * grad_colours[i, q]
                g[k] = total
            s_x, s_y, s_z = _slope(x, y, z, num_harmonics, g)
            along = s_x * x + s_y * y + s_z * z
            grad_directions[i, 0] = (s_x - along * x) * inverse
            grad_directions[i, 1] = (s_y - along * y) * inverse
            grad_directions[i, 2] = (s_z - along * z) * inverse
