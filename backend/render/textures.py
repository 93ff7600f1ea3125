"""Texture lookup: bilinear, or trilinear over mip levels; texel centres at (i + 0.5) / size, v up, clamped at the borders.

The level is chosen from the derivatives of uv by the pixel. They are computed analytically for each pixel (``uv_per_px``), not as
differences of neighbouring pixels: those are wrong or missing wherever neighbours see different triangles, which at video
sizes is at nearly every pixel of a head of 10 000 triangles.

Each level is the box filter of the one before at half its size, rounded down; for odd sizes the box covers parts of texels
(Guthe and Heckbert, "Non-power-of-two mipmapping", 2005), so that uv means the same place on every level.
"""

from __future__ import annotations

import dataclasses
import functools

import numpy as np
import torch
from torch.autograd.function import once_differentiable

from ..errors import AvatarError
from ..geometry.shapes import check_dtype, check_finite, check_shape
from .fragments import Fragments
from .kernel_choice import kernels_for
from .mip_weights import halving_weights


@dataclasses.dataclass(frozen=True)
class MipPyramid:
    """A texture with its coarser levels; made by ``mip_pyramid``.

    texture: (h, w, C) or (B, h, w, C), level 0. coarse: (T, C) or (B, T, C), the texels of levels 1, 2 ... row by row.
    """

    texture: torch.Tensor
    coarse: torch.Tensor

    @property
    def size_hw(self) -> tuple[int, int]:
        return tuple(self.texture.shape[-3:-1])  # type: ignore[return-value]

    @property
    def sizes(self) -> np.ndarray:
        """(L, 3) int64: height, width, first texel (in ``texture`` for level 0, else in ``coarse``)."""
        sizes = _level_sizes(*self.size_hw)
        texels = self.coarse.shape[-2]
        return sizes[: 1 + int(np.searchsorted(np.cumsum(sizes[1:, 0] * sizes[1:, 1]), texels, side="right"))]

    def level(self, number: int) -> torch.Tensor:
        """(..., h, w, C) texels of one level."""
        height, width, start = (int(value) for value in self.sizes[number])
        if number == 0:
            return self.texture
        return self.coarse[..., start : start + height * width, :].unflatten(-2, (height, width))


def num_mip_levels(size_hw: tuple[int, int]) -> int:
    """Levels down to a single texel, level 0 included."""
    return len(_level_sizes(*size_hw))


def mip_pyramid(texture: torch.Tensor, num_levels: int | None = None) -> MipPyramid:
    """The texture and its coarser levels.

    Args:
        texture: (h, w, C) or (B, h, w, C) float32 or float64, linear light, any size.
        num_levels: level 0 included; None = down to one texel.

    Returns:
        A pyramid whose ``coarse`` is differentiable in ``texture``. Make it once where the texture does not change.
    """
    _check_texture(texture)
    sizes = _level_sizes(*texture.shape[-3:-1])
    count = len(sizes) if num_levels is None else num_levels
    if not 1 <= count <= len(sizes):
        raise ValueError(f"num_levels must be from 1 to {len(sizes)} for size {tuple(texture.shape[-3:-1])}, got {num_levels}")
    batched = texture if texture.ndim == 4 else texture[None]
    if kernels_for(texture=texture) == "numba":
        coarse = _NumbaPyramid.apply(batched, count)
    else:
        from .torch_kernels.textures import coarser_levels

        coarse = coarser_levels(batched, count)
    return MipPyramid(texture, coarse if texture.ndim == 4 else coarse[0])


