"""Visibility by the mesh rasteriser: embree as a second opinion, watertight edges, layers, batches, threads, bounds."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numba
import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from backend.errors import AvatarError
from backend.geometry.cameras import intrinsics
from backend.render.kernel_choice import forced_kernels
from backend.render.meshes import peel, rasterise

FEW = settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def bumpy_ball(device, middle_m=(0.0, 0.0, 3.0)):
    """A closed mesh with folds that hide parts of it: (V, 3) and (F, 3)."""
    trimesh = pytest.importorskip("trimesh")
    ball = trimesh.creation.icosphere(subdivisions=4)
    lift = 1 + 0.25 * np.sin(7 * ball.vertices[:, 0]) * np.cos(6 * ball.vertices[:, 1] + 1)
    vertices = torch.from_numpy(np.float32(ball.vertices * lift[:, None] + middle_m))
    return vertices.to(device), torch.from_numpy(np.int32(ball.faces)).to(device)


def random_triangles(seed, device, num_vertices=60, num_triangles=90, depth_range=(-0.5, 3.0)):
    generator = np.random.default_rng(seed)
    vertices = generator.uniform(-1, 1, (num_vertices, 3)).astype(np.float32)
    vertices[:, 2] = generator.uniform(*depth_range, num_vertices)
    triangles = generator.integers(0, num_vertices, (num_triangles, 3)).astype(np.int32)
    return torch.from_numpy(vertices).to(device), torch.from_numpy(triangles).to(device)


def test_embree_sees_the_same_two_surfaces(device, kernels):
    """Every ray of a picture through embree; the second surface by a ray that starts just behind the first."""
    pytest.importorskip("embreex")
    from trimesh import Trimesh
    from trimesh.ray.ray_pyembree import RayMeshIntersector

    vertices, triangles = bumpy_ball(device)
    size_hw, camera = (60, 90), intrinsics(80.0, (44.0, 31.0))
    first, second = peel(vertices, triangles, torch.from_numpy(camera), size_hw)
    rows, columns = np.mgrid[: size_hw[0], : size_hw[1]] + 0.5
    rays = (np.stack([columns, rows, np.ones_like(rows)], -1) @ np.linalg.inv(camera).T).reshape(-1, 3)
    embree = RayMeshIntersector(Trimesh(vertices.cpu().numpy(), triangles.cpu().numpy(), process=False), scale_to_box=False)
    origins = np.zeros_like(rays)
    for layer in (first, second):
        ids = embree.intersects_first(origins, rays)
        seen = layer.triangle_ids.cpu().numpy().ravel()
        # Embree computes in float32: rays within rounding of an edge may go to the neighbour.
        assert (ids == seen).mean() > 0.995
        assert ((ids >= 0) == (seen >= 0)).mean() > 0.998
        assert (seen >= 0).mean() > 0.2
        depth = np.where(seen >= 0, layer.depth_m.cpu().numpy().ravel(), 0.0)
        origins = np.where(seen[:, None] >= 0, rays * (depth[:, None] + 1e-3), np.float64([0, 0, -100]))


@given(st.integers(0, 10**6), st.booleans())
@FEW
def test_neighbours_share_no_pixel_and_leave_none(device, kernels, seed, is_on_centres):
    """A jittered sheet that fills the picture: every pixel is hit once, also when vertices and edges lie on pixel centres."""
    rng = np.random.default_rng(seed)
    x, y = np.meshgrid(np.arange(-4, 45, 4.0), np.arange(-4, 37, 4.0))
    steps = rng.integers(-4, 5, (2, *x.shape)) / 4 if is_on_centres else rng.uniform(-1, 1, (2, *x.shape))
    depth = np.ones_like(x) if is_on_centres else rng.uniform(0.5, 3.0, x.shape)
    vertices = np.stack([(x + steps[0] + 0.5) * depth, (y + steps[1] + 0.5) * depth, depth], -1).reshape(-1, 3)
    index = np.arange(x.size).reshape(x.shape)
    a, b, c, d = (part.ravel() for part in (index[:-1, :-1], index[:-1, 1:], index[1:, 1:], index[1:, :-1]))
    # Either diagonal, and corners in any order.
    turned = rng.random(a.size) < 0.5
    triangles = np.where(turned[:, None, None], np.stack([[a, b, c], [a, c, d]], 0).transpose(2, 0, 1), np.stack([[a, b, d], [b, c, d]], 0).transpose(2, 0, 1))
    triangles = np.stack([rng.permutation(row) for row in triangles.reshape(-1, 3)]).astype(np.int32)
    first, second = peel(torch.from_numpy(vertices).to(device), torch.from_numpy(triangles).to(device), torch.eye(3), (32, 40))
    assert first.is_covered.all()
    assert not second.is_covered.any()


def test_a_sheet_through_the_near_plane_has_no_cracks(device, kernels):
    """Cut triangles meet their neighbours: a floor is one surface from the near plane to its far edge."""
    x, z = np.meshgrid(np.linspace(-3, 3, 25), np.linspace(-1, 4, 23))
    x = x + np.random.default_rng(0).uniform(-0.05, 0.05, x.shape)
    vertices = np.stack([x, np.full_like(x, 0.3), z], -1).reshape(-1, 3).astype(np.float32)
    index = np.arange(x.size).reshape(x.shape)
    a, b, c, d = (part.ravel() for part in (index[:-1, :-1], index[:-1, 1:], index[1:, 1:], index[1:, :-1]))
    triangles = np.concatenate([np.stack([a, b, c], -1), np.stack([a, c, d], -1)]).astype(np.int32)
    first, second = peel(torch.from_numpy(vertices).to(device), torch.from_numpy(triangles).to(device), torch.from_numpy(intrinsics(60.0, (40.0, 5.0))), (90, 80), near_m=0.2)
    depth = 60.0 * 0.3 / (torch.arange(90) + 0.5 - 5.0)
    should = (depth > 0.2) & (depth < 4.0)
    assert torch.equal(first.is_covered.cpu(), should[:, None].expand(90, 80))
    assert torch.allclose(first.depth_m.cpu()[should], depth[should, None].expand(-1, 80), rtol=1e-5)
    assert not second.is_covered.any()


def brute_force_layers(vertices, triangles, camera, size_hw, near_m):
    """Per pixel, the triangles that one picture of each triangle alone shows, sorted by (float32 depth, number)."""
    hits = [[[] for _ in range(size_hw[1])] for _ in range(size_hw[0])]
    for number in range(len(triangles)):
        alone = rasterise(vertices, triangles[number : number + 1], camera, size_hw, near_m)
        for row, column in alone.is_covered.nonzero().tolist():
            hits[row][column].append((float(alone.depth_m[row, column]), number))
    return [[sorted(pixel) for pixel in row] for row in hits]


@pytest.mark.parametrize("seed", [0, 1])
def test_layers_are_all_surfaces_in_order(device, kernels, seed):
    vertices, triangles = random_triangles(seed, device)
    # The same triangles again, with turned corners: equal depth, so the higher number comes right behind.
    triangles = torch.cat([triangles, triangles[:30].roll(1, 1)])
    camera = torch.from_numpy(intrinsics(14.0, (9.0, 7.0)))
    expected = brute_force_layers(vertices, triangles, camera, (13, 19), 0.1)
    layers = peel(vertices, triangles, camera, (13, 19), num_layers=5, near_m=0.1)
    for number, layer in enumerate(layers):
        for row in range(13):
            for column in range(19):
                pixel = expected[row][column]
                wanted = pixel[number][1] if number < len(pixel) else -1
                assert int(layer.triangle_ids[row, column]) == wanted, (number, row, column)
    one = rasterise(vertices, triangles, camera, (13, 19), near_m=0.1)
    assert torch.equal(one.triangle_ids, layers[0].triangle_ids) and torch.equal(one.depth_m, layers[0].depth_m)
    assert all((near.depth_m <= far.depth_m).all() for near, far in zip(layers, layers[1:]))


def test_a_double_sheet_is_two_layers(device, kernels):
    corners = torch.tensor([[0.0, 0, 1], [9, 0, 1], [0, 9, 1]], device=device)
    triangles = torch.tensor([[0, 1, 2], [2, 0, 1], [1, 0, 2]], dtype=torch.int32, device=device)
    layers = peel(corners, triangles, torch.eye(3), (4, 4), num_layers=4)
    assert [layer.triangle_ids.unique().tolist() for layer in layers] == [[0], [1], [2], [-1]]
    assert layers[3].depth_m.isinf().all() and (layers[3].barycentric == 0).all()


@given(st.integers(0, 10**6), st.floats(1.0, 500.0), st.floats(-60.0, 60.0), st.sampled_from([(1, 1), (7, 31), (40, 3)]))
@FEW
def test_any_camera(device, kernels, seed, focal_px, shift_px, size_hw):
    """Whatever the camera, and with degenerate triangles: every kernel sees the same, and each pixel's point lies on its ray."""
    vertices, triangles = random_triangles(seed, device)
    triangles = torch.cat([triangles, triangles[:5, :1].expand(5, 3), triangles[:5, [0, 1, 1]]])
    camera = torch.from_numpy(intrinsics(focal_px, (size_hw[1] / 2 + shift_px, size_hw[0] / 2 - shift_px)))
    fragments = rasterise(vertices, triangles, camera, size_hw, near_m=0.05)
    with forced_kernels("numba"):
        expected = rasterise(vertices.cpu(), triangles.cpu(), camera, size_hw, near_m=0.05)
    assert torch.equal(fragments.triangle_ids.cpu(), expected.triangle_ids)
    assert torch.allclose(fragments.depth_m.cpu(), expected.depth_m, rtol=1e-6)
    assert torch.allclose(fragments.barycentric.cpu(), expected.barycentric, rtol=1e-4, atol=1e-5)
    covered = fragments.is_covered
    assert (fragments.depth_m[covered] >= 0.05 * (1 - 1e-6)).all()
    assert (fragments.triangle_ids[covered] < 90).all()
    weights = fragments.barycentric[covered]
    assert torch.allclose(weights.sum(-1), torch.ones(len(weights), device=device), atol=1e-5) and (weights > -1e-3).all()


