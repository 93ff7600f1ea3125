"""From the painted canvas to the head's texture: T(u) = static(u) + M(u) (dyn(u) - static(u)), linear light.

    dyn(u) = linear(clip(srgb(static(u)) + sum over blocks of window_b(u) canvas_b(u), 0, 1))

Windows are those of the blocks, less what no training frame ever showed: the network says nothing about places it was never told about.
"""

from __future__ import annotations

import dataclasses

import cv2
import numba
import numpy as np
import torch

from ...capture.colour import srgb_encode
from ...geometry.shapes import check_shape
from .canvas import Canvas

WINDOW_PX = 256
"""Side of the pictures that windows are kept in."""
_SEEN_PX = 3.0
"""Training pixels that must have hit a texel of the window picture before it counts as seen."""


@dataclasses.dataclass(frozen=True)
class CanvasLookup:
    """Where n places of the texture read the canvas. place: (k,) int32 into the n, ascending. px: (k, 2) float32 canvas pixels. weight: (k,) float32."""

    place: np.ndarray
    px: np.ndarray
    weight: np.ndarray
    num_places: int


def paintable_windows(windows: np.ndarray, hits: np.ndarray) -> np.ndarray:
    """The blocks' windows less what was never seen.

    Args:
        windows: (B, S, S) in [0, 1], sum 1. hits: (WINDOW_PX, WINDOW_PX), training pixels that showed each place.

    Returns:
        (B, WINDOW_PX, WINDOW_PX) uint8.
    """
    small = np.stack([cv2.resize(window.astype(np.float32), (WINDOW_PX, WINDOW_PX), interpolation=cv2.INTER_AREA) for window in windows])
    seen = cv2.dilate((hits >= _SEEN_PX).astype(np.float32), cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (5, 5)))
    feathered = np.minimum(seen, cv2.GaussianBlur(seen, (0, 0), 1.0))
    return np.floor(np.clip(small * feathered, 0, 1) * 255 + 0.5).astype(np.uint8)


def window_at(window: np.ndarray, uv: np.ndarray) -> np.ndarray:
    """(n,) float32 in [0, 1]: a window picture (uint8) at (n, 2) uv, bilinear, texel centres at (i + 0.5) / size."""
    height, width = window.shape
    x, y = (np.ascontiguousarray(value, np.float32).reshape(1, -1) for value in (uv[:, 0] * width - 0.5, (1 - uv[:, 1]) * height - 0.5))
    # cv2.remap takes at most 32767 columns.
    steps = range(0, x.shape[1], 30000)
    parts = [cv2.remap(window.astype(np.float32), x[:, at : at + 30000], y[:, at : at + 30000], cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE) for at in steps]
    return (np.concatenate(parts, 1)[0] if parts else np.zeros(0, np.float32)) / np.float32(255)


def canvas_lookup(canvas: Canvas, windows: np.ndarray, uv: np.ndarray) -> CanvasLookup:
    """Which canvas pixels the places ``uv`` (n, 2) read, and how much of each."""
    check_shape("uv", uv, None, 2)
    places, pixels, weights = [], [], []
    at_block = [window_at(window, uv) for window in windows]
    for patch in canvas.patches:
        u0, v0, u1, v1 = patch.uv_rect
        weight = at_block[patch.block]
        inside = (uv[:, 0] >= u0) & (uv[:, 0] < u1) & (uv[:, 1] >= v0) & (uv[:, 1] < v1) & (weight > 1e-3)
        chosen = np.flatnonzero(inside)
        places.append(chosen)
        pixels.append(canvas.px_of_uv(patch, uv[chosen]))
        weights.append(weight[chosen])
    place = np.concatenate(places)
    order = np.argsort(place, kind="stable")
    return CanvasLookup(
        place[order].astype(np.int32), np.concatenate(pixels)[order].astype(np.float32), np.concatenate(weights)[order].astype(np.float32), len(uv)
    )


