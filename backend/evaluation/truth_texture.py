"""Textures against painted truth: how right albedo, light and the changes of the texture are on a synthetic clip (docs/evaluation.md).

The truth lies in the rig's own texture space, and so does the avatar's, so a texel is compared with itself. What a wrong track smears counts as
error. Light and albedo are known only up to one gain per channel: it is taken out before anything is compared.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import cv2
import numpy as np
from scipy.ndimage import gaussian_filter

from ..capture.colour import srgb_encode
from ..synth.expression_texture import ExpressionTexture
from ..texture.light import ClipLight, harmonics
from .rounding import number

LUMINANCE = np.array([0.2126, 0.7152, 0.0722])
HIGH_PASS_PX = 12.0
"""Standard deviation of the blur that is taken away to get the fine detail, of 1024 texels."""
MIN_CHANGE = 0.02
"""A texel changes when the truth moves it by so much (sRGB) in one of the frames compared."""
CONE_DEG = 70.0
"""Lights are compared on normals within this angle of the direction to the camera: what a face shows."""


@dataclasses.dataclass(frozen=True)
class PaintedTruth:
    """albedo: (S, S, 3) float32 linear, without any expression. layers: what expressions add; None when nothing changes. light: (9, 3), world frame."""

    albedo: np.ndarray
    layers: ExpressionTexture | None
    light: np.ndarray

    def texture(self, frame: int, size_px: int) -> np.ndarray:
        """(size, size, 3) float32 linear, the true texture of a frame."""
        whole = self.albedo if self.layers is None else self.layers.texture(self.albedo, self.layers.weights[frame])
        return resized(whole, size_px)


def resized(image: np.ndarray, size_px: int) -> np.ndarray:
    """A square image with another side; means over areas when it shrinks."""
    if len(image) == size_px:
        return image
    return cv2.resize(image, (size_px, size_px), interpolation=cv2.INTER_AREA if len(image) > size_px else cv2.INTER_LINEAR)


def channel_gains(made: np.ndarray, true: np.ndarray) -> np.ndarray:
    """(3,) float64: median over the texels of true over made, (k, 3) linear each."""
    return np.exp(np.median(np.log(np.maximum(true, 1e-4)) - np.log(np.maximum(made, 1e-4)), axis=0))


def measure_albedo(made: np.ndarray, true: np.ndarray, chosen: np.ndarray) -> dict[str, Any]:
    """One texture against the painted one.

    Args:
        made, true: (S, S, 3) linear. chosen: (S, S) bool, texels compared.

    Returns:
        ``psnr_db`` of sRGB values after one gain per channel, ``log_error_percent`` (mean absolute log difference after that gain),
        ``detail_correlation`` of log luminance less its blur; ``gains``; ``num_texels``.
    """
    gains = channel_gains(made[chosen], true[chosen])
    fitted = made[chosen] * gains
    mean_square = float(((srgb_encode(np.clip(fitted, 0, 1)) - srgb_encode(np.clip(true[chosen], 0, 1))) ** 2).mean())
    log_error = np.abs(np.log(np.maximum(fitted, 1e-4)) - np.log(np.maximum(true[chosen], 1e-4))).mean()
    correlation = np.corrcoef(fine_detail(made, chosen), fine_detail(true, chosen))[0, 1]
    return {
        "psnr_db": number(-10 * np.log10(max(mean_square, 1e-12))), "log_error_percent": number(100 * float(log_error)), "detail_correlation": number(correlation),
        "gains": [number(gain) for gain in gains], "num_texels": int(chosen.sum()),
    }


def fine_detail(texture: np.ndarray, chosen: np.ndarray) -> np.ndarray:
    """(k,) log luminance of the chosen texels of (S, S, 3) linear, less its mean over the chosen texels around."""
    sigma = HIGH_PASS_PX * len(texture) / 1024
    values = np.where(chosen, np.log(np.maximum(texture @ LUMINANCE, 1e-4)), 0.0)
    weight = gaussian_filter(chosen.astype(np.float64), sigma)
    return (values - gaussian_filter(values, sigma) / np.maximum(weight, 1e-6))[chosen]


def difference_percent(first: np.ndarray, second: np.ndarray) -> float:
    """Mean absolute log difference of (k, 3) linear colours after one gain per channel, percent."""
    ratio = np.log(np.maximum(first, 1e-4)) - np.log(np.maximum(second, 1e-4))
    return 100 * float(np.abs(ratio - np.median(ratio, axis=0)).mean())


def measure_light(light: ClipLight, true: np.ndarray) -> dict[str, Any]:
    """The estimated light against the true one, both in the world frame, after one gain.

    Args:
        light: its frame must be the world, or the camera must look along world -Z (as the first camera of a synthetic clip does).
        true: (9, 3) irradiance / pi.

    Returns:
        ``shade_error_percent``: mean absolute difference of the grey shade over normals within ``CONE_DEG`` of the camera, of its mean;
        ``coefficients_relative``: norm of the difference of bands 1 and 2 over the true norm, band 0 equal; ``direction_deg``: angle between
        the directions from which most light comes (band 1); None where a light has none.
    """
    made = light.sh.astype(np.float64)
    if light.frame == "camera":
        made = made * np.array([1, -1, -1, 1, -1, 1, 1, -1, 1])  # half a turn about x, from OpenCV's axes to the world's
    grey = np.asarray(true, np.float64) @ LUMINANCE
    random = np.random.default_rng(0).standard_normal((4000, 3))
    random /= np.linalg.norm(random, axis=1, keepdims=True)
    basis = harmonics(random[random[:, 2] > np.cos(np.radians(CONE_DEG))])
    shade, true_shade = basis @ made, basis @ grey
    first, second = made[[3, 1, 2]], grey[[3, 1, 2]]
    lengths = np.linalg.norm(first) * np.linalg.norm(second)
    scaled = made / made[0] * grey[0]
    return {
        "shade_error_percent": number(100 * np.abs(shade / shade.mean() - true_shade / true_shade.mean()).mean()),
        "coefficients_relative": number(np.linalg.norm(scaled[1:] - grey[1:]) / np.linalg.norm(grey[1:])),
        "direction_deg": number(np.degrees(np.arccos(np.clip(first @ second / lengths, -1, 1)))) if lengths > 1e-9 else None,
    }


def measure_changes(
    painters: dict[str, Callable[[int], np.ndarray]], truth: PaintedTruth, gains: np.ndarray, samples: np.ndarray, frames: np.ndarray, chosen: np.ndarray
) -> dict[str, dict[str, Any]]:
    """Every frame's texture against the true texture of that frame.

    Args:
        painters: name -> number of a sample -> (S, S, 3) linear, without light. truth: with layers. gains: (3,) from ``measure_albedo`` of the static albedo.
        samples: (f,) numbers of samples; frames: (f,) the same in the truth. chosen: (S, S) bool, texels compared.

    Returns:
        For each name: ``psnr_db`` (mean over frames, chosen texels), ``psnr_changing_db`` (texels that the truth changes), ``change_correlation``
        (of luminance less its mean over the frames, at those texels; None when the texture never changes), ``num_frames``, ``num_changing``.
    """
    size = len(chosen)
    true = [srgb_encode(np.clip(truth.texture(int(frame), size)[chosen], 0, 1)).astype(np.float32) for frame in frames]
    still = srgb_encode(np.clip(resized(truth.albedo, size)[chosen], 0, 1))
    changing = np.max([np.abs(values - still).max(-1) for values in true], axis=0) > MIN_CHANGE
    found = {}
    for name, texture_of in painters.items():
        made = [srgb_encode(np.clip(texture_of(int(sample))[chosen] * gains, 0, 1)).astype(np.float32) for sample in samples]
        decibel = lambda part, made=made: number(np.mean([_psnr_db(a[part], b[part]) for a, b in zip(made, true)]))  # noqa: E731
        found[name] = {
            "psnr_db": decibel(slice(None)), "psnr_changing_db": decibel(changing) if changing.any() else None,
            "change_correlation": _change_correlation(made, true, changing), "num_frames": len(frames), "num_changing": int(changing.sum()),
        }
    return found


def _psnr_db(made: np.ndarray, true: np.ndarray) -> float:
    return float(-10 * np.log10(max(((made - true) ** 2).mean(), 1e-12)))


def _change_correlation(made: list[np.ndarray], true: list[np.ndarray], changing: np.ndarray) -> float | None:
    moved = [np.stack([values[changing] @ LUMINANCE for values in pictures]) for pictures in (made, true)]
    first, second = (values - values.mean(0) for values in moved)
    if first.size == 0 or first.std() < 1e-6 or second.std() < 1e-6:
        return None
    return number(np.corrcoef(first.ravel(), second.ravel())[0, 1])