def uv_per_px(fragments: Fragments, homogeneous: torch.Tensor, triangles: torch.Tensor, uv: torch.Tensor, uv_triangles: torch.Tensor) -> torch.Tensor:
    """How fast uv changes from pixel to pixel, from the projection of the triangle that the pixel sees.

    Args:
        fragments: (H, W) or (B, H, W).
        homogeneous: (V, 3) or (B, V, 3), K times camera-frame vertices: (x_px z, y_px z, z).
        triangles: (F, 3) int, those that were rasterised. uv: (T, 2), v up. uv_triangles: (F, 3) int into ``uv``.

    Returns:
        (..., H, W, 2, 2) float32: [..., i, j] = d uv_i / d px_j; 0 on the background. Not differentiable.
    """
    check_shape("homogeneous", homogeneous, None, 3)
    check_shape("uv", uv, None, 2)
    check_shape("triangles", triangles, None, 3)
    check_shape("uv_triangles", uv_triangles, len(triangles), 3)
    ids = fragments.triangle_ids
    if ids.ndim != homogeneous.ndim or ids.shape[:-2] != homogeneous.shape[:-2]:
        raise ValueError(f"homogeneous must have shape {(*ids.shape[:-2], 'V', 3)}, got {tuple(homogeneous.shape)}")
    faces, uv_faces = triangles.to(torch.int32), uv_triangles.to(torch.int32)
    for name, indices, limit in (("triangles", faces, homogeneous.shape[-2]), ("uv_triangles", uv_faces, len(uv))):
        _check_indices(name, indices, limit)
    kernels = kernels_for(triangle_ids=ids, homogeneous=homogeneous, triangles=faces, uv=uv, uv_triangles=uv_faces)
    batches = ids.shape[0] if ids.ndim == 3 else 1
    ids_flat, depth_flat = ids.reshape(batches, -1), fragments.depth_m.reshape(batches, -1)
    mesh = [argument.detach() for argument in (homogeneous.reshape(batches, -1, 3), faces, uv, uv_faces)]
    if kernels == "numba":
        from .numba_kernels.mip_levels import uv_derivatives

        out = torch.empty(batches, ids_flat.shape[1], 4)
        ids_array, depth_array, *arrays = (argument.contiguous().numpy() for argument in (ids_flat, depth_flat, *mesh))
        uv_derivatives(ids_array, depth_array, ids.shape[-1], *arrays, out.numpy())
    else:
        from .torch_kernels.textures import uv_derivatives as plain_derivatives

        out = plain_derivatives(ids_flat, depth_flat, fragments.barycentric.reshape(batches, -1, 3), *mesh)
    return out.reshape(*ids.shape, 2, 2)


def mip_level(uv_per_px: torch.Tensor, size_hw: tuple[int, int]) -> torch.Tensor:
    """The level whose texels are as large as the longer side of the pixel's footprint (OpenGL 4.6 specification, section 8.14.1).

    Args:
        uv_per_px: (..., 2, 2), d uv_i / d px_j. size_hw: of the texture.

    Returns:
        (...) float, 0 = full size or magnified. Not differentiable.
    """
    check_shape("uv_per_px", uv_per_px, 2, 2)
    derivatives = uv_per_px.detach()
    height, width = size_hw
    most = float(num_mip_levels(size_hw) - 1)
    if kernels_for(uv_per_px=derivatives) == "numba":
        from .numba_kernels.mip_levels import mip_levels

        level = torch.empty(derivatives.shape[:-2], dtype=derivatives.dtype)
        mip_levels(derivatives.contiguous().numpy().reshape(-1, 4), height, width, most, level.numpy().reshape(-1))
        return level
    scale = torch.tensor([width, height], dtype=derivatives.dtype, device=derivatives.device)
    longer = (derivatives * scale[:, None]).square().sum(-2).amax(-1)
    return (0.5 * longer.clamp_min(1).log2()).clamp_max(most)