def test_batches_are_their_pictures(device, kernels):
    """Bit for bit, whatever the split, with one camera or one each."""
    scenes = [random_triangles(seed, device)[0] for seed in range(5)]
    triangles = random_triangles(0, device)[1]
    cameras = torch.stack([torch.from_numpy(intrinsics(30.0 + i, (20.0, 15.0))) for i in range(5)])
    whole = peel(torch.stack(scenes), triangles, cameras, (30, 40), near_m=0.1)
    parts = [peel(torch.stack(scenes[a:b]), triangles, cameras[a:b], (30, 40), near_m=0.1) for a, b in ((0, 2), (2, 5))]
    for layer in range(2):
        assert torch.equal(whole[layer].triangle_ids, torch.cat([part[layer].triangle_ids for part in parts]))
        assert torch.equal(whole[layer].depth_m, torch.cat([part[layer].depth_m for part in parts]))
        assert torch.equal(whole[layer].barycentric, torch.cat([part[layer].barycentric for part in parts]))
    alone = rasterise(scenes[3], triangles, cameras[3], (30, 40), near_m=0.1)
    assert alone.triangle_ids.shape == (30, 40) and torch.equal(alone.triangle_ids, whole[0].triangle_ids[3])
    same = rasterise(torch.stack(scenes), triangles, cameras[0], (30, 40), near_m=0.1)
    assert torch.equal(same.triangle_ids[0], whole[0].triangle_ids[0]) and same.size_hw == (30, 40)
    none = rasterise(torch.zeros(0, 7, 3, device=device), triangles[:0], cameras[0], (3, 4))
    assert none.triangle_ids.shape == (0, 3, 4)


