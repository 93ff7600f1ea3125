"""Attributes of a mesh at pixels, with gradients to the attributes and to where the triangles lie."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch

from ..geometry.shapes import check_dtype, check_finite, check_shape
from .fragments import Covered, Fragments, batched
from .kernel_choice import kernels_for
from .numba_kernels import interpolation as numba_kernels
from .torch_kernels import interpolation as torch_kernels

_CHUNKS = 64
"""Runs of triangles dealt out to the threads."""


def homogeneous_from_cam(vertices_cam_m: torch.Tensor, px_from_cam: torch.Tensor) -> torch.Tensor:
    """h = K v, (x_px z, y_px z, z): what the mesh functions are differentiable in.

    Args:
        vertices_cam_m: (V, 3) or (B, V, 3), camera frame, m. px_from_cam: (3, 3) or (B, 3, 3) K.

    Returns:
        (V, 3) or (B, V, 3), dtype of ``vertices_cam_m``; differentiable in both.
    """
    check_shape("vertices_cam_m", vertices_cam_m, None, 3)
    check_shape("px_from_cam", px_from_cam, 3, 3)
    return vertices_cam_m @ px_from_cam.to(vertices_cam_m).transpose(-1, -2)


def interpolate(fragments: Fragments, triangles: torch.Tensor, attributes: torch.Tensor, homogeneous: torch.Tensor | None = None) -> torch.Tensor:
    """Attributes at every pixel, perspective-correct; 0 on the background.

    Args:
        triangles: (F, 3) int, triangle f of the mesh as indices into per-vertex ``attributes`` (for uv: the uv triangles).
        attributes: (T, C) or (B, T, C) float, per vertex; (F, 3, C) or (B, F, 3, C), per corner, where ``triangles`` are not read.
            For three pictures or triangles a (B, T, C) of T = 3 can look like (F, 3, C): per corner goes first.
        homogeneous: (V, 3) or (B, V, 3) float, K times the vertices that were drawn (``homogeneous_from_cam``); None = those,
            without gradients.

    Returns:
        (H, W, C) or (B, H, W, C), dtype of ``attributes``. Differentiable in ``attributes`` and ``homogeneous``; the depth of a
        pixel is the attribute z of ``homogeneous``. Which triangle a pixel sees is not differentiable (``silhouettes`` is).

    Raises:
        ValueError, TypeError: wrong shape, device or dtype.
        AvatarError: ``diverged`` when ``homogeneous`` is not finite.
    """
    return fragments.covered.scatter(interpolate_covered(fragments.covered, triangles, attributes, homogeneous))


def interpolate_covered(covered: Covered, triangles: torch.Tensor, attributes: torch.Tensor, homogeneous: torch.Tensor | None = None) -> torch.Tensor:
    """``interpolate`` at the covered pixels alone: (P, C) in the order of ``covered``, which ``covered.scatter`` makes a picture."""
    attributes = torch.as_tensor(attributes)
    check_dtype("attributes", attributes, torch.float32, torch.float64)
    attributes, triangles = _per_vertex(attributes, triangles, covered)
    if homogeneous is not None:
        check_dtype("homogeneous", homogeneous, torch.float32, torch.float64)
        wanted = covered.homogeneous.shape
        if batched(homogeneous).shape != batched(covered.homogeneous).shape:
            raise ValueError(f"homogeneous must have shape {tuple(wanted)} like the vertices that were drawn, got {tuple(homogeneous.shape)}")
        # One sum shows nearly always that all is finite; only where it does not are the entries looked at.
        if not math.isfinite(float(homogeneous.detach().sum())):
            check_finite("homogeneous", homogeneous)
    kernels = kernels_for(triangle_ids=covered.triangle_ids, triangles=triangles, attributes=attributes, homogeneous=homogeneous)
    positions = batched(covered.homogeneous if homogeneous is None else homogeneous)
    if kernels == "numba" and covered.seen is not None:
        return _NumbaInterpolation.apply(positions, attributes, triangles, covered)
    if kernels == "warp" and attributes.dtype == torch.float32:
        from .warp_kernels.interpolation import WarpInterpolation

        return WarpInterpolation.apply(positions, attributes, triangles, covered)
    return _with_torch(positions, attributes, triangles, covered)


def _with_torch(positions: torch.Tensor, attributes: torch.Tensor, triangles: torch.Tensor, covered: Covered) -> torch.Tensor:
    height, width = covered.size_hw
    weights = torch_kernels.barycentric(positions, covered.triangles, covered.triangle_ids, covered.pixels, (height, width))
    return torch_kernels.interpolate(weights, attributes, triangles, covered.triangle_ids, covered.pixels // (height * width))


def _per_vertex(attributes: torch.Tensor, triangles: Any, covered: Covered) -> tuple[torch.Tensor, torch.Tensor]:
    """Attributes as (1 or B, T, C) and the (F, 3) int32 triangles that index them."""
    num_triangles = len(covered.triangles)
    is_per_corner = attributes.ndim == 4 or (attributes.ndim == 3 and attributes.shape[:2] == (num_triangles, 3))
    if is_per_corner:
        check_shape("attributes", attributes, num_triangles, 3, None)
        flat = attributes.reshape(-1, 3 * num_triangles, attributes.shape[-1])
        triangles = torch.arange(3 * num_triangles, dtype=torch.int32, device=attributes.device).view(-1, 3)
    else:
        check_shape("attributes", attributes, None, None)
        if attributes.ndim > 3:
            raise ValueError(f"attributes must have shape (T, C), (B, T, C), (F, 3, C) or (B, F, 3, C), got {tuple(attributes.shape)}")
        flat = batched(attributes)
        triangles = torch.as_tensor(triangles)
        if triangles is not covered.triangles:
            check_shape("triangles", triangles, num_triangles, 3)
            triangles = triangles.to(torch.int32)
        _check_indices(triangles, flat.shape[1], covered)
    if len(flat) not in (1, covered.num_pictures):
        raise ValueError(f"attributes must have a batch of 1 or {covered.num_pictures}, got {len(flat)}")
    return flat, triangles


def _check_indices(triangles: torch.Tensor, num_attributes: int, covered: Covered) -> None:
    """No kernel may read beyond the attributes. The triangles that were drawn have been checked against the vertices."""
    if triangles is covered.triangles and num_attributes >= covered.homogeneous.shape[-2] or not len(triangles):
        return
    low, high = (int(bound) for bound in triangles.aminmax())
    if low < 0 or high >= num_attributes:
        raise ValueError(f"triangles name attributes {low}..{high}, but there are {num_attributes}")


class _NumbaInterpolation(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, positions: torch.Tensor, attributes: torch.Tensor, triangles: torch.Tensor, covered: Covered) -> torch.Tensor:
        height, width = covered.size_hw
        values = torch.empty((len(covered), attributes.shape[2]), dtype=attributes.dtype)
        numba_kernels.interpolate_into(*_inputs(positions, attributes, triangles, covered), height, width, _CHUNKS, values.numpy())
        ctx.covered = covered
        ctx.save_for_backward(positions, attributes, triangles, values if ctx.needs_input_grad[0] else attributes)
        return values

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, upstream: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        positions, attributes, triangles, values = ctx.saved_tensors
        use_positions, use_attributes = ctx.needs_input_grad[:2]
        upstream = upstream.contiguous()
        num_seen, num_channels = len(ctx.covered.seen), attributes.shape[2]
        num_pictures = len(positions)
        attribute_grad = torch.zeros((num_pictures, *attributes.shape[1:]) if use_attributes else (0, 0, 0), dtype=attributes.dtype)
        position_grad = torch.zeros(positions.shape if use_positions else (0, 0, 0), dtype=torch.float64)
        numba_kernels.gradients_into(
            *_inputs(positions, attributes, triangles, ctx.covered), *ctx.covered.size_hw, _CHUNKS,
            values.numpy() if use_positions else upstream.numpy(), upstream.numpy(), use_attributes, use_positions,
            np.empty((num_seen, 3, num_channels)), np.empty((num_seen, 3, 3) if use_positions else (0, 0, 0)),
            attribute_grad.numpy(), position_grad.numpy(),
        )
        if len(attributes) == 1 < num_pictures and use_attributes:
            attribute_grad = attribute_grad.sum(0, keepdim=True)
        return position_grad.to(positions.dtype) if use_positions else None, attribute_grad if use_attributes else None, None, None


def _inputs(positions: torch.Tensor, attributes: torch.Tensor, triangles: torch.Tensor, covered: Covered) -> tuple[np.ndarray, ...]:
    tensors = (positions.detach().double(), covered.triangles, attributes.detach(), triangles, covered.pixels, covered.seen, covered.starts)
    return tuple(tensor.contiguous().numpy() for tensor in tensors)  # type: ignore[union-attr]
