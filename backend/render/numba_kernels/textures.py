"""The compiled inner loops of texture lookup (CPU, numba); what they compute is said in ``render/textures.py``.

The gradient of a texture is a scatter. It is made race-free and the same for any number of threads by sorting the lookups
(stably, by counting) into bands of texture rows: each band is added up by one thread, in the order of the lookups. A lookup
whose two rows lie in two bands is in both lists, and each band takes its own row.
"""

from __future__ import annotations

import numba
import numpy as np

# Fixed numbers of tasks: results must not depend on the number of threads.
_NUM_CHUNKS = 32
_MOST_BANDS = 64


@numba.njit(cache=True, inline="always")
def _place(raw, size):  # pragma: no cover - compiled
    """First texel and fraction towards the next of coordinate ``raw`` in texels from the first centre, along an axis of ``size`` texels."""
    kind = type(raw)
    x = min(max(raw, kind(0)), kind(size - 1))
    first = min(np.int64(x), max(size - 2, 0))
    return first, x - kind(first)


@numba.njit(cache=True, inline="always")
def _mip(level, num_levels):  # pragma: no cover - compiled
    """The finer of the two levels and the share of the coarser one."""
    kind = type(level)
    clamped = min(max(level, kind(0)), kind(num_levels - 1))
    finer = min(np.int64(clamped), max(num_levels - 2, 0))
    return finer, clamped - kind(finer)


