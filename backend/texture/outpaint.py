"""Skin and hair that the clip did not show, with the fine detail of what it did show.

The smooth colours come from the mesh (``fill``), so they cross the texture's seams; this adds detail to them: skin quilted from forehead and cheeks,
hair as strands. Both are made on a surface of their own (skin: a cylinder around the head, hair: rays from the crown) in millimetres and looked up
from there, so that they, too, know no seams and are as coarse or fine as on the face. Spec dynamic_texture.md 9.3, 13.8.
"""

from __future__ import annotations

import dataclasses

import numpy as np
from scipy.ndimage import distance_transform_edt, gaussian_filter, gaussian_filter1d, map_coordinates

from ..rig.model import RigModel
from .fill import SurfaceFill, complete_surface
from .gradient_blend import blend_border, surface_links
from .quilting import quilt
from .texels import Texels

SEED = 20240
BLOCK, OVERLAP, ERODE = 64, 16, 16
"""Texels of a 1024 square (spec 13.8)."""
DETAIL_TEXELS = 10.0
"""What is finer than this (standard deviation of a blur, of 1024 texels) is detail."""
_KNOWN = 0.5
_MAX_DETAIL = 0.2
"""Log contrast beyond which detail is no skin but a hair, a scar's edge or a mistake."""
STRAND_WIDTH_MM, STRAND_LENGTH_MM = 0.7, 14.0
STRAND_CONTRAST, THIN_CONTRAST = 0.25, 0.5
"""Standard deviation of the log lightness of strands; how strongly they stand out where hair thins out."""
_HEAD_RADIUS_M = 0.09
_CROWN_M = 0.045
"""Around the crown, where all strands meet, their contrast fades in over this distance."""


@dataclasses.dataclass(frozen=True)
class Exemplar:
    """Detail of real skin. detail: (h, w, 3) float32 log ratio to the blurred colour, a cut-out of the texture. is_valid: (h, w) bool.
    pitch_m: (2,) size of its texels on the head, across and down."""

    detail: np.ndarray
    is_valid: np.ndarray
    pitch_m: np.ndarray


def outpaint(
    rig: RigModel, texels: Texels, chosen: np.ndarray, colour: np.ndarray, fill: SurfaceFill, hair_grows: np.ndarray, tones: tuple[np.ndarray, np.ndarray],
    vertices_m: np.ndarray,
) -> np.ndarray:
    """Completes skin and scalp.

    Args:
        chosen: (n,) bool, texels of skin and scalp. colour: (n, 3) linear, valid where ``fill.kept`` > 0. fill: smooth colours for all of them.
        hair_grows: (V,) in [0, 1]. tones: typical colours (3,) of skin and hair. vertices_m: (V, 3) neutral head.

    Returns:
        (n, 3) float64; unchanged outside ``chosen``. Skin behind lids and lips stays smooth.
    """
    corners = rig.triangles[texels.triangle]
    places = np.einsum("nc,ncd->nd", texels.barycentric, vertices_m[corners])
    outer = chosen & ~texels.is_inside
    filling = colour.astype(np.float64).copy()
    filling[chosen] = fill.colour
    # On logarithms: the border's colour is a factor, so dark places stay above black.
    logs = [np.log(np.maximum(values, 1e-4)) for values in (filling, colour)]
    filling = np.exp(blend_border(texels, surface_links(texels, outer, places, corners), *logs, outer & (fill.kept >= _KNOWN), outer))
    # What came from the other side of the face has detail already, what was seen keeps its own.
    wanted = np.zeros(len(texels))
    wanted[chosen] = (1 - fill.mirrored) * (1 - np.clip(fill.kept[chosen], 0, 1))
    hair = _hair_likeness(filling, *tones)
    exemplar = find_exemplar(rig, texels, outer, colour, fill.kept, hair, places)
    grows = hair_grows.copy()
    for name in ("ear_left", "ear_right"):
        if name in rig.regions:
            grows[rig.regions[name]] = 0
    hair *= (grows[corners] * texels.barycentric).sum(1)
    share, amount = hair[outer], wanted[outer]
    logs = np.log(np.maximum(filling[outer], 1e-4))
    if exemplar is not None:
        logs += skin_detail(exemplar, places[outer], texels.size_px) * ((1 - share) * amount)[:, None]
    strands, contrast = hair_strands(places[outer])
    # Where hair thins out, single strands are seen before skin; strands of full hair differ in lightness only.
    thin = THIN_CONTRAST * share * (1 - share) * np.clip(strands, -2, 2) * contrast
    logs += (amount * thin)[:, None] * (np.log(np.maximum(tones[1], 1e-4)) - np.log(np.maximum(tones[0], 1e-4)))
    logs += (STRAND_CONTRAST * strands * contrast * share * amount)[:, None]
    filling[outer] = np.exp(logs)
    return complete_surface(colour.astype(np.float64), chosen, dataclasses.replace(fill, colour=filling[chosen]))


