"""Splats over one another in every pixel, and the gradients of that (CPU, numba).

One tile is one unit of work. Its pixels lie in planes of 16 x 16 floats, and the innermost loops run over the 16 pixels of one
row without a branch, so that the compiler makes vector instructions of them: a pixel that a splat does not reach adds 0.
Gradients of a splat are summed over the rows of a tile per column, written to the slot of (splat, tile), and gathered per
splat afterwards in the order of the tiles: no races, and the sums do not depend on the number of threads.
"""

from __future__ import annotations

import numba
import numpy as np

from .gaussians_tiles import TILE_PX

_MAX_ALPHA = np.float32(0.999)
_MIN_ALPHA = np.float32(1.0 / 255.0)
_MIN_TRANSMITTANCE = np.float32(1e-4)
_ZERO = np.float32(0.0)
_HALF = np.float32(0.5)
_ONE = np.float32(1.0)
_SPLATS_PER_CHECK = 16  # How often a tile asks which of its rows are still open.


@numba.njit(inline="always")
def _exp_of_negative(x):  # pragma: no cover - compiled
    """exp(-x) for x >= 0, relative error below 3e-7; 2^-126 and no less. Vectorises, which the library's exp does not."""
    t = max(x * np.float32(-1.4426950408889634), np.float32(-126.0))
    whole = np.floor(t)
    f = t - whole
    # Minimax polynomial of 2^f on [0, 1); the exponent's bits are written as one exact float, so no integer arithmetic widens the loop.
    p = np.float32(1.867131478e-3)
    p = p * f + np.float32(9.017024660e-3)
    p = p * f + np.float32(5.579992042e-2)
    p = p * f + np.float32(2.401644466e-1)
    p = p * f + np.float32(6.931513124e-1)
    p = p * f + np.float32(1.0)
    return p * np.int32((whole + np.float32(127.0)) * np.float32(8388608.0)).view(np.float32)


