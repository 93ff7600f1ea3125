"""Volume rendering: densities and colours at samples of rays become pictures.

The emission-absorption integral by piecewise constant density (Max, "Optical models for direct volume rendering", 1995):
with optical depth tau_i = density_i step_i, alpha_i = 1 - exp(-tau_i) and transmittance T_i = exp(-sum_{j<i} tau_j) a sample weighs
w_i = T_i alpha_i, and what is left behind the last one shows the background. Colours are linear light.

Rays and samples: ``ray_sampling``, ``occupancy``. The field's inputs: ``hash_encoding``.
"""

from __future__ import annotations

import dataclasses

import numpy as np
import torch
from torch.autograd.function import once_differentiable

from ..errors import AvatarError
from ..geometry.shapes import check_dtype, check_shape
from .kernel_choice import kernels_for
from .ray_sampling import Samples

MIN_TRANSMITTANCE = 1e-4


@dataclasses.dataclass(frozen=True)
class Composite:
    """What each ray sees.

    colour: (R, C), premultiplied, with the background behind it. depth_m: (R,) sum of w_i t_i, distance along the ray, *not* divided by
    alpha. alpha: (R,) sum of the weights. weights: (M,) w_i of the samples.
    """

    colour: torch.Tensor
    depth_m: torch.Tensor
    alpha: torch.Tensor
    weights: torch.Tensor


def composite(
    density_per_m: torch.Tensor,
    colours: torch.Tensor,
    samples: Samples,
    background: torch.Tensor | None = None,
    min_transmittance: float = MIN_TRANSMITTANCE,
) -> Composite:
    """Adds up the samples of every ray, front to back.

    Args:
        density_per_m: (M,) float32 or float64, 1/m, finite and not negative.
        colours: (M, C) any number of channels. samples: their places and lengths; same dtype.
        background: (C,) or (R, C); None = nothing (0).
        min_transmittance: samples behind the one that takes the transmittance below this weigh nothing; 0 = all count.

    Returns:
        Composite. Differentiable once (again only on the path "torch") in density, colours, t, step and background; where the early
        stop falls is not differentiable. Results and gradients are the same bit for bit for any number of threads and any batches.

    Raises:
        AvatarError: ``diverged`` when an input is not finite, or a density or a step is negative.
        ValueError, TypeError: wrong shape, dtype or device; ``ray_start`` that is no list of rising starts.
    """
    check_shape("density_per_m", density_per_m, len(samples))
    check_shape("colours", colours, len(samples), None)
    if density_per_m.ndim != 1 or colours.ndim != 2:
        raise ValueError(f"density_per_m must have shape (M,) and colours (M, C), got {tuple(density_per_m.shape)} and {tuple(colours.shape)}")
    check_dtype("density_per_m", density_per_m, torch.float32, torch.float64)
    for name, tensor in (("colours", colours), ("samples.t_m", samples.t_m), ("samples.step_m", samples.step_m)):
        check_dtype(name, tensor, density_per_m.dtype)
    check_shape("samples.step_m", samples.step_m, len(samples))
    check_shape("samples.ray_start", samples.ray_start, None)
    check_dtype("samples.ray_start", samples.ray_start, torch.int64)
    if not 0 <= min_transmittance < 1:
        raise ValueError(f"min_transmittance must be from 0 to below 1, got {min_transmittance}")
    kernels = kernels_for(
        density_per_m=density_per_m, colours=colours, t_m=samples.t_m, step_m=samples.step_m, ray_start=samples.ray_start, background=background
    )
    behind = _background(background, samples.num_rays, colours)
    inputs = (density_per_m, colours, samples.t_m, samples.step_m, behind, samples.ray_start, min_transmittance)
    if kernels == "numba":
        colour, depth, alpha, weights = _NumbaComposite.apply(*inputs)
    else:
        _check_values(density_per_m, colours, samples)
        if kernels == "warp" and density_per_m.dtype == torch.float32:
            colour, depth, alpha, weights = _WarpComposite.apply(*inputs)
        else:
            from .torch_kernels.volumes import composite as composite_in_torch

            colour, depth, alpha, weights = composite_in_torch(*inputs)
    return Composite(colour, depth, alpha, weights)


def _background(background: torch.Tensor | None, num_rays: int, colours: torch.Tensor) -> torch.Tensor | None:
    if background is None:
        return None
    check_dtype("background", background, colours.dtype)
    channels = colours.shape[1]
    if background.shape not in ((channels,), (num_rays, channels)):
        raise ValueError(f"background must have shape ({channels},) or ({num_rays}, {channels}), got {tuple(background.shape)}")
    return background.expand(num_rays, channels)


