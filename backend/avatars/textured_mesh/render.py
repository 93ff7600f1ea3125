"""Draws the textured mesh. The clip's light is in the texture, so none is added."""

from __future__ import annotations

from collections.abc import Collection

import numpy as np
import torch

from ...errors import AvatarError
from ...geometry.cameras import invert_rigid
from ...render.meshes import rasterise
from ..instant import Camera, Drive, Rendered
from ..textured_head import TexturedMesh
from .shade import shade


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
        if "colour" in want or "alpha" in want:
            colour, alpha = np.empty((height, width, 3), np.float32), np.empty((height, width), np.float32)
            shade(fragments.triangle_ids.numpy(), fragments.barycentric.numpy(), state.corner_uv, state.texture.numpy(), supersample, colour, alpha)
            colours.append(torch.from_numpy(colour))
            alphas.append(torch.from_numpy(alpha))
        if "depth" in want:
            depths.append(fragments.depth_m.reshape(height, supersample, width, supersample).amin((1, 3)))
    stack = lambda pictures, *tail: torch.stack(pictures) if pictures else torch.zeros(0, height, width, *tail)  # noqa: E731
    return Rendered(
        stack(colours, 3) if "colour" in want else None, stack(alphas) if "alpha" in want else None, stack(depths) if "depth" in want else None
    )

