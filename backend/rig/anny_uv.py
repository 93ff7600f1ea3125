"""Lays out the default head's texture: one square, no overlaps, most of it face.

The skin keeps MakeHuman's own unwrapping, turned upright and stretched so that the face gets more than the scalp. Teeth and lashes are
grids and become rectangles; eyes become discs seen from the front. Boxes below are texels of a 1024 square, row 0 at the bottom.
"""

from __future__ import annotations

import numpy as np
import scipy.sparse as sp
from scipy.sparse.csgraph import connected_components

from .anny_cut import HeadCut
from .anny_eyes import TurnedSurface
from .anny_source import BaseMesh

SIDE = 1024

# (left, bottom, width, height) of every island; eight texels lie between any two
BOXES = {
    "head": (8, 388, 1008, 628),
    "teeth_upper": (8, 240, 264, 136),
    "teeth_lower": (8, 96, 264, 136),
    "lashes0": (8, 52, 128, 36), "lashes1": (144, 52, 128, 36), "lashes2": (8, 8, 128, 36), "lashes3": (144, 8, 128, 36),
    "eye_left": (280, 216, 160, 160),
    "eye_right": (280, 48, 160, 160),
    "cornea_left": (280, 8, 32, 32), "cornea_right": (320, 8, 32, 32),
    "tongue": (448, 168, 112, 208),
    "socket_left": (448, 60, 100, 100), "socket_right": (560, 60, 100, 100),
    "neck": (568, 208, 448, 168),
    "mouth": (672, 8, 200, 192),
}  # fmt: skip

FACE_MAGNIFICATION = (2.6, 1.9)
"""How much denser than the outskirts the face is laid out, across and upwards."""

EAR_MAGNIFICATION = 4.0
"""The same for everything between the ears, across, ears included."""

EYE_DISC_POWER = 0.62
"""Radius in the eye's disc = (angle from the gaze axis / 180 deg) ** this: the iris gets more than its share."""


def pack_uv(
    base: BaseMesh, cut: HeadCut, template: np.ndarray, quad_parts: np.ndarray, added: list[tuple[str, TurnedSurface]]
) -> tuple[np.ndarray, np.ndarray]:
    """Texture coordinates of all quads: those of ``cut`` first, then those of the ``added`` surfaces.

    Returns:
        (T, 2) float64 uv in [0, 1], v up, and (Q, 4) int64 into it (-1 where the quad is a triangle).
    """
    corners = np.zeros((len(quad_parts), 4, 2))
    island = _islands(cut.quad_uv)
    for label in np.unique(island):
        members = np.flatnonzero(island == label)
        name = _island_name(cut, members, template, base)
        corners[members] = _island_corners(base, cut, template, name, members)
    start = len(cut.quads)
    for part, surface in added:
        polar = surface.corner_polar
        widest = polar[..., 0].max()
        radius = (polar[..., 0] / widest) ** EYE_DISC_POWER if part.startswith("eye") else polar[..., 0] / widest
        disc = 0.5 + 0.5 * radius[..., None] * np.stack([np.cos(polar[..., 1]), np.sin(polar[..., 1])], -1)
        corners[start : start + len(disc)] = _into_box(disc, part)
        start += len(disc)
    padding = np.concatenate([np.zeros(len(cut.quads), dtype=bool), *[surface.quads[:, 3] < 0 for _, surface in added]])
    corners[padding, 3] = corners[padding, 0]
    uv, index = np.unique(np.round(corners.reshape(-1, 2), 8), axis=0, return_inverse=True)
    quad_uv = index.reshape(-1, 4)
    quad_uv[padding, 3] = -1
    return uv, quad_uv


def _islands(quad_uv: np.ndarray) -> np.ndarray:
    """(Q,) label of the connected piece of texture each quad belongs to."""
    num = quad_uv.max() + 1
    pairs = np.concatenate([quad_uv[:, [0, 1]], quad_uv[:, [1, 2]], quad_uv[:, [2, 3]]])
    label = connected_components(sp.coo_matrix((np.ones(len(pairs)), (pairs[:, 0], pairs[:, 1])), shape=(num, num)), directed=False)[1]
    return label[quad_uv[:, 0]]


def _island_name(cut: HeadCut, members: np.ndarray, template: np.ndarray, base: BaseMesh) -> str:
    part = str(cut.quad_parts[members[0]])
    ids = np.unique(cut.quads[members])
    if part == "lashes":
        upper = np.isin(cut.source_vertex_ids[ids[0]], np.union1d(base.group_vertices("helper-l-eyelashes-2"), base.group_vertices("helper-r-eyelashes-2")))
        return f"lashes{(0 if upper else 2) + (0 if template[ids, 0].mean() > 0 else 1)}"
    if part != "skin":
        return part
    if np.isin(cut.neck_loop, ids).any():
        return "neck"
    if len(members) > 1000:
        return "head"
    middle = template[ids, 0].mean()
    return "mouth" if abs(middle) < 0.01 else "socket_left" if middle > 0 else "socket_right"


