"""The painted texture of one synthetic person, in the rig's own texture space."""

from __future__ import annotations

import dataclasses

import numpy as np
import torch

from ..render.meshes import interpolate, rasterise_uv
from ..rig.model import RigModel
from .anatomy import Anatomy
from .looks import Look
from .paint_parts import lash_opacity, paint_eye, paint_teeth, paint_tongue
from .paint_skin import paint_skin

LID_RIMS = ("lid_upper_left", "lid_lower_left", "lid_upper_right", "lid_lower_right")


@dataclasses.dataclass(frozen=True)
class BakedTexture:
    """albedo: (h, w, 3) float32 sRGB in [0, 1], row 0 is v = 1. opacity: (h, w) float32, below 1 only on lashes and corneas.

    position: (h, w, 3) float32 m, the template point of each texel, NaN where there is none.
    """

    albedo: np.ndarray
    opacity: np.ndarray
    position: np.ndarray


def bake_texture(rig: RigModel, anatomy: Anatomy, look: Look, size_px: int, use_hair: bool) -> BakedTexture:
    """Paints every texel; texels outside all charts take the colour of the nearest one inside."""
    from scipy.ndimage import distance_transform_edt

    triangles, uv_triangles, owner = rig.triangles_of_quads()
    fragments = rasterise_uv(torch.from_numpy(rig.uv), torch.from_numpy(uv_triangles), size_px)
    rims = np.any([rig.regions[name] for name in LID_RIMS], axis=0)
    attributes = np.concatenate(
        [rig.template, np.stack([anatomy.lips, anatomy.is_inside, anatomy.openness, rims.astype(np.float32)], -1)], -1
    ).astype(np.float32)
    values = interpolate(fragments, torch.from_numpy(triangles), torch.from_numpy(attributes)).numpy()
    is_covered = fragments.is_covered.numpy()
    points, masks = values[is_covered][:, :3].astype(np.float64), values[is_covered][:, 3:]
    part = np.array(rig.part_names)[rig.quad_parts[owner[fragments.triangle_ids.numpy()[is_covered]]]]
    colour, opacity = np.full(points.shape, 0.5), np.ones(len(points))
    chosen = np.isin(part, ["skin", "scalp"])
    colour[chosen] = paint_skin(points[chosen], anatomy, look, *(masks[chosen][:, [0, 1, 2, 3]].T), use_hair)
    for number, side in enumerate(("left", "right")):
        chosen = part == f"eye_{side}"
        colour[chosen] = paint_eye(points[chosen], anatomy.eyes[number], look, look.seed + 100 * (number + 1))
        chosen = part == f"cornea_{side}"
        colour[chosen], opacity[chosen] = 0.9, 0.0
    for number, row in enumerate(("upper", "lower")):
        chosen = part == f"teeth_{row}"
        if chosen.any():
            quads = rig.quads[rig.quad_parts == rig.part_names.index(f"teeth_{row}")]
            colour[chosen] = paint_teeth(points[chosen], rig.template[np.unique(quads[quads >= 0])], row == "upper", look, look.seed + 300 + number)
    chosen = part == "tongue"
    colour[chosen] = paint_tongue(points[chosen], look.seed + 400)
    chosen = part == "lashes"
    if chosen.any():
        colour[chosen] = look.hair * 0.45
        opacity[chosen] = lash_opacity(points[chosen], rig.template[rims], look.seed + 500)
    albedo = np.zeros((size_px, size_px, 3), np.float32)
    alpha = np.ones((size_px, size_px), np.float32)
    position = np.full((size_px, size_px, 3), np.nan, np.float32)
    albedo[is_covered], alpha[is_covered], position[is_covered] = colour, opacity, points
    rows, columns = distance_transform_edt(~is_covered, return_distances=False, return_indices=True)
    return BakedTexture(albedo[rows, columns], alpha[rows, columns], position)
