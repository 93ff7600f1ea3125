"""The fast renderer's compiled per-pixel loops. Every pixel is computed alone, so threads change nothing."""

from __future__ import annotations

import math

import numba
import numpy as np

from .noise import gradient_noise

SKIN, WET, CLOTH = 0, 1, 2
"""Kinds of surface: skin takes the texture and soft gloss, wet things sharp gloss, cloth one colour and none."""


@numba.njit(cache=True)
def _texel(texture, u, v, channel):  # pragma: no cover - compiled
    height, width = texture.shape[0], texture.shape[1]
    x = min(max(u * width - 0.5, 0.0), width - 1.0)
    y = min(max((1.0 - v) * height - 0.5, 0.0), height - 1.0)
    left, top = int(x), int(y)
    right, bottom = min(left + 1, width - 1), min(top + 1, height - 1)
    fx, fy = x - left, y - top
    upper = texture[top, left, channel] * (1 - fx) + texture[top, right, channel] * fx
    lower = texture[bottom, left, channel] * (1 - fx) + texture[bottom, right, channel] * fx
    return upper * (1 - fy) + lower * fy


@numba.njit(cache=True)
def _shade(sh, channel, x, y, z):  # pragma: no cover - compiled
    # Same basis as render.shading.sh_basis, written out.
    value = 0.28209479 * sh[0, channel] + 0.48860251 * (y * sh[1, channel] + z * sh[2, channel] + x * sh[3, channel])
    value += 1.09254843 * (x * y * sh[4, channel] + y * z * sh[5, channel] + x * z * sh[7, channel])
    value += 0.31539157 * (3 * z * z - 1) * sh[6, channel] + 0.54627422 * (x * x - y * y) * sh[8, channel]
    return max(value, 0.0)


@numba.njit(cache=True)
def area_normals(vertices, triangles):  # pragma: no cover - compiled
    """(V, 3) float32 unit normals weighted by triangle area."""
    normals = np.zeros(vertices.shape, np.float64)
    for face in range(triangles.shape[0]):
        a, b, c = triangles[face, 0], triangles[face, 1], triangles[face, 2]
        ux, uy, uz = vertices[b, 0] - vertices[a, 0], vertices[b, 1] - vertices[a, 1], vertices[b, 2] - vertices[a, 2]
        vx, vy, vz = vertices[c, 0] - vertices[a, 0], vertices[c, 1] - vertices[a, 1], vertices[c, 2] - vertices[a, 2]
        for corner in range(3):
            vertex = triangles[face, corner]
            normals[vertex, 0] += uy * vz - uz * vy
            normals[vertex, 1] += uz * vx - ux * vz
            normals[vertex, 2] += ux * vy - uy * vx
    out = np.empty(vertices.shape, np.float32)
    for vertex in range(vertices.shape[0]):
        length = math.sqrt(normals[vertex, 0] ** 2 + normals[vertex, 1] ** 2 + normals[vertex, 2] ** 2) + 1e-20
        for axis in range(3):
            out[vertex, axis] = normals[vertex, axis] / length
    return out


@numba.njit(cache=True, parallel=True)
def shade_solid(ids, weights, triangles, attributes, uv_corners, kinds, texture, sh, lamp_directions, lamp_colours, eye, cloth, gloss, picture):  # pragma: no cover
    """Paints every covered pixel of ``picture`` (H, W, 3), linear.

    attributes: (V, 8) world position, normal, openness, lips. uv_corners: (F, 3, 2). kinds: (F,). cloth: (3,) colour.
    gloss: (3, 2) strength and exponent on skin, lips and wet surfaces.
    """
    height, width = ids.shape
    for row in numba.prange(height):
        value = np.empty(8)
        for column in range(width):
            face = ids[row, column]
            if face < 0:
                continue
            a, b, c = triangles[face, 0], triangles[face, 1], triangles[face, 2]
            wa, wb, wc = weights[row, column, 0], weights[row, column, 1], weights[row, column, 2]
            for k in range(8):
                value[k] = wa * attributes[a, k] + wb * attributes[b, k] + wc * attributes[c, k]
            length = math.sqrt(value[3] ** 2 + value[4] ** 2 + value[5] ** 2) + 1e-12
            nx, ny, nz = value[3] / length, value[4] / length, value[5] / length
            u = wa * uv_corners[face, 0, 0] + wb * uv_corners[face, 1, 0] + wc * uv_corners[face, 2, 0]
            v = wa * uv_corners[face, 0, 1] + wb * uv_corners[face, 1, 1] + wc * uv_corners[face, 2, 1]
            openness = min(max(value[6], 0.02), 1.0)
            vx, vy, vz = eye[0] - value[0], eye[1] - value[1], eye[2] - value[2]
            length = math.sqrt(vx * vx + vy * vy + vz * vz) + 1e-12
            vx, vy, vz = vx / length, vy / length, vz / length
            kind = kinds[face]
            highlight_0, highlight_1, highlight_2 = 0.0, 0.0, 0.0
            if kind != CLOTH:
                lips = value[7] if kind == SKIN else 0.0
                strength = gloss[2, 0] if kind == WET else gloss[0, 0] + lips * (gloss[1, 0] - gloss[0, 0])
                exponent = gloss[2, 1] if kind == WET else gloss[0, 1] + lips * (gloss[1, 1] - gloss[0, 1])
                for lamp in range(lamp_directions.shape[0]):
                    lx, ly, lz = lamp_directions[lamp, 0], lamp_directions[lamp, 1], lamp_directions[lamp, 2]
                    if nx * lx + ny * ly + nz * lz <= 0:
                        continue
                    hx, hy, hz = vx + lx, vy + ly, vz + lz
                    length = math.sqrt(hx * hx + hy * hy + hz * hz) + 1e-12
                    amount = strength * max((nx * hx + ny * hy + nz * hz) / length, 0.0) ** exponent * openness * openness
                    highlight_0 += amount * lamp_colours[lamp, 0]
                    highlight_1 += amount * lamp_colours[lamp, 1]
                    highlight_2 += amount * lamp_colours[lamp, 2]
            for channel in range(3):
                albedo = cloth[channel] if kind == CLOTH else _texel(texture, u, v, channel)
                # What lies deep sees little sky, and light that gets there has been reddened by skin.
                closed = openness**0.85 if channel == 0 else openness
                highlight = highlight_0 if channel == 0 else (highlight_1 if channel == 1 else highlight_2)
                picture[row, column, channel] = albedo * _shade(sh, channel, nx, ny, nz) * closed + highlight


