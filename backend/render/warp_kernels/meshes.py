"""The mesh rasteriser on NVIDIA cards (Warp): one thread per triangle and slice of its rows.

The arithmetic is that of the numba kernels, in float64 and without fused multiply-add, so edges that two triangles share stay
watertight. A pixel is a 64-bit number, inverted 1/z over the triangle number, of which an atomic minimum keeps the nearest: the
order in which threads arrive does not matter, and equal depths go to the lower triangle number as on the CPU.
"""

from __future__ import annotations

import functools
from types import SimpleNamespace
from typing import Any

import torch

from ..kernel_choice import warp_module

_SLICES = 4
"""Threads per triangle, each with every fourth row, so that one large triangle does not keep all others waiting as long."""
_NONE = 2**62


@functools.cache
def _kernels() -> SimpleNamespace:
    wp = warp_module()
    half = wp.constant(wp.float64(0.5))
    zero = wp.constant(wp.float64(0.0))
    one = wp.constant(wp.float64(1.0))
    flat = wp.constant(wp.float64(1e-12))
    largest_px = wp.constant(wp.float64(1e15))
    all_bits = wp.constant(wp.uint32(0xFFFFFFFF))
    low_bits = wp.constant(wp.uint64(0xFFFFFFFF))
    polygon_type = wp.types.matrix(shape=(4, 3), dtype=wp.float64)
    options: dict[str, Any] = {"module": "unique", "enable_backward": False, "module_options": {"fuse_fp": False}}

    @wp.kernel(**options)
    def project(
        vertices: wp.array2d(dtype=wp.vec3d), px_from_cam: wp.array(dtype=wp.mat33d), homogeneous: wp.array2d(dtype=wp.vec3d), bad: wp.array(dtype=wp.int64)
    ):
        picture, vertex = wp.tid()
        camera = px_from_cam[wp.min(picture, px_from_cam.shape[0] - 1)]
        h = camera * vertices[picture, vertex]
        homogeneous[picture, vertex] = h
        if not wp.isfinite(h[0] + h[1] + h[2]):
            wp.atomic_min(bad, 0, wp.int64(picture) * wp.int64(vertices.shape[1]) + wp.int64(vertex))

    @wp.func
    def slopes(a: wp.vec3d, b: wp.vec3d, c: wp.vec3d):
        n = wp.cross(b - a, c - a)
        determinant = n[0] * a[0] + n[1] * a[1] + n[2] * a[2]
        if not wp.abs(determinant) > flat * (wp.abs(n[0] * a[0]) + wp.abs(n[1] * a[1]) + wp.abs(n[2] * a[2])):
            return zero, zero
        return n[0] / determinant, n[1] / determinant

    @wp.func
    def fill(
        a: wp.vec3d, b: wp.vec3d, c: wp.vec3d, slope_x: wp.float64, slope_y: wp.float64, face: wp.int32, part: wp.int32,
        before: wp.array2d(dtype=wp.uint64), is_behind: wp.bool, nearest: wp.array2d(dtype=wp.uint64),
    ):
        height = nearest.shape[0]
        right = wp.float64(nearest.shape[1])
        top = wp.int32(wp.min(wp.max(wp.ceil(a[1] - half), zero), wp.float64(height)))
        stop = wp.int32(wp.min(wp.ceil(c[1] - half), wp.float64(height)))
        long_slope = (c[0] - a[0]) / (c[1] - a[1])
        upper_slope = (b[0] - a[0]) / (b[1] - a[1])
        lower_slope = (c[0] - b[0]) / (c[1] - b[1])
        is_long_left = (b[0] - a[0]) * (c[1] - a[1]) >= (c[0] - a[0]) * (b[1] - a[1])
        # Rows go by their number in the picture, so that both halves of a cut triangle are sliced alike.
        for row in range(top + (part - top % _SLICES + _SLICES) % _SLICES, stop, _SLICES):
            y = wp.float64(row) + half
            long_x = a[0] + (y - a[1]) * long_slope
            short_x = b[0] + (y - b[1]) * lower_slope
            if y < b[1]:
                short_x = a[0] + (y - a[1]) * upper_slope
            left_x = short_x
            right_x = long_x
            if is_long_left:
                left_x = long_x
                right_x = short_x
            first = wp.int32(wp.ceil(wp.min(wp.max(left_x - half, zero), right)))
            end = wp.int32(wp.ceil(wp.min(wp.max(right_x - half, zero), right)))
            start = a[2] + (y - a[1]) * slope_y + (half - a[0]) * slope_x
            for column in range(first, end):
                value = wp.float32(start + wp.float64(column) * slope_x)
                if value > 0.0:
                    key = (wp.uint64(all_bits - wp.cast(value, wp.uint32)) << wp.uint64(32)) | wp.uint64(face)
                    if is_behind:
                        if key > before[row, column]:
                            wp.atomic_min(nearest, row, column, key)
                    else:
                        wp.atomic_min(nearest, row, column, key)

    @wp.func
    def on_screen(h: wp.vec3d):
        reciprocal = one / h[2]
        return wp.vec3d(h[0] * reciprocal, h[1] * reciprocal, reciprocal)

    @wp.func
    def cut(front: wp.vec3d, back: wp.vec3d, near: wp.float64):
        t = (front[2] - near) / (front[2] - back[2])
        return wp.vec3d((front[0] + t * (back[0] - front[0])) / near, (front[1] + t * (back[1] - front[1])) / near, one / near)

    @wp.func
    def is_drawable(p: wp.vec3d):
        return wp.abs(p[0]) < largest_px and wp.abs(p[1]) < largest_px

    @wp.func
    def is_lower(p: wp.vec3d, q: wp.vec3d):
        return wp.bool(q[1] < p[1] or (q[1] == p[1] and q[0] < p[0]))

    @wp.kernel(**options)
    def draw(
        homogeneous: wp.array2d(dtype=wp.vec3d), triangles: wp.array2d(dtype=wp.int32), near: wp.float64, is_behind: wp.bool,
        before: wp.array3d(dtype=wp.uint64), nearest: wp.array3d(dtype=wp.uint64), bad: wp.array(dtype=wp.int64),
    ):
        picture, face, part = wp.tid()
        i = triangles[face, 0]
        j = triangles[face, 1]
        k = triangles[face, 2]
        if wp.min(i, wp.min(j, k)) < 0 or wp.max(i, wp.max(j, k)) >= homogeneous.shape[1]:
            wp.atomic_min(bad, 1, wp.int64(face))
            return
        hi = homogeneous[picture, i]
        hj = homogeneous[picture, j]
        hk = homogeneous[picture, k]
        if not (wp.isfinite(hi[0] + hi[1] + hi[2]) and wp.isfinite(hj[0] + hj[1] + hj[2]) and wp.isfinite(hk[0] + hk[1] + hk[2])):
            return
        # From the upper corner to the lower one, as the numba kernel does, so that equal triangles give equal bits.
        polygon = polygon_type()
        corners = wp.int32(0)
        for step in range(3):
            a = hi
            b = hj
            if step == 1:
                a = hj
                b = hk
            elif step == 2:
                a = hk
                b = hi
            if a[2] >= near:
                p = on_screen(a)
                polygon[corners, 0] = p[0]
                polygon[corners, 1] = p[1]
                polygon[corners, 2] = p[2]
                corners += 1
            if (a[2] >= near) != (b[2] >= near):
                q = cut(a, b, near)
                if b[2] >= near:
                    q = cut(b, a, near)
                polygon[corners, 0] = q[0]
                polygon[corners, 1] = q[1]
                polygon[corners, 2] = q[2]
                corners += 1
        if corners < 3:
            return
        for corner in range(corners):
            if not is_drawable(wp.vec3d(polygon[corner, 0], polygon[corner, 1], polygon[corner, 2])):
                return
        if corners == 3 and wp.min(hi[2], wp.min(hj[2], hk[2])) >= near:
            pi = on_screen(hi)
            pj = on_screen(hj)
            pk = on_screen(hk)
            if is_lower(pi, pj):
                p = pi
                pi = pj
                pj = p
                h = hi
                hi = hj
                hj = h
            if is_lower(pi, pk):
                p = pi
                pi = pk
                pk = p
                h = hi
                hi = hk
                hk = h
            if is_lower(pj, pk):
                p = pj
                pj = pk
                pk = p
                h = hj
                hj = hk
                hk = h
        slope_x, slope_y = slopes(hi, hj, hk)
        for corner in range(2, corners):
            a = wp.vec3d(polygon[0, 0], polygon[0, 1], polygon[0, 2])
            b = wp.vec3d(polygon[corner - 1, 0], polygon[corner - 1, 1], polygon[corner - 1, 2])
            c = wp.vec3d(polygon[corner, 0], polygon[corner, 1], polygon[corner, 2])
            if is_lower(a, b):
                p = a
                a = b
                b = p
            if is_lower(a, c):
                p = a
                a = c
                c = p
            if is_lower(b, c):
                p = b
                b = c
                c = p
            fill(a, b, c, slope_x, slope_y, face, part, before[picture], is_behind, nearest[picture])

    @wp.kernel(**options)
    def decode(nearest: wp.array(dtype=wp.uint64), triangle_ids: wp.array(dtype=wp.int32), depth: wp.array(dtype=wp.float32)):
        place = wp.tid()
        key = nearest[place]
        if (key & low_bits) == low_bits:
            triangle_ids[place] = -1
            depth[place] = wp.inf
        else:
            triangle_ids[place] = wp.int32(key & low_bits)
            depth[place] = 1.0 / wp.cast(all_bits - wp.uint32(key >> wp.uint64(32)), wp.float32)

    return SimpleNamespace(project=project, draw=draw, decode=decode)


