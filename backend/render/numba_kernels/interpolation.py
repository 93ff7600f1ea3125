"""The compiled inner loops of interpolation over triangles, forward and backward (CPU, numba).

The covered pixels come sorted by triangle, so a triangle is set up once, its gradients are sums over its own run of pixels,
and no two threads ever write to the same place. On a triangle an attribute is (A . p) / (W . p) with p = (x, y, 1), where
A = sum_i a_i E_i, W = sum_i E_i and E_i = h_j x h_k (Olano and Greer 1997): so one pass over the pixels that sums the moments of
upstream / (W . p) with p is all that the gradients of attributes and positions need.
"""

from __future__ import annotations

import numba
import numpy as np

_PIXELS_PER_CHUNK = 65536


def covered_pixels(triangle_ids: np.ndarray, num_triangles: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Sorts the covered pixels by picture, triangle and place.

    Args:
        triangle_ids: (B, H * W) int32.

    Returns:
        pixels (P,) int64, index into the flattened pictures; their triangle ids (P,) int32; seen (N,) int64, picture * F +
        triangle with pixels, ascending; starts (N + 1,) int64.
    """
    num_chunks = max(1, -(-triangle_ids.shape[1] // _PIXELS_PER_CHUNK))
    return _covered_pixels(triangle_ids, num_triangles, num_chunks)


@numba.njit(cache=True, parallel=True)
def _covered_pixels(triangle_ids, num_triangles, num_chunks):  # pragma: no cover - compiled
    num_pictures, size = triangle_ids.shape
    counts = np.zeros((num_pictures * num_chunks, num_triangles), np.int32)
    for task in numba.prange(num_pictures * num_chunks):
        picture = task // num_chunks
        chunk = task % num_chunks
        ids = triangle_ids[picture]
        mine = counts[task]
        stop = (chunk + 1) * size // num_chunks
        place = chunk * size // num_chunks
        while place < stop:
            triangle = ids[place]
            start = place
            place += 1
            while place < stop and ids[place] == triangle:
                place += 1
            if triangle >= 0:
                mine[triangle] += place - start
    total = 0
    num_seen = 0
    for picture in range(num_pictures):
        for triangle in range(num_triangles):
            before = total
            for task in range(picture * num_chunks, (picture + 1) * num_chunks):
                count = counts[task, triangle]
                counts[task, triangle] = total
                total += count
            if total > before:
                num_seen += 1
    pixels = np.empty(total, np.int64)
    covered_ids = np.empty(total, np.int32)
    for task in numba.prange(num_pictures * num_chunks):
        picture = task // num_chunks
        chunk = task % num_chunks
        ids = triangle_ids[picture]
        mine = counts[task]
        stop = (chunk + 1) * size // num_chunks
        place = chunk * size // num_chunks
        while place < stop:
            triangle = ids[place]
            if triangle < 0:
                place += 1
                continue
            here = mine[triangle]
            while place < stop and ids[place] == triangle:
                pixels[here] = picture * size + place
                covered_ids[here] = triangle
                here += 1
                place += 1
            mine[triangle] = here
    seen = np.empty(num_seen, np.int64)
    starts = np.empty(num_seen + 1, np.int64)
    found = 0
    here = 0
    # Filling has counted every chunk's place up to where the next one starts.
    for picture in range(num_pictures):
        for triangle in range(num_triangles):
            end = counts[(picture + 1) * num_chunks - 1, triangle]
            if end > here:
                seen[found] = picture * num_triangles + triangle
                starts[found] = here
                found += 1
                here = end
    starts[found] = here
    return pixels, covered_ids, seen, starts


@numba.njit(cache=True, error_model="numpy")
def _set_up(homogeneous, i, j, k, x, y, edges):  # pragma: no cover - compiled
    """The three edge functions E_i = h_j x h_k about the point (x, y): value at an offset p from it is E_i . (p, 1)."""
    for corner in range(3):
        a = j if corner == 0 else (k if corner == 1 else i)
        b = k if corner == 0 else (i if corner == 1 else j)
        az = homogeneous[a, 2]
        bz = homogeneous[b, 2]
        ax = homogeneous[a, 0] - x * az
        ay = homogeneous[a, 1] - y * az
        bx = homogeneous[b, 0] - x * bz
        by = homogeneous[b, 1] - y * bz
        edges[corner, 0] = ay * bz - az * by
        edges[corner, 1] = az * bx - ax * bz
        edges[corner, 2] = ax * by - ay * bx


@numba.njit(cache=True, parallel=True, error_model="numpy")
def interpolate_into(
    homogeneous, triangles, attributes, attribute_triangles, pixels, seen, starts, height, width, num_chunks, values
):  # pragma: no cover - compiled
    """Values of the covered pixels.

    Args:
        homogeneous: (B, V, 3) float64. triangles: (F, 3) int32. attributes: (A, T, C) float, A = 1 or B. attribute_triangles: (F, 3) int32.
        pixels, seen, starts: see ``covered_pixels``.
        values: (P, C), out.
    """
    num_triangles = triangles.shape[0]
    num_channels = attributes.shape[2]
    for chunk in numba.prange(num_chunks):
        edges = np.empty((3, 3))
        for n in range(chunk * seen.shape[0] // num_chunks, (chunk + 1) * seen.shape[0] // num_chunks):
            picture = seen[n] // num_triangles
            face = seen[n] - picture * num_triangles
            base = picture * height * width
            row = (pixels[starts[n]] - base) // width
            row_start = base + row * width
            y0 = row + 0.5
            x0 = pixels[starts[n]] - row_start + 0.5
            _set_up(homogeneous[picture], triangles[face, 0], triangles[face, 1], triangles[face, 2], x0, y0, edges)
            e00, e01, e02 = edges[0, 0], edges[0, 1], edges[0, 2]
            e10, e11, e12 = edges[1, 0], edges[1, 1], edges[1, 2]
            e20, e21, e22 = edges[2, 0], edges[2, 1], edges[2, 2]
            source = attributes[picture if attributes.shape[0] > 1 else 0]
            i = attribute_triangles[face, 0]
            j = attribute_triangles[face, 1]
            k = attribute_triangles[face, 2]
            for p in range(starts[n], starts[n + 1]):
                pixel = pixels[p]
                while pixel >= row_start + width:
                    row_start += width
                    row += 1
                x = pixel - row_start + 0.5 - x0
                y = row + 0.5 - y0
                a = e00 * x + e01 * y + e02
                b = e10 * x + e11 * y + e12
                c = e20 * x + e21 * y + e22
                scale = 1.0 / (a + b + c)
                wa = attributes.dtype.type(a * scale)
                wb = attributes.dtype.type(b * scale)
                wc = attributes.dtype.type(c * scale)
                for channel in range(num_channels):
                    values[p, channel] = wa * source[i, channel] + wb * source[j, channel] + wc * source[k, channel]


@numba.njit(cache=True, parallel=True, error_model="numpy")
def gradients_into(
    homogeneous, triangles, attributes, attribute_triangles, pixels, seen, starts, height, width, num_chunks, values, upstream,
    use_attributes, use_positions, corner_attributes, corner_positions, attribute_grad, position_grad,
):  # pragma: no cover - compiled
    """Gradients of ``interpolate_into``.

    Args:
        values: the result of ``interpolate_into``. upstream: its gradient, same shape.
        use_attributes, use_positions: which gradients are wanted; the arrays of others may be empty.
        corner_attributes: (N, 3, C) float64, corner_positions: (N, 3, 3) float64, room to work in.
        attribute_grad: (B, T, C), out, added to. position_grad: (B, V, 3) float64, out, added to.
    """
    num_triangles = triangles.shape[0]
    num_channels = attributes.shape[2]
    num_seen = seen.shape[0]
    for chunk in numba.prange(num_chunks):
        edges = np.empty((3, 3))
        for n in range(chunk * num_seen // num_chunks, (chunk + 1) * num_seen // num_chunks):
            picture = seen[n] // num_triangles
            face = seen[n] - picture * num_triangles
            base = picture * height * width
            row = (pixels[starts[n]] - base) // width
            row_start = base + row * width
            y0 = row + 0.5
            x0 = pixels[starts[n]] - row_start + 0.5
            _set_up(homogeneous[picture], triangles[face, 0], triangles[face, 1], triangles[face, 2], x0, y0, edges)
            total_x = edges[0, 0] + edges[1, 0] + edges[2, 0]
            total_y = edges[0, 1] + edges[1, 1] + edges[2, 1]
            total_1 = edges[0, 2] + edges[1, 2] + edges[2, 2]
            moments = corner_attributes[n]
            for channel in range(num_channels):
                moments[0, channel] = 0.0
                moments[1, channel] = 0.0
                moments[2, channel] = 0.0
            sum_x = 0.0
            sum_y = 0.0
            sum_1 = 0.0
            for p in range(starts[n], starts[n + 1]):
                pixel = pixels[p]
                while pixel >= row_start + width:
                    row_start += width
                    row += 1
                x = pixel - row_start + 0.5 - x0
                y = row + 0.5 - y0
                scale = 1.0 / (total_x * x + total_y * y + total_1)
                own = 0.0
                for channel in range(num_channels):
                    given = np.float64(upstream[p, channel])
                    own += given * values[p, channel]
                    given *= scale
                    moments[0, channel] += given * x
                    moments[1, channel] += given * y
                    moments[2, channel] += given
                own *= scale
                sum_x += own * x
                sum_y += own * y
                sum_1 += own
            if use_positions:
                _position_gradient(
                    homogeneous[picture], triangles[face], attributes[picture if attributes.shape[0] > 1 else 0], attribute_triangles[face],
                    moments, sum_x, sum_y, sum_1, x0, y0, corner_positions[n],
                )
            if use_attributes:
                for channel in range(num_channels):
                    mx = moments[0, channel]
                    my = moments[1, channel]
                    m1 = moments[2, channel]
                    for corner in range(3):
                        moments[corner, channel] = edges[corner, 0] * mx + edges[corner, 1] * my + edges[corner, 2] * m1
    # In one fixed order: neighbouring triangles share vertices. Pictures do not.
    for picture in numba.prange(homogeneous.shape[0]):
        for n in range(np.searchsorted(seen, picture * num_triangles), np.searchsorted(seen, (picture + 1) * num_triangles)):
            face = seen[n] - picture * num_triangles
            for corner in range(3):
                if use_attributes:
                    vertex = attribute_triangles[face, corner]
                    for channel in range(num_channels):
                        attribute_grad[picture, vertex, channel] += corner_attributes[n, corner, channel]
                if use_positions:
                    vertex = triangles[face, corner]
                    for axis in range(3):
                        position_grad[picture, vertex, axis] += corner_positions[n, corner, axis]


@numba.njit(cache=True, error_model="numpy")
def _position_gradient(
    homogeneous, triangle, attributes, attribute_triangle, moments, sum_x, sum_y, sum_1, x0, y0, gradient
):  # pragma: no cover - compiled
    """(3, 3) gradient of the triangle's corners h from the moments of what reaches its pixels.

    The slope of E_i is G_i = sum_c a_ic M_c - S, and E_i = h_j x h_k passes it on as h_k x G_i to h_j and G_i x h_j to h_k.
    """
    for corner in range(3):
        for axis in range(3):
            gradient[corner, axis] = 0.0
    for corner in range(3):
        gx = -sum_x
        gy = -sum_y
        g1 = -sum_1
        vertex = attribute_triangle[corner]
        for channel in range(attributes.shape[1]):
            value = np.float64(attributes[vertex, channel])
            gx += value * moments[0, channel]
            gy += value * moments[1, channel]
            g1 += value * moments[2, channel]
        j = (corner + 1) % 3
        k = (corner + 2) % 3
        az = homogeneous[triangle[j], 2]
        ax = homogeneous[triangle[j], 0] - x0 * az
        ay = homogeneous[triangle[j], 1] - y0 * az
        bz = homogeneous[triangle[k], 2]
        bx = homogeneous[triangle[k], 0] - x0 * bz
        by = homogeneous[triangle[k], 1] - y0 * bz
        gradient[j, 0] += by * g1 - bz * gy
        gradient[j, 1] += bz * gx - bx * g1
        gradient[j, 2] += bx * gy - by * gx
        gradient[k, 0] += gy * az - g1 * ay
        gradient[k, 1] += g1 * ax - gx * az
        gradient[k, 2] += gx * ay - gy * ax
    for corner in range(3):
        # E is about (x0, y0): back to h itself.
        gradient[corner, 2] -= x0 * gradient[corner, 0] + y0 * gradient[corner, 1]


@numba.njit(cache=True, parallel=True)
def scatter_into(pixels, values, picture):  # pragma: no cover - compiled
    """picture[pixels] = values; (P,) int64, (P, C), (N, C). No pixel is named twice."""
    for p in numba.prange(pixels.shape[0]):
        for channel in range(values.shape[1]):
            picture[pixels[p], channel] = values[p, channel]


@numba.njit(cache=True, parallel=True)
def gather_into(pixels, picture, values):  # pragma: no cover - compiled
    """values = picture[pixels]."""
    for p in numba.prange(pixels.shape[0]):
        for channel in range(values.shape[1]):
            values[p, channel] = picture[pixels[p], channel]
