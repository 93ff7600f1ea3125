"""Where the dynamic texture may paint: eyes, lids, mouth, what lies behind them, and skin that one texture cannot explain.

Source: spec dynamic_texture.md 9.5 and 13.9. What is named by the rig comes from the rig, so the mask does not depend on whether the clip happened
to show teeth; on top comes skin whose colour kept changing over the training frames (brows, wrinkles). Distances in texels are those of a 1024 square.
"""

from __future__ import annotations

import dataclasses

import numpy as np
from scipy.ndimage import distance_transform_edt, gaussian_filter, label
from scipy.spatial import cKDTree

from ..rig.model import RigModel
from .eyes import eye_angles
from .texels import BEHIND_LIDS, BEHIND_LIPS, LIDS, LIPS, Texels

MAX_SKIN_SHARE = 0.35
"""Largest share of the skin, by texels and by area, that the mask may cover."""
DILATE_TEXELS = 12
FEATHER_TEXELS = 20
"""Width over which the mask falls from 1 to 0, outside the dilated core."""
_LID_M = 0.005
"""Skin nearer than this to a lid's rim is lid; so is what lies on the eyeball."""
_LID_ON_BALL = 1.4
"""Skin nearer to the eye's centre than this many radii lies on the eyeball."""
_SOCKET_M = 0.003
_TEETH_M, _LINING_M = 0.028, 0.014
"""How far behind the lips' rims an open mouth is seen: teeth and tongue, and the lining of lips and cheeks."""
_EYE_DEG = 70.0
"""How far from the gaze axis an eyeball shows between the lids."""
_RESIDUAL_TEXELS = 6.0
_RESIDUAL_RATIO = 1.7
"""Skin counts as changing when its residual exceeds this many times the usual one."""
_MIN_PIECE = 0.01
"""Share of the skin's texels that a piece of changing skin away from eyes and mouth must have."""
_MIN_RESIDUAL = 0.018
"""... and this much, in sRGB: less is noise of the camera."""
_MIN_UNEXPLAINED = 0.02
"""What is left of the allowance goes to skin that differs from its albedo in the clip's light by more than this, in sRGB."""


@dataclasses.dataclass(frozen=True)
class BlendingMask:
    """image: (S, S) uint8, 255 = dynamic. skin_share: larger of the shares of the skin by texels and by area, in [0, 1]."""

    image: np.ndarray
    skin_share: float


def blending_mask(rig: RigModel, texels: Texels, residual: np.ndarray | None = None, unexplained: np.ndarray | None = None) -> BlendingMask:
    """Makes the mask of a head.

    Args:
        rig: the head model. texels: of its texture.
        residual: (n,) how much the colour of each texel varied over the training frames after the light was taken away, sRGB units; NaN where too
            little was seen. None = none is known. Only the front of the face is looked at.
        unexplained: (n,) how unlike the training frames the static texture in the clip's light looks (``unexplained_of_texels``), sRGB units. The skin
            that is worst explained gets what the changing skin leaves of the allowance.
    """
    skin = texels.of("skin") & ~texels.is_inside
    core = _core(rig, texels)
    areas = texel_areas_m2(rig, texels)
    named = _feathered(texels, core)
    if residual is None or not skin.any():
        return BlendingMask(_image(texels, named), _share(named, skin, areas))
    smooth = _smoothed(texels, skin, residual)
    # Ears and neck do not follow the head model well: what changes there is the tracking, not the skin.
    front = skin & rig.regions["face"][rig.triangles].all(1)[texels.triangle] if "face" in rig.regions else skin
    usual = float(np.nanmedian(smooth[skin & ~core])) if np.isfinite(smooth[skin & ~core]).any() else np.inf
    low = max(_RESIDUAL_RATIO * usual, _MIN_RESIDUAL)
    values = named
    # The most changeable skin comes first; what is left of the allowance decides how far down the list it goes.
    for threshold in low * np.geomspace(1.0, 8.0, 13):
        changing = front & (smooth > threshold)
        values = np.maximum(named, _feathered(texels, core | _large(texels, core, _solid(texels, changing), skin)))
        if _share(values, skin, areas) <= MAX_SKIN_SHARE:
            break
    else:
        values = named
    if unexplained is not None:
        values = _filled_up(texels, values, core, _smoothed(texels, skin, unexplained), front, skin, areas)
    return BlendingMask(_image(texels, values), _share(values, skin, areas))


