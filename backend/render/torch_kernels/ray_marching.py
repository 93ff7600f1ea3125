"""The walk of rays through an occupancy grid in plain torch: all places of the lattice are looked up, full and empty ones."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from ..occupancy import OccupancyGrid
    from ..ray_sampling import Rays

_PLACES_AT_ONCE = 1 << 22


def march(
    rays: Rays, grid: OccupancyGrid, enter: torch.Tensor, leave: torch.Tensor, shift: torch.Tensor, step_m: float, most: int
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """ray_start (R + 1,), ray_ids (M,), t (M,): see ``occupancy.sample_occupied``."""
    device = enter.device
    size = torch.tensor(grid.is_occupied.shape, device=device)
    per_m = size.to(torch.float32) / (grid.box_m[1] - grid.box_m[0])
    longest = int(((leave - enter) / step_m).amax().ceil()) + 1 if len(rays) else 1
    lattice = torch.arange(longest, device=device, dtype=torch.float32)
    counts, ids, distances = [], [], []
    rays_at_once = max(_PLACES_AT_ONCE // longest, 1)
    for first in range(0, len(rays), rays_at_once):
        part = slice(first, first + rays_at_once)
        t = enter[part, None] + (lattice + shift[part, None]) * step_m
        places = (rays.origins_m[part, None] + t[..., None] * rays.directions[part, None] - grid.box_m[0]) * per_m
        # Clamped before it becomes a whole number: places beyond the far end of the box may be far away.
        cells = torch.minimum(places.clamp_min(0).minimum(size.to(torch.float32)).long(), size - 1)
        is_kept = grid.is_occupied[cells[..., 0], cells[..., 1], cells[..., 2]] & (t < leave[part, None])
        is_kept &= is_kept.cumsum(1) <= most
        counts.append(is_kept.sum(1))
        ids.append(is_kept.nonzero()[:, 0] + first)
        distances.append(t[is_kept])
    start = torch.zeros(1, dtype=torch.int64, device=device)
    if not counts:
        return start, start[:0], enter[:0]
    return torch.cat([start, torch.cat(counts).cumsum(0)]), torch.cat(ids), torch.cat(distances)
