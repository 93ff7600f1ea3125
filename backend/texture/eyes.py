"""Eyeballs: what the lids showed, completed so that a turned eye still looks like an eye.

The iris is taken to be the same all around its axis; white where the clip saw it, its mean elsewhere, redder towards the back.
"""

from __future__ import annotations

import numpy as np

from ..rig.model import RigModel
from .texels import Texels

IRIS_RADIUS_M = 0.00585
"""Half of the human iris diameter of 11.7 mm (DESIGN, Conventions)."""
DEFAULT_WHITE = np.array([0.52, 0.46, 0.42])
DEFAULT_IRIS = np.array([0.07, 0.04, 0.025])
_NUM_RINGS = 24
_OBSERVED_IRIS = 0.5
"""Share of the observed iris that stays in the mix: its left-right differences are real, but blurred by errors of gaze."""


def eye_angles(rig: RigModel, texels: Texels, side: str) -> tuple[np.ndarray, np.ndarray, float]:
    """Where the texels of one eyeball lie relative to its axis.

    Returns:
        chosen: (n,) bool, texels of this eye; angle: (k,) rad from the axis through the iris centre, for the chosen ones; the iris's
        angular radius, rad.
    """
    chosen = texels.of(f"eye_{side}")
    triangles = rig.triangles
    points = np.einsum("nc,ncd->nd", texels.barycentric[chosen], rig.template[triangles[texels.triangle[chosen]]].astype(np.float64))
    centre = rig.joint_regressor[list(rig.joint_names).index(f"eye_{side}")].astype(np.float64) @ rig.template
    rays = points - centre
    axis, iris_angle = np.array([0.0, 0.0, 1.0]), 0.0
    radius_m = float(np.median(np.linalg.norm(rays, axis=1))) if len(rays) else 0.012
    embedding = rig.mediapipe478
    first = 473 if side == "left" else 468
    if embedding is not None and embedding.is_placed[first]:
        corners = rig.template[triangles[embedding.triangle_ids[first : first + 5]]].astype(np.float64)
        places = np.einsum("nc,ncd->nd", embedding.barycentric[first : first + 5].astype(np.float64), corners) - centre
        axis = places[0] / np.linalg.norm(places[0])
        ring = places[1:][embedding.is_placed[first + 1 : first + 5]]
        if len(ring):
            iris_angle = float(np.median(_angles(ring, axis)))
    human = float(np.arcsin(np.clip(IRIS_RADIUS_M / radius_m, 0.2, 0.8)))
    # An embedding whose ring is far from a human iris was not placed on one.
    iris_angle = iris_angle if 0.75 * human <= iris_angle <= 1.3 * human else human
    return chosen, _angles(rays, axis), iris_angle


def _angles(rays: np.ndarray, axis: np.ndarray) -> np.ndarray:
    return np.arccos(np.clip(rays @ axis / np.maximum(np.linalg.norm(rays, axis=-1), 1e-12), -1, 1))


def complete_eyes(rig: RigModel, texels: Texels, colour: np.ndarray, seen: np.ndarray) -> np.ndarray:
    """Completes both eyeballs.

    Args:
        colour: (n, 3) linear, valid where ``seen`` > 0. seen: (n,) trust in [0, 1].

    Returns:
        (n, 3) with the eyeballs' texels replaced.
    """
    result = colour.copy()
    found = {side: eye_angles(rig, texels, side) for side in ("left", "right")}
    found = {side: values for side, values in found.items() if values[0].any()}
    if not found:
        return result
    angles = np.concatenate([angle / iris for _, angle, iris in found.values()])
    colours = np.concatenate([colour[chosen] for chosen, _, _ in found.values()])
    weights = np.concatenate([seen[chosen] for chosen, _, _ in found.values()])
    profile = _iris_profile(angles, colours, weights)
    white = _white(angles, colours, weights)
    for chosen, angle, iris in found.values():
        share = angle / iris
        rings = np.stack([np.interp(np.clip(share, 0, 1) * _NUM_RINGS - 0.5, np.arange(_NUM_RINGS), profile[:, k]) for k in range(3)], -1)
        # Half-way to the equator the white turns towards the pink of the conjunctiva: seen only at extreme gaze.
        far = np.clip((angle - 1.2) / 0.9, 0, 1)[:, None]
        outside = white * (1 + far * (np.array([0.95, 0.62, 0.55]) - 1))
        edge = np.clip((share - 0.94) / 0.12, 0, 1)[:, None]
        edge = edge * edge * (3 - 2 * edge)
        model = rings + edge * (outside - rings)
        trust = seen[chosen, None] * (_OBSERVED_IRIS + (1 - _OBSERVED_IRIS) * edge)
        result[chosen] = model + trust * (colour[chosen] - model)
    return result


def _iris_profile(share: np.ndarray, colours: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """(rings, 3): colour from the pupil's centre to the edge of the iris, the weighted median of every ring, both eyes together."""
    profile = np.full((_NUM_RINGS, 3), np.nan)
    for ring in range(_NUM_RINGS):
        inside = (share * _NUM_RINGS >= ring) & (share * _NUM_RINGS < ring + 1) & (weights > 0.05)
        if weights[inside].sum() > 3:
            profile[ring] = _weighted_median(colours[inside], weights[inside])
    known = np.isfinite(profile[:, 0])
    if not known.any():
        ramp = np.linspace(0, 1, _NUM_RINGS)[:, None]
        return np.where(ramp < 0.35, 0.004, DEFAULT_IRIS)
    return np.stack([np.interp(np.arange(_NUM_RINGS), np.flatnonzero(known), profile[known, k]) for k in range(3)], -1)


def _white(share: np.ndarray, colours: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """(3,): the colour of the white beside the iris, the brighter half of what was seen (the rest lies in the lid's shadow)."""
    inside = (share > 1.15) & (weights > 0.3)
    if inside.sum() < 20:
        return DEFAULT_WHITE
    light = colours[inside].sum(1)
    white = np.median(colours[inside][light >= np.percentile(light, 55)], axis=0)
    # Lids and lashes colour what little is seen: a third of the tint goes.
    return 0.65 * white + 0.35 * white.mean()


def _weighted_median(values: np.ndarray, weights: np.ndarray) -> np.ndarray:
    order = np.argsort(values, axis=0, kind="stable")
    cumulative = np.cumsum(weights[order], axis=0)
    at = (cumulative < 0.5 * weights.sum()).sum(0).clip(max=len(values) - 1)
    return np.array([values[order[at[k], k], k] for k in range(values.shape[1])])