def _filled_up(
    texels: Texels, values: np.ndarray, core: np.ndarray, unexplained: np.ndarray, front: np.ndarray, skin: np.ndarray, areas: np.ndarray
) -> np.ndarray:
    """(n,) the mask with as much of the worst explained skin as the allowance has room for."""
    for threshold in _MIN_UNEXPLAINED * np.geomspace(1.0, 8.0, 25):
        wrong = front & (unexplained > threshold)
        more = np.maximum(values, _feathered(texels, core | _large(texels, core, _solid(texels, wrong), skin)))
        if _share(more, skin, areas) <= MAX_SKIN_SHARE:
            return more
    return values


def texel_areas_m2(rig: RigModel, texels: Texels) -> np.ndarray:
    """(n,) surface area behind each texel, m², on the template."""
    triangles, uv_triangles, _ = rig.triangles_of_quads()
    corners = rig.template[triangles].astype(np.float64)
    area_m2 = 0.5 * np.linalg.norm(np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]), axis=1)
    flat = rig.uv[uv_triangles].astype(np.float64) * texels.size_px
    first, second = flat[:, 1] - flat[:, 0], flat[:, 2] - flat[:, 0]
    area_texels = 0.5 * np.abs(first[:, 0] * second[:, 1] - first[:, 1] * second[:, 0])
    return (area_m2 / np.maximum(area_texels, 1e-6))[texels.triangle]


def _core(rig: RigModel, texels: Texels) -> np.ndarray:
    """(n,) bool: what is dynamic by its name."""
    places = np.einsum("nc,ncd->nd", texels.barycentric, rig.template[rig.triangles[texels.triangle]].astype(np.float64))
    skin = texels.of("skin") & ~texels.is_inside
    core = np.zeros(len(texels), bool)
    lid_rims, lip_rims = _rim_tree(rig, LIDS), _rim_tree(rig, LIPS)
    if lid_rims is not None:
        away = lid_rims.query(places)[0]
        core |= skin & (away < _LID_M)
        core |= (texels.inside == BEHIND_LIDS) & (away < _SOCKET_M)
    for side in ("left", "right"):
        chosen, angle, _ = eye_angles(rig, texels, side)
        core[chosen] = angle <= np.radians(_EYE_DEG)
        if chosen.any():
            ball = rig.template[rig.regions[f"eye_{side}"]].astype(np.float64)
            centre = 0.5 * (ball.min(0) + ball.max(0))
            radius = 0.5 * float(np.ptp(ball, axis=0).max())
            core |= skin & (np.linalg.norm(places - centre, axis=1) < _LID_ON_BALL * radius)
    lips = np.zeros(rig.num_vertices, bool)
    for name in ("lips_upper", "lips_lower"):
        if name in rig.regions:
            lips |= rig.regions[name]
    core |= skin & lips[rig.triangles].all(1)[texels.triangle]
    if lip_rims is not None:
        away = lip_rims.query(places)[0]
        core |= texels.of("teeth_upper", "teeth_lower", "tongue") & (away < _TEETH_M)
        core |= (texels.inside == BEHIND_LIPS) & (away < _LINING_M)
    return core


def _rim_tree(rig: RigModel, names: tuple[str, ...]) -> cKDTree | None:
    found = [rig.template[rig.regions[name]] for name in names if name in rig.regions and rig.regions[name].any()]
    return cKDTree(np.concatenate(found).astype(np.float64)) if found else None


