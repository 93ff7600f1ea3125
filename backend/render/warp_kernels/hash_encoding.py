"""The multi-resolution hash encoding on NVIDIA cards (Warp, float32): one thread per sample and level.

Additions to the table are atomic, so their order, and the last bits of the gradient, vary from run to run on a GPU.
"""

from __future__ import annotations

import functools
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import torch

from ..kernel_choice import warp_module

if TYPE_CHECKING:
    from ..hash_grid import HashGrid


@functools.cache
def _kernels() -> SimpleNamespace:
    wp = warp_module()

    @wp.func
    def cell(coordinate: wp.float32, resolution: wp.int32):
        return wp.min(wp.int32(wp.clamp(coordinate, 0.0, 1.0) * wp.float32(resolution)), resolution - 1)

    @wp.func
    def fraction(coordinate: wp.float32, lowest: wp.int32, resolution: wp.int32):
        return wp.clamp(coordinate, 0.0, 1.0) * wp.float32(resolution) - wp.float32(lowest)

    @wp.func
    def row(x: wp.int32, y: wp.int32, z: wp.int32, resolution: wp.int32, is_dense: wp.int32, mask: wp.uint32):
        if is_dense != 0:
            side = resolution + 1
            return x + side * (y + side * z)
        mixed = wp.uint32(x) ^ (wp.uint32(y) * wp.uint32(2654435761)) ^ (wp.uint32(z) * wp.uint32(805459861))
        return wp.int32(mixed & mask)

    @wp.func
    def corner_weight(fx: wp.float32, fy: wp.float32, fz: wp.float32, k: wp.int32):
        wx = 1.0 - fx
        if (k & 1) != 0:
            wx = fx
        wy = 1.0 - fy
        if (k & 2) != 0:
            wy = fy
        wz = 1.0 - fz
        if (k & 4) != 0:
            wz = fz
        return wp.vec3(wx, wy, wz)

    @wp.kernel(module="unique", enable_backward=False)
    def encode(
        positions: wp.array(dtype=wp.vec3),
        table: wp.array2d(dtype=wp.float32),
        levels: wp.array2d(dtype=wp.int32),
        mask: wp.uint32,
        encoded: wp.array2d(dtype=wp.float32),
    ):
        n, level = wp.tid()
        p = positions[n]
        resolution = levels[level, 0]
        x = cell(p[0], resolution)
        y = cell(p[1], resolution)
        z = cell(p[2], resolution)
        fx = fraction(p[0], x, resolution)
        fy = fraction(p[1], y, resolution)
        fz = fraction(p[2], z, resolution)
        num_features = table.shape[1]
        for q in range(num_features):
            encoded[n, level * num_features + q] = 0.0
        for k in range(8):
            w = corner_weight(fx, fy, fz, k)
            entry = levels[level, 1] + row(x + (k & 1), y + ((k >> 1) & 1), z + ((k >> 2) & 1), resolution, levels[level, 2], mask)
            for q in range(num_features):
                column = level * num_features + q
                encoded[n, column] = encoded[n, column] + w[0] * w[1] * w[2] * table[entry, q]

    @wp.kernel(module="unique", enable_backward=False)
    def table_gradient(
        positions: wp.array(dtype=wp.vec3),
        upstream: wp.array2d(dtype=wp.float32),
        levels: wp.array2d(dtype=wp.int32),
        mask: wp.uint32,
        table_grad: wp.array2d(dtype=wp.float32),
    ):
        n, level = wp.tid()
        p = positions[n]
        resolution = levels[level, 0]
        x = cell(p[0], resolution)
        y = cell(p[1], resolution)
        z = cell(p[2], resolution)
        fx = fraction(p[0], x, resolution)
        fy = fraction(p[1], y, resolution)
        fz = fraction(p[2], z, resolution)
        num_features = table_grad.shape[1]
        for k in range(8):
            w = corner_weight(fx, fy, fz, k)
            entry = levels[level, 1] + row(x + (k & 1), y + ((k >> 1) & 1), z + ((k >> 2) & 1), resolution, levels[level, 2], mask)
            for q in range(num_features):
                wp.atomic_add(table_grad, entry, q, w[0] * w[1] * w[2] * upstream[n, level * num_features + q])

    @wp.kernel(module="unique", enable_backward=False)
    def position_gradient(
        positions: wp.array(dtype=wp.vec3),
        table: wp.array2d(dtype=wp.float32),
        upstream: wp.array2d(dtype=wp.float32),
        levels: wp.array2d(dtype=wp.int32),
        mask: wp.uint32,
        position_grad: wp.array(dtype=wp.vec3),
    ):
        n = wp.tid()
        p = positions[n]
        num_features = table.shape[1]
        total = wp.vec3(0.0, 0.0, 0.0)
        for level in range(levels.shape[0]):
            resolution = levels[level, 0]
            x = cell(p[0], resolution)
            y = cell(p[1], resolution)
            z = cell(p[2], resolution)
            fx = fraction(p[0], x, resolution)
            fy = fraction(p[1], y, resolution)
            fz = fraction(p[2], z, resolution)
            here = wp.vec3(0.0, 0.0, 0.0)
            for k in range(8):
                w = corner_weight(fx, fy, fz, k)
                signs = corner_weight(1.0, 1.0, 1.0, k)
                entry = levels[level, 1] + row(x + (k & 1), y + ((k >> 1) & 1), z + ((k >> 2) & 1), resolution, levels[level, 2], mask)
                g = wp.float32(0.0)
                for q in range(num_features):
                    g += upstream[n, level * num_features + q] * table[entry, q]
                here += g * wp.vec3(
                    (2.0 * signs[0] - 1.0) * w[1] * w[2], (2.0 * signs[1] - 1.0) * w[0] * w[2], (2.0 * signs[2] - 1.0) * w[0] * w[1]
                )
            total += here * wp.float32(resolution)
        for axis in range(3):
            if p[axis] < 0.0 or p[axis] > 1.0:
                total[axis] = 0.0
        position_grad[n] = total

    return SimpleNamespace(encode=encode, table_gradient=table_gradient, position_gradient=position_gradient)


