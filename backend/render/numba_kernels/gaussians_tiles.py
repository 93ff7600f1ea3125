"""Which splats touch which tile, front to back (CPU, numba).

Everything here is integer work of a fixed order: the lists do not depend on the number of threads.
"""

from __future__ import annotations

import math

import numba
import numpy as np

TILE_PX = 16
"""Side of a tile, px; one row of a tile is one vector of the compositing loops."""

NUM_CHUNKS = 16  # Fixed, so that nothing depends on the number of threads.
_RADIX_BITS = 11
_MIN_ALPHA = 1.0 / 255.0


@numba.njit(cache=True, parallel=True)
def pack_splats(means_px, conics, radii_px, depths_m, opacities, height, width, splats, bounds, slots, keys):  # pragma: no cover - compiled
    """What the compositing loops read about a splat, and which pixels it can reach.

    A splat is seen where opacity * exp(-d^T Q d / 2) >= 1/255, an ellipse; its axis-aligned box is exact up to rounding.

    Args:
        means_px: (N, 2). conics: (N, 3) upper triangle of Q. radii_px: (N, 2) int32, 0 = culled. depths_m, opacities: (N,).
        splats: (N, 8) float32, out: mean x, y, conic xx, xy, yy, opacity, 0, 0.
        bounds: (N, 4) int32, out: first and last column, first and last row; (0, -1, 0, -1) when nothing is seen.
        slots: (N + 1,) int64, out: slots[i + 1] = number of tiles of splat i, slots[0] = 0.
        keys: (N,) uint32, out: orders like the depth.
    """
    slots[0] = 0
    for i in numba.prange(means_px.shape[0]):
        bounds[i, 0] = 0
        bounds[i, 1] = -1
        bounds[i, 2] = 0
        bounds[i, 3] = -1
        slots[i + 1] = 0
        keys[i] = np.float32(depths_m[i]).view(np.uint32)
        if radii_px[i, 0] <= 0 or radii_px[i, 1] <= 0 or not opacities[i] >= np.float32(_MIN_ALPHA):
            continue
        a = np.float64(conics[i, 0])
        b = np.float64(conics[i, 1])
        c = np.float64(conics[i, 2])
        det = a * c - b * b
        if not (det > 0.0 and a > 0.0):
            continue
        x = np.float64(means_px[i, 0])
        y = np.float64(means_px[i, 1])
        reach = 2.0 * math.log(np.float64(opacities[i]) * 255.0) + 1e-5
        # A little slack: the test per pixel is the judge.
        half_x = math.sqrt(reach * c / det) * 1.0001
        half_y = math.sqrt(reach * a / det) * 1.0001
        if not (x + half_x >= 0.5 and x - half_x <= width - 0.5 and y + half_y >= 0.5 and y - half_y <= height - 0.5):
            continue
        x_first = int(math.ceil(max(x - half_x - 0.5, 0.0)))
        x_last = int(math.floor(min(x + half_x - 0.5, width - 1.0)))
        y_first = int(math.ceil(max(y - half_y - 0.5, 0.0)))
        y_last = int(math.floor(min(y + half_y - 0.5, height - 1.0)))
        if x_first > x_last or y_first > y_last:
            continue
        bounds[i, 0] = x_first
        bounds[i, 1] = x_last
        bounds[i, 2] = y_first
        bounds[i, 3] = y_last
        slots[i + 1] = (x_last // TILE_PX - x_first // TILE_PX + 1) * (y_last // TILE_PX - y_first // TILE_PX + 1)
        splats[i, 0] = means_px[i, 0]
        splats[i, 1] = means_px[i, 1]
        splats[i, 2] = conics[i, 0]
        splats[i, 3] = conics[i, 1]
        splats[i, 4] = conics[i, 2]
        splats[i, 5] = opacities[i]


@numba.njit(cache=True, parallel=True)
def pack_features(colours, depths_m, use_depth, features, is_bad):  # pragma: no cover - compiled
    """Colours, then the depth when asked for, then zeros up to a multiple of 4.

    Args:
        colours: (N, C). features: (N, 4 ceil((C + use_depth) / 4)) float32, out.
        is_bad: (16,) bool, out: a run of the splats holds a colour that is not finite.
    """
    num, num_channels = colours.shape
    for chunk in numba.prange(NUM_CHUNKS):
        found = False
        for i in range(chunk * num // NUM_CHUNKS, (chunk + 1) * num // NUM_CHUNKS):
            total = np.float32(0.0)
            for q in range(num_channels):
                features[i, q] = colours[i, q]
                total += colours[i, q] * np.float32(0.0)
            found = found or not total == np.float32(0.0)
            for q in range(num_channels, features.shape[1]):
                features[i, q] = depths_m[i] if use_depth and q == num_channels else np.float32(0.0)
        is_bad[chunk] = found


@numba.njit(cache=True)
def order_visible(slots, keys):  # pragma: no cover - compiled
    """Sums ``slots`` up in place and sorts the splats that touch a tile.

    Returns:
        (M,) int32, indices by depth, equal depths by index (a radix sort from the lowest digit, stable).
    """
    num = keys.shape[0]
    num_visible = 0
    for i in range(num):
        if slots[i + 1] > 0:
            num_visible += 1
    order = np.empty(num_visible, np.int32)
    k = 0
    for i in range(num):
        if slots[i + 1] > 0:
            order[k] = i
            k += 1
        slots[i + 1] += slots[i]
    other = np.empty_like(order)
    num_digits = 1 << _RADIX_BITS
    starts = np.empty(num_digits + 1, np.int32)
    for shift in (0, _RADIX_BITS, 2 * _RADIX_BITS):
        for digit in range(num_digits + 1):
            starts[digit] = 0
        for k in range(num_visible):
            starts[((keys[order[k]] >> np.uint32(shift)) & np.uint32(num_digits - 1)) + 1] += 1
        for digit in range(num_digits):
            starts[digit + 1] += starts[digit]
        for k in range(num_visible):
            i = order[k]
            digit = (keys[i] >> np.uint32(shift)) & np.uint32(num_digits - 1)
            other[starts[digit]] = i
            starts[digit] += 1
        order, other = other, order
    return order


@numba.njit(cache=True, parallel=True)
def fill_tiles(order, bounds, height, width):  # pragma: no cover - compiled
    """The splats of every tile, front to back.

    Args:
        order: (M,) int32 from ``order_visible``. bounds: (N, 4) int32 from ``pack_splats``.

    Returns:
        starts: (num_tiles + 1,) int64; tiles run along rows. ids: (starts[-1],) int32, splats of tile t at starts[t]:starts[t + 1].
    """
    tiles_x = (width + TILE_PX - 1) // TILE_PX
    num_tiles = tiles_x * ((height + TILE_PX - 1) // TILE_PX)
    cursors = np.zeros((NUM_CHUNKS, num_tiles), np.int64)
    num = order.shape[0]
    for chunk in numba.prange(NUM_CHUNKS):
        for k in range(chunk * num // NUM_CHUNKS, (chunk + 1) * num // NUM_CHUNKS):
            i = order[k]
            for tile_y in range(bounds[i, 2] // TILE_PX, bounds[i, 3] // TILE_PX + 1):
                for tile_x in range(bounds[i, 0] // TILE_PX, bounds[i, 1] // TILE_PX + 1):
                    cursors[chunk, tile_y * tiles_x + tile_x] += 1
    starts = np.empty(num_tiles + 1, np.int64)
    total = 0
    for tile in range(num_tiles):
        starts[tile] = total
        for chunk in range(NUM_CHUNKS):
            count = cursors[chunk, tile]
            cursors[chunk, tile] = total
            total += count
    starts[num_tiles] = total
    ids = np.empty(total, np.int32)
    for chunk in numba.prange(NUM_CHUNKS):
        for k in range(chunk * num // NUM_CHUNKS, (chunk + 1) * num // NUM_CHUNKS):
            i = order[k]
            for tile_y in range(bounds[i, 2] // TILE_PX, bounds[i, 3] // TILE_PX + 1):
                for tile_x in range(bounds[i, 0] // TILE_PX, bounds[i, 1] // TILE_PX + 1):
                    tile = tile_y * tiles_x + tile_x
                    ids[cursors[chunk, tile]] = i
                    cursors[chunk, tile] += 1
    return starts, ids
