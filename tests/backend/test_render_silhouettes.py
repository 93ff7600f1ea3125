"""Silhouette antialiasing: against an obvious reference, against areas known exactly, and against finite differences."""

import os
import subprocess
import sys
from pathlib import Path

import numba
import numpy as np
import pytest
import torch
from default_head import default_head
from hypothesis import given, settings
from hypothesis import strategies as st

from backend.errors import AvatarError
from backend.render.edge_topology import edge_topology
from backend.render.fragments import Fragments
from backend.render.kernel_choice import forced_kernels
from backend.render.meshes import rasterise
from backend.render.silhouettes import antialias

BOX = [[0, 1, 3], [0, 3, 2], [4, 6, 7], [4, 7, 5], [0, 4, 5], [0, 5, 1], [2, 3, 7], [2, 7, 6], [0, 2, 6], [0, 6, 4], [1, 5, 7], [1, 7, 3]]


def sphere(subdivisions: int = 4) -> tuple[torch.Tensor, torch.Tensor]:
    """Unit sphere: (V, 3) float64, (F, 3)."""
    import trimesh

    mesh = trimesh.creation.icosphere(subdivisions=subdivisions)
    return torch.tensor(np.asarray(mesh.vertices)), torch.tensor(np.asarray(mesh.faces), dtype=torch.int32)


def box() -> tuple[torch.Tensor, torch.Tensor]:
    """The cube [-1, 1]³."""
    corners = torch.tensor([[x, y, z] for x in (-1, 1) for y in (-1, 1) for z in (-1, 1)], dtype=torch.float64)
    return corners, torch.tensor(BOX, dtype=torch.int32)


def turned(angle: torch.Tensor | float, axis: int = 2) -> torch.Tensor:
    angle = torch.as_tensor(angle, dtype=torch.float64)
    one, zero = torch.ones_like(angle), torch.zeros_like(angle)
    c, s = angle.cos(), angle.sin()
    rows = [[[one, zero, zero], [zero, c, -s], [zero, s, c]], [[c, zero, s], [zero, one, zero], [-s, zero, c]], [[c, -s, zero], [s, c, zero], [zero, zero, one]]][axis]
    return torch.stack([torch.stack(row) for row in rows])


def camera(height: int, width: int, focal: float = 1.1) -> torch.Tensor:
    return torch.tensor([[focal * height, 0, width / 2], [0, focal * height, height / 2], [0, 0, 1]], dtype=torch.float64)


def picture(vertices, triangles, matrix, size_hw, colours=None, topology=None, device="cpu", dtype=torch.float64):
    """Antialiased (H, W, C); ``colours`` (F, C) per triangle, None = a mask."""
    vertices, triangles = vertices.to(device), triangles.to(device)
    fragments = rasterise(vertices.detach(), triangles, matrix.to(device), size_hw)
    if colours is None:
        flat = fragments.is_covered[..., None].to(dtype)
    else:
        flat = torch.where(fragments.is_covered[..., None], colours.to(device, dtype)[fragments.triangle_ids.clamp_min(0).long()], 0)
    return antialias(flat, fragments, (vertices @ matrix.to(device).T).to(dtype), topology or edge_topology(triangles))


