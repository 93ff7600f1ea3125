"""The compiled inner loops of the mesh rasteriser (CPU, numba).

Homogeneous rasterisation (Olano and Greer, "Triangle scan conversion using 2D homogeneous coordinates", 1997): with
h_i = K v_i the ray of pixel (x, y) meets the triangle's plane at barycentric weights b_i proportional to
(h_j x h_k) . (x, y, 1). No division by depth happens before the test, so triangles that cross the plane z = 0 need no
special case: a pixel is covered when all three weights are non-negative and the depth is beyond the near plane, which is
exactly geometric clipping. The edge function of a shared edge is the exact negative in both triangles, so meshes have no cracks.
"""

from __future__ import annotations

import math

import numba
import numpy as np


@numba.njit(cache=True, parallel=True)
def prepare_triangles(homogeneous, triangles, near, height, width, bounds, coefficients):  # pragma: no cover - compiled
    """Pixel bounds and edge functions of every triangle.

    Args:
        homogeneous: (V, 3) float64, K times camera-frame vertices. triangles: (F, 3) int32.
        bounds: (F, 4) int32, out: first and last row, first and last column; empty (0, -1, 0, -1) when nothing can be seen.
        coefficients: (F, 10) float64, out: three edge functions (x, y, 1 factors), signed so that inside is positive,
            and the determinant, positive.
    """
    for face in numba.prange(triangles.shape[0]):
        bounds[face, 0] = 0
        bounds[face, 1] = -1
        bounds[face, 2] = 0
        bounds[face, 3] = -1
        low_x = math.inf
        low_y = math.inf
        high_x = -math.inf
        high_y = -math.inf
        for corner in range(3):
            a = triangles[face, corner]
            b = triangles[face, (corner + 1) % 3]
            az = homogeneous[a, 2]
            bz = homogeneous[b, 2]
            if az >= near:
                x = homogeneous[a, 0] / az
                y = homogeneous[a, 1] / az
                low_x = min(low_x, x)
                high_x = max(high_x, x)
                low_y = min(low_y, y)
                high_y = max(high_y, y)
            if (az >= near) != (bz >= near):
                t = (near - az) / (bz - az)
                x = (homogeneous[a, 0] + t * (homogeneous[b, 0] - homogeneous[a, 0])) / near
                y = (homogeneous[a, 1] + t * (homogeneous[b, 1] - homogeneous[a, 1])) / near
                # One part in 1e9 of slack: the crossing is rounded, the coverage test below it is the judge.
                slack = 1e-9 * (1.0 + abs(x) + abs(y))
                low_x = min(low_x, x - slack)
                high_x = max(high_x, x + slack)
                low_y = min(low_y, y - slack)
                high_y = max(high_y, y + slack)
        if low_x > high_x or high_x < 0.5 or high_y < 0.5 or low_x > width - 0.5 or low_y > height - 0.5:
            continue
        i = triangles[face, 0]
        j = triangles[face, 1]
        k = triangles[face, 2]
        for corner in range(3):
            p = j if corner == 0 else (k if corner == 1 else i)
            q = k if corner == 0 else (i if corner == 1 else j)
            coefficients[face, 3 * corner] = homogeneous[p, 1] * homogeneous[q, 2] - homogeneous[p, 2] * homogeneous[q, 1]
            coefficients[face, 3 * corner + 1] = homogeneous[p, 2] * homogeneous[q, 0] - homogeneous[p, 0] * homogeneous[q, 2]
            coefficients[face, 3 * corner + 2] = homogeneous[p, 0] * homogeneous[q, 1] - homogeneous[p, 1] * homogeneous[q, 0]
        determinant = coefficients[face, 0] * homogeneous[i, 0] + coefficients[face, 1] * homogeneous[i, 1] + coefficients[face, 2] * homogeneous[i, 2]
        if determinant == 0.0:
            continue
        if determinant < 0.0:
            for c in range(9):
                coefficients[face, c] = -coefficients[face, c]
            determinant = -determinant
        coefficients[face, 9] = determinant
        bounds[face, 0] = int(max(0.0, math.ceil(low_y - 0.5 - 1e-9)))
        bounds[face, 1] = int(min(height - 1.0, math.floor(high_y - 0.5 + 1e-9)))
        bounds[face, 2] = int(max(0.0, math.ceil(low_x - 0.5 - 1e-9)))
        bounds[face, 3] = int(min(width - 1.0, math.floor(high_x - 0.5 + 1e-9)))


@numba.njit(cache=True, parallel=True)
def fill_bands(bounds, coefficients, near, num_bands, triangle_ids, depth, barycentric):  # pragma: no cover - compiled
    """Z-buffers all triangles, each thread in its own band of rows; equal depth keeps the lowest triangle number.

    Every pixel sees the triangles in the same order whatever the number of bands or threads, so results do not depend on them.
    """
    height, width = triangle_ids.shape
    for band in numba.prange(num_bands):
        first_row = band * height // num_bands
        last_row = (band + 1) * height // num_bands - 1
        nearest = np.full((last_row - first_row + 1, width), math.inf)
        for face in range(bounds.shape[0]):
            top = max(bounds[face, 0], first_row)
            bottom = min(bounds[face, 1], last_row)
            if top > bottom:
                continue
            a_x, a_y, a_1 = coefficients[face, 0], coefficients[face, 1], coefficients[face, 2]
            b_x, b_y, b_1 = coefficients[face, 3], coefficients[face, 4], coefficients[face, 5]
            c_x, c_y, c_1 = coefficients[face, 6], coefficients[face, 7], coefficients[face, 8]
            determinant = coefficients[face, 9]
            for row in range(top, bottom + 1):
                y = row + 0.5
                for column in range(bounds[face, 2], bounds[face, 3] + 1):
                    x = column + 0.5
                    a = a_x * x + a_y * y + a_1
                    b = b_x * x + b_y * y + b_1
                    c = c_x * x + c_y * y + c_1
                    if a < 0.0 or b < 0.0 or c < 0.0:
                        continue
                    total = a + b + c
                    if total <= 0.0:
                        continue
                    z = determinant / total
                    if z < near or z >= nearest[row - first_row, column]:
                        continue
                    nearest[row - first_row, column] = z
                    triangle_ids[row, column] = face
                    depth[row, column] = z
                    barycentric[row, column, 0] = a / total
                    barycentric[row, column, 1] = b / total
                    barycentric[row, column, 2] = c / total
