"""The exact network as the distillation sees it: for raw inputs, how far each texel of the tiles moves away from the static texture.

The network adds to the sRGB code of the static texture, and patches of several blocks may overlap there. Tiles add in linear light. So what
all blocks do to a texel together, in linear light, is shared out by what each of them adds to the code: the shares sum to the whole exactly,
and a block's share hardly depends on the others.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import numpy as np
import scipy.sparse as sp
import torch
from scipy.ndimage import binary_dilation

from ...render.shading import linear_from_srgb, srgb_from_linear
from ...render.textures import sample
from .canvas import Canvas, Patch
from .exact import ExactTexture
from .painting import canvas_lookup, window_at

_DILATION = 2
"""Texels kept around what the mask needs: the lookup between texels reads one of them."""

_DARKEST = 1e-3


@dataclasses.dataclass(frozen=True)
class Crop:
    """What of a patch the mask needs. patch: index. block: index of its name. rows, cols: within the patch. keep: (h, w) bool.
    uv_rect: (u0, v0, u1, v1) of the crop."""

    patch: int
    block: int
    rows: slice
    cols: slice
    keep: np.ndarray
    uv_rect: tuple[float, float, float, float]

    @property
    def num_texels(self) -> int:
        return int(self.keep.sum())


@dataclasses.dataclass(frozen=True)
class Teacher:
    """A function to be distilled.

    offsets: (n, X) float32 raw inputs -> (n, T, 3) float32, linear offset from the static texture at the kept texels, crop after crop, the
        block's window in it, the mask not. metric: (T, 3) float32, what a difference there counts (mask times slope of the sRGB curve).
    crops: what becomes tiles. input_names: X names; joints and orientation as ``joint.x``. input_limits: (X, 2), infinite for angles.
    still: (X,) values of the inputs that keep one, above all the orientation. size_px: side of the texture.
    """

    offsets: Callable[[np.ndarray], np.ndarray]
    metric: np.ndarray
    crops: tuple[Crop, ...]
    input_names: tuple[str, ...]
    input_limits: np.ndarray
    still: np.ndarray
    size_px: int

    @property
    def num_texels(self) -> int:
        return sum(crop.num_texels for crop in self.crops)

    @property
    def is_control(self) -> np.ndarray:
        """(X,) bool: inputs that are controls of the package, and so alive in Blender."""
        return np.array(["." not in name for name in self.input_names])


def mask_crops(patches: tuple[Patch, ...], needs: list[np.ndarray]) -> tuple[Crop, ...]:
    """The part of every patch that is needed, and a little around it.

    Args:
        patches: of the canvas. needs: for each (h, w) bool, texels where mask and window leave something.
    """
    crops = []
    for index, (patch, need) in enumerate(zip(patches, needs)):
        keep = binary_dilation(need, np.ones((3, 3), bool), _DILATION)
        if not keep.any():
            continue
        rows, cols = np.flatnonzero(keep.any(1)), np.flatnonzero(keep.any(0))
        top, bottom, left, right = rows[0], rows[-1] + 1, cols[0], cols[-1] + 1
        x0, y0, x1, y1 = patch.canvas_rect_px
        u0, v0, u1, v1 = patch.uv_rect
        u = u0 + (u1 - u0) * np.array([left, right]) / (x1 - x0)
        v = v1 - (v1 - v0) * np.array([bottom, top]) / (y1 - y0)
        crops.append(Crop(
            index, patch.block, slice(int(top), int(bottom)), slice(int(left), int(right)), keep[top:bottom, left:right],
            (float(u[0]), float(v[0]), float(u[1]), float(v[1])),
        ))
    return tuple(crops)


def encoding_slope(linear: np.ndarray) -> np.ndarray:
    """How much the sRGB curve stretches a small difference there, at most fivefold (the darkest would otherwise rule)."""
    return np.minimum(1.055 / 2.4 * np.maximum(linear, _DARKEST) ** (1 / 2.4 - 1), 5).astype(np.float32)


def teacher_of(exact: ExactTexture, static: np.ndarray, mask: np.ndarray, control_limits: np.ndarray) -> Teacher:
    """The teacher for a trained network.

    Args:
        exact: the network and where it paints. static: (S, S, 3) linear. mask: (S, S) in [0, 1], M. control_limits: (controls of its space, 2).
    """
    space, canvas, windows = exact.space, exact.canvas, exact.windows
    places = [canvas.uv_of_texels(patch) for patch in canvas.patches]
    texture, mask_image = torch.from_numpy(np.ascontiguousarray(static, np.float32)), torch.from_numpy(np.ascontiguousarray(mask, np.float32))[..., None]
    look = lambda image, uv: sample(image, torch.from_numpy(uv.reshape(-1, 2).astype(np.float32))).numpy()  # noqa: E731
    shares = [window_at(windows[patch.block], uv.reshape(-1, 2)).reshape(uv.shape[:2]) for patch, uv in zip(canvas.patches, places)]
    masks = [look(mask_image, uv)[:, 0].reshape(uv.shape[:2]) for uv in places]
    crops = mask_crops(canvas.patches, [(share > 1e-3) & (here > 0) for share, here in zip(shares, masks)])
    uv_parts, own_parts, share_parts, mask_parts = [], [], [], []
    for crop in crops:
        inside = (crop.rows, crop.cols)
        uv_parts.append(places[crop.patch][inside][crop.keep])
        share_parts.append(shares[crop.patch][inside][crop.keep])
        mask_parts.append(masks[crop.patch][inside][crop.keep])
        rows, cols = np.nonzero(crop.keep)
        x0, y0, _, _ = canvas.patches[crop.patch].canvas_rect_px
        own_parts.append((rows + crop.rows.start + y0) * canvas.size_px + cols + crop.cols.start + x0)
    empty = np.zeros((0, 2))
    uv, own = np.concatenate([empty, *uv_parts]), np.concatenate([np.zeros(0, int), *own_parts]).astype(np.int64)
    share, here = np.concatenate([np.zeros(0), *share_parts]).astype(np.float32), np.concatenate([np.zeros(0), *mask_parts])
    whole = _canvas_reader(canvas, windows, uv)
    linear = look(texture, uv) if len(uv) else np.zeros((0, 3), np.float32)
    base, code = torch.from_numpy(linear), srgb_from_linear(torch.from_numpy(linear))
    share_of = torch.from_numpy(share)[:, None]

    def offsets(inputs: np.ndarray) -> np.ndarray:
        painted = exact.offsets(inputs).reshape(len(inputs), -1, 3)
        result = np.empty((len(inputs), len(uv), 3), np.float32)
        for picture, out in zip(painted, result):
            total = torch.from_numpy(whole @ picture)
            alone = share_of * torch.from_numpy(picture[own])
            # The secant of the curve over what all blocks add; where that is nothing, its slope.
            is_small = total.abs() < 1e-4
            step = torch.where(is_small, torch.full_like(total, 1e-3), total)
            secant = (linear_from_srgb(code + step) - base) / step
            out[:] = (alone * secant).numpy()
        return result

    limits = np.concatenate([np.asarray(control_limits, float), np.tile([-np.inf, np.inf], (len(space.names) - space.num_controls, 1))])
    still = space.mean.astype(np.float32).copy()
    still[-3:] = space.constant_orientation
    metric = (here[:, None] * encoding_slope(linear)).astype(np.float32)
    return Teacher(offsets, metric, crops, space.names, limits, still, len(static))


def _canvas_reader(canvas: Canvas, windows: np.ndarray, uv: np.ndarray) -> sp.csr_matrix:
    """(n, C C): what places of the texture read from the canvas, all blocks together with their windows."""
    lookup = canvas_lookup(canvas, windows, uv)
    side = canvas.size_px
    x, y = np.clip(lookup.px[:, 0] - 0.5, 0, side - 1), np.clip(lookup.px[:, 1] - 0.5, 0, side - 1)
    left, top = x.astype(int), y.astype(int)
    rows, columns, values = [], [], []
    for dx in (0, 1):
        for dy in (0, 1):
            rows.append(lookup.place)
            columns.append(np.minimum(top + dy, side - 1) * side + np.minimum(left + dx, side - 1))
            values.append(lookup.weight * np.abs(1 - dx - (x - left)) * np.abs(1 - dy - (y - top)))
    shape = (len(uv), side * side)
    return sp.csr_matrix((np.concatenate(values).astype(np.float32), (np.concatenate(rows), np.concatenate(columns))), shape=shape)
