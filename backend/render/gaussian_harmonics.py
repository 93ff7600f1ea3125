"""Colours that depend on the direction of view: real spherical harmonics to degree 3, order and signs of gsplat."""

from __future__ import annotations

from typing import Any

import torch

from ..geometry.shapes import check_dtype, check_finite
from .kernel_choice import kernels_for

NUM_HARMONICS = (1, 4, 9, 16)
"""Coefficients up to degree 0, 1, 2, 3."""


def harmonic_colours(coefficients: torch.Tensor, directions: torch.Tensor) -> torch.Tensor:
    """Sum of coefficients times harmonics along each direction.

    Args:
        coefficients: (N, K, C) float, K = 1, 4, 9 or 16: 1 | y z x | xy yz 3z^2-1 xz x^2-y^2 | degree 3, the odd ones of degree 1 and 3 with
            the Condon-Shortley sign, as gsplat has them.
        directions: (N, 3) float, from the eye to the splat, any length but 0 (length 0: only the constant counts).

    Returns:
        (N, C), same dtype: the bare sum; ``render_gaussians`` adds 0.5 and cuts at 0 as gsplat does. Differentiable in both.

    Raises:
        ValueError, TypeError: shape, dtype or device. AvatarError: ``diverged`` for a value that is not finite.

    Source: Sloan, Efficient spherical harmonic evaluation, JCGT 2013.
    """
    if coefficients.ndim != 3 or coefficients.shape[1] not in NUM_HARMONICS:
        raise ValueError(f"coefficients must have shape (N, 1 | 4 | 9 | 16, C), got {tuple(coefficients.shape)}")
    if tuple(directions.shape) != (len(coefficients), 3):
        raise ValueError(f"directions must have shape ({len(coefficients)}, 3), got {tuple(directions.shape)}")
    kernels = kernels_for(coefficients=coefficients, directions=directions)
    check_dtype("coefficients", coefficients, torch.float32, torch.float64)
    check_dtype("directions", directions, coefficients.dtype)
    if kernels == "numba":
        colours = _NumbaHarmonics.apply(coefficients, directions)
    else:
        # A handful of products per splat: torch on the device is as good as a kernel.
        colours = torch.einsum("nk,nkc->nc", _harmonics(torch.nn.functional.normalize(directions, dim=-1), coefficients.shape[1]), coefficients)
    # A value that is not finite shows in the sum, which is a sixteenth of the coefficients. (A direction does not, where only the constant counts.)
    if not bool(torch.isfinite(colours.detach()).all()):
        check_finite("coefficients", coefficients)
        check_finite("directions", directions)
        check_finite("the sum of harmonics", colours)
    return colours


def _harmonics(directions: torch.Tensor, num: int) -> torch.Tensor:
    """(N, num) harmonics of unit vectors (N, 3)."""
    x, y, z = directions.unbind(-1)
    values = [torch.full_like(x, 0.28209479177387814)]
    if num > 1:
        values += [-0.4886025119029199 * y, 0.4886025119029199 * z, -0.4886025119029199 * x]
    if num > 4:
        values += [1.0925484305920792 * x * y, -1.0925484305920792 * y * z, 0.31539156525252005 * (3 * z * z - 1)]
        values += [-1.0925484305920792 * x * z, 0.5462742152960396 * (x * x - y * y)]
    if num > 9:
        values += [-0.5900435899266435 * y * (3 * x * x - y * y), 2.890611442640554 * x * y * z, -0.4570457994644658 * y * (5 * z * z - 1)]
        values += [0.3731763325901154 * z * (5 * z * z - 3), -0.4570457994644658 * x * (5 * z * z - 1)]
        values += [1.445305721320277 * z * (x * x - y * y), -0.5900435899266435 * x * (x * x - 3 * y * y)]
    return torch.stack(values, -1)


class _NumbaHarmonics(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, coefficients, directions):  # type: ignore[no-untyped-def]
        from .numba_kernels.gaussians_harmonics import colours_forward

        ctx.save_for_backward(coefficients, directions)
        colours = coefficients.new_empty(len(coefficients), coefficients.shape[2])
        colours_forward(coefficients.detach().contiguous().numpy(), directions.detach().contiguous().numpy(), colours.numpy())
        return colours

    @staticmethod
    def backward(ctx: Any, grad_colours):  # type: ignore[no-untyped-def]
        from .numba_kernels.gaussians_harmonics import colours_backward

        coefficients, directions = ctx.saved_tensors
        grad_coefficients = torch.empty_like(coefficients, memory_format=torch.contiguous_format)
        grad_directions = torch.empty_like(directions, memory_format=torch.contiguous_format)
        inputs = (tensor.detach().contiguous().numpy() for tensor in (coefficients, directions, grad_colours))
        colours_backward(*inputs, grad_coefficients.numpy(), grad_directions.numpy())
        return grad_coefficients, grad_directions