def reference(colour: torch.Tensor, depth: torch.Tensor, homogeneous: torch.Tensor, triangles: list[list[int]]) -> torch.Tensor:
    """Pixel pair by pixel pair, edge by edge, in pixels; for meshes before the camera."""
    height, width, _ = colour.shape
    points = homogeneous[:, :2] / homogeneous[:, 2:]
    fixed = points.detach()
    around: dict[tuple[int, int], list[int]] = {}
    for i, j, k in triangles:
        for a, b, o in ((i, j, k), (j, k, i), (k, i, j)):
            around.setdefault((min(a, b), max(a, b)), []).append(o)
    outlines = []
    for (a, b), thirds in around.items():
        d = fixed[b] - fixed[a]
        sides = [float(d[0] * (fixed[o] - fixed[a])[1] - d[1] * (fixed[o] - fixed[a])[0]) for o in thirds]
        if all(side > 0 for side in sides) or all(side < 0 for side in sides):
            outlines.append((a, b, thirds[0]))
    blends: dict[tuple[int, int], list[tuple[torch.Tensor, tuple[int, int]]]] = {}
    for axis in (0, 1):
        for row in range(height - axis):
            for column in range(width - 1 + axis):
                first, second = (row, column), (row + axis, column + 1 - axis)
                along, line = (column, row + 0.5) if axis == 0 else (row, column + 0.5)
                found = None
                for a, b, o in outlines:
                    p, q = (points[a], points[b]) if axis == 0 else (points[a].flip(0), points[b].flip(0))
                    if (float(p[1]) <= line) == (float(q[1]) <= line):
                        continue
                    t = (line - p[1]) / (q[1] - p[1])
                    s = p[0] + t * (q[0] - p[0]) - 0.5 - along
                    if not 0 <= float(s) < 1:
                        continue
                    z = float(1 / ((1 - t) / homogeneous[a, 2] + t / homogeneous[b, 2]))
                    other = points[o] if axis == 0 else points[o].flip(0)
                    is_second_near = float(other[0]) > float(p[0] + (other[1] - p[1]) / (q[1] - p[1]) * (q[0] - p[0]))
                    near, far = (second, first) if is_second_near else (first, second)
                    if not (float(depth[far]) > z and 2 * float(depth[near]) < z + float(depth[far])):
                        continue
                    reach = 1 - s if is_second_near else s
                    if found is None or float(reach) > float(found[0]):
                        d = (q - p).detach()
                        found = (reach, near, far, d[1] ** 2 / (d**2).sum())
                if found is not None:
                    reach, near, far, share = found
                    target, source = (far, near) if float(reach) >= 0.5 else (near, far)
                    blends.setdefault(target, []).append((share * (reach - 0.5).abs(), source))
    rows = []
    for row in range(height):
        for column in range(width):
            value, parts = colour[row, column], blends.get((row, column), [])
            total = sum((weight for weight, _ in parts), torch.zeros((), dtype=colour.dtype)).clamp_min(1)
            rows.append(value + sum((weight / total * (colour[source] - value) for weight, source in parts), torch.zeros_like(value)))
    return torch.stack(rows).reshape(colour.shape)


def two_boxes() -> tuple[torch.Tensor, torch.Tensor]:
    """A small turned box before a larger one: outlines before the background and before a surface."""
    corners, triangles = box()
    small = corners @ turned(0.5).T @ turned(0.4, 1).T * 0.22 + torch.tensor([0.05, 0.07, 2.0])
    large = corners @ turned(-0.2).T @ turned(0.3, 0).T * 0.5 + torch.tensor([-0.1, 0.03, 3.3])
    return torch.cat([small, large]), torch.cat([triangles, triangles + 8])


@pytest.mark.parametrize("size_hw", [(13, 11), (9, 16)])
def test_colours_and_every_gradient_agree_with_the_obvious_reference(kernels, device, size_hw):
    vertices, triangles = two_boxes()
    matrix = camera(*size_hw)
    fragments = rasterise(vertices, triangles, matrix, size_hw)
    generator = torch.Generator().manual_seed(0)
    colour, upstream = torch.rand(*size_hw, 4, generator=generator), torch.randn(*size_hw, 4, generator=generator)
    wanted = [colour.double().requires_grad_(), (vertices @ matrix.T).requires_grad_()]
    blended = reference(wanted[0], fragments.depth_m, wanted[1], triangles.tolist())
    blended.backward(upstream.double())
    assert (blended.detach() - colour).abs().amax(-1).gt(0.02).sum() > 15

    got = [colour.to(device).requires_grad_(), (vertices @ matrix.T).float().to(device).requires_grad_()]
    on_device = rasterise(vertices.to(device), triangles.to(device), matrix.to(device), size_hw)
    result = antialias(got[0], on_device, got[1], edge_topology(triangles.to(device)))
    result.backward(upstream.to(device))
    assert result.dtype == torch.float32 and result.device == got[0].device
    torch.testing.assert_close(result.detach().cpu().double(), blended.detach(), atol=2e-5, rtol=0)
    for ours, theirs in zip(got, wanted):
        torch.testing.assert_close(ours.grad.cpu().double(), theirs.grad, atol=2e-4, rtol=2e-4)


