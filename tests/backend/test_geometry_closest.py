"""The nearest point of a mesh against trimesh's triangle by triangle answer, its ties, and its promises."""

from __future__ import annotations

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
from trimesh.triangles import closest_point

from backend.errors import AvatarError
from backend.geometry.closest import build_tree, closest_points, points_on_triangles


def one_by_one(points, vertices, triangles):
    """(distance to every triangle (P, F)) by trimesh, float64."""
    corners = np.asarray(vertices, np.float64)[np.asarray(triangles)]
    distances = [np.linalg.norm(closest_point(corners, np.tile(point, (len(corners), 1))) - point, axis=-1) for point in np.asarray(points, np.float64)]
    return np.stack(distances)


def soup(seed, num_vertices=30, num_triangles=50, num_points=60):
    generator = torch.Generator().manual_seed(seed)
    vertices = torch.randn(num_vertices, 3, generator=generator, dtype=torch.float64)
    triangles = torch.stack([torch.randperm(num_vertices, generator=generator)[:3] for _ in range(num_triangles)])
    return torch.randn(num_points, 3, generator=generator, dtype=torch.float64) * 1.5, vertices, triangles


def assert_consistent(found, points, vertices, triangles):
    """What any answer promises: weights of a triangle, the point they make, its distance."""
    assert bool((found.barycentric >= 0).all())
    torch.testing.assert_close(found.barycentric.sum(-1), torch.ones_like(found.distance))
    torch.testing.assert_close(points_on_triangles(vertices, triangles, found.triangle_ids, found.barycentric), found.points)
    torch.testing.assert_close((found.points - points).norm(dim=-1), found.distance, rtol=1e-9, atol=1e-9)


@settings(max_examples=12, deadline=None)
@given(st.integers(0, 10_000), st.integers(3, 40), st.integers(1, 70))
def test_distances_and_triangles_of_any_soup(seed, num_vertices, num_triangles) -> None:
    points, vertices, triangles = soup(seed, num_vertices, num_triangles, 6)
    found = closest_points(points, vertices, triangles)
    distances = one_by_one(points, vertices, triangles)
    np.testing.assert_allclose(found.distance.numpy(), distances.min(1), rtol=1e-9, atol=1e-9)
    at_its_own = distances[np.arange(6), found.triangle_ids.numpy()]
    np.testing.assert_allclose(at_its_own, distances.min(1), rtol=1e-9, atol=1e-9)
    # No lower triangle is as near but for rounding, which trimesh's other order of arithmetic leaves: the real ties are tested below.
    assert all((distances[p, :face] > at_its_own[p] - 1e-9).all() for p, face in enumerate(found.triangle_ids.tolist()))
    assert_consistent(found, points, vertices, triangles)


def test_the_default_head_near_and_far() -> None:
    model = default_head()
    vertices, triangles = torch.as_tensor(model.template).double(), torch.as_tensor(model.triangles)
    generator = torch.Generator().manual_seed(0)
    ids = torch.randint(0, len(triangles), (8,), generator=generator)
    on = points_on_triangles(vertices, triangles, ids, torch.full((8, 3), 1 / 3, dtype=torch.float64))
    points = torch.cat([on, on + torch.randn(8, 3, generator=generator).double() * 0.01, torch.randn(8, 3, generator=generator).double()])
    found = closest_points(points, vertices, triangles)
    np.testing.assert_allclose(found.distance.numpy(), one_by_one(points, vertices, triangles).min(1), atol=1e-10)
    assert float(found.distance[:8].max()) < 1e-9
    assert_consistent(found, points, vertices, triangles)


def test_the_lowest_triangle_wins_at_shared_corners_and_edges() -> None:
    """A fan around a corner at the origin, corners named in every order; above the corner and above the edges."""
    angles = torch.arange(6) * (torch.pi / 3)
    rim = torch.stack([angles.cos(), angles.sin(), torch.full((6,), -0.3)], -1)
    vertices = torch.cat([torch.zeros(1, 3), rim]).double() * 0.37
    fan = [[0, 1, 2], [3, 0, 2], [3, 4, 0], [0, 4, 5], [6, 0, 5], [1, 0, 6]]
    for turn in range(6):
        triangles = torch.tensor(fan[turn:] + fan[:turn])
        assert int(closest_points(torch.tensor([[0.0, 0.0, 0.9]]).double(), vertices, triangles).triangle_ids) == 0
        for corner in range(1, 7):
            for share in (0.13, 0.5, 0.71):
                upright = torch.tensor([0.3 * angles[corner - 1].cos(), 0.3 * angles[corner - 1].sin(), 1.0]).double()
                point = vertices[corner] * share + 0.2 * upright
                users = [face for face, names in enumerate(triangles.tolist()) if corner in names]
                assert int(closest_points(point[None], vertices, triangles).triangle_ids) == min(users)


