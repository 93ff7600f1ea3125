"""The compiled inner loops of texture lookup and mip levels (CPU, numba); what they compute is said in ``render/textures.py``.

The gradient of a texture is a scatter. It is made race-free and the same for any number of threads by sorting the lookups
(stably, by counting) into bands of texture rows: each band is added up by one thread, in the order of the lookups. A lookup
whose two rows lie in two bands is in both lists, and each band takes its own row.
"""

from __future__ import annotations

import math

import numba
import numpy as np

# Fixed numbers of tasks: results must not depend on the number of threads.
_NUM_CHUNKS = 32
_MOST_BANDS = 64


@numba.njit(cache=True, parallel=True)
def halve(source, weights_down, weights_across, out):  # pragma: no cover - compiled
    """One mip level from the one before: (B, h, w, C) to (B, h2, w2, C); ``weights`` (h2, 3) and (w2, 3) of texels 2i, 2i + 1, 2i + 2."""
    batches, height, width, channels = source.shape
    rows, columns = out.shape[1], out.shape[2]
    for task in numba.prange(batches * rows):
        batch = task // rows
        row = task % rows
        for column in range(columns):
            for channel in range(channels):
                total = 0.0
                for down in range(3):
                    y = 2 * row + down
                    if y >= height or weights_down[row, down] == 0.0:
                        continue
                    part = 0.0
                    for across in range(3):
                        x = 2 * column + across
                        if x < width:
                            part += weights_across[column, across] * source[batch, y, x, channel]
                    total += weights_down[row, down] * part
                out[batch, row, column, channel] = total


