"""Splats at the edge of what makes sense, the same bits for any number of threads, and no access out of bounds."""

import hashlib
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from gaussian_scene import Cloud, assert_close, slow_picture, weighted_sum
from hypothesis import given, settings
from hypothesis import strategies as st

from backend.errors import AvatarError
from backend.render import compiled_gsplat
from backend.render.gaussians import render_gaussians
from backend.render.kernel_choice import forced_kernels


def _gradients(cloud: Cloud, **options):
    leaves = cloud.leaves()
    image = cloud.render(leaves, use_depth=True, **options)
    grads = torch.autograd.grad(weighted_sum(image.colour, image.alpha, image.depth_m), list(leaves.values()), allow_unused=True)
    for name, grad in zip(leaves, grads):
        assert grad is None or torch.isfinite(grad).all(), name
    return image, dict(zip(leaves, grads))


def test_no_splats(kernels, device):
    cloud = Cloud.random(num=0, device=device)
    image, grads = _gradients(cloud)
    assert torch.equal(image.colour, cloud.background.expand_as(image.colour)) and not image.alpha.any() and not image.depth_m.any()
    assert grads["background"].abs().min() > 0


def test_everything_behind_the_camera(kernels, device):
    cloud = Cloud.random(device=device)
    cloud.means_m[:, 2] -= 5
    image, grads = _gradients(cloud)
    assert not image.radii_px.any() and not image.alpha.any()
    assert not grads["means_m"].any() and not grads["quaternions"].any()


def test_zero_area(kernels, device):
    """Points and flat splats: the low-pass keeps them about half a pixel wide."""
    cloud = Cloud.random(device=device)
    cloud.scales_m[:30] = 0
    cloud.scales_m[30:, 2] = 0
    image, _ = _gradients(cloud)
    exact = {name: leaf.detach().double() for name, leaf in cloud.leaves().items()}
    assert_close(image.colour, slow_picture(exact, cloud)[0], 2e-5)
    assert float(image.alpha.detach().max()) > 0.3


@pytest.mark.parametrize("opacity", [0.0, 1.0, 1.0 / 255.0])
def test_opacity_limits(kernels, device, opacity):
    cloud = Cloud.random(device=device)
    cloud.opacities[:] = opacity
    image, _ = _gradients(cloud)
    if opacity == 0:
        assert not image.alpha.any()
    else:
        exact = {name: leaf.detach().double() for name, leaf in cloud.leaves().items()}
        exact["opacities"] = torch.full_like(exact["opacities"], opacity) if opacity == 1 else exact["opacities"]
        assert_close(image.colour, slow_picture(exact, cloud)[0], 2e-5)


def test_huge_splats(kernels, device):
    """Every splat fills the picture many times over."""
    cloud = Cloud.random(num=10, device=device)
    cloud.scales_m *= 1e4
    cloud.opacities[:] = 0.3
    image, _ = _gradients(cloud)
    exact = {name: leaf.detach().double() for name, leaf in cloud.leaves().items()}
    assert_close(image.colour, slow_picture(exact, cloud)[0], 1e-3)


def test_absurd_splats(kernels, device):
    """So large that the covariance leaves float32: culled or drawn, but finite and without an error."""
    cloud = Cloud.random(num=10, device=device)
    cloud.scales_m *= torch.logspace(0, 30, 10, device=device)[:, None]
    cloud.means_m[0, 0] = 1e8
    cloud.means_m[1, 2] = 1e8
    image, _ = _gradients(cloud)
    assert torch.isfinite(image.colour).all()


@pytest.mark.parametrize("name", ["opacities", "colours", "background"])
@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_not_finite(kernels, device, name, value):
    cloud = Cloud.random(device=device)
    getattr(cloud, name).view(-1)[-1] = value
    with pytest.raises(AvatarError, match=name) as raised:
        cloud.render()
    assert raised.value.code == "diverged"


def test_bad_arguments(kernels, device):
    cloud = Cloud.random(num=5, device=device)
    leaves = cloud.leaves()

    def render(**changed):
        return cloud.render({**leaves, **changed})

    with pytest.raises(ValueError, match=r"opacities must have shape \(5,\), got \(4,\)"):
        render(opacities=torch.ones(4, device=device))
    with pytest.raises(ValueError, match=r"colours must have shape \(5, C\)"):
        render(colours=torch.ones(5, 0, device=device))
    with pytest.raises(ValueError, match="background must have shape"):
        render(background=torch.ones(4, device=device))
    with pytest.raises(TypeError, match="colours must have dtype"):
        render(colours=torch.ones(5, 3, device=device, dtype=torch.int32))
    with pytest.raises(ValueError, match="either colours or harmonics"):
        render(harmonics=torch.ones(5, 1, 3, device=device))
    with pytest.raises(ValueError, match="must have the batch of"):
        render(means_m=torch.ones(2, 5, 3, device=device), opacities=torch.ones(3, 5, device=device))
    with pytest.raises(ValueError, match="colours must be on"):
        render(colours=torch.ones(5, 3, device="meta"))


