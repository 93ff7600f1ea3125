"""Gaussians of space to Gaussians of the picture on NVIDIA cards (Warp): one thread per splat, float64 inside as on the CPU.

Only the gradient of the camera's pose is summed atomically (last bits vary); everything else belongs to one thread.
"""

import functools
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import torch

from ...errors import AvatarError
from ..kernel_choice import warp_module

if TYPE_CHECKING:
    from ..gaussian_projection import Lens


@functools.cache
def _kernels() -> SimpleNamespace:
    wp = warp_module()

    # Evaluated annotations (no ``from __future__ import annotations`` in this file): Warp's structs need them.
    @wp.struct
    class LensValues:
        kind: wp.int32
        width: wp.float64
        height: wp.float64
        fx: wp.float64
        fy: wp.float64
        cx: wp.float64
        cy: wp.float64
        x_low: wp.float64
        x_high: wp.float64
        y_low: wp.float64
        y_high: wp.float64
        near: wp.float64
        far: wp.float64
        low_pass: wp.float64

    @wp.func
    def rotation_of(q: wp.vec4d):
        w = q[0]
        x = q[1]
        y = q[2]
        z = q[3]
        one = wp.float64(1.0)
        two = wp.float64(2.0)
        return wp.mat33d(
            one - two * (y * y + z * z), two * (x * y - w * z), two * (x * z + w * y),
            two * (x * y + w * z), one - two * (x * x + z * z), two * (y * z - w * x),
            two * (x * z - w * y), two * (y * z + w * x), one - two * (x * x + y * y),
        )  # fmt: skip

    @wp.func
    def double3(v: wp.vec3):
        return wp.vec3d(wp.float64(v[0]), wp.float64(v[1]), wp.float64(v[2]))

    @wp.func
    def double33(m: wp.mat33):
        return wp.mat33d(
            wp.float64(m[0, 0]), wp.float64(m[0, 1]), wp.float64(m[0, 2]), wp.float64(m[1, 0]), wp.float64(m[1, 1]), wp.float64(m[1, 2]),
            wp.float64(m[2, 0]), wp.float64(m[2, 1]), wp.float64(m[2, 2]),
        )  # fmt: skip

    @wp.func
    def double4(v: wp.vec4):
        return wp.vec4d(wp.float64(v[0]), wp.float64(v[1]), wp.float64(v[2]), wp.float64(v[3]))

    @wp.func
    def unit(q: wp.vec4d):
        length = wp.length(q)
        if length == wp.float64(0.0):
            return q
        return q / length

    @wp.func
    def linear_of(lens: LensValues, i: wp.int32, quaternions: wp.array(dtype=wp.vec4), scales: wp.array(dtype=wp.vec3), matrices: wp.array(dtype=wp.mat33)):
        """L of cov = L L^T, or the symmetric part of the covariance."""
        if lens.kind == 0:
            return rotation_of(unit(double4(quaternions[i]))) * wp.diag(double3(scales[i]))
        matrix = double33(matrices[i])
        if lens.kind == 1:
            return matrix
        return wp.float64(0.5) * (matrix + wp.transpose(matrix))

    @wp.func
    def rotation_of_view(view: wp.array2d(dtype=wp.float64)):
        return wp.mat33d(
            view[0, 0], view[0, 1], view[0, 2], view[1, 0], view[1, 1], view[1, 2], view[2, 0], view[2, 1], view[2, 2]
        )  # fmt: skip

    @wp.func
    def covariance_px(lens: LensValues, linear: wp.mat33d, row_x: wp.vec3d, row_y: wp.vec3d):
        """xx, xy, yy with the low-pass, determinant."""
        u = wp.transpose(linear) * row_x
        v = wp.transpose(linear) * row_y
        if lens.kind == 2:
            xx = wp.dot(u, row_x)
            xy = wp.dot(u, row_y)
            yy = wp.dot(v, row_y)
            area = xx * yy - xy * xy
            det = area + lens.low_pass * (xx + yy) + lens.low_pass * lens.low_pass
            return wp.vec4d(xx + lens.low_pass, xy, yy + lens.low_pass, det)
        normal = wp.cross(u, v)
        s_xx = wp.dot(u, u)
        s_yy = wp.dot(v, v)
        s_det = wp.dot(normal, normal) + lens.low_pass * (s_xx + s_yy) + lens.low_pass * lens.low_pass
        return wp.vec4d(s_xx + lens.low_pass, wp.dot(u, v), s_yy + lens.low_pass, s_det)

    @wp.func
    def is_usable(s: wp.vec4d):
        zero = wp.float64(0.0)
        return s[3] > zero and s[0] > zero and s[2] > zero and s[3] < wp.float64(1.0e37)

    @wp.kernel(module="unique", enable_backward=False)
    def forward(
        lens: LensValues, means: wp.array(dtype=wp.vec3), quaternions: wp.array(dtype=wp.vec4), scales: wp.array(dtype=wp.vec3),
        matrices: wp.array(dtype=wp.mat33), view: wp.array2d(dtype=wp.float64), means_px: wp.array(dtype=wp.vec2), conics: wp.array(dtype=wp.vec3),
        depths: wp.array(dtype=wp.float32), radii: wp.array2d(dtype=wp.int32), state: wp.array(dtype=wp.int32),
    ):
        i = wp.tid()
        rotation = rotation_of_view(view)
        p = rotation * double3(means[i]) + wp.vec3d(view[0, 3], view[1, 3], view[2, 3])
        linear = linear_of(lens, i, quaternions, scales, matrices)
        total = p[0] + p[1] + p[2]
        for r in range(3):
            for c in range(3):
                total += linear[r, c]
        if not wp.isfinite(total):
            state[0] = 1
        if lens.kind == 0:
            if not (wp.length_sq(double4(quaternions[i])) > wp.float64(0.0)):
                state[0] = 1
        depths[i] = wp.float32(p[2])
        means_px[i] = wp.vec2(0.0, 0.0)
        conics[i] = wp.vec3(0.0, 0.0, 0.0)
        radii[i, 0] = 0
        radii[i, 1] = 0
        if p[2] > lens.near and p[2] < lens.far:
            inverse = wp.float64(1.0) / p[2]
            slope_x = wp.clamp(p[0] * inverse, lens.x_low, lens.x_high)
            slope_y = wp.clamp(p[1] * inverse, lens.y_low, lens.y_high)
            row_x = (lens.fx * inverse) * (rotation[0] - slope_x * rotation[2])
            row_y = (lens.fy * inverse) * (rotation[1] - slope_y * rotation[2])
            s = covariance_px(lens, linear, row_x, row_y)
            if is_usable(s):
                x_px = lens.fx * p[0] * inverse + lens.cx
                y_px = lens.fy * p[1] * inverse + lens.cy
                means_px[i] = wp.vec2(wp.float32(x_px), wp.float32(y_px))
                conics[i] = wp.vec3(wp.float32(s[2] / s[3]), wp.float32(-s[1] / s[3]), wp.float32(s[0] / s[3]))
                radius_x = wp.ceil(wp.float64(3.33) * wp.sqrt(s[0]))
                radius_y = wp.ceil(wp.float64(3.33) * wp.sqrt(s[2]))
                zero = wp.float64(0.0)
                if x_px + radius_x > zero and x_px - radius_x < lens.width and y_px + radius_y > zero and y_px - radius_y < lens.height:
                    radii[i, 0] = wp.int32(wp.min(radius_x, wp.float64(2.0e9)))
                    radii[i, 1] = wp.int32(wp.min(radius_y, wp.float64(2.0e9)))

    @wp.kernel(module="unique", enable_backward=False)
    def backward(
        lens: LensValues, means: wp.array(dtype=wp.vec3), quaternions: wp.array(dtype=wp.vec4), scales: wp.array(dtype=wp.vec3),
        matrices: wp.array(dtype=wp.mat33), view: wp.array2d(dtype=wp.float64), grad_means_px: wp.array(dtype=wp.vec2), grad_conics: wp.array(dtype=wp.vec3),
        grad_depths: wp.array(dtype=wp.float32), use_pose: wp.int32, grad_means: wp.array(dtype=wp.vec3), grad_quaternions: wp.array(dtype=wp.vec4),
        grad_scales: wp.array(dtype=wp.vec3), grad_matrices: wp.array(dtype=wp.mat33), grad_view: wp.array2d(dtype=wp.float64),
    ):
        i = wp.tid()
        zero = wp.float64(0.0)
        half = wp.float64(0.5)
        two = wp.float64(2.0)
        rotation = rotation_of_view(view)
        m = double3(means[i])
        p = rotation * m + wp.vec3d(view[0, 3], view[1, 3], view[2, 3])
        grad_p = wp.vec3d(zero, zero, wp.float64(grad_depths[i]))
        grad_linear = wp.mat33d(zero, zero, zero, zero, zero, zero, zero, zero, zero)
        pose = wp.mat33d(zero, zero, zero, zero, zero, zero, zero, zero, zero)
        linear = linear_of(lens, i, quaternions, scales, matrices)
        if p[2] > lens.near and p[2] < lens.far:
            inverse = wp.float64(1.0) / p[2]
            free_x = p[0] * inverse
            free_y = p[1] * inverse
            slope_x = wp.clamp(free_x, lens.x_low, lens.x_high)
            slope_y = wp.clamp(free_y, lens.y_low, lens.y_high)
            scale_x = lens.fx * inverse
            scale_y = lens.fy * inverse
            row_x = scale_x * (rotation[0] - slope_x * rotation[2])
            row_y = scale_y * (rotation[1] - slope_y * rotation[2])
            s = covariance_px(lens, linear, row_x, row_y)
            if is_usable(s):
                g = double3(grad_conics[i])
                q = wp.mat22d(s[2] / s[3], -s[1] / s[3], -s[1] / s[3], s[0] / s[3])
                h = q * wp.mat22d(g[0], half * g[1], half * g[1], g[2]) * q
                grad_xx = -h[0, 0]
                grad_xy = -two * h[0, 1]
                grad_yy = -h[1, 1]
                u = wp.transpose(linear) * row_x
                v = wp.transpose(linear) * row_y
                grad_u = two * grad_xx * u + grad_xy * v
                grad_v = two * grad_yy * v + grad_xy * u
                grad_row_x = grad_u
                grad_row_y = grad_v
                if lens.kind == 2:
                    both = half * (wp.outer(row_x, row_y) + wp.outer(row_y, row_x))
                    grad_linear = grad_xx * wp.outer(row_x, row_x) + grad_xy * both + grad_yy * wp.outer(row_y, row_y)
                else:
                    grad_row_x = linear * grad_u
                    grad_row_y = linear * grad_v
                    grad_linear = wp.outer(row_x, grad_u) + wp.outer(row_y, grad_v)
                grad_slope_x = -scale_x * wp.dot(grad_row_x, rotation[2])
                grad_slope_y = -scale_y * wp.dot(grad_row_y, rotation[2])
                e_0 = wp.vec3d(wp.float64(1.0), zero, zero)
                e_1 = wp.vec3d(zero, wp.float64(1.0), zero)
                e_2 = wp.vec3d(zero, zero, wp.float64(1.0))
                pose = wp.outer(e_0, scale_x * grad_row_x) + wp.outer(e_1, scale_y * grad_row_y)
                pose = pose - wp.outer(e_2, scale_x * slope_x * grad_row_x + scale_y * slope_y * grad_row_y)
                grad_x = wp.float64(grad_means_px[i][0]) * scale_x
                grad_y = wp.float64(grad_means_px[i][1]) * scale_y
                grad_z = grad_p[2] - (wp.dot(grad_row_x, row_x) + wp.dot(grad_row_y, row_y)) * inverse - grad_x * free_x - grad_y * free_y
                if free_x > lens.x_low and free_x < lens.x_high:
                    grad_x += grad_slope_x * inverse
                    grad_z -= grad_slope_x * free_x * inverse
                if free_y > lens.y_low and free_y < lens.y_high:
                    grad_y += grad_slope_y * inverse
                    grad_z -= grad_slope_y * free_y * inverse
                grad_p = wp.vec3d(grad_x, grad_y, grad_z)
        if use_pose != 0:
            pose = pose + wp.outer(grad_p, m)
            for r in range(3):
                wp.atomic_add(grad_view, r, 3, grad_p[r])
                for c in range(3):
                    wp.atomic_add(grad_view, r, c, pose[r, c])
        back = wp.transpose(rotation) * grad_p
        grad_means[i] = wp.vec3(wp.float32(back[0]), wp.float32(back[1]), wp.float32(back[2]))
        if lens.kind == 0:
            raw = double4(quaternions[i])
            q4 = unit(raw)
            r3 = rotation_of(q4)
            scale = double3(scales[i])
            grad_s = wp.vec3d(
                wp.dot(wp.transpose(grad_linear)[0], wp.transpose(r3)[0]), wp.dot(wp.transpose(grad_linear)[1], wp.transpose(r3)[1]),
                wp.dot(wp.transpose(grad_linear)[2], wp.transpose(r3)[2]),
            )  # fmt: skip
            d = grad_linear * wp.diag(scale)
            w = q4[0]
            x = q4[1]
            y = q4[2]
            z = q4[3]
            grad_q = wp.vec4d(
                two * (x * (d[2, 1] - d[1, 2]) + y * (d[0, 2] - d[2, 0]) + z * (d[1, 0] - d[0, 1])),
                two * (w * (d[2, 1] - d[1, 2]) + y * (d[0, 1] + d[1, 0]) + z * (d[0, 2] + d[2, 0]) - two * x * (d[1, 1] + d[2, 2])),
                two * (w * (d[0, 2] - d[2, 0]) + x * (d[0, 1] + d[1, 0]) + z * (d[1, 2] + d[2, 1]) - two * y * (d[0, 0] + d[2, 2])),
                two * (w * (d[1, 0] - d[0, 1]) + x * (d[0, 2] + d[2, 0]) + y * (d[1, 2] + d[2, 1]) - two * z * (d[0, 0] + d[1, 1])),
            )  # fmt: skip
            length = wp.length(raw)
            if length > zero:
                grad_q = (grad_q - wp.dot(grad_q, q4) * q4) / length
            grad_quaternions[i] = wp.vec4(wp.float32(grad_q[0]), wp.float32(grad_q[1]), wp.float32(grad_q[2]), wp.float32(grad_q[3]))
            grad_scales[i] = wp.vec3(wp.float32(grad_s[0]), wp.float32(grad_s[1]), wp.float32(grad_s[2]))
        else:
            grad_matrices[i] = wp.mat33(
                wp.float32(grad_linear[0, 0]), wp.float32(grad_linear[0, 1]), wp.float32(grad_linear[0, 2]),
                wp.float32(grad_linear[1, 0]), wp.float32(grad_linear[1, 1]), wp.float32(grad_linear[1, 2]),
                wp.float32(grad_linear[2, 0]), wp.float32(grad_linear[2, 1]), wp.float32(grad_linear[2, 2]),
            )  # fmt: skip

    return SimpleNamespace(wp=wp, forward=forward, backward=backward, lens=LensValues)


