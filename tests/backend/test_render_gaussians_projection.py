"""Projection and harmonics against gsplat's own torch functions, autograd and finite differences."""

import pytest
import torch
from gaussian_scene import Cloud, assert_close, rotations
from gsplat.cuda._torch_impl import _fully_fused_projection, _quat_scale_to_covar_preci, _spherical_harmonics

from backend.errors import AvatarError
from backend.render.gaussian_harmonics import harmonic_colours
from backend.render.gaussian_projection import project_gaussians
from backend.render.kernel_choice import forced_kernels


def _shapes(cloud: Cloud) -> dict[str, dict[str, torch.Tensor]]:
    """The same splats described in the three ways."""
    linear = rotations(cloud.quaternions) * cloud.scales_m[:, None]
    return {
        "quaternions": {"quaternions": cloud.quaternions, "scales_m": cloud.scales_m},
        "transforms": {"transforms_m": linear},
        "covariances": {"covariances_m2": linear @ linear.transpose(1, 2)},
    }


def _wide(cloud: Cloud) -> Cloud:
    """Some splats far outside the field of view, where the linearisation is clamped, and some behind the camera."""
    cloud.means_m[:10] *= torch.tensor([4.0, -5.0, 1.0]).to(cloud.means_m)
    cloud.means_m[10:15, 2] -= 0.7
    return cloud


@pytest.mark.parametrize("way", ["quaternions", "transforms", "covariances"])
def test_equals_gsplat(kernels, device, way):
    cloud = _wide(Cloud.random(device=device))
    means = cloud.means_m.clone().requires_grad_()
    shape = {name: value.clone().requires_grad_() for name, value in _shapes(cloud)[way].items()}
    pose = cloud.cam_from_world.clone().requires_grad_()
    got = project_gaussians(means, pose, cloud.px_from_cam, cloud.size_hw, **shape)
    height, width = cloud.size_hw
    exact = [value.detach().double().requires_grad_() for value in (means, pose, *shape.values())]
    if way == "quaternions":
        covariance = _quat_scale_to_covar_preci(exact[2], exact[3], compute_preci=False)[0]
    else:
        covariance = exact[2] @ exact[2].transpose(1, 2) if way == "transforms" else exact[2]
    radii, means_px, depths, conics, _ = _fully_fused_projection(exact[0], covariance, exact[1][None], cloud.px_from_cam.double()[None], width, height)
    is_kept = got.radii_px[:, 0] > 0
    assert 20 < int(is_kept.sum()) < 56
    assert torch.equal(is_kept, radii[0, :, 0] > 0)
    assert (got.radii_px - radii[0]).abs().max() <= 1, "rounded up"
    assert_close(got.depths_m, depths[0], 1e-6, "depths")
    weights = [torch.randn(shape_, generator=torch.Generator().manual_seed(5)).to(device) for shape_ in ((60, 2), (60, 3), (60,))]
    # Culled splats are 0 here and anything there.
    weights = [weight * is_kept.view(-1, *[1] * (weight.ndim - 1)) for weight in weights]
    total = sum((value * weight).sum() for value, weight in zip((got.means_px, got.conics, got.depths_m), weights))
    wanted = sum((value * weight.double()).sum() for value, weight in zip((means_px[0], conics[0], depths[0]), weights))
    assert_close(got.means_px[is_kept], means_px[0][is_kept], 1e-5, "means")
    assert_close(got.conics[is_kept], conics[0][is_kept], 1e-5, "conics")
    grads = torch.autograd.grad(total, [means, pose, *shape.values()])
    wanted_grads = torch.autograd.grad(wanted, exact)
    for name, grad, want in zip(("means", "pose", *shape), grads, wanted_grads):
        if name == "covariances_m2":
            want = (want + want.transpose(1, 2)) / 2
        assert_close(grad, want, 1e-5, name)


def test_shear(kernels, device):
    """Any linear map, also one that no rotation and scale can give, equals its covariance."""
    cloud = Cloud.random(device=device)
    linear = 0.01 * torch.randn(60, 3, 3, generator=torch.Generator().manual_seed(4)).to(device)
    camera = (cloud.means_m, cloud.cam_from_world, cloud.px_from_cam, cloud.size_hw)
    by_map = project_gaussians(*camera, transforms_m=linear)
    by_covariance = project_gaussians(*camera, covariances_m2=linear @ linear.transpose(1, 2))
    assert_close(by_map.conics, by_covariance.conics, 1e-4)
    flipped = project_gaussians(*camera, transforms_m=-linear)
    assert_close(by_map.conics, flipped.conics, 1e-6)


