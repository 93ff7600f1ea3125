"""Silhouette antialiasing: the only place where the positions of a mesh's outline receive a gradient.

A rasterised picture jumps when an outline passes over a pixel centre. Here every silhouette edge of the mesh is walked, and
wherever it crosses the line between two neighbouring pixel centres the two are blended by how far the near surface reaches:
Laine et al., "Modular primitives for high-performance differentiable rendering", 2020, section 3.6. They look at the triangle
under each pixel, which misses most edges once triangles are smaller than pixels; walking the edges misses none.

An edge is a silhouette when all its triangles lie on one side of the plane through the camera and the edge (a boundary edge
always is). The test and the crossing use the edge's line equation h_a x h_b in homogeneous coordinates (Olano and Greer,
1997), which holds for edges that pass the near plane as well; only the walk along the edge stops there.

**Rows and columns.** Blending along rows for steep edges and along columns for shallow ones makes the picture jump by up to half
a contrast step where an outline turns through 45°, each time such a corner of the outline passes a line of pixel centres.
Therefore both are blended, with the shares n_x² and n_y² of the edge's unit normal in the picture. They sum to 1, so a pixel that
changes sides under an edge does so without a jump, and a displacement of the edge changes the summed coverage by exactly its
area; each share also shrinks faster than its crossing's speed 1 / n grows, so no gradient is ever large.

**The scale gradient.** The prototype's was reported 25 % too low against finite differences at 256². Its derivative is right. The
figure compared the slope at *one* scale with a difference over ±1.8 px: scaling a disc against a displaced equal disc gains on
one side what it loses on the other (±22 000 against a sum of 5 600), and that small sum goes up and down by 1 500 with
the sub-pixel phase of the outline. Averaged over the same interval the slope was 5 650, the difference quotient 5 622. The tests here
therefore compare the integral of the gradient with the difference of the ends: equal for a function without jumps, however large
the interval. On a sphere rendered while it scales, moves and turns the largest jump in a pixel went from 0.54 to 0.10.

A pixel whose blend weights sum to more than 1 (a piece of surface thinner than a pixel) has them scaled to 1, so that the result is
always a mixture of the colours given.

What still jumps: pieces of surface thinner than a pixel come and go with the pixel centres they cover (the tip of a corner), and
two outlines that cross within one pixel pair, of which only the outer is kept.
"""

from __future__ import annotations

import numpy as np
import torch
from torch.autograd.function import once_differentiable

from ..errors import AvatarError
from ..geometry.shapes import check_dtype, check_finite
from .edge_topology import EdgeTopology
from .fragments import Fragments
from .kernel_choice import kernels_for


def antialias(colour: torch.Tensor, fragments: Fragments, homogeneous: torch.Tensor, topology: EdgeTopology, near_m: float = 0.01) -> torch.Tensor:
    """The picture with blended outlines, of the whole object as well as of one part before another.

    Args:
        colour: (H, W, C) or (B, H, W, C) float32 or float64, linear light (or a mask), one value per pixel centre. The background
            takes part with the colour it has.
        fragments: what was rasterised, same leading dimensions; only ``depth_m`` is used.
        homogeneous: (V, 3) or (B, V, 3), K times camera-frame vertices: (x_px z, y_px z, z), z in m.
        topology: ``edge_topology`` of the triangles that were rasterised.
        near_m: the near plane of the rasteriser, m.

    Returns:
        Like ``colour``. Differentiable in ``colour`` and, at outlines, in ``homogeneous``, once (again only on the path "torch").
        Not differentiable: which pixels are blended, the depth, and the shares of rows and columns (their derivative is zero when the
        mesh moves or scales, and averages out along an outline when it turns). Where the near plane cuts the mesh there is no
        edge, so nothing is blended. On the CPU results and gradients are the same bit for bit for any number of threads and
        any split of the batch; on CUDA position gradients are added in any order.

    Raises:
        AvatarError: ``diverged`` when a colour or a position is not finite.
        ValueError, TypeError: wrong shape, dtype or device.
    """
    _check(colour, fragments, homogeneous, topology, near_m)
    is_single = colour.ndim == 3
    pictures = colour[None] if is_single else colour
    positions = homogeneous[None] if is_single else homogeneous
    depth = fragments.depth_m[None] if is_single else fragments.depth_m
    kernels = kernels_for(colour=colour, depth_m=depth, homogeneous=homogeneous, topology=topology.edges)
    if kernels == "numba":
        blended = _NumbaAntialias.apply(pictures, positions, depth.detach(), topology, near_m)
    else:
        check_finite("homogeneous", positions.detach())
        check_finite("colour", pictures.detach())
        if kernels == "warp" and colour.dtype == torch.float32:
            blended = _WarpAntialias.apply(pictures, positions, depth.detach(), topology, near_m)
        else:
            from .torch_kernels.silhouettes import antialias as plain_antialias

            blended = plain_antialias(pictures, positions, depth.detach(), topology, near_m)
    return blended[0] if is_single else blended


