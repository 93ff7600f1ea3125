"""Distances between two heads that share no vertices: from the true face to the nearest place on ours."""

from __future__ import annotations

import dataclasses

import numpy as np
import torch

from ..geometry.closest import TriangleTree, build_tree
from ..rig.landmark_names import FACE_OVAL, IRIS_LEFT, IRIS_RIGHT
from ..rig.model import RigModel
from .alignment import rigid_fit
from .performance import Performance

MAX_SURFACE_FRAMES = 48
"""Frames whose surfaces are compared, evenly spaced."""
NUM_ALIGNED_FRAMES, ALIGNING_ROUNDS = 12, 12
"""Frames and rounds of the alignment; it converges like any iterated closest point, so its start must be near."""
_SKIN = ("skin", "scalp")


@dataclasses.dataclass(frozen=True)
class Motion:
    """truth = scale rotation ours + shift. rotation (3, 3), shift (3,) m, scale."""

    rotation: np.ndarray
    shift: np.ndarray
    scale: float = 1.0

    def apply(self, points: np.ndarray) -> np.ndarray:
        """(..., 3) of ours to (..., 3) of the truth."""
        return self.scale * points @ self.rotation.T + self.shift

    def undo(self, points: np.ndarray) -> np.ndarray:
        """(..., 3) of the truth to (..., 3) of ours."""
        return (points - self.shift) @ self.rotation / self.scale


def common_points(ours: Performance, exact: Performance) -> np.ndarray:
    """Numbers of the landmarks that both heads have at the same place: no irises, and no outline, which is wherever the detector saw it."""
    named = ours.embedding.is_placed & exact.embedding.is_placed
    named[[*FACE_OVAL, *IRIS_RIGHT, *IRIS_LEFT]] = False
    return np.flatnonzero(named)


def skin_triangles(rig: RigModel) -> np.ndarray:
    """(F, 3) int32: the triangles of skin and scalp, so that no point of a face is near because a tooth or an eyeball is."""
    triangles, _, owner = rig.triangles_of_quads()
    is_skin = np.isin(rig.quad_parts, [index for index, name in enumerate(rig.part_names) if name in _SKIN])
    return triangles[is_skin[owner]]


def surface_distances_mm(
    ours: np.ndarray, triangles: np.ndarray, true: np.ndarray, start: tuple[np.ndarray, np.ndarray], with_scale: bool = False
) -> tuple[np.ndarray, Motion]:
    """Distance of every true point to our surface, after the one constant motion that makes them small.

    Args:
        ours: (n, V, 3) m, our vertices, n frames. triangles: (F, 3) of them that count. true: (n, P, 3) m, points of the true face.
        start: named points of ours (K, 3) and the same of the truth (K, 3), which give the first guess.
        with_scale: the motion may change the size.

    Returns:
        (n, P) mm in the truth's size, and the motion.
    """
    motion = Motion(*rigid_fit(*start, with_scale))
    used = np.unique(triangles)
    faces = np.searchsorted(used, triangles)
    tree = build_tree(torch.from_numpy(np.ascontiguousarray(ours[0, used], np.float64)), torch.from_numpy(faces))
    chosen = np.unique(np.round(np.linspace(0, len(ours) - 1, min(len(ours), NUM_ALIGNED_FRAMES))).astype(int))
    fitted = {int(frame): tree.refitted(_tensor(ours[frame, used])) for frame in chosen}
    for _ in range(ALIGNING_ROUNDS):
        nearest = np.concatenate([_nearest(fitted[int(frame)], motion.undo(true[frame]))[0] for frame in chosen])
        motion = Motion(*rigid_fit(nearest, true[chosen].reshape(-1, 3), with_scale))
    distance = [_nearest(fitted.get(frame) or tree.refitted(_tensor(ours[frame, used])), motion.undo(true[frame]))[1] for frame in range(len(ours))]
    return 1000 * motion.scale * np.stack(distance), motion


def _nearest(tree: TriangleTree, points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    found = tree.closest(_tensor(points))
    return found.points.numpy(), found.distance.numpy()


def _tensor(points: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(np.ascontiguousarray(points, np.float64))
