"""The light of a synthetic clip: a soft sky and two lamps, as spherical harmonics and as lamps for a path tracer."""

from __future__ import annotations

import dataclasses

import numpy as np
import torch

from ..render.shading import NUM_SH, sh_basis

_LOBE = np.array([np.pi] + [2 * np.pi / 3] * 3 + [np.pi / 4] * 5)
"""Ramamoorthi and Hanrahan 2001, equation 8: the cosine lobe's factor per band."""

_LUMINANCE = np.array([0.2126, 0.7152, 0.0722])
_FACE_LEVEL = 0.40
"""Mean linear luminance a camera aims at for a face."""


@dataclasses.dataclass(frozen=True)
class Lamp:
    """direction: (3,) unit vector from the head to the lamp, world frame. irradiance: (3,) on a surface facing it, linear.

    distance_m, size_m: of the square area lamp the path tracer uses.
    """

    direction: np.ndarray
    irradiance: np.ndarray
    distance_m: float
    size_m: float


@dataclasses.dataclass(frozen=True)
class Light:
    """sky, ground: (3,) radiance straight up and down, blended linearly with height. lamps: the key light first."""

    sky: np.ndarray
    ground: np.ndarray
    lamps: tuple[Lamp, ...]

    def coefficients(self) -> np.ndarray:
        """(9, 3) float32 irradiance / pi in the world frame (Y up)."""
        up = sh_basis(torch.tensor([0.0, 1.0, 0.0], dtype=torch.float64)).numpy()
        light = np.zeros((NUM_SH, 3))
        light[0] = (self.sky + self.ground) / 2 / up[0]
        light[1] = (self.sky - self.ground) / 2 * (2 / 3) / up[1]
        for lamp in self.lamps:
            basis = sh_basis(torch.from_numpy(lamp.direction)).numpy()
            light += (basis * _LOBE / np.pi)[:, None] * lamp.irradiance
        return light.astype(np.float32)

    def exposed_for(self, albedo: np.ndarray) -> "Light":
        """The same light as a phone would expose it for a face of this linear (3,) albedo: mostly, not wholly, evened out."""
        facing = np.array([[0, 0, 1.0], [0.6, 0, 0.8], [-0.6, 0, 0.8], [0, 0.5, 0.866]])
        level = float((sh_basis(torch.from_numpy(facing)).numpy() @ self.coefficients().astype(np.float64)).mean()) * float(albedo @ _LUMINANCE)
        gain = float(np.clip((_FACE_LEVEL / level) ** 0.75, 0.5, 3.0))
        lamps = tuple(dataclasses.replace(lamp, irradiance=lamp.irradiance * gain) for lamp in self.lamps)
        return Light(self.sky * gain, self.ground * gain, lamps)


def draw_light(rng: np.random.Generator) -> Light:
    """A random room: key light from one side above, weaker fill from the other, sky brighter than ground; about neutral."""
    warmth = rng.uniform(-1, 1)
    tint = np.array([1 + 0.05 * warmth, 1.0, 1 - 0.07 * warmth])
    side = rng.choice([-1.0, 1.0])
    key = _lamp(side * rng.uniform(18, 50), rng.uniform(22, 42), tint * np.pi * rng.uniform(0.50, 0.70), rng.uniform(1.3, 2.0), rng.uniform(0.4, 0.9))
    fill = _lamp(-side * rng.uniform(40, 75), rng.uniform(0, 20), (2 - tint) * np.pi * rng.uniform(0.10, 0.22), 1.8, 1.2)
    base = rng.uniform(0.26, 0.36)
    return Light(base * 1.25 * (2 - tint), base * 0.6 * tint, (key, fill))


def _lamp(azimuth_deg: float, elevation_deg: float, irradiance: np.ndarray, distance_m: float, size_m: float) -> Lamp:
    azimuth, elevation = np.radians([azimuth_deg, elevation_deg])
    direction = np.array([np.sin(azimuth) * np.cos(elevation), np.sin(elevation), np.cos(azimuth) * np.cos(elevation)])
    return Lamp(direction, np.asarray(irradiance), distance_m, size_m)
