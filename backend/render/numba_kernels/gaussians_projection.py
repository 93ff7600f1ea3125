"""Gaussians of space to Gaussians of the picture, and the gradients of that (CPU, numba).

EWA splatting (Zwicker et al. 2002, equations 22-24) with the conventions of gsplat. Numbers are float32 outside and float64 inside:
the loops are scalar, so it costs nothing, and a thin splat keeps its determinant.
"""

from __future__ import annotations

import math

import numba
import numpy as np

NUM_CHUNKS = 64
"""Splats are cut into this many runs whatever the number of threads, so that sums over all splats never depend on it."""

QUATERNION, TRANSFORM, COVARIANCE = 0, 1, 2
"""What ``shape`` holds: quaternion wxyz and scales (7 numbers in two arrays), or a 3 x 3 matrix in rows (9)."""

FINE, NOT_FINITE, NO_ROTATION = 0, 1, 2


@numba.njit(cache=True, error_model="numpy")
def _read_linear(kind, quaternions, scales, matrices, i, rotation, linear):  # pragma: no cover - compiled
    """Fills ``linear`` (3, 3) with L of cov = L L^T, or the symmetric part of the covariance. Returns the quaternion's length, else 1."""
    if kind == QUATERNION:
        w = np.float64(quaternions[i, 0])
        x = np.float64(quaternions[i, 1])
        y = np.float64(quaternions[i, 2])
        z = np.float64(quaternions[i, 3])
        length = math.sqrt(w * w + x * x + y * y + z * z)
        inverse = 1.0 / length if length > 0.0 else 0.0
        w *= inverse
        x *= inverse
        y *= inverse
        z *= inverse
        rotation[0, 0] = 1.0 - 2.0 * (y * y + z * z)
        rotation[0, 1] = 2.0 * (x * y - w * z)
        rotation[0, 2] = 2.0 * (x * z + w * y)
        rotation[1, 0] = 2.0 * (x * y + w * z)
        rotation[1, 1] = 1.0 - 2.0 * (x * x + z * z)
        rotation[1, 2] = 2.0 * (y * z - w * x)
        rotation[2, 0] = 2.0 * (x * z - w * y)
        rotation[2, 1] = 2.0 * (y * z + w * x)
        rotation[2, 2] = 1.0 - 2.0 * (x * x + y * y)
        for r in range(3):
            for c in range(3):
                linear[r, c] = rotation[r, c] * scales[i, c]
        return length
    for r in range(3):
        for c in range(3):
            if kind == TRANSFORM:
                linear[r, c] = matrices[i, 3 * r + c]
            else:
                linear[r, c] = 0.5 * (np.float64(matrices[i, 3 * r + c]) + np.float64(matrices[i, 3 * c + r]))
    return 1.0


@numba.njit(cache=True, error_model="numpy")
def _covariance_px(kind, linear, row_x, row_y, low_pass, u, v):  # pragma: no cover - compiled
    """Covariance xx, xy, yy and its determinant in the picture; ``u``, ``v`` (3,) out: L^T row (or cov row) of the two Jacobian rows."""
    for c in range(3):
        u[c] = linear[0, c] * row_x[0] + linear[1, c] * row_x[1] + linear[2, c] * row_x[2]
        v[c] = linear[0, c] * row_y[0] + linear[1, c] * row_y[1] + linear[2, c] * row_y[2]
    if kind == COVARIANCE:
        xx = u[0] * row_x[0] + u[1] * row_x[1] + u[2] * row_x[2]
        xy = u[0] * row_y[0] + u[1] * row_y[1] + u[2] * row_y[2]
        yy = v[0] * row_y[0] + v[1] * row_y[1] + v[2] * row_y[2]
        area = xx * yy - xy * xy
    else:
        xx = u[0] * u[0] + u[1] * u[1] + u[2] * u[2]
        xy = u[0] * v[0] + u[1] * v[1] + u[2] * v[2]
        yy = v[0] * v[0] + v[1] * v[1] + v[2] * v[2]
        # |u x v|^2: no cancellation however thin the splat.
        n_0 = u[1] * v[2] - u[2] * v[1]
        n_1 = u[2] * v[0] - u[0] * v[2]
        n_2 = u[0] * v[1] - u[1] * v[0]
        area = n_0 * n_0 + n_1 * n_1 + n_2 * n_2
    return xx + low_pass, xy, yy + low_pass, area + low_pass * (xx + yy) + low_pass * low_pass


