"""The compiled loops of the multi-resolution hash encoding (CPU, numba).

Every sample is independent in the forward pass and in the gradient to positions. The gradient to the table adds many samples into
one entry: each task owns one level and one fixed share of the samples, adds in the order of the samples into a buffer of its own, and
the buffers of a level are added in the order of the shares. Shares depend on sizes alone, so the result is the same bit for bit
whatever the number of threads, and nothing is written by two of them.
"""

from __future__ import annotations

import numba
import numpy as np

SAMPLES_PER_CHUNK = 512

_PRIME_Y = 2654435761
_PRIME_Z = 805459861


@numba.njit(cache=True)
def _cell(coordinate, resolution, is_number):  # pragma: no cover - compiled
    """Lowest corner and fraction of one coordinate, clamped to the unit cube; NaN counts as 0 (the caller reports it)."""
    x = coordinate
    if not x > 0.0:
        x = is_number(0.0)
    if x > 1.0:
        x = is_number(1.0)
    x = x * is_number(resolution)
    lowest = min(np.int64(x), resolution - 1)
    return lowest, x - is_number(lowest)


@numba.njit(cache=True)
def _corners(x, y, z, resolution, is_dense, mask, offset):  # pragma: no cover - compiled
    """Table rows of the cell's eight corners, x fastest. Unsigned, so that no test for negative indices is compiled in."""
    if is_dense:
        along_y = resolution + 1
        along_z = along_y * along_y
        first = offset + x + y * along_y + z * along_z
        a = first
        b = first + along_y
        c = first + along_z
        d = c + along_y
        return np.uint64(a), np.uint64(a + 1), np.uint64(b), np.uint64(b + 1), np.uint64(c), np.uint64(c + 1), np.uint64(d), np.uint64(d + 1)
    y0 = y * _PRIME_Y
    y1 = y0 + _PRIME_Y
    z0 = z * _PRIME_Z
    z1 = z0 + _PRIME_Z
    x1 = x + 1
    a = y0 ^ z0
    b = y1 ^ z0
    c = y0 ^ z1
    d = y1 ^ z1
    return (
        np.uint64(offset + ((x ^ a) & mask)),
        np.uint64(offset + ((x1 ^ a) & mask)),
        np.uint64(offset + ((x ^ b) & mask)),
        np.uint64(offset + ((x1 ^ b) & mask)),
        np.uint64(offset + ((x ^ c) & mask)),
        np.uint64(offset + ((x1 ^ c) & mask)),
        np.uint64(offset + ((x ^ d) & mask)),
        np.uint64(offset + ((x1 ^ d) & mask)),
    )


@numba.njit(cache=True, parallel=True)
def encode(positions, table, resolutions, offsets, dense, mask, encoded, bad):  # pragma: no cover - compiled
    """Interpolated features of all levels.

    Args:
        positions: (N, 3). table: (E, F), same dtype. resolutions, offsets, dense: (L,) int64 and bool of the levels.
        mask: entries of a hashed level - 1. encoded: (N, L * F), out.
        bad: (chunks,) int64, out: first sample of the chunk that is not finite, or -1.
    """
    number = positions.dtype.type
    num_samples = positions.shape[0]
    num_levels = resolutions.shape[0]
    num_features = table.shape[1]
    for chunk in numba.prange(bad.shape[0]):
        first = chunk * SAMPLES_PER_CHUNK
        last = min(first + SAMPLES_PER_CHUNK, num_samples)
        bad[chunk] = -1
        for n in range(last - 1, first - 1, -1):
            if not np.isfinite(positions[n, 0] + positions[n, 1] + positions[n, 2]):
                bad[chunk] = n
        for level in range(num_levels):
            resolution = resolutions[level]
            offset = offsets[level]
            is_dense = dense[level]
            column = level * num_features
            for n in range(first, last):
                ix, fx = _cell(positions[n, 0], resolution, number)
                iy, fy = _cell(positions[n, 1], resolution, number)
                iz, fz = _cell(positions[n, 2], resolution, number)
                c0, c1, c2, c3, c4, c5, c6, c7 = _corners(ix, iy, iz, resolution, is_dense, mask, offset)
                for q in range(num_features):
                    a = table[c0, q] + fx * (table[c1, q] - table[c0, q])
                    b = table[c2, q] + fx * (table[c3, q] - table[c2, q])
                    c = table[c4, q] + fx * (table[c5, q] - table[c4, q])
                    d = table[c6, q] + fx * (table[c7, q] - table[c6, q])
                    a += fy * (b - a)
                    c += fy * (d - c)
                    encoded[n, column + q] = a + fz * (c - a)


