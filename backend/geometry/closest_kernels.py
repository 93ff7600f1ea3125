"""The compiled bounding volume hierarchy behind ``closest`` (CPU, numba).

A binary tree over triangles, split at the median centroid along the longest side of the centroids' box. Leaves hold up to
``LEAF_SIZE`` triangles. Nodes are numbered parents first, so boxes are renewed from the last node to the first.

The answer to a query depends on nothing but the point and the triangles: a node is skipped only when its box is farther than the
best triangle so far by more than rounding, and among equal distances the lowest triangle number wins whatever the order of visits.
Corners of a triangle are sorted by vertex number before any arithmetic, so two triangles that share an edge or a corner find the
same point on it, bit for bit, and the tie is a real tie.
"""

from __future__ import annotations

import math

import numba
import numpy as np

LEAF_SIZE = 4
POINTS_PER_CHUNK = 256
_MAX_DEPTH = 64
_SLACK = 1.0 + 1e-12


@numba.njit(cache=True)
def build(centroids, order, children, spans):  # pragma: no cover - compiled
    """Splits the triangles until they fit into leaves.

    Args:
        centroids: (F, 3) float64. order: (F,) int32, in: 0 to F - 1, out: triangles in the order of the leaves.
        children: (N, 2) int32, out: -1 in leaves. spans: (N, 2) int32, out: first and one beyond the last place in ``order``.

    Returns:
        The number of nodes.
    """
    num_nodes = 1
    spans[0, 0] = 0
    spans[0, 1] = order.shape[0]
    node = 0
    while node < num_nodes:
        first = spans[node, 0]
        last = spans[node, 1]
        children[node, 0] = -1
        children[node, 1] = -1
        if last - first > LEAF_SIZE:
            axis = 0
            widest = -1.0
            for a in range(3):
                low = centroids[order[first], a]
                high = low
                for place in range(first + 1, last):
                    value = centroids[order[place], a]
                    low = min(low, value)
                    high = max(high, value)
                if high - low > widest:
                    widest = high - low
                    axis = a
            middle = (first + last) // 2
            _select(centroids[:, axis], order, first, last - 1, middle)
            for side in range(2):
                children[node, side] = num_nodes
                spans[num_nodes, 0] = first if side == 0 else middle
                spans[num_nodes, 1] = middle if side == 0 else last
                num_nodes += 1
        node += 1
    return num_nodes