def test_one_bad_vertex_of_a_batch_is_named(device, kernels):
    vertices = torch.ones(3, 5, 3, device=device)
    vertices[2, 4, 1] = torch.nan
    triangles = torch.tensor([[0, 1, 2]], dtype=torch.int32, device=device)
    with pytest.raises(AvatarError) as caught:
        rasterise(vertices, triangles, torch.eye(3), (4, 4))
    assert caught.value.code == "diverged" and caught.value.detail == {"vertex": 4, "picture": 2}


def test_wrong_batches_are_named(device, kernels):
    vertices, triangles = random_triangles(0, device)
    for arguments, word in (
        ((vertices[None, None], triangles, torch.eye(3), (4, 4)), "vertices_cam_m"),
        ((vertices.expand(2, -1, -1), triangles, torch.eye(3).expand(3, 3, 3), (4, 4)), "px_from_cam"),
        ((vertices, triangles[:, :2], torch.eye(3), (4, 4)), "triangles"),
        ((vertices, triangles - 1, torch.eye(3), (4, 4)), "triangles"),
        ((vertices, triangles, torch.eye(3), (4, 4), 0), "num_layers"),
    ):
        with pytest.raises(ValueError, match=word):
            peel(*arguments)


def test_threads_change_nothing_in_a_large_scene():
    """Large enough for the parallel preparation; several bands, pictures and layers."""
    vertices, triangles = random_triangles(3, "cpu", 20_000, 30_000)
    camera = torch.from_numpy(intrinsics(90.0, (80.0, 60.0)))
    before = numba.get_num_threads()
    results = []
    try:
        for threads in sorted({1, min(2, numba.config.NUMBA_NUM_THREADS), numba.config.NUMBA_NUM_THREADS}):
            numba.set_num_threads(threads)
            results.append(peel(vertices.expand(2, -1, -1), triangles, camera, (120, 160), near_m=0.1))
    finally:
        numba.set_num_threads(before)
    for other in results[1:]:
        for layer, same in zip(results[0], other):
            assert torch.equal(layer.triangle_ids, same.triangle_ids) and torch.equal(layer.depth_m, same.depth_m)


