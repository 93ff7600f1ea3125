"""Teeth, tongue and the inside of mouth and lids: shapes from the model, colours from the clip where it showed them."""

from __future__ import annotations

import numpy as np
from scipy.ndimage import gaussian_filter
from scipy.spatial import cKDTree

from ..rig.model import RigModel
from .texels import BEHIND_LIDS, BEHIND_LIPS, LIPS, Texels

IVORY = np.array([0.60, 0.52, 0.41])
GUM = np.array([0.36, 0.13, 0.11])
TONGUE = np.array([0.33, 0.12, 0.10])
DEEP = np.array([0.030, 0.010, 0.008])
INNER_LID = np.array([0.34, 0.14, 0.11])
"""Linear colours under a light that shows skin at a luminance of 0.3."""
_SKIN_LUMINANCE = 0.30
TOOTH_WIDTHS_MM = {
    "teeth_upper": (8.5, 6.6, 7.6, 7.1, 6.7, 10.2, 9.6, 8.6),
    "teeth_lower": (5.3, 5.8, 6.9, 7.0, 7.1, 11.3, 10.6, 10.0),
}
"""Mean crown widths from the middle outwards (Wheeler's Dental Anatomy, table of measurements)."""
CROWN_MM = {"teeth_upper": 10.0, "teeth_lower": 9.0}
"""Mean crown heights of the incisors (the same table)."""
_GAP_MM = 0.35
_OBSERVED = 0.7
"""Share of the smoothed observed colour in teeth where they were seen."""
_TONGUE_SHADE = 0.6
"""The tongue lies in the shadow of lips and teeth, darker than the average red of an open mouth, which holds much lip."""


def luminance(linear: np.ndarray) -> np.ndarray:
    """Rec. 709 luminance of (..., 3) linear colours."""
    return linear @ np.array([0.2126, 0.7152, 0.0722])


def complete_mouth(rig: RigModel, texels: Texels, colour: np.ndarray, seen: np.ndarray, mouth_colours: np.ndarray, skin: np.ndarray) -> np.ndarray:
    """Replaces teeth, tongue and hidden skin.

    Args:
        colour: (n, 3) linear, valid where ``seen`` > 0; hidden skin already filled from the rims. seen: (n,) trust.
        mouth_colours: (m, 3) linear pixels of open mouths. skin: (3,) typical skin colour.
    """
    result = colour.copy()
    exposure = float(np.clip(luminance(skin) / _SKIN_LUMINANCE, 0.2, 2.5))
    tooth, flesh = tooth_colour(mouth_colours, exposure, skin), flesh_colour(mouth_colours, exposure)
    deep = deep_colour(mouth_colours, exposure)
    positions = np.einsum("nc,ncd->nd", texels.barycentric, rig.template[rig.triangles[texels.triangle]].astype(np.float64))
    for name in TOOTH_WIDTHS_MM:
        chosen = texels.of(name)
        if chosen.any():
            pattern = tooth_pattern(positions[chosen], name)
            made = pattern[:, :1] * tooth + pattern[:, 1:] * GUM * exposure
            result[chosen] = _tinted(texels, chosen, made, colour, seen)
    chosen = texels.of("tongue")
    if chosen.any():
        # The back of the tongue lies in the dark of the mouth.
        back = _ramp(positions[chosen, 2], positions[chosen, 2].max() - 0.008, positions[chosen, 2].max() - 0.030)[:, None]
        # Made up alone: what was seen there is mostly the lower lip and the teeth in front of it.
        result[chosen] = _TONGUE_SHADE * (flesh + back * (deep - flesh))
    lids = texels.inside == BEHIND_LIDS
    result[lids] = 0.6 * result[lids] + 0.4 * INNER_LID * exposure
    lining = texels.inside == BEHIND_LIPS
    if lining.any():
        depth_m = _behind_lips(rig, positions[lining])
        rim = result[lining]
        mouth = rim + _ramp(depth_m, 0.0, 0.004)[:, None] * (0.6 * flesh - rim)
        result[lining] = mouth + _ramp(depth_m, 0.002, 0.014)[:, None] * (deep - mouth)
    return result


def _tinted(texels: Texels, chosen: np.ndarray, made: np.ndarray, colour: np.ndarray, seen: np.ndarray) -> np.ndarray:
    """Pulls made-up colours towards what the clip showed there, without its fine detail: real teeth do not sit exactly where the model's do.

    Args:
        made: (k, 3) of the chosen texels. colour, seen: of all texels.
    """
    blur = 0.02 * texels.size_px
    weight = gaussian_filter(texels.image(np.where(chosen, seen, 0.0)), blur)
    smooth = np.stack([gaussian_filter(texels.image(np.where(chosen, seen * colour[:, k], 0.0)), blur) for k in range(3)], -1)
    at = (texels.rows[chosen], texels.cols[chosen])
    # What tells one tooth from the next stays: the made-up light over its own blur.
    light = np.zeros(len(texels))
    light[chosen] = luminance(made)
    inside = gaussian_filter(texels.image(chosen.astype(np.float64)), blur)[at]
    detail = np.clip(light[chosen] * inside / np.maximum(gaussian_filter(texels.image(light), blur)[at], 1e-6), 0.5, 1.3)[:, None]
    share = (_OBSERVED * np.clip(weight[at] / 0.3, 0, 1))[:, None]
    return made + share * (detail * smooth[at] / np.maximum(weight[at], 1e-6)[:, None] - made)