def sample(
    texture: torch.Tensor | MipPyramid, uv: torch.Tensor, *, uv_per_px: torch.Tensor | None = None, level: torch.Tensor | None = None,
    is_covered: torch.Tensor | None = None,
) -> torch.Tensor:
    """Looks a texture up.

    Args:
        texture: (h, w, C) or (B, h, w, C) float32 or float64, linear light, row 0 at v = 1; or its pyramid (made here when levels are wanted).
        uv: (..., 2), or (B, ..., 2) with a texture per item, same dtype; v up, clamped to the borders.
        uv_per_px: (..., 2, 2) from the function of that name: trilinear, the level from ``mip_level``.
        level: (...) the level itself, 0 = full size, clamped to those there are; at most one of the two. Neither: bilinear on level 0.
        is_covered: (...) bool; elsewhere the result is 0 and ``uv`` is not read.

    Returns:
        (..., C). Differentiable in the texture and, piecewise, in ``uv`` (zero beyond the borders), once (again only on the
        path "torch"); not in the level. On the CPU results and gradients are the same bit for bit for any number of
        threads; on CUDA the texture's gradient is added in any order.

    Raises:
        AvatarError: ``diverged`` when uv or level is not finite at a covered place.
        ValueError, TypeError: wrong shape, dtype or device.
    """
    pyramid = texture if isinstance(texture, MipPyramid) else None
    base = texture.texture if isinstance(texture, MipPyramid) else texture
    _check_texture(base)
    check_shape("uv", uv, 2)
    check_dtype("uv", uv, base.dtype)
    if base.ndim == 4 and (uv.ndim < 3 or uv.shape[0] != base.shape[0]):
        raise ValueError(f"uv must have shape ({base.shape[0]}, ..., 2) like texture, got {tuple(uv.shape)}")
    if uv_per_px is not None and level is not None:
        raise ValueError("give uv_per_px or level, not both")
    lead = uv.shape[:-1]
    if uv_per_px is not None:
        if uv_per_px.shape != (*lead, 2, 2):
            raise ValueError(f"uv_per_px must have shape {(*lead, 2, 2)}, got {tuple(uv_per_px.shape)}")
        level = mip_level(uv_per_px, tuple(base.shape[-3:-1]))
    if level is not None and level.shape != lead:
        raise ValueError(f"level must have shape {tuple(lead)}, got {tuple(level.shape)}")
    if is_covered is not None:
        check_dtype("is_covered", is_covered, torch.bool)
        if is_covered.shape != lead:
            raise ValueError(f"is_covered must have shape {tuple(lead)}, got {tuple(is_covered.shape)}")
    kernels = kernels_for(texture=base, uv=uv, level=level, is_covered=is_covered)
    if level is not None and pyramid is None:
        pyramid = mip_pyramid(base)
    batches = base.shape[0] if base.ndim == 4 else 1
    texels = base.reshape(batches, -1, base.shape[-1])
    coarse = pyramid.coarse.reshape(batches, -1, base.shape[-1]) if pyramid is not None and level is not None else texels[:, :0]
    sizes = pyramid.sizes if pyramid is not None and level is not None else _level_sizes(*base.shape[-3:-1])[:1]
    points = uv.reshape(batches, -1, 2)
    levels = None if level is None else level.detach().to(base.dtype).reshape(batches, -1)
    covered = None if is_covered is None else is_covered.reshape(batches, -1)
    if kernels == "numba":
        values = _NumbaSample.apply(texels, coarse, points, levels, covered, sizes)
    else:
        _check_lookup(points, levels, covered)
        if kernels == "warp" and base.dtype == torch.float32:
            values = _WarpSample.apply(texels, coarse, points, levels, covered, sizes)
        else:
            from .torch_kernels.textures import sample as plain_sample

            values = plain_sample(texels, coarse, points, levels, covered, sizes)
    return values.reshape(*lead, base.shape[-1])