class TexturePainter:
    """Paints whole textures. Holds the look-up of every texel that can change.

    Args:
        static: (S, S, 3) float32 linear. mask: (S, S) float32, M. canvas, windows: what the network paints and where.
    """

    def __init__(self, static: np.ndarray, mask: np.ndarray, canvas: Canvas, windows: np.ndarray) -> None:
        size = len(static)
        check_shape("mask", mask, size, size)
        rows, cols = np.nonzero(mask > 0)
        lookup = canvas_lookup(canvas, windows, np.stack([(cols + 0.5) / size, 1 - (rows + 0.5) / size], -1))
        used = np.unique(lookup.place)
        self.static = static
        self._texels = (rows[used] * size + cols[used]).astype(np.int64)
        self._mask = mask.reshape(-1)[self._texels].astype(np.float32)
        self._linear = np.ascontiguousarray(static.reshape(-1, 3)[self._texels], np.float32)
        self._encoded = srgb_encode(self._linear).astype(np.float32)
        self._starts = np.concatenate([np.searchsorted(lookup.place, used), [len(lookup.place)]]).astype(np.int64)
        self._px, self._weight = lookup.px, lookup.weight

    @property
    def texels(self) -> np.ndarray:
        """(k,) int64: flat indices (row-major) of the texels that can change."""
        return self._texels

    def changed(self, offsets: np.ndarray, amount: float = 1.0) -> np.ndarray:
        """(B, k, 3) float32 linear: the texels that can change, from painted canvases (B, h, w, 3) in sRGB units."""
        check_shape("offsets", offsets, None, None, None, 3)
        out = np.empty((len(offsets), len(self._texels), 3), np.float32)
        for picture, values in zip(np.ascontiguousarray(offsets, np.float32), out):
            _paint(picture, self._starts, self._px, self._weight, self._encoded, self._linear, np.float32(amount) * self._mask, values)
        return out

    def paint(self, offsets: np.ndarray, amount: float = 1.0) -> np.ndarray:
        """(B, S, S, 3) float32 linear textures; texels outside the mask are the static texture's own numbers."""
        result = np.repeat(self.static[None], len(offsets), 0)
        result.reshape(len(offsets), -1, 3)[:, self._texels] = self.changed(offsets, amount)
        return result


@numba.njit(cache=True, parallel=True, fastmath=False)
def _paint(canvas, starts, px, weight, encoded, linear, mask, out):  # type: ignore[no-untyped-def]
    height, width = canvas.shape[:2]
    for i in numba.prange(len(mask)):
        red = green = blue = np.float32(0)
        for k in range(starts[i], starts[i + 1]):
            x = min(max(px[k, 0] - np.float32(0.5), np.float32(0)), np.float32(width - 1))
            y = min(max(px[k, 1] - np.float32(0.5), np.float32(0)), np.float32(height - 1))
            left, top = int(x), int(y)
            right, bottom = min(left + 1, width - 1), min(top + 1, height - 1)
            fx, fy = np.float32(x - left), np.float32(y - top)
            a, b, c, d = (1 - fx) * (1 - fy), fx * (1 - fy), (1 - fx) * fy, fx * fy
            red += weight[k] * (a * canvas[top, left, 0] + b * canvas[top, right, 0] + c * canvas[bottom, left, 0] + d * canvas[bottom, right, 0])
            green += weight[k] * (a * canvas[top, left, 1] + b * canvas[top, right, 1] + c * canvas[bottom, left, 1] + d * canvas[bottom, right, 1])
            blue += weight[k] * (a * canvas[top, left, 2] + b * canvas[top, right, 2] + c * canvas[bottom, left, 2] + d * canvas[bottom, right, 2])
        for channel in range(3):
            offset = red if channel == 0 else (green if channel == 1 else blue)
            value = min(max(encoded[i, channel] + offset, np.float32(0)), np.float32(1))
            value = value / np.float32(12.92) if value <= np.float32(0.04045) else ((value + np.float32(0.055)) / np.float32(1.055)) ** np.float32(2.4)
            out[i, channel] = min(max(linear[i, channel] + mask[i] * (value - linear[i, channel]), np.float32(0)), np.float32(1)) if mask[i] > 0 else linear[i, channel]


def composed(static: torch.Tensor, mask: torch.Tensor, offset: torch.Tensor, encoded: torch.Tensor) -> torch.Tensor:
    """The same for training, differentiable in ``offset``: (n, 3) linear albedo of n places from static (n, 3) linear, its sRGB code, M (n, 1), offset (n, 3)."""
    value = (encoded + offset).clamp(0, 1)
    dynamic = torch.where(value <= 0.04045, value / 12.92, ((value + 0.055) / 1.055).clamp_min(1e-6) ** 2.4)
    return static + mask * (dynamic - static)
