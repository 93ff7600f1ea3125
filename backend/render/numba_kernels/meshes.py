"""The compiled inner loops of the mesh rasteriser (CPU, numba): scan conversion in bands of rows.

A triangle is cut at the near plane, projected, and filled row by row between its edges. An edge is always walked from its upper
end (smaller y), so its two triangles compute the same crossing to the last bit; a pixel centre belongs to the triangle whose
left edge lies at or before it and whose right edge lies beyond it (rows alike: upper end included, lower end excluded). So the
coverages of neighbours add up to exactly one: no cracks, and nothing is hit twice. The reciprocal depth 1/z is affine on the
screen; it is what the z-buffer compares, as float32, larger first, then the lower triangle number.

Everything is float64 until that comparison. Results depend on neither the number of threads nor that of bands: each band is
written by one thread, which meets the triangles in ascending order.
"""

from __future__ import annotations

import math

import numba
import numpy as np

_CHUNK = 4096
"""Vertices or triangles that one thread prepares at a time."""
_SERIAL_ITEMS = 40_000
"""Fewer vertices + triangles than this are prepared by the calling thread: waking the others takes longer."""
_LARGEST_PX = 1e15
"""Triangles with corners farther out than this are not drawn; nearer ones cannot overflow."""


@numba.njit(cache=True, parallel=True, error_model="numpy")
def rasterise_into(vertices, px_from_cam, triangles, near, rows_per_band, homogeneous, triangle_ids, depth):  # pragma: no cover - compiled
    """The nearest ``L`` surfaces at every pixel.

    Args:
        vertices: (B, V, 3) float, camera frame. px_from_cam: (1 or B, 3, 3) float64. triangles: (F, 3) int32.
        homogeneous: (B, V, 3) float64, out: K times the vertices.
        rows_per_band: height of the bands that are drawn one by one.
        triangle_ids: (L, B, H, W) int32, out: -1 = background. depth: (L, B, H, W) float32, out: inf = background.

    Returns:
        (bad batch item, bad vertex, bad triangle): the first vertex that is not finite, else the first triangle that names a
        vertex that does not exist; -1 = none. When there is one, the pictures are not written.
    """
    num_layers, num_pictures, height, width = triangle_ids.shape
    num_vertices = vertices.shape[1]
    num_faces = triangles.shape[0]
    screen = np.empty((num_pictures, num_vertices, 3))
    vertex_chunks = (num_vertices + _CHUNK - 1) // _CHUNK
    face_chunks = (num_faces + _CHUNK - 1) // _CHUNK
    is_serial = num_pictures * (num_vertices + num_faces) < _SERIAL_ITEMS

    bad_vertex = np.full(num_pictures * vertex_chunks, -1)
    if is_serial:
        for task in range(num_pictures * vertex_chunks):
            bad_vertex[task] = _project(task, vertex_chunks, vertices, px_from_cam, near, homogeneous, screen)
    else:
        for task in numba.prange(num_pictures * vertex_chunks):
            bad_vertex[task] = _project(task, vertex_chunks, vertices, px_from_cam, near, homogeneous, screen)
    for task in range(num_pictures * vertex_chunks):
        if bad_vertex[task] >= 0:
            return task // vertex_chunks, bad_vertex[task], -1

    num_bands = (height + rows_per_band - 1) // rows_per_band
    bands = np.empty((num_pictures, num_faces, 2), np.int32)
    counts = np.zeros((num_pictures * face_chunks, num_bands), np.int64)
    bad_face = np.full(num_pictures * face_chunks, -1)
    if is_serial:
        for task in range(num_pictures * face_chunks):
            bad_face[task] = _find_bands(task, face_chunks, triangles, homogeneous, screen, near, height, width, rows_per_band, bands, counts)
    else:
        for task in numba.prange(num_pictures * face_chunks):
            bad_face[task] = _find_bands(task, face_chunks, triangles, homogeneous, screen, near, height, width, rows_per_band, bands, counts)
    for task in range(num_pictures * face_chunks):
        if bad_face[task] >= 0:
            return task // face_chunks, -1, bad_face[task]

    starts = np.zeros(num_pictures * num_bands + 1, np.int64)
    total = 0
    for picture in range(num_pictures):
        for band in range(num_bands):
            starts[picture * num_bands + band] = total
            for chunk in range(face_chunks):
                count = counts[picture * face_chunks + chunk, band]
                counts[picture * face_chunks + chunk, band] = total
                total += count
    starts[num_pictures * num_bands] = total
    members = np.empty(total, np.int32)
    if is_serial:
        for task in range(num_pictures * face_chunks):
            _list_members(task, face_chunks, num_faces, bands, counts, members)
    else:
        for task in numba.prange(num_pictures * face_chunks):
            _list_members(task, face_chunks, num_faces, bands, counts, members)

    # Threads get runs of tasks; an odd stride deals the crowded bands in the picture's middle out to all of them.
    num_tasks = num_pictures * num_bands
    stride = 7
    while num_tasks > 0 and num_tasks % stride == 0:
        stride += 4
    for task in numba.prange(num_tasks):
        place = (task * stride) % num_tasks
        picture = place // num_bands
        first_row = (place % num_bands) * rows_per_band
        _fill_band(
            members[starts[place] : starts[place + 1]], triangles, homogeneous[picture], screen[picture], near,
            first_row, min(first_row + rows_per_band, height) - 1, triangle_ids[:, picture], depth[:, picture],
        )
    return -1, -1, -1


