"""Texture lookup, forward and backward, on the texture coordinates that a picture of the head really has."""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path

import torch

from ..render.interpolation import homogeneous_from_cam
from ..render.meshes import interpolate_covered, rasterise
from ..render.textures import mip_level, sample, uv_per_px
from .case import Case
from .head_scene import HeadScene

_SIZES_PX = (128, 256, 512, 1024)
_TEXTURE_PX = 512


def cases(scene: HeadScene, prototypes_folder: Path | None) -> list[Case]:
    """Bilinear against torch's own ``grid_sample``, and the same with mip levels."""
    del prototypes_folder
    return [case for side in _SIZES_PX for case in _cases_at(scene, side)]


def _cases_at(scene: HeadScene, side: int) -> list[Case]:
    vertices, matrix = scene.vertices_cam_m(1)[0], scene.px_from_cam(side)
    fragments = rasterise(vertices, scene.triangles, matrix, (side, side))
    homogeneous = homogeneous_from_cam(vertices, matrix)
    # Like the trainers: the covered pixels alone.
    uv = interpolate_covered(fragments.covered, scene.uv_triangles, scene.uv)
    steps = uv_per_px(fragments, homogeneous, scene.triangles, scene.uv, scene.uv_triangles).reshape(-1, 2, 2)[fragments.covered.pixels.long()]
    texture = scene.texture(_TEXTURE_PX)
    upstream = torch.rand(len(uv), 3, generator=torch.Generator().manual_seed(0)).to(scene.device)
    plane = texture.permute(2, 0, 1)[None].contiguous()
    places = torch.stack([2 * uv[..., 0] - 1, 1 - 2 * uv[..., 1]], -1)[None, None].contiguous()
    upstream_plane = upstream.T[None, :, None].contiguous()

    def bilinear() -> object:
        inputs = (texture.detach().requires_grad_(), uv.detach().requires_grad_())
        return torch.autograd.grad(sample(*inputs), inputs, upstream)

    def grid_sample() -> object:
        inputs = (plane.detach().requires_grad_(), places.detach().requires_grad_())
        return torch.autograd.grad(torch.nn.functional.grid_sample(*inputs, padding_mode="border", align_corners=False), inputs, upstream_plane)

    def trilinear() -> object:
        inputs = (texture.detach().requires_grad_(), uv.detach().requires_grad_())
        return torch.autograd.grad(sample(*inputs, uv_per_px=steps), inputs, upstream)

    levels: Callable[[], object] = functools.partial(_levels, fragments, homogeneous, scene)
    name = f"textures.bilinear.{side}"
    return [
        Case(
            name, f"Texture lookup, bilinear, forward and backward to texture and uv, {side} x {side}", bilinear, grid_sample,
            "torch grid_sample", size=side * side, curve="textures.bilinear",
        ),
        Case(
            f"textures.mip.{side}", f"The same with mip levels, made anew from the texture, {side} x {side}", trilinear, cost_of=name, size=side * side, curve="textures.mip",
        ),
        Case(f"textures.levels.{side}", f"Level of every pixel, {side} x {side}", levels),
    ]


def _levels(fragments, homogeneous: torch.Tensor, scene: HeadScene) -> torch.Tensor:  # noqa: ANN001
    return mip_level(uv_per_px(fragments, homogeneous, scene.triangles, scene.uv, scene.uv_triangles), (_TEXTURE_PX, _TEXTURE_PX))
