"""What the rasteriser leaves at each pixel, and the covered pixels alone."""

from __future__ import annotations

import dataclasses
import functools
from typing import Any

import torch

from ..geometry.shapes import check_shape
from .kernel_choice import kernels_for
from .numba_kernels import interpolation as numba_interpolation
from .numba_kernels.meshes import barycentric_into
from .torch_kernels import interpolation as torch_interpolation

_COMPILED = (torch.float32, torch.float64)
"""Other dtypes go through torch's indexing, which takes about three times as long."""


@dataclasses.dataclass(frozen=True)
class Fragments:
    """What each pixel sees. All arrays may have one leading batch dimension B.

    triangle_ids: (H, W) int32, -1 = background. depth_m: (H, W) float32, z in the camera frame, inf = background.
    homogeneous: (V, 3) float64 (float32 where the device has no float64), K times the camera-frame vertices that were drawn:
        (x_px z, y_px z, z). triangles: (F, 3) int32, the triangles that were drawn. None of them has gradients.
    """

    triangle_ids: torch.Tensor
    depth_m: torch.Tensor
    homogeneous: torch.Tensor
    triangles: torch.Tensor

    @property
    def is_covered(self) -> torch.Tensor:
        """(H, W) bool."""
        return self.triangle_ids >= 0

    @property
    def size_hw(self) -> tuple[int, int]:
        return tuple(self.triangle_ids.shape[-2:])  # type: ignore[return-value]

    @functools.cached_property
    def barycentric(self) -> torch.Tensor:
        """(H, W, 3) float32, perspective-correct weights of the triangle's corners, 0 on the background. Computed when first asked for."""
        shape = (*self.triangle_ids.shape, 3)
        if kernels_for(triangle_ids=self.triangle_ids) == "numba":
            weights = torch.empty(shape)
            pictures = self.triangle_ids.reshape(-1, *self.size_hw)
            barycentric_into(batched(self.homogeneous).numpy(), self.triangles.numpy(), pictures.numpy(), weights.view(*pictures.shape, 3).numpy())
            return weights
        places = self.covered
        weights = torch_interpolation.barycentric(batched(self.homogeneous), self.triangles, places.triangle_ids, places.pixels, self.size_hw)
        return places.scatter(weights.float())

    @functools.cached_property
    def covered(self) -> Covered:
        """The covered pixels. Computed when first asked for."""
        flat = self.triangle_ids.reshape(-1, self.size_hw[0] * self.size_hw[1])
        if kernels_for(triangle_ids=self.triangle_ids) == "numba":
            arrays = numba_interpolation.covered_pixels(flat.numpy(), len(self.triangles))
            pixels, triangle_ids, seen, starts = (torch.from_numpy(array) for array in arrays)
            return Covered(pixels, triangle_ids, self.triangle_ids.shape, self.homogeneous, self.triangles, seen, starts)
        pixels, triangle_ids = torch_interpolation.covered_pixels(flat, len(self.triangles))
        return Covered(pixels, triangle_ids, self.triangle_ids.shape, self.homogeneous, self.triangles)


@dataclasses.dataclass(frozen=True)
class Covered:
    """The covered pixels alone, for trainers that shade nothing else; sorted by picture, triangle, row and column.

    pixels: (P,) int64, index into the flattened (B, H, W) pictures. triangle_ids: (P,) int32.
    shape: (H, W) or (B, H, W), of the pictures. homogeneous, triangles: see ``Fragments``.
    seen: (N,) int64, picture * F + triangle of every triangle with pixels, ascending; starts: (N + 1,) int64, where its pixels
        start. Both None but for numba's kernels.
    """

    pixels: torch.Tensor
    triangle_ids: torch.Tensor
    shape: torch.Size
    homogeneous: torch.Tensor
    triangles: torch.Tensor
    seen: torch.Tensor | None = None
    starts: torch.Tensor | None = None

    def __len__(self) -> int:
        return len(self.pixels)

    @property
    def size_hw(self) -> tuple[int, int]:
        return tuple(self.shape[-2:])  # type: ignore[return-value]

    @property
    def num_pictures(self) -> int:
        return self.shape[0] if len(self.shape) == 3 else 1

    def scatter(self, values: torch.Tensor, background: float = 0.0) -> torch.Tensor:
        """(P, C) values of the covered pixels to pictures (H, W, C) or (B, H, W, C); differentiable in ``values``."""
        check_shape("values", values, len(self.pixels), None)
        if kernels_for(pixels=self.pixels, values=values) == "numba" and values.dtype in _COMPILED:
            picture = _NumbaScatter.apply(values, self.pixels, self.shape.numel(), background)
        else:
            picture = torch.full((self.shape.numel(), values.shape[-1]), background, dtype=values.dtype, device=values.device)
            picture.index_copy_(0, self.pixels, values)
        return picture.view(*self.shape, values.shape[-1])

    def gather(self, pictures: torch.Tensor) -> torch.Tensor:
        """(P, C) values of pictures (H, W, C) or (B, H, W, C) at the covered pixels, such as a target's; differentiable."""
        check_shape("pictures", pictures, *self.shape, None)
        flat = pictures.reshape(-1, pictures.shape[-1])
        if kernels_for(pixels=self.pixels, pictures=pictures) == "numba" and pictures.dtype in _COMPILED:
            return _NumbaGather.apply(flat, self.pixels)
        return flat.index_select(0, self.pixels)


def batched(array: torch.Tensor) -> torch.Tensor:
    """(V, C) -> (1, V, C); (B, V, C) stays."""
    return array if array.ndim == 3 else array[None]


class _NumbaScatter(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, values: torch.Tensor, pixels: torch.Tensor, size: int, background: float) -> torch.Tensor:
        ctx.save_for_backward(pixels)
        picture = torch.full((size, values.shape[1]), background, dtype=values.dtype)
        numba_interpolation.scatter_into(pixels.numpy(), values.detach().contiguous().numpy(), picture.numpy())
        return picture

    @staticmethod
    def backward(ctx: Any, upstream: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        return _NumbaGather.apply(upstream, *ctx.saved_tensors), None, None, None


class _NumbaGather(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, pictures: torch.Tensor, pixels: torch.Tensor) -> torch.Tensor:
        ctx.save_for_backward(pixels)
        ctx.size = len(pictures)
        values = torch.empty((len(pixels), pictures.shape[1]), dtype=pictures.dtype)
        numba_interpolation.gather_into(pixels.numpy(), pictures.detach().contiguous().numpy(), values.numpy())
        return values

    @staticmethod
    def backward(ctx: Any, upstream: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        return _NumbaScatter.apply(upstream, *ctx.saved_tensors, ctx.size, 0.0), None