def test_tensors_need_not_be_contiguous(kernels, device):
    cloud = Cloud.random(device=device)
    image, grads = _gradients(cloud)
    for name in ("means_m", "quaternions", "scales_m", "colours"):
        value = getattr(cloud, name)
        setattr(cloud, name, torch.stack([value, value], -1).flatten(1)[:, ::2])
    strided, strided_grads = _gradients(cloud)
    assert torch.equal(image.colour, strided.colour)
    assert_close(strided_grads["quaternions"], grads["quaternions"], 1e-6)


def test_without_gradients(kernels, device):
    cloud = Cloud.random(device=device)
    with torch.no_grad():
        image = cloud.render()
    assert not image.colour.requires_grad
    assert_close(image.colour, cloud.render().colour, 1e-6)


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 10_000), size=st.tuples(st.integers(1, 40), st.integers(1, 40)), spread=st.sampled_from([0.01, 1.0, 100.0]))
def test_any_cloud_is_drawn(seed, size, spread):
    """Whatever the cloud: finite, alpha in [0, 1], and the picture lies between the darkest and the brightest colour."""
    cloud = Cloud.random(num=30, size_hw=size, seed=seed)
    cloud.scales_m *= spread
    cloud.means_m[:, 2] -= 0.6
    cloud.means_m *= spread
    with forced_kernels("numba"):
        image, _ = _gradients(cloud)
    assert 0 <= float(image.alpha.detach().min()) and float(image.alpha.detach().max()) <= 1
    bright = max(float(cloud.colours.max()), float(cloud.background.max()))
    assert float(image.colour.detach().min()) >= -1e-6 and float(image.colour.detach().max()) <= bright * (1 + 1e-5)


def digest_of_everything() -> str:
    """Hash of pictures and gradients of several clouds; also what the child processes print."""
    bits = hashlib.sha256()
    with forced_kernels("numba"):
        for num, size_hw, num_channels in ((700, (70, 90), 3), (40, (1, 1), 1), (50, (33, 16), 9), (0, (20, 20), 2)):
            cloud = Cloud.random(num=num, size_hw=size_hw, num_channels=num_channels)
            cloud.scales_m[: num // 10] *= 20
            cloud.means_m[num // 10 : num // 5] *= 30
            leaves = cloud.leaves()
            image = cloud.render(leaves, use_depth=True, use_screen_gradients=True)
            values = [image.colour, image.alpha, image.depth_m]
            weighted_sum(*values).backward()
            values += [leaf.grad for leaf in leaves.values()] + [image.screen_gradients.absolute]
            shear = torch.randn(num, 3, 3, generator=torch.Generator().manual_seed(0)).mul_(0.01).requires_grad_()
            harmonics = torch.randn(num, 9, num_channels, generator=torch.Generator().manual_seed(1)).requires_grad_()
            camera = (cloud.means_m, cloud.opacities, cloud.cam_from_world, cloud.px_from_cam, cloud.size_hw)
            image = render_gaussians(*camera, harmonics=harmonics, transforms_m=shear)
            image.colour.sum().backward()
            values += [image.colour, shear.grad, harmonics.grad]
            for value in values:
                bits.update(value.detach().contiguous().numpy().tobytes())
    return bits.hexdigest()


def _child(**environment: str) -> str:
    here = Path(__file__).parent
    code = "import test_render_gaussians_robust as t; print('digest', t.digest_of_everything())"
    path = os.pathsep.join(map(str, (here, here.parent, here.parent.parent)))
    run = subprocess.run(
        [sys.executable, "-c", code], env={**os.environ, "PYTHONPATH": path, **environment}, capture_output=True, text=True, timeout=600, check=False
    )
    assert run.returncode == 0, run.stderr[-3000:]
    return run.stdout.split()[-1]


def test_same_bits_for_any_number_of_threads():
    here = digest_of_everything()
    assert _child(NUMBA_NUM_THREADS="1") == here
    assert _child(NUMBA_NUM_THREADS="3", OMP_NUM_THREADS="3") == here


def test_bounds(tmp_path):
    """The compiled kernels with every index checked; an access out of bounds raises and fails the child."""
    _child(NUMBA_BOUNDSCHECK="1", NUMBA_CACHE_DIR=str(tmp_path), NUMBA_OPT="0")


def test_gsplat_is_never_compiled(tmp_path, monkeypatch):
    """Without a finished build newer than its sources gsplat is not used, and asking leaves nothing behind."""
    compiled_gsplat.is_compiled.cache_clear()
    monkeypatch.setenv("TORCH_EXTENSIONS_DIR", str(tmp_path))
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    try:
        if not compiled_gsplat.is_compiled():
            assert "gsplat.cuda._backend" not in sys.modules and not list(tmp_path.iterdir())
            library = tmp_path / "gsplat_cuda" / "gsplat_cuda.so"
            library.parent.mkdir()
            library.touch()
            os.utime(library, (1, 1))
            compiled_gsplat.is_compiled.cache_clear()
            assert not compiled_gsplat.is_compiled(), "older than its sources: loading it would compile"
            os.utime(library)
            compiled_gsplat.is_compiled.cache_clear()
            assert compiled_gsplat.is_compiled()
            assert "gsplat.cuda._backend" not in sys.modules
    finally:
        compiled_gsplat.is_compiled.cache_clear()
