"""Texture lookup, light and averaging of the samples of a pixel, in one pass. numba; not differentiable."""

from __future__ import annotations

import math

import numba
import numpy as np

from ...texture.light import MIN_SHADE

_Y0, _Y1, _Y2 = (np.float32(value) for value in (0.5 * math.sqrt(1 / math.pi), math.sqrt(3 / (4 * math.pi)), 0.5 * math.sqrt(15 / math.pi)))
_Y20, _Y22 = np.float32(0.25 * math.sqrt(5 / math.pi)), np.float32(0.25 * math.sqrt(15 / math.pi))
_DARKEST = np.float32(MIN_SHADE)


@numba.njit(cache=True, parallel=True, fastmath=False)
def shade_lit(triangle_ids, barycentric, triangles, corner_uv, normals, texture, sh, tint, factor, colour, alpha):  # type: ignore[no-untyped-def]
    """Fills premultiplied colour and coverage; a sample shows albedo times ``ClipLight.shade`` of its interpolated normal.

    Args:
        triangle_ids: (H f, W f) int32, -1 = background. barycentric: (H f, W f, 3) float32. triangles: (F, 3) int32. corner_uv: (F, 3, 2) float32, v up.
        normals: (V, 3) float32 in the frame of the light. texture: (h, w, 3) float32 linear albedo, bilinear lookup as ``render.meshes.sample_texture``.
        sh: (9,) float32. tint: (3,) float32. factor: f, samples per pixel and axis. colour: (H, W, 3) float32 and alpha: (H, W) float32, written.
    """
    height, width = alpha.shape
    rows, cols = texture.shape[:2]
    share = np.float32(1.0 / (factor * factor))
    for y in numba.prange(height):
        for x in range(width):
            red = green = blue = covered = np.float32(0)
            for sy in range(y * factor, (y + 1) * factor):
                for sx in range(x * factor, (x + 1) * factor):
                    triangle = triangle_ids[sy, sx]
                    if triangle < 0:
                        continue
                    u = v = nx = ny = nz = np.float32(0)
                    for k in range(3):
                        weight = barycentric[sy, sx, k]
                        u += weight * corner_uv[triangle, k, 0]
                        v += weight * corner_uv[triangle, k, 1]
                        vertex = triangles[triangle, k]
                        nx += weight * normals[vertex, 0]
                        ny += weight * normals[vertex, 1]
                        nz += weight * normals[vertex, 2]
                    length = np.float32(np.sqrt(nx * nx + ny * ny + nz * nz))
                    if length > 0:
                        nx, ny, nz = nx / length, ny / length, nz / length
                    grey = sh[0] * _Y0 + _Y1 * (sh[1] * ny + sh[2] * nz + sh[3] * nx)
                    grey += _Y2 * (sh[4] * nx * ny + sh[5] * ny * nz + sh[7] * nx * nz)
                    grey += _Y20 * sh[6] * (np.float32(3) * nz * nz - np.float32(1)) + _Y22 * sh[8] * (nx * nx - ny * ny)
                    grey = max(grey, _DARKEST)
                    tx = min(max(u * cols - np.float32(0.5), np.float32(0)), np.float32(cols - 1))
                    ty = min(max((1 - v) * rows - np.float32(0.5), np.float32(0)), np.float32(rows - 1))
                    left, top = int(tx), int(ty)
                    right, bottom = min(left + 1, cols - 1), min(top + 1, rows - 1)
                    fx, fy = np.float32(tx - left), np.float32(ty - top)
                    a, b, c, d = (1 - fx) * (1 - fy) * grey, fx * (1 - fy) * grey, (1 - fx) * fy * grey, fx * fy * grey
                    red += a * texture[top, left, 0] + b * texture[top, right, 0] + c * texture[bottom, left, 0] + d * texture[bottom, right, 0]
                    green += a * texture[top, left, 1] + b * texture[top, right, 1] + c * texture[bottom, left, 1] + d * texture[bottom, right, 1]
                    blue += a * texture[top, left, 2] + b * texture[top, right, 2] + c * texture[bottom, left, 2] + d * texture[bottom, right, 2]
                    covered += np.float32(1)
            colour[y, x, 0], colour[y, x, 1], colour[y, x, 2] = red * share * tint[0], green * share * tint[1], blue * share * tint[2]
            alpha[y, x] = covered * share
