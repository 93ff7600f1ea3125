"""Rays, boxes, stratified samples and the occupancy grid: closed forms, an independent walk, every family of kernels."""

from __future__ import annotations

import dataclasses
import math

import numba
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from backend.errors import AvatarError
from backend.geometry.cameras import intrinsics, project
from backend.render.occupancy import OccupancyGrid, sample_occupied
from backend.render.ray_sampling import Rays, intersect_box, rays_of_picture, rays_through_pixels, sample_stratified

BOX = torch.tensor([[-0.2, -0.1, 0.4], [0.3, 0.25, 0.9]])


def some_rays(device, num=200, seed=0) -> Rays:
    """From all around through points of the box, and some past it."""
    generator = torch.Generator().manual_seed(seed)
    targets = BOX[0] + (BOX[1] - BOX[0]) * (torch.rand(num, 3, generator=generator) * 1.6 - 0.3)
    origins = torch.randn(num, 3, generator=generator) * 0.7
    directions = torch.nn.functional.normalize(targets - origins, dim=-1)
    return Rays(origins.to(device), directions.to(device), directions[:, 2].to(device))


def some_grid(device, share=0.3, size=(9, 7, 11), seed=0) -> OccupancyGrid:
    is_occupied = torch.rand(size, generator=torch.Generator().manual_seed(seed)) < share
    return OccupancyGrid(torch.zeros(size, device=device), is_occupied.to(device), BOX.to(device))


def test_rays_go_through_their_pixels(device) -> None:
    matrix = torch.as_tensor(intrinsics(50.0, (4.2, 2.9)))
    pose = torch.eye(4)
    pose[:3, :3] = torch.linalg.qr(torch.randn(3, 3, generator=torch.Generator().manual_seed(0)))[0]
    pose[:3, 3] = torch.tensor([0.3, -1.0, 2.0])
    rays = rays_of_picture(matrix.to(device), (5, 9), pose.to(device))
    assert len(rays) == 45 and rays.origins_m.device.type == device.type
    torch.testing.assert_close(rays.directions.norm(dim=-1), torch.ones(45, device=device))
    t = torch.linspace(0.5, 2.0, 45, device=device)
    world = rays.origins_m + t[:, None] * rays.directions
    cam = ((world.cpu() - pose[:3, 3]) @ pose[:3, :3]).double()
    torch.testing.assert_close(cam[:, 2], (t * rays.forward).cpu().double(), rtol=1e-5, atol=1e-5)
    rows, columns = torch.meshgrid(torch.arange(5) + 0.5, torch.arange(9) + 0.5, indexing="ij")
    torch.testing.assert_close(project(matrix, cam), torch.stack([columns, rows], -1).reshape(-1, 2).double(), rtol=1e-4, atol=1e-4)
    in_cam = rays_through_pixels(matrix.to(device), torch.tensor([[4.2, 2.9]], device=device))
    torch.testing.assert_close(in_cam.directions.cpu(), torch.tensor([[0.0, 0.0, 1.0]]))
    assert not in_cam.origins_m.any() and len(rays.at(torch.tensor([1, 4], device=device))) == 2


def test_boxes_from_inside_outside_beside_and_along_their_walls(device) -> None:
    box = torch.tensor([[0.0, 0, 0], [1, 2, 3]], device=device)
    cases = [
        ([-1.0, 1, 1], [1.0, 0, 0], (1, 2)),
        ([0.5, 1, 1], [0.0, 1, 0], (0, 1)),
        ([0.5, 1, 1], [0.0, 0, -1], (0, 1)),
        ([0.5, 3, 1], [0.0, 1, 0], None),
        ([-1.0, 5, 1], [1.0, 0, 0], None),
        ([0.0, 1, 1], [0.0, 1, 0], None),
        ([1.0, 2, 1], [0.0, 0, 1], None),
        ([0.0, 1, 1], [1.0, 0, 0], (0, 1)),
        ([2.0, 1, 1], [-1.0, -0.0, 0], (1, 2)),
    ]
    origins, directions = (torch.tensor([case[number] for case in cases], device=device) for number in (0, 1))
    enter, leave = intersect_box(Rays(origins, directions, directions[:, 2]), box)
    assert [(float(a), float(b)) for a, b in zip(enter, leave)] == [(0.0, 0.0) if case[2] is None else case[2] for case in cases]
    enter, leave = intersect_box(Rays(origins[:1], directions[:1], directions[:1, 2]), box, near_m=1.25, far_m=1.5)
    assert (float(enter), float(leave)) == (1.25, 1.5)