@pytest.mark.parametrize("path", ["numba", "torch"])
def test_gradcheck_where_the_mesh_moves_and_scales(path):
    """Moving and scaling keep the slopes of the edges, so the shares of rows and columns stay as they are."""
    vertices, triangles = two_boxes()
    matrix = camera(10, 12)
    fragments = rasterise(vertices, triangles, matrix, (10, 12))
    topology = edge_topology(triangles)
    colour = torch.rand(10, 12, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(1), requires_grad=True)
    motion = torch.zeros(3, dtype=torch.float64, requires_grad=True)

    def run(colour, motion):
        h = vertices @ matrix.T
        moved = torch.cat([(h[:, :2] - torch.tensor([6.0, 5.0]) * h[:, 2:]) * (1 + motion[2]) + (motion[:2] + torch.tensor([6.0, 5.0])) * h[:, 2:], h[:, 2:]], -1)
        return antialias(colour, fragments, moved, topology)

    with forced_kernels(path):
        assert torch.autograd.gradcheck(run, (colour, motion), eps=1e-7, atol=1e-5)


@pytest.mark.parametrize("distance", [0.0, 0.37])
def test_a_scaled_disc_gains_exactly_its_area(kernels, device, distance):
    vertices, triangles = sphere()
    topology = edge_topology(triangles.to(device))
    # At radius 1 and 40 px per m a plane at depth 1: a disc of 20 px and no perspective.
    flat = torch.cat([vertices[:, :2] * 20 + torch.tensor([32.2 + distance, 31.7 - distance]), torch.ones(len(vertices), 1)], -1)
    sums, slopes = [], []
    for scale in torch.linspace(1, 1.05, 5).tolist():
        factor = torch.tensor(scale, dtype=torch.float64, requires_grad=True)
        centre = torch.tensor([32.0, 32.0])
        # A sphere's depth matters to nothing but visibility.
        moved = torch.cat([(flat[:, :2] - centre) * factor + centre, flat[:, 2:]], -1)
        solid = torch.cat([moved[:, :2] * (1.0 + 0.01 * vertices[:, 2:]).detach(), (1.0 + 0.01 * vertices[:, 2:])], -1)
        mask = picture(solid, triangles, torch.eye(3, dtype=torch.float64), (64, 64), topology=topology, device=device, dtype=torch.float32)
        sums.append(mask.sum().item())
        slopes.append(torch.autograd.grad(mask.sum(), factor)[0].item())
    area = np.pi * 400
    assert sums[0] == pytest.approx(area, rel=0.004)
    assert np.mean(slopes) == pytest.approx(2 * area * 1.025, rel=0.01)


def test_a_box_that_enters_the_picture_gains_its_height_per_pixel(kernels, device):
    corners, triangles = box()
    topology = edge_topology(triangles.to(device))
    slopes = []
    for phase in np.linspace(0, 1, 9)[:-1]:
        step = torch.tensor(float(phase), dtype=torch.float64, requires_grad=True)
        solid = corners @ turned(0.3).T
        flat = torch.stack([solid[:, 0] * 12 + step, solid[:, 1] * 12 + 20.3, torch.ones(8, dtype=torch.float64)], -1) * (5 + corners[:, 2:])
        mask = picture(flat, triangles, torch.eye(3, dtype=torch.float64), (40, 48), topology=topology, device=device, dtype=torch.float32)
        slopes.append(torch.autograd.grad(mask.sum(), step)[0].item())
    # The left border cuts the square of side 24, turned by 0.3, along the chord through its middle.
    assert np.mean(slopes) == pytest.approx(24 / np.cos(0.3), rel=0.02)


