"""The compiled inner loops of silhouette antialiasing (CPU, numba); the algorithm is described in ``render/silhouettes.py``.

Edges are judged in parallel, each in its own slot. Their few thousand crossings are walked by one thread per picture, in the
order of the edges, so that nothing depends on the number of threads or on how a batch is split.
"""

from __future__ import annotations

import math

import numba
import numpy as np

# Columns of the records of one crossing, shared with the other kernels and with the backward pass.
TARGET, SOURCE, EDGE, AXIS = 0, 1, 2, 3
BLEND, SLOPE, CROSSING_X, CROSSING_Y = 0, 1, 2, 3


@numba.njit(cache=True, parallel=True)
def judge_edges(homogeneous, edges, opposites, sides):  # pragma: no cover - compiled
    """Which edges are silhouettes: all their triangles lie on one side of the plane through the camera and the edge.

    Args:
        homogeneous: (B, V, 3). edges: (E, 2) int32. opposites: (E, K) int32.
        sides: (B, E) int8, out: the sign of that side in the edge's own line equation; 0 = no silhouette.
    """
    num_edges = edges.shape[0]
    for item in numba.prange(homogeneous.shape[0] * num_edges):
        batch = item // num_edges
        edge = item % num_edges
        a = edges[edge, 0]
        b = edges[edge, 1]
        a_x = np.float64(homogeneous[batch, a, 0])
        a_y = np.float64(homogeneous[batch, a, 1])
        a_z = np.float64(homogeneous[batch, a, 2])
        b_x = np.float64(homogeneous[batch, b, 0])
        b_y = np.float64(homogeneous[batch, b, 1])
        b_z = np.float64(homogeneous[batch, b, 2])
        line_x = a_y * b_z - a_z * b_y
        line_y = a_z * b_x - a_x * b_z
        line_1 = a_x * b_y - a_y * b_x
        num_positive = 0
        num_negative = 0
        for k in range(opposites.shape[1]):
            o = opposites[edge, k]
            side = line_x * homogeneous[batch, o, 0] + line_y * homogeneous[batch, o, 1] + line_1 * homogeneous[batch, o, 2]
            if side > 0.0:
                num_positive += 1
            elif side < 0.0:
                num_negative += 1
        sides[batch, edge] = 1 if num_positive > 0 and num_negative == 0 else (-1 if num_negative > 0 and num_positive == 0 else 0)


