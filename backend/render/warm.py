"""Compiles the CPU kernels ahead of their first use, by drawing a tiny scene forwards and backwards with every renderer.

numba keeps what it compiled in its cache folder, so this pays once per machine and version. Kernels are compiled per dtype and
number of dimensions; the calls below are those of the trainers.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import torch

from ..geometry.closest import build_tree
from ..reporter import Reporter
from .edge_topology import edge_topology
from .gaussians import render_gaussians
from .hash_encoding import HashEncoding, HashGrid
from .interpolation import homogeneous_from_cam, interpolate, interpolate_covered
from .meshes import peel, rasterise, rasterise_uv
from .occupancy import OccupancyGrid, sample_occupied
from .ray_sampling import rays_of_picture
from .silhouettes import antialias
from .textures import mip_pyramid, sample, uv_per_px
from .volumes import composite

_SIZE = (24, 20)


def warm_kernels(reporter: Reporter | None = None) -> dict[str, float]:
    """Compiles every CPU kernel that is not compiled yet.

    Returns:
        Seconds per renderer; a fraction of a second where all was there already.
    """
    reporter = reporter or Reporter()
    subjects: dict[str, Callable[[], Any]] = {"meshes": _meshes, "gaussians": _gaussians, "volumes": _volumes, "closest": _closest}
    seconds = {}
    for number, (name, draw) in enumerate(subjects.items()):
        reporter.check()
        reporter.progress("warm", number, len(subjects), "renderers")
        start = time.perf_counter()
        draw()
        seconds[name] = round(time.perf_counter() - start, 2)
    reporter.progress("warm", len(subjects), len(subjects), "renderers")
    return seconds


def _tetrahedron() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    vertices = torch.tensor([[-0.1, -0.1, 0.5], [0.1, -0.1, 0.5], [0.0, 0.1, 0.5], [0.0, 0.0, 0.4]])
    triangles = torch.tensor([[0, 1, 2], [0, 1, 3], [1, 2, 3], [2, 0, 3]], dtype=torch.int32)
    camera = torch.tensor([[40.0, 0.0, _SIZE[1] / 2], [0.0, 40.0, _SIZE[0] / 2], [0.0, 0.0, 1.0]])
    return vertices, triangles, camera


def _meshes() -> None:
    vertices, triangles, camera = _tetrahedron()
    uv = torch.rand(4, 2, generator=torch.Generator().manual_seed(0))
    rasterise_uv(uv, triangles, 16)
    for dtype in (torch.float32, torch.float64):
        peel(vertices.to(dtype), triangles, camera, _SIZE, 2)
    topology = edge_topology(triangles)
    for batched in (False, True):
        points = (vertices[None].repeat(2, 1, 1) if batched else vertices.clone()).requires_grad_()
        homogeneous = homogeneous_from_cam(points, camera)
        fragments = rasterise(points, triangles, camera, _SIZE)
        picture = interpolate(fragments, triangles, torch.rand(4, 3), homogeneous)
        texture = torch.rand(16, 16, 3, requires_grad=True)
        places = interpolate_covered(fragments.covered, triangles, uv.clone().requires_grad_(), homogeneous)
        steps = uv_per_px(fragments, homogeneous, triangles, uv, triangles)
        colours = sample(mip_pyramid(texture), places, uv_per_px=steps.reshape(-1, 2, 2).index_select(0, fragments.covered.pixels)) + sample(texture, places)
        (antialias(picture + fragments.covered.scatter(colours), fragments, homogeneous, topology).sum() + fragments.barycentric.sum()).backward()


def _gaussians() -> None:
    generator = torch.Generator().manual_seed(0)
    _, _, camera = _tetrahedron()
    rand = lambda *shape: torch.rand(*shape, generator=generator)  # noqa: E731
    means = (rand(8, 3) * 0.1 + torch.tensor([0.0, 0.0, 0.5])).requires_grad_()
    opacities = rand(8).requires_grad_()
    shapes: list[dict[str, torch.Tensor]] = [
        {"quaternions": rand(8, 4).requires_grad_(), "scales_m": (rand(8, 3) * 0.01 + 0.005).requires_grad_()},
        {"transforms_m": (torch.eye(3) * 0.01).repeat(8, 1, 1).requires_grad_()},
        {"covariances_m2": (torch.eye(3) * 1e-4).repeat(8, 1, 1).requires_grad_()},
    ]
    paints: list[dict[str, torch.Tensor]] = [{"colours": rand(8, 3).requires_grad_()}, {"harmonics": rand(8, 16, 3).requires_grad_()}, {"harmonics": rand(8, 1, 3).requires_grad_()}]
    for shape, paint in zip(shapes, paints):
        image = render_gaussians(means, opacities, torch.eye(4), camera, _SIZE, background=torch.ones(3), use_depth=True, use_screen_gradients=True, **shape, **paint)
        assert image.depth_m is not None
        (image.colour.sum() + image.alpha.sum() + image.depth_m.sum()).backward()


def _volumes() -> None:
    _, _, camera = _tetrahedron()
    rays = rays_of_picture(camera, _SIZE)
    grid = OccupancyGrid.full(4, torch.tensor([[-0.1, -0.1, 0.3], [0.1, 0.1, 0.6]]))
    samples = sample_occupied(rays, grid, 0.02)
    encoding = HashEncoding(HashGrid(num_levels=2, log2_entries=8, finest=32))
    positions = (samples.positions(rays) * 0.5 + 0.3).requires_grad_()
    features = encoding(positions)
    composite(features[:, 0].exp(), features, samples, torch.ones(features.shape[1])).colour.sum().backward()


def _closest() -> None:
    vertices, triangles, _ = _tetrahedron()
    build_tree(vertices, triangles).refitted(vertices * 1.1).closest(torch.zeros(3, 3))
