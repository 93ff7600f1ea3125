"""Looks up every texel in one frame and adds what it sees to running sums. numba, deterministic: texels do not share sums."""

from __future__ import annotations

import numba
import numpy as np

DEPTH_TOLERANCE_M = 0.002
"""A texel counts as visible when no surface lies further than this in front of it (spec dynamic_texture.md 13.6)."""
MIN_FACING = 0.15
"""Surfaces seen at a more grazing angle (cosine) are skipped: half a pixel there is a centimetre."""
OUTLIER = 0.15
"""Second pass: samples further than this from the first mean, in square-root light, are dropped (gloss, wrong surface)."""


@numba.njit(cache=True, parallel=True, fastmath=False)
def add_frame(
    corners, barycentric, allowed_bits, vertices_cam_m, normals_cam, px_from_cam, image, origin_px, linear_of_code, depth_m, tolerance_m, allowed,
    allowed_from_px, weight, gain, reference, outlier, sums, weights,
):  # type: ignore[no-untyped-def]
    """Adds one frame.

    Args:
        corners: (n, 3) int32, vertices of each texel's triangle. barycentric: (n, 3) float32.
        allowed_bits: (n,) uint8, a texel is looked up only where ``allowed`` has one of its bits.
        vertices_cam_m, normals_cam: (V, 3) float32, camera frame; normals need not be of length 1.
        px_from_cam: (3, 3) float64. image: (h, w, 3) uint8 sRGB cut-out whose top left pixel is ``origin_px`` (x, y) of the frame.
        linear_of_code: (256,) float32. depth_m: (h, w) float32, the mesh's depth at the same pixels.
        allowed: (hc, wc) uint8 bits. allowed_from_px: (2, 3) float64, affine, frame pixels to its pixels.
        weight: of the frame. gain: (3,) float32, multiplies the frame's linear colour.
        reference: (n, 3) float32 linear, or (0, 3) for the first pass. outlier: distance from it that is still accepted.
        sums: (n, 3) float64 and weights: (n,) float64, changed in place.
    """
    num = corners.shape[0]
    height, width = depth_m.shape
    crop_height, crop_width = allowed.shape
    is_second = reference.shape[0] == num
    for i in numba.prange(num):
        a, b, c = corners[i, 0], corners[i, 1], corners[i, 2]
        u, v, w = barycentric[i, 0], barycentric[i, 1], barycentric[i, 2]
        x = u * vertices_cam_m[a, 0] + v * vertices_cam_m[b, 0] + w * vertices_cam_m[c, 0]
        y = u * vertices_cam_m[a, 1] + v * vertices_cam_m[b, 1] + w * vertices_cam_m[c, 1]
        z = u * vertices_cam_m[a, 2] + v * vertices_cam_m[b, 2] + w * vertices_cam_m[c, 2]
        if z <= 1e-3:
            continue
        nx = u * normals_cam[a, 0] + v * normals_cam[b, 0] + w * normals_cam[c, 0]
        ny = u * normals_cam[a, 1] + v * normals_cam[b, 1] + w * normals_cam[c, 1]
        nz = u * normals_cam[a, 2] + v * normals_cam[b, 2] + w * normals_cam[c, 2]
        length = np.sqrt((nx * nx + ny * ny + nz * nz) * (x * x + y * y + z * z))
        if length <= 0.0:
            continue
        facing = -(nx * x + ny * y + nz * z) / length
        if facing < MIN_FACING:
            continue
        px = (px_from_cam[0, 0] * x + px_from_cam[0, 1] * y) / z + px_from_cam[0, 2]
        py = px_from_cam[1, 1] * y / z + px_from_cam[1, 2]
        sx, sy = px - origin_px[0], py - origin_px[1]
        if not (0.5 <= sx < width - 0.5 and 0.5 <= sy < height - 0.5):
            continue
        if z > depth_m[int(sy), int(sx)] + tolerance_m:
            continue
        cx = int(np.floor(allowed_from_px[0, 0] * px + allowed_from_px[0, 1] * py + allowed_from_px[0, 2]))
        cy = int(np.floor(allowed_from_px[1, 0] * px + allowed_from_px[1, 1] * py + allowed_from_px[1, 2]))
        if not (0 <= cx < crop_width and 0 <= cy < crop_height) or allowed[cy, cx] & allowed_bits[i] == 0:
            continue
        gx, gy = sx - 0.5, sy - 0.5
        left, top = int(gx), int(gy)
        fx, fy = np.float32(gx - left), np.float32(gy - top)
        right, bottom = min(left + 1, width - 1), min(top + 1, height - 1)
        red = green = blue = np.float32(0)
        for k in range(3):
            upper = linear_of_code[image[top, left, k]] * (1 - fx) + linear_of_code[image[top, right, k]] * fx
            lower = linear_of_code[image[bottom, left, k]] * (1 - fx) + linear_of_code[image[bottom, right, k]] * fx
            value = (upper * (1 - fy) + lower * fy) * gain[k]
            if k == 0:
                red = value
            elif k == 1:
                green = value
            else:
                blue = value
        if is_second:
            far = max(
                abs(np.sqrt(red) - np.sqrt(reference[i, 0])), abs(np.sqrt(green) - np.sqrt(reference[i, 1])), abs(np.sqrt(blue) - np.sqrt(reference[i, 2]))
            )
            if far > outlier:
                continue
        share = weight * facing * facing
        sums[i, 0] += share * red
        sums[i, 1] += share * green
        sums[i, 2] += share * blue
        weights[i] += share
