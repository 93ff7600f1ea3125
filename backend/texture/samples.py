"""Some texels in some frames, one by one: what de-lighting and the blending mask learn from. A mean over the frames would hide both."""

from __future__ import annotations

import dataclasses

import numpy as np
from scipy.spatial import cKDTree

from .texels import Texels

NUM_TEXELS = 20000
NUM_FRAMES = 48


@dataclasses.dataclass(frozen=True)
class FrameSamples:
    """m texels in F frames.

    texel: (m,) int32 into the texels. colour: (F, m, 3) float32 linear. weight: (F, m) float32, frame weight times squared cosine to the camera, 0
        where the texel was not seen or its pixel was overexposed.
    normals: (F, m, 3) float32 unit, in the frame in which the light stands still. label: (F, m) uint8 into ``capture.model.PARSING``.
    """

    texel: np.ndarray
    colour: np.ndarray
    weight: np.ndarray
    normals: np.ndarray
    label: np.ndarray

    @property
    def num_frames(self) -> int:
        return len(self.colour)


def sampled_texels(texels: Texels) -> np.ndarray:
    """(m,) int32: texels of a regular grid on the outer skin, about ``NUM_TEXELS`` of them."""
    skin = texels.of("skin") & ~texels.is_inside
    step = max(1, round(float(np.sqrt(skin.sum() / NUM_TEXELS))))
    return np.flatnonzero(skin & (texels.rows % step == 0) & (texels.cols % step == 0)).astype(np.int32)


def sampled_frames(num: int) -> np.ndarray:
    """(F,) int: which of ``num`` unwrapped frames are kept one by one, evenly spaced."""
    return np.unique(np.round(np.linspace(0, num - 1, min(num, NUM_FRAMES))).astype(int))


def empty_samples(texel: np.ndarray, num_frames: int) -> FrameSamples:
    """Room for the samples of ``num_frames`` frames; the arrays are filled in place, row by row."""
    shape = (num_frames, len(texel))
    return FrameSamples(
        texel, np.zeros((*shape, 3), np.float32), np.zeros(shape, np.float32), np.zeros((*shape, 3), np.float32), np.zeros(shape, np.uint8)
    )


def mirrored_samples(texels: Texels, texel: np.ndarray) -> np.ndarray:
    """(m,) int: which of the sampled texels lies on the other side of the head, -1 = none."""
    if not len(texel):
        return np.zeros(0, int)
    spots = np.stack([texels.cols[texel] + 0.5, texels.rows[texel] + 0.5], -1)
    wanted = texels.mirror_xy[texel]
    is_known = np.isfinite(wanted).all(1)
    tree = cKDTree(spots)
    step = float(np.median(tree.query(spots, k=min(2, len(spots)))[0][:, -1]))
    away, other = tree.query(np.where(is_known[:, None], wanted, 0))
    return np.where(is_known & (away <= step), other, -1)