class _NumbaComposite(torch.autograd.Function):
    @staticmethod
    def forward(ctx, density, colours, t, step, background, ray_start, min_transmittance):  # noqa: ANN001 - signature set by torch
        from .numba_kernels.volumes import RAYS_PER_CHUNK, composite_forward

        starts = ray_start.numpy()
        if len(starts) == 0 or starts[0] != 0 or starts[-1] != len(t) or (starts[1:] < starts[:-1]).any():
            raise ValueError(f"samples.ray_start must rise from 0 to {len(t)}")
        arrays = [tensor.detach().contiguous() for tensor in (density, colours, t, step)]
        behind = colours.new_empty(0, colours.shape[1]) if background is None else background.detach().contiguous()
        num_rays, channels = len(starts) - 1, colours.shape[1]
        colour, depth, alpha = (torch.empty(size, dtype=t.dtype) for size in ((num_rays, channels), num_rays, num_rays))
        weights, remaining = torch.empty_like(arrays[0]), torch.empty_like(arrays[0])
        ends = np.empty(num_rays, np.int64)
        bad = np.full(-(-num_rays // RAYS_PER_CHUNK), -1, np.int64)
        outputs = [tensor.numpy() for tensor in (colour, depth, alpha, weights, remaining)]
        composite_forward(*[array.numpy() for array in arrays], behind.numpy(), starts, min_transmittance, *outputs, ends, bad)
        if (bad >= 0).any():
            ray = int(bad[bad >= 0][0])
            message = f"The samples of ray {ray} (or its background) are not finite, or a density or step is negative."
            raise AvatarError("diverged", message, "", {"ray": ray})
        ctx.save_for_backward(*arrays, behind, ray_start, weights, remaining)
        ctx.ends = ends
        ctx.set_materialize_grads(False)
        return colour, depth, alpha, weights

    @staticmethod
    @once_differentiable
    def backward(ctx, *upstream):  # noqa: ANN001
        from .numba_kernels.volumes import composite_backward

        density, colours, t, step, behind, ray_start, weights, remaining = ctx.saved_tensors
        num_rays = len(ctx.ends)
        # An output that was not used comes as None, and as an empty array into the kernel.
        given = [_gradient(grad, t.new_empty(shape)) for grad, shape in zip(upstream, ((0, colours.shape[1]), 0, 0, 0))]
        grads = [torch.empty_like(tensor) for tensor in (density, colours, t, step)]
        behind_grad = torch.empty(num_rays if len(behind) else 0, colours.shape[1], dtype=t.dtype)
        arrays = [tensor.numpy() for tensor in (density, colours, t, step, behind, ray_start, weights, remaining)]
        composite_backward(*arrays, ctx.ends, *[grad.numpy() for grad in given], *[grad.numpy() for grad in grads], behind_grad.numpy())
        return *grads, behind_grad if len(behind) else None, None, None


class _WarpComposite(torch.autograd.Function):
    @staticmethod
    def forward(ctx, density, colours, t, step, background, ray_start, min_transmittance):  # noqa: ANN001
        from .warp_kernels.volumes import composite_forward

        arrays = [tensor.detach().contiguous() for tensor in (density, colours, t, step)]
        behind = colours.new_zeros(len(ray_start) - 1, colours.shape[1]) if background is None else background.detach().contiguous()
        colour, depth, alpha, weights, remaining = composite_forward(*arrays, behind, ray_start, min_transmittance)
        ctx.save_for_backward(*arrays, behind, ray_start, weights, remaining)
        ctx.has_background = background is not None
        return colour, depth, alpha, weights

    @staticmethod
    @once_differentiable
    def backward(ctx, *upstream):  # noqa: ANN001
        from .warp_kernels.volumes import composite_backward

        *grads, behind_grad = composite_backward(*ctx.saved_tensors, *[grad.contiguous() for grad in upstream])
        return *grads, behind_grad if ctx.has_background else None, None, None


def _gradient(grad: torch.Tensor | None, empty: torch.Tensor) -> torch.Tensor:
    return empty if grad is None else grad.contiguous()


def _check_values(density: torch.Tensor, colours: torch.Tensor, samples: Samples) -> None:
    """One look at all values, because each look waits for the device."""
    starts = samples.ray_start
    is_rising = (starts[1:] >= starts[:-1]).all() & (starts[:1] == 0).all() & (starts[-1:] == len(samples)).all()
    values = [torch.isfinite(tensor.detach()).all() for tensor in (density, colours, samples.t_m, samples.step_m)]
    is_positive = (density.detach() >= 0).all() & (samples.step_m.detach() >= 0).all()
    rising, *finite, positive = torch.stack([is_rising, *values, is_positive]).tolist()
    if not rising or len(starts) == 0:
        raise ValueError(f"samples.ray_start must rise from 0 to {len(samples)}")
    if not all(finite) or not positive:
        raise AvatarError("diverged", "Samples to composite are not finite, or a density or step is negative.")