@numba.njit(cache=True, parallel=True, error_model="numpy")
def project_forward(
    kind, means, quaternions, scales, matrices, view, intrinsics, limits, near, far, low_pass, width, height, means_px, conics, depths, radii, state
):  # pragma: no cover - compiled
    """Projects every splat.

    Args:
        kind: which of ``quaternions`` (N, 4) and ``scales`` (N, 3), or ``matrices`` (N, 9), is read.
        means: (N, 3) world. view: (3, 4) float64 cam_from_world. intrinsics: fx, fy, cx, cy.
        limits: lowest and highest x/z, lowest and highest y/z of the linearisation.
        means_px: (N, 2), conics: (N, 3), depths: (N,), radii: (N, 2) int32, out; culled splats get 0 everywhere but the depth.
        state: (NUM_CHUNKS,) int32, out: FINE, NOT_FINITE or NO_ROTATION.
    """
    fx, fy, cx, cy = intrinsics
    num = means.shape[0]
    for chunk in numba.prange(NUM_CHUNKS):
        rotation = np.empty((3, 3))
        linear = np.empty((3, 3))
        row_x = np.empty(3)
        row_y = np.empty(3)
        u = np.empty(3)
        v = np.empty(3)
        found = FINE
        for i in range(chunk * num // NUM_CHUNKS, (chunk + 1) * num // NUM_CHUNKS):
            m_0 = np.float64(means[i, 0])
            m_1 = np.float64(means[i, 1])
            m_2 = np.float64(means[i, 2])
            x = view[0, 0] * m_0 + view[0, 1] * m_1 + view[0, 2] * m_2 + view[0, 3]
            y = view[1, 0] * m_0 + view[1, 1] * m_1 + view[1, 2] * m_2 + view[1, 3]
            z = view[2, 0] * m_0 + view[2, 1] * m_1 + view[2, 2] * m_2 + view[2, 3]
            length = _read_linear(kind, quaternions, scales, matrices, i, rotation, linear)
            total = x + y + z + length
            for r in range(3):
                for c in range(3):
                    total += linear[r, c]
            if not math.isfinite(total):
                found = NOT_FINITE
            elif length == 0.0 and found == FINE:
                found = NO_ROTATION
            depths[i] = z
            means_px[i, 0] = 0.0
            means_px[i, 1] = 0.0
            conics[i, 0] = 0.0
            conics[i, 1] = 0.0
            conics[i, 2] = 0.0
            radii[i, 0] = 0
            radii[i, 1] = 0
            if not (z > near and z < far):
                continue
            inverse = 1.0 / z
            slope_x = min(max(x * inverse, limits[0]), limits[1])
            slope_y = min(max(y * inverse, limits[2]), limits[3])
            for c in range(3):
                row_x[c] = fx * inverse * (view[0, c] - slope_x * view[2, c])
                row_y[c] = fy * inverse * (view[1, c] - slope_y * view[2, c])
            xx, xy, yy, det = _covariance_px(kind, linear, row_x, row_y, low_pass, u, v)
            if not (det > 0.0 and xx > 0.0 and yy > 0.0 and det < 1e37):
                continue
            x_px = fx * x * inverse + cx
            y_px = fy * y * inverse + cy
            means_px[i, 0] = x_px
            means_px[i, 1] = y_px
            conics[i, 0] = yy / det
            conics[i, 1] = -xy / det
            conics[i, 2] = xx / det
            radius_x = math.ceil(3.33 * math.sqrt(xx))
            radius_y = math.ceil(3.33 * math.sqrt(yy))
            if x_px + radius_x > 0.0 and x_px - radius_x < width and y_px + radius_y > 0.0 and y_px - radius_y < height:
                radii[i, 0] = min(radius_x, 2e9)
                radii[i, 1] = min(radius_y, 2e9)
        state[chunk] = found


@numba.njit(cache=True, parallel=True, error_model="numpy")
def project_backward(
    kind, means, quaternions, scales, matrices, view, intrinsics, limits, near, far, low_pass,
    grad_means_px, grad_conics, grad_depths, grad_means, grad_quaternions, grad_scales, grad_matrices, grad_view,
):  # pragma: no cover - compiled
    """Gradients of ``project_forward``.

    Args:
        grad_means_px: (N, 2), grad_conics: (N, 3), grad_depths: (N,).
        grad_means: (N, 3), grad_quaternions: (N, 4), grad_scales: (N, 3), grad_matrices: (N, 9): out, as ``kind`` says.
        grad_view: (NUM_CHUNKS, 3, 4) float64, out: the share of every run.
    """
    fx, fy, _, _ = intrinsics
    num = means.shape[0]
    for chunk in numba.prange(NUM_CHUNKS):
        rotation = np.empty((3, 3))
        linear = np.empty((3, 3))
        row_x = np.empty(3)
        row_y = np.empty(3)
        u = np.empty(3)
        v = np.empty(3)
        grad_u = np.empty(3)
        grad_v = np.empty(3)
        grad_row_x = np.empty(3)
        grad_row_y = np.empty(3)
        grad_linear = np.empty((3, 3))
        grad_p = np.empty(3)
        m = np.empty(3)
        pose = np.zeros((3, 4))
        for i in range(chunk * num // NUM_CHUNKS, (chunk + 1) * num // NUM_CHUNKS):
            for c in range(3):
                m[c] = means[i, c]
                grad_p[c] = 0.0
            for r in range(3):
                for c in range(3):
                    grad_linear[r, c] = 0.0
            x = view[0, 0] * m[0] + view[0, 1] * m[1] + view[0, 2] * m[2] + view[0, 3]
            y = view[1, 0] * m[0] + view[1, 1] * m[1] + view[1, 2] * m[2] + view[1, 3]
            z = view[2, 0] * m[0] + view[2, 1] * m[1] + view[2, 2] * m[2] + view[2, 3]
            grad_p[2] = grad_depths[i]
            length = 1.0
            g_0 = np.float64(grad_conics[i, 0])
            g_1 = np.float64(grad_conics[i, 1])
            g_2 = np.float64(grad_conics[i, 2])
            is_moved = g_0 != 0.0 or g_1 != 0.0 or g_2 != 0.0 or grad_means_px[i, 0] != 0.0 or grad_means_px[i, 1] != 0.0
            if is_moved and z > near and z < far:
                length = _read_linear(kind, quaternions, scales, matrices, i, rotation, linear)
                inverse = 1.0 / z
                slope_x = min(max(x * inverse, limits[0]), limits[1])
                slope_y = min(max(y * inverse, limits[2]), limits[3])
                for c in range(3):
                    row_x[c] = fx * inverse * (view[0, c] - slope_x * view[2, c])
                    row_y[c] = fy * inverse * (view[1, c] - slope_y * view[2, c])
                xx, xy, yy, det = _covariance_px(kind, linear, row_x, row_y, low_pass, u, v)
                if det > 0.0 and xx > 0.0 and yy > 0.0 and det < 1e37:
                    # d(Q^-1): dL/dS = -Q G Q with G = [[g_0, g_1 / 2], [g_1 / 2, g_2]].
                    q_0 = yy / det
                    q_1 = -xy / det
                    q_2 = xx / det
                    h_00 = g_0 * q_0 + 0.5 * g_1 * q_1
                    h_01 = g_0 * q_1 + 0.5 * g_1 * q_2
                    h_10 = 0.5 * g_1 * q_0 + g_2 * q_1
                    h_11 = 0.5 * g_1 * q_1 + g_2 * q_2
                    grad_xx = -(q_0 * h_00 + q_1 * h_10)
                    grad_xy = -2.0 * (q_0 * h_01 + q_1 * h_11)
                    grad_yy = -(q_1 * h_01 + q_2 * h_11)
                    if kind == COVARIANCE:
                        for r in range(3):
                            grad_row_x[r] = 2.0 * grad_xx * u[r] + grad_xy * v[r]
                            grad_row_y[r] = 2.0 * grad_yy * v[r] + grad_xy * u[r]
                            for c in range(3):
                                both = 0.5 * (row_x[r] * row_y[c] + row_y[r] * row_x[c])
                                grad_linear[r, c] = grad_xx * row_x[r] * row_x[c] + grad_xy * both + grad_yy * row_y[r] * row_y[c]
                    else:
                        for c in range(3):
                            grad_u[c] = 2.0 * grad_xx * u[c] + grad_xy * v[c]
                            grad_v[c] = 2.0 * grad_yy * v[c] + grad_xy * u[c]
                        for r in range(3):
                            grad_row_x[r] = linear[r, 0] * grad_u[0] + linear[r, 1] * grad_u[1] + linear[r, 2] * grad_u[2]
                            grad_row_y[r] = linear[r, 0] * grad_v[0] + linear[r, 1] * grad_v[1] + linear[r, 2] * grad_v[2]
                            for c in range(3):
                                grad_linear[r, c] = row_x[r] * grad_u[c] + row_y[r] * grad_v[c]
                    # Rows of the Jacobian times the rotation: row_x = fx/z (R_0 - slope_x R_2).
                    scale_x = fx * inverse
                    scale_y = fy * inverse
                    along_x = 0.0
                    along_y = 0.0
                    grad_slope_x = 0.0
                    grad_slope_y = 0.0
                    for c in range(3):
                        along_x += grad_row_x[c] * row_x[c]
                        along_y += grad_row_y[c] * row_y[c]
                        grad_slope_x -= grad_row_x[c] * scale_x * view[2, c]
                        grad_slope_y -= grad_row_y[c] * scale_y * view[2, c]
                        pose[0, c] += scale_x * grad_row_x[c]
                        pose[1, c] += scale_y * grad_row_y[c]
                        pose[2, c] -= scale_x * slope_x * grad_row_x[c] + scale_y * slope_y * grad_row_y[c]
                    grad_p[2] -= (along_x + along_y) * inverse
                    slope = x * inverse
                    if slope > limits[0] and slope < limits[1]:
                        grad_p[0] += grad_slope_x * inverse
                        grad_p[2] -= grad_slope_x * slope * inverse
                    slope = y * inverse
                    if slope > limits[2] and slope < limits[3]:
                        grad_p[1] += grad_slope_y * inverse
                        grad_p[2] -= grad_slope_y * slope * inverse
                    grad_p[0] += grad_means_px[i, 0] * scale_x
                    grad_p[1] += grad_means_px[i, 1] * scale_y
                    grad_p[2] -= (grad_means_px[i, 0] * scale_x * x + grad_means_px[i, 1] * scale_y * y) * inverse
            for r in range(3):
                pose[r, 3] += grad_p[r]
                for c in range(3):
                    pose[r, c] += grad_p[r] * m[c]
                grad_means[i, r] = view[0, r] * grad_p[0] + view[1, r] * grad_p[1] + view[2, r] * grad_p[2]
            if kind == QUATERNION:
                _quaternion_gradient(quaternions, scales, i, length, rotation, grad_linear, grad_quaternions, grad_scales)
            else:
                for r in range(3):
                    for c in range(3):
                        grad_matrices[i, 3 * r + c] = grad_linear[r, c]
        for r in range(3):
            for c in range(4):
                grad_view[chunk, r, c] = pose[r, c]


@numba.njit(cache=True, error_model="numpy")
def _quaternion_gradient(quaternions, scales, i, length, rotation, grad_linear, grad_quaternions, grad_scales):  # pragma: no cover - compiled
    """From the gradient of L = R(q / |q|) diag(s) to those of q and s. Overwrites ``grad_linear`` with the gradient of R."""
    for c in range(3):
        total = 0.0
        for r in range(3):
            if grad_linear[r, c] != 0.0:
                total += grad_linear[r, c] * rotation[r, c]
            grad_linear[r, c] *= scales[i, c]
        grad_scales[i, c] = total
    g = grad_linear
    inverse = 1.0 / length if length > 0.0 else 0.0
    w = quaternions[i, 0] * inverse
    x = quaternions[i, 1] * inverse
    y = quaternions[i, 2] * inverse
    z = quaternions[i, 3] * inverse
    g_w = 2.0 * (x * (g[2, 1] - g[1, 2]) + y * (g[0, 2] - g[2, 0]) + z * (g[1, 0] - g[0, 1]))
    g_x = 2.0 * (w * (g[2, 1] - g[1, 2]) + y * (g[0, 1] + g[1, 0]) + z * (g[0, 2] + g[2, 0]) - 2.0 * x * (g[1, 1] + g[2, 2]))
    g_y = 2.0 * (w * (g[0, 2] - g[2, 0]) + x * (g[0, 1] + g[1, 0]) + z * (g[1, 2] + g[2, 1]) - 2.0 * y * (g[0, 0] + g[2, 2]))
    g_z = 2.0 * (w * (g[1, 0] - g[0, 1]) + x * (g[0, 2] + g[2, 0]) + y * (g[1, 2] + g[2, 1]) - 2.0 * z * (g[0, 0] + g[1, 1]))
    along = w * g_w + x * g_x + y * g_y + z * g_z
    grad_quaternions[i, 0] = (g_w - w * along) * inverse
    grad_quaternions[i, 1] = (g_x - x * along) * inverse
    grad_quaternions[i, 2] = (g_y - y * along) * inverse
    grad_quaternions[i, 3] = (g_z - z * along) * inverse
