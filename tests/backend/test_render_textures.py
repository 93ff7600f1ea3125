"""Texture lookup and mip levels: against torch's own sampling, exact averages, finite differences and supersampling."""

import os
import subprocess
import sys
from pathlib import Path

import numba
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from backend.errors import AvatarError
from backend.render.kernel_choice import forced_kernels
from backend.render.meshes import interpolate, rasterise
from backend.render.textures import MipPyramid, mip_level, mip_pyramid, num_mip_levels, sample, uv_per_px


def grid_sample(texture: torch.Tensor, uv: torch.Tensor) -> torch.Tensor:
    """torch's bilinear lookup with our conventions: (h, w, C), (P, 2) -> (P, C)."""
    places = torch.stack([2 * uv[:, 0] - 1, 1 - 2 * uv[:, 1]], -1)[None, None]
    picture = texture.permute(2, 0, 1)[None]
    return torch.nn.functional.grid_sample(picture, places, padding_mode="border", align_corners=False)[0, :, 0].T


def averaged(texture: torch.Tensor, rows: int, columns: int) -> torch.Tensor:
    """Exact averages over equal boxes: every texel is split into rows x columns equal parts."""
    height, width, channels = texture.shape
    fine = texture.repeat_interleave(rows, 0).repeat_interleave(columns, 1)
    return fine.reshape(rows, height, columns, width, channels).mean((1, 3))


@pytest.mark.parametrize("size_hw", [(1, 1), (1, 6), (7, 1), (5, 8), (16, 16)])
def test_bilinear_lookup_and_gradients_agree_with_torch(kernels, device, size_hw):
    generator = torch.Generator().manual_seed(0)
    texture = torch.rand(*size_hw, 3, generator=generator)
    # No lookup within rounding of a texel centre or a border, where the gradient to uv jumps.
    uv = torch.rand(300, 2, generator=generator) * 1.4 - 0.2
    texels = torch.stack([uv[:, 0] * size_hw[1], (1 - uv[:, 1]) * size_hw[0]], -1) - 0.5
    uv = uv[((texels - texels.round()).abs() > 1e-3).all(-1)]
    upstream = torch.randn(len(uv), 3, generator=generator)
    wanted = [texture.double().requires_grad_(), uv.double().requires_grad_()]
    expected = grid_sample(*wanted)
    expected.backward(upstream.double())
    got = [texture.to(device).requires_grad_(), uv.to(device).requires_grad_()]
    values = sample(*got)
    values.backward(upstream.to(device))
    torch.testing.assert_close(values.detach().cpu().double(), expected.detach(), atol=1e-5, rtol=1e-5)
    for ours, theirs in zip(got, wanted):
        torch.testing.assert_close(ours.grad.cpu().double(), theirs.grad, atol=2e-4, rtol=2e-4)


def test_centres_of_texels_give_the_texels_and_v_points_up(kernels, device):
    texture = torch.arange(36.0, device=device).reshape(3, 4, 3)
    v, u = torch.meshgrid(1 - (torch.arange(3) + 0.5) / 3, (torch.arange(4) + 0.5) / 4, indexing="ij")
    torch.testing.assert_close(sample(texture, torch.stack([u, v], -1).to(device)), texture, atol=1e-5, rtol=0)
    assert sample(texture, torch.tensor([[-3.0, 9.0]], device=device)).tolist() == [[0, 1, 2]]


