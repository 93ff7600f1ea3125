"""Gaussians of space to Gaussians of the picture (EWA splatting), with the conventions of gsplat."""

from __future__ import annotations

import dataclasses
from typing import Any

import torch

from ..errors import AvatarError
from ..geometry.shapes import check_dtype, check_finite, check_shape
from .kernel_choice import kernels_for

QUATERNION, TRANSFORM, COVARIANCE = 0, 1, 2


@dataclasses.dataclass(frozen=True)
class ProjectedGaussians:
    """N splats in one picture.

    means_px: (N, 2) centres, px; 0 for culled splats.
    conics: (N, 3) xx, xy, yy of the inverse covariance, 1/px^2, low-pass included; 0 for culled splats.
    depths_m: (N,) z of the centre in the camera frame.
    radii_px: (N, 2) int32, half width and height beyond which alpha < 1/255 even at opacity 1; 0 = culled. Not differentiable.
    """

    means_px: torch.Tensor
    conics: torch.Tensor
    depths_m: torch.Tensor
    radii_px: torch.Tensor


@dataclasses.dataclass(frozen=True)
class Lens:
    """What projection needs besides tensors that carry gradients. limits: lowest, highest x/z, lowest, highest y/z where J is taken."""

    intrinsics: tuple[float, float, float, float]
    limits: tuple[float, float, float, float]
    size_hw: tuple[int, int]
    near_m: float
    far_m: float
    low_pass_px2: float


def project_gaussians(
    means_m: torch.Tensor,
    cam_from_world: torch.Tensor,
    px_from_cam: torch.Tensor,
    size_hw: tuple[int, int],
    *,
    quaternions: torch.Tensor | None = None,
    scales_m: torch.Tensor | None = None,
    transforms_m: torch.Tensor | None = None,
    covariances_m2: torch.Tensor | None = None,
    near_m: float = 0.01,
    far_m: float = 1e10,
    low_pass_px2: float = 0.3,
) -> ProjectedGaussians:
    """Projects splats with the affine approximation of the camera at each centre.

    The shape of a splat is given in exactly one of three ways: ``quaternions`` and ``scales_m``, ``transforms_m`` or ``covariances_m2``.

    Args:
        means_m: (N, 3) float, world frame, m.
        cam_from_world: (4, 4) float, OpenCV axes; a rigid motion for the centres, any linear part for the shapes.
        px_from_cam: (3, 3) K without skew.
        size_hw: height and width of the picture, px.
        quaternions: (N, 4) float wxyz of any length but 0. scales_m: (N, 3) float, standard deviations, m; 0 is a flat splat.
        transforms_m: (N, 3, 3) float, any linear map L (shear allowed) of the unit ball's Gaussian: cov = L L^T.
        covariances_m2: (N, 3, 3) float, positive semi-definite; the symmetric part is used.
        near_m, far_m: splats whose centre's z is not strictly between them are culled.
        low_pass_px2: added to the diagonal of every covariance in the picture, px^2.

    Returns:
        ProjectedGaussians on the same device. Differentiable: means, shapes, cam_from_world (in means_px, conics, depths_m). Not: K,
        culling, and beyond 1.3 times the field of view, where the linearisation is clamped, the clamped slope.

    Raises:
        ValueError, TypeError: shape, dtype or device. AvatarError: ``diverged`` for a value that is not finite or a quaternion of length 0.

    Sources: Zwicker et al., EWA splatting, 2002, equations 22-24; the clamp and the low-pass as in gsplat 1.5.
    """
    kind, first, second = _shape(means_m, quaternions, scales_m, transforms_m, covariances_m2)
    check_shape("cam_from_world", cam_from_world, 4, 4)
    check_shape("px_from_cam", px_from_cam, 3, 3)
    kernels = kernels_for(means_m=means_m, shape=first, scales_m=second, cam_from_world=cam_from_world)
    wanted = (torch.float32, torch.float64) if kernels == "torch" else (torch.float32,)
    check_dtype("means_m", means_m, *wanted)
    for name, tensor in (("shape of the splats", first), ("scales_m", second), ("cam_from_world", cam_from_world)):
        if tensor is not None:
            check_dtype(name, tensor, means_m.dtype)
    lens = _lens(px_from_cam, size_hw, near_m, far_m, low_pass_px2)
    if kernels == "numba":
        outputs = _NumbaProjection.apply(means_m, first, second, cam_from_world, kind, lens)
    elif kernels == "warp":
        from .warp_kernels.gaussians_projection import project

        outputs = project(means_m, first, second, cam_from_world, kind, lens)
    else:
        from .torch_kernels.gaussians import project as project_torch

        _refuse(means_m, first, second, cam_from_world)
        outputs = project_torch(means_m, first, second, cam_from_world, kind, lens)
    return ProjectedGaussians(*outputs)


