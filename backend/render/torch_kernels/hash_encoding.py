"""The multi-resolution hash encoding in plain torch: one gather per level, gradients by autograd."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from ..hash_grid import HashGrid

_PRIME_Y = 2654435761
_PRIME_Z = 805459861


def encode(positions: torch.Tensor, table: torch.Tensor, grid: HashGrid) -> torch.Tensor:
    """(N, 3) and (E, F) -> (N, L * F)."""
    corners = torch.tensor([[k & 1, k >> 1 & 1, k >> 2 & 1] for k in range(8)], device=positions.device)
    inside = positions.clamp(0, 1)
    columns = []
    for level in range(grid.num_levels):
        resolution, offset = int(grid.resolutions[level]), int(grid.offsets[level])
        scaled = inside * resolution
        lowest = scaled.detach().floor().clamp(0, resolution - 1)
        fraction = (scaled - lowest)[:, None]
        x, y, z = (lowest.long()[:, None] + corners).unbind(-1)
        if grid.is_dense[level]:
            rows = x + y * (resolution + 1) + z * (resolution + 1) ** 2
        else:
            rows = (x ^ (y * _PRIME_Y) ^ (z * _PRIME_Z)) & grid.mask
        weights = torch.where(corners.bool(), fraction, 1 - fraction).prod(-1)
        columns.append((table[rows + offset] * weights[..., None]).sum(1))
    return torch.cat(columns, -1)