@pytest.mark.parametrize("size_hw", [(8, 8), (5, 5), (7, 12), (1, 9), (6, 1), (3, 2), (1, 1)])
def test_levels_are_exact_box_averages(kernels, device, size_hw):
    texture = torch.rand(*size_hw, 2, generator=torch.Generator().manual_seed(0)).to(device)
    pyramid = mip_pyramid(texture)
    assert len(pyramid.sizes) == num_mip_levels(size_hw) and tuple(pyramid.level(len(pyramid.sizes) - 1).shape) == (1, 1, 2)
    for number in range(1, len(pyramid.sizes)):
        finer = pyramid.level(number - 1)
        rows, columns = max(finer.shape[0] // 2, 1), max(finer.shape[1] // 2, 1)
        torch.testing.assert_close(pyramid.level(number), averaged(finer, rows, columns), atol=1e-6, rtol=1e-6)
    short = mip_pyramid(texture, 1)
    assert short.coarse.shape[0] == 0 and len(short.sizes) == 1


def slow_trilinear(texture: torch.Tensor, uv: torch.Tensor, level: torch.Tensor) -> torch.Tensor:
    """Every level averaged from the one before, sampled by torch at every place, then mixed."""
    levels = [texture]
    while max(levels[-1].shape[:2]) > 1:
        levels.append(averaged(levels[-1], max(levels[-1].shape[0] // 2, 1), max(levels[-1].shape[1] // 2, 1)))
    stack = torch.stack([grid_sample(each, uv) for each in levels])
    clamped = level.clamp(0, len(levels) - 1)
    numbers = torch.arange(len(levels), dtype=clamped.dtype)
    return ((1 - (clamped - numbers[:, None]).abs()).clamp_min(0)[..., None] * stack).sum(0)


@pytest.mark.parametrize("size_hw", [(16, 16), (9, 21), (1, 5)])
def test_trilinear_lookup_and_gradients_agree_with_the_slow_way(kernels, device, size_hw):
    generator = torch.Generator().manual_seed(3)
    texture, uv = torch.rand(*size_hw, 3, generator=generator), torch.rand(250, 2, generator=generator) * 1.2 - 0.1
    level = torch.rand(250, generator=generator) * 7 - 1
    upstream = torch.randn(250, 3, generator=generator)
    wanted = [texture.double().requires_grad_(), uv.double().requires_grad_()]
    expected = slow_trilinear(*wanted, level.double())
    expected.backward(upstream.double())
    got = [texture.to(device).requires_grad_(), uv.to(device).requires_grad_()]
    values = sample(*got, level=level.to(device))
    values.backward(upstream.to(device))
    torch.testing.assert_close(values.detach().cpu().double(), expected.detach(), atol=1e-5, rtol=1e-5)
    for ours, theirs in zip(got, wanted):
        torch.testing.assert_close(ours.grad.cpu().double(), theirs.grad, atol=5e-4, rtol=5e-4)


# Compiling numba's kernels for float64 takes most of a minute; in float32 they are compared with float64 above.
@pytest.mark.parametrize("path", [pytest.param("numba", marks=pytest.mark.slow), "torch"])
def test_gradcheck(path):
    generator = torch.Generator().manual_seed(5)
    texture = torch.rand(5, 6, 3, dtype=torch.float64, generator=generator, requires_grad=True)
    uv = torch.rand(12, 2, dtype=torch.float64, generator=generator, requires_grad=True)
    level = torch.rand(12, dtype=torch.float64, generator=generator) * 3
    with forced_kernels(path):
        assert torch.autograd.gradcheck(lambda t, p: sample(t, p), (texture, uv))
        assert torch.autograd.gradcheck(lambda t, p: sample(t, p, level=level), (texture, uv))
        assert torch.autograd.gradcheck(lambda t: mip_pyramid(t, 3).coarse, (texture,))


def test_a_constant_texture_stays_constant_at_any_level(kernels, device):
    for size in ((13, 7), (32, 32), (1, 3)):
        texture = torch.full((*size, 3), 0.7, device=device)
        uv, level = torch.rand(500, 2, device=device) * 2 - 0.5, torch.rand(500, device=device) * 8
        torch.testing.assert_close(sample(texture, uv, level=level), torch.full((500, 3), 0.7, device=device), atol=1e-6, rtol=0)


def test_batches_shapes_coverage_and_shared_pyramids(kernels, device):
    generator = torch.Generator().manual_seed(7)
    texture, uv = torch.rand(2, 9, 10, 3, generator=generator).to(device), torch.rand(2, 5, 6, 2, generator=generator).to(device)
    level, covered = (torch.rand(2, 5, 6, generator=generator) * 4).to(device), (torch.rand(2, 5, 6, generator=generator) > 0.3).to(device)
    together = sample(texture, uv, level=level, is_covered=covered)
    assert together.shape == (2, 5, 6, 3) and (together[~covered] == 0).all()
    for item in range(2):
        alone = sample(mip_pyramid(texture[item]), uv[item], level=level[item])
        assert torch.equal(torch.where(covered[item][..., None], alone, 0), together[item])
    spoilt = torch.where(covered[..., None], uv, torch.nan).requires_grad_()
    again = sample(mip_pyramid(texture), spoilt, level=level, is_covered=covered)
    again.sum().backward()
    assert torch.equal(again, together) and (spoilt.grad[~covered] == 0).all() and torch.isfinite(spoilt.grad).all()
    assert sample(texture[0], uv[:0, 0]).shape == (0, 6, 3)
    assert sample(texture[0], torch.zeros(2, device=device)).shape == (3,)
    assert isinstance(mip_pyramid(texture), MipPyramid)


def tilted_plane(size: int, tilt: float = 1.1) -> tuple[torch.Tensor, ...]:
    """A square seen at a slant: vertices (4, 3), triangles, K, uv."""
    corners = torch.tensor([[-1.0, -1, 0], [1, -1, 0], [1, 1, 0], [-1, 1, 0]], dtype=torch.float64)
    turn = torch.tensor([[1.0, 0, 0], [0, np.cos(tilt), -np.sin(tilt)], [0, np.sin(tilt), np.cos(tilt)]], dtype=torch.float64)
    vertices = corners @ turn.T + torch.tensor([0.1, 0.05, 2.4])
    matrix = torch.tensor([[1.1 * size, 0, size / 2], [0, 1.1 * size, size / 2], [0, 0, 1]], dtype=torch.float64)
    uv = torch.tensor([[0.0, 1], [1, 1], [1, 0], [0, 0]], dtype=torch.float64)
    return vertices, torch.tensor([[0, 1, 2], [0, 2, 3]], dtype=torch.int32), matrix, uv


def looked_up(vertices, triangles, matrix, uv, size, device):
    fragments = rasterise(vertices.to(device), triangles.to(device), matrix.to(device), (size, size))
    coordinates = interpolate(fragments, triangles.to(device), uv.float().to(device))
    steps = uv_per_px(fragments, (vertices @ matrix.T).float().to(device), triangles.to(device), uv.float().to(device), triangles.to(device))
    return fragments, coordinates, steps


def test_derivatives_of_uv_agree_with_finite_differences(kernels, device):
    size = 48
    vertices, triangles, matrix, uv = tilted_plane(size)
    fragments, _, steps = looked_up(vertices, triangles, matrix, uv, size, device)
    shift = 0.01
    for axis in range(2):
        ends = []
        for sign in (-1, 1):
            moved = matrix.clone()
            # The picture moved by -shift shows at a pixel what lies shift further on.
            moved[axis, 2] -= sign * shift
            near = rasterise(vertices.to(device), triangles.to(device), moved.to(device), (size, size))
            ends.append((interpolate(near, triangles.to(device), uv.to(device)), near.is_covered))
        both = ends[0][1] & ends[1][1] & fragments.is_covered
        difference = ((ends[1][0] - ends[0][0]) / (2 * shift))[both]
        assert both.sum() > 300
        torch.testing.assert_close(steps[both][..., axis].double(), difference.double(), atol=2e-4, rtol=2e-3)
    assert (steps[~fragments.is_covered] == 0).all()


def test_batched_derivatives_of_uv(kernels, device):
    vertices, triangles, matrix, uv = tilted_plane(20)
    both = torch.stack([vertices, vertices + 0.1]).to(device)
    fragments = rasterise(both, triangles.to(device), matrix.to(device), (20, 20))
    steps = uv_per_px(fragments, both @ matrix.T.to(device), triangles.to(device), uv.to(device), triangles.to(device))
    assert steps.shape == (2, 20, 20, 2, 2)
    for item in range(2):
        alone = looked_up(both[item].cpu(), triangles, matrix, uv, 20, device)[2]
        torch.testing.assert_close(steps[item], alone, atol=1e-4, rtol=1e-4)


def test_mip_levels_come_closer_to_a_supersampled_picture(kernels, device):
    size, rays = 40, 8
    vertices, triangles, matrix, uv = tilted_plane(size, 0.8)
    generator = torch.Generator().manual_seed(2)
    texture = (torch.rand(300, 260, 3, generator=generator) > 0.5).float().to(device)
    fragments, coordinates, steps = looked_up(vertices, triangles, matrix, uv, size, device)
    fine = torch.diag(torch.tensor([rays, rays, 1.0], dtype=torch.float64)) @ matrix
    many, places, _ = looked_up(vertices, triangles, fine, uv, size * rays, device)
    truth = sample(texture, places, is_covered=many.is_covered).reshape(size, rays, size, rays, 3).mean((1, 3))
    inside = many.is_covered.reshape(size, rays, size, rays).all(3).all(1)
    level = mip_level(steps, (300, 260))
    assert level[inside].min() > 1.5
    error_mip = (sample(texture, coordinates, uv_per_px=steps) - truth)[inside].square().mean().sqrt()
    error_plain = (sample(texture, coordinates) - truth)[inside].square().mean().sqrt()
    assert error_mip < 0.35 * error_plain


def test_level_from_derivatives(kernels, device):
    steps = torch.zeros(5, 2, 2, device=device)
    steps[1, 0, 0] = 4 / 64
    steps[2, 1, 1] = 8 / 32
    steps[3, 0, 0] = 1e9
    steps[4, 1, 0], steps[4, 0, 0] = 3 / 32, 4 / 64
    wanted = torch.tensor([0, 2, 3, 6, np.log2(5)], dtype=torch.float32)
    torch.testing.assert_close(mip_level(steps, (32, 64)).cpu(), wanted)


def test_bad_arguments_are_named(kernels, device):
    texture, uv, level = torch.rand(4, 5, 3, device=device), torch.rand(6, 2, device=device), torch.zeros(6, device=device)
    for bad in (float("nan"), float("inf")):
        spoilt = uv.clone()
        spoilt[4, 1] = bad
        with pytest.raises(AvatarError, match="uv") as caught:
            sample(texture, spoilt)
        assert caught.value.code == "diverged"
        with pytest.raises(AvatarError, match="level"):
            sample(texture, uv, level=torch.full_like(level, bad))
    with pytest.raises(ValueError, match="texture"):
        sample(texture[0], uv)
    with pytest.raises(ValueError, match="texture"):
        sample(texture[:0], uv)
    with pytest.raises(ValueError, match="uv"):
        sample(texture, uv[:, :1])
    with pytest.raises(ValueError, match="uv"):
        sample(texture[None].repeat(2, 1, 1, 1), uv)
    with pytest.raises(TypeError, match="uv"):
        sample(texture, uv.double())
    with pytest.raises(TypeError, match="texture"):
        sample(texture.half(), uv)
    with pytest.raises(ValueError, match="level"):
        sample(texture, uv, level=level[:3])
    with pytest.raises(ValueError, match="not both"):
        sample(texture, uv, level=level, uv_per_px=torch.zeros(6, 2, 2, device=device))
    with pytest.raises(ValueError, match="uv_per_px"):
        sample(texture, uv, uv_per_px=torch.zeros(6, 2, device=device))
    with pytest.raises(ValueError, match="is_covered"):
        sample(texture, uv, is_covered=torch.ones(5, dtype=torch.bool, device=device))
    with pytest.raises(TypeError, match="is_covered"):
        sample(texture, uv, is_covered=level)
    with pytest.raises(ValueError, match="num_levels"):
        mip_pyramid(texture, 9)
    vertices, triangles, matrix, corner_uv = (part.to(device) for part in tilted_plane(8))
    fragments = rasterise(vertices, triangles, matrix, (8, 8))
    with pytest.raises(ValueError, match="uv_triangles"):
        uv_per_px(fragments, vertices @ matrix.T, triangles, corner_uv, triangles + 9)
    with pytest.raises(ValueError, match="homogeneous"):
        uv_per_px(fragments, (vertices @ matrix.T)[None], triangles, corner_uv, triangles)


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10**6), height=st.integers(1, 20), width=st.integers(1, 20), num=st.integers(0, 60), has_level=st.booleans())
def test_any_texture_agrees_on_all_paths(seed, height, width, num, has_level):
    generator = torch.Generator().manual_seed(seed)
    texture, uv = torch.rand(height, width, 3, generator=generator), torch.rand(num, 2, generator=generator) * 3 - 1
    level = torch.randn(num, generator=generator) * 4 if has_level else None
    upstream, results = torch.randn(num, 3, generator=generator), []
    for path in ("numba", "torch", "warp"):
        with forced_kernels(path):
            inputs = [texture.clone().requires_grad_(), uv.clone().requires_grad_()]
            values = sample(*inputs, level=level)
            values.backward(upstream)
            results.append([values.detach(), inputs[0].grad])
    assert results[0][0].numel() == 0 or (results[0][0].min() >= texture.min() - 1e-5 and results[0][0].max() <= texture.max() + 1e-5)
    for other in results[1:]:
        for ours, theirs in zip(results[0], other):
            torch.testing.assert_close(ours, theirs, atol=1e-4, rtol=1e-4)


def test_threads_and_batches_change_no_bit():
    generator = torch.Generator().manual_seed(0)
    texture, uv = torch.rand(3, 33, 20, 3, generator=generator), torch.rand(3, 4000, 2, generator=generator)
    level, upstream = torch.rand(3, 4000, generator=generator) * 5, torch.randn(3, 4000, 3, generator=generator)

    def run(chosen):
        inputs = [texture[chosen].clone().requires_grad_(), uv[chosen].clone().requires_grad_()]
        values = sample(*inputs, level=level[chosen])
        values.backward(upstream[chosen])
        return [values.detach(), inputs[0].grad, inputs[1].grad]

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
from backend.render.fragments import Fragments
from backend.render.textures import sample, uv_per_px
generator = torch.Generator().manual_seed(0)
for height, width, num in [(1, 1, 3), (1, 9, 50), (9, 1, 50), (70, 3, 500), (33, 65, 0), (33, 65, 900)]:
    for scale in (1.0, 1e12):
        for has_level in (False, True):
            texture = torch.rand(2, height, width, 3, generator=generator, requires_grad=True)
            uv = (torch.randn(2, num, 2, generator=generator) * scale).requires_grad_()
            sample(texture, uv, level=torch.randn(2, num, generator=generator) * 6 * scale if has_level else None).sum().backward()
vertices = torch.randn(30, 3, generator=generator)
triangles = torch.randint(0, 30, (40, 3), generator=generator, dtype=torch.int32)
ids = torch.randint(-1, 40, (18, 14), generator=generator, dtype=torch.int32)
fragments = Fragments(ids, torch.rand(18, 14) + 0.5, vertices.double(), triangles)
steps = uv_per_px(fragments, vertices, triangles, torch.rand(30, 2, generator=generator), triangles).nan_to_num(0, 0, 0)
sample(texture[0], torch.rand(18, 14, 2), uv_per_px=steps)
print("in bounds")
"""


def test_kernels_stay_in_bounds(tmp_path):
    root = Path(__file__).resolve().parents[2]
    environment = {**os.environ, "NUMBA_BOUNDSCHECK": "1", "NUMBA_CACHE_DIR": str(tmp_path), "PYTHONPATH": str(root)}
    done = subprocess.run([sys.executable, "-c", BOUNDS_PROGRAM], capture_output=True, text=True, env=environment, cwd=root, timeout=300)
    assert done.returncode == 0 and "in bounds" in done.stdout, done.stderr[-3000:]
