"""Projected splats over one another, front to back, and what the gradients of that say about each splat."""

from __future__ import annotations

import dataclasses
from typing import Any

import torch

from ..errors import AvatarError
from ..geometry.shapes import check_dtype, check_finite, check_shape
from .gaussian_projection import ProjectedGaussians
from .kernel_choice import kernels_for


@dataclasses.dataclass(frozen=True)
class Composite:
    """colour: (H, W, C), background included. alpha: (H, W), 1 - transmittance. depth_m: (H, W), sum of weight times z, or None."""

    colour: torch.Tensor
    alpha: torch.Tensor
    depth_m: torch.Tensor | None


@dataclasses.dataclass(frozen=True)
class ScreenGradients:
    """How the loss pulls at the centres in the picture; zero until a backward pass has run, which adds to it as to ``.grad``.

    signed: (N, 2) dL/d means_px. absolute: (N, 2) the same with absolute values summed over pixels (AbsGS, Ye et al. 2024, equation 6):
    does not cancel where a splat is too large for what it shows, which is when densification should split it.
    """

    signed: torch.Tensor
    absolute: torch.Tensor


def composite_gaussians(
    projected: ProjectedGaussians,
    opacities: torch.Tensor,
    colours: torch.Tensor,
    size_hw: tuple[int, int],
    background: torch.Tensor | None = None,
    *,
    use_depth: bool = False,
    screen_gradients: ScreenGradients | None = None,
) -> Composite:
    """Colours of the splats over the background: C = sum_i c_i a_i T_i + T background, T_i = prod_{j<i} (1 - a_j).

    a = min(0.999, opacity exp(-d^T Q d / 2)) at the pixel centre (+0.5), nothing below 1/255; a pixel stops before the splat
    that would bring T to 1e-4 or below. Order: depth of the centres, equal depths by index.

    Args:
        projected: N splats, from ``project_gaussians``.
        opacities: (N,) float; below 1/255 unseen, above 1 the splat is a disc with soft rim.
        colours: (N, C) float, linear light or any features, C >= 1.
        size_hw: height and width of the picture, px.
        background: (C,) float, linear; None = 0.
        use_depth: also composite z of the centres. It is not divided by alpha, and the background adds 0.
        screen_gradients: filled during the backward pass.

    Returns:
        Composite. Differentiable: everything in means_px, conics, depths_m, opacities, colours, background. Not: the order, the
        thresholds; opacity and shape get no gradient where a is cut at 0.999.

    Raises:
        ValueError, TypeError: shape, dtype or device. AvatarError: ``diverged`` for a value that is not finite.

    Source: Kerbl et al., 3D Gaussian splatting for real-time radiance field rendering, 2023, section 6 and appendix C.
    """
    num = len(projected.depths_m)
    height, width = size_hw
    if height < 1 or width < 1:
        raise ValueError(f"size_hw must be at least (1, 1), got {tuple(size_hw)}")
    if tuple(opacities.shape) != (num,):
        raise ValueError(f"opacities must have shape ({num},), got {tuple(opacities.shape)}")
    if colours.ndim != 2 or len(colours) != num or colours.shape[1] < 1:
        raise ValueError(f"colours must have shape ({num}, C) with C >= 1, got {tuple(colours.shape)}")
    if background is None:
        background = colours.new_zeros(colours.shape[1])
    check_shape("background", background, colours.shape[1])
    if background.ndim != 1:
        raise ValueError(f"background must have shape ({colours.shape[1]},), got {tuple(background.shape)}")
    tensors = {"means_px": projected.means_px, "opacities": opacities, "colours": colours, "background": background}
    kernels = kernels_for(**tensors)
    wanted = (torch.float32, torch.float64) if kernels == "torch" else (torch.float32,)
    check_dtype("means_px", projected.means_px, *wanted)
    for name, tensor in tensors.items():
        check_dtype(name, tensor, projected.means_px.dtype)
    size = int(height), int(width)
    if kernels == "numba":
        arguments = (projected.means_px, projected.conics, projected.depths_m, opacities, colours, background)
        colour, alpha, depth = _NumbaCompositing.apply(*arguments, projected.radii_px, size, use_depth, screen_gradients)
    elif kernels == "warp":
        from .compiled_gsplat import composite as composite_gsplat
        from .compiled_gsplat import is_compiled
        from .warp_kernels.gaussians_compositing import composite as composite_warp

        _refuse(opacities, colours, background)
        composite = composite_gsplat if colours.is_cuda and is_compiled() else composite_warp
        colour, alpha, depth = composite(projected, opacities, colours, background, size, use_depth, screen_gradients)
    else:
        from .torch_kernels.gaussians import composite as composite_torch

        _refuse(opacities, colours, background)
        colour, alpha, depth = composite_torch(projected, opacities, colours, background, size, use_depth, screen_gradients)
    return Composite(colour, alpha, depth if use_depth else None)


