"""The mesh rasteriser against an independent slow reference, and its conventions, with every family of kernels."""

from __future__ import annotations

import numba
import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from backend.errors import AvatarError
from backend.geometry.cameras import intrinsics, project
from backend.render import meshes
from backend.render.meshes import Fragments, interpolate, is_visible, rasterise_uv, sample_texture, visible_depth

pytestmark = pytest.mark.usefixtures("kernels")


@pytest.fixture
def rasterise(device):
    """``meshes.rasterise`` of arrays or tensors on the device under test; results on the CPU."""

    def draw(vertices, triangles, px_from_cam, *rest, **more):
        arrays = (torch.as_tensor(array).to(device) for array in (vertices, triangles, px_from_cam))
        return on_cpu(meshes.rasterise(*arrays, *rest, **more))

    return draw


def on_cpu(fragments):
    return Fragments(fragments.triangle_ids.cpu(), fragments.depth_m.cpu(), fragments.homogeneous.cpu(), fragments.triangles.cpu())


def ray_cast(vertices, triangles, px_from_cam, size_hw, near_m):
    """Moeller-Trumbore for every pixel and triangle, float64: (ids, depth, barycentric)."""
    height, width = size_hw
    rows, columns = np.mgrid[:height, :width] + 0.5
    rays = np.stack([columns, rows, np.ones_like(rows)], -1) @ np.linalg.inv(px_from_cam).T
    ids, depth, weights = np.full(size_hw, -1), np.full(size_hw, np.inf), np.zeros((*size_hw, 3))
    for number, (a, b, c) in enumerate(np.asarray(vertices, dtype=np.float64)[triangles]):
        cross = np.cross(rays, c - a)
        determinant = cross @ (b - a)
        with np.errstate(divide="ignore", invalid="ignore"):
            u = -(cross @ a) / determinant
            across = np.cross(-a, b - a)
            v = rays @ across / determinant
            t = (c - a) @ across / determinant
        is_hit = (u >= 0) & (v >= 0) & (u + v <= 1) & (t >= near_m) & (t < depth)
        ids[is_hit], depth[is_hit] = number, t[is_hit]
        weights[is_hit] = np.stack([1 - u - v, u, v], -1)[is_hit]
    return ids, depth, weights


def random_scene(seed, num_vertices=30, num_triangles=40, depth_range=(0.3, 3.0)):
    rng = np.random.default_rng(seed)
    vertices = rng.uniform(-1, 1, (num_vertices, 3))
    vertices[:, 2] = rng.uniform(*depth_range, num_vertices)
    triangles = np.stack([rng.choice(num_vertices, 3, replace=False) for _ in range(num_triangles)]).astype(np.int32)
    return vertices.astype(np.float32), triangles


