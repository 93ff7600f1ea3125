"""Looks every texel up in one frame: running sums over the frames, or one frame's samples. numba, deterministic: texels do not share sums."""

from __future__ import annotations

import numba
import numpy as np

DEPTH_TOLERANCE_M = 0.002
"""A texel counts as visible when no surface lies further than this in front of it (spec dynamic_texture.md 13.6)."""
MIN_FACING = 0.15
"""Surfaces seen at a more grazing angle (cosine) are skipped: half a pixel there is a centimetre."""
OUTLIER = 0.15
"""Second pass: samples further than this from the first mean, in square-root light, are dropped (gloss, wrong surface)."""
CLIPPED_CODE = 254
"""A pixel with a channel at or above this holds no colour: the sensor was full."""
NORMAL, CLIPPED, UNSEEN = 0, 1, 2


@numba.njit(cache=True, inline="always")
def look_up(
    i, corners, barycentric, allowed_bits, vertices_cam_m, normals_cam, px_from_cam, image, origin_px, linear_of_code, depth_m, tolerance_m, allowed, allowed_from_px,
):  # type: ignore[no-untyped-def]
    """One texel in one frame.

    Returns:
        NORMAL, CLIPPED or UNSEEN; cosine to the camera; linear red, green, blue; unit normal x, y, z, camera frame; x, y of the pixel of ``allowed``.
    """
    height, width = depth_m.shape
    crop_height, crop_width = allowed.shape
    zero, nothing = np.float32(0), np.float64(0)
    a, b, c = corners[i, 0], corners[i, 1], corners[i, 2]
    u, v, w = barycentric[i, 0], barycentric[i, 1], barycentric[i, 2]
    x = u * vertices_cam_m[a, 0] + v * vertices_cam_m[b, 0] + w * vertices_cam_m[c, 0]
    y = u * vertices_cam_m[a, 1] + v * vertices_cam_m[b, 1] + w * vertices_cam_m[c, 1]
    z = u * vertices_cam_m[a, 2] + v * vertices_cam_m[b, 2] + w * vertices_cam_m[c, 2]
    if z <= 1e-3:
        return UNSEEN, nothing, zero, zero, zero, nothing, nothing, nothing, 0, 0
    nx = u * normals_cam[a, 0] + v * normals_cam[b, 0] + w * normals_cam[c, 0]
    ny = u * normals_cam[a, 1] + v * normals_cam[b, 1] + w * normals_cam[c, 1]
    nz = u * normals_cam[a, 2] + v * normals_cam[b, 2] + w * normals_cam[c, 2]
    length = np.sqrt((nx * nx + ny * ny + nz * nz) * (x * x + y * y + z * z))
    if length <= 0.0:
        return UNSEEN, nothing, zero, zero, zero, nothing, nothing, nothing, 0, 0
    facing = -(nx * x + ny * y + nz * z) / length
    if facing < MIN_FACING:
        return UNSEEN, nothing, zero, zero, zero, nothing, nothing, nothing, 0, 0
    px = (px_from_cam[0, 0] * x + px_from_cam[0, 1] * y) / z + px_from_cam[0, 2]
    py = px_from_cam[1, 1] * y / z + px_from_cam[1, 2]
    sx, sy = px - origin_px[0], py - origin_px[1]
    if not (0.5 <= sx < width - 0.5 and 0.5 <= sy < height - 0.5):
        return UNSEEN, nothing, zero, zero, zero, nothing, nothing, nothing, 0, 0
    if z > depth_m[int(sy), int(sx)] + tolerance_m:
        return UNSEEN, nothing, zero, zero, zero, nothing, nothing, nothing, 0, 0
    cx = int(np.floor(allowed_from_px[0, 0] * px + allowed_from_px[0, 1] * py + allowed_from_px[0, 2]))
    cy = int(np.floor(allowed_from_px[1, 0] * px + allowed_from_px[1, 1] * py + allowed_from_px[1, 2]))
    if not (0 <= cx < crop_width and 0 <= cy < crop_height) or allowed[cy, cx] & allowed_bits[i] == 0:
        return UNSEEN, nothing, zero, zero, zero, nothing, nothing, nothing, 0, 0
    gx, gy = sx - 0.5, sy - 0.5
    left, top = int(gx), int(gy)
    fx, fy = np.float32(gx - left), np.float32(gy - top)
    right, bottom = min(left + 1, width - 1), min(top + 1, height - 1)
    red = green = blue = zero
    brightest = np.uint8(0)
    for k in range(3):
        upper = linear_of_code[image[top, left, k]] * (1 - fx) + linear_of_code[image[top, right, k]] * fx
        lower = linear_of_code[image[bottom, left, k]] * (1 - fx) + linear_of_code[image[bottom, right, k]] * fx
        value = upper * (1 - fy) + lower * fy
        if k == 0:
            red = value
        elif k == 1:
            green = value
        else:
            blue = value
        brightest = max(brightest, image[top, left, k], image[top, right, k], image[bottom, left, k], image[bottom, right, k])
    size = np.sqrt(nx * nx + ny * ny + nz * nz)
    kind = CLIPPED if brightest >= CLIPPED_CODE else NORMAL
    return kind, facing, red, green, blue, nx / size, ny / size, nz / size, cx, cy