@pytest.mark.parametrize("way", ["quaternions", "transforms", "covariances"])
def test_gradcheck(device, way):
    cloud = _wide(Cloud.random(num=20, device=device, dtype=torch.float64))
    shape = _shapes(cloud)[way]

    def outputs(means, pose, *values):
        projected = project_gaussians(means, pose, cloud.px_from_cam, cloud.size_hw, **dict(zip(shape, values)))
        return projected.means_px, projected.conics, projected.depths_m

    inputs = tuple(value.clone().requires_grad_() for value in (cloud.means_m, cloud.cam_from_world, *shape.values()))
    with forced_kernels("torch"):
        assert torch.autograd.gradcheck(outputs, inputs, eps=1e-7, atol=1e-4, rtol=1e-4)


def test_quaternion_length_does_not_matter(kernels, device):
    cloud = Cloud.random(device=device)
    camera = (cloud.means_m, cloud.cam_from_world, cloud.px_from_cam, cloud.size_hw)
    short, long = (project_gaussians(*camera, quaternions=factor * cloud.quaternions, scales_m=cloud.scales_m) for factor in (0.01, -100.0))
    assert_close(short.conics, long.conics, 1e-5)


def test_near_and_far_cull(kernels, device):
    cloud = Cloud.random(device=device)
    shape = _shapes(cloud)["quaternions"]
    cloud.quaternions.requires_grad_()
    projected = project_gaussians(cloud.means_m, cloud.cam_from_world, cloud.px_from_cam, cloud.size_hw, **shape, near_m=0.55, far_m=0.65)
    is_outside = (projected.depths_m <= 0.55) | (projected.depths_m >= 0.65)
    assert 5 < int(is_outside.sum()) < 55
    assert not projected.radii_px[is_outside].any() and not projected.conics[is_outside].any() and not projected.means_px[is_outside].any()
    (grad,) = torch.autograd.grad(projected.conics.sum() + projected.means_px.sum(), cloud.quaternions)
    assert torch.isfinite(grad).all() and not grad[is_outside].any() and grad[~is_outside].any()


def test_thin_and_large_keep_their_area(kernels, device):
    """A needle 10 m long and 0.1 mm thick: float32 must not lose its determinant."""
    means = torch.tensor([[0.0, 0.0, 1.0]], device=device)
    quaternion = torch.tensor([[0.9, 0.1, 0.2, 0.4]], device=device)
    scales = torch.tensor([[10.0, 1e-4, 1e-4]], device=device)
    lens = torch.tensor([[500.0, 0, 64], [0, 500.0, 64], [0, 0, 1]], device=device)
    projected = project_gaussians(means, torch.eye(4, device=device), lens, (128, 128), quaternions=quaternion, scales_m=scales)
    linear = rotations(quaternion.double()) * scales.double()[:, None]
    rows = linear.new_tensor([[500.0, 0, 0], [0, 500.0, 0]]) @ linear[0]
    wanted = torch.linalg.inv(rows @ rows.T + 0.3 * torch.eye(2, dtype=torch.float64, device=device))
    got = projected.conics[0].double()
    assert_close(got, torch.stack([wanted[0, 0], wanted[0, 1], wanted[1, 1]]), 1e-3)


@pytest.mark.parametrize("degree", [0, 1, 2, 3])
def test_harmonics_equal_gsplat(kernels, device, degree):
    generator = torch.Generator().manual_seed(degree)
    coefficients = torch.randn(50, (degree + 1) ** 2, 3, generator=generator).to(device).requires_grad_()
    directions = (3 * torch.randn(50, 3, generator=generator)).to(device).requires_grad_()
    weights = torch.randn(50, 3, generator=generator).to(device)
    colours = harmonic_colours(coefficients, directions)
    exact = [value.detach().double().requires_grad_() for value in (coefficients, directions)]
    wanted = _spherical_harmonics(degree, exact[1], exact[0])
    assert_close(colours, wanted, 1e-6)
    grads = torch.autograd.grad((colours * weights).sum(), [coefficients, directions], allow_unused=True)
    wanted_grads = torch.autograd.grad((wanted * weights).sum(), exact, allow_unused=True)
    assert_close(grads[0], wanted_grads[0], 1e-6)
    if degree > 0:
        assert_close(grads[1], wanted_grads[1], 1e-5)