def _groups(texels: Texels) -> list[np.ndarray]:
    """(n,) bool each: surfaces that do not touch; islands of different ones may lie side by side in the image."""
    outer = texels.of("skin", "scalp") & ~texels.is_inside
    parts = [texels.of(name) for name in ("eye_left", "eye_right", "teeth_upper", "teeth_lower", "tongue")]
    return [group for group in (outer, texels.inside == BEHIND_LIDS, texels.inside == BEHIND_LIPS, *parts) if group.any()]


def _feathered(texels: Texels, core: np.ndarray) -> np.ndarray:
    """(n,) float32: 1 on the core and ``DILATE_TEXELS`` around it, then falling smoothly to 0."""
    values = np.zeros(len(texels), np.float32)
    zoom = texels.size_px / 1024
    for group in _groups(texels):
        inside = group & core
        if not inside.any():
            continue
        away = distance_transform_edt(~texels.image(inside))[texels.rows[group], texels.cols[group]]
        share = np.clip((DILATE_TEXELS + FEATHER_TEXELS) - away / zoom, 0, FEATHER_TEXELS) / FEATHER_TEXELS
        values[group] = share * share * (3 - 2 * share)
    return values


def _smoothed(texels: Texels, chosen: np.ndarray, values: np.ndarray) -> np.ndarray:
    """(n,) values blurred over known texels of the chosen surface; NaN elsewhere."""
    known = chosen & np.isfinite(values)
    sigma = _RESIDUAL_TEXELS * texels.size_px / 1024
    weight = gaussian_filter(texels.image(known.astype(np.float32)), sigma)
    total = gaussian_filter(texels.image(np.where(known, values, 0).astype(np.float32)), sigma)
    at = (texels.rows, texels.cols)
    return np.where(chosen & (weight[at] > 0.25), total[at] / np.maximum(weight[at], 1e-6), np.nan)


def _solid(texels: Texels, chosen: np.ndarray) -> np.ndarray:
    """(n,) bool: without specks thinner than about eight texels."""
    reach = 4.0 * texels.size_px / 1024
    kept = distance_transform_edt(texels.image(chosen)) > reach
    return chosen & (distance_transform_edt(~kept) <= reach)[texels.rows, texels.cols] if kept.any() else np.zeros(len(texels), bool)


def _large(texels: Texels, core: np.ndarray, chosen: np.ndarray, skin: np.ndarray) -> np.ndarray:
    """(n,) bool: the connected pieces of ``chosen`` that are large or come near the core; a lone spot is not worth a patch of its own."""
    reach = (DILATE_TEXELS + FEATHER_TEXELS) * texels.size_px / 1024
    near = distance_transform_edt(~texels.image(core & skin)) <= reach
    numbers, count = label(texels.image(chosen))
    sizes = np.bincount(numbers.ravel(), minlength=count + 1)
    is_kept = sizes >= _MIN_PIECE * skin.sum()
    is_kept[np.unique(numbers[near])] = True
    is_kept[0] = False
    return is_kept[numbers][texels.rows, texels.cols]


def _share(values: np.ndarray, skin: np.ndarray, areas: np.ndarray) -> float:
    if not skin.any():
        return 0.0
    return float(max(values[skin].mean(), (values * areas)[skin].sum() / areas[skin].sum()))


def _image(texels: Texels, values: np.ndarray) -> np.ndarray:
    """(S, S) uint8; a few texels around every island repeat its border, so that lookups at the border read it."""
    covered = texels.image(np.ones(len(texels), bool))
    away, (rows, cols) = distance_transform_edt(~covered, return_indices=True)
    image = texels.image(np.floor(values * 255 + 0.5).astype(np.uint8))
    return np.where(away <= 4 * texels.size_px / 1024, image[rows, cols], 0).astype(np.uint8)