def rasterise_layers(
    vertices: torch.Tensor, triangles: torch.Tensor, px_from_cam: torch.Tensor, size_hw: tuple[int, int], num_layers: int, near_m: float
) -> tuple[tuple[torch.Tensor, torch.Tensor], torch.Tensor, tuple[int, int, int]]:
    """(B, V, 3), (F, 3) int32, (1 or B, 3, 3) -> (ids, depth) (L, B, H, W), homogeneous (B, V, 3) float64, what was bad.

    Bad is (picture, vertex, triangle) as in the numba kernel; reading it is the one wait for the device.
    """
    wp = warp_module()
    device = vertices.device
    num_pictures, num_vertices = vertices.shape[:2]
    triangles = triangles.contiguous()
    homogeneous = torch.empty(vertices.shape, dtype=torch.float64, device=device)
    bad = torch.full((2,), _NONE, dtype=torch.int64, device=device)
    ids = torch.empty((num_layers, num_pictures, *size_hw), dtype=torch.int32, device=device)
    depth = torch.empty(ids.shape, device=device)
    points = wp.from_torch(vertices.double().contiguous(), dtype=wp.vec3d)
    cameras = wp.from_torch(px_from_cam.to(device, torch.float64).contiguous(), dtype=wp.mat33d)
    _launch("project", (num_pictures, num_vertices), device, points, cameras, wp.from_torch(homogeneous, dtype=wp.vec3d), wp.from_torch(bad))
    before = torch.zeros((num_pictures, 1, 1), dtype=torch.int64, device=device)
    for layer in range(num_layers):
        nearest = torch.full((num_pictures, *size_hw), -1, dtype=torch.int64, device=device)
        _launch(
            "draw", (num_pictures, len(triangles), _SLICES), device, wp.from_torch(homogeneous, dtype=wp.vec3d), wp.from_torch(triangles), wp.float64(near_m),
            layer > 0, wp.from_torch(before, dtype=wp.uint64), wp.from_torch(nearest, dtype=wp.uint64), wp.from_torch(bad),
        )
        flat = wp.from_torch(nearest.view(-1), dtype=wp.uint64)
        _launch("decode", nearest.numel(), device, flat, wp.from_torch(ids[layer].view(-1)), wp.from_torch(depth[layer].view(-1)))
        before = nearest
    vertex, triangle = bad.tolist()
    if vertex < _NONE:
        return (ids, depth), homogeneous, (vertex // num_vertices, vertex % num_vertices, -1)
    return (ids, depth), homogeneous, (0, -1, triangle if triangle < _NONE else -1)


def _launch(name: str, size: int | tuple[int, ...], device: torch.device, *arguments: Any) -> None:
    wp = warp_module()
    dimensions = (size,) if isinstance(size, int) else size
    if 0 in dimensions:
        return
    stream = wp.stream_from_torch(torch.cuda.current_stream(device)) if device.type == "cuda" else None
    wp.launch(getattr(_kernels(), name), dimensions, inputs=list(arguments), device=wp.device_from_torch(device), stream=stream)
