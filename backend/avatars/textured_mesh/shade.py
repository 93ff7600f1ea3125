"""Texture lookup and averaging of the samples of a pixel, in one pass. numba; not differentiable."""

from __future__ import annotations

import numba
import numpy as np


@numba.njit(cache=True, parallel=True, fastmath=False)
def shade(triangle_ids, barycentric, corner_uv, texture, factor, colour, alpha):  # type: ignore[no-untyped-def]
    """Fills premultiplied colour and coverage.

    Args:
        triangle_ids: (H f, W f) int32, -1 = background. barycentric: (H f, W f, 3) float32. corner_uv: (F, 3, 2) float32, v up.
        texture: (h, w, 3) float32 linear, bilinear lookup as ``render.meshes.sample_texture``. factor: f, samples per pixel and axis.
        colour: (H, W, 3) float32 and alpha: (H, W) float32, written.
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
                    u = v = np.float32(0)
                    for k in range(3):
                        u += barycentric[sy, sx, k] * corner_uv[triangle, k, 0]
                        v += barycentric[sy, sx, k] * corner_uv[triangle, k, 1]
                    tx = min(max(u * cols - np.float32(0.5), np.float32(0)), np.float32(cols - 1))
                    ty = min(max((1 - v) * rows - np.float32(0.5), np.float32(0)), np.float32(rows - 1))
                    left, top = int(tx), int(ty)
                    right, bottom = min(left + 1, cols - 1), min(top + 1, rows - 1)
                    fx, fy = np.float32(tx - left), np.float32(ty - top)
                    a, b, c, d = (1 - fx) * (1 - fy), fx * (1 - fy), (1 - fx) * fy, fx * fy
                    red += a * texture[top, left, 0] + b * texture[top, right, 0] + c * texture[bottom, left, 0] + d * texture[bottom, right, 0]
                    green += a * texture[top, left, 1] + b * texture[top, right, 1] + c * texture[bottom, left, 1] + d * texture[bottom, right, 1]
                    blue += a * texture[top, left, 2] + b * texture[top, right, 2] + c * texture[bottom, left, 2] + d * texture[bottom, right, 2]
                    covered += np.float32(1)
            colour[y, x, 0], colour[y, x, 1], colour[y, x, 2] = red * share, green * share, blue * share
            alpha[y, x] = covered * share
