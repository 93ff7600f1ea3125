"""Where one texture cannot explain the training frames: places whose colour kept changing although the light was taken away."""

from __future__ import annotations

import numpy as np
from scipy.ndimage import gaussian_filter
from scipy.spatial import cKDTree

from .light import MIN_SHADE, ClipLight, harmonics
from .samples import FrameSamples, mirrored_samples
from .texels import Texels

MIN_FRAMES = 4
_BROAD_TEXELS = 48.0
"""Differences that are this broad (of 1024 texels) in one frame are light or exposure, not expression."""
_NEAR = 0.02
"""Share of the texture's side within which a texel takes the residual of the nearest sampled one."""
_GRAZING = 0.45
"""Cosine below which a sample counts no more: there the outline of the head decides what is seen."""


def residual_of_texels(texels: Texels, samples: FrameSamples, light: ClipLight) -> np.ndarray:
    """(n,) float32: weighted root mean square over the frames of how far, in about sRGB units, a texel was from its albedo under the light.

    NaN off the outer skin and where too little was seen. ``light`` is in the frame of the samples' normals; its tint does not matter here.
    """
    result = np.full(len(texels), np.nan, np.float32)
    if not len(samples.texel):
        return result
    grey = np.maximum(harmonics(samples.normals) @ light.sh.astype(np.float32), MIN_SHADE)
    # The weight is frame weight times squared cosine; grazing views are dropped altogether.
    weight = np.where(samples.weight > _GRAZING**2 * max(float(samples.weight.max()), 1e-9), samples.weight, 0)
    albedo = (samples.colour * weight[..., None]).sum(0) / np.maximum((grey * weight).sum(0), 1e-9)[:, None]
    # Square-root light is near enough to sRGB here, and noise is even in it.
    error = (np.sqrt(samples.colour) - np.sqrt(albedo * grey[..., None])).mean(-1)
    at = (texels.rows[samples.texel], texels.cols[samples.texel])
    sums = np.zeros(len(samples.texel))
    for row in range(samples.num_frames):
        sums += weight[row] * (error[row] - _broad(texels.size_px, at, error[row], weight[row])) ** 2
    total = weight.sum(0)
    known = (weight > 0).sum(0) >= min(MIN_FRAMES, samples.num_frames)
    if not known.any():
        return result
    single = np.sqrt(sums / np.maximum(total, 1e-12))
    # Both sides of a face can do what one did.
    other = mirrored_samples(texels, samples.texel)
    single = np.where((other >= 0) & known & known[other], 0.5 * (single + single[other]), single)
    spots = np.stack([texels.rows, texels.cols], -1)
    skin = np.flatnonzero(texels.of("skin") & ~texels.is_inside)
    away, nearest = cKDTree(spots[samples.texel[known]]).query(spots[skin])
    is_near = away <= _NEAR * texels.size_px
    result[skin[is_near]] = single[known][nearest[is_near]]
    return result


def _broad(size_px: int, at: tuple[np.ndarray, np.ndarray], error: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """(m,) the error blurred over the texture, on a grid of an eighth of its size."""
    small = max(size_px // 8, 1)
    rows, cols = (np.minimum(place * small // size_px, small - 1) for place in at)
    flat = rows * small + cols
    blur = lambda values: gaussian_filter(np.bincount(flat, values, small * small).reshape(small, small), _BROAD_TEXELS / 1024 * small)  # noqa: E731
    return (blur(weight * error) / np.maximum(blur(weight), 1e-9))[rows, cols]