def test_harmonics_gradcheck(device):
    generator = torch.Generator().manual_seed(0)
    coefficients = torch.randn(4, 16, 2, generator=generator, dtype=torch.float64).to(device).requires_grad_()
    directions = torch.randn(4, 3, generator=generator, dtype=torch.float64).to(device).requires_grad_()
    assert torch.autograd.gradcheck(harmonic_colours, (coefficients, directions))


@pytest.mark.parametrize("name", ["coefficients", "directions"])
@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_harmonics_not_finite(kernels, device, name, value):
    tensors = {"coefficients": torch.ones(3, 4, 2, device=device), "directions": torch.ones(3, 3, device=device)}
    tensors[name].view(-1)[-1] = value
    with pytest.raises(AvatarError, match=name) as raised:
        harmonic_colours(**tensors)
    assert raised.value.code == "diverged"


def test_harmonics_of_no_direction(kernels, device):
    coefficients = torch.ones(1, 4, 1, device=device)
    colours = harmonic_colours(coefficients, torch.zeros(1, 3, device=device, requires_grad=True))
    assert float(colours.detach()) == pytest.approx(0.28209479, abs=1e-6)
    colours.sum().backward()


def test_bad_arguments(device):
    cloud = Cloud.random(num=5, device=device)
    shape = _shapes(cloud)["quaternions"]
    camera = {"cam_from_world": cloud.cam_from_world, "px_from_cam": cloud.px_from_cam, "size_hw": cloud.size_hw}
    with pytest.raises(ValueError, match=r"means_m must have shape .*3.*\(5, 2\)"):
        project_gaussians(cloud.means_m[:, :2], **camera, **shape)
    with pytest.raises(ValueError, match=r"quaternions must have shape \(5, 4\), got \(4, 4\)"):
        project_gaussians(cloud.means_m, **camera, quaternions=cloud.quaternions[:4], scales_m=cloud.scales_m)
    with pytest.raises(ValueError, match="give quaternions and scales_m"):
        project_gaussians(cloud.means_m, **camera, quaternions=cloud.quaternions)
    with pytest.raises(ValueError, match="give quaternions and scales_m"):
        project_gaussians(cloud.means_m, **camera, **shape, transforms_m=torch.zeros(5, 3, 3, device=device))
    with pytest.raises(TypeError, match="scales_m must have dtype torch.float32, got torch.float64"):
        project_gaussians(cloud.means_m, **camera, quaternions=cloud.quaternions, scales_m=cloud.scales_m.double())
    with pytest.raises(ValueError, match="size_hw"):
        project_gaussians(cloud.means_m, cloud.cam_from_world, cloud.px_from_cam, (0, 5), **shape)
    with pytest.raises(ValueError, match="near_m"):
        project_gaussians(cloud.means_m, **camera, **shape, near_m=0.0)
    with pytest.raises(ValueError, match="skew"):
        project_gaussians(cloud.means_m, cloud.cam_from_world, torch.tensor([[9.0, 1, 0], [0, 9, 0], [0, 0, 1]], device=device), (4, 4), **shape)
    with pytest.raises(ValueError, match="coefficients must have shape"):
        harmonic_colours(torch.zeros(2, 5, 3), torch.zeros(2, 3))


@pytest.mark.parametrize("name", ["means_m", "quaternions", "scales_m", "cam_from_world"])
@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_not_finite(kernels, device, name, value):
    cloud = Cloud.random(num=5, device=device)
    tensors = {key: getattr(cloud, key).clone() for key in ("means_m", "quaternions", "scales_m", "cam_from_world")}
    tensors[name][2, 1] = value
    with pytest.raises(AvatarError, match=name) as raised:
        project_gaussians(**tensors, px_from_cam=cloud.px_from_cam, size_hw=cloud.size_hw)
    assert raised.value.code == "diverged"


def test_no_rotation(kernels, device):
    cloud = Cloud.random(num=5, device=device)
    cloud.quaternions[3] = 0
    with pytest.raises(AvatarError, match=r"length 0 at \[3\]"):
        cloud.render()