@numba.njit(cache=True, parallel=True)
def halve_backward(gradient, weights_down, weights_across, out):  # pragma: no cover - compiled
    """Adds to ``out`` (B, h, w, C) what ``gradient`` (B, h2, w2, C) of its half owes to it."""
    batches, height, width, channels = out.shape
    rows, columns = gradient.shape[1], gradient.shape[2]
    for task in numba.prange(batches * height):
        batch = task // height
        y = task % height
        for x in range(width):
            for down in range(2):
                # Texel y is the tap y - 2i of row i: of i = y // 2, and the third tap of the row before when y is even.
                row = y // 2 - down
                tap_y = y - 2 * row
                if row < 0 or row >= rows or tap_y > 2 or weights_down[row, tap_y] == 0.0:
                    continue
                for across in range(2):
                    column = x // 2 - across
                    tap_x = x - 2 * column
                    if column < 0 or column >= columns or tap_x > 2:
                        continue
                    weight = weights_down[row, tap_y] * weights_across[column, tap_x]
                    if weight == 0.0:
                        continue
                    for channel in range(channels):
                        out[batch, y, x, channel] += weight * gradient[batch, row, column, channel]


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
        batch = task // _NUM_CHUNKS
        chunk = task % _NUM_CHUNKS
        fine = texture[batch]
        blurred = coarse[batch]
        odd = uv.dtype.type(0)
        for pixel in range(chunk * pixels // _NUM_CHUNKS, (chunk + 1) * pixels // _NUM_CHUNKS):
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
        batch = task // _NUM_CHUNKS
        chunk = task % _NUM_CHUNKS
        fine = texture[batch]
        blurred = coarse[batch]
        for pixel in range(chunk * pixels // _NUM_CHUNKS, (chunk + 1) * pixels // _NUM_CHUNKS):
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
        batch = numbered // num_bands
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


@numba.njit(cache=True, parallel=True)
def uv_derivatives(triangle_ids, depth, width, homogeneous, triangles, uv, uv_triangles, out):  # pragma: no cover - compiled
    """(B, P, 4) derivatives of uv by the pixel's x and y: u by x, u by y, v by x, v by y; 0 on the background.

    With e_i = h_j x h_k the weight of corner i is (e_i . p) / s, s = sum_i e_i . p = det / z, so the derivative of u is
    z / det * sum_i e_i (u_i - u). ``depth`` is z.
    """
    batches, pixels = triangle_ids.shape
    num_faces = triangles.shape[0]
    table = np.zeros((homogeneous.shape[0], num_faces, 8))
    for task in numba.prange(homogeneous.shape[0] * num_faces):
        batch = task // num_faces
        face = task % num_faces
        h = np.empty((3, 3))
        for corner in range(3):
            for axis in range(3):
                h[corner, axis] = homogeneous[batch, triangles[face, corner], axis]
        determinant = (
            h[0, 0] * (h[1, 1] * h[2, 2] - h[1, 2] * h[2, 1]) + h[0, 1] * (h[1, 2] * h[2, 0] - h[1, 0] * h[2, 2]) + h[0, 2] * (h[1, 0] * h[2, 1] - h[1, 1] * h[2, 0])
        )
        if determinant == 0.0:
            continue
        for corner in range(3):
            j = (corner + 1) % 3
            k = (corner + 2) % 3
            e_x = (h[j, 1] * h[k, 2] - h[j, 2] * h[k, 1]) / determinant
            e_y = (h[j, 2] * h[k, 0] - h[j, 0] * h[k, 2]) / determinant
            u = np.float64(uv[uv_triangles[face, corner], 0]) - uv[uv_triangles[face, 0], 0]
            v = np.float64(uv[uv_triangles[face, corner], 1]) - uv[uv_triangles[face, 0], 1]
            table[batch, face, 0] += e_x * u
            table[batch, face, 1] += e_y * u
            table[batch, face, 2] += e_x * v
            table[batch, face, 3] += e_y * v
            table[batch, face, 4] += e_x
            table[batch, face, 5] += e_y
            e_1 = (h[j, 0] * h[k, 1] - h[j, 1] * h[k, 0]) / determinant
            table[batch, face, 6] += e_1 * u
            table[batch, face, 7] += e_1 * v
    for task in numba.prange(batches * _NUM_CHUNKS):
        batch = task // _NUM_CHUNKS
        chunk = task % _NUM_CHUNKS
        for pixel in range(chunk * pixels // _NUM_CHUNKS, (chunk + 1) * pixels // _NUM_CHUNKS):
            face = triangle_ids[batch, pixel]
            if face < 0:
                for c in range(4):
                    out[batch, pixel, c] = 0.0
                continue
            row = table[batch, face]
            x = pixel % width + 0.5
            y = pixel // width + 0.5
            z = depth[batch, pixel]
            u = z * (row[0] * x + row[1] * y + row[6])
            v = z * (row[2] * x + row[3] * y + row[7])
            out[batch, pixel, 0] = z * (row[0] - row[4] * u)
            out[batch, pixel, 1] = z * (row[1] - row[5] * u)
            out[batch, pixel, 2] = z * (row[2] - row[4] * v)
            out[batch, pixel, 3] = z * (row[3] - row[5] * v)


@numba.njit(cache=True, parallel=True)
def mip_levels(derivatives, height, width, most, out):  # pragma: no cover - compiled
    """(N,) levels from (N, 4) derivatives: log2 of the longer side of the pixel's footprint in texels, in [0, most]."""
    total = len(out)
    for chunk in numba.prange(_NUM_CHUNKS):
        for item in range(chunk * total // _NUM_CHUNKS, (chunk + 1) * total // _NUM_CHUNKS):
            x = (derivatives[item, 0] * width) ** 2 + (derivatives[item, 2] * height) ** 2
            y = (derivatives[item, 1] * width) ** 2 + (derivatives[item, 3] * height) ** 2
            longer = max(x, y)
            # x - x is NaN for NaN and infinity, which must reach the check of the lookup.
            if not (x - x == 0.0 and y - y == 0.0):
                out[item] = math.nan
            else:
                out[item] = min(0.5 * math.log2(longer), most) if longer > 1.0 else 0.0