@numba.njit(cache=True, parallel=True)
def table_gradient(positions, encoded_grad, resolutions, offsets, dense, mask, level_order, num_shares, buffers):  # pragma: no cover - compiled
    """Adds every sample's gradient to the eight entries that it read.

    Args:
        encoded_grad: (N, L * F). level_order: (L,) int64, the levels in the order in which tasks are handed out.
        offsets: (L + 1,) int64.
        buffers: (num_shares, E, F), out; the result is in buffers[0].
    """
    number = positions.dtype.type
    one = number(1.0)
    num_samples = positions.shape[0]
    num_levels = resolutions.shape[0]
    num_features = buffers.shape[2]
    for task in numba.prange(num_levels * num_shares):
        level = level_order[task % num_levels]
        share = task // num_levels
        resolution = resolutions[level]
        offset = offsets[level]
        is_dense = dense[level]
        column = level * num_features
        total = buffers[share]
        for entry in range(offset, offsets[level + 1]):
            for q in range(num_features):
                total[entry, q] = 0.0
        for n in range(share * num_samples // num_shares, (share + 1) * num_samples // num_shares):
            ix, fx = _cell(positions[n, 0], resolution, number)
            iy, fy = _cell(positions[n, 1], resolution, number)
            iz, fz = _cell(positions[n, 2], resolution, number)
            c0, c1, c2, c3, c4, c5, c6, c7 = _corners(ix, iy, iz, resolution, is_dense, mask, offset)
            gx = one - fx
            gy = one - fy
            gz = one - fz
            w0 = gy * gz
            w1 = fy * gz
            w2 = gy * fz
            w3 = fy * fz
            for q in range(num_features):
                g = encoded_grad[n, column + q]
                low = gx * g
                high = fx * g
                total[c0, q] += w0 * low
                total[c1, q] += w0 * high
                total[c2, q] += w1 * low
                total[c3, q] += w1 * high
                total[c4, q] += w2 * low
                total[c5, q] += w2 * high
                total[c6, q] += w3 * low
                total[c7, q] += w3 * high
    if num_shares > 1:
        num_entries = buffers.shape[1]
        for chunk in numba.prange((num_entries + 4095) // 4096):
            for share in range(1, num_shares):
                for entry in range(chunk * 4096, min(chunk * 4096 + 4096, num_entries)):
                    for q in range(num_features):
                        buffers[0, entry, q] += buffers[share, entry, q]


@numba.njit(cache=True, parallel=True)
def position_gradient(positions, table, encoded_grad, resolutions, offsets, dense, mask, position_grad):  # pragma: no cover - compiled
    """The gradient to positions: zero outside the unit cube, where they were clamped. position_grad: (N, 3), out."""
    number = positions.dtype.type
    num_samples = positions.shape[0]
    num_levels = resolutions.shape[0]
    num_features = table.shape[1]
    for chunk in numba.prange((num_samples + SAMPLES_PER_CHUNK - 1) // SAMPLES_PER_CHUNK):
        first = chunk * SAMPLES_PER_CHUNK
        last = min(first + SAMPLES_PER_CHUNK, num_samples)
        for n in range(first, last):
            for axis in range(3):
                position_grad[n, axis] = 0.0
        for level in range(num_levels):
            resolution = resolutions[level]
            offset = offsets[level]
            is_dense = dense[level]
            column = level * num_features
            scale = number(resolution)
            for n in range(first, last):
                ix, fx = _cell(positions[n, 0], resolution, number)
                iy, fy = _cell(positions[n, 1], resolution, number)
                iz, fz = _cell(positions[n, 2], resolution, number)
                c0, c1, c2, c3, c4, c5, c6, c7 = _corners(ix, iy, iz, resolution, is_dense, mask, offset)
                grad_x = number(0.0)
                grad_y = number(0.0)
                grad_z = number(0.0)
                for q in range(num_features):
                    g = encoded_grad[n, column + q]
                    dx0 = table[c1, q] - table[c0, q]
                    dx1 = table[c3, q] - table[c2, q]
                    dx2 = table[c5, q] - table[c4, q]
                    dx3 = table[c7, q] - table[c6, q]
                    a = table[c0, q] + fx * dx0
                    b = table[c2, q] + fx * dx1
                    c = table[c4, q] + fx * dx2
                    d = table[c6, q] + fx * dx3
                    low = dx0 + fy * (dx1 - dx0)
                    high = dx2 + fy * (dx3 - dx2)
                    grad_x += g * (low + fz * (high - low))
                    low = b - a
                    high = d - c
                    grad_y += g * (low + fz * (high - low))
                    grad_z += g * ((c + fy * high) - (a + fy * low))
                position_grad[n, 0] += scale * grad_x
                position_grad[n, 1] += scale * grad_y
                position_grad[n, 2] += scale * grad_z
        for n in range(first, last):
            for axis in range(3):
                if positions[n, axis] < 0.0 or positions[n, axis] > 1.0:
                    position_grad[n, axis] = 0.0