def moving_scene(name: str, size: int):
    """(move(kind, amount) -> vertices, triangles, colours, camera); amounts are pixels of motion, roughly."""
    matrix = camera(size, size)
    colours = None
    if name == "sphere":
        vertices, triangles = sphere()
        vertices = vertices * torch.tensor([0.75, 1, 1]) + torch.tensor([0.03, 0.02, 3.2])
        is_moving = torch.ones(len(vertices), dtype=torch.bool)
    elif name == "box":
        vertices, triangles = box()
        vertices = vertices @ turned(0.35).T @ turned(0.5, 1).T * 0.6 + torch.tensor([0.02, 0.01, 3.2])
        is_moving = torch.ones(len(vertices), dtype=torch.bool)
    elif name == "front of sphere":
        # A grey sphere stays, a white one moves before it: its whole outline lies inside the silhouette.
        one, triangles = sphere(3)
        vertices = torch.cat([one + torch.tensor([0.0, 0.0, 3.6]), one * 0.35 + torch.tensor([0.05, 0.08, 2.2])])
        colours = torch.cat([torch.full((len(triangles), 1), 0.3), torch.ones(len(triangles), 1)])
        triangles = torch.cat([triangles, triangles + len(one)])
        is_moving = torch.arange(len(vertices)) >= len(one)
    else:
        head = default_head()
        vertices, triangles = torch.tensor(np.asarray(head.template), dtype=torch.float64), torch.tensor(np.asarray(head.triangles_of_quads()[0]), dtype=torch.int32)
        vertices = (vertices - vertices.mean(0)) @ turned(0.6, 1).T * torch.tensor([1.0, -1.0, -1.0]) + torch.tensor([0, 0, 0.42])
        is_moving = torch.ones(len(vertices), dtype=torch.bool)
    centre = vertices[is_moving].mean(0)
    per_px = centre[2] / matrix[0, 0]
    radius = (vertices[is_moving] - centre)[:, :2].norm(dim=-1).max()

    def move(kind: str, amount: torch.Tensor) -> torch.Tensor:
        arm = vertices[is_moving] - centre
        if kind == "translation":
            arm = arm + amount * per_px * torch.tensor([0.8, 0.6, 0.0])
        elif kind == "scale":
            arm = arm * (1 + amount * per_px / radius)
        else:
            arm = arm @ turned(amount * per_px / radius).T
        return vertices.index_put((is_moving.nonzero()[:, 0],), arm + centre)

    return move, triangles, colours, matrix


def integral_and_difference(name: str, kind: str, size: int, device="cpu", steps: int = 24) -> tuple[float, float]:
    """Mean of the gradient of a squared error over 3 px of motion, and the difference quotient over the same 3 px."""
    move, triangles, colours, matrix = moving_scene(name, size)
    topology = edge_topology(triangles.to(device))
    arguments = {"colours": colours, "topology": topology, "device": device, "dtype": torch.float32}
    with torch.no_grad():
        away = torch.tensor(9.0 if kind != "rotation" else 12.0)
        target = picture(move(kind, away), triangles, matrix, (size, size), **arguments)
    losses, slopes = [], []
    for amount in np.linspace(0, 3, steps + 1):
        value = torch.tensor(float(amount), dtype=torch.float64, requires_grad=True)
        loss = (picture(move(kind, value), triangles, matrix, (size, size), **arguments) - target).square().sum()
        losses.append(loss.item())
        slopes.append(torch.autograd.grad(loss, value)[0].item())
    return float(np.trapezoid(slopes, dx=3 / steps) if hasattr(np, "trapezoid") else np.trapz(slopes, dx=3 / steps)) / 3, (losses[-1] - losses[0]) / 3


SCENES = ["sphere", "box", "front of sphere", "head"]


@pytest.mark.parametrize(
    ("name", "kind"), [(name, kind) for name in SCENES for kind in ("translation", "scale", "rotation") if (name, kind) != ("front of sphere", "rotation")]
)
def test_gradients_within_a_tenth_of_finite_differences(name, kind):
    integral, difference = integral_and_difference(name, kind, 128)
    assert abs(difference) > 0.5
    assert integral == pytest.approx(difference, rel=0.1)


@pytest.mark.slow
@pytest.mark.parametrize("size", [256, 512])
@pytest.mark.parametrize("kind", ["translation", "scale", "rotation"])
@pytest.mark.parametrize("name", ["sphere", "box", "head"])
def test_gradients_at_larger_sizes(name, kind, size):
    integral, difference = integral_and_difference(name, kind, size)
    assert integral == pytest.approx(difference, rel=0.1)


