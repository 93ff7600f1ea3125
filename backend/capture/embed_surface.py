"""Geometry of the landmark embedding: closest triangles, rims as lines, agreement of several views."""

from __future__ import annotations

import numpy as np

from ..rig.model import RigModel
from ..rig.rims import edges_of_quads, ordered_rim


class RimLine:
    """One rim of a rig as a line from the smaller to the larger x."""

    def __init__(self, rig: RigModel, region: str):
        self.ids = ordered_rim(rig.template, edges_of_quads(rig.quads), rig.regions[region])
        self.rest = rig.template[self.ids].astype(np.float64)
        steps = np.linalg.norm(np.diff(self.rest, axis=0), axis=1)
        self.length_m = float(steps.sum())
        self.stations = np.concatenate([[0], np.cumsum(steps)]) / self.length_m

    def along(self, vertices_px: np.ndarray, points_px: np.ndarray) -> np.ndarray:
        """(N,) in [0, 1]: the place along the rim, as share of its rest length, that a view shows nearest to each (N, 2) point."""
        line = vertices_px[self.ids]
        start, step = line[:-1], np.diff(line, axis=0)
        t = ((points_px[:, None] - start) * step).sum(-1) / np.maximum((step * step).sum(-1), 1e-12)
        t = np.clip(t, 0, 1)
        distance = np.linalg.norm(start + t[..., None] * step - points_px[:, None], axis=-1)
        nearest = distance.argmin(1)
        t = t[np.arange(len(points_px)), nearest]
        return self.stations[nearest] * (1 - t) + self.stations[nearest + 1] * t

    def positions(self, along: np.ndarray) -> np.ndarray:
        """(N, 3) m on the template."""
        return np.stack([np.interp(along, self.stations, self.rest[:, axis]) for axis in range(3)], 1)


def agree(values: np.ndarray, weights: np.ndarray, num_rounds: int = 12) -> tuple[np.ndarray, np.ndarray]:
    """Robust weighted mean over views.

    Args:
        values: (views, N, D), NaN allowed where the weight is 0. weights: (views, N).

    Returns:
        (N, D), NaN where no view has weight, and (N,) the weighted root mean square distance of the views that agree.
        Views further off than about twice the typical distance lose their say (Cauchy weights).
    """
    weights = np.where(np.isfinite(values).all(-1), weights, 0.0)
    safe = np.where(weights[..., None] > 0, values, 0.0)
    trust = weights
    for _ in range(num_rounds):
        total = np.maximum(trust.sum(0), 1e-12)
        mean = (safe * trust[..., None]).sum(0) / total[:, None]
        distance = np.linalg.norm(safe - mean, axis=-1)
        typical = np.sqrt((trust * distance**2).sum(0) / total) + 1e-9
        trust = weights / (1 + (distance / typical) ** 2)
    spread = np.sqrt((trust * distance**2).sum(0) / np.maximum(trust.sum(0), 1e-12))
    nothing = weights.sum(0) <= 0
    mean[nothing] = np.nan
    return mean, np.where(nothing, np.nan, spread)


def monotone(values: np.ndarray) -> np.ndarray:
    """The nearest non-decreasing sequence in the least-squares sense (pooling of neighbours that are out of order)."""
    pools: list[list[float]] = []
    for value in values:
        pools.append([float(value), 1.0])
        while len(pools) > 1 and pools[-2][0] > pools[-1][0]:
            (a, n), (b, m) = pools[-2], pools[-1]
            pools[-2:] = [[(a * n + b * m) / (n + m), n + m]]
    return np.concatenate([np.full(int(count), value) for value, count in pools])


