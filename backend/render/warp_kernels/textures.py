"""Texture lookup on NVIDIA cards (Warp, float32); what it computes is said in ``render/textures.py``.

Additions to the texture's gradient are atomic, so on a GPU their order, and the last bits, vary from run to run.
"""

# No postponed annotations here: Warp evaluates those of its functions, and could not see ``wp``.

import functools
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch

from ..kernel_choice import warp_module


@functools.cache
def _kernels() -> SimpleNamespace:
    wp = warp_module()

    @wp.func
    def place(coordinate: wp.float32, size: wp.int32):
        """First texel, fraction towards the next, 1 where the lookup moves with its coordinate."""
        raw = coordinate * wp.float32(size) - 0.5
        x = wp.clamp(raw, 0.0, wp.float32(size - 1))
        first = wp.min(wp.int32(x), wp.max(size - 2, 0))
        moves = wp.float32(0.0)
        if raw >= 0.0 and raw <= wp.float32(size - 1) and size > 1:
            moves = wp.float32(1.0)
        return wp.vec3(wp.float32(first), x - wp.float32(first), moves)

    @wp.kernel(module="unique", enable_backward=False)
    def forward(
        texture: wp.array3d(dtype=wp.float32),
        coarse: wp.array3d(dtype=wp.float32),
        sizes: wp.array2d(dtype=wp.int32),
        uv: wp.array2d(dtype=wp.vec2),
        level: wp.array2d(dtype=wp.float32),
        covered: wp.array2d(dtype=wp.bool),
        has_level: wp.int32,
        has_covered: wp.int32,
        out: wp.array3d(dtype=wp.float32),
    ):
        batch, pixel = wp.tid()
        channels = out.shape[2]
        for channel in range(channels):
            out[batch, pixel, channel] = 0.0
        if has_covered != 0:
            if not covered[batch, pixel]:
                return
        clamped = wp.float32(0.0)
        if has_level != 0:
            clamped = wp.clamp(level[batch, pixel], 0.0, wp.float32(sizes.shape[0] - 1))
        finer = wp.min(wp.int32(clamped), wp.max(sizes.shape[0] - 2, 0))
        share = clamped - wp.float32(finer)
        for part in range(2):
            scale = 1.0 - share
            if part == 1:
                scale = share
            if scale > 0.0:
                at = finer + part
                height = sizes[at, 0]
                width = sizes[at, 1]
                x = place(uv[batch, pixel][0], width)
                y = place(1.0 - uv[batch, pixel][1], height)
                start = sizes[at, 2] + wp.int32(y[0]) * width + wp.int32(x[0])
                right = wp.min(width - 1, 1)
                below = wp.min(height - 1, 1) * width
                for channel in range(channels):
                    if at == 0:
                        upper = texture[batch, start, channel] * (1.0 - x[1]) + texture[batch, start + right, channel] * x[1]
                        lower = texture[batch, start + below, channel] * (1.0 - x[1]) + texture[batch, start + below + right, channel] * x[1]
                        out[batch, pixel, channel] = out[batch, pixel, channel] + scale * (upper * (1.0 - y[1]) + lower * y[1])
                    else:
                        upper = coarse[batch, start, channel] * (1.0 - x[1]) + coarse[batch, start + right, channel] * x[1]
                        lower = coarse[batch, start + below, channel] * (1.0 - x[1]) + coarse[batch, start + below + right, channel] * x[1]
                        out[batch, pixel, channel] = out[batch, pixel, channel] + scale * (upper * (1.0 - y[1]) + lower * y[1])

    @wp.func
    def scatter(
        texels: wp.array3d(dtype=wp.float32), batch: wp.int32, start: wp.int32, right: wp.int32, below: wp.int32, channel: wp.int32,
        x: wp.float32, y: wp.float32, value: wp.float32,
    ):
        wp.atomic_add(texels, batch, start, channel, value * (1.0 - x) * (1.0 - y))
        wp.atomic_add(texels, batch, start + right, channel, value * x * (1.0 - y))
        wp.atomic_add(texels, batch, start + below, channel, value * (1.0 - x) * y)
        wp.atomic_add(texels, batch, start + below + right, channel, value * x * y)

    @wp.func
    def slope(
        texels: wp.array3d(dtype=wp.float32), batch: wp.int32, start: wp.int32, right: wp.int32, below: wp.int32, channel: wp.int32, x: wp.float32, y: wp.float32
    ):
        t_00 = texels[batch, start, channel]
        t_01 = texels[batch, start + right, channel]
        t_10 = texels[batch, start + below, channel]
        t_11 = texels[batch, start + below + right, channel]
        return wp.vec2((t_01 - t_00) * (1.0 - y) + (t_11 - t_10) * y, (t_10 - t_00) * (1.0 - x) + (t_11 - t_01) * x)

    @wp.kernel(module="unique", enable_backward=False)
    def backward(
        texture: wp.array3d(dtype=wp.float32),
        coarse: wp.array3d(dtype=wp.float32),
        sizes: wp.array2d(dtype=wp.int32),
        uv: wp.array2d(dtype=wp.vec2),
        level: wp.array2d(dtype=wp.float32),
        covered: wp.array2d(dtype=wp.bool),
        has_level: wp.int32,
        has_covered: wp.int32,
        gradient: wp.array3d(dtype=wp.float32),
        to_texels: wp.int32,
        to_uv: wp.int32,
        texture_out: wp.array3d(dtype=wp.float32),
        coarse_out: wp.array3d(dtype=wp.float32),
        uv_out: wp.array2d(dtype=wp.vec2),
    ):
        batch, pixel = wp.tid()
        channels = gradient.shape[2]
        if has_covered != 0:
            if not covered[batch, pixel]:
                return
        clamped = wp.float32(0.0)
        if has_level != 0:
            clamped = wp.clamp(level[batch, pixel], 0.0, wp.float32(sizes.shape[0] - 1))
        finer = wp.min(wp.int32(clamped), wp.max(sizes.shape[0] - 2, 0))
        share = clamped - wp.float32(finer)
        total = wp.vec2(0.0, 0.0)
        for part in range(2):
            scale = 1.0 - share
            if part == 1:
                scale = share
            if scale > 0.0:
                at = finer + part
                height = sizes[at, 0]
                width = sizes[at, 1]
                x = place(uv[batch, pixel][0], width)
                y = place(1.0 - uv[batch, pixel][1], height)
                start = sizes[at, 2] + wp.int32(y[0]) * width + wp.int32(x[0])
                right = wp.min(width - 1, 1)
                below = wp.min(height - 1, 1) * width
                for channel in range(channels):
                    value = scale * gradient[batch, pixel, channel]
                    if to_texels != 0:
                        if at == 0:
                            scatter(texture_out, batch, start, right, below, channel, x[1], y[1], value)
                        else:
                            scatter(coarse_out, batch, start, right, below, channel, x[1], y[1], value)
                    if to_uv != 0:
                        s = wp.vec2(0.0, 0.0)
                        if at == 0:
                            s = slope(texture, batch, start, right, below, channel, x[1], y[1])
                        else:
                            s = slope(coarse, batch, start, right, below, channel, x[1], y[1])
                        total += wp.vec2(value * s[0] * wp.float32(width) * x[2], -value * s[1] * wp.float32(height) * y[2])
        if to_uv != 0:
            uv_out[batch, pixel] = total

    return SimpleNamespace(wp=wp, forward=forward, backward=backward)


