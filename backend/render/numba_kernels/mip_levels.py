"""The compiled inner loops of mip levels (CPU, numba): making them, and choosing among them; see ``render/textures.py``."""

from __future__ import annotations

import math

import numba
import numpy as np

# A fixed number of tasks: results must not depend on the number of threads.
_NUM_CHUNKS = 32


@numba.njit(cache=True, parallel=True)
def halve(source, weights_down, weights_across, out):  # pragma: no cover - compiled
    """One mip level from the one before: (B, h, w, C) to (B, h2, w2, C); ``weights`` (h2, 3) and (w2, 3) of texels 2i, 2i + 1, 2i + 2."""
    batches, height, width, channels = source.shape
    rows, columns = out.shape[1], out.shape[2]
    quarter = source.dtype.type(0.25)
    for task in numba.prange(batches * rows):
        batch = task // rows
        row = task % rows
        if height == 2 * rows and width == 2 * columns:
            # Even sizes, the usual case: plain means of four texels.
            upper = source[batch, 2 * row]
            lower = source[batch, 2 * row + 1]
            mean = out[batch, row]
            for column in range(columns):
                left = np.uintp(2 * column)
                right = np.uintp(2 * column + 1)
                for number in range(channels):
                    channel = np.uintp(number)
                    mean[np.uintp(column), channel] = quarter * ((upper[left, channel] + upper[right, channel]) + (lower[left, channel] + lower[right, channel]))
            continue
        for column in range(columns):
            for channel in range(channels):
                total = 0.0
                for down in range(3):
                    y = 2 * row + down
                    if y >= height or weights_down[row, down] == 0.0:
                        continue
                    part = 0.0
                    for across in range(3):
                        x = 2 * column + across
                        if x < width:
                            part += weights_across[column, across] * source[batch, y, x, channel]
                    total += weights_down[row, down] * part
                out[batch, row, column, channel] = total