def find_exemplar(
    rig: RigModel, texels: Texels, outer: np.ndarray, colour: np.ndarray, seen: np.ndarray, is_hair: np.ndarray, places_m: np.ndarray
) -> Exemplar | None:
    """Detail of forehead and cheeks: the front of the face away from eyes, brows, nose and mouth, eroded. None when too little was seen."""
    if "face" not in rig.regions:
        return None
    zoom = texels.size_px / 1024
    good = outer & rig.regions["face"][rig.triangles].all(1)[texels.triangle] & (seen > 0.8) & (is_hair < 0.25)
    known = texels.image(good)
    weight = gaussian_filter(known.astype(np.float32), DETAIL_TEXELS * zoom)
    logs = np.log(np.maximum(colour, 1e-3)).astype(np.float32)
    detail = np.zeros((texels.size_px, texels.size_px, 3), np.float32)
    for channel in range(3):
        plane = texels.image(np.where(good, logs[:, channel], 0))
        detail[..., channel] = np.where(known, plane - gaussian_filter(plane, DETAIL_TEXELS * zoom) / np.maximum(weight, 1e-6), 0)
    # Features are where broad detail is strong: eyes, nostrils, lips, brows drop out without being named.
    strength = np.sqrt(gaussian_filter((detail**2).mean(-1), 6 * zoom) / np.maximum(gaussian_filter(known.astype(np.float32), 6 * zoom), 1e-6))
    usual = np.median(strength[known]) if known.any() else 0.0
    known &= strength < max(1.8 * usual, 1e-4)
    is_valid = distance_transform_edt(known) > ERODE * zoom
    if is_valid.sum() < (2 * BLOCK * zoom) ** 2 / 4:
        is_valid = distance_transform_edt(known) > 0.25 * ERODE * zoom
    rows, cols = np.nonzero(is_valid)
    if len(rows) < 64:
        return None
    cut = (slice(rows.min(), rows.max() + 1), slice(cols.min(), cols.max() + 1))
    image = texels.image(places_m.astype(np.float32), np.nan)
    across, down = (np.linalg.norm(np.diff(image, axis=axis), axis=-1)[cut][: is_valid[cut].shape[0] - 1, : is_valid[cut].shape[1] - 1] for axis in (1, 0))
    inside = is_valid[cut][:-1, :-1]
    pitch = np.array([np.nanmedian(across[inside]), np.nanmedian(down[inside])]) if inside.any() else np.full(2, 0.0003 / zoom)
    return Exemplar(np.clip(detail[cut], -_MAX_DETAIL, _MAX_DETAIL), is_valid[cut], pitch)


