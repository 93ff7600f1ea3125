"""Splats to pictures against the dense compositor, forward and every gradient, with each family of kernels."""

import pytest
import torch
from gaussian_scene import Cloud, assert_close, slow_picture, slow_projection, weighted_sum
from hypothesis import given, settings
from hypothesis import strategies as st

from backend.benchmarks.gaussian_reference import composite_dense
from backend.render.gaussian_compositing import ScreenGradients, composite_gaussians
from backend.render.gaussian_projection import ProjectedGaussians, project_gaussians
from backend.render.gaussians import render_gaussians
from backend.render.kernel_choice import forced_kernels


def _compare(cloud: Cloud, tolerance: float = 2e-5) -> None:
    leaves = cloud.leaves()
    image = cloud.render(leaves, use_depth=True)
    grads = torch.autograd.grad(weighted_sum(image.colour, image.alpha, image.depth_m), list(leaves.values()))
    exact = {name: leaf.detach().double().requires_grad_() for name, leaf in leaves.items()}
    wanted = slow_picture(exact, cloud)
    wanted_grads = torch.autograd.grad(weighted_sum(*wanted), list(exact.values()))
    for name, got, want in zip(("colour", "alpha", "depth"), (image.colour, image.alpha, image.depth_m), wanted):
        assert_close(got, want, tolerance, name)
    for name, got, want in zip(leaves, grads, wanted_grads):
        assert_close(got, want, 5 * tolerance, name)


@pytest.mark.parametrize("num_channels", [1, 3, 4, 5, 11])
def test_equals_the_dense_compositor(kernels, device, num_channels):
    _compare(Cloud.random(num_channels=num_channels, device=device))


@pytest.mark.parametrize("size_hw", [(1, 1), (16, 16), (17, 33), (50, 3)])
def test_any_size(kernels, device, size_hw):
    _compare(Cloud.random(num=40, size_hw=size_hw, device=device))


def test_opaque_cloud_stops_early(kernels, device):
    cloud = Cloud.random(num=300, size_hw=(24, 24), device=device)
    cloud.opacities = 0.9 + 0.1 * cloud.opacities
    cloud.scales_m = cloud.scales_m * 2
    _compare(cloud)
    assert float(cloud.render().alpha.detach().max()) > 0.999


@settings(max_examples=8, deadline=None)
@given(st.integers(0, 10_000), st.integers(1, 40), st.integers(1, 40), st.integers(1, 6))
def test_any_cloud_numba(seed, height, width, num_channels):
    with forced_kernels("numba"):
        _compare(Cloud.random(num=25, size_hw=(height, width), num_channels=num_channels, seed=seed), 1e-4)


def test_without_depth(kernels, device):
    cloud = Cloud.random(device=device)
    leaves = cloud.leaves()
    image = cloud.render(leaves)
    assert image.depth_m is None
    with_depth = cloud.render(leaves, use_depth=True)
    assert torch.equal(image.colour, with_depth.colour) and torch.equal(image.alpha, with_depth.alpha)
    # Only alpha is used, only depth is used: the other outputs' gradients are absent.
    for part in (image.alpha, with_depth.depth_m):
        (grad,) = torch.autograd.grad(part.sum(), leaves["means_m"], retain_graph=True)
        assert torch.isfinite(grad).all() and float(grad.abs().max()) > 0


def test_gradients_in_float64(device):
    cloud = Cloud.random(num=6, size_hw=(6, 7), num_channels=2, device=device, dtype=torch.float64)
    leaves = cloud.leaves()

    def picture(*values):
        image = cloud.render(dict(zip(leaves, values)), use_depth=True)
        return image.colour, image.alpha, image.depth_m

    with forced_kernels("torch"):
        assert torch.autograd.gradcheck(picture, tuple(leaves.values()), eps=1e-7, atol=1e-5, rtol=1e-4)