@numba.njit(cache=True, parallel=True)
def halve_backward(gradient, weights_down, weights_across, out):  # pragma: no cover - compiled
    """Adds to ``out`` (B, h, w, C) what ``gradient`` (B, h2, w2, C) of its half owes to it."""
    batches, height, width, channels = out.shape
    rows, columns = gradient.shape[1], gradient.shape[2]
    quarter = gradient.dtype.type(0.25)
    for task in numba.prange(batches * height):
        batch = task // height
        y = task % height
        if height == 2 * rows and width == 2 * columns:
            coarse = gradient[batch, y // 2]
            fine = out[batch, y]
            for column in range(columns):
                for number in range(channels):
                    channel = np.uintp(number)
                    part = quarter * coarse[np.uintp(column), channel]
                    fine[np.uintp(2 * column), channel] += part
                    fine[np.uintp(2 * column + 1), channel] += part
            continue
        for x in range(width):
            for down in range(2):
                # Texel y is the tap y - 2i of row i: of i = y // 2, and the third tap of the row before when y is even.
                row = y // 2 - down
                tap_y = y - 2 * row
                if row < 0 or row >= rows or tap_y > 2 or weights_down[row, tap_y] == 0.0:
                    continue
                for across in range(2):
                    column = x // 2 - across
                    tap_x = x - 2 * column
                    if column < 0 or column >= columns or tap_x > 2:
                        continue
                    weight = weights_down[row, tap_y] * weights_across[column, tap_x]
                    if weight == 0.0:
                        continue
                    for channel in range(channels):
                        out[batch, y, x, channel] += weight * gradient[batch, row, column, channel]


@numba.njit(cache=True, parallel=True)
def uv_derivatives(triangle_ids, depth, width, homogeneous, triangles, uv, uv_triangles, out):  # pragma: no cover - compiled
    """(B, P, 4) derivatives of uv by the pixel's x and y: u by x, u by y, v by x, v by y; 0 on the background.

    With e_i = h_j x h_k the weight of corner i is (e_i . p) / s, s = sum_i e_i . p = det / z, so the derivative of u is
    z / det * sum_i e_i (u_i - u). ``depth`` is z.
    """
    batches, pixels = triangle_ids.shape
    num_faces = triangles.shape[0]
    table = np.zeros((homogeneous.shape[0], num_faces, 8))
    for task in numba.prange(homogeneous.shape[0] * num_faces):
        batch = task // num_faces
        face = task % num_faces
        h = np.empty((3, 3))
        for corner in range(3):
            for axis in range(3):
                h[corner, axis] = homogeneous[batch, triangles[face, corner], axis]
        determinant = (
            h[0, 0] * (h[1, 1] * h[2, 2] - h[1, 2] * h[2, 1]) + h[0, 1] * (h[1, 2] * h[2, 0] - h[1, 0] * h[2, 2]) + h[0, 2] * (h[1, 0] * h[2, 1] - h[1, 1] * h[2, 0])
        )
        if determinant == 0.0:
            continue
        for corner in range(3):
            j = (corner + 1) % 3
            k = (corner + 2) % 3
            e_x = (h[j, 1] * h[k, 2] - h[j, 2] * h[k, 1]) / determinant
            e_y = (h[j, 2] * h[k, 0] - h[j, 0] * h[k, 2]) / determinant
            u = np.float64(uv[uv_triangles[face, corner], 0]) - uv[uv_triangles[face, 0], 0]
            v = np.float64(uv[uv_triangles[face, corner], 1]) - uv[uv_triangles[face, 0], 1]
            table[batch, face, 0] += e_x * u
            table[batch, face, 1] += e_y * u
            table[batch, face, 2] += e_x * v
            table[batch, face, 3] += e_y * v
            table[batch, face, 4] += e_x
            table[batch, face, 5] += e_y
            e_1 = (h[j, 0] * h[k, 1] - h[j, 1] * h[k, 0]) / determinant
            table[batch, face, 6] += e_1 * u
            table[batch, face, 7] += e_1 * v
    for task in numba.prange(batches * _NUM_CHUNKS):
        batch = task // _NUM_CHUNKS
        chunk = task % _NUM_CHUNKS
        for pixel in range(chunk * pixels // _NUM_CHUNKS, (chunk + 1) * pixels // _NUM_CHUNKS):
            face = triangle_ids[batch, pixel]
            if face < 0:
                for c in range(4):
                    out[batch, pixel, c] = 0.0
                continue
            row = table[batch, face]
            x = pixel % width + 0.5
            y = pixel // width + 0.5
            z = depth[batch, pixel]
            u = z * (row[0] * x + row[1] * y + row[6])
            v = z * (row[2] * x + row[3] * y + row[7])
            out[batch, pixel, 0] = z * (row[0] - row[4] * u)
            out[batch, pixel, 1] = z * (row[1] - row[5] * u)
            out[batch, pixel, 2] = z * (row[2] - row[4] * v)
            out[batch, pixel, 3] = z * (row[3] - row[5] * v)


@numba.njit(cache=True, parallel=True)
def mip_levels(derivatives, height, width, most, out):  # pragma: no cover - compiled
    """(N,) levels from (N, 4) derivatives: log2 of the longer side of the pixel's footprint in texels, in [0, most]."""
    total = len(out)
    for chunk in numba.prange(_NUM_CHUNKS):
        for item in range(chunk * total // _NUM_CHUNKS, (chunk + 1) * total // _NUM_CHUNKS):
            x = (derivatives[item, 0] * width) ** 2 + (derivatives[item, 2] * height) ** 2
            y = (derivatives[item, 1] * width) ** 2 + (derivatives[item, 3] * height) ** 2
            longer = max(x, y)
            # x - x is NaN for NaN and infinity, which must reach the check of the lookup.
            if not (x - x == 0.0 and y - y == 0.0):
                out[item] = math.nan
            else:
                out[item] = min(0.5 * math.log2(longer), most) if longer > 1.0 else 0.0
