"""The light of a clip: nine grey coefficients and one tint. numpy and standard library only, so that it can be read inside Blender too."""

from __future__ import annotations

import dataclasses
import math

import numpy as np

MIN_SHADE = 0.2
"""No place is darker than this share of the clip's usual light: what SH of degree 2 say below it is ringing or a cast shadow (spec 13.7)."""
FRAMES = ("world", "camera")
_Y0, _Y1, _Y2 = 0.5 * math.sqrt(1 / math.pi), math.sqrt(3 / (4 * math.pi)), 0.5 * math.sqrt(15 / math.pi)
_Y20, _Y22 = 0.25 * math.sqrt(5 / math.pi), 0.25 * math.sqrt(15 / math.pi)


def harmonics(directions: np.ndarray) -> np.ndarray:
    """(..., 9) real spherical harmonics of (..., 3) unit vectors, order 1 | y z x | xy yz 3z²-1 xz x²-y² (that of ``render.shading.sh_basis``)."""
    x, y, z = np.moveaxis(np.asarray(directions), -1, 0)
    return np.stack(
        [np.full_like(x, _Y0), _Y1 * y, _Y1 * z, _Y1 * x, _Y2 * x * y, _Y2 * y * z, _Y20 * (3 * z * z - 1), _Y2 * x * z, _Y22 * (x * x - y * y)], -1
    )


@dataclasses.dataclass(frozen=True)
class ClipLight:
    """Light that is the same for all frames of a clip. A pixel shows albedo times ``shade``, in linear light.

    sh: (9,) float32, grey irradiance / pi. The gauge: its mean shade over the skin that the clip showed is 1.
    tint: (3,) float32, colour of all light, mean 1.
    frame: "world" when the light stands still while the head turns, "camera" when it turns with the camera (a chair turn filmed by a fixed rig).
    """

    sh: np.ndarray
    tint: np.ndarray
    frame: str = "world"

    def __post_init__(self) -> None:
        if np.shape(self.sh) != (9,) or np.shape(self.tint) != (3,) or self.frame not in FRAMES:
            raise ValueError(f"a light has 9 coefficients, 3 tints and a frame of {FRAMES}, got {np.shape(self.sh)}, {np.shape(self.tint)}, {self.frame!r}")

    @property
    def coefficients(self) -> np.ndarray:
        """(9, 3) float32, the same light as ``render.shading.shade`` takes it (which knows no ``MIN_SHADE``)."""
        return (np.asarray(self.sh, np.float32)[:, None] * np.asarray(self.tint, np.float32)).astype(np.float32)

    def shade(self, normals_world: np.ndarray, world_from_cam: np.ndarray | None = None) -> np.ndarray:
        """What a white matte surface shows.

        Args:
            normals_world: (..., 3) unit, world frame.
            world_from_cam: (4, 4) or (3, 3), the camera; needed when the light is fixed to it, else ignored.

        Returns:
            (..., 3), linear, grey part not below ``MIN_SHADE``.
        """
        normals = np.asarray(normals_world)
        if self.frame == "camera":
            if world_from_cam is None:
                raise ValueError("this light is fixed to the camera, so its place must be given")
            normals = normals @ np.asarray(world_from_cam)[:3, :3].astype(normals.dtype)
        grey = np.maximum(harmonics(normals) @ np.asarray(self.sh, normals.dtype), MIN_SHADE)
        return grey[..., None] * np.asarray(self.tint, normals.dtype)


def even_light(frame: str = "world") -> ClipLight:
    """The light under which every surface shows its albedo."""
    sh = np.zeros(9, np.float32)
    sh[0] = 1 / _Y0
    return ClipLight(sh, np.ones(3, np.float32), frame)