def test_gradients_agree_with_finite_differences_on_every_path(kernels, device):
    integral, difference = integral_and_difference("sphere", "scale", 96, device, 12)
    assert integral == pytest.approx(difference, rel=0.1)


def test_no_pixel_jumps_while_the_mesh_moves(kernels, device):
    vertices, triangles = sphere()
    topology = edge_topology(triangles.to(device))
    before, jumps, hard_jumps, hard_before = None, [], [], None
    for step in range(33):
        shift = step / 32 / 96 * 3.2
        moved = vertices * (1 + 0.1 * shift) + torch.tensor([shift, 0.5 * shift, 3.2])
        mask = picture(moved, triangles, camera(96, 96), (96, 96), topology=topology, device=device, dtype=torch.float32)
        hard = rasterise(moved, triangles, camera(96, 96), (96, 96)).is_covered.float()
        if before is not None:
            jumps.append((mask - before).abs().max().item())
            hard_jumps.append((hard - hard_before).abs().max().item())
        before, hard_before = mask, hard
    assert max(hard_jumps) == 1
    # 1/32 px of motion changes a coverage by 0.04 at most; the rest are corners of the outline that pass a line of centres.
    assert max(jumps) < 0.12


@pytest.mark.parametrize("half_px", [0.02, 0.3, 0.6])
def test_a_dot_smaller_than_a_pixel_mixes_the_colours_around_it(kernels, device, half_px):
    corners, triangles = box()
    flat = torch.cat([corners[:, :2] * half_px + 3.5, torch.ones(8, 1)], -1) * (2 + 0.01 * corners[:, 2:])
    positions = flat.requires_grad_()
    mask = picture(positions, triangles, torch.eye(3, dtype=torch.float64), (7, 7), device=device, dtype=torch.float32)
    assert -1e-6 <= mask.min() and mask.max() <= 1 + 1e-6
    mask.sum().backward()
    assert torch.isfinite(positions.grad).all()


def test_an_outline_before_the_background_of_the_same_colour_changes_nothing(kernels, device):
    vertices, triangles = two_boxes()
    matrix = camera(20, 24)
    fragments = rasterise(vertices.to(device), triangles.to(device), matrix.to(device), (20, 24))
    colour = torch.full((20, 24, 3), 0.37, device=device)
    assert torch.equal(antialias(colour, fragments, (vertices @ matrix.T).float().to(device), edge_topology(triangles.to(device))), colour)


def test_empty_scenes_and_one_pixel(kernels, device):
    vertices, triangles = box()
    for size, shift, faces in (((1, 1), 3.0, triangles), ((6, 9), -5.0, triangles), ((1, 8), 3.0, triangles), ((8, 1), 3.0, triangles), ((6, 9), 3.0, triangles[:0])):
        moved = (vertices + torch.tensor([0.0, 0.0, shift])).to(device)
        fragments = rasterise(moved, faces.to(device), camera(*size).to(device), size)
        colour = torch.rand(*size, 3).to(device).requires_grad_()
        positions = (moved @ camera(*size).T.to(device)).float().requires_grad_()
        blended = antialias(colour, fragments, positions, edge_topology(faces.to(device)))
        blended.sum().backward()
        assert blended.shape == (*size, 3) and torch.isfinite(blended).all()
        assert colour.grad is not None and torch.isfinite(positions.grad).all()