@numba.njit(cache=True, parallel=True)
def blend_lashes(ids, weights, depth, scene_depth, uv_corners, texture, opacity, picture):  # pragma: no cover - compiled
    """Blends lash cards over what lies behind them."""
    height, width = ids.shape
    for row in numba.prange(height):
        for column in range(width):
            face = ids[row, column]
            if face < 0 or depth[row, column] >= scene_depth[row, column] + 0.0004:
                continue
            u, v = 0.0, 0.0
            for corner in range(3):
                u += weights[row, column, corner] * uv_corners[face, corner, 0]
                v += weights[row, column, corner] * uv_corners[face, corner, 1]
            alpha = _texel(opacity, u, v, 0)
            for channel in range(3):
                picture[row, column, channel] += alpha * (0.6 * _texel(texture, u, v, channel) - picture[row, column, channel])


@numba.njit(cache=True, parallel=True)
def blend_hair(ids, weights, depth, triangles, attributes, share, seed, colour, sh, key_direction, scene_depth, picture):  # pragma: no cover - compiled
    """One shell of hair: keeps the pixels where a hair reaches this height.

    attributes: (V, 7) normal, combed coordinates (features of size 1 across the hairs), depth into the hair in m.
    """
    height, width = ids.shape
    for row in numba.prange(height):
        value = np.empty(7)
        for column in range(width):
            face = ids[row, column]
            if face < 0 or depth[row, column] >= scene_depth[row, column]:
                continue
            a, b, c = triangles[face, 0], triangles[face, 1], triangles[face, 2]
            wa, wb, wc = weights[row, column, 0], weights[row, column, 1], weights[row, column, 2]
            for k in range(7):
                value[k] = wa * attributes[a, k] + wb * attributes[b, k] + wc * attributes[c, k]
            x, y, z = value[3], value[4], value[5]
            inside = value[6] + 0.004 * gradient_noise(x * 0.2, y * 0.8, z * 0.8, seed + 5)
            if inside < 0.001 + 0.002 * share:
                continue
            pattern = gradient_noise(x * 1.5, y * 0.10, z * 0.13, seed) + 0.5 * gradient_noise(x * 3.2, y * 0.2, z * 0.3, seed + 1)
            # Fewer hairs reach each higher shell; the hairline frays.
            if pattern < -0.9 + 0.75 * share:
                continue
            length = math.sqrt(value[0] ** 2 + value[1] ** 2 + value[2] ** 2) + 1e-12
            nx, ny, nz = value[0] / length, value[1] / length, value[2] / length
            bright = max(0.1, 0.55 + 0.5 * share + 0.55 * min(max(pattern, -0.7), 0.7))
            gloss = 0.05 * share * (1 + pattern) * max(nx * key_direction[0] + ny * key_direction[1] + nz * key_direction[2], 0.0) ** 12
            for channel in range(3):
                picture[row, column, channel] = colour[channel] * bright * _shade(sh, channel, nx, ny, nz) + gloss
            scene_depth[row, column] = depth[row, column]


@numba.njit(cache=True, parallel=True)
def finish(picture, supersample, grain, out):  # pragma: no cover - compiled
    """Box filter, sRGB curve, sensor noise (``grain``: (H, W, 3)), 8 bits."""
    height, width = out.shape[0], out.shape[1]
    share = 1.0 / (supersample * supersample)
    for row in numba.prange(height):
        for column in range(width):
            for channel in range(3):
                total = 0.0
                for down in range(supersample):
                    for across in range(supersample):
                        total += picture[row * supersample + down, column * supersample + across, channel]
                linear = min(max(total * share, 0.0), 1.0)
                encoded = 12.92 * linear if linear <= 0.0031308 else 1.055 * linear ** (1 / 2.4) - 0.055
                out[row, column, channel] = np.uint8(min(max(encoded + grain[row, column, channel], 0.0), 1.0) * 255 + 0.5)
