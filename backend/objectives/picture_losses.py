"""Losses between pictures, in sRGB, over the pixels of a mask; differentiable.

All take pictures (B, 3, H, W) in [0, 1] and a weight (B, 1, H, W) in [0, 1], and return a number that does not depend on how much of the picture the
mask covers.
"""

from __future__ import annotations

import torch

from ..geometry.shapes import check_shape

SSIM_WINDOW_PX, SSIM_STRIDE_PX = 7, 3
"""Windows lie this far apart: every pixel is in at least four, at a ninth of the cost."""
_C1, _C2 = 0.01**2, 0.03**2


def l1_loss(picture: torch.Tensor, target: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    """Mean absolute difference."""
    _check(picture, target, weight)
    return ((picture - target).abs() * weight).sum() / (3 * weight.sum()).clamp_min(1e-6)


def gradient_loss(picture: torch.Tensor, target: torch.Tensor, weight: torch.Tensor, num_levels: int = 3) -> torch.Tensor:
    """L1 of the differences of neighbouring pixels, mean over levels that are half as large each (spec dynamic_texture.md 13.10, "no VGG weights")."""
    _check(picture, target, weight)
    error, total = (picture - target) * weight, picture.new_zeros(())
    for level in range(num_levels):
        across, down = weight[..., 1:] * weight[..., :-1], weight[..., 1:, :] * weight[..., :-1, :]
        total = total + ((error[..., 1:] - error[..., :-1]).abs() * across).sum() / (3 * across.sum()).clamp_min(1e-6)
        total = total + ((error[..., 1:, :] - error[..., :-1, :]).abs() * down).sum() / (3 * down.sum()).clamp_min(1e-6)
        if level + 1 < num_levels:
            error, weight = torch.nn.functional.avg_pool2d(error, 2), torch.nn.functional.avg_pool2d(weight, 2)
    return total / (2 * num_levels)


def ssim_loss(picture: torch.Tensor, target: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    """1 - SSIM (Wang et al. 2004) with a box window of ``SSIM_WINDOW_PX``, which is several times cheaper than the Gaussian one of the metric.

    Pixels outside the mask take part as if both pictures were equal there.
    """
    _check(picture, target, weight)
    mixed = target + weight * (picture - target)
    mean = lambda values: torch.nn.functional.avg_pool2d(values.contiguous(), SSIM_WINDOW_PX, SSIM_STRIDE_PX)  # noqa: E731
    mean_1, mean_2, square_1, square_2, product = mean(torch.cat([mixed, target, mixed * mixed, target * target, mixed * target], 1)).split(3, 1)
    weight = mean(weight)
    variances = (square_1 - mean_1 * mean_1) + (square_2 - mean_2 * mean_2)
    value = (2 * mean_1 * mean_2 + _C1) * (2 * (product - mean_1 * mean_2) + _C2) / ((mean_1**2 + mean_2**2 + _C1) * (variances + _C2))
    return ((1 - value) * weight).sum() / (3 * weight.sum()).clamp_min(1e-6)


def _check(picture: torch.Tensor, target: torch.Tensor, weight: torch.Tensor) -> None:
    check_shape("picture", picture, None, 3, None, None)
    check_shape("target", target, *picture.shape)
    check_shape("weight", weight, picture.shape[0], 1, *picture.shape[2:])