@numba.njit(cache=True, parallel=True)
def sample(texture, coarse, sizes, uv, level, covered, lanes, out):  # pragma: no cover - compiled
    """Bilinear or trilinear lookup.

    Args:
        texture: (B, h * w * C). coarse: (B, T * C), the levels from 1 on, one after the other. sizes: (L, 3) int64, height, width, first texel.
        uv: (B, P, 2). level: (B, P), or None: level 0 everywhere. covered: (B, P) bool, or (0, 0): all.
        lanes: a tuple of C numbers. Its length is known when the kernel is compiled, so loops over channels are unrolled.
        out: (B, P, C).

    Returns:
        Whether every covered argument is finite.
    """
    batches, pixels = uv.shape[0], uv.shape[1]
    channels = len(lanes)
    num_levels = sizes.shape[0]
    half = uv.dtype.type(0.5)
    one = uv.dtype.type(1)
    strange = np.zeros(batches * _NUM_CHUNKS, uv.dtype)
    for task in numba.prange(batches * _NUM_CHUNKS):
        batch = np.uintp(task // _NUM_CHUNKS)
        chunk = task % _NUM_CHUNKS
        fine = texture[batch]
        blurred = coarse[batch]
        odd = uv.dtype.type(0)
        for number in range(chunk * pixels // _NUM_CHUNKS, (chunk + 1) * pixels // _NUM_CHUNKS):
            pixel = np.uintp(number)
            if covered.size > 0 and not covered[batch, pixel]:
                for channel in range(channels):
                    out[batch, pixel, channel] = 0.0
                continue
            u = uv[batch, pixel, 0]
            v = uv[batch, pixel, 1]
            # x - x is 0 unless x is NaN or infinite. Such a lookup must not reach the conversion to an index.
            check = (u - u) + (v - v)
            finer = 0
            share = uv.dtype.type(0)
            if level is not None:
                check += level[batch, pixel] - level[batch, pixel]
            if check != 0:
                odd += check
                continue
            if level is not None:
                finer, share = _mip(level[batch, pixel], num_levels)
            for part in range(2 if share > 0 else 1):
                at = finer + part
                height = sizes[at, 0]
                width = sizes[at, 1]
                x, across = _place(u * uv.dtype.type(width) - half, width)
                y, down = _place((one - v) * uv.dtype.type(height) - half, height)
                first = (sizes[at, 2] + y * width + x) * channels
                right = channels if width > 1 else 0
                below = width * channels if height > 1 else 0
                scale = one - share if part == 0 else share
                upper = scale * (one - down)
                lower = scale * down
                w_00 = upper * (one - across)
                w_01 = upper * across
                w_10 = lower * (one - across)
                w_11 = lower * across
                texels = fine if at == 0 else blurred
                # Unsigned indices: numba would test signed ones for counting from the end.
                i_00 = np.uintp(first)
                i_01 = np.uintp(first + right)
                i_10 = np.uintp(first + below)
                i_11 = np.uintp(first + below + right)
                for channel in range(channels):
                    c = np.uintp(channel)
                    value = w_00 * texels[i_00 + c] + w_01 * texels[i_01 + c] + w_10 * texels[i_10 + c] + w_11 * texels[i_11 + c]
                    if part == 0:
                        out[batch, pixel, channel] = value
                    else:
                        out[batch, pixel, channel] += value
        strange[task] = odd
    for task in range(len(strange)):
        if strange[task] != 0:
            return False
    return True


@numba.njit(cache=True, parallel=True)
def uv_gradient(texture, coarse, sizes, uv, level, covered, lanes, gradient, out):  # pragma: no cover - compiled
    """Gradient to ``uv``: ``out`` (B, P, 2); the other arguments as in ``sample``, ``gradient`` (B, P, C)."""
    batches, pixels = uv.shape[0], uv.shape[1]
    channels = len(lanes)
    num_levels = sizes.shape[0]
    half = uv.dtype.type(0.5)
    one = uv.dtype.type(1)
    zero = uv.dtype.type(0)
    for task in numba.prange(batches * _NUM_CHUNKS):
        batch = np.uintp(task // _NUM_CHUNKS)
        chunk = task % _NUM_CHUNKS
        fine = texture[batch]
        blurred = coarse[batch]
        for number in range(chunk * pixels // _NUM_CHUNKS, (chunk + 1) * pixels // _NUM_CHUNKS):
            pixel = np.uintp(number)
            u_sum = zero
            v_sum = zero
            if covered.size == 0 or covered[batch, pixel]:
                finer = 0
                share = zero
                if level is not None:
                    finer, share = _mip(level[batch, pixel], num_levels)
                for part in range(2 if share > 0 else 1):
                    at = finer + part
                    height = sizes[at, 0]
                    width = sizes[at, 1]
                    raw_x = uv[batch, pixel, 0] * uv.dtype.type(width) - half
                    raw_y = (one - uv[batch, pixel, 1]) * uv.dtype.type(height) - half
                    x, across = _place(raw_x, width)
                    y, down = _place(raw_y, height)
                    first = (sizes[at, 2] + y * width + x) * channels
                    right = channels if width > 1 else 0
                    below = width * channels if height > 1 else 0
                    scale = one - share if part == 0 else share
                    texels = fine if at == 0 else blurred
                    i_00 = np.uintp(first)
                    i_01 = np.uintp(first + right)
                    i_10 = np.uintp(first + below)
                    i_11 = np.uintp(first + below + right)
                    along_x = zero
                    along_y = zero
                    for channel in range(channels):
                        c = np.uintp(channel)
                        t_00 = texels[i_00 + c]
                        t_01 = texels[i_01 + c]
                        t_10 = texels[i_10 + c]
                        t_11 = texels[i_11 + c]
                        wanted = gradient[batch, pixel, channel]
                        along_x += wanted * ((t_01 - t_00) * (one - down) + (t_11 - t_10) * down)
                        along_y += wanted * ((t_10 - t_00) * (one - across) + (t_11 - t_01) * across)
                    if raw_x >= 0 and raw_x <= width - 1:
                        u_sum += scale * uv.dtype.type(width) * along_x
                    if raw_y >= 0 and raw_y <= height - 1:
                        v_sum -= scale * uv.dtype.type(height) * along_y
            out[batch, pixel, 0] = u_sum
            out[batch, pixel, 1] = v_sum


@numba.njit(cache=True, parallel=True)
def texture_gradient(sizes, uv, level, covered, lanes, gradient, texture_out, coarse_out):  # pragma: no cover - compiled
    """Gradients to the texels: ``texture_out`` (B, h * w * C) and ``coarse_out`` (B, T * C), zeros at the start."""
    batches, pixels = uv.shape[0], uv.shape[1]
    channels = len(lanes)
    num_levels = sizes.shape[0]
    half = uv.dtype.type(0.5)
    one = uv.dtype.type(1)
    # Rows are counted through all levels; each picture of a batch has bands of its own.
    first_rows = np.zeros(num_levels + 1, np.int64)
    for at in range(num_levels):
        first_rows[at + 1] = first_rows[at] + sizes[at, 0]
    all_rows = first_rows[num_levels]
    num_bands = min(_MOST_BANDS, all_rows)
    band_of_row = np.empty(all_rows, np.int64)
    for row in range(all_rows):
        band_of_row[row] = row * num_bands // all_rows
    num_parts = 1 if level is None else 2

    # 255: no lookup. A lookup's lower row is in the same band or in the one after (bands are a row or more, levels are whole).
    uppers = np.empty((num_parts, batches * pixels), np.uint8)
    lowers = np.empty((num_parts, batches * pixels), np.uint8)
    counts = np.zeros((batches, _NUM_CHUNKS, num_bands), np.int64)
    for task in numba.prange(batches * _NUM_CHUNKS):
        batch = task // _NUM_CHUNKS
        chunk = task % _NUM_CHUNKS
        count = np.zeros(num_bands, np.int64)
        for pixel in range(chunk * pixels // _NUM_CHUNKS, (chunk + 1) * pixels // _NUM_CHUNKS):
            item = np.uintp(batch * pixels + pixel)
            is_lookup = covered.size == 0 or covered[batch, pixel]
            finer = 0
            share = uv.dtype.type(0)
            if level is not None:
                finer, share = _mip(level[batch, pixel], num_levels)
            for part in range(num_parts):
                if not is_lookup or (part == 1 and share == 0):
                    uppers[part, item] = 255
                    continue
                at = finer + part
                y, _ = _place((one - uv[batch, pixel, 1]) * uv.dtype.type(sizes[at, 0]) - half, sizes[at, 0])
                row = first_rows[at] + y
                upper = band_of_row[np.uintp(row)]
                lower = band_of_row[np.uintp(min(row + 1, first_rows[at + 1] - 1))]
                uppers[part, item] = upper
                lowers[part, item] = lower
                count[np.uintp(upper)] += 1
                if lower != upper:
                    count[np.uintp(lower)] += 1
        counts[batch, chunk] = count
    places = np.empty((batches, _NUM_CHUNKS, num_bands), np.int64)
    starts = np.zeros(batches * num_bands + 1, np.int64)
    running = 0
    for batch in range(batches):
        for band in range(num_bands):
            starts[batch * num_bands + band] = running
            for chunk in range(_NUM_CHUNKS):
                places[batch, chunk, band] = running
                running += counts[batch, chunk, band]
    starts[batches * num_bands] = running

    order = np.empty(running, np.int32)
    for task in numba.prange(batches * _NUM_CHUNKS):
        batch = task // _NUM_CHUNKS
        chunk = task % _NUM_CHUNKS
        place = places[batch, chunk].copy()
        for pixel in range(chunk * pixels // _NUM_CHUNKS, (chunk + 1) * pixels // _NUM_CHUNKS):
            item = np.uintp(batch * pixels + pixel)
            for part in range(num_parts):
                upper = uppers[part, item]
                if upper == 255:
                    continue
                lower = lowers[part, item]
                order[np.uintp(place[upper])] = 2 * pixel + part
                place[upper] += 1
                if lower != upper:
                    order[np.uintp(place[lower])] = 2 * pixel + part
                    place[lower] += 1

    middle = (batches * num_bands + 1) // 2
    for task in numba.prange(batches * num_bands):
        # Threads take runs of tasks; neighbouring tasks are far apart in the texture, so busy regions are shared out.
        numbered = 2 * task if task < middle else 2 * (task - middle) + 1
        batch = np.uintp(numbered // num_bands)
        band = numbered % num_bands
        fine = texture_out[batch]
        blurred = coarse_out[batch]
        for entry in range(starts[numbered], starts[numbered + 1]):
            coded = np.int64(order[np.uintp(entry)])
            pixel = np.uintp(coded >> 1)
            part = coded & 1
            at = 0
            scale = one
            if level is not None:
                finer, share = _mip(level[batch, pixel], num_levels)
                at = finer + part
                scale = one - share if part == 0 else share
            height = sizes[at, 0]
            width = sizes[at, 1]
            x, across = _place(uv[batch, pixel, 0] * uv.dtype.type(width) - half, width)
            y, down = _place((one - uv[batch, pixel, 1]) * uv.dtype.type(height) - half, height)
            right = np.uintp(channels if width > 1 else 0)
            first = np.uintp((sizes[at, 2] + y * width + x) * channels)
            row = first_rows[at] + y
            texels = fine if at == 0 else blurred
            if band_of_row[np.uintp(row)] == band:
                left_weight = scale * (one - down) * (one - across)
                right_weight = scale * (one - down) * across
                for channel in range(channels):
                    c = np.uintp(channel)
                    wanted = gradient[batch, pixel, channel]
                    texels[first + c] += left_weight * wanted
                    texels[first + right + c] += right_weight * wanted
            if band_of_row[np.uintp(min(row + 1, first_rows[at + 1] - 1))] == band:
                below = first + np.uintp(width * channels if height > 1 else 0)
                left_weight = scale * down * (one - across)
                right_weight = scale * down * across
                for channel in range(channels):
                    c = np.uintp(channel)
                    wanted = gradient[batch, pixel, channel]
                    texels[below + c] += left_weight * wanted
                    texels[below + right + c] += right_weight * wanted
