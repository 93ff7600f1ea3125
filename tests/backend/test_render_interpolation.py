"""Attributes at pixels and their gradients, with every family of kernels, against gradcheck, plain torch and geometry."""

from __future__ import annotations

import numba
import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from backend.errors import AvatarError
from backend.geometry.cameras import intrinsics
from backend.render.kernel_choice import forced_kernels
from backend.render.meshes import homogeneous_from_cam, interpolate, interpolate_covered, rasterise

SIZE_HW = (12, 17)
CAMERA = torch.from_numpy(intrinsics(12.0, (8.0, 6.5)))


def scene(device, seed=0, num_pictures=None, num_triangles=14, depth_range=(-0.4, 2.0)):
    """Triangles that fill much of the picture, some through the near plane; (vertices, triangles, fragments)."""
    rng = np.random.default_rng(seed)
    shape = (12, 3) if num_pictures is None else (num_pictures, 12, 3)
    vertices = rng.uniform(-1, 1, shape)
    vertices[..., 2] = rng.uniform(*depth_range, shape[:-1])
    triangles = np.stack([rng.choice(12, 3, replace=False) for _ in range(num_triangles)]).astype(np.int32)
    vertices, triangles = torch.from_numpy(vertices).to(device), torch.from_numpy(triangles).to(device)
    fragments = rasterise(vertices, triangles, CAMERA, SIZE_HW, near_m=0.1)
    assert fragments.is_covered.any()
    return vertices, triangles, fragments


def leaves(device, vertices, *shape, dtype=torch.float64, seed=1):
    generator = torch.Generator().manual_seed(seed)
    attributes = torch.rand(*shape, dtype=torch.float64, generator=generator).to(device, dtype).requires_grad_()
    homogeneous = homogeneous_from_cam(vertices, CAMERA.to(device)).to(dtype).requires_grad_()
    return attributes, homogeneous


@pytest.mark.parametrize("form", ["vertex", "vertex_batch", "corner", "corner_batch"])
def test_gradcheck(device, kernels, form):
    """Float64: attributes and positions, one picture and several, whole pictures and covered pixels."""
    is_batch = form.endswith("batch")
    vertices, triangles, fragments = scene(device, num_pictures=2 if is_batch else None)
    shape = (12, 2) if form.startswith("vertex") else (len(triangles), 3, 2)
    attributes, homogeneous = leaves(device, vertices, *((2, *shape) if is_batch else shape))
    def as_picture(a, h):
        return interpolate(fragments, triangles, a, h)

    def as_list(a, h):
        return interpolate_covered(fragments.covered, triangles, a, h)

    for function in (as_picture, as_list):
        assert torch.autograd.gradcheck(function, (attributes, homogeneous), fast_mode=True)
        assert torch.autograd.gradcheck(function, (attributes, homogeneous), atol=1e-4) if form == "vertex" else True


@pytest.mark.parametrize("shape", [(12, 5), (3, 12, 5), (14, 3, 1), (3, 14, 3, 2)])
def test_float32_equals_plain_torch(device, kernels, shape):
    vertices, triangles, fragments = scene(device, num_pictures=3, depth_range=(0.4, 2.0))
    attributes, homogeneous = leaves(device, vertices, *shape, dtype=torch.float32)
    results = []
    for family in (None, "torch"):
        a, h = (tensor.detach().clone().requires_grad_() for tensor in (attributes, homogeneous))
        if family is None:
            picture = interpolate(fragments, triangles, a, h)
        else:
            with forced_kernels("torch"):
                picture = interpolate(fragments, triangles, a.double(), h.double())
        weights = torch.linspace(-1, 1, picture.numel(), device=device, dtype=picture.dtype).view_as(picture)
        (picture * weights).sum().backward()
        results.append([tensor.double() for tensor in (picture.detach(), a.grad, h.grad)])
    for got, wanted in zip(*results):
        assert (got - wanted).abs().max() <= 2e-5 * wanted.abs().max()