@functools.lru_cache(maxsize=64)
def _level_sizes(height: int, width: int) -> np.ndarray:
    levels, start = [(height, width, 0)], 0
    while height > 1 or width > 1:
        height, width = max(height // 2, 1), max(width // 2, 1)
        levels.append((height, width, start))
        start += height * width
    sizes = np.array(levels, np.int64)
    sizes.setflags(write=False)
    return sizes


def _check_texture(texture: torch.Tensor) -> None:
    if texture.ndim not in (3, 4) or 0 in texture.shape[:-1]:
        raise ValueError(f"texture must have shape (h, w, C) or (B, h, w, C) with at least one texel, got {tuple(texture.shape)}")
    check_dtype("texture", texture, torch.float32, torch.float64)


def _check_indices(name: str, indices: torch.Tensor, limit: int) -> None:
    if len(indices) == 0:
        return
    low, high = torch.aminmax(indices)
    if int(low) < 0 or int(high) >= limit:
        raise ValueError(f"{name} must be indices below {limit}, got {int(low)}..{int(high)}")


def _check_lookup(uv: torch.Tensor, level: torch.Tensor | None, covered: torch.Tensor | None) -> None:
    uv = uv.detach()
    if covered is not None:
        uv = torch.where(covered[..., None], uv, torch.zeros_like(uv))
        level = None if level is None else torch.where(covered, level, torch.zeros_like(level))
    check_finite("uv", uv)
    if level is not None:
        check_finite("level", level)


def _arrays(*tensors: torch.Tensor | None) -> list[np.ndarray]:
    """Contiguous numpy views; None becomes the empty array that the kernels take for it."""
    return [np.zeros((0, 0), bool) if tensor is None else tensor.detach().contiguous().numpy() for tensor in tensors]


class _NumbaPyramid(torch.autograd.Function):
    @staticmethod
    def forward(ctx, texture, num_levels):  # noqa: ANN001 - signature set by torch
        from .numba_kernels.mip_levels import halve

        batches, height, width, channels = texture.shape
        sizes = _level_sizes(height, width)[:num_levels]
        coarse = torch.empty(batches, int((sizes[1:, 0] * sizes[1:, 1]).sum()), channels, dtype=texture.dtype)
        finer = texture.detach().contiguous().numpy()
        for view, (rows, columns, _) in zip(_level_views(coarse, sizes), sizes):
            halve(finer, halving_weights(int(rows)), halving_weights(int(columns)), view)
            finer = view
        ctx.shape, ctx.sizes = texture.shape, sizes
        return coarse

    @staticmethod
    @once_differentiable
    def backward(ctx, gradient):  # noqa: ANN001
        from .numba_kernels.mip_levels import halve_backward

        total = torch.zeros(ctx.shape, dtype=gradient.dtype)
        # Coarse levels pass their gradient on to finer ones; the caller's tensor must stay as it is.
        collected = gradient.contiguous().clone()
        views = [total.numpy(), *_level_views(collected, ctx.sizes)]
        for number in range(len(views) - 1, 0, -1):
            rows, columns, _ = ctx.sizes[number - 1]
            halve_backward(views[number], halving_weights(int(rows)), halving_weights(int(columns)), views[number - 1])
        return total, None


def _level_views(coarse: torch.Tensor, sizes: np.ndarray) -> list[np.ndarray]:
    array = coarse.numpy()
    return [array[:, start : start + rows * columns].reshape(len(array), rows, columns, -1) for rows, columns, start in sizes[1:]]


class _NumbaSample(torch.autograd.Function):
    @staticmethod
    def forward(ctx, texture, coarse, uv, level, covered, sizes):  # noqa: ANN001
        from .numba_kernels.textures import sample as kernel

        batches, _, channels = texture.shape
        texels, coarse_texels, points, is_covered = _arrays(texture, coarse, uv, covered)
        levels = None if level is None else _arrays(level)[0]
        values = torch.empty(batches, uv.shape[1], channels, dtype=texture.dtype)
        lookup = (sizes, points, levels, is_covered, (0,) * channels)
        if not kernel(texels.reshape(batches, -1), coarse_texels.reshape(batches, -1), *lookup, values.numpy()):
            _check_lookup(uv, level, covered)
            raise AvatarError("diverged", "uv or level is not finite.", "", {"argument": "uv"})
        ctx.save_for_backward(texture, coarse)
        ctx.lookup = lookup
        return values

    @staticmethod
    @once_differentiable
    def backward(ctx, gradient):  # noqa: ANN001
        from .numba_kernels.textures import texture_gradient, uv_gradient

        texture, coarse = ctx.saved_tensors
        batches = len(texture)
        upstream = gradient.contiguous().numpy()
        texture_grad = coarse_grad = uv_grad = None
        if ctx.needs_input_grad[0] or ctx.needs_input_grad[1]:
            texture_grad, coarse_grad = torch.zeros(texture.shape, dtype=texture.dtype), torch.zeros(coarse.shape, dtype=coarse.dtype)
            texture_gradient(*ctx.lookup, upstream, texture_grad.numpy().reshape(batches, -1), coarse_grad.numpy().reshape(batches, -1))
        if ctx.needs_input_grad[2]:
            uv_grad = torch.empty(*gradient.shape[:2], 2, dtype=texture.dtype)
            texels, coarse_texels = (values.reshape(batches, -1) for values in _arrays(texture, coarse))
            uv_gradient(texels, coarse_texels, *ctx.lookup, upstream, uv_grad.numpy())
        return texture_grad, coarse_grad, uv_grad, None, None, None


class _WarpSample(torch.autograd.Function):
    @staticmethod
    def forward(ctx, texture, coarse, uv, level, covered, sizes):  # noqa: ANN001
        from .warp_kernels.textures import sample as kernel

        tensors = [tensor if tensor is None else tensor.detach().contiguous() for tensor in (texture, coarse, uv, level, covered)]
        ctx.save_for_backward(*tensors)
        ctx.sizes = sizes
        return kernel(*tensors, sizes)

    @staticmethod
    @once_differentiable
    def backward(ctx, gradient):  # noqa: ANN001
        from .warp_kernels.textures import sample_backward

        wanted = (ctx.needs_input_grad[0] or ctx.needs_input_grad[1], ctx.needs_input_grad[2])
        return (*sample_backward(gradient.contiguous(), *ctx.saved_tensors, ctx.sizes, *wanted), None, None, None)
