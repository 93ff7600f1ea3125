"""A texture that changes with the expression, of known truth: albedo + sum of weight times layer, in linear light (docs/formats/truth.md)."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import torch

from ..errors import AvatarError
from ..render.meshes import interpolate, rasterise_uv
from ..render.shading import linear_from_srgb
from ..rig.model import RigModel
from ..storage import read_arrays, write_arrays
from .anatomy import Anatomy
from .expression_layers import LAYERS, layer_weights
from .looks import Look
from .paint_expression import paint_layers
from .texture_bake import BakedTexture

FORMAT_VERSION = 1
_MARGIN_PX = 2
"""Every layer is cut out with so many texels of zeros around it, so that reading between texels stays exact at its border."""


@dataclasses.dataclass(frozen=True)
class ExpressionTexture:
    """K layers over a texture of (S, S).

    names: K names. rects_px: (K, 4) int32 x0, y0, x1, y1 of each layer in the texture, row 0 is v = 1.
    layers: K arrays (y1 - y0, x1 - x0, 3) float16, signed, linear light. weights: (N, K) float32, one row per frame.
    """

    names: tuple[str, ...]
    rects_px: np.ndarray
    layers: tuple[np.ndarray, ...]
    weights: np.ndarray

    def texture(self, albedo: np.ndarray, weights: np.ndarray) -> np.ndarray:
        """(S, S, 3) float32 linear: the texture with some strengths.

        Args:
            albedo: (S, S, 3) float32 linear, without any expression. weights: (K,).
        """
        changed = albedo.copy()
        for weight, layer, (left, top, right, bottom) in zip(weights, self.layers, self.rects_px):
            if weight > 0:
                changed[top:bottom, left:right] += np.float32(weight) * layer
        return np.clip(changed, 0, 1, out=changed)


def bake_expression_texture(rig: RigModel, anatomy: Anatomy, look: Look, texture: BakedTexture, control_names: tuple[str, ...], controls: np.ndarray) -> ExpressionTexture:
    """Paints the layers of one person and works out their strengths in every frame.

    Args:
        texture: of the same person. control_names, controls: E names and (N, E) of the performance.
    """
    size = len(texture.albedo)
    triangles, uv_triangles, owner = rig.triangles_of_quads()
    fragments = rasterise_uv(torch.from_numpy(rig.uv), torch.from_numpy(uv_triangles), size)
    part = np.array(rig.part_names)[rig.quad_parts[owner]]
    ids = fragments.triangle_ids.numpy()
    is_skin = (ids >= 0) & np.isin(part, ["skin", "scalp"])[np.maximum(ids, 0)]
    masks = interpolate(fragments, torch.from_numpy(triangles), torch.from_numpy(np.stack([anatomy.lips, anatomy.is_inside], -1).astype(np.float32))).numpy()[is_skin]
    mouth = anatomy.lip_outline if anatomy.lip_outline is not None else rig.template[anatomy.lips > 0.5].astype(np.float64)
    changes = paint_layers(texture.position[is_skin].astype(np.float64), anatomy, mouth, masks[:, 0], masks[:, 1], look.seed + 700)
    albedo = linear_from_srgb(torch.from_numpy(texture.albedo[is_skin])).numpy()
    rects, layers = [], []
    for name in LAYERS:
        full = np.zeros((size, size, 3), np.float32)
        change = np.where(np.abs(changes[name]).max(1, keepdims=True) > 0.004, changes[name], 0.0)
        full[is_skin] = albedo * change
        rect = _box(np.abs(full).max(-1) > 0, size)
        rects.append(rect)
        layers.append(full[rect[1] : rect[3], rect[0] : rect[2]].astype(np.float16))
    return ExpressionTexture(tuple(LAYERS), np.array(rects, np.int32), tuple(layers), layer_weights(control_names, controls))


def _box(mask: np.ndarray, size: int) -> tuple[int, int, int, int]:
    """Smallest box (x0, y0, x1, y1) around a mask with its margin; one texel when the mask is empty."""
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    if not len(rows):
        return 0, 0, 1, 1
    low, high = lambda value: max(0, int(value) - _MARGIN_PX), lambda value: min(size, int(value) + 1 + _MARGIN_PX)  # noqa: E731
    return low(columns[0]), low(rows[0]), high(columns[-1]), high(rows[-1])


def write_expression_texture(path: Path, texture: ExpressionTexture) -> None:
    """Writes ``expression_texture.npz``."""
    arrays = {"format_version": np.array(FORMAT_VERSION), "layer_names": np.array(texture.names), "rects_px": texture.rects_px, "weights": texture.weights}
    write_arrays(path, {**arrays, **{f"layers.{index}": layer for index, layer in enumerate(texture.layers)}})


def read_expression_texture(path: Path) -> ExpressionTexture:
    """Reads what ``write_expression_texture`` wrote. Raises ``bad_input`` when the file is damaged or newer than this program."""
    arrays = read_arrays(path)
    names = tuple(str(name) for name in arrays.get("layer_names", ()))
    wanted = {"format_version", "rects_px", "weights", *(f"layers.{index}" for index in range(len(names)))}
    if not names or not wanted <= arrays.keys() or int(arrays["format_version"]) > FORMAT_VERSION:
        raise AvatarError("bad_input", f"{path} is no expression texture this version can read.", "Make the clip again.", {"path": str(path)})
    return ExpressionTexture(names, arrays["rects_px"], tuple(arrays[f"layers.{index}"] for index in range(len(names))), arrays["weights"])
