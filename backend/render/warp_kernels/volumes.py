"""Alpha compositing on NVIDIA cards (Warp, float32): one thread per ray, so nothing is added by two threads and results repeat."""

from __future__ import annotations

import functools
from types import SimpleNamespace
from typing import Any

import torch

from ..kernel_choice import warp_module


@functools.cache
def _kernels() -> SimpleNamespace:
    wp = warp_module()

    @wp.kernel(module="unique", enable_backward=False)
    def forward(
        density: wp.array(dtype=wp.float32),
        colours: wp.array2d(dtype=wp.float32),
        t: wp.array(dtype=wp.float32),
        step: wp.array(dtype=wp.float32),
        background: wp.array2d(dtype=wp.float32),
        ray_start: wp.array(dtype=wp.int64),
        min_transmittance: wp.float32,
        colour: wp.array2d(dtype=wp.float32),
        depth: wp.array(dtype=wp.float32),
        alpha: wp.array(dtype=wp.float32),
        weights: wp.array(dtype=wp.float32),
        remaining: wp.array(dtype=wp.float32),
    ):
        ray = wp.tid()
        transmittance = wp.float32(1.0)
        distance = wp.float32(0.0)
        for c in range(colour.shape[1]):
            colour[ray, c] = 0.0
        for i in range(wp.int32(ray_start[ray]), wp.int32(ray_start[ray + 1])):
            weight = wp.float32(0.0)
            if transmittance >= min_transmittance:
                tau = density[i] * step[i]
                opacity = 1.0 - wp.exp(-tau)
                if tau < 0.02:
                    # 1 - exp(-tau) without cancellation; the next term is below 1e-9 of it.
                    opacity = tau * (1.0 - tau / 2.0 * (1.0 - tau / 3.0 * (1.0 - tau / 4.0)))
                weight = transmittance * opacity
                transmittance = transmittance - weight
                distance += weight * t[i]
                for c in range(colour.shape[1]):
                    colour[ray, c] = colour[ray, c] + weight * colours[i, c]
                remaining[i] = transmittance
            else:
                # Marks the samples behind the early stop, which have no gradient.
                remaining[i] = -1.0
            weights[i] = weight
        for c in range(colour.shape[1]):
            colour[ray, c] = colour[ray, c] + transmittance * background[ray, c]
        depth[ray] = distance
        alpha[ray] = 1.0 - transmittance

    @wp.kernel(module="unique", enable_backward=False)
    def backward(
        density: wp.array(dtype=wp.float32),
        colours: wp.array2d(dtype=wp.float32),
        t: wp.array(dtype=wp.float32),
        step: wp.array(dtype=wp.float32),
        background: wp.array2d(dtype=wp.float32),
        ray_start: wp.array(dtype=wp.int64),
        weights: wp.array(dtype=wp.float32),
        remaining: wp.array(dtype=wp.float32),
        colour_grad: wp.array2d(dtype=wp.float32),
        depth_grad: wp.array(dtype=wp.float32),
        alpha_grad: wp.array(dtype=wp.float32),
        weights_grad: wp.array(dtype=wp.float32),
        density_out: wp.array(dtype=wp.float32),
        colours_out: wp.array2d(dtype=wp.float32),
        t_out: wp.array(dtype=wp.float32),
        step_out: wp.array(dtype=wp.float32),
        background_out: wp.array2d(dtype=wp.float32),
    ):
        ray = wp.tid()
        first = wp.int32(ray_start[ray])
        last = wp.int32(ray_start[ray + 1])
        left_over = wp.float32(1.0)
        for i in range(first, last):
            if remaining[i] >= 0.0:
                left_over = remaining[i]
        behind = wp.float32(0.0)
        for c in range(colours.shape[1]):
            behind += left_over * colour_grad[ray, c] * background[ray, c]
            background_out[ray, c] = left_over * colour_grad[ray, c]
        for k in range(last - first):
            i = last - 1 - k
            if remaining[i] >= 0.0:
                value = depth_grad[ray] * t[i] + alpha_grad[ray] + weights_grad[i]
                for c in range(colours.shape[1]):
                    value += colour_grad[ray, c] * colours[i, c]
                    colours_out[i, c] = weights[i] * colour_grad[ray, c]
                to_tau = remaining[i] * value - behind
                density_out[i] = step[i] * to_tau
                step_out[i] = density[i] * to_tau
                t_out[i] = weights[i] * depth_grad[ray]
                behind += weights[i] * value
            else:
                density_out[i] = 0.0
                step_out[i] = 0.0
                t_out[i] = 0.0
                for c in range(colours.shape[1]):
                    colours_out[i, c] = 0.0

    return SimpleNamespace(forward=forward, backward=backward)


def composite_forward(
    density: torch.Tensor,
    colours: torch.Tensor,
    t: torch.Tensor,
    step: torch.Tensor,
    background: torch.Tensor,
    ray_start: torch.Tensor,
    min_transmittance: float,
) -> tuple[torch.Tensor, ...]:
    """colour (R, C), depth, alpha (R,), weights, remaining (M,); all inputs contiguous float32, ``ray_start`` checked int64."""
    num_rays = len(ray_start) - 1
    outputs = (t.new_empty(num_rays, colours.shape[1]), t.new_empty(num_rays), t.new_empty(num_rays), torch.empty_like(t), torch.empty_like(t))
    inputs = [_array(tensor) for tensor in (density, colours, t, step, background, ray_start.contiguous())]
    _launch("forward", num_rays, t, [*inputs, float(min_transmittance), *[_array(tensor) for tensor in outputs]])
    return outputs


def composite_backward(*arguments: torch.Tensor) -> tuple[torch.Tensor, ...]:
    """Gradients to density, colours, t, step, background.

    Args:
        arguments: density, colours, t, step, background, ray_start, weights, remaining as in the forward pass, then the gradients to
            colour, depth, alpha, weights.
    """
    density, colours, t, step, background, ray_start = arguments[:6]
    outputs = tuple(torch.empty_like(tensor) for tensor in (density, colours, t, step, background))
    _launch("backward", len(ray_start) - 1, t, [_array(tensor.contiguous()) for tensor in (*arguments, *outputs)])
    return outputs


def _launch(name: str, num_rays: int, like: torch.Tensor, inputs: list[Any]) -> None:
    wp = warp_module()
    if num_rays == 0:
        return
    stream = wp.stream_from_torch(torch.cuda.current_stream(like.device)) if like.is_cuda else None
    wp.launch(getattr(_kernels(), name), num_rays, inputs=inputs, device=wp.device_from_torch(like.device), stream=stream)


def _array(tensor: torch.Tensor) -> Any:
    return warp_module().from_torch(tensor, requires_grad=False)
