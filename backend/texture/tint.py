"""The colour of a clip's light, from things whose own colour is about known: the white of the eyes and the hue of skin."""

from __future__ import annotations

import numpy as np

from ..rig.model import RigModel
from .eyes import DEFAULT_WHITE, eye_angles
from .observe import Observed
from .texels import Texels

USUAL_SKIN = np.array([0.42, 0.26, 0.19])
"""Linear colour of an average skin; only its hue is used here. Skins differ in lightness by a factor of ten and in hue by little."""
WHITE_SHARE, SKIN_SHARE = 0.2, 0.3
"""Shares (as exponents) of the deviations of white and skin from their usual hues that are put down to the light. People differ, and the camera has
balanced its white already, so most of it stays with the person."""
_MIN_TEXELS = 40
_LIMITS = 0.75, 1.35


def light_tint(rig: RigModel, texels: Texels, observed: Observed) -> np.ndarray:
    """(3,) float32, mean 1."""
    tint = _hue(_white(rig, texels, observed), DEFAULT_WHITE) ** WHITE_SHARE
    skin = (texels.of("skin") & ~texels.is_inside) & (observed.albedo_weight > 0.3)
    if skin.sum() >= _MIN_TEXELS:
        tint = tint * _hue(np.median(observed.albedo[skin].astype(np.float64), axis=0), USUAL_SKIN) ** SKIN_SHARE
    return (tint / tint.mean()).astype(np.float32)


def _hue(colour: np.ndarray, usual: np.ndarray) -> np.ndarray:
    ratio = np.maximum(colour, 1e-3) / usual
    return np.clip(ratio / ratio.mean(), *_LIMITS)


def _white(rig: RigModel, texels: Texels, observed: Observed) -> np.ndarray:
    """(3,) the brighter half of what was seen beside the irises; the usual white when too little was."""
    places = [np.flatnonzero(chosen)[angle > 1.15 * iris] for chosen, angle, iris in (eye_angles(rig, texels, side) for side in ("left", "right"))]
    beside = np.concatenate(places)
    beside = beside[observed.albedo_weight[beside] > 0.3]
    if len(beside) < _MIN_TEXELS:
        return DEFAULT_WHITE
    colours = observed.albedo[beside].astype(np.float64)
    light = colours.sum(1)
    return np.median(colours[light >= np.percentile(light, 55)], axis=0)
