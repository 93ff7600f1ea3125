"""Which cells of a box hold anything: a grid learnt beside the density field, and samples that skip what is empty.

Müller et al. 2022, section 5.4 and appendix E.2 (occupancy grids): remembered densities decay and are raised to fresh ones measured at
random places; a cell counts as occupied above a threshold, or above the mean while the field is still thin.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import numpy as np
import torch

from ..geometry.shapes import check_dtype, check_finite, check_shape
from .kernel_choice import kernels_for
from .ray_sampling import Rays, Samples, intersect_box, uniform_numbers

MAX_SAMPLES_PER_RAY = 1024
_MOST_STEPS = 1 << 20
"""Steps along the box's diagonal: float32 still tells their places apart, and no ray walks for ever."""


@dataclasses.dataclass(frozen=True)
class OccupancyGrid:
    """Remembered densities of a box of cells.

    density_per_m: (X, Y, Z) float32, 1/m. is_occupied: (X, Y, Z) bool. box_m: (2, 3) float32 lowest and highest corner, m.
    """

    density_per_m: torch.Tensor
    is_occupied: torch.Tensor
    box_m: torch.Tensor

    @staticmethod
    def full(resolution: int, box_m: torch.Tensor) -> OccupancyGrid:
        """All cells occupied, nothing remembered: the start of a training."""
        if resolution < 1:
            raise ValueError(f"resolution must be 1 or more, got {resolution}")
        box = torch.as_tensor(box_m, dtype=torch.float32)
        check_shape("box_m", box, 2, 3)
        size = (resolution,) * 3
        return OccupancyGrid(torch.zeros(size, device=box.device), torch.ones(size, dtype=torch.bool, device=box.device), box)

    @torch.no_grad()
    def updated(
        self,
        density_of: Callable[[torch.Tensor], torch.Tensor],
        threshold_per_m: float,
        *,
        generator: torch.Generator | None = None,
        num_cells: int | None = None,
        decay: float = 0.95,
    ) -> OccupancyGrid:
        """The grid after one look at the field.

        Args:
            density_of: (N, 3) points of the box, m -> (N,) density, 1/m.
            threshold_per_m: a cell above it is occupied; -ln(1 - 0.01) / step is Müller's choice (one per cent of opacity).
            generator: of the places that are measured, one in each cell; None = the middle of the cells.
            num_cells: measures so many only, half of them among the occupied ones; None = all.
            decay: what is left of a remembered density, 0 to 1.

        Raises:
            AvatarError: ``diverged`` when the field is not finite.
        """
        if not 0 <= decay <= 1:
            raise ValueError(f"decay must be from 0 to 1, got {decay}")
        size = torch.tensor(self.density_per_m.shape, device=self.box_m.device)
        total = self.density_per_m.numel()
        if num_cells is None or num_cells >= total:
            chosen = torch.arange(total, device=self.box_m.device)
        else:
            occupied = self.is_occupied.reshape(-1).nonzero()[:, 0]
            anywhere = (uniform_numbers((num_cells - num_cells // 2,), generator, self.density_per_m) * total).long().clamp_max(total - 1)
            among = (uniform_numbers((num_cells // 2,), generator, self.density_per_m) * len(occupied)).long().clamp_max(max(len(occupied) - 1, 0))
            chosen = torch.cat([anywhere, occupied[among]]) if len(occupied) else anywhere
        cells = torch.stack([chosen // (size[1] * size[2]), chosen // size[2] % size[1], chosen % size[2]], -1)
        place = cells + uniform_numbers((len(chosen), 3), generator, self.box_m)
        fresh = density_of(self.box_m[0] + place / size * (self.box_m[1] - self.box_m[0])).to(torch.float32)
        check_shape("density_of(points)", fresh, len(chosen))
        check_finite("density_of(points)", fresh)
        density = (self.density_per_m * decay).reshape(-1).scatter_reduce(0, chosen, fresh, "amax").reshape(self.density_per_m.shape)
        return dataclasses.replace(self, density_per_m=density, is_occupied=density > density.mean().clamp_max(threshold_per_m))


@torch.no_grad()
def sample_occupied(
    rays: Rays,
    grid: OccupancyGrid,
    step_m: float,
    *,
    near_m: float = 0.0,
    far_m: float = float("inf"),
    max_samples_per_ray: int = MAX_SAMPLES_PER_RAY,
    generator: torch.Generator | None = None,
) -> Samples:
    """Samples at equal steps through the grid's box, only in occupied cells.

    Args:
        rays: float32. step_m: distance between samples, > 0.
        near_m, far_m: the stretch of the rays that counts, m.
        max_samples_per_ray: the farther ones beyond this number are left out, as if the space behind were empty.
        generator: shifts all samples of a ray by one random part of a step; None = half a step.

    Returns:
        Samples on the rays' device; not differentiable. The CPU kernel and torch (all other devices) give the same list, but for
        samples that lie on the wall between two cells to the last bit.

    Raises:
        AvatarError: ``diverged`` when a ray is not finite.
        ValueError, TypeError: wrong shape, dtype, device or setting.
    """
    check_dtype("rays.origins_m", rays.origins_m, torch.float32)
    check_dtype("rays.directions", rays.directions, torch.float32)
    check_dtype("grid.is_occupied", grid.is_occupied, torch.bool)
    check_shape("grid.is_occupied", grid.is_occupied, None, None, None)
    if not (0 < step_m < float("inf")):
        raise ValueError(f"step_m must be positive, got {step_m}")
    diagonal_m = float((grid.box_m[1] - grid.box_m[0]).norm())
    if diagonal_m / step_m > _MOST_STEPS:
        raise ValueError(f"step_m must be at least {diagonal_m / _MOST_STEPS:.2g} in a box of this size, got {step_m}")
    if max_samples_per_ray < 1:
        raise ValueError(f"max_samples_per_ray must be 1 or more, got {max_samples_per_ray}")
    kernels = kernels_for(origins_m=rays.origins_m, directions=rays.directions, is_occupied=grid.is_occupied, box_m=grid.box_m)
    enter, leave = intersect_box(rays, grid.box_m, near_m, far_m)
    shift = uniform_numbers((len(rays),), generator, enter)
    if kernels == "numba":
        ray_start, ray_ids, t = _march(rays, grid, enter, leave, shift, step_m, max_samples_per_ray)
    else:
        from .torch_kernels.ray_marching import march

        ray_start, ray_ids, t = march(rays, grid, enter, leave, shift, step_m, max_samples_per_ray)
    return Samples(ray_start, ray_ids, t, torch.full_like(t, step_m))


def _march(
    rays: Rays, grid: OccupancyGrid, enter: torch.Tensor, leave: torch.Tensor, shift: torch.Tensor, step_m: float, most: int
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    from .numba_kernels.ray_marching import march

    inputs = [tensor.contiguous().numpy() for tensor in (rays.origins_m, rays.directions, enter, leave, shift)]
    place = (grid.is_occupied.contiguous().numpy(), grid.box_m.contiguous().numpy(), np.float32(step_m), most)
    ray_start = np.zeros(len(rays) + 1, np.int64)
    march(*inputs, *place, ray_start, np.empty(0, np.int64), np.empty(0, np.float32))
    np.cumsum(ray_start, out=ray_start)
    ray_ids, t = np.empty(ray_start[-1], np.int64), np.empty(ray_start[-1], np.float32)
    if len(t):
        march(*inputs, *place, ray_start, ray_ids, t)
    return torch.from_numpy(ray_start), torch.from_numpy(ray_ids), torch.from_numpy(t)
