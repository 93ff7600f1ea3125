"""Compositing: every family of kernels against one sample at a time, against closed forms, and its promises."""

from __future__ import annotations

import math
import os
import subprocess
import sys
from pathlib import Path

import numba
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from backend.errors import AvatarError
from backend.render.kernel_choice import forced_kernels
from backend.render.ray_sampling import Samples
from backend.render.volumes import Composite, composite


def packed(counts, t, step) -> Samples:
    counts = torch.tensor(counts, dtype=torch.int64, device=t.device)
    start = torch.cat([torch.zeros(1, dtype=torch.int64, device=t.device), counts.cumsum(0)])
    return Samples(start, torch.repeat_interleave(torch.arange(len(counts), device=t.device), counts), t, step)


def scene(device, dtype=torch.float32, counts=(5, 0, 1, 9, 3), channels=3, seed=0, scale=8.0):
    """Inputs that require gradients: density, colours, t, step, background."""
    generator = torch.Generator().manual_seed(seed)
    num = sum(counts)
    tensors = [
        torch.rand(num, generator=generator, dtype=torch.float64) * scale,
        torch.rand(num, channels, generator=generator, dtype=torch.float64),
        torch.rand(num, generator=generator, dtype=torch.float64) + 0.3,
        torch.rand(num, generator=generator, dtype=torch.float64) * 0.2 + 0.01,
        torch.rand(len(counts), channels, generator=generator, dtype=torch.float64),
    ]
    return [tensor.to(dtype).to(device).requires_grad_() for tensor in tensors]


def one_by_one(density, colours, t, step, background, counts, min_transmittance=1e-4):
    """The definition, one ray and sample after the other, on numbers that torch differentiates."""
    sample, rows = 0, {"colour": [], "depth_m": [], "alpha": [], "weights": []}
    for ray, count in enumerate(counts):
        transmittance, colour, depth, alpha = density.new_ones(()), colours.new_zeros(colours.shape[1]), t.new_zeros(()), t.new_zeros(())
        for _ in range(count):
            opacity = 1 - torch.exp(-density[sample] * step[sample])
            weight = transmittance * opacity if float(transmittance.detach()) >= min_transmittance else 0 * opacity
            colour, depth, alpha = colour + weight * colours[sample], depth + weight * t[sample], alpha + weight
            transmittance = transmittance - weight
            rows["weights"].append(weight)
            sample += 1
        rows["colour"].append(colour + transmittance * background[ray])
        rows["depth_m"].append(depth)
        rows["alpha"].append(alpha)
    return Composite(**{name: torch.stack(values) for name, values in rows.items()})


def objective(result: Composite) -> torch.Tensor:
    """A sum in which every output has other factors."""
    total = result.colour.new_zeros(())
    for number, values in enumerate((result.colour, result.depth_m, result.alpha, result.weights)):
        factors = torch.cos(torch.arange(values.numel(), dtype=torch.float64) * (1.7 + number)).to(values)
        total = total + (values.reshape(-1) * factors).sum()
    return total


