"""Alpha compositing in plain torch: the packed samples are laid out as a table of rays by samples."""

from __future__ import annotations

import torch

_OPAQUE = 1e4
"""Optical depth of no transmittance at all; larger ones would give inf - inf in the running sum."""


def composite(
    density: torch.Tensor,
    colours: torch.Tensor,
    t: torch.Tensor,
    step: torch.Tensor,
    background: torch.Tensor | None,
    ray_start: torch.Tensor,
    min_transmittance: float,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    """colour (R, C), depth (R,), alpha (R,), weights (M,); see ``volumes.composite``."""
    counts = ray_start[1:] - ray_start[:-1]
    longest = int(counts.amax()) if len(counts) else 0
    places = torch.arange(longest, device=t.device)
    is_sample = places < counts[:, None]
    rows = torch.where(is_sample, ray_start[:-1, None] + places, 0)
    tau = torch.where(is_sample, (density * step).clamp_max(_OPAQUE)[rows], 0) if len(t) else t.new_zeros(is_sample.shape)
    before = tau.cumsum(1) - tau
    counts_for = (torch.exp(-before.detach()) >= min_transmittance) & is_sample
    tau = torch.where(counts_for, tau, 0)
    table = torch.where(counts_for, torch.exp(-before) * -torch.expm1(-tau), 0)
    weights = table[is_sample]
    left_over = torch.exp(-tau.sum(1))
    ray_ids = torch.repeat_interleave(torch.arange(len(counts), device=t.device), counts)
    colour = colours.new_zeros(len(counts), colours.shape[1]).index_add(0, ray_ids, weights[:, None] * colours)
    depth = t.new_zeros(len(counts)).index_add(0, ray_ids, weights * t)
    if background is not None:
        colour = colour + left_over[:, None] * background
    return colour, depth, 1 - left_over, weights
