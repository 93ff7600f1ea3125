"""Rays through pixels, where they cross a box, and samples along them.

A ray is origin + t direction with a unit direction, so t is the distance in metres *along the ray*; depth in the camera's frame is
z = t * ``Rays.forward``. Samples of all rays lie in one packed list, ray after ray, nearest first, because rays get different numbers
of them. How many samples there are and which cells they lie in is not differentiable; positions made from them are.
"""

from __future__ import annotations

import dataclasses

import torch

from ..geometry.shapes import check_dtype, check_finite, check_shape


@dataclasses.dataclass(frozen=True)
class Rays:
    """origins_m: (R, 3). directions: (R, 3) unit. forward: (R,) z of the direction in the camera's frame. One dtype and device."""

    origins_m: torch.Tensor
    directions: torch.Tensor
    forward: torch.Tensor

    def __len__(self) -> int:
        return self.origins_m.shape[0]

    def at(self, rows: torch.Tensor) -> Rays:
        """Some of the rays, by index or mask."""
        return Rays(self.origins_m[rows], self.directions[rows], self.forward[rows])


@dataclasses.dataclass(frozen=True)
class Samples:
    """Samples of R rays in one list of M.

    ray_start: (R + 1,) int64; the samples of ray r are ray_start[r] to ray_start[r + 1] - 1, nearest first.
    ray_ids: (M,) int64, the ray of each sample. t_m: (M,) distance along the ray. step_m: (M,) length that the sample stands for.
    """

    ray_start: torch.Tensor
    ray_ids: torch.Tensor
    t_m: torch.Tensor
    step_m: torch.Tensor

    def __len__(self) -> int:
        return self.t_m.shape[0]

    @property
    def num_rays(self) -> int:
        return self.ray_start.shape[0] - 1

    def positions(self, rays: Rays) -> torch.Tensor:
        """(M, 3) m, in the frame of the rays; differentiable in the rays and in ``t_m``."""
        origins, directions = (torch.index_select(values, 0, self.ray_ids) for values in (rays.origins_m, rays.directions))
        return torch.addcmul(origins, self.t_m[:, None], directions)


def rays_through_pixels(px_from_cam: torch.Tensor, pixels_px: torch.Tensor, world_from_cam: torch.Tensor | None = None) -> Rays:
    """Rays from the camera through points of its picture.

    Args:
        px_from_cam: (3, 3) K. pixels_px: (R, 2) float x, y; the centre of the first pixel is (0.5, 0.5).
        world_from_cam: (4, 4) rigid; the frame of the rays. None = the camera's own.

    Returns:
        Rays of the dtype and device of ``pixels_px``; differentiable in all three arguments.
    """
    check_shape("px_from_cam", px_from_cam, 3, 3)
    check_shape("pixels_px", pixels_px, None, 2)
    check_dtype("pixels_px", pixels_px, torch.float32, torch.float64)
    matrix = torch.as_tensor(px_from_cam, dtype=pixels_px.dtype, device=pixels_px.device)
    check_finite("px_from_cam", matrix.detach())
    # K is inverted in float64 where the device has it; a triangular matrix makes that exact enough anywhere.
    cam_from_px = torch.linalg.inv(matrix.cpu().double()).to(pixels_px)
    points = torch.cat([pixels_px, torch.ones_like(pixels_px[:, :1])], -1) @ cam_from_px.T
    directions = points / points.norm(dim=-1, keepdim=True)
    forward = directions[:, 2]
    if world_from_cam is None:
        return Rays(torch.zeros_like(directions), directions, forward)
    check_shape("world_from_cam", world_from_cam, 4, 4)
    pose = torch.as_tensor(world_from_cam, dtype=pixels_px.dtype, device=pixels_px.device)
    check_finite("world_from_cam", pose.detach())
    return Rays(pose[:3, 3].expand_as(directions), directions @ pose[:3, :3].T, forward)


def rays_of_picture(px_from_cam: torch.Tensor, size_hw: tuple[int, int], world_from_cam: torch.Tensor | None = None) -> Rays:
    """Rays through all pixel centres, row by row; float32, on the device of ``px_from_cam``."""
    height, width = size_hw
    if height < 1 or width < 1:
        raise ValueError(f"size_hw must be at least 1 x 1, got {size_hw}")
    matrix = torch.as_tensor(px_from_cam)
    rows, columns = torch.meshgrid(*[torch.arange(side, dtype=torch.float32, device=matrix.device) + 0.5 for side in size_hw], indexing="ij")
    return rays_through_pixels(matrix, torch.stack([columns, rows], -1).reshape(-1, 2), world_from_cam)


