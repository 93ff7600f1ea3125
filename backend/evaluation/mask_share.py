"""How much of the skin the blending mask covers, by area."""

from __future__ import annotations

import numpy as np
import torch

from ..package.model import MeshAsset
from ..render.meshes import rasterise_uv

SKIN = "skin"


def mask_area_percent(mesh: MeshAsset, mask: np.ndarray) -> float | None:
    """Mean of the mask over the surface of the skin, weighted by area.

    Args:
        mesh: the head, its neutral vertices in metres. mask: (S, S) in [0, 1], row 0 is v = 1.

    Returns:
        Percent; None when the head has no part called skin.
    """
    if SKIN not in mesh.part_names:
        return None
    is_skin = np.asarray(mesh.quad_parts) == mesh.part_names.index(SKIN)
    corners = np.stack([mesh.quads[is_skin][:, [0, 1, 2]], mesh.quads[is_skin][:, [0, 2, 3]]], 1).reshape(-1, 3)
    uv_corners = np.stack([mesh.quad_uv[is_skin][:, [0, 1, 2]], mesh.quad_uv[is_skin][:, [0, 2, 3]]], 1).reshape(-1, 3)
    keep = corners[:, 2] >= 0
    corners, uv_corners = corners[keep], np.ascontiguousarray(uv_corners[keep])
    ids = rasterise_uv(torch.from_numpy(np.asarray(mesh.uv, np.float32)), torch.from_numpy(uv_corners), len(mask)).triangle_ids.numpy()
    inside = ids >= 0
    if not inside.any():
        return None
    points = mesh.vertices[corners].astype(np.float64)
    area_m2 = 0.5 * np.linalg.norm(np.cross(points[:, 1] - points[:, 0], points[:, 2] - points[:, 0]), axis=1)
    texels = np.bincount(ids[inside], minlength=len(corners))
    covered = np.bincount(ids[inside], weights=mask[inside], minlength=len(corners))
    share = covered / np.maximum(texels, 1)
    seen = texels > 0
    return float(100 * (share * area_m2)[seen].sum() / area_m2[seen].sum())