@pytest.mark.parametrize("depth_range", [(0.3, 3.0), (-1.0, 2.0)], ids=["in_front", "through_the_camera"])
@pytest.mark.parametrize("size_hw", [(40, 64), (65, 33), (1, 1)])
@pytest.mark.parametrize("seed", range(3))
def test_equals_ray_casting(rasterise, seed, size_hw, depth_range):
    vertices, triangles = random_scene(seed, depth_range=depth_range)
    camera = intrinsics(35.0, (size_hw[1] * 0.45, size_hw[0] * 0.55))
    fragments = rasterise(torch.from_numpy(vertices), torch.from_numpy(triangles), torch.from_numpy(camera), size_hw, near_m=0.05)
    ids, depth, weights = ray_cast(vertices, triangles, camera, size_hw, 0.05)
    # Where two surfaces lie within rounding of each other either may win; nowhere else may they differ.
    is_same = fragments.triangle_ids.numpy() == ids
    assert is_same.mean() > 0.995 or size_hw == (1, 1) and is_same.all()
    covered = is_same & (ids >= 0)
    assert np.allclose(fragments.depth_m.numpy()[covered], depth[covered], rtol=1e-5)
    assert np.allclose(fragments.barycentric.numpy()[covered], weights[covered], atol=2e-5)
    assert np.isinf(fragments.depth_m.numpy()[ids < 0]).all()


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.integers(0, 10**6), st.floats(-0.5, 0.9))
def test_near_plane_clips_like_geometry(rasterise, seed, behind_m):
    """A triangle with corners behind the camera gives the picture of the polygon that geometric clipping leaves."""
    rng = np.random.default_rng(seed)
    near = 0.2
    triangle = rng.uniform(-1, 1, (3, 3))
    triangle[:, 2] = [behind_m - 0.5, rng.uniform(-0.5, 2), rng.uniform(0.5, 2)]
    polygon = []
    for corner in range(3):
        a, b = triangle[corner], triangle[(corner + 1) % 3]
        if a[2] >= near:
            polygon.append(a)
        if (a[2] >= near) != (b[2] >= near):
            polygon.append(a + (near - a[2]) / (b[2] - a[2]) * (b - a))
    fans = np.array([[0, i, i + 1] for i in range(1, len(polygon) - 1)], np.int32)
    camera = intrinsics(20.0, (12.0, 9.0))
    whole = rasterise(triangle, np.array([[0, 1, 2]], np.int32), camera, (18, 24), near)
    parts = rasterise(np.array(polygon), fans, camera, (18, 24), 1e-3)
    # Only pixel centres within rounding of the clip line may differ.
    assert (whole.is_covered != parts.is_covered).sum() <= 1
    both = whole.is_covered & parts.is_covered
    assert torch.allclose(whole.depth_m[both], parts.depth_m[both], rtol=1e-4)


def test_floor_below_the_camera_reaches_the_near_plane(rasterise):
    """An endless floor 1 m below: a pixel at height y sees depth f / (y - cy), and the horizon stays empty."""
    floor = np.array([[-1e3, 1, -1e3], [1e3, 1, -1e3], [1e3, 1, 1e3], [-1e3, 1, 1e3]], np.float32)
    fragments = rasterise(floor, np.array([[0, 1, 2], [0, 2, 3]], np.int32), intrinsics(10.0, (8.0, 8.0)), (16, 16), 0.01)
    assert not fragments.is_covered[:8].any() and fragments.is_covered[8:].all()
    expected = 10.0 / (torch.arange(8, 16) + 0.5 - 8.0)
    assert torch.allclose(fragments.depth_m[8:], expected[:, None].expand(8, 16), rtol=1e-5)


def test_pixel_centres_are_at_half(rasterise):
    """A square from x = 1 to 3 px and y = 2 to 3 px covers exactly pixels 1, 2 of row 2; the depth is exact."""
    corners = np.array([[1, 2, 1], [3, 2, 1], [3, 3, 1], [1, 3, 1]], np.float32)
    fragments = rasterise(corners, np.array([[0, 1, 2], [0, 2, 3]], np.int32), np.eye(3), (5, 6))
    expected = torch.zeros(5, 6, dtype=torch.bool)
    expected[2, 1:3] = True
    assert torch.equal(fragments.is_covered, expected)
    assert (fragments.depth_m[expected] == 1).all()
    # A triangle that touches a centre by less than half a pixel misses it.
    missed = rasterise(corners[:3] * [0.15, 0.15, 1], np.array([[0, 1, 2]], np.int32), np.eye(3), (5, 6))
    assert not missed.is_covered.any()


def test_neighbouring_triangles_leave_no_cracks(rasterise):
    rng = np.random.default_rng(4)
    grid = np.stack(np.meshgrid(np.linspace(-1, 1, 15), np.linspace(-1, 1, 15)), -1).reshape(-1, 2)
    inner = np.abs(grid).max(-1) < 0.99
    grid[inner] += rng.uniform(-0.03, 0.03, (inner.sum(), 2))
    vertices = np.concatenate([grid, 1.5 + 0.1 * rng.random((len(grid), 1))], -1)
    index = np.arange(225).reshape(15, 15)
    a, b, c, d = index[:-1, :-1].ravel(), index[:-1, 1:].ravel(), index[1:, 1:].ravel(), index[1:, :-1].ravel()
    triangles = np.concatenate([np.stack([a, b, c], -1), np.stack([a, c, d], -1)]).astype(np.int32)
    fragments = rasterise(vertices, triangles, intrinsics(100.0, (50.0, 50.0)), (100, 100))
    assert fragments.is_covered.all()


