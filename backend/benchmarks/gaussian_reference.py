"""A compositor of splats that is slow and obvious: every splat at every pixel, in one tensor. Tests and benchmarks compare with it."""

from __future__ import annotations

import torch


def composite_dense(
    means_px: torch.Tensor, conics: torch.Tensor, depths_m: torch.Tensor, is_visible: torch.Tensor, opacities: torch.Tensor, colours: torch.Tensor,
    background: torch.Tensor, size_hw: tuple[int, int],
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """What ``composite_gaussians`` computes, from N x H x W numbers; autograd gives the gradients.

    Args:
        means_px: (N, 2). conics: (N, 3). depths_m: (N,). is_visible: (N,) bool. opacities: (N,). colours: (N, C). background: (C,).

    Returns:
        colour (H, W, C), alpha (H, W), depth_m (H, W), the sum of weights times z.
    """
    height, width = size_hw
    order = torch.argsort(depths_m.detach(), stable=True)
    order = order[is_visible[order]]
    x = torch.arange(width, dtype=means_px.dtype, device=means_px.device) + 0.5
    y = torch.arange(height, dtype=means_px.dtype, device=means_px.device) + 0.5
    dx = means_px[order, 0, None, None] - x
    dy = means_px[order, 1, None, None] - y[:, None]
    a, b, c = conics[order][..., None, None].unbind(1)
    sigma = 0.5 * (a * dx * dx + c * dy * dy) + b * dx * dy
    alpha = (opacities[order, None, None] * torch.exp(-sigma.clamp_min(0))).clamp_max(0.999)
    alpha = torch.where((sigma >= 0) & (alpha >= 1 / 255), alpha, 0.0)
    after = torch.cumprod(1 - alpha, 0)
    before = torch.cat([torch.ones_like(after[:1]), after[:-1]])
    weight = torch.where(after > 1e-4, alpha * before, 0.0)
    total = weight.sum(0)
    colour = torch.einsum("nhw,nc->hwc", weight, colours[order]) + (1 - total)[..., None] * background
    return colour, total, torch.einsum("nhw,n->hw", weight, depths_m[order])