@numba.njit(cache=True, error_model="numpy")
def _project(task, num_chunks, vertices, px_from_cam, near, homogeneous, screen):  # pragma: no cover - compiled
    """One chunk of vertices: ``homogeneous`` = K v and ``screen`` = (x px, y px, 1/z), 1/z = 0 nearer than ``near``.

    Returns the first vertex that is not finite, or -1.
    """
    picture = task // num_chunks
    first = (task % num_chunks) * _CHUNK
    camera = px_from_cam[picture if px_from_cam.shape[0] > 1 else 0]
    for vertex in range(first, min(first + _CHUNK, vertices.shape[1])):
        x = np.float64(vertices[picture, vertex, 0])
        y = np.float64(vertices[picture, vertex, 1])
        z = np.float64(vertices[picture, vertex, 2])
        hx = camera[0, 0] * x + camera[0, 1] * y + camera[0, 2] * z
        hy = camera[1, 0] * x + camera[1, 1] * y + camera[1, 2] * z
        hz = camera[2, 0] * x + camera[2, 1] * y + camera[2, 2] * z
        if not math.isfinite(hx + hy + hz):
            return vertex
        homogeneous[picture, vertex, 0] = hx
        homogeneous[picture, vertex, 1] = hy
        homogeneous[picture, vertex, 2] = hz
        reciprocal = 1.0 / hz if hz >= near else 0.0
        screen[picture, vertex, 0] = hx * reciprocal
        screen[picture, vertex, 1] = hy * reciprocal
        screen[picture, vertex, 2] = reciprocal
    return -1