@torch.no_grad()
def intersect_box(rays: Rays, box_m: torch.Tensor, near_m: float = 0.0, far_m: float = float("inf")) -> tuple[torch.Tensor, torch.Tensor]:
    """Where rays enter and leave an axis-aligned box (slab test: Kay and Kajiya, "Ray tracing complex scenes", 1986).

    Args:
        box_m: (2, 3) lowest and highest corner, m. near_m, far_m: the stretch of the rays that counts, m.

    Returns:
        enter_m, exit_m: (R,) distances along the ray; a ray that starts inside enters at ``near_m``. A ray that misses, or touches
        no more than the surface, gets (0, 0): there is something to sample exactly where exit > enter. Not differentiable.

    Raises:
        AvatarError: ``diverged`` when a ray or the box is not finite.
        ValueError: the box is inside out, or a direction has no unit length.
    """
    box = _box(box_m, rays)
    check_finite("rays.origins_m", rays.origins_m)
    check_finite("rays.directions", rays.directions)
    if bool(((rays.directions.square().sum(-1) - 1).abs() > 1e-3).any()):
        raise ValueError("rays.directions must have unit length")
    is_parallel = rays.directions == 0
    safe = torch.where(is_parallel, torch.ones_like(rays.directions), rays.directions)
    first = (box[0] - rays.origins_m) / safe
    second = (box[1] - rays.origins_m) / safe
    # A ray parallel to a slab is inside it everywhere or nowhere; on its wall it is outside, as nothing is gained there.
    is_between = (rays.origins_m > box[0]) & (rays.origins_m < box[1])
    everywhere = torch.where(is_between, torch.full_like(first, torch.inf), torch.full_like(first, -torch.inf))
    low = torch.where(is_parallel, -everywhere, torch.minimum(first, second))
    high = torch.where(is_parallel, everywhere, torch.maximum(first, second))
    enter, leave = low.amax(-1).clamp_min(near_m), high.amin(-1).clamp_max(far_m)
    is_hit = leave > enter
    zero = torch.zeros_like(enter)
    return torch.where(is_hit, enter, zero), torch.where(is_hit, leave, zero)


def sample_stratified(enter_m: torch.Tensor, exit_m: torch.Tensor, num_samples: int, generator: torch.Generator | None = None) -> Samples:
    """Equal steps from enter to exit, one sample at a random place in each.

    Args:
        enter_m, exit_m: (R,) from ``intersect_box``. num_samples: of every ray with exit > enter; the others get none.
        generator: seeded, on any device; the same seed gives the same samples. None = the middle of each step.

    Returns:
        Samples; t and step are differentiable in ``enter_m`` and ``exit_m``.
    """
    check_shape("enter_m", enter_m, None)
    check_shape("exit_m", exit_m, *enter_m.shape)
    if num_samples < 1:
        raise ValueError(f"num_samples must be 1 or more, got {num_samples}")
    check_finite("enter_m", enter_m.detach())
    check_finite("exit_m", exit_m.detach())
    is_hit = (exit_m > enter_m).detach()
    rows = is_hit.nonzero()[:, 0]
    enter, step = enter_m[rows], (exit_m[rows] - enter_m[rows]) / num_samples
    place = uniform_numbers((len(enter_m), num_samples), generator, enter_m)[rows]
    t = enter[:, None] + (torch.arange(num_samples, device=enter.device, dtype=enter.dtype) + place) * step[:, None]
    ray_start = torch.cat([torch.zeros(1, dtype=torch.int64, device=enter.device), (is_hit * num_samples).cumsum(0)])
    return Samples(ray_start, rows.repeat_interleave(num_samples), t.reshape(-1), step.repeat_interleave(num_samples))


def uniform_numbers(size: tuple[int, ...], generator: torch.Generator | None, like: torch.Tensor) -> torch.Tensor:
    """Random numbers in [0, 1), the same on every device when the generator is; 0.5 without one."""
    if generator is None:
        return torch.full(size, 0.5, dtype=like.dtype, device=like.device)
    return torch.rand(size, generator=generator, device=generator.device, dtype=torch.float32).to(like)


def _box(box_m: torch.Tensor, rays: Rays) -> torch.Tensor:
    check_shape("rays.origins_m", rays.origins_m, None, 3)
    check_shape("rays.directions", rays.directions, *rays.origins_m.shape)
    box = torch.as_tensor(box_m, dtype=rays.origins_m.dtype, device=rays.origins_m.device)
    check_shape("box_m", box, 2, 3)
    check_finite("box_m", box)
    if not bool((box[1] > box[0]).all()):
        raise ValueError(f"box_m must go from its lowest to its highest corner, got {box.tolist()}")
    return box