def _island_corners(base: BaseMesh, cut: HeadCut, template: np.ndarray, name: str, members: np.ndarray) -> np.ndarray:
    """(n, 4, 2) uv of an island's corners."""
    if name.startswith(("teeth", "lashes")):
        return _into_box(_grid_corners(cut.quads[members], template), name)
    corners = base.uv[cut.quad_uv[members]]
    corners = _upright(corners, template[cut.quads[members]])
    if name == "head":
        places = template[cut.quads[members]]
        face = (places[..., 2] > 0.06) & (np.abs(places[..., 0]) < 0.065) & (places[..., 1] > 0.065) & (places[..., 1] < 0.235)
        ears = np.abs(places[..., 0]) > np.abs(places[..., 0]).max() - 0.012
        spans = [[(np.quantile(corners[face][:, axis], [0.03, 0.97]), factor)] for axis, factor in enumerate(FACE_MAGNIFICATION)]
        spans[0].append((np.array([corners[ears][:, 0].min(), corners[ears][:, 0].max()]), EAR_MAGNIFICATION))
        corners = np.stack([_magnify(corners[..., axis], spans[axis]) for axis in (0, 1)], -1)
    return _into_box(corners, name)


def _upright(corners: np.ndarray, places: np.ndarray) -> np.ndarray:
    """Turns an island by quarters so that up is up and the subject's left is right; fills the unit square."""
    flat, spots = corners.reshape(-1, 2), places.reshape(-1, 3)
    centred, around = flat - flat.mean(0), spots - spots.mean(0)
    slope = np.abs(centred.T @ around[:, :2])
    if slope[0, 1] * slope[1, 0] > slope[0, 0] * slope[1, 1]:
        centred = centred[:, ::-1]
    signs = np.sign([(centred[:, 0] * around[:, 0]).sum(), (centred[:, 1] * around[:, 1]).sum()])
    centred = centred * signs
    low, high = centred.min(0), centred.max(0)
    return ((centred - low) / (high - low)).reshape(corners.shape)


def _magnify(values: np.ndarray, spans: list[tuple[np.ndarray, float]]) -> np.ndarray:
    """A smooth monotone map of [0, 1] onto itself, steeper by a factor inside each span (low, high) than far from all."""
    grid = np.linspace(0, 1, 513)
    density = np.ones_like(grid)
    for span, factor in spans:
        width = max((span[1] - span[0]) / 2, 1e-6)
        density *= 1 + (factor - 1) * np.exp(-(((grid - span.mean()) / (1.15 * width)) ** 6))
    steps = np.concatenate([[0.0], np.cumsum((density[1:] + density[:-1]) / 2)])
    return np.interp(values, grid, steps / steps[-1])


def _grid_corners(quads: np.ndarray, template: np.ndarray) -> np.ndarray:
    """(n, 4, 2) in [0, 1]: a patch that is a regular grid of quads laid out as a rectangle; rows and columns as wide as they are on average."""
    place: dict[int, tuple[int, int]] = dict(zip(quads[0].tolist(), [(0, 0), (1, 0), (1, 1), (0, 1)]))
    pending = list(range(1, len(quads)))
    while pending:
        later = []
        for index in pending:
            quad = quads[index].tolist()
            for corner in range(4):
                a, b = quad[corner], quad[(corner + 1) % 4]
                if a in place and b in place:
                    step = (place[b][0] - place[a][0], place[b][1] - place[a][1])
                    side = (-step[1], step[0])
                    place[quad[(corner + 2) % 4]] = (place[b][0] + side[0], place[b][1] + side[1])
                    place[quad[(corner + 3) % 4]] = (place[a][0] + side[0], place[a][1] + side[1])
                    break
            else:
                later.append(index)
        if len(later) == len(pending):
            raise ValueError("the patch is no grid")
        pending = later
    ids = np.array(sorted(place))
    cells = np.array([place[i] for i in ids.tolist()])
    cells -= cells.min(0)
    if cells[:, 0].max() < cells[:, 1].max():
        cells = cells[:, ::-1]
    stations = []
    for axis in (0, 1):
        count = cells[:, axis].max() + 1
        length = np.zeros(count)
        for line in range(count - 1):
            here, there = (ids[np.lexsort((cells[:, 1 - axis], cells[:, axis] != k))][: (cells[:, axis] == k).sum()] for k in (line, line + 1))
            length[line + 1] = np.linalg.norm(template[here] - template[there], axis=1).mean()
        stations.append(np.cumsum(length) / length.sum())
    flat = np.stack([stations[0][cells[:, 0]], stations[1][cells[:, 1]]], -1)
    if (flat[:, 0] - 0.5) @ template[ids, 0] < 0:
        flat[:, 0] = 1 - flat[:, 0]
    if (flat[:, 1] - 0.5) @ (template[ids, 1] - template[ids, 1].mean()) < 0:
        flat[:, 1] = 1 - flat[:, 1]
    return flat[np.searchsorted(ids, quads)]


def _into_box(corners: np.ndarray, name: str) -> np.ndarray:
    left, bottom, width, height = BOXES[name]
    return (np.array([left, bottom]) + corners * np.array([width, height])) / SIDE