def test_nothing_to_see(rasterise):
    vertices = torch.zeros(3, 3)
    none = rasterise(vertices, torch.zeros(0, 3, dtype=torch.int32), np.eye(3), (3, 4))
    assert (none.triangle_ids == -1).all() and none.depth_m.isinf().all() and (none.barycentric == 0).all()
    flat = rasterise(vertices + 1, torch.tensor([[0, 1, 2]]), np.eye(3), (3, 4))
    behind = rasterise(torch.tensor([[0.0, 0, -1], [5, 0, -1], [0, 5, -1]]), torch.tensor([[0, 1, 2]]), np.eye(3), (3, 4))
    assert not flat.is_covered.any() and not behind.is_covered.any()


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_what_is_not_finite_is_an_error(rasterise, bad):
    vertices = np.ones((3, 3), np.float32)
    vertices[1, 2] = bad
    with pytest.raises(AvatarError) as caught:
        rasterise(vertices, np.array([[0, 1, 2]], np.int32), np.eye(3), (4, 4))
    assert caught.value.code == "diverged" and caught.value.detail == {"vertex": 1, "picture": 0}
    with pytest.raises(AvatarError):
        rasterise(np.ones((3, 3)), np.array([[0, 1, 2]], np.int32), np.full((3, 3), bad), (4, 4))


def test_wrong_arguments_are_named(rasterise):
    good = np.ones((3, 3)), np.array([[0, 1, 2]], np.int32), np.eye(3), (4, 4)
    for place, value, word in ((0, np.ones((3, 2)), "vertices_cam_m"), (1, np.array([[0, 1, 3]]), "triangles"), (2, np.eye(4)[:, :2], "px_from_cam"), (3, (0, 4), "size_hw")):
        arguments = list(good)
        arguments[place] = value
        with pytest.raises(ValueError, match=word):
            rasterise(*arguments)
    with pytest.raises(ValueError, match="near_m"):
        rasterise(*good, near_m=0.0)


def test_threads_do_not_change_a_bit(rasterise):
    vertices, triangles = random_scene(11, 200, 400)
    camera = intrinsics(90.0, (80.0, 60.0))
    before = numba.get_num_threads()
    results = []
    try:
        for threads in sorted({1, min(2, numba.config.NUMBA_NUM_THREADS)}):
            numba.set_num_threads(threads)
            results += [rasterise(vertices, triangles, camera, (120, 160)) for _ in range(2)]
    finally:
        numba.set_num_threads(before)
    for other in results[1:]:
        assert torch.equal(results[0].triangle_ids, other.triangle_ids)
        assert torch.equal(results[0].depth_m, other.depth_m) and torch.equal(results[0].barycentric, other.barycentric)


def test_equal_depth_keeps_the_first_triangle(rasterise):
    corners = np.array([[0, 0, 1], [9, 0, 1], [0, 9, 1]], np.float32)
    fragments = rasterise(corners, np.array([[0, 1, 2], [2, 0, 1], [0, 1, 2]], np.int32), np.eye(3), (4, 4))
    assert (fragments.triangle_ids == 0).all()