@numba.njit(cache=True, parallel=True)
def composite_forward(splats, bounds, starts, ids, features, background, picture, depth, transmittance, alpha, last):  # pragma: no cover - compiled
    """Front to back in every pixel.

    Args:
        splats: (N, 8), bounds: (N, 4), starts, ids: see ``gaussians_tiles``.
        features: (N, C) float32, C a multiple of 4. background: (C,) float32.
        picture: (H, W, D) float32, out, the first D <= C features. depth: (H, W) float32, out, feature D; (0, 0) when not wanted.
        transmittance, alpha: (H, W) float32, out, one minus the other; both, because 1 - alpha has lost its digits where it is small.
        last: (H, W) int32, out: position in the tile's list of the last splat that was added, -1 = none.
    """
    height, width, num_pictured = picture.shape
    num_more = features.shape[1] - 4
    tiles_x = (width + TILE_PX - 1) // TILE_PX
    for tile in numba.prange(starts.shape[0] - 1):
        x_tile = (tile % tiles_x) * TILE_PX
        y_tile = (tile // tiles_x) * TILE_PX
        rows = min(TILE_PX, height - y_tile)
        columns = min(TILE_PX, width - x_tile)
        first = starts[tile]
        num = starts[tile + 1] - first
        # Planes: 0 transmittance, its sign turned once the pixel is closed; 1 position of the last splat; 2-5 the first four features.
        state = np.zeros((6, TILE_PX, TILE_PX), np.float32)
        more = np.zeros((num_more, TILE_PX, TILE_PX), np.float32)
        weights = np.empty(TILE_PX, np.float32)
        is_open = np.ones(TILE_PX, np.bool_)
        for y in range(TILE_PX):
            for x in range(TILE_PX):
                state[0, y, x] = _ONE if x < columns and y < rows else -_ONE
                state[1, y, x] = -_ONE
        for k in range(num):
            if k % _SPLATS_PER_CHECK == _SPLATS_PER_CHECK - 1:
                any_open = False
                for y in range(rows):
                    highest = -_ONE
                    for x in range(TILE_PX):
                        highest = max(highest, state[0, y, x])
                    is_open[y] = highest > _ZERO
                    any_open = any_open or is_open[y]
                if not any_open:
                    break
            i = ids[first + k]
            a = _HALF * splats[i, 2]
            b = splats[i, 3]
            c = _HALF * splats[i, 4]
            opacity = splats[i, 5]
            x_mean = splats[i, 0] - np.float32(x_tile) - _HALF
            y_mean = splats[i, 1] - np.float32(y_tile) - _HALF
            feature_0 = features[i, 0]
            feature_1 = features[i, 1]
            feature_2 = features[i, 2]
            feature_3 = features[i, 3]
            position = np.float32(k)
            for y in range(max(bounds[i, 2] - y_tile, 0), min(bounds[i, 3] - y_tile, rows - 1) + 1):
                if not is_open[y]:
                    continue
                dy = y_mean - np.float32(y)
                b_dy = b * dy
                c_dy2 = c * dy * dy
                for x in range(TILE_PX):
                    dx = x_mean - np.float32(x)
                    sigma = (a * dx + b_dy) * dx + c_dy2
                    opaque = min(_MAX_ALPHA, opacity * _exp_of_negative(sigma))
                    before = state[0, y, x]
                    after = before * (_ONE - opaque)
                    is_seen = (sigma >= _ZERO) & (opaque >= _MIN_ALPHA) & (before > _ZERO)
                    is_added = is_seen & (after > _MIN_TRANSMITTANCE)
                    weight = opaque * before if is_added else _ZERO
                    state[0, y, x] = after if is_added else (-before if is_seen else before)
                    state[1, y, x] = position if is_added else state[1, y, x]
                    state[2, y, x] += weight * feature_0
                    state[3, y, x] += weight * feature_1
                    state[4, y, x] += weight * feature_2
                    state[5, y, x] += weight * feature_3
                    weights[x] = weight
                for q in range(num_more):
                    feature = features[i, 4 + q]
                    for x in range(TILE_PX):
                        more[q, y, x] += weights[x] * feature
        for y in range(rows):
            for x in range(columns):
                left = abs(state[0, y, x])
                transmittance[y_tile + y, x_tile + x] = left
                alpha[y_tile + y, x_tile + x] = _ONE - left
                if depth.shape[0] > 0:
                    depth[y_tile + y, x_tile + x] = state[2 + num_pictured, y, x] if num_pictured < 4 else more[num_pictured - 4, y, x]
                last[y_tile + y, x_tile + x] = np.int32(state[1, y, x])
                for q in range(num_pictured):
                    value = state[2 + q, y, x] if q < 4 else more[q - 4, y, x]
                    picture[y_tile + y, x_tile + x, q] = value + left * background[q]


@numba.njit(cache=True, parallel=True)
def composite_backward(
    splats, bounds, starts, ids, slots, features, background, transmittance, last, grad_picture, grad_depth, grad_alpha, use_absolute, gradients, grad_background
):  # pragma: no cover - compiled
    """Back to front in every pixel: the gradients per (splat, tile).

    With w = alpha T the loss moves by dL/dalpha = T (g . feature) - S / (1 - alpha), where T is the transmittance in front of the
    splat and S the loss's gradient times everything behind it (3DGS, Kerbl et al. 2023, appendix C).

    Args:
        slots: (N + 1,) int64, slots[i] = first slot of splat i; its tiles lie in row order.
        grad_picture: (H, W, D). grad_depth: (H, W), or (0, 0). grad_alpha: (H, W).
        use_absolute: also sum |dL/dmean| over the pixels.
        gradients: (slots[-1], 8 + C) float32, out: mean x, y, conic xx, xy, yy, opacity, |mean x|, |mean y|, features.
        grad_background: (num_tiles, D) float32, out, the share of every tile.
    """
    height, width, num_pictured = grad_picture.shape
    num_more = features.shape[1] - 4
    tiles_x = (width + TILE_PX - 1) // TILE_PX
    for tile in numba.prange(starts.shape[0] - 1):
        tile_x = tile % tiles_x
        tile_y = tile // tiles_x
        x_tile = tile_x * TILE_PX
        y_tile = tile_y * TILE_PX
        rows = min(TILE_PX, height - y_tile)
        columns = min(TILE_PX, width - x_tile)
        first = starts[tile]
        # Planes: 0 transmittance, 1 S, 2 position of the last splat, 3-6 gradient of the first four features.
        state = np.zeros((7, TILE_PX, TILE_PX), np.float32)
        more = np.zeros((num_more, TILE_PX, TILE_PX), np.float32)
        more_sums = np.empty((num_more, TILE_PX), np.float32)
        # Sums down the columns: 0-2 dL/dsigma times 1, dy, dy^2; 3-6 the first four features; 7, 8 |dL/dmean|.
        # Of one row: 9 weight, 10 g . features after the fourth, 11 dL/dsigma.
        lane = np.zeros((12, TILE_PX), np.float32)
        highest = -1
        for q in range(num_pictured):
            grad_background[tile, q] = _ZERO
        last_of_row = np.full(TILE_PX, -1, np.int64)
        for y in range(TILE_PX):
            for x in range(TILE_PX):
                state[2, y, x] = -_ONE
        for y in range(rows):
            for x in range(columns):
                left = transmittance[y_tile + y, x_tile + x]
                behind = -grad_alpha[y_tile + y, x_tile + x]
                for q in range(num_pictured):
                    g = grad_picture[y_tile + y, x_tile + x, q]
                    if q < 4:
                        state[3 + q, y, x] = g
                    else:
                        more[q - 4, y, x] = g
                    behind += g * background[q]
                    grad_background[tile, q] += g * left
                if grad_depth.shape[0] > 0:
                    g = grad_depth[y_tile + y, x_tile + x]
                    if num_pictured < 4:
                        state[3 + num_pictured, y, x] = g
                    else:
                        more[num_pictured - 4, y, x] = g
                position = last[y_tile + y, x_tile + x]
                state[0, y, x] = left
                state[1, y, x] = behind * left
                state[2, y, x] = np.float32(position)
                last_of_row[y] = max(last_of_row[y], position)
            highest = max(highest, last_of_row[y])
        for k in range(starts[tile + 1] - first - 1, -1, -1):
            i = ids[first + k]
            x_first_tile = bounds[i, 0] // TILE_PX
            slot = slots[i] + (tile_y - bounds[i, 2] // TILE_PX) * (bounds[i, 1] // TILE_PX - x_first_tile + 1) + tile_x - x_first_tile
            if k > highest:
                for q in range(12 + num_more):
                    gradients[slot, q] = _ZERO
                continue
            a = _HALF * splats[i, 2]
            b = splats[i, 3]
            c = _HALF * splats[i, 4]
            opacity = splats[i, 5]
            x_mean = splats[i, 0] - np.float32(x_tile) - _HALF
            y_mean = splats[i, 1] - np.float32(y_tile) - _HALF
            feature_0 = features[i, 0]
            feature_1 = features[i, 1]
            feature_2 = features[i, 2]
            feature_3 = features[i, 3]
            position = np.float32(k)
            for q in range(9):
                for x in range(TILE_PX):
                    lane[q, x] = _ZERO
            for q in range(num_more):
                for x in range(TILE_PX):
                    more_sums[q, x] = _ZERO
            for y in range(max(bounds[i, 2] - y_tile, 0), min(bounds[i, 3] - y_tile, rows - 1) + 1):
                if last_of_row[y] < k:
                    continue
                dy = y_mean - np.float32(y)
                b_dy = b * dy
                c_dy2 = c * dy * dy
                if num_more > 0:
                    for x in range(TILE_PX):
                        lane[10, x] = _ZERO
                    for q in range(num_more):
                        feature = features[i, 4 + q]
                        for x in range(TILE_PX):
                            lane[10, x] += more[q, y, x] * feature
                for x in range(TILE_PX):
                    dx = x_mean - np.float32(x)
                    sigma = (a * dx + b_dy) * dx + c_dy2
                    raw = opacity * _exp_of_negative(sigma)
                    alpha = min(_MAX_ALPHA, raw)
                    is_added = (sigma >= _ZERO) & (alpha >= _MIN_ALPHA) & (state[2, y, x] >= position)
                    alpha = alpha if is_added else _ZERO
                    inverse = _ONE / (_ONE - alpha)
                    front = state[0, y, x] * inverse
                    behind = state[1, y, x]
                    weight = alpha * front
                    g_0 = state[3, y, x]
                    g_1 = state[4, y, x]
                    g_2 = state[5, y, x]
                    g_3 = state[6, y, x]
                    along = g_0 * feature_0 + g_1 * feature_1 + g_2 * feature_2 + g_3 * feature_3 + lane[10, x]
                    slope = along * front - behind * inverse
                    grad_sigma = -alpha * slope if raw < _MAX_ALPHA else _ZERO
                    state[0, y, x] = front
                    state[1, y, x] = behind + along * weight
                    lane[0, x] += grad_sigma
                    lane[1, x] += grad_sigma * dy
                    lane[2, x] += grad_sigma * dy * dy
                    lane[3, x] += weight * g_0
                    lane[4, x] += weight * g_1
                    lane[5, x] += weight * g_2
                    lane[6, x] += weight * g_3
                    lane[9, x] = weight
                    lane[11, x] = grad_sigma
                for q in range(num_more):
                    for x in range(TILE_PX):
                        more_sums[q, x] += lane[9, x] * more[q, y, x]
                if use_absolute:
                    for x in range(TILE_PX):
                        dx = x_mean - np.float32(x)
                        lane[7, x] += abs(lane[11, x] * (a * dx + a * dx + b_dy))
                        lane[8, x] += abs(lane[11, x] * (b * dx + c * dy + c * dy))
            s = _ZERO
            s_x = _ZERO
            s_xx = _ZERO
            s_y = _ZERO
            s_xy = _ZERO
            s_yy = _ZERO
            absolute_x = _ZERO
            absolute_y = _ZERO
            sum_0 = _ZERO
            sum_1 = _ZERO
            sum_2 = _ZERO
            sum_3 = _ZERO
            for x in range(TILE_PX):
                dx = x_mean - np.float32(x)
                s += lane[0, x]
                s_x += lane[0, x] * dx
                s_xx += lane[0, x] * dx * dx
                s_y += lane[1, x]
                s_xy += lane[1, x] * dx
                s_yy += lane[2, x]
                sum_0 += lane[3, x]
                sum_1 += lane[4, x]
                sum_2 += lane[5, x]
                sum_3 += lane[6, x]
                absolute_x += lane[7, x]
                absolute_y += lane[8, x]
            gradients[slot, 0] = splats[i, 2] * s_x + b * s_y
            gradients[slot, 1] = b * s_x + splats[i, 4] * s_y
            gradients[slot, 2] = _HALF * s_xx
            gradients[slot, 3] = s_xy
            gradients[slot, 4] = _HALF * s_yy
            gradients[slot, 5] = -s / opacity
            gradients[slot, 6] = absolute_x
            gradients[slot, 7] = absolute_y
            gradients[slot, 8] = sum_0
            gradients[slot, 9] = sum_1
            gradients[slot, 10] = sum_2
            gradients[slot, 11] = sum_3
            for q in range(num_more):
                total = _ZERO
                for x in range(TILE_PX):
                    total += more_sums[q, x]
                gradients[slot, 12 + q] = total


@numba.njit(cache=True, parallel=True)
def gather_slots(slots, gradients, grad_means, grad_conics, grad_opacities, grad_absolute, grad_features):  # pragma: no cover - compiled
    """Sums the slots of every splat, always in the order of the tiles.

    Args:
        slots, gradients: from ``composite_backward``.
        grad_means: (N, 2), grad_conics: (N, 3), grad_opacities: (N,), grad_absolute: (N, 2), grad_features: (N, D) float32, out.
    """
    num_features = grad_features.shape[1]
    for i in numba.prange(slots.shape[0] - 1):
        for q in range(2):
            grad_means[i, q] = _ZERO
            grad_absolute[i, q] = _ZERO
        for q in range(3):
            grad_conics[i, q] = _ZERO
        grad_opacities[i] = _ZERO
        for q in range(num_features):
            grad_features[i, q] = _ZERO
        for slot in range(slots[i], slots[i + 1]):
            for q in range(2):
                grad_means[i, q] += gradients[slot, q]
                grad_absolute[i, q] += gradients[slot, 6 + q]
            for q in range(3):
                grad_conics[i, q] += gradients[slot, 2 + q]
            grad_opacities[i] += gradients[slot, 5]
            for q in range(num_features):
                grad_features[i, q] += gradients[slot, 8 + q]