def _check(colour: torch.Tensor, fragments: Fragments, homogeneous: torch.Tensor, topology: EdgeTopology, near_m: float) -> None:
    if colour.ndim not in (3, 4):
        raise ValueError(f"colour must have shape (H, W, C) or (B, H, W, C), got {tuple(colour.shape)}")
    check_dtype("colour", colour, torch.float32, torch.float64)
    check_dtype("homogeneous", homogeneous, colour.dtype)
    if fragments.depth_m.shape != colour.shape[:-1]:
        raise ValueError(f"fragments must have shape {tuple(colour.shape[:-1])} like colour, got {tuple(fragments.depth_m.shape)}")
    lead = tuple(colour.shape[:-3])
    if homogeneous.ndim != len(lead) + 2 or tuple(homogeneous.shape[:-2]) != lead or homogeneous.shape[-1] != 3:
        raise ValueError(f"homogeneous must have shape {(*lead, 'V', 3)}, got {tuple(homogeneous.shape)}")
    if homogeneous.shape[-2] < topology.num_vertices:
        raise ValueError(f"homogeneous must have at least {topology.num_vertices} vertices for this topology, got {homogeneous.shape[-2]}")
    if not near_m > 0:
        raise ValueError(f"near_m must be positive, got {near_m}")


class _NumbaAntialias(torch.autograd.Function):
    @staticmethod
    def forward(ctx, colour, homogeneous, depth, topology, near_m):  # noqa: ANN001 - signature set by torch
        from .numba_kernels import silhouettes as kernels

        colour, homogeneous = colour.detach().contiguous(), homogeneous.detach().contiguous()
        positions, edges = homogeneous.numpy(), topology.edges.numpy()
        if not np.isfinite(positions).all():
            check_finite("homogeneous", homogeneous)
        batches, height, width, channels = colour.shape
        sides = np.empty((batches, len(edges)), np.int8)
        kernels.judge_edges(positions, edges, topology.opposites.numpy(), sides)
        winner = np.zeros((batches, 2 * height * width), np.int32)
        crossings = kernels.find_crossings(positions, edges, sides, depth.contiguous().numpy(), float(near_m), winner)
        blended = torch.empty_like(colour)
        flat = (batches, height * width, channels)
        totals = np.zeros(flat[:2], np.float32)
        if not kernels.blend(colour.numpy().reshape(flat), *crossings, totals, blended.numpy().reshape(flat)):
            check_finite("colour", colour)
            raise AvatarError("diverged", "The picture's values are too large to blend.")
        ctx.save_for_backward(colour, homogeneous, blended)
        ctx.edges, ctx.crossings, ctx.totals = edges, crossings, totals
        return blended

    @staticmethod
    @once_differentiable
    def backward(ctx, gradient):  # noqa: ANN001
        from .numba_kernels import silhouettes as kernels

        colour, homogeneous, blended = ctx.saved_tensors
        batches, height, width, channels = colour.shape
        flat = (batches, height * width, channels)
        nothing = np.empty((0, 0, 0))
        colour_gradient = torch.empty_like(colour) if ctx.needs_input_grad[0] else None
        position_gradient = np.zeros(homogeneous.shape) if ctx.needs_input_grad[1] else nothing
        kernels.blend_backward(
            *(values.numpy().reshape(flat) for values in (gradient.contiguous(), colour, blended.detach())), ctx.totals, homogeneous.numpy(), ctx.edges,
            *ctx.crossings,
            nothing.astype(colour.numpy().dtype) if colour_gradient is None else colour_gradient.numpy().reshape(flat), position_gradient,
        )
        return colour_gradient, torch.from_numpy(position_gradient).to(homogeneous.dtype) if ctx.needs_input_grad[1] else None, None, None, None


class _WarpAntialias(torch.autograd.Function):
    @staticmethod
    def forward(ctx, colour, homogeneous, depth, topology, near_m):  # noqa: ANN001
        from .warp_kernels.silhouettes import blend, claim_pairs

        colour, homogeneous = colour.detach().contiguous(), homogeneous.detach().contiguous()
        mesh = (homogeneous, topology, claim_pairs(homogeneous, depth.contiguous(), topology, near_m), near_m)
        blended, totals = blend(colour, *mesh)
        ctx.save_for_backward(colour, blended, totals)
        ctx.mesh = mesh
        return blended

    @staticmethod
    @once_differentiable
    def backward(ctx, gradient):  # noqa: ANN001
        from .warp_kernels.silhouettes import blend_colour_backward, blend_position_backward

        colour, blended, totals = ctx.saved_tensors
        gradient = gradient.contiguous()
        colour_gradient = blend_colour_backward(gradient, totals, *ctx.mesh) if ctx.needs_input_grad[0] else None
        position_gradient = blend_position_backward(gradient, colour, blended.detach(), totals, *ctx.mesh) if ctx.needs_input_grad[1] else None
        return colour_gradient, position_gradient, None, None, None