def test_interpolation_is_perspective_correct(rasterise):
    """Interpolating the camera-frame positions themselves gives points on each pixel's ray at the fragment's depth."""
    vertices, triangles = random_scene(5)
    camera = intrinsics(30.0, (20.0, 15.0))
    fragments = rasterise(vertices, triangles, camera, (30, 40))
    points = interpolate(fragments, torch.from_numpy(triangles), torch.from_numpy(vertices).double())
    covered = fragments.is_covered
    assert covered.float().mean() > 0.5
    rows, columns = torch.nonzero(covered, as_tuple=True)
    pixels = project(torch.from_numpy(camera), points[covered])
    assert torch.allclose(pixels, torch.stack([columns, rows], -1).double() + 0.5, atol=1e-3)
    assert torch.allclose(points[covered][:, 2].float(), fragments.depth_m[covered], rtol=1e-5)
    per_corner = interpolate(fragments, torch.from_numpy(triangles), torch.from_numpy(vertices[triangles]).double())
    assert torch.equal(points, per_corner)
    assert (points[~covered] == 0).all()


def test_interpolation_has_gradients(rasterise):
    vertices, triangles = random_scene(6)
    fragments = rasterise(vertices, triangles, intrinsics(30.0, (20.0, 15.0)), (30, 40))
    attributes = torch.rand(len(vertices), 2, dtype=torch.float64, requires_grad=True)
    interpolate(fragments, torch.from_numpy(triangles), attributes).sum().backward()
    # The weights of every covered pixel sum to one, so do the gradients.
    assert attributes.grad.sum(0).allclose(fragments.is_covered.sum().double().expand(2))


def test_texture_lookup_conventions():
    texture = torch.arange(12.0).reshape(3, 4, 1)
    centres = torch.tensor([[0.5 / 4, 1 - 0.5 / 3], [3.5 / 4, 1 - 2.5 / 3], [1.0 / 4, 1 - 0.5 / 3], [0.0, 1.0], [1.0, 0.0]])
    assert torch.allclose(sample_texture(texture, centres)[:, 0], torch.tensor([0.0, 11.0, 0.5, 0.0, 11.0]), atol=1e-5)
    assert sample_texture(torch.full((1, 1, 3), 0.25), torch.rand(2, 5, 2)).allclose(torch.full((2, 5, 3), 0.25))
    texture64 = torch.rand(5, 4, 2, dtype=torch.float64, requires_grad=True)
    uv = torch.tensor([[0.31, 0.42], [0.77, 0.58]], dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(sample_texture, (texture64, uv))


def test_texture_space():
    """The triangle under each texel centre, with v pointing up: the texel's own uv comes back."""
    uv = np.array([[0, 0], [1, 0], [1, 1], [0, 1]], np.float32)
    triangles = np.array([[0, 1, 2], [0, 2, 3]], np.int32)
    fragments = rasterise_uv(uv, triangles, (8, 16))
    back = interpolate(fragments, torch.from_numpy(triangles), torch.from_numpy(uv))
    rows, columns = torch.meshgrid(torch.arange(8), torch.arange(16), indexing="ij")
    assert torch.allclose(back, torch.stack([(columns + 0.5) / 16, 1 - (rows + 0.5) / 8], -1), atol=1e-6)
    assert rasterise_uv(uv, triangles, 8).size_hw == (8, 8)


def test_visibility(rasterise):
    wall = np.array([[-1, -1, 2], [1, -1, 2], [1, 1, 2], [-1, 1, 2], [-9, -9, 5], [9, -9, 5], [9, 9, 5], [-9, 9, 5]], np.float32)
    triangles = np.array([[0, 1, 2], [0, 2, 3], [4, 5, 6], [4, 6, 7]], np.int32)
    camera = intrinsics(20.0, (20.0, 20.0))
    fragments = rasterise(wall, triangles, camera, (40, 40))
    points = torch.tensor([[0.0, 0, 2], [0, 0, 2.002], [0, 0, 2.1], [0, 0, 5], [3, 0, 5], [0, 0, -1], [30, 0, 5]])
    assert is_visible(fragments, camera, points).tolist() == [True, True, False, False, True, False, False]
    depth = visible_depth(fragments, camera, points)
    assert depth[:5].tolist() == [2, 2, 2, 2, 5] and depth[5:].isnan().all()
    empty = rasterise(wall, np.zeros((0, 3), np.int32), camera, (40, 40))
    assert visible_depth(empty, camera, points[:1]).isinf().all()