def sample(
    texture: torch.Tensor, coarse: torch.Tensor, uv: torch.Tensor, level: torch.Tensor | None, covered: torch.Tensor | None, sizes: np.ndarray
) -> torch.Tensor:
    """(B, P, C); arguments contiguous, as in ``torch_kernels.textures.sample``."""
    out = torch.empty(*uv.shape[:2], texture.shape[-1], device=uv.device)
    if out.numel():
        _launch("forward", uv, [*_lookup(texture, coarse, uv, level, covered, sizes), _array(out)])
    return out


def sample_backward(
    gradient: torch.Tensor, texture: torch.Tensor, coarse: torch.Tensor, uv: torch.Tensor, level: torch.Tensor | None, covered: torch.Tensor | None,
    sizes: np.ndarray, to_texels: bool, to_uv: bool,
) -> tuple[torch.Tensor | None, torch.Tensor | None, torch.Tensor | None]:
    """Gradients to texture, coarse and uv; None where not wanted."""
    nothing = torch.empty(0, 0, 0, device=uv.device)
    texture_out, coarse_out = (torch.zeros_like(texture), torch.zeros_like(coarse)) if to_texels else (nothing, nothing)
    uv_out = torch.zeros_like(uv) if to_uv else torch.empty(0, 0, 2, device=uv.device)
    if gradient.numel():
        outputs = [_array(texture_out), _array(coarse_out), _array(uv_out, vector=True)]
        _launch("backward", uv, [*_lookup(texture, coarse, uv, level, covered, sizes), _array(gradient), int(to_texels), int(to_uv), *outputs])
    return (texture_out if to_texels else None), (coarse_out if to_texels else None), (uv_out if to_uv else None)


def _lookup(
    texture: torch.Tensor, coarse: torch.Tensor, uv: torch.Tensor, level: torch.Tensor | None, covered: torch.Tensor | None, sizes: np.ndarray
) -> list[Any]:
    table = _sizes_on(tuple(int(value) for value in sizes.reshape(-1)), str(uv.device))
    levels = torch.empty(0, 0, device=uv.device) if level is None else level
    is_covered = torch.empty(0, 0, dtype=torch.bool, device=uv.device) if covered is None else covered
    arrays = [_array(texture), _array(coarse), _array(table), _array(uv, vector=True), _array(levels), _array(is_covered)]
    return [*arrays, int(level is not None), int(covered is not None)]


@functools.lru_cache(maxsize=16)
def _sizes_on(sizes: tuple[int, ...], device: str) -> torch.Tensor:
    return torch.tensor(sizes, dtype=torch.int32, device=device).reshape(-1, 3)


def _array(tensor: torch.Tensor, vector: bool = False) -> Any:
    wp = warp_module()
    return wp.from_torch(tensor, dtype=wp.vec2 if vector else None, requires_grad=False)


def _launch(name: str, uv: torch.Tensor, inputs: list[Any]) -> None:
    wp = warp_module()
    stream = wp.stream_from_torch(torch.cuda.current_stream(uv.device)) if uv.is_cuda else None
    wp.launch(getattr(_kernels(), name), uv.shape[:2], inputs=inputs, device=wp.device_from_torch(uv.device), stream=stream)
