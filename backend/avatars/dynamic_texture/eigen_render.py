"""Paints the distilled texture, exactly as the format defines it. numpy; the reference for the nodes that Blender gets."""

from __future__ import annotations

import dataclasses

import numpy as np

from ...geometry.shapes import check_shape
from .eigen import EigenTexture


@dataclasses.dataclass(frozen=True)
class TileLookup:
    """Where the texels of a square texture that lie in one rectangle fall in a tile. Separable: rows and columns apart.

    rows, cols: ranges of the texture. low_y, low_x: first of the two tile texels; high_y, high_x: second; share_y, share_x: of the second.
    """

    rows: slice
    cols: slice
    low_y: np.ndarray
    high_y: np.ndarray
    share_y: np.ndarray
    low_x: np.ndarray
    high_x: np.ndarray
    share_x: np.ndarray

    def spread(self, tile: np.ndarray) -> np.ndarray:
        """(h, w, c) tile -> (rows, cols, c) float32 at the texture's texels, bilinear, clamped at the edge."""
        tile = np.asarray(tile, np.float32)
        upright = tile[self.low_y] + self.share_y[:, None, None] * (tile[self.high_y] - tile[self.low_y])
        left = upright[:, self.low_x]
        return left + self.share_x[None, :, None] * (upright[:, self.high_x] - left)


def tile_lookup(uv_rect: np.ndarray, tile_hw: tuple[int, int], size_px: int) -> TileLookup:
    """The lookup for a rectangle (u0, v0, u1, v1), v up, of a texture with ``size_px`` a side; row 0 of tile and texture at the top."""
    u0, v0, u1, v1 = (float(value) for value in uv_rect)
    cols, low_x, high_x, share_x = _axis(u0, u1, tile_hw[1], size_px)
    rows, low_y, high_y, share_y = _axis(1 - v1, 1 - v0, tile_hw[0], size_px)
    return TileLookup(rows, cols, low_y, high_y, share_y, low_x, high_x, share_x)


def _axis(start: float, stop: float, num: int, size_px: int) -> tuple[slice, np.ndarray, np.ndarray, np.ndarray]:
    centres = (np.arange(size_px) + 0.5) / size_px
    inside = np.flatnonzero((centres >= start) & (centres <= stop))
    texels = slice(int(inside[0]), int(inside[-1]) + 1) if len(inside) else slice(0, 0)
    place = np.clip((centres[texels] - start) / (stop - start) * num - 0.5, 0, num - 1)
    low = np.floor(place).astype(np.int64)
    return texels, low, np.minimum(low + 1, num - 1), (place - low).astype(np.float32)


class EigenPainter:
    """A distilled texture over one static texture and mask. Holds only look-up tables and references.

    Args:
        eigen: what to paint. static: (S, S, 3) linear. mask: (S, S) in [0, 1], M.
    """

    def __init__(self, eigen: EigenTexture, static: np.ndarray, mask: np.ndarray):
        check_shape("static", static, None, None, 3)
        check_shape("mask", mask, *static.shape[:2])
        self.eigen = eigen
        self.static = np.ascontiguousarray(static, np.float32)
        self.mask = np.ascontiguousarray(mask, np.float32)
        self._tiles = [np.asarray(tile, np.float32) for tile in eigen.tiles]
        self._lookups = [tile_lookup(rect, tile.shape[1:3], len(static)) for rect, tile in zip(eigen.patch_uv_rect, eigen.tiles)]

    def texture_from_weights(self, weights: np.ndarray, dynamic: float = 1.0) -> np.ndarray:
        """(S, S, 3) float32 linear from (K,) weights."""
        offset = np.zeros_like(self.static)
        for block, tile, lookup in zip(self.eigen.patch_block, self._tiles, self._lookups):
            first = self.eigen.first_component(int(block))
            mixed = np.tensordot(np.asarray(weights[first : first + len(tile)], np.float32), tile, 1)
            offset[lookup.rows, lookup.cols] += lookup.spread(mixed)
        return np.clip(self.static + np.float32(dynamic) * self.mask[..., None] * offset, 0, 1)

    def texture(self, controls: np.ndarray, dynamic: float = 1.0) -> np.ndarray:
        """(S, S, 3) float32 linear from (E,) control values in the order of the map's ``input_names``. ``dynamic``: 0 = static, 1 = all of it."""
        return self.texture_from_weights(self.eigen.weight_map.weights(np.asarray(controls)[None])[0], dynamic)