def test_covered_pixels_are_the_picture(device, kernels):
    vertices, triangles, fragments = scene(device, num_pictures=2)
    attributes, _ = leaves(device, vertices, 12, 3, dtype=torch.float32)
    covered = fragments.covered
    picture = interpolate(fragments, triangles, attributes)
    values = interpolate_covered(covered, triangles, attributes)
    assert len(covered) == int(fragments.is_covered.sum()) == len(values)
    assert torch.equal(covered.scatter(values), picture)
    assert torch.equal(covered.gather(picture), values)
    assert (covered.scatter(values, background=7.0)[~fragments.is_covered] == 7).all() and (picture[~fragments.is_covered] == 0).all()
    # Sorted by picture, triangle and place.
    keys = (covered.pixels // (SIZE_HW[0] * SIZE_HW[1]) * len(triangles) + covered.triangle_ids) * fragments.triangle_ids.numel() + covered.pixels
    assert (keys.diff() > 0).all()
    assert torch.equal(fragments.triangle_ids.view(-1)[covered.pixels], covered.triangle_ids)
    covered.scatter(values).sum().backward()
    assert torch.allclose(attributes.grad.sum(0), torch.full((3,), float(len(covered)), device=device))


def test_scatter_and_gather_have_gradients(device, kernels):
    _, _, fragments = scene(device, num_pictures=2)
    covered = fragments.covered
    values = torch.rand(len(covered), 2, dtype=torch.float64, device=device, requires_grad=True)
    pictures = torch.rand(2, *SIZE_HW, 2, dtype=torch.float64, device=device, requires_grad=True)
    assert torch.autograd.gradcheck(covered.scatter, (values,)) and torch.autograd.gradgradcheck(covered.scatter, (values,))
    assert torch.autograd.gradcheck(covered.gather, (pictures,)) and torch.autograd.gradgradcheck(covered.gather, (pictures,))
    # Numbers of other dtypes come back, too.
    numbers = torch.arange(fragments.triangle_ids.numel(), device=device).view(2, *SIZE_HW, 1)
    assert torch.equal(covered.gather(numbers)[:, 0], covered.pixels)


def test_depth_is_an_attribute(device, kernels):
    """Interpolated z is the depth; its slope along the viewing direction is 1, and moving in the plane changes nothing."""
    corners = torch.tensor([[-1.0, -1, 1], [1, -1, 2], [0, 1, 1.5]], dtype=torch.float64, device=device, requires_grad=True)
    triangles = torch.tensor([[0, 1, 2]], dtype=torch.int32, device=device)
    fragments = rasterise(corners, triangles, CAMERA, SIZE_HW)
    homogeneous = homogeneous_from_cam(corners, CAMERA.to(device))
    depth = interpolate(fragments, triangles, homogeneous[:, 2:], homogeneous)[..., 0]
    covered = fragments.is_covered
    assert torch.allclose(depth[covered].float(), fragments.depth_m[covered], rtol=1e-6)
    with torch.no_grad():
        normal = torch.linalg.cross(corners[1] - corners[0], corners[2] - corners[0])
    row, column = covered.nonzero()[len(covered.nonzero()) // 2].tolist()
    ray = torch.linalg.inv(CAMERA).to(device) @ torch.tensor([column + 0.5, row + 0.5, 1.0], dtype=torch.float64, device=device)
    (slope,) = torch.autograd.grad(depth[row, column], corners)
    # depth = normal . corner / normal . ray, so a common shift of the corners changes it by normal / (normal . ray).
    assert torch.allclose(slope.sum(0), normal / (normal @ ray), atol=1e-9)


@given(st.integers(0, 10**6), st.integers(1, 6))
@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_constants_and_positions_come_back(device, kernels, seed, num_channels):
    """Of any scene: a constant attribute is that constant, the positions lie on the pixels' rays, a constant has no position gradient."""
    rng = np.random.default_rng(seed)
    vertices = torch.from_numpy(rng.normal(size=(9, 3)) + [0, 0, 1.0]).to(device)
    triangles = torch.from_numpy(rng.integers(0, 9, (7, 3)).astype(np.int32)).to(device)
    fragments = rasterise(vertices, triangles, CAMERA, SIZE_HW, near_m=0.2)
    homogeneous = homogeneous_from_cam(vertices, CAMERA.to(device)).requires_grad_()
    ones = interpolate_covered(fragments.covered, triangles, torch.ones(9, num_channels, dtype=torch.float64, device=device), homogeneous)
    assert torch.allclose(ones, torch.ones_like(ones), atol=1e-9)
    ones.square().sum().backward()
    assert homogeneous.grad.abs().max() < 1e-4 * (1 + len(fragments.covered))
    points = interpolate(fragments, triangles, homogeneous.detach())[fragments.is_covered]
    rows, columns = fragments.is_covered.nonzero(as_tuple=True)
    pixels = torch.stack([columns, rows], -1) + 0.5
    assert torch.allclose(points[:, :2], pixels * points[:, 2:], atol=1e-5)


def test_nothing_covered(device, kernels):
    vertices = torch.zeros(3, 3, device=device)
    triangles = torch.tensor([[0, 1, 2]], dtype=torch.int32, device=device)
    fragments = rasterise(vertices, triangles, CAMERA, SIZE_HW)
    attributes, homogeneous = torch.ones(3, 2, device=device, requires_grad=True), vertices.clone().requires_grad_()
    picture = interpolate(fragments, triangles, attributes, homogeneous)
    values = interpolate_covered(fragments.covered, triangles, attributes, homogeneous)
    assert picture.shape == (*SIZE_HW, 2) and values.shape == (0, 2) and (picture == 0).all()
    (picture.sum() + values.sum()).backward()
    assert (attributes.grad == 0).all() and (homogeneous.grad == 0).all()


def test_neither_threads_nor_splits_change_a_bit(device):
    """Values and gradients of numba's kernels; the gradient of attributes that pictures share is the sum of the pictures'."""
    if device.type != "cpu":
        pytest.skip("additions on a GPU are atomic")
    vertices, triangles, _ = scene(device, num_pictures=4, num_triangles=40, depth_range=(0.4, 2.0))

    def run(chosen, shared):
        fragments = rasterise(vertices[chosen], triangles, CAMERA, SIZE_HW)
        attributes, homogeneous = leaves(device, vertices[chosen], 12, 3, dtype=torch.float32)
        attributes = attributes if shared else attributes.detach().expand(len(vertices[chosen]), -1, -1).contiguous().requires_grad_()
        picture = interpolate(fragments, triangles, attributes, homogeneous)
        picture.square().sum().backward()
        return picture.detach(), homogeneous.grad, attributes.grad

    before = numba.get_num_threads()
    whole = run(slice(None), False)
    try:
        for threads in sorted({1, min(2, numba.config.NUMBA_NUM_THREADS), numba.config.NUMBA_NUM_THREADS}):
            numba.set_num_threads(threads)
            assert all(torch.equal(a, b) for a, b in zip(whole, run(slice(None), False)))
    finally:
        numba.set_num_threads(before)
    parts = [run(slice(0, 1), False), run(slice(1, 4), False)]
    assert all(torch.equal(a, torch.cat(b)) for a, b in zip(whole, zip(*parts)))
    assert torch.equal(run(slice(None), True)[2], whole[2].sum(0))


def test_bad_input_is_named(device, kernels):
    vertices, triangles, fragments = scene(device)
    attributes, homogeneous = (tensor.detach() for tensor in leaves(device, vertices, 12, 2))
    for arguments, error, word in (
        ((triangles, attributes[:4]), ValueError, "triangles"),
        ((triangles[:3], attributes), ValueError, "triangles"),
        ((triangles - 1, attributes), ValueError, "triangles"),
        ((triangles, attributes[0]), ValueError, "attributes"),
        ((triangles, attributes.int()), TypeError, "attributes"),
        ((triangles, attributes.expand(3, -1, -1)), ValueError, "attributes"),
        ((triangles, attributes, homogeneous[:5]), ValueError, "homogeneous"),
        ((triangles, attributes, homogeneous.half()), TypeError, "homogeneous"),
        ((triangles, attributes.to("meta")), ValueError, "attributes"),
    ):
        for function, place in ((interpolate, fragments), (interpolate_covered, fragments.covered)):
            with pytest.raises(error, match=word):
                function(place, *arguments)
    broken = homogeneous.clone()
    broken[3, 1] = torch.nan
    with pytest.raises(AvatarError) as caught:
        interpolate(fragments, triangles, attributes, broken)
    assert caught.value.code == "diverged"
    with pytest.raises(ValueError, match="values"):
        fragments.covered.scatter(torch.zeros(1 + len(fragments.covered), 2, device=device))
    with pytest.raises(ValueError, match="pictures"):
        fragments.covered.gather(torch.zeros(3, 3, 1, device=device))


def test_fragments_are_freed_without_the_collector(device, kernels):
    """No cycle of references: a training step's pictures must not pile up until Python collects cycles."""
    import gc
    import weakref

    vertices, triangles, fragments = scene(device)
    attributes, homogeneous = leaves(device, vertices, 12, 2, dtype=torch.float32)
    gc.disable()
    try:
        interpolate_covered(fragments.covered, triangles, attributes, homogeneous).sum().backward()
        assert fragments.barycentric is not None
        freed = weakref.ref(fragments.triangle_ids), weakref.ref(fragments.covered.pixels)
        del fragments
        assert [reference() for reference in freed] == [None, None]
    finally:
        gc.enable()


def test_covered_pixels_of_a_large_picture(device):
    """Sorted in several shares on the CPU: the same pixels in the same order as torch's sort."""
    vertices, triangles, _ = scene(device, num_pictures=2)
    camera = torch.from_numpy(intrinsics(300.0, (200.0, 210.0)))
    fragments = rasterise(vertices, triangles, camera, (417, 401), near_m=0.1)
    covered = fragments.covered
    with forced_kernels("torch"):
        plain = rasterise(vertices, triangles, camera, (417, 401), near_m=0.1).covered
    assert len(covered) > 2 * 65536
    assert torch.equal(covered.pixels, plain.pixels) and torch.equal(covered.triangle_ids, plain.triangle_ids)
    if covered.seen is not None:
        keys = covered.pixels // (417 * 401) * len(triangles) + covered.triangle_ids
        wanted, counts = keys.unique_consecutive(return_counts=True)
        assert torch.equal(covered.seen, wanted) and torch.equal(covered.starts.diff(), counts)
