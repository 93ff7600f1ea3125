"""Points of the face's surface at which the tracker compares colours."""

from __future__ import annotations

import dataclasses

import numpy as np
import scipy.sparse as sp
import torch
from scipy.spatial import cKDTree

from ..render.meshes import is_visible, rasterise
from ..rig.model import RigModel
from ..rig.solid_parts import solid_triangles
from .landmark_model import LandmarkModel, point_model

HIDING_DEPTH_M = 0.004
"""Skin this far behind what a frontal camera sees still counts: folds of the lids come out when they close."""
_CAMERA_DISTANCE_M, _PICTURE_PX = 1.5, 512


@dataclasses.dataclass(frozen=True)
class SurfacePoints:
    """N points of the skin, spread evenly over its area.

    triangle_ids: (N,) int64. barycentric: (N, 3) float32. model: what moves them. around: (N, N) sparse float32, how much each
    point counts in the neighbourhood of another.
    """

    triangle_ids: np.ndarray
    barycentric: np.ndarray
    model: LandmarkModel
    around: sp.csr_matrix

    def __len__(self) -> int:
        return len(self.triangle_ids)


def face_points(rig: RigModel, num: int, neighbourhood_m: float) -> SurfacePoints:
    """Chooses points on the skin of the rig's face; equal input gives equal points.

    Args:
        num: how many, about. neighbourhood_m: standard deviation of the Gaussian that weighs neighbours.
    """
    triangles, _, owner = rig.triangles_of_quads()
    is_skin = rig.quad_parts[owner] == rig.part_names.index("skin")
    is_face = rig.regions["face"][triangles].all(1)
    corners = rig.template[triangles].astype(np.float64)
    seen = _is_seen_from_front(rig, triangles, corners.mean(1))
    area = 0.5 * np.linalg.norm(np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]), axis=1)
    area = np.where(is_skin & is_face & seen, area, 0)
    # Equal steps along the running sum of areas: every patch gets its share, small triangles too.
    rng = np.random.default_rng(0)
    steps = (np.arange(num) + rng.random(num)) / num * area.sum()
    chosen = np.minimum(np.searchsorted(np.cumsum(area), steps, side="right"), len(area) - 1)
    root, second = np.sqrt(rng.random(num)), rng.random(num)
    barycentric = np.stack([1 - root, root * (1 - second), root * second], 1).astype(np.float32)
    model = point_model(rig, chosen, barycentric)
    return SurfacePoints(chosen, barycentric, model, _gaussian_neighbours(model.points, neighbourhood_m))


def _is_seen_from_front(rig: RigModel, triangles: np.ndarray, points: np.ndarray) -> np.ndarray:
    middle = rig.template[rig.regions["face"]].mean(0)
    axes = np.diag([1.0, -1.0, -1.0])  # the face looks along +Z, the camera along its own +z
    shift = np.array([0, 0, _CAMERA_DISTANCE_M])
    to_camera = lambda vertices: torch.from_numpy(((vertices - middle) @ axes.T + shift).astype(np.float32))  # noqa: E731
    focal = _PICTURE_PX * _CAMERA_DISTANCE_M / 0.4
    camera = torch.tensor([[focal, 0, _PICTURE_PX / 2], [0, focal, _PICTURE_PX / 2], [0, 0, 1]])
    fragments = rasterise(to_camera(rig.template), torch.from_numpy(solid_triangles(rig)), camera, (_PICTURE_PX, _PICTURE_PX))
    return is_visible(fragments, camera, to_camera(points), HIDING_DEPTH_M).numpy()


def _gaussian_neighbours(points: np.ndarray, sigma_m: float) -> sp.csr_matrix:
    tree = cKDTree(points)
    distances = tree.sparse_distance_matrix(tree, 2.5 * sigma_m).tocoo()
    weights = np.exp(-0.5 * (distances.data / sigma_m) ** 2)
    matrix = sp.csr_matrix((weights, (distances.row, distances.col)), shape=(len(points), len(points)))
    matrix.setdiag(1.0)
    return sp.csr_matrix(matrix).astype(np.float32)