def tooth_colour(mouth_colours: np.ndarray, exposure: float, skin: np.ndarray) -> np.ndarray:
    """(3,) linear: the bright pixels of open mouths that are much less red than the skin; ivory when there are too few of them."""
    if len(mouth_colours) >= 200:
        light = luminance(mouth_colours)
        is_pale = mouth_colours[:, 2] * skin[0] > 1.25 * skin[2] * mouth_colours[:, 0]
        bright = is_pale & (light > np.percentile(light, 60)) & (light > 0.25 * _SKIN_LUMINANCE * exposure)
        if bright.sum() >= 50:
            return np.median(mouth_colours[bright], axis=0)
    # Ivory under the light that makes average skin look like this skin.
    return IVORY * exposure


def flesh_colour(mouth_colours: np.ndarray, exposure: float) -> np.ndarray:
    """(3,) linear: the red pixels of open mouths of middle brightness; a plausible tongue when there are too few of them."""
    if len(mouth_colours) >= 200:
        light = luminance(mouth_colours)
        is_red = mouth_colours[:, 2] < 0.6 * mouth_colours[:, 0]
        middle = is_red & (light > np.percentile(light, 20)) & (light < np.percentile(light, 80))
        if middle.sum() >= 50:
            return np.median(mouth_colours[middle], axis=0)
    return TONGUE * exposure


def deep_colour(mouth_colours: np.ndarray, exposure: float) -> np.ndarray:
    """(3,) linear: the darkest third of what open mouths showed; nearly black when there is too little of it."""
    if len(mouth_colours) >= 200:
        light = luminance(mouth_colours)
        return np.median(mouth_colours[light <= np.percentile(light, 33)], axis=0)
    return DEEP * exposure


def tooth_pattern(positions_m: np.ndarray, row: str) -> np.ndarray:
    """Single teeth on a row that the model has in one piece.

    Args:
        positions_m: (k, 3) places on the row, neutral head.

    Returns:
        (k, 2): share of tooth and share of gum; their sum is below 1 in the gaps between teeth.
    """
    across, along_z = positions_m[:, 0] - np.median(positions_m[:, 0]), positions_m[:, 2]
    # Arc length from the middle of the dental arch, by walking its outline seen from above in small steps of angle.
    back_z = along_z.min()
    angle = np.arctan2(across, along_z - back_z + 0.004)
    bins = np.linspace(angle.min(), angle.max() + 1e-9, 65)
    index = np.clip(np.digitize(angle, bins) - 1, 0, 63)
    count = np.maximum(np.bincount(index, minlength=64), 1)
    outline = np.stack([np.bincount(index, values, minlength=64) / count for values in (across, along_z)], -1)[np.bincount(index, minlength=64) > 0]
    centres = (0.5 * (bins[1:] + bins[:-1]))[np.bincount(index, minlength=64) > 0]
    length_mm = 1000 * np.concatenate([[0], np.cumsum(np.linalg.norm(np.diff(outline, axis=0), axis=1))])
    arc_mm = np.interp(angle, centres, length_mm) - np.interp(0.0, centres, length_mm)
    borders = np.concatenate([[0], np.cumsum(TOOTH_WIDTHS_MM[row])])
    borders *= min(1.0, np.abs(arc_mm).max() / borders[-1])
    nearest = np.abs(np.abs(arc_mm)[:, None] - borders[None]).min(1)
    # Height above the biting edge; above the crown comes gum, scalloped between teeth.
    up_mm = 1000 * (positions_m[:, 1] if row == "teeth_upper" else -positions_m[:, 1])
    height_mm = up_mm - up_mm.min()
    crown_mm = min(CROWN_MM[row], 0.8 * float(height_mm.max()))
    gum = _ramp(height_mm + 1.2 * np.clip(1 - nearest / 2.5, 0, 1), crown_mm - 0.4, crown_mm + 0.4)
    gap = 1 - 0.45 * np.exp(-((nearest / _GAP_MM) ** 2))
    shade = gap * (0.35 + 0.65 * np.clip(1 - np.abs(arc_mm) / 30, 0, 1))
    return np.stack([(1 - gum) * shade, gum * (0.8 + 0.2 * gap)], -1)


def _behind_lips(rig: RigModel, positions_m: np.ndarray) -> np.ndarray:
    """(k,) m: how far places lie behind the nearest lip rim."""
    rims = [rig.template[rig.regions[name]] for name in LIPS if name in rig.regions and rig.regions[name].any()]
    return cKDTree(np.concatenate(rims)).query(positions_m)[0]


def _ramp(values: np.ndarray, start: float, stop: float) -> np.ndarray:
    share = np.clip((values - start) / (stop - start), 0, 1)
    return share * share * (3 - 2 * share)