def _shape(
    means_m: torch.Tensor, quaternions: torch.Tensor | None, scales_m: torch.Tensor | None, transforms_m: torch.Tensor | None, covariances_m2: torch.Tensor | None
) -> tuple[int, torch.Tensor, torch.Tensor | None]:
    check_shape("means_m", means_m, None, 3)
    if means_m.ndim != 2:
        raise ValueError(f"means_m must have shape (N, 3), got {tuple(means_m.shape)}")
    num = len(means_m)
    given = [name for name, tensor in (("quaternions", quaternions), ("transforms_m", transforms_m), ("covariances_m2", covariances_m2)) if tensor is not None]
    if len(given) != 1 or (quaternions is None) != (scales_m is None):
        raise ValueError(f"give quaternions and scales_m, or transforms_m, or covariances_m2, got {given + ['scales_m'] * (scales_m is not None)}")
    if quaternions is not None and scales_m is not None:
        _check_rows("quaternions", quaternions, num, 4)
        _check_rows("scales_m", scales_m, num, 3)
        return QUATERNION, quaternions, scales_m
    if transforms_m is not None:
        _check_rows("transforms_m", transforms_m, num, 3, 3)
        return TRANSFORM, transforms_m, None
    assert covariances_m2 is not None
    _check_rows("covariances_m2", covariances_m2, num, 3, 3)
    return COVARIANCE, covariances_m2, None


def _check_rows(name: str, tensor: torch.Tensor, *wanted: int) -> None:
    if tuple(tensor.shape) != wanted:
        raise ValueError(f"{name} must have shape {wanted}, got {tuple(tensor.shape)}")


def _lens(px_from_cam: torch.Tensor, size_hw: tuple[int, int], near_m: float, far_m: float, low_pass_px2: float) -> Lens:
    height, width = size_hw
    if height < 1 or width < 1:
        raise ValueError(f"size_hw must be at least (1, 1), got {tuple(size_hw)}")
    if not near_m > 0 or not far_m > near_m or not low_pass_px2 >= 0:
        raise ValueError(f"0 < near_m < far_m and 0 <= low_pass_px2 wanted, got {near_m}, {far_m}, {low_pass_px2}")
    (fx, skew, cx), (_, fy, cy), _ = px_from_cam.tolist()
    if not all(abs(value) < float("inf") for value in (fx, fy, cx, cy)):
        raise AvatarError("diverged", "px_from_cam is not finite.", "", {"argument": "px_from_cam"})
    if fx <= 0 or fy <= 0 or skew != 0:
        raise ValueError(f"px_from_cam must have positive focal lengths and no skew, got fx {fx}, fy {fy}, skew {skew}")
    margin_x, margin_y = 0.15 * width / fx, 0.15 * height / fy
    limits = (-cx / fx - margin_x, (width - cx) / fx + margin_x, -cy / fy - margin_y, (height - cy) / fy + margin_y)
    return Lens((fx, fy, cx, cy), limits, (int(height), int(width)), float(near_m), float(far_m), float(low_pass_px2))


def _refuse(means_m: torch.Tensor, first: torch.Tensor, second: torch.Tensor | None, cam_from_world: torch.Tensor) -> None:
    """Raises for the argument that is not finite or for a quaternion without a direction; returns when all is well."""
    tensors = [tensor for tensor in (means_m, cam_from_world, first, second) if tensor is not None]
    is_fine = torch.stack([torch.isfinite(tensor).all() for tensor in tensors] + ([(first != 0).any(-1).all()] if second is not None else [])).all()
    if bool(is_fine):
        return
    check_finite("means_m", means_m)
    check_finite("cam_from_world", cam_from_world)
    check_finite("quaternions" if second is not None else "transforms_m or covariances_m2", first)
    if second is not None:
        check_finite("scales_m", second)
        is_zero = (first == 0).all(-1)
        if bool(is_zero.any()):
            index = int(is_zero.nonzero()[0, 0])
            raise AvatarError("diverged", f"quaternions has length 0 at [{index}].", "", {"argument": "quaternions", "index": [index]})