BOUNDS_PROGRAM = """
import numba
plain = numba.njit
def checked(*args, **options):
    # Threads would swallow the error, so one after the other.
    options.update(parallel=False, cache=False, boundscheck=True)
    return plain(*args, **options)
numba.njit = checked

import numpy as np, torch
from backend.geometry.cameras import intrinsics
from backend.render.meshes import interpolate, interpolate_covered, peel, rasterise, rasterise_uv

@numba.njit
def beyond(values):
    return values[len(values)]
try:
    beyond(np.zeros(3))
    raise SystemExit("bounds are not checked")
except IndexError:
    pass

rng = np.random.default_rng(0)
for size in ((1, 1), (33, 70), (65, 2)):
    for scale in (1.0, 1e3, 1e12):
        vertices = rng.normal(size=(2, 40, 3)).astype(np.float32) * np.float32([scale, scale, 1])
        vertices[:, :5, 2] = 0.1
        triangles = rng.integers(0, 40, (60, 3)).astype(np.int32)
        layers = peel(torch.from_numpy(vertices), torch.from_numpy(triangles), torch.from_numpy(intrinsics(20.0, (size[1] / 2, size[0] / 2))), size, 3, 0.1)
        for layer in layers:
            layer.barycentric
            attributes = torch.rand(40, 2, requires_grad=True)
            homogeneous = layer.homogeneous.clone().requires_grad_()
            picture = interpolate(layer, torch.from_numpy(triangles), attributes, homogeneous)
            part = interpolate_covered(layer.covered, torch.from_numpy(triangles), torch.rand(60, 3, 1), homogeneous)
            (picture.sum() + part.sum()).backward()
rasterise(torch.zeros(0, 3), torch.zeros(0, 3, dtype=torch.int32), torch.eye(3), (5, 5)).barycentric
try:
    rasterise(torch.ones(3, 3), torch.tensor([[0, 1, 3]]), torch.eye(3), (5, 5))
    raise SystemExit("an index out of range was accepted")
except ValueError:
    pass
rasterise_uv(torch.rand(40, 2) * 3 - 1, torch.from_numpy(triangles), 16).covered
print("in bounds")
"""


def test_kernels_stay_in_bounds(tmp_path):
    root = Path(__file__).parents[2]
    environment = {**os.environ, "NUMBA_BOUNDSCHECK": "1", "NUMBA_CACHE_DIR": str(tmp_path), "PYTHONPATH": str(root)}
    done = subprocess.run([sys.executable, "-c", BOUNDS_PROGRAM], capture_output=True, text=True, env=environment, cwd=root, timeout=300)
    assert done.returncode == 0 and "in bounds" in done.stdout, done.stderr[-3000:]
