"""Draws the textured mesh. The clip's light is in the texture, so none is added."""

from __future__ import annotations

from collections.abc import Collection

import numpy as np
import torch

from ...errors import AvatarError
from ...geometry.cameras import invert_rigid
from ...render.meshes import rasterise, sample_texture
from ..instant import Camera, Drive, Rendered
from .state import TexturedMesh


def render(
    state: TexturedMesh, drives: Drive, cameras: Camera, light: object | None = None, want: Collection[str] = ("colour", "alpha", "depth"), supersample: int = 2
) -> Rendered:
    """Draws B instants.

    Args:
        state: what to draw. drives: B poses. cameras: B cameras, one picture size.
        light: must be None; relighting needs a de-lit texture.
        want: which of "colour", "alpha" and "depth" to make.
        supersample: samples per pixel and axis; colour and alpha are their mean, depth is the nearest.

    Returns:
        Premultiplied linear colour, alpha, depth in metres.

    Raises:
        AvatarError: bad_request when a light is given.
    """
    if light is not None:
        raise AvatarError("bad_request", "The static texture still holds the clip's light, so it cannot be lit anew.", "Render without a light.", {"field": "light"})
    height, width = cameras.size_hw
    size_hw = (height * supersample, width * supersample)
    colours, alphas, depths = [], [], []
    for index in range(len(drives)):
        vertices = state.head.pose(
            torch.from_numpy(np.asarray(drives.controls[index], np.float32)), torch.from_numpy(np.asarray(drives.joint_rotations[index], np.float32))
        ).numpy()
        cam_from_root = invert_rigid(cameras.world_from_cam[index]) @ drives.world_from_root[index]
        px_from_cam = np.diag([supersample, supersample, 1.0]) @ cameras.px_from_cam[index]
        fragments = rasterise(vertices @ cam_from_root[:3, :3].T + cam_from_root[:3, 3], state.triangles, px_from_cam, size_hw)
        if "colour" in want:
            colours.append(_pooled(_colour(state, fragments.triangle_ids, fragments.barycentric), supersample))
        if "alpha" in want:
            alphas.append(_pooled((fragments.triangle_ids >= 0).float()[..., None], supersample)[..., 0])
        if "depth" in want:
            depths.append(fragments.depth_m.reshape(height, supersample, width, supersample).amin((1, 3)))
    stack = lambda pictures, *tail: torch.stack(pictures) if pictures else torch.zeros(0, height, width, *tail)  # noqa: E731
    return Rendered(
        stack(colours, 3) if "colour" in want else None, stack(alphas) if "alpha" in want else None, stack(depths) if "depth" in want else None
    )


def _colour(state: TexturedMesh, ids: torch.Tensor, barycentric: torch.Tensor) -> torch.Tensor:
    """(H, W, 3) linear, 0 on the background."""
    is_covered = ids >= 0
    corner_uv = torch.from_numpy(state.corner_uv)[ids[is_covered].long()]
    uv = (corner_uv * barycentric[is_covered][..., None]).sum(1)
    picture = torch.zeros(*ids.shape, 3)
    picture[is_covered] = sample_texture(state.texture, uv)
    return picture


def _pooled(picture: torch.Tensor, factor: int) -> torch.Tensor:
    height, width, channels = picture.shape
    return picture.reshape(height // factor, factor, width // factor, factor, channels).mean((1, 3))