def test_directional_derivative(kernels, device):
    """The whole chain against a central difference of the slow picture in float64, along a random direction of all inputs at once."""
    cloud = Cloud.random(device=device)
    leaves = cloud.leaves()
    image = cloud.render(leaves, use_depth=True)
    grads = torch.autograd.grad(weighted_sum(image.colour, image.alpha, image.depth_m), list(leaves.values()))
    generator = torch.Generator().manual_seed(3)
    directions = [leaf.detach().double().abs().mean() * torch.randn(leaf.shape, generator=generator).to(leaf.device).double() for leaf in leaves.values()]
    ends = []
    for step in (1e-6, -1e-6):
        moved = {name: leaf.detach().double() + step * direction for (name, leaf), direction in zip(leaves.items(), directions)}
        ends.append(float(weighted_sum(*slow_picture(moved, cloud))))
    wanted = (ends[0] - ends[1]) / 2e-6
    got = sum(float((grad.double() * direction).sum()) for grad, direction in zip(grads, directions))
    assert got == pytest.approx(wanted, rel=2e-3)


def test_compositing_alone(kernels, device):
    """Gradients of the intermediate quantities: centres, conics, depths."""
    cloud = Cloud.random(device=device)
    with torch.no_grad():
        means_px, conics, depths_m, is_visible = slow_projection(cloud.leaves(), cloud)
    values = {"means_px": means_px, "conics": conics, "depths_m": depths_m, "opacities": cloud.opacities, "colours": cloud.colours}

    def grads_of(dtype, composite):
        leaves = {name: value.to(dtype).clone().requires_grad_() for name, value in values.items()}
        return dict(zip(leaves, torch.autograd.grad(weighted_sum(*composite(leaves)), list(leaves.values()))))

    def ours(leaves):
        radii_px = torch.where(is_visible[:, None], 100, 0).to(torch.int32).expand(-1, 2).contiguous()
        projected = ProjectedGaussians(leaves["means_px"], leaves["conics"], leaves["depths_m"], radii_px)
        image = composite_gaussians(projected, leaves["opacities"], leaves["colours"], cloud.size_hw, cloud.background, use_depth=True)
        return image.colour, image.alpha, image.depth_m

    def dense(leaves):
        return composite_dense(
            leaves["means_px"], leaves["conics"], leaves["depths_m"], is_visible, leaves["opacities"], leaves["colours"], cloud.background.double(), cloud.size_hw
        )

    wanted = grads_of(torch.float64, dense)
    for name, grad in grads_of(torch.float32, ours).items():
        assert_close(grad, wanted[name], 5e-5, name)


def test_screen_gradients(kernels, device):
    """Signed = gradient of means_px; absolute = sum over pixels of the absolute gradient, from one backward pass per pixel."""
    cloud = Cloud.random(num=20, size_hw=(6, 9), device=device)
    leaves = cloud.leaves()
    image = cloud.render(leaves, use_screen_gradients=True)
    image.means_px.retain_grad()
    assert not image.screen_gradients.absolute.any()
    weights = torch.randn(image.colour.shape, generator=torch.Generator().manual_seed(1)).to(device)
    (image.colour * weights).sum().backward()
    assert_close(image.screen_gradients.signed, image.means_px.grad, 1e-6)
    with torch.no_grad():
        means_px, conics, depths_m, is_visible = (value.double() if value.is_floating_point() else value for value in slow_projection(cloud.leaves(), cloud))
    means_px.requires_grad_()
    dense = composite_dense(
        means_px, conics, depths_m, is_visible, cloud.opacities.double(), cloud.colours.double(), cloud.background.double(), cloud.size_hw
    )[0]
    total = torch.zeros_like(means_px)
    for pixel in (dense * weights).sum(-1).flatten():
        total += torch.autograd.grad(pixel, means_px, retain_graph=True)[0].abs()
    assert_close(image.screen_gradients.absolute, total, 5e-5)


def test_screen_gradients_add_up(device):
    recorded = ScreenGradients(torch.zeros(60, 2, device=device), torch.zeros(60, 2, device=device))
    cloud = Cloud.random(device=device)
    leaves = cloud.leaves()
    projected = project_gaussians(
        leaves["means_m"], cloud.cam_from_world, cloud.px_from_cam, cloud.size_hw, quaternions=leaves["quaternions"], scales_m=leaves["scales_m"]
    )
    once = None
    for _ in range(2):
        composite_gaussians(projected, leaves["opacities"], leaves["colours"], cloud.size_hw, screen_gradients=recorded).colour.sum().backward(retain_graph=True)
        once = recorded.absolute.clone() if once is None else once
    assert_close(recorded.absolute, 2 * once, 1e-5)