def test_an_edge_that_passes_the_near_plane_is_blended_where_it_is_seen(kernels, device):
    # A strip from behind the camera to the horizon; its right edge passes through the picture.
    vertices = torch.tensor([[-3.0, 0.5, -1.0], [0.3, 0.5, -1.0], [0.3, 0.5, 9.0], [-3.0, 0.5, 9.0]], dtype=torch.float64)
    triangles = torch.tensor([[0, 1, 2], [0, 2, 3]], dtype=torch.int32)
    positions = vertices.to(device).requires_grad_()
    matrix = camera(32, 32).to(device)
    fragments = rasterise(positions.detach(), triangles.to(device), matrix, (32, 32))
    hard = fragments.is_covered[..., None].float()
    blended = antialias(hard, fragments, (positions @ matrix.T).float(), edge_topology(triangles.to(device)))
    rows = ((blended > 0.01) & (blended < 0.99))[..., 0].any(1)
    assert rows[22:30].all()
    # At picture height y the edge lies at x = 0.3 / 0.5 (y - 16) + 16; the coverage to its left is exact.
    for row in range(22, 30):
        edge = 0.6 * (row + 0.5 - 16) + 16
        assert blended[row, :, 0].sum().item() == pytest.approx(edge, abs=0.51)
    slope = torch.autograd.grad(blended[20:30].sum(), positions)[0]
    assert torch.isfinite(slope).all() and slope[1, 0] > 0 and slope[2, 0] > 0


def test_topology_of_odd_meshes():
    # A fan of three triangles on one edge, a degenerate triangle, an isolated one.
    triangles = torch.tensor([[0, 1, 2], [0, 1, 3], [1, 0, 4], [5, 5, 6], [7, 8, 9]])
    topology = edge_topology(triangles)
    assert topology.num_vertices == 10
    edges = {tuple(edge): sorted(set(others)) for edge, others in zip(topology.edges.tolist(), topology.opposites.tolist())}
    assert edges[(0, 1)] == [2, 3, 4] and edges[(7, 8)] == [9] and len(edges) == 1 + 6 + 3
    assert len(edge_topology(triangles[:0]).edges) == 0
    many = torch.tensor([[0, 1, k] for k in range(2, 14)])
    assert (0, 1) not in [tuple(edge) for edge in edge_topology(many).edges.tolist()]
    with pytest.raises(ValueError, match="negative"):
        edge_topology(torch.tensor([[0, 1, -2]]))


def test_bad_arguments_are_named(kernels, device):
    vertices, triangles = (part.to(device) for part in box())
    vertices = vertices + torch.tensor([0.0, 0.0, 3.0], device=device)
    matrix = camera(8, 8).to(device)
    fragments = rasterise(vertices, triangles, matrix, (8, 8))
    positions, topology, colour = (vertices @ matrix.T).float(), edge_topology(triangles), torch.zeros(8, 8, 3, device=device)
    for bad in (float("nan"), float("inf")):
        spoilt = positions.clone()
        spoilt[3, 1] = bad
        with pytest.raises(AvatarError, match="homogeneous.*3, 1") as caught:
            antialias(colour, fragments, spoilt, topology)
        assert caught.value.code == "diverged"
        with pytest.raises(AvatarError, match="colour"):
            antialias(torch.full_like(colour, bad), fragments, positions, topology)
    with pytest.raises(ValueError, match="fragments"):
        antialias(colour[:7], fragments, positions, topology)
    with pytest.raises(ValueError, match="homogeneous"):
        antialias(colour, fragments, positions[None], topology)
    with pytest.raises(ValueError, match="at least 8 vertices"):
        antialias(colour, fragments, positions[:7], topology)
    with pytest.raises(TypeError, match="homogeneous"):
        antialias(colour, fragments, positions.double(), topology)
    with pytest.raises(TypeError, match="colour"):
        antialias(colour.half(), fragments, positions, topology)
    with pytest.raises(ValueError, match="near_m"):
        antialias(colour, fragments, positions, topology, near_m=0.0)


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 10**6), height=st.integers(1, 14), width=st.integers(1, 14), num=st.integers(0, 12))
def test_any_soup_of_triangles_agrees_on_all_paths(seed, height, width, num):
    generator = torch.Generator().manual_seed(seed)
    vertices = torch.randn(9, 3, generator=generator, dtype=torch.float64) * torch.tensor([1.0, 1.0, 1.5]) + torch.tensor([0.0, 0.0, 1.5])
    triangles = torch.randint(0, 9, (num, 3), generator=generator, dtype=torch.int32)
    matrix = camera(height, width, 0.8)
    fragments = rasterise(vertices, triangles, matrix, (height, width))
    colour, upstream = torch.rand(2, height, width, 2, generator=generator)
    topology, results = edge_topology(triangles), []
    for path in ("numba", "torch", "warp"):
        with forced_kernels(path):
            inputs = [colour.clone().requires_grad_(), (vertices @ matrix.T).float().requires_grad_()]
            blended = antialias(inputs[0], fragments, inputs[1], topology)
            blended.backward(upstream)
            results.append([blended.detach(), inputs[0].grad, inputs[1].grad])
    assert results[0][0].min() >= colour.min() - 1e-5 and results[0][0].max() <= colour.max() + 1e-5
    for other in results[1:]:
        for ours, theirs in zip(results[0], other):
            # Long edges of nearly no slope are ill-conditioned in the gradient, alike on all paths.
            torch.testing.assert_close(ours, theirs, atol=2e-3, rtol=2e-3)


