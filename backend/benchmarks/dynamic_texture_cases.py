"""What training the dynamic texture asks of the renderers: frames prepared once, painted canvases looked up at every step."""

from __future__ import annotations

from pathlib import Path

import torch

from ..render.interpolation import interpolate
from ..render.meshes import rasterise, sample_texture
from ..render.shading import linear_from_srgb, srgb_from_linear
from ..render.textures import sample
from .case import Case
from .head_scene import HeadScene

_FRAMES, _SIDE, _CANVAS_PX, _TEXTURE_PX = 4, 256, 256, 1024


def cases(scene: HeadScene, prototypes_folder: Path | None) -> list[Case]:
    """One batch at the size of preset standard."""
    del prototypes_folder  # no prototype does this
    fragments = rasterise(scene.vertices_cam_m(1)[0], scene.triangles, scene.px_from_cam(_SIDE), (_SIDE, _SIDE))
    uv = interpolate(fragments, scene.uv_triangles, scene.uv)[fragments.is_covered]
    albedo = scene.texture(_TEXTURE_PX)
    # Frames cover different numbers of pixels: the batch is filled up, and what fills it is marked.
    places = uv.expand(_FRAMES, -1, 2).contiguous()
    is_covered = torch.ones(places.shape[:2], dtype=torch.bool, device=places.device)
    is_covered[1::2, -len(uv) // 8 :] = False
    canvas = torch.rand(_FRAMES, _CANVAS_PX, _CANVAS_PX, 3, generator=torch.Generator().manual_seed(0)).to(scene.device)

    def prepare() -> object:
        return sample_texture(albedo, interpolate(fragments, scene.uv_triangles, scene.uv)[fragments.is_covered])

    def step() -> object:
        painted = canvas.detach().requires_grad_()
        looked_up = sample(painted, places, is_covered=is_covered)
        return torch.autograd.grad(srgb_from_linear(linear_from_srgb(looked_up)).sum(), painted)

    size = f"{_FRAMES} x {_SIDE} x {_SIDE}"
    return [
        Case(f"dynamic.prepare.{_SIDE}", f"Albedo at every covered pixel of a frame, {_SIDE} x {_SIDE}", prepare),
        Case(f"dynamic.step.{_FRAMES}x{_SIDE}", f"Canvases of {_CANVAS_PX} px looked up, to linear light and back, forward and backward, {size}", step),
    ]