def project(
    means_m: torch.Tensor, first: torch.Tensor, second: torch.Tensor | None, cam_from_world: torch.Tensor, kind: int, lens: "Lens"
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    """See ``gaussian_projection.project_gaussians``. One host synchronisation, for the error message."""
    return _Projection.apply(means_m, first, second, cam_from_world, kind, lens)


def launch_place(wp: Any, tensor: torch.Tensor) -> dict[str, Any]:
    """The device of a launch, and torch's current stream on CUDA."""
    return {"stream": wp.stream_from_torch(tensor.device)} if tensor.is_cuda else {"device": "cpu"}


def _lens_values(kernels: SimpleNamespace, kind: int, lens: "Lens") -> Any:
    values = kernels.lens()
    values.kind = kind
    values.height, values.width = map(float, lens.size_hw)
    values.fx, values.fy, values.cx, values.cy = lens.intrinsics
    values.x_low, values.x_high, values.y_low, values.y_high = lens.limits
    values.near, values.far, values.low_pass = lens.near_m, lens.far_m, lens.low_pass_px2
    return values


def _inputs(kernels: SimpleNamespace, means_m, first, second, cam_from_world):  # type: ignore[no-untyped-def]
    wp = kernels.wp

    def array(tensor: torch.Tensor, dtype: Any) -> Any:
        return wp.from_torch(tensor.detach().contiguous(), dtype=dtype)

    shape = (array(first, wp.vec4), array(second, wp.vec3), None) if second is not None else (None, None, array(first, wp.mat33))
    return [array(means_m, wp.vec3), *shape, array(cam_from_world[:3].double(), wp.float64)]


class _Projection(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, means_m, first, second, cam_from_world, kind, lens):  # type: ignore[no-untyped-def]
        kernels = _kernels()
        wp = kernels.wp
        num = len(means_m)
        means_px, conics, depths_m = means_m.new_empty(num, 2), means_m.new_empty(num, 3), means_m.new_empty(num)
        radii_px = means_m.new_empty(num, 2, dtype=torch.int32)
        state = means_m.new_zeros(1, dtype=torch.int32)
        if num > 0:
            inputs = [_lens_values(kernels, kind, lens), *_inputs(kernels, means_m, first, second, cam_from_world)]
            outputs = [wp.from_torch(means_px, dtype=wp.vec2), wp.from_torch(conics, dtype=wp.vec3), *map(wp.from_torch, (depths_m, radii_px, state))]
            wp.launch(kernels.forward, dim=num, inputs=inputs + outputs, **launch_place(wp, means_m))
        if int(state):
            from ..gaussian_projection import _refuse

            _refuse(means_m, first, second, cam_from_world)
            raise AvatarError("diverged", "The splats are too far away to be projected: their positions overflow.")
        ctx.save_for_backward(means_m, first, second, cam_from_world)
        ctx.settings = kind, lens
        ctx.mark_non_differentiable(radii_px)
        return means_px, conics, depths_m, radii_px

    @staticmethod
    def backward(ctx: Any, grad_means_px, grad_conics, grad_depths, _grad_radii):  # type: ignore[no-untyped-def]
        means_m, first, second, cam_from_world = ctx.saved_tensors
        kind, lens = ctx.settings
        kernels = _kernels()
        wp = kernels.wp
        grad_means, grad_first = (torch.zeros_like(tensor, memory_format=torch.contiguous_format) for tensor in (means_m, first))
        grad_second = None if second is None else torch.zeros_like(second, memory_format=torch.contiguous_format)
        grad_view = torch.zeros(3, 4, dtype=torch.float64, device=means_m.device)
        if len(means_m) > 0:
            grads = [wp.from_torch(grad_means_px.contiguous(), dtype=wp.vec2), wp.from_torch(grad_conics.contiguous(), dtype=wp.vec3)]
            grads += [wp.from_torch(grad_depths.contiguous()), int(ctx.needs_input_grad[3]), wp.from_torch(grad_means, dtype=wp.vec3)]
            if grad_second is not None:
                grads += [wp.from_torch(grad_first, dtype=wp.vec4), wp.from_torch(grad_second, dtype=wp.vec3), None]
            else:
                grads += [None, None, wp.from_torch(grad_first, dtype=wp.mat33)]
            inputs = [_lens_values(kernels, kind, lens), *_inputs(kernels, means_m, first, second, cam_from_world)]
            wp.launch(kernels.backward, dim=len(means_m), inputs=[*inputs, *grads, wp.from_torch(grad_view)], **launch_place(wp, means_m))
        grad_pose = None
        if ctx.needs_input_grad[3]:
            grad_pose = torch.zeros_like(cam_from_world)
            grad_pose[:3] = grad_view.to(cam_from_world.dtype)
        return grad_means, grad_first, grad_second, grad_pose, None, None