def skin_detail(exemplar: Exemplar, places_m: np.ndarray, size_px: int) -> np.ndarray:
    """(k, 3) log ratios at places of the head, quilted on a cylinder around it."""
    zoom = size_px / 1024
    axis_z = 0.5 * (places_m[:, 2].min() + places_m[:, 2].max())
    across, ahead = places_m[:, 0], places_m[:, 2] - axis_z
    radius = float(np.median(np.hypot(across, ahead)))
    wide, low, high = 2 * np.pi * radius, places_m[:, 1].min(), places_m[:, 1].max()
    overlap = max(2, round(OVERLAP * zoom))
    cols = max(2 * overlap, round(wide / exemplar.pitch_m[0]))
    rows = max(2, round((high - low) / exemplar.pitch_m[1]))
    plane = quilt(exemplar.detail, exemplar.is_valid, (rows, cols + overlap), max(8, round(BLOCK * zoom)), overlap, SEED)
    # The cylinder closes: the last columns run over into the first ones, at constant contrast.
    share = ((np.arange(overlap) + 0.5) / overlap)[None, :, None]
    plane[:, :overlap] = np.sqrt(share) * plane[:, :overlap] + np.sqrt(1 - share) * plane[:, cols:]
    plane = plane[:, :cols]
    x = (np.arctan2(across, ahead) / (2 * np.pi) % 1.0) * cols - 0.5
    y = (high - places_m[:, 1]) / exemplar.pitch_m[1] - 0.5
    look = lambda channel: map_coordinates(plane[..., channel], [y, x], order=1, mode="grid-wrap")  # noqa: E731
    return np.stack([look(channel) for channel in range(plane.shape[2])], -1)


def hair_strands(places_m: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Strands that run from the crown down over the head.

    Returns:
        (k,) about normally distributed lightness and (k,) contrast in [0, 1].
    """
    top = places_m[:, 1].max()
    crown = np.array([0.0, top - _HEAD_RADIUS_M, np.median(places_m[places_m[:, 1] > top - 0.05, 2]) - 0.03])
    rays = places_m - crown
    axis = np.array([0.0, 0.9, -0.436])
    axis /= np.linalg.norm(axis)
    side = np.array([1.0, 0.0, 0.0])
    front = np.cross(side, axis)
    along_m = np.arccos(np.clip(rays @ axis / np.maximum(np.linalg.norm(rays, axis=1), 1e-9), -1, 1)) * _HEAD_RADIUS_M
    # Strands leave the crown in a whorl and wave a little on their way.
    around = np.arctan2(rays @ side, rays @ front) / (2 * np.pi) + 0.25 * np.exp(-along_m / 0.04)
    rng = np.random.default_rng(SEED)
    cols, rows = round(2 * np.pi * _HEAD_RADIUS_M * 1000 / STRAND_WIDTH_MM), 1024
    per_m = (rows - 1) / (np.pi * _HEAD_RADIUS_M)
    smooth = lambda length_mm, width_mm: gaussian_filter1d(  # noqa: E731
        gaussian_filter1d(rng.standard_normal((rows, cols)).astype(np.float32), length_mm / 1000 * per_m, axis=0), width_mm / STRAND_WIDTH_MM, axis=1, mode="wrap"
    )
    fine, locks, bend = smooth(STRAND_LENGTH_MM, 0.6 * STRAND_WIDTH_MM), smooth(2 * STRAND_LENGTH_MM, 4.0), smooth(12.0, 12.0)
    plane = fine / fine.std() + 0.8 * locks / locks.std()
    plane /= plane.std()
    at = along_m * per_m
    turns = map_coordinates(bend / bend.std(), [at, around % 1.0 * cols], order=1, mode="grid-wrap")
    strands = map_coordinates(plane, [at, (around * cols + 3.0 * turns) % cols], order=1, mode="grid-wrap")
    fade = np.clip(along_m / _CROWN_M, 0, 1)
    return strands, fade * fade * (3 - 2 * fade)


def _hair_likeness(colour: np.ndarray, skin: np.ndarray, hair: np.ndarray) -> np.ndarray:
    """(n,) in [0, 1]: where a colour lies between skin (0) and hair (1), on the logarithm of lightness."""
    span = np.log(max(float(hair.mean()), 1e-3)) - np.log(max(float(skin.mean()), 1e-3))
    if abs(span) < 0.25:
        return np.zeros(len(colour))
    return np.clip((np.log(np.maximum(colour.mean(-1), 1e-3)) - np.log(max(float(skin.mean()), 1e-3))) / span, 0, 1)