def _refuse(opacities: torch.Tensor, colours: torch.Tensor, background: torch.Tensor) -> None:
    """Raises for the argument that is not finite; asks the device once when all are."""
    if bool(torch.isfinite(opacities).all() & torch.isfinite(colours).all() & torch.isfinite(background).all()):
        return
    check_finite("opacities", opacities)
    check_finite("colours", colours)
    check_finite("background", background)


class _NumbaCompositing(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, means_px, conics, depths_m, opacities, colours, background, radii_px, size, use_depth, screen_gradients):  # type: ignore[no-untyped-def]
        from .numba_kernels import gaussians_tiles as tiles
        from .numba_kernels.gaussians_compositing import composite_forward

        height, width = size
        num, num_channels = colours.shape
        is_bad = torch.empty(tiles.NUM_CHUNKS, dtype=torch.bool)
        features = colours.new_empty(num, -4 * (-(num_channels + int(use_depth)) // 4))
        depths = _numpy(depths_m)
        tiles.pack_features(_numpy(colours), depths, use_depth, features.numpy(), is_bad.numpy())
        if is_bad.numpy().any() or not bool(torch.isfinite(opacities).all()) or not bool(torch.isfinite(background).all()):
            _refuse(opacities, colours, background)
            raise AvatarError("diverged", "colours are too large to be summed.", "", {"argument": "colours"})
        splats, bounds = torch.empty(num, 8), torch.empty(num, 4, dtype=torch.int32)
        slots, keys = torch.empty(num + 1, dtype=torch.int64), torch.empty(num, dtype=torch.uint32)
        packed = (splats.numpy(), bounds.numpy(), slots.numpy(), keys.numpy())
        tiles.pack_splats(_numpy(means_px), _numpy(conics), radii_px.numpy(), depths, _numpy(opacities), height, width, *packed)
        order = tiles.order_visible(packed[2], packed[3])
        starts, ids = tiles.fill_tiles(order, packed[1], height, width)
        colour, alpha, transmittance = colours.new_empty(height, width, num_channels), colours.new_empty(height, width), colours.new_empty(height, width)
        depth = colours.new_empty((height, width) if use_depth else (0, 0))
        last = torch.empty(height, width, dtype=torch.int32)
        composite_forward(
            packed[0], packed[1], starts, ids, features.numpy(), _numpy(background), colour.numpy(), depth.numpy(), transmittance.numpy(), alpha.numpy(), last.numpy()
        )
        ctx.save_for_backward(background)
        ctx.lists = packed[:3] + (starts, ids, features.numpy(), transmittance.numpy(), last.numpy())
        ctx.settings = num_channels, use_depth, screen_gradients
        ctx.set_materialize_grads(False)
        if not use_depth:
            ctx.mark_non_differentiable(depth)
        return colour, alpha, depth

    @staticmethod
    def backward(ctx: Any, grad_colour, grad_alpha, grad_depth):  # type: ignore[no-untyped-def]
        from .numba_kernels.gaussians_compositing import composite_backward, gather_slots

        (background,) = ctx.saved_tensors
        splats, bounds, slots, starts, ids, features, transmittance, last = ctx.lists
        num_channels, use_depth, screen_gradients = ctx.settings
        num, (height, width) = len(splats), transmittance.shape
        new = background.new_empty
        grad_colour = background.new_zeros(height, width, num_channels) if grad_colour is None else grad_colour.contiguous()
        grad_alpha = background.new_zeros(height, width) if grad_alpha is None else grad_alpha.contiguous()
        has_depth = use_depth and grad_depth is not None
        grad_depth = grad_depth.contiguous() if has_depth else new(0, 0)
        gradients, grad_background = new(int(slots[-1]), 8 + features.shape[1]), new(len(starts) - 1, num_channels)
        composite_backward(
            splats, bounds, starts, ids, slots, features, _numpy(background), transmittance, last, grad_colour.numpy(), grad_depth.numpy(),
            grad_alpha.numpy(), screen_gradients is not None, gradients.numpy(), grad_background.numpy(),
        )
        num_features = num_channels + int(use_depth)
        grads = new(num, 2), new(num, 3), new(num), new(num, 2), new(num, num_features)
        gather_slots(slots, gradients.numpy(), *(grad.numpy() for grad in grads))
        if screen_gradients is not None:
            screen_gradients.signed.add_(grads[0])
            screen_gradients.absolute.add_(grads[3])
        grad_background = torch.from_numpy(grad_background.numpy().sum(0))
        grad_depths = grads[4][:, num_channels] if has_depth else None
        return grads[0], grads[1], grad_depths, grads[2], grads[4][:, :num_channels], grad_background, None, None, None, None


def _numpy(tensor: torch.Tensor):  # type: ignore[no-untyped-def]
    return tensor.detach().contiguous().numpy()