@numba.njit(cache=True)
def _walk(homogeneous, batch, edges, sides, depth, near, winner, whole, real):  # pragma: no cover - compiled
    """Records the outermost crossing of every pixel pair of one picture; returns how many.

    Args:
        depth: (B, H, W). winner: (H * W * 2,) int32 zeros, scratch: record of a pair, counted from 1.
        whole: (N, 4) int32, real: (N, 4) float64, out; with N = 0 it only counts how many lines are crossed at most.
    """
    height, width = depth.shape[1], depth.shape[2]
    count = 0
    is_counting = whole.shape[0] == 0
    for edge in range(edges.shape[0]):
        side = sides[batch, edge]
        if side == 0:
            continue
        a = edges[edge, 0]
        b = edges[edge, 1]
        a_x = np.float64(homogeneous[batch, a, 0])
        a_y = np.float64(homogeneous[batch, a, 1])
        a_z = np.float64(homogeneous[batch, a, 2])
        b_x = np.float64(homogeneous[batch, b, 0])
        b_y = np.float64(homogeneous[batch, b, 1])
        b_z = np.float64(homogeneous[batch, b, 2])
        if a_z < near and b_z < near:
            continue
        # The part beyond the near plane, in pixels.
        t = (near - a_z) / (b_z - a_z) if (a_z < near) != (b_z < near) else 0.0
        if a_z < near:
            start_x = (a_x + t * (b_x - a_x)) / near
            start_y = (a_y + t * (b_y - a_y)) / near
        else:
            start_x = a_x / a_z
            start_y = a_y / a_z
        if b_z < near:
            end_x = (a_x + t * (b_x - a_x)) / near
            end_y = (a_y + t * (b_y - a_y)) / near
        else:
            end_x = b_x / b_z
            end_y = b_y / b_z
        line_x = a_y * b_z - a_z * b_y
        line_y = a_z * b_x - a_x * b_z
        line_1 = a_x * b_y - a_y * b_x
        # The squared cosine and sine of the edge's slope sum to 1: a pixel centre that the edge passes over is blended half from
        # its row, half from its column at any slope, and neither axis takes over with a jump.
        square = (end_x - start_x) ** 2 + (end_y - start_y) ** 2
        share_of_rows = (end_y - start_y) ** 2 / square if square > 0.0 else 0.5
        for axis in range(2):
            # axis 0: rows are crossed and pixels of one row blended. axis 1: columns.
            lines = height if axis == 0 else width
            along = width if axis == 0 else height
            low = min(start_y, end_y) if axis == 0 else min(start_x, end_x)
            high = max(start_y, end_y) if axis == 0 else max(start_x, end_x)
            if not (high > 0.5 and low <= lines - 0.5):
                continue
            first = int(max(0.0, math.ceil(low - 0.5)))
            last = int(min(np.float64(lines), math.ceil(high - 0.5)))
            if is_counting:
                count += max(0, last - first)
                continue
            across = line_x if axis == 0 else line_y
            other = line_y if axis == 0 else line_x
            if across == 0.0:
                continue
            for line in range(first, last):
                centre = line + 0.5
                place = -(other * centre + line_1) / across
                step = math.floor(place - 0.5)
                if not (step >= 0 and step < along - 1):
                    continue
                pair = int(step)
                # Signed distances of the ends from the line of pixel centres give the point of the edge in space.
                end_a = (a_y if axis == 0 else a_x) - centre * a_z
                end_b = (b_y if axis == 0 else b_x) - centre * b_z
                if end_a == end_b:
                    continue
                t = min(1.0, max(0.0, end_a / (end_a - end_b)))
                z = a_z + t * (b_z - a_z)
                # The surface lies towards larger x (or y) when the line equation grows with the side's sign.
                is_beyond = (across > 0.0) == (side > 0)
                lower = line * width + pair if axis == 0 else pair * width + line
                upper = lower + (1 if axis == 0 else width)
                front = upper if is_beyond else lower
                back = lower if is_beyond else upper
                z_front = np.float64(depth[batch, front // width, front % width])
                z_back = np.float64(depth[batch, back // width, back % width])
                # The far pixel sees past the edge; the near one sees the edge's own surface (or something before it).
                if not (z_back > z and 2.0 * z_front < z + z_back):
                    continue
                weight = share_of_rows if axis == 0 else 1.0 - share_of_rows
                fraction = place - 0.5 - pair
                reach = 1.0 - fraction if is_beyond else fraction
                slot = winner[2 * lower + axis] - 1
                if slot < 0:
                    slot = count
                    count += 1
                    winner[2 * lower + axis] = count
                else:
                    old = real[slot, CROSSING_X if axis == 0 else CROSSING_Y] - 0.5 - pair
                    was_beyond = whole[slot, AXIS] >= 2
                    if reach <= (1.0 - old if was_beyond else old):
                        continue
                is_over = reach >= 0.5
                whole[slot, TARGET] = back if is_over else front
                whole[slot, SOURCE] = front if is_over else back
                whole[slot, EDGE] = edge
                whole[slot, AXIS] = axis + (2 if is_beyond else 0)
                real[slot, BLEND] = weight * abs(reach - 0.5)
                real[slot, SLOPE] = weight * (1.0 if is_over else -1.0) * (-1.0 if is_beyond else 1.0)
                real[slot, CROSSING_X] = place if axis == 0 else centre
                real[slot, CROSSING_Y] = centre if axis == 0 else place
    return count


@numba.njit(cache=True, parallel=True)
def find_crossings(homogeneous, edges, sides, depth, near, winner):  # pragma: no cover - compiled
    """All crossings of a batch.

    Args:
        winner: (B, H * W * 2) int32 zeros, scratch.

    Returns:
        starts: (B,) int64 and counts (B,) int64: the records of picture b are ``starts[b] : starts[b] + counts[b]``.
        whole: (N, 4) int32: pixel that changes, pixel it is blended with, edge, axis (0 rows, 1 columns; + 2 = surface beyond).
        real: (N, 4) float64: blend weight, its derivative by the crossing's coordinate, the crossing (x, y) px.
    """
    batches = homogeneous.shape[0]
    limits = np.zeros(batches, np.int64)
    no_whole = np.empty((0, 4), np.int32)
    no_real = np.empty((0, 4), np.float64)
    for batch in numba.prange(batches):
        limits[batch] = _walk(homogeneous, batch, edges, sides, depth, near, winner[batch], no_whole, no_real)
    starts = np.zeros(batches, np.int64)
    total = 0
    for batch in range(batches):
        starts[batch] = total
        total += limits[batch] + 1
    whole = np.empty((total, 4), np.int32)
    real = np.empty((total, 4), np.float64)
    counts = np.zeros(batches, np.int64)
    for batch in numba.prange(batches):
        # One spare record each: an empty slice would mean counting.
        stop = starts[batch] + limits[batch] + 1
        counts[batch] = _walk(
            homogeneous, batch, edges, sides, depth, near, winner[batch], whole[starts[batch] : stop], real[starts[batch] : stop]
        )
    return starts, counts, whole, real


@numba.njit(cache=True, parallel=True)
def blend(colour, starts, counts, whole, real, totals, out):  # pragma: no cover - compiled
    """``out`` = ``colour`` with every crossing blended in; both (B, H * W, C). Returns whether all of ``colour`` is finite.

    A pixel that several edges blend away by more than its whole is shared out among them: ``totals`` (B, H * W) float32 zeros,
    out: the sum of the blend weights of each pixel.
    """
    batches, pixels, channels = colour.shape
    num_chunks = 16
    is_bad = np.zeros(batches * num_chunks, np.uint8)
    for chunk in numba.prange(batches * num_chunks):
        batch = chunk // num_chunks
        part = chunk % num_chunks
        # x - x is 0 unless x is NaN or infinite: a sum instead of a test per value keeps the copy at memory speed.
        strange = colour.dtype.type(0)
        for pixel in range(part * pixels // num_chunks, (part + 1) * pixels // num_chunks):
            for channel in range(channels):
                value = colour[batch, pixel, channel]
                strange += value - value
                out[batch, pixel, channel] = value
        is_bad[chunk] = 0 if strange == 0 else 1
    for batch in numba.prange(batches):
        for record in range(starts[batch], starts[batch] + counts[batch]):
            totals[batch, whole[record, TARGET]] += real[record, BLEND]
        for record in range(starts[batch], starts[batch] + counts[batch]):
            target = whole[record, TARGET]
            source = whole[record, SOURCE]
            weight = real[record, BLEND] / max(np.float64(totals[batch, target]), 1.0)
            for channel in range(channels):
                out[batch, target, channel] += weight * (colour[batch, source, channel] - colour[batch, target, channel])
    return is_bad.sum() == 0


@numba.njit(cache=True, parallel=True)
def blend_backward(gradient, colour, blended, totals, homogeneous, edges, starts, counts, whole, real, colour_gradient, position_gradient):  # pragma: no cover - compiled
    """Gradients of ``blend``.

    Args:
        gradient, colour, blended: (B, H * W, C). totals: (B, H * W).
        colour_gradient: (B, H * W, C), out, or of size 0 when not wanted. position_gradient: (B, V, 3) float64 zeros, out, or of size 0.
    """
    batches, pixels, channels = colour.shape
    if colour_gradient.size > 0:
        num_chunks = 16
        for chunk in numba.prange(batches * num_chunks):
            batch = chunk // num_chunks
            part = chunk % num_chunks
            for pixel in range(part * pixels // num_chunks, (part + 1) * pixels // num_chunks):
                for channel in range(channels):
                    colour_gradient[batch, pixel, channel] = gradient[batch, pixel, channel]
    for batch in numba.prange(batches):
        for record in range(starts[batch], starts[batch] + counts[batch]):
            target = whole[record, TARGET]
            source = whole[record, SOURCE]
            total = np.float64(totals[batch, target])
            scale = 1.0 / max(total, 1.0)
            change = 0.0
            for channel in range(channels):
                wanted = gradient[batch, target, channel]
                # Where the weights are scaled to sum to 1, one that grows takes from the others: the mean change is subtracted.
                before = blended[batch, target, channel] if total > 1.0 else colour[batch, target, channel]
                change += scale * wanted * (colour[batch, source, channel] - before)
                if colour_gradient.size > 0:
                    part = scale * real[record, BLEND] * wanted
                    colour_gradient[batch, source, channel] += part
                    colour_gradient[batch, target, channel] -= part
            if position_gradient.size == 0:
                continue
            a = edges[whole[record, EDGE], 0]
            b = edges[whole[record, EDGE], 1]
            a_x = np.float64(homogeneous[batch, a, 0])
            a_y = np.float64(homogeneous[batch, a, 1])
            a_z = np.float64(homogeneous[batch, a, 2])
            b_x = np.float64(homogeneous[batch, b, 0])
            b_y = np.float64(homogeneous[batch, b, 1])
            b_z = np.float64(homogeneous[batch, b, 2])
            across = a_y * b_z - a_z * b_y if whole[record, AXIS] % 2 == 0 else a_z * b_x - a_x * b_z
            factor = -change * real[record, SLOPE] / across
            m_x = factor * real[record, CROSSING_X]
            m_y = factor * real[record, CROSSING_Y]
            # The line is a x b: its gradient m reaches a as b x m and b as m x a.
            position_gradient[batch, a, 0] += b_y * factor - b_z * m_y
            position_gradient[batch, a, 1] += b_z * m_x - b_x * factor
            position_gradient[batch, a, 2] += b_x * m_y - b_y * m_x
            position_gradient[batch, b, 0] += m_y * a_z - factor * a_y
            position_gradient[batch, b, 1] += factor * a_x - m_x * a_z
            position_gradient[batch, b, 2] += m_x * a_y - m_y * a_x
