"""Interpolation over triangles on NVIDIA cards (Warp): one thread per covered pixel.

Weights are computed in float64. In the backward pass the threads of a triangle add atomically to its corners, so the last bits
of gradients vary from run to run on a GPU.
"""

from __future__ import annotations

import functools
from types import SimpleNamespace
from typing import Any

import torch

from ..fragments import Covered
from ..kernel_choice import warp_module


@functools.cache
def _kernels() -> SimpleNamespace:
    wp = warp_module()
    options: dict[str, Any] = {"module": "unique", "enable_backward": False}

    @wp.func
    def relative(h: wp.vec3d, column: wp.int64, row: wp.int64):
        """Position relative to the pixel's ray: the edge functions need two coordinates only."""
        return wp.vec2d(h[0] - (wp.float64(column) + wp.float64(0.5)) * h[2], h[1] - (wp.float64(row) + wp.float64(0.5)) * h[2])

    @wp.func
    def edge(a: wp.vec2d, b: wp.vec2d):
        return wp.float64(a[0] * b[1] - a[1] * b[0])

    @wp.kernel(**options)
    def forward(
        homogeneous: wp.array2d(dtype=wp.vec3d), triangles: wp.array2d(dtype=wp.int32), attributes: wp.array3d(dtype=wp.float32),
        attribute_triangles: wp.array2d(dtype=wp.int32), pixels: wp.array(dtype=wp.int64), ids: wp.array(dtype=wp.int32), height: wp.int64, width: wp.int64,
        values: wp.array2d(dtype=wp.float32),
    ):
        p = wp.tid()
        pixel = pixels[p]
        face = ids[p]
        picture = wp.int32(pixel / (height * width))
        row = pixel / width % height
        column = pixel % width
        a = relative(homogeneous[picture, triangles[face, 0]], column, row)
        b = relative(homogeneous[picture, triangles[face, 1]], column, row)
        c = relative(homogeneous[picture, triangles[face, 2]], column, row)
        weights = wp.vec3d(edge(b, c), edge(c, a), edge(a, b))
        weights = weights / (weights[0] + weights[1] + weights[2])
        source = wp.min(picture, attributes.shape[0] - 1)
        for channel in range(attributes.shape[2]):
            total = wp.float32(0.0)
            for corner in range(3):
                total += wp.float32(weights[corner]) * attributes[source, attribute_triangles[face, corner], channel]
            values[p, channel] = total

    @wp.kernel(**options)
    def backward(
        homogeneous: wp.array2d(dtype=wp.vec3d), triangles: wp.array2d(dtype=wp.int32), attributes: wp.array3d(dtype=wp.float32),
        attribute_triangles: wp.array2d(dtype=wp.int32), pixels: wp.array(dtype=wp.int64), ids: wp.array(dtype=wp.int32), height: wp.int64, width: wp.int64,
        upstream: wp.array2d(dtype=wp.float32), use_attributes: wp.bool, use_positions: wp.bool,
        attribute_grad: wp.array3d(dtype=wp.float32), position_grad: wp.array2d(dtype=wp.vec3d),
    ):
        p = wp.tid()
        pixel = pixels[p]
        face = ids[p]
        picture = wp.int32(pixel / (height * width))
        row = pixel / width % height
        column = pixel % width
        a = relative(homogeneous[picture, triangles[face, 0]], column, row)
        b = relative(homogeneous[picture, triangles[face, 1]], column, row)
        c = relative(homogeneous[picture, triangles[face, 2]], column, row)
        weights = wp.vec3d(edge(b, c), edge(c, a), edge(a, b))
        total = weights[0] + weights[1] + weights[2]
        weights = weights / total
        source = wp.min(picture, attributes.shape[0] - 1)
        along = wp.vec3d()
        for channel in range(attributes.shape[2]):
            given = upstream[p, channel]
            for corner in range(3):
                vertex = attribute_triangles[face, corner]
                along[corner] = along[corner] + wp.float64(given * attributes[source, vertex, channel])
                if use_attributes:
                    wp.atomic_add(attribute_grad, source, vertex, channel, wp.float32(weights[corner]) * given)
        if use_positions:
            own = wp.dot(weights, along)
            ea = (along[0] - own) / total
            eb = (along[1] - own) / total
            ec = (along[2] - own) / total
            ga = wp.vec2d(ec * b[1] - eb * c[1], eb * c[0] - ec * b[0])
            gb = wp.vec2d(ea * c[1] - ec * a[1], ec * a[0] - ea * c[0])
            gc = wp.vec2d(eb * a[1] - ea * b[1], ea * b[0] - eb * a[0])
            x = wp.float64(column) + wp.float64(0.5)
            y = wp.float64(row) + wp.float64(0.5)
            wp.atomic_add(position_grad, picture, triangles[face, 0], wp.vec3d(ga[0], ga[1], -(x * ga[0] + y * ga[1])))
            wp.atomic_add(position_grad, picture, triangles[face, 1], wp.vec3d(gb[0], gb[1], -(x * gb[0] + y * gb[1])))
            wp.atomic_add(position_grad, picture, triangles[face, 2], wp.vec3d(gc[0], gc[1], -(x * gc[0] + y * gc[1])))

    return SimpleNamespace(forward=forward, backward=backward)


class WarpInterpolation(torch.autograd.Function):
    """positions (B, V, 3), attributes (A, T, C) float32, triangles (F, 3) int32 -> (P, C)."""

    @staticmethod
    def forward(ctx: Any, positions: torch.Tensor, attributes: torch.Tensor, triangles: torch.Tensor, covered: Covered) -> torch.Tensor:
        wp = warp_module()
        values = attributes.new_empty(len(covered), attributes.shape[2])
        _launch("forward", covered, positions, attributes, triangles, wp.from_torch(values))
        ctx.covered = covered
        ctx.save_for_backward(positions, attributes, triangles)
        return values

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, upstream: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        wp = warp_module()
        positions, attributes, triangles = ctx.saved_tensors
        use_positions, use_attributes = ctx.needs_input_grad[:2]
        attribute_grad = torch.zeros_like(attributes, memory_format=torch.contiguous_format) if use_attributes else attributes.new_zeros(1, 1, 1)
        position_grad = torch.zeros(positions.shape if use_positions else (1, 1, 3), dtype=torch.float64, device=positions.device)
        _launch(
            "backward", ctx.covered, positions, attributes, triangles, wp.from_torch(upstream.contiguous()), use_attributes, use_positions,
            wp.from_torch(attribute_grad), wp.from_torch(position_grad, dtype=wp.vec3d),
        )
        return position_grad.to(positions.dtype) if use_positions else None, attribute_grad if use_attributes else None, None, None


def _launch(name: str, covered: Covered, positions: torch.Tensor, attributes: torch.Tensor, triangles: torch.Tensor, *more: Any) -> None:
    wp = warp_module()
    if len(covered) == 0 or attributes.shape[2] == 0:
        return
    device = positions.device
    height, width = covered.size_hw
    stream = wp.stream_from_torch(torch.cuda.current_stream(device)) if device.type == "cuda" else None
    inputs = [
        wp.from_torch(positions.detach().double().contiguous(), dtype=wp.vec3d), wp.from_torch(covered.triangles.contiguous()),
        wp.from_torch(attributes.detach().contiguous()), wp.from_torch(triangles.contiguous()), wp.from_torch(covered.pixels),
        wp.from_torch(covered.triangle_ids), wp.int64(height), wp.int64(width), *more,
    ]
    wp.launch(getattr(_kernels(), name), len(covered), inputs=inputs, device=wp.device_from_torch(device), stream=stream)