@numba.njit(cache=True, parallel=True, fastmath=False)
def add_frame(
    corners, barycentric, allowed_bits, vertices_cam_m, normals_cam, px_from_cam, image, origin_px, linear_of_code, depth_m, tolerance_m, allowed,
    allowed_from_px, weight, reference, outlier, light_sh, light_from_cam, min_shade, sums, weights, lit_sums, lit_weights, clipped,
):  # type: ignore[no-untyped-def]
    """Adds one frame.

    Args:
        corners: (n, 3) int32, vertices of each texel's triangle. barycentric: (n, 3) float32.
        allowed_bits: (n,) uint8, a texel is looked up only where ``allowed`` has one of its bits.
        vertices_cam_m, normals_cam: (V, 3) float32, camera frame; normals need not be of length 1.
        px_from_cam: (3, 3) float64. image: (h, w, 3) uint8 sRGB cut-out whose top left pixel is ``origin_px`` (x, y) of the frame.
        linear_of_code: (256,) float32. depth_m: (h, w) float32, the mesh's depth at the same pixels.
        allowed: (hc, wc) uint8 bits. allowed_from_px: (2, 3) float64, affine, frame pixels to its pixels.
        weight: of the frame.
        reference: (n, 3) float32 linear, or (0, 3) for the first pass. outlier: distance from it that is still accepted.
        light_sh: (9,) float64 grey light, used in the second pass. light_from_cam: (3, 3) float64, turns normals into its frame. min_shade: its shade
            is not below this.
        sums: (n, 3) float64 and weights: (n,) float64, changed in place.
        lit_sums: (n, 3) and lit_weights: (n,) float64, second pass only, changed in place: colours of samples that are not clipped, and weight times
            shade of the same samples; their ratio is the albedo.
        clipped: (n,) float64, second pass only, changed in place: weight of the samples that are left out of ``lit_sums``.
    """
    num = corners.shape[0]
    is_second = reference.shape[0] == num
    for i in numba.prange(num):
        kind, facing, red, green, blue, x, y, z, _, _ = look_up(
            i, corners, barycentric, allowed_bits, vertices_cam_m, normals_cam, px_from_cam, image, origin_px, linear_of_code, depth_m, tolerance_m, allowed,
            allowed_from_px,
        )
        if kind == UNSEEN:
            continue
        share = weight * facing * facing
        if is_second:
            far = max(
                abs(np.sqrt(red) - np.sqrt(reference[i, 0])), abs(np.sqrt(green) - np.sqrt(reference[i, 1])), abs(np.sqrt(blue) - np.sqrt(reference[i, 2]))
            )
            if far > outlier:
                continue
            if kind == CLIPPED:
                clipped[i] += share
            else:
                nx, ny, nz = x, y, z
                x = light_from_cam[0, 0] * nx + light_from_cam[0, 1] * ny + light_from_cam[0, 2] * nz
                y = light_from_cam[1, 0] * nx + light_from_cam[1, 1] * ny + light_from_cam[1, 2] * nz
                z = light_from_cam[2, 0] * nx + light_from_cam[2, 1] * ny + light_from_cam[2, 2] * nz
                shade = (
                    0.28209479177387814 * light_sh[0] + 0.4886025119029199 * (y * light_sh[1] + z * light_sh[2] + x * light_sh[3])
                    + 1.0925484305920792 * (x * y * light_sh[4] + y * z * light_sh[5] + x * z * light_sh[7])
                    + 0.31539156525252005 * (3 * z * z - 1) * light_sh[6] + 0.5462742152960396 * (x * x - y * y) * light_sh[8]
                )
                lit_sums[i, 0] += share * red
                lit_sums[i, 1] += share * green
                lit_sums[i, 2] += share * blue
                lit_weights[i] += share * max(shade, min_shade)
        sums[i, 0] += share * red
        sums[i, 1] += share * green
        sums[i, 2] += share * blue
        weights[i] += share


@numba.njit(cache=True, parallel=True, fastmath=False)
def sample_frame(
    corners, barycentric, allowed_bits, vertices_cam_m, normals_cam, px_from_cam, image, origin_px, linear_of_code, depth_m, tolerance_m, allowed,
    allowed_from_px, parsing, colour, facing, normal_cam, label,
):  # type: ignore[no-untyped-def]
    """One frame's samples. The first arguments are those of ``add_frame``.

    Args:
        parsing: (hc, wc) uint8 class numbers, pixels of ``allowed``.
        colour: (n, 3) float32 linear, facing: (n,) float32 cosine (0 = unseen or clipped), normal_cam: (n, 3) float32, label: (n,) uint8; written.
    """
    for i in numba.prange(corners.shape[0]):
        kind, cosine, red, green, blue, x, y, z, cx, cy = look_up(
            i, corners, barycentric, allowed_bits, vertices_cam_m, normals_cam, px_from_cam, image, origin_px, linear_of_code, depth_m, tolerance_m, allowed,
            allowed_from_px,
        )
        if kind != NORMAL:
            facing[i] = 0
            continue
        facing[i] = cosine
        label[i] = parsing[cy, cx]
        colour[i, 0], colour[i, 1], colour[i, 2] = red, green, blue
        normal_cam[i, 0], normal_cam[i, 1], normal_cam[i, 2] = x, y, z