@settings(max_examples=40, deadline=None)
@given(st.tuples(*[st.floats(-3, 3)] * 3), st.tuples(*[st.sampled_from([0.0, 1.0, -1.0, 0.3, 1e-20, -2.0])] * 3))
def test_ends_lie_on_the_box_and_the_middle_inside(origin, direction) -> None:
    if not any(abs(x) > 1e-3 for x in direction):
        direction = (0.0, 0.0, 1.0)
    origin, direction = torch.tensor([origin], dtype=torch.float64), torch.nn.functional.normalize(torch.tensor([direction], dtype=torch.float64), dim=-1)
    box = BOX.double()
    enter, leave = intersect_box(Rays(origin, direction, direction[:, 2]), box)
    places = origin + torch.linspace(0, 8, 4001, dtype=torch.float64)[:, None] * direction
    is_inside = ((places > box[0]) & (places < box[1])).all(-1)
    if float(leave) > float(enter):
        middle = origin + (enter + leave) / 2 * direction
        assert bool(((middle >= box[0] - 1e-9) & (middle <= box[1] + 1e-9)).all())
        assert int(is_inside.sum()) == pytest.approx(float(leave - enter) / 0.002, abs=2)
    else:
        assert int(is_inside.sum()) <= 1


def test_rays_that_mean_nothing_are_errors(device) -> None:
    rays = some_rays(device, 4)
    for name in ("origins_m", "directions"):
        spoiled = getattr(rays, name).clone()
        spoiled[2, 1] = float("nan")
        with pytest.raises(AvatarError, match=rf"rays.{name} is not finite at \[2, 1\]"):
            intersect_box(dataclasses.replace(rays, **{name: spoiled}), BOX)
    with pytest.raises(ValueError, match="unit length"):
        intersect_box(dataclasses.replace(rays, directions=rays.directions * 2), BOX)
    with pytest.raises(ValueError, match="lowest to its highest"):
        intersect_box(rays, BOX.flip(0))
    with pytest.raises(ValueError, match="pixels_px must have shape"):
        rays_through_pixels(torch.eye(3), torch.zeros(4, 3))


def test_stratified_samples_lie_one_in_each_step_and_repeat_with_the_seed(device) -> None:
    rays = some_rays(device)
    enter, leave = intersect_box(rays, BOX)
    is_hit = leave > enter
    assert 20 < int(is_hit.sum()) < 200
    samples = sample_stratified(enter, leave, 6, torch.Generator().manual_seed(4))
    again = sample_stratified(enter, leave, 6, torch.Generator().manual_seed(4))
    other = sample_stratified(enter, leave, 6, torch.Generator().manual_seed(5))
    assert torch.equal(samples.t_m, again.t_m) and not torch.equal(samples.t_m, other.t_m)
    assert torch.equal(samples.ray_start.diff(), is_hit.long() * 6)
    assert torch.equal(samples.ray_ids, is_hit.nonzero()[:, 0].repeat_interleave(6))
    steps = ((samples.t_m - enter[samples.ray_ids]) / samples.step_m).reshape(-1, 6)
    order = torch.arange(6, device=device)
    assert bool(((steps > order - 1e-3) & (steps < order + 1 + 1e-3)).all())
    middle = sample_stratified(enter, leave, 1)
    torch.testing.assert_close(middle.t_m, ((enter + leave) / 2)[is_hit])
    places = samples.positions(rays)
    assert bool(((places > BOX[0].to(device) - 1e-5) & (places < BOX[1].to(device) + 1e-5)).all())


def test_positions_carry_gradients_to_rays_and_distances(device) -> None:
    rays = some_rays(device, 5)
    origins, directions = (tensor.double().requires_grad_() for tensor in (rays.origins_m, rays.directions))
    samples = sample_stratified(torch.zeros(5, device=device).double(), torch.ones(5, device=device).double(), 2)
    t = samples.t_m.detach().requires_grad_()

    def positions(origins, directions, t):
        return dataclasses.replace(samples, t_m=t).positions(Rays(origins, directions, directions[:, 2]))

    assert torch.autograd.gradcheck(positions, (origins, directions, t))


def walk(rays, grid, step, most):
    """Every place of the lattice of every ray, float64, one after the other: lists of (t, distance to the nearest cell wall)."""
    box, size = grid.box_m.cpu().double().numpy(), np.array(grid.is_occupied.shape)
    enter, leave = (ends.cpu().numpy().astype(np.float64) for ends in intersect_box(rays, grid.box_m))
    found = []
    for ray in range(len(rays)):
        kept, k = [], 0
        while enter[ray] + (k + 0.5) * step < leave[ray] and len(kept) < most:
            t = enter[ray] + (k + 0.5) * step
            place = (rays.origins_m[ray].cpu().double().numpy() + t * rays.directions[ray].cpu().double().numpy() - box[0]) / (box[1] - box[0]) * size
            if bool(grid.is_occupied[tuple(np.clip(place.astype(int), 0, size - 1))]):
                kept.append(t)
            k += 1
        found.append(kept)
    return found