@pytest.mark.parametrize("channels", [1, 3, 7])
@pytest.mark.parametrize("scale", [8.0, 300.0], ids=["thin", "stopped early"])
def test_pictures_and_gradients_follow_the_definition(kernels, device, channels, scale) -> None:
    counts = (5, 0, 1, 9, 3)
    inputs = scene(device, channels=channels, scale=scale)
    result = composite(*inputs[:2], packed(counts, *inputs[2:4]), inputs[4])
    exact = [tensor.detach().cpu().double().requires_grad_() for tensor in inputs]
    wanted = one_by_one(*exact, counts)
    for name in ("colour", "depth_m", "alpha", "weights"):
        torch.testing.assert_close(getattr(result, name).detach().cpu().double(), getattr(wanted, name).detach(), rtol=1e-5, atol=1e-6)
    got = torch.autograd.grad(objective(result), inputs)
    for gradient, reference in zip(got, torch.autograd.grad(objective(wanted), exact)):
        torch.testing.assert_close(gradient.cpu().double(), reference, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("used", ["colour", "depth_m", "alpha", "weights"])
def test_a_loss_on_one_output_only(kernels, device, used) -> None:
    counts = (4, 0, 3)
    inputs = scene(device, counts=counts)
    result = getattr(composite(*inputs[:2], packed(counts, *inputs[2:4]), inputs[4]), used)
    exact = [tensor.detach().cpu().double().requires_grad_() for tensor in inputs]
    got = torch.autograd.grad(result.square().sum(), inputs, allow_unused=True)
    wanted = torch.autograd.grad(getattr(one_by_one(*exact, counts), used).square().sum(), exact, allow_unused=True)
    for gradient, reference, tensor in zip(got, wanted, exact):
        zero = torch.zeros_like(tensor)
        torch.testing.assert_close(zero if gradient is None else gradient.cpu().double(), zero if reference is None else reference, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("path", ["numba", "torch"])
def test_gradcheck(device, path) -> None:
    if path == "numba" and device.type != "cpu":
        pytest.skip("numba's kernels run on the CPU only")
    counts = (3, 0, 4)
    inputs = scene(device, torch.float64, counts=counts)

    def outputs(density, colours, t, step, background):
        result = composite(density, colours, packed(counts, t, step), background)
        return result.colour, result.depth_m, result.alpha, result.weights

    with forced_kernels(path):
        assert torch.autograd.gradcheck(outputs, inputs)


def test_constant_density_has_exact_transmittance(kernels, device) -> None:
    """However the ray is cut into steps: transmittance exp(-density length), and each stretch weighs what the integral says."""
    length, density = 0.3, 4.0
    edges = torch.cat([torch.zeros(1), torch.rand(40, generator=torch.Generator().manual_seed(1)).sort().values, torch.ones(1)]) * length
    edges = edges.to(device)
    samples = packed([41], (edges[1:] + edges[:-1]) / 2, edges[1:] - edges[:-1])
    colour = torch.tensor([0.2, 0.9], device=device)
    result = composite(torch.full((41,), density, device=device), colour.expand(41, 2), samples, torch.ones(2, device=device))
    through = math.exp(-density * length)
    torch.testing.assert_close(result.alpha.cpu(), torch.tensor([1 - through]))
    torch.testing.assert_close(result.colour[0], colour * (1 - through) + through)
    torch.testing.assert_close(result.weights, torch.exp(-density * edges[:-1]) - torch.exp(-density * edges[1:]), rtol=1e-4, atol=1e-6)


def test_tiny_densities_keep_their_digits(kernels, device) -> None:
    samples = packed([2], torch.ones(2, device=device), torch.full((2,), 1e-3, device=device))
    result = composite(torch.full((2,), 1e-3, device=device), torch.ones(2, 1, device=device), samples)
    torch.testing.assert_close(result.weights, torch.full((2,), 1e-6, device=device), rtol=1e-5, atol=0)


def test_no_density_shows_the_background_alone(kernels, device) -> None:
    inputs = scene(device)
    samples = packed((5, 0, 1, 9, 3), *[tensor.detach() for tensor in inputs[2:4]])
    result = composite(inputs[0] * 0, inputs[1], samples, inputs[4])
    assert torch.equal(result.colour, inputs[4]) and not result.alpha.any() and not result.weights.any() and not result.depth_m.any()
    shared = composite(inputs[0] * 0, inputs[1], samples, inputs[4][0])
    assert torch.equal(shared.colour, inputs[4][:1].expand(5, 3))


def test_boundless_densities_are_opaque_and_have_finite_gradients(kernels, device) -> None:
    inputs = [tensor.detach() for tensor in scene(device)]
    for size in (1e4, 1e20, 3e38):
        density = torch.full_like(inputs[0], size).requires_grad_()
        others = [tensor.clone().requires_grad_() for tensor in inputs[1:]]
        result = composite(density, others[0], packed((5, 0, 1, 9, 3), *others[1:3]), others[3])
        assert result.alpha.tolist() == [1, 0, 1, 1, 1]
        torch.testing.assert_close(result.colour[0], others[0][0])
        gradients = torch.autograd.grad(objective(result), [density, *others])
        assert all(bool(torch.isfinite(gradient).all()) for gradient in gradients)


def test_nothing_weighs_behind_the_early_stop(kernels, device) -> None:
    t = torch.arange(1.0, 101.0, device=device)
    samples = packed([100], t, torch.ones(100, device=device))
    density = torch.full((100,), 1.0, device=device, requires_grad=True)
    result = composite(density, torch.ones(100, 1, device=device), samples)
    assert int((result.weights > 0).sum()) == 10, "exp(-10) is the first power below 1e-4"
    (gradient,) = torch.autograd.grad(result.depth_m.sum(), density)
    assert bool((gradient[10:] == 0).all()) and bool((gradient[:9] != 0).all())
    everything = composite(density, torch.ones(100, 1, device=device), samples, min_transmittance=0.0)
    assert int((everything.weights > 0).sum()) > 10


@pytest.mark.parametrize("counts", [(), (0,), (0, 0, 0), (1,)])
def test_no_ray_no_sample_and_one(kernels, device, counts) -> None:
    inputs = scene(device, counts=counts)
    result = composite(*inputs[:2], packed(list(counts), *inputs[2:4]), inputs[4])
    assert result.colour.shape == (len(counts), 3) and result.weights.shape == (sum(counts),)
    gradients = torch.autograd.grad(objective(result), inputs, allow_unused=True)
    assert gradients[4] is None or gradients[4].shape == (len(counts), 3)


def test_wrong_arguments_are_named(kernels, device) -> None:
    density, colours, t, step, background = [tensor.detach() for tensor in scene(device)]
    samples = packed((5, 0, 1, 9, 3), t, step)
    for arguments, message in (
        ((density[:-1], colours, samples), "density_per_m must have shape"),
        ((density, colours[:-1], samples), "colours must have shape"),
        ((density, colours, samples, background[:3]), r"background must have shape \(3,\) or \(5, 3\), got \(3, 3\)"),
        ((density, colours, samples, background, 1.0), "min_transmittance"),
        ((density, colours.to("meta"), samples), "colours must be on"),
        ((density, colours, Samples(samples.ray_start - 1, samples.ray_ids, t, step)), "ray_start must rise"),
        ((density, colours, Samples(samples.ray_start.flip(0), samples.ray_ids, t, step)), "ray_start must rise"),
        ((density, colours, Samples(samples.ray_start[:-1], samples.ray_ids, t, step)), "ray_start must rise"),
    ):
        with pytest.raises(ValueError, match=message):
            composite(*arguments)
    with pytest.raises(TypeError, match="colours must have dtype torch.float32, got torch.float64"):
        composite(density, colours.double(), samples)
    with pytest.raises(TypeError, match="ray_start must have dtype torch.int64"):
        composite(density, colours, Samples(samples.ray_start.int(), samples.ray_ids, t, step))


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -1.0])
@pytest.mark.parametrize("which", [0, 3], ids=["density", "step"])
def test_values_that_mean_nothing_are_typed_errors(kernels, device, value, which) -> None:
    inputs = [tensor.detach().clone() for tensor in scene(device)]
    inputs[which][6] = value
    with pytest.raises(AvatarError) as caught:
        composite(*inputs[:2], packed((5, 0, 1, 9, 3), *inputs[2:4]), inputs[4])
    assert caught.value.code == "diverged"