def test_doubled_triangles_go_to_the_first() -> None:
    points, vertices, triangles = soup(5, num_triangles=20)
    once = closest_points(points, vertices, triangles)
    twice = closest_points(points, vertices, torch.cat([triangles, triangles.roll(1, dims=1), triangles.flip(1)]))
    assert torch.equal(once.triangle_ids, twice.triangle_ids) and torch.equal(once.distance, twice.distance)


def test_triangles_without_area_are_segments_and_points() -> None:
    vertices = torch.tensor([[0.0, 0, 0], [1, 0, 0], [3, 0, 0], [0, 5, 0]])
    for triangles, wanted in (([[0, 1, 2]], [2.0, 0, 0]), ([[0, 0, 2]], [2.0, 0, 0]), ([[1, 1, 1]], [1.0, 0, 0]), ([[2, 0, 1]], [2.0, 0, 0])):
        triangles = torch.tensor(triangles)
        found = closest_points(torch.tensor([[2.0, 1.0, 0.0]]), vertices, triangles)
        torch.testing.assert_close(found.points, torch.tensor([wanted]))
        assert bool(torch.isfinite(found.barycentric).all())
        torch.testing.assert_close(points_on_triangles(vertices, triangles, found.triangle_ids, found.barycentric), found.points)


def test_slivers_keep_their_accuracy() -> None:
    vertices = torch.tensor([[0.0, 0, 0], [1, 0, 0], [0.5, 1e-7, 0], [0.5, 1e-4, 0]], dtype=torch.float64)
    points, _, _ = soup(2, num_points=40)
    for triangle in ([[0, 1, 2]], [[1, 2, 0]], [[0, 1, 3]], [[3, 0, 1]]):
        found = closest_points(points, vertices, torch.tensor(triangle))
        np.testing.assert_allclose(found.distance.numpy(), one_by_one(points, vertices, triangle)[:, 0], atol=2e-7)


@pytest.mark.parametrize("num_triangles", [1, 4, 5, 9])
def test_one_leaf_and_just_more(num_triangles) -> None:
    points, vertices, triangles = soup(3, num_triangles=num_triangles)
    np.testing.assert_allclose(closest_points(points, vertices, triangles).distance.numpy(), one_by_one(points, vertices, triangles).min(1), rtol=1e-9)


def test_many_triangles_at_one_place() -> None:
    points, vertices, _ = soup(4)
    found = closest_points(points, vertices, torch.tensor([[7, 8, 9]]).expand(500, 3))
    assert not found.triangle_ids.any()


def test_a_refitted_tree_answers_as_a_new_one() -> None:
    points, vertices, triangles = soup(6, 60, 200, 300)
    tree = build_tree(vertices, triangles)
    moved = vertices * torch.tensor([1.0, -2.0, 0.3]).double() + torch.randn(vertices.shape, generator=torch.Generator().manual_seed(1)).double() * 0.3
    for got, wanted in zip(vars(tree.refitted(moved).closest(points)).values(), vars(closest_points(points, moved, triangles)).values()):
        assert torch.equal(got, wanted)
    before = tree.closest(points)
    assert torch.equal(before.distance, closest_points(points, vertices, triangles).distance), "the first tree is untouched"
    with pytest.raises(ValueError, match=r"vertices must have shape \(60, 3\), got \(59, 3\)"):
        tree.refitted(moved[1:])


