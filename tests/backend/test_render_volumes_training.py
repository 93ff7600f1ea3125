"""The whole volume renderer learns a head from pictures, and is judged on views that it never saw."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from default_head import default_head

from backend.geometry.cameras import intrinsics
from backend.render.hash_encoding import HashEncoding, HashGrid
from backend.render.occupancy import OccupancyGrid, sample_occupied
from backend.render.ray_sampling import Rays, rays_of_picture
from backend.render.shading import ambient_light, render_mesh, srgb_from_linear
from backend.render.volumes import composite

SIZE = 96
DISTANCE_M = 0.9


class Field(torch.nn.Module):
    """Density and colour of a place; no view direction, because the head is matt."""

    def __init__(self, box: torch.Tensor) -> None:
        super().__init__()
        grid = HashGrid(8, 2, 15, 8, 192)
        self.register_buffer("box", box)
        self.encoding = HashEncoding(grid, torch.Generator().manual_seed(0))
        self.net = torch.nn.Sequential(torch.nn.Linear(grid.num_outputs, 32), torch.nn.ReLU(), torch.nn.Linear(32, 4))

    def forward(self, points: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        hidden = self.net(self.encoding((points - self.box[0]) / (self.box[1] - self.box[0])))
        return torch.exp(hidden[:, 0].clamp(-10, 10) + 3), torch.sigmoid(hidden[:, 1:])


def world_from_cam(azimuth: float, height: float, centre: torch.Tensor) -> torch.Tensor:
    """(4, 4): a camera around the head (its up is +y, its face looks along +z) that looks at its centre."""
    position = centre + DISTANCE_M * torch.tensor([math.sin(azimuth) * math.cos(height), math.sin(height), math.cos(azimuth) * math.cos(height)])
    forward = torch.nn.functional.normalize(centre - position, dim=0)
    right = torch.nn.functional.normalize(torch.linalg.cross(forward, torch.tensor([0.0, 1.0, 0.0])), dim=0)
    pose = torch.eye(4)
    pose[:3, :3] = torch.stack([right, torch.linalg.cross(forward, right), forward], -1)
    pose[:3, 3] = position
    return pose


def picture(model, colours, matrix, pose) -> torch.Tensor:
    """(H, W, 4) linear and premultiplied, alpha last."""
    vertices = (torch.as_tensor(model.template) - pose[:3, 3]) @ pose[:3, :3]
    light = ambient_light(0.8)
    light[2], light[3] = 0.2, 0.25
    colour, alpha, _ = render_mesh(vertices, torch.as_tensor(model.triangles), matrix, (SIZE, SIZE), world_from_cam=pose, light=light, colours=colours, supersample=3)
    return torch.cat([colour, alpha[..., None]], -1)


def volume_colours(field, rays, grid, step_m, background=None, generator=None):
    samples = sample_occupied(rays, grid, step_m, generator=generator)
    density, colours = field(samples.positions(rays))
    return composite(density, colours, samples, background)


def trained_field(num_steps: int):
    """Held-out views as rendered by the field and from the mesh (lists of (H, W, 3) linear, on black), and the occupancy grid."""
    torch.manual_seed(0)
    model = default_head()
    vertices = torch.as_tensor(model.template)
    centre = (vertices.amin(0) + vertices.amax(0)) / 2
    reach = float((vertices - centre).norm(dim=-1).max()) + 0.01
    box = torch.stack([centre - reach, centre + reach])
    colours = 0.45 + 0.35 * torch.sin(vertices * torch.tensor([40.0, 55.0, 70.0]) + torch.tensor([0.0, 1.0, 2.0]))
    matrix = torch.as_tensor(intrinsics(SIZE * DISTANCE_M / (2.1 * reach), (SIZE / 2, SIZE / 2)), dtype=torch.float32)
    poses = [world_from_cam(2 * math.pi * k / 12, 0.35 * (-1) ** k, centre) for k in range(12)]
    held_out = [world_from_cam(2 * math.pi * (k + 0.5) / 12, 0.1, centre) for k in (0, 3, 10)]
    every = [rays_of_picture(matrix, (SIZE, SIZE), pose) for pose in poses]
    rays = Rays(*(torch.cat([getattr(part, name) for part in every]) for name in ("origins_m", "directions", "forward")))
    wanted = torch.cat([picture(model, colours, matrix, pose).reshape(-1, 4) for pose in poses])
    field, grid, step_m = Field(box), OccupancyGrid.full(48, box), 2 * reach / 96
    optimiser = torch.optim.Adam([{"params": field.encoding.parameters(), "lr": 1e-2}, {"params": field.net.parameters(), "lr": 3e-3}], eps=1e-15, fused=True)
    generator = torch.Generator().manual_seed(0)
    for step in range(num_steps):
        if step >= 32 and step % 16 == 0:
            grid = grid.updated(lambda x: field(x)[0], 0.01 / step_m, generator=generator, num_cells=None if step < 80 else 48**3 // 4, decay=0.8)
        rows = torch.randint(0, len(rays), (1024,), generator=generator)
        # Another background for every ray: on a black one, black fog in empty space would cost nothing.
        background = torch.rand(1024, 3, generator=generator)
        seen = volume_colours(field, rays.at(rows), grid, step_m, background, generator)
        optimiser.zero_grad()
        truth = wanted[rows, :3] + (1 - wanted[rows, 3:]) * background
        (srgb(seen.colour) - srgb(truth)).square().mean().backward()
        optimiser.step()
    views, truths = [], []
    with torch.no_grad():
        for pose in held_out:
            whole = rays_of_picture(matrix, (SIZE, SIZE), pose)
            views.append(volume_colours(field, whole, grid, step_m / 2).colour.reshape(SIZE, SIZE, 3))
            truths.append(picture(model, colours, matrix, pose)[..., :3])
    return views, truths, grid


def srgb(linear: torch.Tensor) -> torch.Tensor:
    """Differentiable down to black: the true curve is, too, but steep; this one is close enough to weigh errors by eye."""
    return (linear.clamp_min(0) + 1e-3) ** (1 / 2.2)


def held_out_psnr(views, truths) -> float:
    return float(np.mean([-10 * math.log10(float((srgb_from_linear(a) - srgb_from_linear(b)).square().mean())) for a, b in zip(views, truths)]))


@pytest.mark.slow
def test_a_head_learnt_from_twelve_views_is_seen_from_a_thirteenth() -> None:
    views, truths, grid = trained_field(300)
    assert held_out_psnr(views, truths) > 25
    assert 0.01 < float(grid.is_occupied.float().mean()) < 0.5
