"""What the textured mesh needs to be drawn."""

from __future__ import annotations

import dataclasses

import numpy as np
import torch

from ..geometry.shapes import check_shape
from ..rig.posing import PosableHead

UNDRAWN_PARTS = ("cornea_left", "cornea_right", "lashes")
"""Parts that are not drawn: corneas are clear, and lashes are thin hairs on cards whose shape no opaque texture holds."""


@dataclasses.dataclass(frozen=True)
class TexturedMesh:
    """A posable head, its drawn triangles and its colours.

    head: posable head, V vertices. triangles: (F, 3) int32, drawn ones only. corner_uv: (F, 3, 2) float32, v up.
    texture: (S, S, 3) float32, linear light, row 0 is v = 1.
    """

    head: PosableHead
    triangles: np.ndarray
    corner_uv: np.ndarray
    texture: torch.Tensor


def state_of(
    head: PosableHead, quads: np.ndarray, uv: np.ndarray, quad_uv: np.ndarray, quad_parts: np.ndarray, part_names: tuple[str, ...], texture_linear: np.ndarray
) -> TexturedMesh:
    """Puts a textured mesh together from the arrays that rig models and packages have in common.

    Args:
        head: posable head. quads: (Q, 4), -1 in the last place for a triangle. uv: (T, 2). quad_uv: (Q, 4).
        quad_parts: (Q,) into ``part_names``. texture_linear: (S, S, 3) float.
    """
    check_shape("quads", quads, None, 4)
    check_shape("texture_linear", texture_linear, None, None, 3)
    is_drawn = ~np.isin(quad_parts, [index for index, name in enumerate(part_names) if name in UNDRAWN_PARTS])
    corners = np.stack([quads[is_drawn][:, [0, 1, 2]], quads[is_drawn][:, [0, 2, 3]]], 1).reshape(-1, 3)
    uv_corners = np.stack([quad_uv[is_drawn][:, [0, 1, 2]], quad_uv[is_drawn][:, [0, 2, 3]]], 1).reshape(-1, 3)
    keep = corners[:, 2] >= 0
    texture = torch.from_numpy(np.ascontiguousarray(texture_linear, np.float32))
    return TexturedMesh(head, np.ascontiguousarray(corners[keep], np.int32), np.ascontiguousarray(uv[uv_corners[keep]], np.float32), texture)