class _NumbaProjection(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, means_m, first, second, cam_from_world, kind, lens):  # type: ignore[no-untyped-def]
        from .numba_kernels.gaussians_projection import NUM_CHUNKS, project_forward

        inputs = _numpy_inputs(means_m, first, second, cam_from_world)
        num = len(means_m)
        means_px, conics, depths_m = means_m.new_empty(num, 2), means_m.new_empty(num, 3), means_m.new_empty(num)
        radii_px = torch.empty(num, 2, dtype=torch.int32)
        state = torch.empty(NUM_CHUNKS, dtype=torch.int32)
        height, width = lens.size_hw
        outputs = (means_px.numpy(), conics.numpy(), depths_m.numpy(), radii_px.numpy(), state.numpy())
        project_forward(kind, *inputs, lens.intrinsics, lens.limits, lens.near_m, lens.far_m, lens.low_pass_px2, width, height, *outputs)
        if outputs[-1].any():
            _refuse(means_m, first, second, cam_from_world)
            raise AvatarError("diverged", "The splats are too far away to be projected: their positions overflow.")
        ctx.save_for_backward(means_m, first, second, cam_from_world)
        ctx.settings = kind, lens
        ctx.mark_non_differentiable(radii_px)
        ctx.set_materialize_grads(False)
        return means_px, conics, depths_m, radii_px

    @staticmethod
    def backward(ctx: Any, grad_means_px, grad_conics, grad_depths, _grad_radii):  # type: ignore[no-untyped-def]
        from .numba_kernels.gaussians_projection import NUM_CHUNKS, project_backward

        means_m, first, second, cam_from_world = ctx.saved_tensors
        kind, lens = ctx.settings
        num = len(means_m)
        inputs = _numpy_inputs(means_m, first, second, cam_from_world)
        grads = [_filled(grad, means_m, *shape) for grad, shape in ((grad_means_px, (num, 2)), (grad_conics, (num, 3)), (grad_depths, (num,)))]
        grad_means, grad_first = torch.empty_like(means_m, memory_format=torch.contiguous_format), first.new_empty(num, first[0].numel() if num else 9)
        grad_second = None if second is None else second.new_empty(num, 3)
        grad_view = torch.empty(NUM_CHUNKS, 3, 4, dtype=torch.float64)
        none = means_m.new_empty(0, 4).numpy()
        outputs = (grad_first.numpy(), grad_second.numpy(), none) if grad_second is not None else (none, none, grad_first.numpy())
        project_backward(
            kind, *inputs, lens.intrinsics, lens.limits, lens.near_m, lens.far_m, lens.low_pass_px2, *grads, grad_means.numpy(), *outputs, grad_view.numpy()
        )
        grad_pose = None
        if ctx.needs_input_grad[3]:
            grad_pose = torch.zeros_like(cam_from_world)
            grad_pose[:3] = torch.from_numpy(grad_view.numpy().sum(0)).to(cam_from_world.dtype)
        return grad_means, grad_first.view(first.shape), grad_second, grad_pose, None, None


def _numpy_inputs(means_m, first, second, cam_from_world):  # type: ignore[no-untyped-def]
    """The kernels' arguments: means, quaternions, scales, matrices, view (float64)."""
    view = cam_from_world.detach()[:3].double().contiguous().numpy()
    values = first.detach().contiguous()
    none = values.new_empty(0, 4).numpy()
    means = means_m.detach().contiguous().numpy()
    if second is not None:
        return means, values.numpy(), second.detach().contiguous().numpy(), none, view
    return means, none, none, values.view(-1, 9).numpy(), view


def _filled(grad: torch.Tensor | None, like: torch.Tensor, *shape: int):  # type: ignore[no-untyped-def]
    return (like.new_zeros(shape) if grad is None else grad.contiguous()).numpy()