def test_bits_do_not_depend_on_threads_batches_or_order() -> None:
    points, vertices, triangles = soup(7, 100, 300, 2000)
    tree = build_tree(vertices, triangles)
    before, results = numba.get_num_threads(), []
    try:
        for threads in (1, 2, numba.config.NUMBA_NUM_THREADS):
            numba.set_num_threads(min(threads, numba.config.NUMBA_NUM_THREADS))
            results.append(tree.closest(points))
    finally:
        numba.set_num_threads(before)
    mixed = torch.randperm(2000, generator=torch.Generator().manual_seed(0))
    for name in ("points", "distance", "triangle_ids", "barycentric"):
        first = getattr(results[0], name)
        assert all(torch.equal(first, getattr(result, name)) for result in results[1:])
        assert torch.equal(first, torch.cat([getattr(tree.closest(part), name) for part in points.split([1, 700, 1299])]))
        assert torch.equal(first[mixed], getattr(tree.closest(points[mixed]), name))


def test_dtype_and_device_of_the_points(device) -> None:
    points, vertices, triangles = soup(8)
    found = closest_points(points.float().to(device), vertices.to(device), triangles.to(device))
    assert found.points.dtype == found.distance.dtype == found.barycentric.dtype == torch.float32 and found.triangle_ids.dtype == torch.int64
    assert all(tensor.device.type == device.type for tensor in vars(found).values())
    torch.testing.assert_close(found.distance.cpu().double(), closest_points(points, vertices, triangles).distance, rtol=1e-5, atol=1e-5)
    none = closest_points(points[:0], vertices, triangles)
    assert none.points.shape == (0, 3) and none.distance.shape == (0,)


def test_the_squared_distance_has_exact_gradients() -> None:
    points, vertices, triangles = soup(9, num_points=10)
    vertices.requires_grad_()
    found = closest_points(points, vertices, triangles)
    loss = (points_on_triangles(vertices, triangles, found.triangle_ids, found.barycentric) - points).square().sum()
    (gradient,) = torch.autograd.grad(loss, vertices)
    step, direction = 1e-6, torch.randn(vertices.shape, generator=torch.Generator().manual_seed(2)).double()
    ends = [closest_points(points, vertices.detach() + sign * step * direction, triangles).distance.square().sum() for sign in (-1, 1)]
    assert float((gradient * direction).sum()) == pytest.approx(float(ends[1] - ends[0]) / (2 * step), rel=1e-5)


def test_wrong_arguments_are_named() -> None:
    points, vertices, triangles = soup(0)
    for arguments, message in (
        ((points[:, :2], vertices, triangles), r"points must have shape \(..., N, 3\), got \(60, 2\)"),
        ((points[None], vertices, triangles), r"points must have shape \(P, 3\)"),
        ((points, vertices[:, :2], triangles), "vertices must have shape"),
        ((points, vertices, triangles[:, :2]), "triangles must have shape"),
        ((points, vertices, triangles[:0]), "F of 1 or more"),
        ((points, vertices, triangles + 25), "triangles name vertices"),
        ((points, vertices, triangles - 1), "triangles name vertices -1"),
    ):
        with pytest.raises(ValueError, match=message):
            closest_points(*arguments)
    with pytest.raises(TypeError, match="points must have dtype"):
        closest_points(points.long(), vertices, triangles)
    for value in (float("nan"), float("inf")):
        for which, name in ((0, "points"), (1, "vertices")):
            arguments = [points.clone(), vertices.clone(), triangles]
            arguments[which][3, 1] = value
            with pytest.raises(AvatarError, match=rf"{name} is not finite at \[3, 1\]") as caught:
                closest_points(*arguments)
            assert caught.value.code == "diverged"


BOUNDS_CHECK = """
import torch
from backend.geometry.closest import build_tree
for vertices, triangles in ((3, 1), (9, 4), (30, 5), (200, 700)):
    places = torch.randn(vertices, 3)
    tree = build_tree(places, torch.randint(0, vertices, (triangles, 3)))
    for points in (torch.randn(700, 3) * 9, torch.randn(3, 3, dtype=torch.float64), torch.zeros(300, 3)):
        tree.closest(points)
    tree.refitted(places * 0).closest(torch.randn(300, 3))
print("inside")
"""


def test_kernels_stay_inside_their_arrays(tmp_path: Path) -> None:
    environment = {**os.environ, "NUMBA_BOUNDSCHECK": "1", "NUMBA_CACHE_DIR": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-c", BOUNDS_CHECK], capture_output=True, text=True, timeout=120, env=environment, cwd=Path(__file__).parents[2]
    )
    assert done.stdout.strip() == "inside", done.stderr
