"""A texture layout for FLAME, whose files carry none: the skin as one disc cut open at the back of the head, the eyes in the corners."""

from __future__ import annotations

import numpy as np

from .rims import edge_graph, edges_of_quads, path_through
from .unwrap_mesh import border_loops, cut_along, fill_loop, flatten_disc

MARGIN = 4 / 1024
CORNER = 0.146
"""Side of the square between the disc and a corner of the texture: (1 - 1/sqrt 2) / 2."""
FRONT_REACH_DEG = 115.0
"""How far from the pole the front chart of an eyeball reaches; the back chart takes the rest."""
FACE_IMPORTANCE = 4.0


def flame_uv(vertices: np.ndarray, triangles: np.ndarray, is_skin: np.ndarray, mirror: np.ndarray, face: np.ndarray, eyes: tuple[np.ndarray, np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Texture coordinates per corner.

    Args:
        vertices: (V, 3) m. triangles: (F, 3). is_skin: (V,) bool. mirror: (V,) partner on the other side.
        face: (V,) bool, the part that shall get more texels. eyes: (V,) bool of the left and of the right eyeball.

    Returns:
        uv (T, 2) in [0, 1], v up, and the index into it of each triangle corner (F, 3).
    """
    corner_uv = np.zeros((len(triangles), 3), np.int32)
    skin_faces = np.flatnonzero(is_skin[triangles].all(1))
    flat, corners = _skin(vertices, triangles[skin_faces], mirror, face)
    charts = [0.5 + flat * (0.5 - MARGIN)]
    corner_uv[skin_faces] = corners
    first = len(flat)
    # Upper corners: fronts of the eyes (left eye at the viewer's right, as on the face); lower corners: their backs.
    for eye, low_u in zip(eyes, (1 - CORNER, 0.0)):
        of_eye = np.flatnonzero(eye[triangles].all(1))
        centre = (vertices[eye].min(0) + vertices[eye].max(0)) / 2
        direction = vertices - centre
        direction = direction / np.maximum(np.linalg.norm(direction, axis=1, keepdims=True), 1e-12)
        from_pole = np.degrees(np.arccos(np.clip(direction[:, 2], -1, 1)))
        is_front = from_pole[triangles[of_eye]].max(1) <= FRONT_REACH_DEG
        for chosen, sign, low_v in ((is_front, 1, 1 - CORNER), (~is_front, -1, 0.0)):
            ids, inverse = np.unique(triangles[of_eye[chosen]], return_inverse=True)
            angle = np.arccos(np.clip(sign * direction[ids, 2], -1, 1))
            around = np.arctan2(direction[ids, 1], sign * direction[ids, 0])
            polar = np.stack([np.cos(around), np.sin(around)], 1) * (angle / angle.max())[:, None]
            charts.append(np.array([low_u, low_v]) + MARGIN + (0.5 + 0.5 * polar) * (CORNER - 2 * MARGIN))
            corner_uv[of_eye[chosen]] = inverse.reshape(-1, 3) + first
            first += len(ids)
    return np.concatenate(charts).astype(np.float32), corner_uv


def _skin(vertices: np.ndarray, triangles: np.ndarray, mirror: np.ndarray, face: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The skin in the unit disc, forehead up: (N, 2), and corner indices (F, 3)."""
    ids, local = np.unique(triangles, return_inverse=True)
    local = local.reshape(-1, 3)
    points = vertices[ids]
    loops = sorted(border_loops(local), key=lambda loop: points[loop, 1].mean())
    neck, holes = loops[0], loops[1:]
    is_middle = mirror[ids] == ids
    edges = edges_of_quads(np.concatenate([local, np.full((len(local), 1), -1)], 1))
    middle = np.flatnonzero(is_middle)
    start = min((vertex for vertex in neck if is_middle[vertex]), key=lambda vertex: points[vertex, 2])
    crown = middle[np.argmax(points[middle, 1] - 0.3 * points[middle, 2])]
    seam = path_through(edge_graph(points, edges[is_middle[edges].all(1)]), (start, crown))
    closed, extra = [local], []
    for number, hole in enumerate(holes):
        closed.append(fill_loop(local, hole, len(ids) + number))
        extra.append(points[hole].mean(0))
    opened, origin = cut_along(np.concatenate(closed), seam)
    all_points = np.concatenate([points, np.array(extra).reshape(-1, 3)])[origin]
    importance = np.where(np.concatenate([face[ids], np.zeros(len(holes), bool)])[origin], FACE_IMPORTANCE, 1.0)
    flat = flatten_disc(all_points, opened, importance)
    # Turn the disc so that the middle of the face runs upright: from its lowest to its highest point.
    middle_face = np.flatnonzero((importance > 1) & np.concatenate([is_middle, np.zeros(len(holes), bool)])[origin])
    low, high = (flat[middle_face[pick(all_points[middle_face, 1])]] for pick in (np.argmin, np.argmax))
    up = (high - low) / np.linalg.norm(high - low)
    flat = flat @ np.array([[up[1], up[0]], [-up[0], up[1]]])
    return flat, opened[: len(local)]