@numba.njit(cache=True)
def _select(values, order, low, high, wanted):  # pragma: no cover - compiled
    """Hoare's selection: afterwards nothing before place ``wanted`` has a larger value than anything behind it."""
    while low < high:
        pivot = values[order[(low + high) // 2]]
        i = low
        j = high
        while i <= j:
            while values[order[i]] < pivot:
                i += 1
            while values[order[j]] > pivot:
                j -= 1
            if i <= j:
                order[i], order[j] = order[j], order[i]
                i += 1
                j -= 1
        if wanted <= j:
            high = j
        elif wanted >= i:
            low = i
        else:
            return


@numba.njit(cache=True)
def fit(vertices, triangles, order, corner_order, children, spans, corners, is_flat, boxes):  # pragma: no cover - compiled
    """Fills what depends on the vertices' places.

    Args:
        vertices: (V, 3) float64. corner_order: (F, 3) int8, corners of each triangle by rising vertex number.
        corners: (F, 9) float64, out: corners in that order, triangles in the order of the leaves.
        is_flat: (F,) bool, out: no area to speak of, only its edges count.
        boxes: (N, 6) float64, out: lowest corner, highest corner.
    """
    for place in range(order.shape[0]):
        face = order[place]
        for k in range(3):
            vertex = triangles[face, corner_order[face, k]]
            for a in range(3):
                corners[place, 3 * k + a] = vertices[vertex, a]
        c = corners[place]
        ux, uy, uz = c[3] - c[0], c[4] - c[1], c[5] - c[2]
        vx, vy, vz = c[6] - c[0], c[7] - c[1], c[8] - c[2]
        nx, ny, nz = uy * vz - uz * vy, uz * vx - ux * vz, ux * vy - uy * vx
        longest = max(ux * ux + uy * uy + uz * uz, vx * vx + vy * vy + vz * vz)
        is_flat[place] = nx * nx + ny * ny + nz * nz <= 1e-20 * longest * longest
    for node in range(children.shape[0] - 1, -1, -1):
        for a in range(3):
            if children[node, 0] < 0:
                low = np.inf
                high = -np.inf
                for place in range(spans[node, 0], spans[node, 1]):
                    for k in range(3):
                        low = min(low, corners[place, 3 * k + a])
                        high = max(high, corners[place, 3 * k + a])
            else:
                low = min(boxes[children[node, 0], a], boxes[children[node, 1], a])
                high = max(boxes[children[node, 0], 3 + a], boxes[children[node, 1], 3 + a])
            boxes[node, a] = low
            boxes[node, 3 + a] = high


@numba.njit(cache=True)
def _box_distance(boxes, node, x, y, z):  # pragma: no cover - compiled
    """Squared distance of a point to a node's box."""
    dx = max(boxes[node, 0] - x, x - boxes[node, 3], 0.0)
    dy = max(boxes[node, 1] - y, y - boxes[node, 4], 0.0)
    dz = max(boxes[node, 2] - z, z - boxes[node, 5], 0.0)
    return dx * dx + dy * dy + dz * dz


@numba.njit(cache=True)
def _on_segment(x, y, z, ax, ay, az, bx, by, bz):  # pragma: no cover - compiled
    """Share of b in the nearest point of the segment ab, and its squared distance; x y z, b relative to the world, not to a."""
    ux, uy, uz = bx - ax, by - ay, bz - az
    px, py, pz = x - ax, y - ay, z - az
    along = px * ux + py * uy + pz * uz
    square = ux * ux + uy * uy + uz * uz
    if along <= 0.0:
        return 0.0, px * px + py * py + pz * pz
    if along >= square:
        px, py, pz = x - bx, y - by, z - bz
        return 1.0, px * px + py * py + pz * pz
    share = along / square
    px, py, pz = px - share * ux, py - share * uy, pz - share * uz
    return share, px * px + py * py + pz * pz


@numba.njit(cache=True)
def _on_triangle(c, is_flat, x, y, z):  # pragma: no cover - compiled
    """Weights of the second and third corner and the squared distance (Ericson, "Real-time collision detection", 2005, 5.1.5)."""
    if not is_flat:
        ux, uy, uz = c[3] - c[0], c[4] - c[1], c[5] - c[2]
        vx, vy, vz = c[6] - c[0], c[7] - c[1], c[8] - c[2]
        px, py, pz = x - c[0], y - c[1], z - c[2]
        pu = px * ux + py * uy + pz * uz
        pv = px * vx + py * vy + pz * vz
        uu = ux * ux + uy * uy + uz * uz
        uv = ux * vx + uy * vy + uz * vz
        vv = vx * vx + vy * vy + vz * vz
        determinant = uu * vv - uv * uv
        s = vv * pu - uv * pv
        t = uu * pv - uv * pu
        if s > 0.0 and t > 0.0 and s + t < determinant:
            s /= determinant
            t /= determinant
            px, py, pz = px - s * ux - t * vx, py - s * uy - t * vy, pz - s * uz - t * vz
            return s, t, px * px + py * py + pz * pz
    # Outside the prism over the triangle the nearest point lies on an edge; the lowest edge wins ties, which are corners.
    share, square = _on_segment(x, y, z, c[0], c[1], c[2], c[3], c[4], c[5])
    s, t = share, 0.0
    other, distance = _on_segment(x, y, z, c[0], c[1], c[2], c[6], c[7], c[8])
    if distance < square:
        s, t, square = 0.0, other, distance
    other, distance = _on_segment(x, y, z, c[3], c[4], c[5], c[6], c[7], c[8])
    if distance < square:
        s, t, square = 1.0 - other, other, distance
    return s, t, square


@numba.njit(cache=True)
def along_a_curve(points, turns, counts):  # pragma: no cover - compiled
    """An order of visits in which neighbours follow each other: by cell of a cubic grid, cells in Morton's order (1966).

    Args:
        points: (P, 3). turns: (P,) int64, out: point numbers.
        counts: (cells + 1,) int64 zeros, used up; cells = 8^k with k up to 7, 2^k to a side.
    """
    side_cells = 1
    while side_cells * side_cells * side_cells < counts.shape[0] - 1:
        side_cells *= 2
    low = np.full(3, np.inf)
    high = np.full(3, -np.inf)
    for p in range(points.shape[0]):
        for a in range(3):
            low[a] = min(low[a], np.float64(points[p, a]))
            high[a] = max(high[a], np.float64(points[p, a]))
    codes = np.empty(points.shape[0], np.int32)
    for p in range(points.shape[0]):
        code = 0
        for a in range(3):
            side = high[a] - low[a]
            cell = int((np.float64(points[p, a]) - low[a]) / side * side_cells) if side > 0.0 else 0
            cell = min(max(cell, 0), side_cells - 1)
            cell = (cell | (cell << 8)) & 0x700F
            cell = (cell | (cell << 4)) & 0x430C3
            cell = (cell | (cell << 2)) & 0x49249
            code |= cell << a
        codes[p] = code
        counts[code + 1] += 1
    for code in range(counts.shape[0] - 1):
        counts[code + 1] += counts[code]
    for p in range(points.shape[0]):
        turns[counts[codes[p]]] = p
        counts[codes[p]] += 1


@numba.njit(cache=True, parallel=True)
def query(
    points, turns, order, corner_order, children, spans, corners, is_flat, boxes, found, distances, nearest, weights
):  # pragma: no cover - compiled
    """The nearest triangle of every point.

    Args:
        points: (P, 3) float32 or float64. turns: (P,) int64, the order of visits: the triangle of one point bounds the distance of
            the next, so neighbours should follow each other; the answers do not depend on it.
        found: (P, 3), out: nearest point. distances: (P,), out. nearest: (P,) int64, out: triangle. weights: (P, 3), out: barycentric.
    """
    num_points = points.shape[0]
    for chunk in numba.prange((num_points + POINTS_PER_CHUNK - 1) // POINTS_PER_CHUNK):
        stack = np.empty(_MAX_DEPTH, np.int64)
        stack_distance = np.empty(_MAX_DEPTH, np.float64)
        place_before = 0
        for turn in range(chunk * POINTS_PER_CHUNK, min((chunk + 1) * POINTS_PER_CHUNK, num_points)):
            p = turns[turn]
            x = np.float64(points[p, 0])
            y = np.float64(points[p, 1])
            z = np.float64(points[p, 2])
            best_place = place_before
            best_s, best_t, best = _on_triangle(corners[best_place], is_flat[best_place], x, y, z)
            stack[0] = 0
            stack_distance[0] = 0.0
            size = 1
            while size > 0:
                size -= 1
                if stack_distance[size] > best * _SLACK:
                    continue
                node = stack[size]
                left = children[node, 0]
                # Down the nearer child; the farther one waits on the stack.
                while left >= 0:
                    right = children[node, 1]
                    to_left = _box_distance(boxes, left, x, y, z)
                    to_right = _box_distance(boxes, right, x, y, z)
                    if to_right < to_left:
                        left, right = right, left
                        to_left, to_right = to_right, to_left
                    if to_right <= best * _SLACK:
                        stack[size] = right
                        stack_distance[size] = to_right
                        size += 1
                    node = left
                    if to_left > best * _SLACK:
                        break
                    left = children[node, 0]
                if left >= 0:
                    continue
                for place in range(spans[node, 0], spans[node, 1]):
                    s, t, square = _on_triangle(corners[place], is_flat[place], x, y, z)
                    if square < best or (square == best and order[place] < order[best_place]):
                        best, best_s, best_t, best_place = square, s, t, place
            place_before = best_place
            face = order[best_place]
            nearest[p] = face
            distances[p] = math.sqrt(best)
            rest = max(1.0 - best_s - best_t, 0.0)
            weights[p, corner_order[face, 0]] = rest
            weights[p, corner_order[face, 1]] = best_s
            weights[p, corner_order[face, 2]] = best_t
            for a in range(3):
                found[p, a] = rest * corners[best_place, a] + best_s * corners[best_place, 3 + a] + best_t * corners[best_place, 6 + a]