def test_equal_depths_keep_their_order(kernels, device):
    """Two opaque splats at one place: the lower index is in front, whatever else shares the tile."""
    num = 12
    means = torch.tensor([[0.0, 0.0, 0.5]], device=device).repeat(num, 1)
    colours = torch.eye(num, device=device)
    shape = {"quaternions": torch.tensor([[1.0, 0, 0, 0]], device=device).repeat(num, 1), "scales_m": torch.full((num, 3), 0.01, device=device)}
    lens = torch.tensor([[100.0, 0, 8], [0, 100.0, 8], [0, 0, 1]], device=device)
    image = render_gaussians(means, torch.ones(num, device=device) * 0.9, torch.eye(4, device=device), lens, (16, 16), colours=colours, **shape)
    centre = image.colour[8, 8]
    assert (centre[:-1] >= centre[1:]).all() and float(centre[0]) > 0.8


def test_batch_is_the_loop(kernels, device):
    cloud = Cloud.random(device=device)
    leaves = cloud.leaves()
    poses = torch.stack([cloud.cam_from_world, cloud.cam_from_world @ torch.diag(torch.tensor([1.0, 1.0, 1.0, 1.0], device=device))])
    poses[1, :3, 3] += 0.02
    means = torch.stack([cloud.means_m, cloud.means_m + 0.01]).requires_grad_()
    rest = {name: leaf for name, leaf in leaves.items() if name not in ("means_m", "cam_from_world")}
    image = cloud.render({**rest, "means_m": means, "cam_from_world": poses}, use_depth=True, use_screen_gradients=True)
    assert image.colour.shape == (2, *cloud.size_hw, 3) and image.screen_gradients.signed.shape == (2, 60, 2)
    singles = [cloud.render({**rest, "means_m": means[b], "cam_from_world": poses[b]}, use_depth=True) for b in range(2)]
    for b, single in enumerate(singles):
        assert torch.equal(image.colour[b], single.colour) and torch.equal(image.depth_m[b], single.depth_m)
    (together,) = torch.autograd.grad(image.colour.square().sum(), means)
    (apart,) = torch.autograd.grad(sum(single.colour.square().sum() for single in singles), means)
    assert_close(together, apart, 1e-6)
    assert (image.screen_gradients.absolute.sum((1, 2)) > 0).all()


def test_harmonics_colour(kernels, device):
    """Colours that depend on the direction: max(0, 0.5 + sum), seen from the camera's centre."""
    cloud = Cloud.random(device=device)
    leaves = cloud.leaves()
    generator = torch.Generator().manual_seed(2)
    harmonics = (0.4 * torch.randn(60, 16, 3, generator=generator)).to(device).requires_grad_()
    del leaves["colours"]
    image = cloud.render({**leaves, "harmonics": harmonics})
    grads = torch.autograd.grad(weighted_sum(image.colour, image.alpha, None), [leaves["means_m"], harmonics, leaves["cam_from_world"]])
    from gsplat.cuda._torch_impl import _spherical_harmonics

    exact = {name: leaf.detach().double().requires_grad_() for name, leaf in leaves.items()}
    exact_harmonics = harmonics.detach().double().requires_grad_()
    eye = -exact["cam_from_world"][:3, :3].T @ exact["cam_from_world"][:3, 3]
    colours = (_spherical_harmonics(3, exact["means_m"] - eye, exact_harmonics) + 0.5).clamp_min(0)
    wanted = slow_picture({**exact, "colours": colours}, cloud)
    wanted_grads = torch.autograd.grad(weighted_sum(wanted[0], wanted[1], None), [exact["means_m"], exact_harmonics, exact["cam_from_world"]])
    assert_close(image.colour, wanted[0], 2e-5)
    for name, got, want in zip(("means", "harmonics", "pose"), grads, wanted_grads):
        assert_close(got, want, 1e-4, name)
