"""Draws the tracked head with any texture: the surface is found once per frame, then coloured as often as there are columns to compare.

A pixel is the mean of ``SUPERSAMPLE``² samples; a sample shows the texture where it lies, times the shade of its normal when the texture is
lit. All of it in linear light. Which triangles are drawn is the textured mesh's own choice.
"""

from __future__ import annotations

import dataclasses
import functools

import numba
import numpy as np
import torch

from ..avatars.instant import Camera, Drive
from ..avatars.textured_mesh import TexturedMesh
from ..geometry.cameras import invert_rigid
from ..render.interpolation import interpolate_covered
from ..render.meshes import rasterise
from ..render.surface_normals import vertex_normals
from ..texture.light import ClipLight

SUPERSAMPLE = 2


@dataclasses.dataclass(frozen=True)
class DrawnSurface:
    """What the head shows in one picture. P covered samples.

    pixel: (P,) int32, flat index of the pixel of each sample. uv: (P, 2) float32, v up. normals: (P, 3) float32 unit, world frame.
    alpha: (H, W) float32, share of covered samples. world_from_cam: (4, 4).
    """

    pixel: np.ndarray
    uv: np.ndarray
    normals: np.ndarray
    alpha: np.ndarray
    world_from_cam: np.ndarray
    _shades: dict[int, tuple[ClipLight, np.ndarray]] = dataclasses.field(default_factory=dict, init=False, repr=False, compare=False)

    def colour(self, texture: np.ndarray, light: ClipLight | None = None) -> np.ndarray:
        """(H, W, 3) float32, linear, premultiplied with alpha.

        Args:
            texture: (S, S, 3) float32 linear, row 0 is v = 1. light: falls on it; None = unlit.
        """
        picture = np.zeros((self.alpha.size, 3), np.float32)
        _paint(self.pixel, self.uv, np.ascontiguousarray(texture, np.float32), self._shade(light), np.float32(1 / SUPERSAMPLE**2), picture)
        return picture.reshape(*self.alpha.shape, 3)

    def _shade(self, light: ClipLight | None) -> np.ndarray:
        """(P, 3) float32; (1, 3) of ones without a light. Computed once for each light: several textures are lit alike."""
        if light is None:
            return np.ones((1, 3), np.float32)
        if id(light) not in self._shades:
            self._shades[id(light)] = (light, np.ascontiguousarray(light.shade(self.normals, self.world_from_cam), dtype=np.float32))
        return self._shades[id(light)][1]

    def average(self, image: np.ndarray) -> np.ndarray:
        """(H, W) float32: a one-channel texture (S, S) in [0, 1] as it appears, premultiplied with alpha."""
        return self.colour(np.repeat(np.asarray(image, np.float32)[..., None], 3, axis=2))[..., 0]


def draw_surface(state: TexturedMesh, drive: Drive, camera: Camera) -> DrawnSurface:
    """Finds the surface of one instant.

    Args:
        state: the head; its texture is not read. drive, camera: of one instant.
    """
    height, width = camera.size_hw
    as_float = lambda values: torch.from_numpy(np.asarray(values, np.float32))  # noqa: E731
    vertices = state.head.pose(as_float(drive.controls[0]), as_float(drive.joint_rotations[0]))
    cam_from_root = invert_rigid(camera.world_from_cam[0]) @ drive.world_from_root[0]
    px_from_cam = np.diag([SUPERSAMPLE, SUPERSAMPLE, 1.0]) @ camera.px_from_cam[0]
    fragments = rasterise(
        vertices.numpy() @ cam_from_root[:3, :3].T + cam_from_root[:3, 3], state.triangles, px_from_cam, (height * SUPERSAMPLE, width * SUPERSAMPLE)
    )
    rows, columns = np.divmod(fragments.covered.pixels.numpy(), width * SUPERSAMPLE)
    pixel = (rows // SUPERSAMPLE * width + columns // SUPERSAMPLE).astype(np.int32)
    world_normals = vertex_normals(vertices, torch.from_numpy(state.triangles)) @ as_float(drive.world_from_root[0, :3, :3]).T
    corners = torch.cat([torch.from_numpy(state.corner_uv), world_normals[torch.from_numpy(state.triangles).long()]], -1)
    values = interpolate_covered(fragments.covered, torch.from_numpy(state.triangles), corners)
    normals = torch.nn.functional.normalize(values[:, 2:], dim=-1).numpy()
    alpha = np.bincount(pixel, minlength=height * width).astype(np.float32) / SUPERSAMPLE**2
    return DrawnSurface(pixel, np.ascontiguousarray(values[:, :2].numpy()), normals, alpha.reshape(height, width), camera.world_from_cam[0])


@numba.njit(cache=True)
def _paint(pixel, uv, texture, shade, share, picture):  # type: ignore[no-untyped-def]  # pragma: no cover - compiled
    """Adds every sample to its pixel; bilinear lookup, texel centres at (i + 0.5) / n, clamped at the border."""
    rows, cols = texture.shape[:2]
    is_lit = len(shade) > 1
    for i in range(len(pixel)):
        x = min(max(uv[i, 0] * cols - np.float32(0.5), np.float32(0)), np.float32(cols - 1))
        y = min(max((1 - uv[i, 1]) * rows - np.float32(0.5), np.float32(0)), np.float32(rows - 1))
        left, top = int(x), int(y)
        right, bottom = min(left + 1, cols - 1), min(top + 1, rows - 1)
        fx, fy = np.float32(x - left), np.float32(y - top)
        a, b, c, d = (1 - fx) * (1 - fy), fx * (1 - fy), (1 - fx) * fy, fx * fy
        k = i if is_lit else 0
        for channel in range(3):
            value = a * texture[top, left, channel] + b * texture[top, right, channel] + c * texture[bottom, left, channel] + d * texture[bottom, right, channel]
            picture[pixel[i], channel] += share * shade[k, channel] * value


def encode(linear: np.ndarray) -> np.ndarray:
    """Linear light to sRGB, float32, by table (4096 steps of square-root light: error below 1/2000)."""
    codes = np.sqrt(np.clip(linear, 0, 1)) * np.float32(4095)
    return _table()[np.round(codes).astype(np.int32)]


@functools.cache
def _table() -> np.ndarray:
    linear = (np.arange(4096) / 4095) ** 2
    return np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055).astype(np.float32)
