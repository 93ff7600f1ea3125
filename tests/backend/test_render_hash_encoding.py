"""The multi-resolution hash encoding: every family of kernels against one sample at a time, every gradient, and its promises."""

from __future__ import annotations

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
from backend.render.hash_encoding import HashEncoding, HashGrid, encode_positions
from backend.render.kernel_choice import forced_kernels

SMALL = HashGrid(num_levels=4, num_features=2, log2_entries=7, coarsest=3, finest=20)


def one_by_one(positions, table, grid):
    """The definition: each position, level and corner in turn, in Python's own numbers."""
    rows = []
    for position in positions.tolist():
        features = []
        for level in range(grid.num_levels):
            side = int(grid.resolutions[level])
            scaled = [min(max(x, 0.0), 1.0) * side for x in position]
            lowest = [min(int(x), side - 1) for x in scaled]
            total = torch.zeros(grid.num_features, dtype=table.dtype)
            for corner in range(8):
                bits = [corner & 1, corner >> 1 & 1, corner >> 2 & 1]
                x, y, z = (low + bit for low, bit in zip(lowest, bits))
                if (side + 1) ** 3 <= 2**grid.log2_entries:
                    entry = x + y * (side + 1) + z * (side + 1) ** 2
                else:
                    entry = (x ^ (y * 2654435761 % 2**32) ^ (z * 805459861 % 2**32)) % 2**grid.log2_entries
                weight = np.prod([value - low if bit else 1 - (value - low) for value, low, bit in zip(scaled, lowest, bits)])
                total = total + float(weight) * table[int(grid.offsets[level]) + entry]
            features.append(total)
        rows.append(torch.cat(features))
    return torch.stack(rows)


def scene(device, dtype=torch.float32, num=40, grid=SMALL, seed=0):
    generator = torch.Generator().manual_seed(seed)
    positions = torch.rand(num, 3, generator=generator, dtype=torch.float64).to(dtype).to(device)
    table = torch.randn(grid.num_entries, grid.num_features, generator=generator, dtype=torch.float64).to(dtype).to(device)
    upstream = torch.randn(num, grid.num_outputs, generator=generator, dtype=torch.float64).to(dtype).to(device)
    return positions.requires_grad_(), table.requires_grad_(), upstream


def test_levels_of_the_paper() -> None:
    grid = HashGrid()
    assert grid.resolutions[0] == 16 and grid.resolutions[-1] == 2048 and grid.num_outputs == 32
    assert grid.is_dense.tolist() == [True] * 5 + [False] * 11
    assert (np.diff(grid.offsets) <= 2**19).all() and grid.num_entries * 2 == pytest.approx(12.2e6, rel=0.01)
    assert sorted(grid.task_order.tolist()) == list(range(16))


@pytest.mark.parametrize("sizes", [{"num_levels": 0}, {"num_features": 0}, {"log2_entries": 25}, {"coarsest": 8, "finest": 7}])
def test_sizes_out_of_range_are_named(sizes) -> None:
    with pytest.raises(ValueError, match=list(sizes)[-1]):
        HashGrid(**sizes)