@pytest.mark.parametrize("most", [1024, 5])
def test_samples_are_those_of_the_lattice_in_occupied_cells(kernels, device, most) -> None:
    rays, grid, step = some_rays(device, 80), some_grid(device), 0.013
    samples = sample_occupied(rays, grid, step, max_samples_per_ray=most)
    wanted = walk(rays, grid, step, most)
    got = [samples.t_m[samples.ray_start[r] : samples.ray_start[r + 1]].tolist() for r in range(len(rays))]
    differing = [ray for ray in range(len(rays)) if len(got[ray]) != len(wanted[ray]) or not np.allclose(got[ray], wanted[ray], atol=1e-5)]
    assert len(differing) <= 1, "only a sample on a wall may fall to the other cell"
    assert sum(map(len, got)) > 100 and max(map(len, got)) <= most
    assert torch.equal(samples.ray_ids, torch.repeat_interleave(torch.arange(len(rays), device=device), samples.ray_start.diff()))
    assert bool((samples.step_m == np.float32(step)).all())


def test_empty_and_full_grids_and_no_rays(kernels, device) -> None:
    rays = some_rays(device)
    empty = some_grid(device, share=-1.0)
    assert len(sample_occupied(rays, empty, 0.01)) == 0 and sample_occupied(rays, empty, 0.01).num_rays == len(rays)
    full = OccupancyGrid.full(4, BOX.to(device))
    samples = sample_occupied(rays, full, 0.01)
    enter, leave = intersect_box(rays, BOX)
    torch.testing.assert_close(samples.ray_start.diff().float(), ((leave - enter) / 0.01).round(), atol=1.01, rtol=0)
    for few in (0, 1):
        assert sample_occupied(rays.at(torch.arange(few, device=device)), full, 0.01).num_rays == few


def test_the_shift_is_random_and_repeats_with_the_seed(kernels, device) -> None:
    rays, grid = some_rays(device), some_grid(device)
    first, again, other = (sample_occupied(rays, grid, 0.01, generator=torch.Generator().manual_seed(seed)) for seed in (1, 1, 2))
    assert torch.equal(first.t_m, again.t_m) and torch.equal(first.ray_start, again.ray_start)
    assert len(first) != len(other) or not torch.equal(first.t_m, other.t_m)


def test_bits_do_not_depend_on_threads_or_batches() -> None:
    rays, grid = some_rays(torch.device("cpu"), 500), some_grid(torch.device("cpu"))
    before, results = numba.get_num_threads(), []
    try:
        for threads in (1, numba.config.NUMBA_NUM_THREADS):
            numba.set_num_threads(threads)
            results.append(sample_occupied(rays, grid, 0.01))
    finally:
        numba.set_num_threads(before)
    assert torch.equal(results[0].t_m, results[1].t_m) and torch.equal(results[0].ray_ids, results[1].ray_ids)
    halves = [sample_occupied(rays.at(part), grid, 0.01) for part in (torch.arange(130), torch.arange(130, 500))]
    assert torch.equal(torch.cat([half.t_m for half in halves]), results[0].t_m)


@pytest.mark.parametrize("step", [0.0, -1.0, float("nan"), float("inf"), 1e-9])
def test_steps_that_lead_nowhere_are_refused(step) -> None:
    with pytest.raises(ValueError, match="step_m"):
        sample_occupied(some_rays(torch.device("cpu"), 2), some_grid(torch.device("cpu")), step)


def test_the_grid_learns_where_a_ball_is(device) -> None:
    """Cells inside stay, cells outside go, and a field that vanishes is forgotten at the rate of the decay."""
    centre, radius = BOX.mean(0).to(device), 0.12
    generator = torch.Generator().manual_seed(0)
    grid = OccupancyGrid.full(16, BOX.to(device))
    assert bool(grid.is_occupied.all())
    for _ in range(3):
        grid = grid.updated(lambda x: ((x - centre).norm(dim=-1) < radius) * 50.0, 1.0, generator=generator)
    middles = torch.stack(torch.meshgrid(*[(torch.arange(16, device=device) + 0.5) / 16] * 3, indexing="ij"), -1)
    away = (BOX[0].to(device) + middles * (BOX[1] - BOX[0]).to(device) - centre).norm(dim=-1)
    cell = float((BOX[1] - BOX[0]).norm()) / 16
    assert bool(grid.is_occupied[away < radius - cell].all()) and not bool(grid.is_occupied[away > radius + cell].any())
    before = grid.density_per_m.clone()
    after = grid.updated(lambda x: x[:, 0] * 0, 1.0, decay=0.9)
    torch.testing.assert_close(after.density_per_m, before * 0.9)
    assert torch.equal(grid.density_per_m, before), "a look makes a new grid"
    some = after.updated(lambda x: torch.full_like(x[:, 0], 77.0), 1.0, generator=generator, num_cells=100)
    assert 50 <= int((some.density_per_m == 77).sum()) <= 100
    with pytest.raises(AvatarError):
        grid.updated(lambda x: x[:, 0] * math.nan, 1.0)