@pytest.mark.parametrize("which", [1, 2], ids=["colours", "t"])
def test_colours_and_distances_must_be_finite(kernels, device, which) -> None:
    inputs = [tensor.detach().clone() for tensor in scene(device)]
    inputs[which][6] = float("nan")
    with pytest.raises(AvatarError):
        composite(*inputs[:2], packed((5, 0, 1, 9, 3), *inputs[2:4]), inputs[4])


@settings(max_examples=25, deadline=None)
@given(st.lists(st.integers(0, 7), max_size=6), st.integers(1, 4), st.integers(0, 99), st.sampled_from([0.0, 1.0, 50.0, 1e6]))
def test_weights_are_a_share_of_one_for_any_rays(counts, channels, seed, scale) -> None:
    inputs = scene(torch.device("cpu"), torch.float64, counts=counts, channels=channels, seed=seed, scale=scale)
    results = []
    for path in ("numba", "torch"):
        with forced_kernels(path):
            result = composite(*inputs[:2], packed(counts, *inputs[2:4]), inputs[4])
            results.append((result.colour, result.depth_m, result.alpha, result.weights, *torch.autograd.grad(objective(result), inputs, allow_unused=True)))
            assert bool(((result.weights >= 0) & (result.weights <= 1)).all()) and bool(((result.alpha >= 0) & (result.alpha <= 1)).all())
    for got, wanted in zip(*results):
        if got is not None and wanted is not None:
            torch.testing.assert_close(got, wanted, rtol=1e-7, atol=1e-9)