@pytest.mark.parametrize("grid", [SMALL, HashGrid(num_levels=1, num_features=1, log2_entries=4, coarsest=1, finest=1), HashGrid(3, 5, 9, 4, 40)], ids=["four", "one", "wide"])
def test_features_and_gradients_follow_the_definition(kernels, device, grid) -> None:
    positions, table, upstream = scene(device, grid=grid)
    encoded = encode_positions(positions, table, grid)
    reference = table.detach().double().cpu().requires_grad_()
    wanted = one_by_one(positions.detach().double().cpu(), reference, grid)
    torch.testing.assert_close(encoded.detach().cpu().double(), wanted.detach(), rtol=1e-5, atol=1e-5)
    got = torch.autograd.grad((encoded * upstream).sum(), (positions, table))
    (table_grad,) = torch.autograd.grad((wanted * upstream.double().cpu()).sum(), reference)
    torch.testing.assert_close(got[1].cpu().double(), table_grad, rtol=1e-4, atol=1e-5)
    with forced_kernels("torch"):
        exact = [tensor.detach().double().requires_grad_() for tensor in (positions, table)]
        (position_grad,) = torch.autograd.grad((encode_positions(*exact, grid) * upstream.double()).sum(), exact[0])
    torch.testing.assert_close(got[0].double(), position_grad, rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize("path", ["numba", "torch"])
def test_gradcheck(device, path) -> None:
    if path == "numba" and device.type != "cpu":
        pytest.skip("numba's kernels run on the CPU only")
    grid = HashGrid(2, 2, 5, 2, 5)
    positions, table, _ = scene(device, torch.float64, num=6, grid=grid)
    with forced_kernels(path):
        assert torch.autograd.gradcheck(lambda x, t: encode_positions(x, t, grid), (positions, table), eps=1e-7, atol=1e-5)


def test_the_walls_of_the_cube_and_beyond(kernels, device) -> None:
    points = [[0.0, 0.0, 0.0], [1.0, 1.0, 1.0], [1.0, 0.0, 0.5], [-3.0, 0.5, 0.5], [0.5, 1e30, 0.5], [0.5, 0.5, 1.0000001]]
    positions = torch.tensor(points, device=device, requires_grad=True)
    _, table, _ = scene(device)
    encoded = encode_positions(positions, table, SMALL)
    torch.testing.assert_close(encoded, encode_positions(positions.detach().clamp(0, 1), table, SMALL))
    (gradient,) = torch.autograd.grad(encoded.sum(), positions)
    assert gradient[3, 0] == 0 and gradient[4, 1] == 0 and gradient[5, 2] == 0 and gradient[3, 1] != 0


def test_a_linear_field_on_a_dense_level_is_reproduced(kernels, device) -> None:
    grid = HashGrid(1, 3, 10, 8, 8)
    z, y, x = torch.meshgrid(*[torch.linspace(0, 1, 9)] * 3, indexing="ij")
    table = torch.stack([x, y, z], -1).reshape(-1, 3).to(device)
    positions, _, _ = scene(device, num=100)
    encoded = encode_positions(positions, table, grid)
    torch.testing.assert_close(encoded, positions)
    (gradient,) = torch.autograd.grad(encoded.sum(), positions)
    torch.testing.assert_close(gradient, torch.ones_like(gradient), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("num", [0, 1])
def test_no_sample_and_one(kernels, device, num) -> None:
    positions, table, upstream = scene(device, num=num)
    encoded = encode_positions(positions, table, SMALL)
    assert encoded.shape == (num, SMALL.num_outputs)
    gradients = torch.autograd.grad((encoded * upstream).sum(), (positions, table))
    assert gradients[0].shape == (num, 3) and gradients[1].shape == table.shape
    assert bool((gradients[1] != 0).any()) == bool(num)


def test_wrong_arguments_are_named(kernels, device) -> None:
    positions, table, _ = scene(device)
    with pytest.raises(ValueError, match=r"positions must have shape .*got \(40, 2\)"):
        encode_positions(positions[:, :2], table, SMALL)
    with pytest.raises(ValueError, match="table must have shape"):
        encode_positions(positions, table[1:], SMALL)
    with pytest.raises(TypeError, match="table must have dtype torch.float32, got torch.float64"):
        encode_positions(positions, table.double(), SMALL)
    with pytest.raises(ValueError, match="table must be on"):
        encode_positions(positions, table.to("meta"), SMALL)
    for value in (float("nan"), float("inf"), -float("inf")):
        spoiled = positions.detach().clone()
        spoiled[7, 1] = value
        with pytest.raises(AvatarError, match=r"positions is not finite at \[7") as caught:
            encode_positions(spoiled, table, SMALL)
        assert caught.value.code == "diverged"


@settings(max_examples=15, deadline=None)
@given(st.integers(1, 6), st.integers(1, 4), st.integers(3, 9), st.integers(1, 9), st.floats(1, 9), st.integers(0, 5))
def test_numba_and_torch_agree_for_any_grid(levels, features, log2_entries, coarsest, growth, seed) -> None:
    grid = HashGrid(levels, features, log2_entries, coarsest, int(coarsest * growth))
    positions, table, upstream = scene(torch.device("cpu"), torch.float64, num=17, grid=grid, seed=seed)
    results = []
    for path in ("numba", "torch"):
        with forced_kernels(path):
            encoded = encode_positions(positions, table, grid)
            results.append((encoded.detach(), *torch.autograd.grad((encoded * upstream).sum(), (positions, table))))
    for got, wanted in zip(*results):
        torch.testing.assert_close(got, wanted, rtol=1e-9, atol=1e-9)


def test_gradients_are_the_same_bits_for_any_number_of_threads() -> None:
    grid = HashGrid(5, 2, 8, 4, 50)
    positions, table, upstream = scene(torch.device("cpu"), num=3000, grid=grid)
    assert grid.num_shares(3000) > 1, "several gradient buffers must be in play"
    before = numba.get_num_threads()
    results = []
    try:
        for threads in (1, 2, numba.config.NUMBA_NUM_THREADS):
            numba.set_num_threads(min(threads, numba.config.NUMBA_NUM_THREADS))
            encoded = encode_positions(positions, table, grid)
            results.append((encoded.detach(), *torch.autograd.grad((encoded * upstream).sum(), (positions, table))))
    finally:
        numba.set_num_threads(before)
    for result in results[1:]:
        assert all(torch.equal(a, b) for a, b in zip(result, results[0]))


def test_features_do_not_depend_on_how_samples_are_batched() -> None:
    positions, table, upstream = scene(torch.device("cpu"), num=1500)
    whole = encode_positions(positions, table, SMALL)
    (whole_grad,) = torch.autograd.grad((whole * upstream).sum(), positions)
    for first, last in ((0, 1), (1, 700), (700, 1500)):
        part = encode_positions(positions[first:last], table, SMALL)
        (part_grad,) = torch.autograd.grad((part * upstream[first:last]).sum(), positions)
        assert torch.equal(part, whole[first:last]) and torch.equal(part_grad[first:last], whole_grad[first:last])


def test_the_module_trains_and_keeps_its_table_in_its_state() -> None:
    module = HashEncoding(SMALL, torch.Generator().manual_seed(3))
    assert float(module.table.detach().abs().max()) <= 1e-4 and list(module.state_dict()) == ["table"]
    again = HashEncoding(SMALL, torch.Generator().manual_seed(3))
    assert torch.equal(module.table, again.table)
    module(torch.rand(10, 3)).sum().backward()
    assert module.table.grad.shape == module.table.shape and float(module.table.grad.abs().sum()) > 0


BOUNDS_CHECK = """
import torch
from backend.render.hash_encoding import HashGrid, encode_positions
for grid in (HashGrid(4, 2, 7, 3, 20), HashGrid(1, 1, 4, 1, 1), HashGrid(3, 3, 9, 8, 8)):
    corners = torch.tensor([[x, y, z] for x in (-1.0, 0.0, 1.0, 2.0) for y in (0.0, 1.0) for z in (0.0, 1.0, 9.0)])
    positions = torch.cat([corners, torch.rand(1200, 3)]).requires_grad_()
    table = torch.randn(grid.num_entries, grid.num_features, requires_grad=True)
    encode_positions(positions, table, grid).sum().backward()
print("inside")
"""


def test_kernels_stay_inside_their_arrays(tmp_path: Path) -> None:
    environment = {**os.environ, "NUMBA_BOUNDSCHECK": "1", "NUMBA_CACHE_DIR": str(tmp_path)}
    done = subprocess.run([sys.executable, "-c", BOUNDS_CHECK], capture_output=True, text=True, timeout=120, env=environment, cwd=Path(__file__).parents[2])
    assert done.stdout.strip() == "inside", done.stderr
