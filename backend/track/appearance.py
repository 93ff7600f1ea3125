"""What a tracked face looks like: an albedo per surface point and the clip's light, estimated together with the track.

Colour = albedo times shade, shade = nine spherical-harmonic coefficients per channel (irradiance / pi, camera frame, fixed for
the clip) at the normal; section 5 of the metrical tracker's specification. The default head has no statistical albedo, so the
albedo is the weighted least-squares answer of the frames themselves. Everything is linear light; residuals are taken after the
sRGB curve.
"""

from __future__ import annotations

import dataclasses

import numpy as np

from ..capture.colour import srgb_decode, srgb_encode

MIN_SHADE = 0.05
ROUNDS = 3
OUTLIER = 0.05
"""sRGB residual from which a sample counts less (highlights, shadows, hair)."""
SKIN = np.array([0.40, 0.25, 0.20])
"""Colour of points that no frame shows, linear."""
_LIGHT_PRIOR = 1e-3


@dataclasses.dataclass(frozen=True)
class Appearance:
    """albedo: (N, 3) linear. light: (9, 3) irradiance / pi, camera frame. The mean shade over what was seen is 1."""

    albedo: np.ndarray
    light: np.ndarray

    def shade(self, basis: np.ndarray) -> np.ndarray:
        """(..., N, 9) harmonics at the normals to (..., N, 3)."""
        return np.maximum(basis @ self.light, MIN_SHADE)

    def colour(self, basis: np.ndarray) -> np.ndarray:
        """(..., N, 3) sRGB-encoded."""
        return srgb_encode(np.clip(self.albedo * self.shade(basis), 0, 1))


def even_light() -> np.ndarray:
    """(9, 3): every normal has shade 1."""
    light = np.zeros((9, 3))
    light[0] = 2 * np.sqrt(np.pi)
    return light


def estimate_appearance(colours: np.ndarray, basis: np.ndarray, weight: np.ndarray, light: np.ndarray) -> Appearance:
    """Albedo and light that explain what was seen, by turns.

    Args:
        colours: (F, N, 3) sRGB-encoded in [0, 1]. basis: (F, N, 9). weight: (F, N), 0 where a point was not seen.
        light: (9, 3) to start from.
    """
    linear = srgb_decode(colours)
    robust = weight
    appearance = Appearance(_albedo(linear, basis, robust, light), light)
    for _ in range(ROUNDS):
        appearance = Appearance(_albedo(linear, basis, robust, appearance.light), appearance.light)
        appearance = dataclasses.replace(appearance, light=_light(linear, basis, robust, appearance))
        error = np.abs(appearance.colour(basis) - colours).mean(-1)
        robust = weight * np.minimum(1, OUTLIER / np.maximum(error, 1e-6))
    mean = (robust[..., None] * appearance.shade(basis)).sum((0, 1)) / max(float(robust.sum()), 1e-9)
    mean = np.where(mean > 0, mean, 1.0)
    return Appearance(_albedo(linear, basis, robust, appearance.light / mean), appearance.light / mean)


def _albedo(linear: np.ndarray, basis: np.ndarray, weight: np.ndarray, light: np.ndarray) -> np.ndarray:
    shade = np.maximum(basis @ light, MIN_SHADE)
    return ((weight[..., None] * linear * shade).sum(0) + 1e-3 * SKIN) / ((weight[..., None] * shade**2).sum(0) + 1e-3)


def _light(linear: np.ndarray, basis: np.ndarray, weight: np.ndarray, appearance: Appearance) -> np.ndarray:
    light = appearance.light.copy()
    for channel in range(3):
        rows = basis * appearance.albedo[:, None, channel]
        weighted = (rows * weight[..., None]).reshape(-1, 9)
        normal = weighted.T @ rows.reshape(-1, 9)
        normal += np.eye(9) * (_LIGHT_PRIOR * np.trace(normal) / 9 + 1e-9)
        light[:, channel] = np.linalg.solve(normal, weighted.T @ linear[..., channel].reshape(-1))
    return light
