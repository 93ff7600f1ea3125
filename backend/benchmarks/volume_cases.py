"""What volumes cost: the training step of a radiance field on a hash grid."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import torch

from ..render.hash_encoding import HashEncoding, HashGrid
from ..render.occupancy import OccupancyGrid, sample_occupied
from ..render.ray_sampling import Rays, Samples, intersect_box, rays_through_pixels, sample_stratified
from ..render.volumes import composite
from .case import Case
from .head_scene import HeadScene
from .prototypes import load_prototype

_REACH = 1.15
_NUM_RAYS, _NUM_SAMPLES, _OCCUPIED = 4096, 64, 0.15
_GRID = HashGrid(num_levels=8, num_features=2, log2_entries=15, coarsest=16, finest=512)
_VIEW_CHANNELS = 16


def cases(scene: HeadScene, prototypes_folder: Path | None) -> list[Case]:
    """The step with 15 % and all places occupied against the prototype, its variants, and its growth with the rays."""
    prototype = load_prototype(prototypes_folder, "hashgrid")
    device = scene.device
    sparse, full = _Step(device, _NUM_RAYS, _OCCUPIED), _Step(device, _NUM_RAYS, 1.0)
    name = "volumes.step.4096x64.15pct"
    result = [
        Case(
            name, "Field step, 4096 rays x 64, 15 % occupied: encode, two networks, composite, backward, Adam", sparse.run,
            _prototype_step(prototype, _OCCUPIED), "prototype, which composites nothing here", _REACH,
        ),
        Case(
            "volumes.step.4096x64.all", "The same with all 262 144 samples", full.run,
            _prototype_step(prototype, 1.0), "prototype", _REACH,
        ),
        Case(f"{name}.positions", "... with gradients to the samples' positions", _Step(device, _NUM_RAYS, _OCCUPIED, to_positions=True).run, cost_of=name),
        Case(f"{name}.sampled", "... with rays, occupancy-guided samples and background in the step", _sampled_step(scene), cost_of=name),
        Case("volumes.stratified.4096x64", "Rays into a box, 64 stratified samples each", _stratified(scene)),
        Case("volumes.occupancy.128", "A look at the field in 128³ / 16 cells of an occupancy grid", _look(device)),
    ]
    for num_rays in (1024, 2048, 4096, 8192):
        step = _Step(device, num_rays, _OCCUPIED)
        result.append(Case(f"volumes.rays.{num_rays}", f"Field step, {num_rays} rays", step.run, size=num_rays, curve="field step, rays"))
    return result


class _Field:
    """The prototype's networks: encoding -> 32 -> 16, of which the first is density; with a view code -> 32 -> 3."""

    def __init__(self, device: torch.device, encoding: torch.nn.Module, num_outputs: int) -> None:
        torch.manual_seed(0)
        layers = torch.nn.Linear, torch.nn.ReLU
        self.encoding = encoding.to(device)
        self.density = torch.nn.Sequential(layers[0](num_outputs, 32), layers[1](), layers[0](32, 16)).to(device)
        self.colour = torch.nn.Sequential(layers[0](16 + _VIEW_CHANNELS, 32), layers[1](), layers[0](32, 3)).to(device)
        parameters = [*self.encoding.parameters(), *self.density.parameters(), *self.colour.parameters()]
        self.optimiser = torch.optim.Adam(parameters, lr=1e-2, fused=True)

    def after_encoding(self, encoded: torch.Tensor, view: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        hidden = self.density(encoded)
        return torch.nn.functional.softplus(hidden[:, 0]), torch.sigmoid(self.colour(torch.cat([hidden, view], 1)))


class _Step:
    """One training step on samples that were made before."""

    def __init__(self, device: torch.device, num_rays: int, share: float, to_positions: bool = False) -> None:
        self.field = _Field(device, HashEncoding(_GRID), _GRID.num_outputs)
        generator = torch.Generator().manual_seed(0)
        # The number of samples is exactly that of the prototype; every ray has nearly as many as the next.
        num = int(num_rays * _NUM_SAMPLES * share)
        starts = torch.arange(num_rays + 1) * num // num_rays
        ids = torch.repeat_interleave(torch.arange(num_rays), starts.diff())
        step = torch.full((num,), 0.05, device=device)
        self.samples = Samples(starts.to(device), ids.to(device), torch.rand(num, generator=generator).to(device), step)
        self.positions = torch.rand(num, 3, generator=generator).to(device).requires_grad_(to_positions)
        self.view = torch.randn(num, _VIEW_CHANNELS, generator=generator).to(device)
        self.target = torch.rand(num_rays, 3, generator=generator).to(device)

    def run(self) -> None:
        self.field.optimiser.zero_grad()
        self.positions.grad = None
        density, colours = self.field.after_encoding(self.field.encoding(self.positions), self.view)
        seen = composite(density, colours, self.samples)
        (seen.colour - self.target).square().mean().backward()
        self.field.optimiser.step()


def _prototype_step(prototype: ModuleType | None, share: float) -> Callable[[], None] | None:
    """The step of the prototype's own program, on its own kernels: the mean of the outputs when not everything is occupied."""
    if prototype is None:
        return None
    # The prototype sets threads on import and its networks are those of ``_Field``.
    encoding = prototype.TorchHash(L=_GRID.num_levels, logT=_GRID.log2_entries, top=_GRID.finest)
    field = _Field(torch.device("cpu"), encoding, _GRID.num_outputs)
    num = int(_NUM_RAYS * _NUM_SAMPLES * share)
    generator = torch.Generator().manual_seed(0)
    positions = torch.rand(num, 3, generator=generator)
    view, target = torch.randn(num, _VIEW_CHANNELS, generator=generator), torch.rand(_NUM_RAYS, 3, generator=generator)

    def run() -> None:
        field.optimiser.zero_grad()
        density, colours = field.after_encoding(prototype.HF.apply(positions, encoding.emb, encoding), view)
        if share < 1:
            (density.mean() + colours.mean()).backward()
        else:
            alpha = 1 - torch.exp(-density.view(_NUM_RAYS, _NUM_SAMPLES) * 0.05)
            left = torch.cumprod(1 - alpha + 1e-7, 1)
            before = torch.cat([torch.ones(_NUM_RAYS, 1), left[:, :-1]], 1)
            picture = ((alpha * before)[..., None] * colours.view(_NUM_RAYS, _NUM_SAMPLES, 3)).sum(1)
            (picture - target).square().mean().backward()
        field.optimiser.step()

    return run


def _head_box(scene: HeadScene) -> torch.Tensor:
    vertices = scene.vertices_cam_m()[0]
    return torch.stack([vertices.amin(0) - 0.01, vertices.amax(0) + 0.01])


def _head_rays(scene: HeadScene, num_rays: int) -> Rays:
    pixels = torch.rand(num_rays, 2, generator=torch.Generator().manual_seed(0)).to(scene.device) * 512
    return rays_through_pixels(scene.px_from_cam(512), pixels)


def _shell(scene: HeadScene, resolution: int = 64) -> OccupancyGrid:
    """Occupied where a vertex of the head lies, and around it."""
    grid = OccupancyGrid.full(resolution, _head_box(scene))
    places = (scene.vertices_cam_m()[0] - grid.box_m[0]) / (grid.box_m[1] - grid.box_m[0]) * resolution
    near = torch.zeros_like(grid.density_per_m)
    near[tuple(places.long().clamp(0, resolution - 1).T)] = 1.0
    near = torch.nn.functional.max_pool3d(near[None, None], 5, stride=1, padding=2)[0, 0]
    return dataclasses.replace(grid, is_occupied=near > 0)


def _sampled_step(scene: HeadScene) -> Callable[[], None]:
    grid = _shell(scene)
    box, size = grid.box_m, grid.box_m[1] - grid.box_m[0]
    # About as many samples as in the case that this one is a variant of.
    step_m = float(size.norm()) / 80
    field = _Field(scene.device, HashEncoding(_GRID), _GRID.num_outputs)
    generator = torch.Generator().manual_seed(0)
    pixels = torch.rand(_NUM_RAYS, 2, generator=generator).to(scene.device) * 512
    camera, background = scene.px_from_cam(512), torch.rand(_NUM_RAYS, 3, generator=generator).to(scene.device)
    view, target = torch.randn(_NUM_RAYS, _VIEW_CHANNELS, generator=generator).to(scene.device), background.flip(0)

    def run() -> None:
        field.optimiser.zero_grad()
        rays = rays_through_pixels(camera, pixels)
        samples = sample_occupied(rays, grid, step_m, generator=generator)
        encoded = field.encoding((samples.positions(rays) - box[0]) / size)
        density, colours = field.after_encoding(encoded, view.index_select(0, samples.ray_ids))
        seen = composite(density, colours, samples, background)
        (seen.colour - target).square().mean().backward()
        field.optimiser.step()

    return run


def _stratified(scene: HeadScene) -> Callable[[], Samples]:
    rays, box = _head_rays(scene, _NUM_RAYS), _head_box(scene)
    generator = torch.Generator().manual_seed(0)
    return lambda: sample_stratified(*intersect_box(rays, box), _NUM_SAMPLES, generator)


def _look(device: torch.device) -> Callable[[], OccupancyGrid]:
    grid = OccupancyGrid.full(128, torch.tensor([[0.0, 0, 0], [1, 1, 1]], device=device))
    field = _Field(device, HashEncoding(_GRID), _GRID.num_outputs)
    generator = torch.Generator().manual_seed(0)

    def density(points: torch.Tensor) -> torch.Tensor:
        return torch.nn.functional.softplus(field.density(field.encoding(points))[:, 0])

    return lambda: grid.updated(density, 1.0, generator=generator, num_cells=128**3 // 16)