def test_threads_and_batches_change_no_bit():
    vertices, triangles = two_boxes()
    matrix = camera(40, 36)
    moved = torch.stack([vertices, vertices + 0.03, vertices * 1.1])
    singles = [rasterise(part, triangles, matrix, (40, 36)) for part in moved]
    depth = torch.stack([single.depth_m for single in singles])
    colour, upstream = torch.rand(2, 3, 40, 36, 3, generator=torch.Generator().manual_seed(0))
    topology = edge_topology(triangles)

    def run(chosen):
        inputs = [colour[chosen].clone().requires_grad_(), (moved[chosen] @ matrix.T).float().requires_grad_()]
        first = singles[0]
        fragments = Fragments(first.triangle_ids.expand(len(depth[chosen]), -1, -1), depth[chosen], first.homogeneous, first.triangles)
        blended = antialias(inputs[0], fragments, inputs[1], topology)
        blended.backward(upstream[chosen])
        return [blended.detach(), inputs[0].grad, inputs[1].grad]

    most = numba.get_num_threads()
    whole = run(slice(None))
    try:
        numba.set_num_threads(1)
        alone = run(slice(None))
    finally:
        numba.set_num_threads(most)
    parts = [torch.cat(pieces) for pieces in zip(run(slice(0, 1)), run(slice(1, 3)))]
    for first, second, third in zip(whole, alone, parts):
        assert torch.equal(first, second) and torch.equal(first, third)


BOUNDS_PROGRAM = """
import numba
plain = numba.njit
def checked(*args, **options):
    # Threads would swallow the error, so one after the other.
    options.update(parallel=False, cache=False, boundscheck=True)
    return plain(*args, **options)
numba.njit = checked
import torch
from backend.render.meshes import rasterise
from backend.render.edge_topology import edge_topology
from backend.render.silhouettes import antialias
generator = torch.Generator().manual_seed(0)
for number, (height, width) in enumerate([(1, 1), (1, 7), (9, 1), (17, 23), (17, 23), (40, 8)]):
    vertices = torch.randn(30, 3, generator=generator) * 1.3 + torch.tensor([0.0, 0.0, 1.2])
    vertices[0] *= 1e6
    triangles = torch.randint(0, 30, (40, 3), generator=generator, dtype=torch.int32)
    matrix = torch.tensor([[20.0, 0, width / 2], [0, 20.0, height / 2], [0, 0, 1]])
    fragments = rasterise(vertices, triangles, matrix, (height, width))
    inputs = [torch.rand(height, width, 3, generator=generator, requires_grad=True), (vertices @ matrix.T).requires_grad_()]
    antialias(inputs[0], fragments, inputs[1], edge_topology(triangles)).sum().backward()
print("in bounds")
"""


def test_kernels_stay_in_bounds(tmp_path):
    root = Path(__file__).resolve().parents[2]
    environment = {**os.environ, "NUMBA_BOUNDSCHECK": "1", "NUMBA_CACHE_DIR": str(tmp_path), "PYTHONPATH": str(root)}
    done = subprocess.run([sys.executable, "-c", BOUNDS_PROGRAM], capture_output=True, text=True, env=environment, cwd=root, timeout=300)
    assert done.returncode == 0 and "in bounds" in done.stdout, done.stderr[-3000:]