class SurfaceIndex:
    """Closest points on the template of a rig."""

    def __init__(self, rig: RigModel):
        self.template = rig.template.astype(np.float64)
        self.triangles = rig.triangles

    def closest(self, points: np.ndarray, chosen: np.ndarray, num_candidates: int = 24) -> tuple[np.ndarray, np.ndarray]:
        """The chosen triangle nearest to each point.

        Args:
            points: (N, 3) m; a NaN z means: along the line of sight (Z) from the front. chosen: (F,) bool.

        Returns:
            triangle ids (N,) int32 and barycentric weights (N, 3) float32.
        """
        from scipy.spatial import cKDTree

        ids = np.flatnonzero(chosen)
        corners = self.template[self.triangles[ids]]
        points = np.array(points, np.float64)
        for row in np.flatnonzero(np.isnan(points[:, 2])):
            points[row, 2] = _front_depth(corners, points[row, :2])
        _, near = cKDTree(corners.mean(1)).query(points, k=min(num_candidates, len(ids)))
        near = near.reshape(len(points), -1)
        weights = closest_barycentric(points[:, None], corners[near])
        distance = np.linalg.norm(np.einsum("nkc,nkcx->nkx", weights, corners[near]) - points[:, None], axis=-1)
        best = distance.argmin(1)
        rows = np.arange(len(points))
        return ids[near[rows, best]].astype(np.int32), weights[rows, best].astype(np.float32)

    def beside_rim(self, line: RimLine) -> np.ndarray:
        """(F,) bool: triangles that have an edge of the rim. They belong to one lip or lid only, even where two rims touch."""
        edges = {tuple(sorted(pair)) for pair in zip(line.ids[:-1].tolist(), line.ids[1:].tolist())}
        sides = np.sort(self.triangles[:, [[0, 1], [1, 2], [2, 0]]], axis=-1)
        return np.array([any((int(a), int(b)) in edges for a, b in triangle) for triangle in sides])


def _front_depth(corners: np.ndarray, xy: np.ndarray) -> float:
    """The largest z at which the vertical line through ``xy`` meets one of the (F, 3, 3) triangles.

    Raises:
        ValueError: it meets none.
    """
    a, b, c = corners[:, 0], corners[:, 1], corners[:, 2]
    det = (b[:, 1] - c[:, 1]) * (a[:, 0] - c[:, 0]) + (c[:, 0] - b[:, 0]) * (a[:, 1] - c[:, 1])
    det = np.where(np.abs(det) < 1e-15, np.inf, det)
    first = ((b[:, 1] - c[:, 1]) * (xy[0] - c[:, 0]) + (c[:, 0] - b[:, 0]) * (xy[1] - c[:, 1])) / det
    second = ((c[:, 1] - a[:, 1]) * (xy[0] - c[:, 0]) + (a[:, 0] - c[:, 0]) * (xy[1] - c[:, 1])) / det
    weights = np.stack([first, second, 1 - first - second], 1)
    inside = (weights >= -1e-9).all(1) & np.isfinite(det)
    if not inside.any():
        raise ValueError(f"no surface in front of {xy}")
    return float((weights[inside] * corners[inside, :, 2]).sum(1).max())


def closest_barycentric(points: np.ndarray, corners: np.ndarray) -> np.ndarray:
    """Weights of the point of each triangle that is nearest.

    Args:
        points: (..., 3). corners: (..., 3, 3), broadcast against ``points``.

    Returns:
        (..., 3), each >= 0, sum 1. Inside the triangle by solving the plane equations, else the best point of the three edges.
    """
    points = np.broadcast_to(points, corners.shape[:-2] + (3,))
    a, b, c = corners[..., 0, :], corners[..., 1, :], corners[..., 2, :]
    ab, ac, ap = b - a, c - a, points - a
    d00, d01, d11 = (ab * ab).sum(-1), (ab * ac).sum(-1), (ac * ac).sum(-1)
    d20, d21 = (ap * ab).sum(-1), (ap * ac).sum(-1)
    det = d00 * d11 - d01 * d01
    flat = det <= 1e-24
    safe = np.where(flat, 1.0, det)
    v, w = (d11 * d20 - d01 * d21) / safe, (d00 * d21 - d01 * d20) / safe
    inside = np.stack([1 - v - w, v, w], -1)
    best = np.where(flat[..., None], np.array([1.0, 0, 0]), inside)
    is_inside = (best >= 0).all(-1) & ~flat
    nearest = np.full(points.shape[:-1], np.inf)
    for first, second in ((0, 1), (1, 2), (2, 0)):
        start, step = corners[..., first, :], corners[..., second, :] - corners[..., first, :]
        t = np.clip(((points - start) * step).sum(-1) / np.maximum((step * step).sum(-1), 1e-24), 0, 1)
        distance = np.linalg.norm(start + t[..., None] * step - points, axis=-1)
        weights = np.zeros_like(best)
        weights[..., first], weights[..., second] = 1 - t, t
        better = ~is_inside & (distance < nearest)
        best = np.where(better[..., None], weights, best)
        nearest = np.where(better, distance, nearest)
    return best
