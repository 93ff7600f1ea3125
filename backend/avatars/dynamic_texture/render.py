"""Draws the head with its dynamic texture in the clip's light, or in another."""

from __future__ import annotations

from collections.abc import Collection

import numpy as np
import torch

from ...geometry.cameras import invert_rigid
from ...render.meshes import rasterise
from ...render.surface_normals import vertex_normals
from ...texture.light import ClipLight
from ..instant import Camera, Drive, Rendered
from .inputs import gather_inputs, head_orientation
from .lit_pixels import shade_lit
from .state import DynamicTexture


def inputs_of(state: DynamicTexture, drives: Drive, world_from_cam: np.ndarray | None, orientation: np.ndarray | None = None) -> np.ndarray:
    """(B, X) raw network inputs. The orientation is ``orientation`` (B, 3) rad when given, else towards the cameras (B, 4, 4), else the constant one."""
    if orientation is None and world_from_cam is not None:
        orientation = head_orientation(drives.world_from_root, drives.joint_rotations, state.joint_names, world_from_cam)
    if orientation is None:
        orientation = np.tile(state.exact.space.constant_orientation, (len(drives), 1))
    return gather_inputs(state.exact.space.names, state.control_names, drives.controls, state.joint_names, drives.joint_rotations, orientation)


def texture(state: DynamicTexture, drives: Drive, orientation: np.ndarray | None = None, amount: float = 1.0) -> np.ndarray:
    """The albedo of B instants.

    Args:
        state: what to paint. drives: B instants. orientation: (B, 3) rad towards the camera (``inputs.head_orientation``); None = the constant one.
        amount: 0 = the static texture, exactly; 1 = the network's.

    Returns:
        (B, S, S, 3) float32, linear light, row 0 is v = 1; outside the blending mask the static texture's own numbers.
    """
    return state.painter.paint(state.exact.offsets(inputs_of(state, drives, None, orientation)), amount)


def render(
    state: DynamicTexture, drives: Drive, cameras: Camera, light: ClipLight | None = None, want: Collection[str] = ("colour", "alpha", "depth"),
    supersample: int = 2, amount: float = 1.0,
) -> Rendered:
    """Draws B instants.

    Args:
        state: what to draw. drives: B poses. cameras: B cameras, one picture size.
        light: None = the clip's own, with the texture as the camera saw it from there. Another light = lit anew: the texture is asked for the constant
            orientation, so that it does not change when only the camera moves.
        want: which of "colour", "alpha" and "depth" to make. supersample: samples per pixel and axis.
        amount: how much of the dynamic texture; 0 = static texture, exactly.

    Returns:
        Premultiplied linear colour, alpha, depth in metres.
    """
    inputs = inputs_of(state, drives, cameras.world_from_cam if light is None else None)
    shown = state.light if light is None else light
    height, width = cameras.size_hw
    size_hw = (height * supersample, width * supersample)
    colours, alphas, depths = [], [], []
    for index in range(len(drives)):
        vertices = state.mesh.head.pose(
            torch.from_numpy(np.asarray(drives.controls[index], np.float32)), torch.from_numpy(np.asarray(drives.joint_rotations[index], np.float32))
        ).numpy()
        cam_from_root = invert_rigid(cameras.world_from_cam[index]) @ drives.world_from_root[index]
        in_cam = (vertices @ cam_from_root[:3, :3].T + cam_from_root[:3, 3]).astype(np.float32)
        fragments = rasterise(in_cam, state.mesh.triangles, np.diag([supersample, supersample, 1.0]) @ cameras.px_from_cam[index], size_hw)
        if "colour" in want or "alpha" in want:
            albedo = state.painter.paint(state.exact.offsets(inputs[index : index + 1]), amount)[0]
            from_cam = np.eye(3) if shown.frame == "camera" else cameras.world_from_cam[index][:3, :3]
            normals = vertex_normals(torch.from_numpy(in_cam), torch.from_numpy(state.mesh.triangles)).numpy() @ from_cam.T.astype(np.float32)
            colour, alpha = np.empty((height, width, 3), np.float32), np.empty((height, width), np.float32)
            shade_lit(
                fragments.triangle_ids.numpy(), fragments.barycentric.numpy(), state.mesh.triangles, state.mesh.corner_uv, np.ascontiguousarray(normals, np.float32),
                albedo, np.asarray(shown.sh, np.float32), np.asarray(shown.tint, np.float32), supersample, colour, alpha,
            )
            colours.append(torch.from_numpy(colour))
            alphas.append(torch.from_numpy(alpha))
        if "depth" in want:
            depths.append(fragments.depth_m.reshape(height, supersample, width, supersample).amin((1, 3)))
    stack = lambda pictures, *tail: torch.stack(pictures) if pictures else torch.zeros(0, height, width, *tail)  # noqa: E731
    return Rendered(
        stack(colours, 3) if "colour" in want else None, stack(alphas) if "alpha" in want else None, stack(depths) if "depth" in want else None
    )