def test_bits_do_not_depend_on_threads_or_batches() -> None:
    counts = [(ray * 7) % 23 for ray in range(400)]
    inputs = scene(torch.device("cpu"), counts=counts)
    before, results = numba.get_num_threads(), []

    def run(counts, inputs):
        result = composite(*inputs[:2], packed(counts, *inputs[2:4]), inputs[4])
        loss = result.colour.square().sum() + result.depth_m.square().sum() + result.alpha.square().sum()
        return result.colour.detach(), result.weights.detach(), *torch.autograd.grad(loss, inputs)

    try:
        for threads in (1, 2, numba.config.NUMBA_NUM_THREADS):
            numba.set_num_threads(min(threads, numba.config.NUMBA_NUM_THREADS))
            results.append(run(counts, inputs))
    finally:
        numba.set_num_threads(before)
    assert all(torch.equal(a, b) for result in results[1:] for a, b in zip(result, results[0]))
    cut, first = 150, sum(counts[:150])
    halves = [
        run(counts[:cut], [tensor[: cut if number == 4 else first] for number, tensor in enumerate(inputs)]),
        run(counts[cut:], [tensor[cut if number == 4 else first :] for number, tensor in enumerate(inputs)]),
    ]
    assert all(torch.equal(torch.cat(parts), whole) for *parts, whole in zip(*halves, results[0]))


BOUNDS_CHECK = """
import torch
from backend.render.occupancy import OccupancyGrid, sample_occupied
from backend.render.ray_sampling import Rays
from backend.render.volumes import composite
import dataclasses
origins = torch.randn(300, 3)
directions = torch.nn.functional.normalize(torch.where(torch.rand(300, 3) < 0.3, 0.0, torch.randn(300, 3)), dim=-1)
directions[directions.norm(dim=-1) < 0.5] = torch.tensor([1.0, 0, 0])
rays = Rays(origins * 0.5, directions, directions[:, 2])
grid = OccupancyGrid.full(7, torch.tensor([[-1.0, -1, -1], [1, 1, 1]]))
for share in (0.0, 0.3, 1.0):
    grid = dataclasses.replace(grid, is_occupied=torch.rand(7, 7, 7) < share)
    for most in (1, 9, 1024):
        samples = sample_occupied(rays, grid, 0.01, max_samples_per_ray=most)
        density, colours = torch.rand(len(samples), requires_grad=True), torch.rand(len(samples), 4, requires_grad=True)
        for background in (None, torch.rand(4, requires_grad=True)):
            result = composite(density, colours, samples, background)
            (result.colour.sum() + result.depth_m.sum() + result.weights.sum()).backward()
            composite(density * 100, colours, samples, background).alpha.sum().backward()
print("inside")
"""


def test_kernels_stay_inside_their_arrays(tmp_path: Path) -> None:
    environment = {**os.environ, "NUMBA_BOUNDSCHECK": "1", "NUMBA_CACHE_DIR": str(tmp_path)}
    done = subprocess.run([sys.executable, "-c", BOUNDS_CHECK], capture_output=True, text=True, timeout=120, env=environment, cwd=Path(__file__).parents[2])
    assert done.stdout.strip() == "inside", done.stderr