@numba.njit(cache=True, error_model="numpy")
def _find_bands(task, num_chunks, triangles, homogeneous, screen, near, height, width, rows_per_band, bands, counts):  # pragma: no cover
    """First and last band of every triangle of a chunk (last < first: not in the picture), counted per band.

    Returns the first triangle that names a vertex that does not exist, or -1.
    """
    picture = task // num_chunks
    first = (task % num_chunks) * _CHUNK
    num_vertices = homogeneous.shape[1]
    points = screen[picture]
    for face in range(first, min(first + _CHUNK, triangles.shape[0])):
        i = triangles[face, 0]
        j = triangles[face, 1]
        k = triangles[face, 2]
        if min(i, min(j, k)) < 0 or max(i, max(j, k)) >= num_vertices:
            return face
        bands[picture, face, 0] = 0
        bands[picture, face, 1] = -1
        if points[i, 2] > 0.0 and points[j, 2] > 0.0 and points[k, 2] > 0.0:
            low_x = min(points[i, 0], min(points[j, 0], points[k, 0]))
            high_x = max(points[i, 0], max(points[j, 0], points[k, 0]))
            low_y = min(points[i, 1], min(points[j, 1], points[k, 1]))
            high_y = max(points[i, 1], max(points[j, 1], points[k, 1]))
        elif points[i, 2] > 0.0 or points[j, 2] > 0.0 or points[k, 2] > 0.0:
            polygon = np.empty((4, 3))
            corners = _clip(homogeneous[picture], i, j, k, near, polygon)
            low_x = polygon[:corners, 0].min()
            high_x = polygon[:corners, 0].max()
            low_y = polygon[:corners, 1].min()
            high_y = polygon[:corners, 1].max()
        else:
            continue
        if not (low_x > -_LARGEST_PX and high_x < _LARGEST_PX and low_y > -_LARGEST_PX and high_y < _LARGEST_PX):
            continue
        if high_x < 0.5 or low_x > width - 0.5:
            continue
        # Rows of pixel centres y with low_y <= y < high_y.
        top = int(math.ceil(max(low_y - 0.5, 0.0)))
        bottom = int(math.ceil(min(high_y - 0.5, float(height)))) - 1
        if top > bottom:
            continue
        bands[picture, face, 0] = top // rows_per_band
        bands[picture, face, 1] = bottom // rows_per_band
        for band in range(top // rows_per_band, bottom // rows_per_band + 1):
            counts[task, band] += 1
    return -1


@numba.njit(cache=True)
def _list_members(task, num_chunks, num_faces, bands, places, members):  # pragma: no cover - compiled
    """Writes a chunk's triangles to the lists of their bands, from ``places`` (counted up) on."""
    picture = task // num_chunks
    first = (task % num_chunks) * _CHUNK
    for face in range(first, min(first + _CHUNK, num_faces)):
        for band in range(bands[picture, face, 0], bands[picture, face, 1] + 1):
            members[places[task, band]] = face
            places[task, band] += 1


@numba.njit(cache=True, error_model="numpy")
def _clip(homogeneous, i, j, k, near, polygon):  # pragma: no cover - compiled
    """The part of a triangle beyond the near plane as a polygon of (x px, y px, 1/z) in ``polygon`` (4, 3); returns its corners.

    A cut edge is walked from its end beyond the plane, so its two triangles get the same point to the last bit.
    """
    corners = 0
    for step in range(3):
        a = i if step == 0 else (j if step == 1 else k)
        b = j if step == 0 else (k if step == 1 else i)
        az = homogeneous[a, 2]
        bz = homogeneous[b, 2]
        if az >= near:
            reciprocal = 1.0 / az
            polygon[corners, 0] = homogeneous[a, 0] * reciprocal
            polygon[corners, 1] = homogeneous[a, 1] * reciprocal
            polygon[corners, 2] = reciprocal
            corners += 1
        if (az >= near) != (bz >= near):
            front = a if az >= near else b
            back = b if az >= near else a
            t = (homogeneous[front, 2] - near) / (homogeneous[front, 2] - homogeneous[back, 2])
            polygon[corners, 0] = (homogeneous[front, 0] + t * (homogeneous[back, 0] - homogeneous[front, 0])) / near
            polygon[corners, 1] = (homogeneous[front, 1] + t * (homogeneous[back, 1] - homogeneous[front, 1])) / near
            polygon[corners, 2] = 1.0 / near
            corners += 1
    return corners


@numba.njit(cache=True, error_model="numpy")
def _fill_band(members, triangles, homogeneous, screen, near, first_row, last_row, triangle_ids, depth):  # pragma: no cover - compiled
    """Draws the triangles of one band; ``depth`` holds reciprocal depths until the end."""
    num_layers, _, width = triangle_ids.shape
    for layer in range(num_layers):
        for row in range(first_row, last_row + 1):
            for column in range(width):
                triangle_ids[layer, row, column] = -1
                depth[layer, row, column] = np.float32(0.0)
    for member in range(members.shape[0]):
        face = members[member]
        i = triangles[face, 0]
        j = triangles[face, 1]
        k = triangles[face, 2]
        if screen[i, 2] > 0.0 and screen[j, 2] > 0.0 and screen[k, 2] > 0.0:
            # From the upper corner to the lower one: the same triangle gives the same bits whatever corner comes first in it.
            if screen[j, 1] < screen[i, 1] or (screen[j, 1] == screen[i, 1] and screen[j, 0] < screen[i, 0]):
                i, j = j, i
            if screen[k, 1] < screen[i, 1] or (screen[k, 1] == screen[i, 1] and screen[k, 0] < screen[i, 0]):
                i, k = k, i
            if screen[k, 1] < screen[j, 1] or (screen[k, 1] == screen[j, 1] and screen[k, 0] < screen[j, 0]):
                j, k = k, j
            slope_x, slope_y = _slopes(homogeneous, i, j, k)
            _fill(
                screen[i, 0], screen[i, 1], screen[j, 0], screen[j, 1], screen[k, 0], screen[k, 1], screen[i, 2], slope_x, slope_y,
                face, first_row, last_row, triangle_ids, depth,
            )
        else:
            polygon = np.empty((4, 3))
            corners = _clip(homogeneous, i, j, k, near, polygon)
            slope_x, slope_y = _slopes(homogeneous, i, j, k)
            for corner in range(2, corners):
                a, b, c = 0, corner - 1, corner
                if polygon[b, 1] < polygon[a, 1]:
                    a, b = b, a
                if polygon[c, 1] < polygon[a, 1]:
                    a, c = c, a
                if polygon[c, 1] < polygon[b, 1]:
                    b, c = c, b
                _fill(
                    polygon[a, 0], polygon[a, 1], polygon[b, 0], polygon[b, 1], polygon[c, 0], polygon[c, 1], polygon[a, 2], slope_x, slope_y,
                    face, first_row, last_row, triangle_ids, depth,
                )
    for layer in range(num_layers):
        for row in range(first_row, last_row + 1):
            for column in range(width):
                depth[layer, row, column] = np.float32(1.0) / depth[layer, row, column]


@numba.njit(cache=True, error_model="numpy")
def _slopes(homogeneous, i, j, k):  # pragma: no cover - compiled
    """How 1/z changes per pixel to the right and downwards; 0 on a triangle that is seen edge-on."""
    ax = homogeneous[j, 0] - homogeneous[i, 0]
    ay = homogeneous[j, 1] - homogeneous[i, 1]
    az = homogeneous[j, 2] - homogeneous[i, 2]
    bx = homogeneous[k, 0] - homogeneous[i, 0]
    by = homogeneous[k, 1] - homogeneous[i, 1]
    bz = homogeneous[k, 2] - homogeneous[i, 2]
    nx = ay * bz - az * by
    ny = az * bx - ax * bz
    nz = ax * by - ay * bx
    x = nx * homogeneous[i, 0]
    y = ny * homogeneous[i, 1]
    z = nz * homogeneous[i, 2]
    determinant = x + y + z
    # The plane through triangle and camera: its slopes are rounding errors over rounding errors.
    if not abs(determinant) > 1e-12 * (abs(x) + abs(y) + abs(z)):
        return 0.0, 0.0
    return nx / determinant, ny / determinant


@numba.njit(cache=True, error_model="numpy")
def _fill(xa, ya, xb, yb, xc, yc, nearness, slope_x, slope_y, face, first_row, last_row, triangle_ids, depth):  # pragma: no cover - compiled
    """Fills the screen triangle a, b, c (ya <= yb <= yc) where it is nearer than what the layers hold.

    nearness: 1/z at a. slope_x, slope_y: its change per pixel.
    """
    num_layers, _, width = triangle_ids.shape
    top = int(max(math.ceil(ya - 0.5), float(first_row)))
    stop = int(min(math.ceil(yc - 0.5), last_row + 1.0))
    if top >= stop:
        return
    right = float(width)
    long_slope = (xc - xa) / (yc - ya)
    upper_slope = (xb - xa) / (yb - ya)
    lower_slope = (xc - xb) / (yc - yb)
    is_long_left = (xb - xa) * (yc - ya) >= (xc - xa) * (yb - ya)
    for row in range(top, stop):
        y = row + 0.5
        long_x = xa + (y - ya) * long_slope
        short_x = xa + (y - ya) * upper_slope if y < yb else xb + (y - yb) * lower_slope
        left_x = long_x if is_long_left else short_x
        right_x = short_x if is_long_left else long_x
        first = int(math.ceil(min(max(left_x - 0.5, 0.0), right)))
        end = int(math.ceil(min(max(right_x - 0.5, 0.0), right)))
        start = nearness + (y - ya) * slope_y + (0.5 - xa) * slope_x
        if num_layers == 1:
            for column in range(first, end):
                value = np.float32(start + column * slope_x)
                if value > depth[0, row, column]:
                    depth[0, row, column] = value
                    triangle_ids[0, row, column] = face
        else:
            for column in range(first, end):
                value = np.float32(start + column * slope_x)
                layer = num_layers
                while layer > 0 and value > depth[layer - 1, row, column]:
                    layer -= 1
                for behind in range(num_layers - 1, layer, -1):
                    depth[behind, row, column] = depth[behind - 1, row, column]
                    triangle_ids[behind, row, column] = triangle_ids[behind - 1, row, column]
                if layer < num_layers:
                    depth[layer, row, column] = value
                    triangle_ids[layer, row, column] = face


@numba.njit(cache=True, parallel=True, error_model="numpy")
def barycentric_into(homogeneous, triangles, triangle_ids, barycentric):  # pragma: no cover - compiled
    """Perspective-correct weights of every pixel's triangle.

    Args:
        homogeneous: (B, V, 3) float64. triangles: (F, 3) int32. triangle_ids: (B, H, W) int32.
        barycentric: (B, H, W, 3) float32, out; 0 on the background.
    """
    num_pictures, height, width = triangle_ids.shape
    for task in numba.prange(num_pictures * height):
        picture = task // height
        row = task % height
        for column in range(width):
            face = triangle_ids[picture, row, column]
            if face < 0:
                barycentric[picture, row, column, 0] = 0.0
                barycentric[picture, row, column, 1] = 0.0
                barycentric[picture, row, column, 2] = 0.0
                continue
            i = triangles[face, 0]
            j = triangles[face, 1]
            k = triangles[face, 2]
            ax = homogeneous[picture, i, 0] - (column + 0.5) * homogeneous[picture, i, 2]
            ay = homogeneous[picture, i, 1] - (row + 0.5) * homogeneous[picture, i, 2]
            bx = homogeneous[picture, j, 0] - (column + 0.5) * homogeneous[picture, j, 2]
            by = homogeneous[picture, j, 1] - (row + 0.5) * homogeneous[picture, j, 2]
            cx = homogeneous[picture, k, 0] - (column + 0.5) * homogeneous[picture, k, 2]
            cy = homogeneous[picture, k, 1] - (row + 0.5) * homogeneous[picture, k, 2]
            a = bx * cy - by * cx
            b = cx * ay - cy * ax
            c = ax * by - ay * bx
            total = a + b + c
            barycentric[picture, row, column, 0] = a / total
            barycentric[picture, row, column, 1] = b / total
            barycentric[picture, row, column, 2] = c / total