@functools.lru_cache(maxsize=32)
def _levels(grid: HashGrid, device: torch.device) -> torch.Tensor:
    """(L, 3) int32 on ``device``: cells per side, first entry, 1 where dense."""
    rows = [[int(r), int(o), int(d)] for r, o, d in zip(grid.resolutions, grid.offsets, grid.is_dense)]
    return torch.tensor(rows, dtype=torch.int32, device=device)


def encode(positions: torch.Tensor, table: torch.Tensor, grid: HashGrid) -> torch.Tensor:
    """(N, 3) and (E, F), contiguous float32 -> (N, L * F)."""
    encoded = torch.empty(len(positions), grid.num_outputs, device=positions.device)
    _launch("encode", (len(positions), grid.num_levels), grid, positions, _points(positions), _array(table), last=_array(encoded))
    return encoded


def table_gradient(positions: torch.Tensor, table: torch.Tensor, upstream: torch.Tensor, grid: HashGrid) -> torch.Tensor:
    """(E, F): what the samples add to the entries that they read."""
    gradient = torch.zeros_like(table)
    _launch("table_gradient", (len(positions), grid.num_levels), grid, positions, _points(positions), _array(upstream), last=_array(gradient))
    return gradient


def position_gradient(positions: torch.Tensor, table: torch.Tensor, upstream: torch.Tensor, grid: HashGrid) -> torch.Tensor:
    """(N, 3), zero on the axes where a position lies outside the unit cube."""
    gradient = torch.empty_like(positions)
    _launch("position_gradient", len(positions), grid, positions, _points(positions), _array(table), _array(upstream), last=_points(gradient))
    return gradient


def _launch(name: str, size: int | tuple[int, int], grid: HashGrid, like: torch.Tensor, *inputs: Any, last: Any) -> None:
    wp = warp_module()
    if len(like) == 0:
        return
    stream = wp.stream_from_torch(torch.cuda.current_stream(like.device)) if like.is_cuda else None
    levels = _array(_levels(grid, like.device))
    kernel = getattr(_kernels(), name)
    wp.launch(kernel, size, inputs=[*inputs, levels, wp.uint32(grid.mask), last], device=wp.device_from_torch(like.device), stream=stream)


def _array(tensor: torch.Tensor) -> Any:
    return warp_module().from_torch(tensor, requires_grad=False)


def _points(tensor: torch.Tensor) -> Any:
    wp = warp_module()
    return wp.from_torch(tensor, dtype=wp.vec3, requires_grad=False)
