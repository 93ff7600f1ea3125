"""Distances between two heads that share no vertices: from the true face to the nearest place on ours."""

from __future__ import annotations

import dataclasses

import numpy as np
import torch

from ..geometry.closest import Closest, TriangleTree, build_tree
from ..geometry.rotations import matrices_from_axis_angles
from ..rig.landmark_names import FACE_OVAL, IRIS_LEFT, IRIS_RIGHT
from ..rig.model import RigModel
from .alignment import rigid_fit
from .performance import Performance

MAX_SURFACE_FRAMES = 48
"""Frames whose surfaces are compared, evenly spaced."""
NUM_ALIGNED_FRAMES, ALIGNING_ROUNDS = 12, 12
"""Frames and rounds of the alignment; like any iterated closest point it finds the nearest valley, so its start must be near."""
FLAT_M = 0.0005
"""Distances beyond this count by their size, below it by their square."""
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
        points = [motion.undo(true[frame]) for frame in chosen]
        offsets = [_offsets(fitted[int(frame)], faces, ours[frame, used], at) for frame, at in zip(chosen, points)]
        motion = _stepped(motion, np.concatenate(points), *(np.concatenate(part) for part in zip(*offsets)), with_scale)
    distance = [_closest(fitted.get(frame) or tree.refitted(_tensor(ours[frame, used])), motion.undo(true[frame])).distance.numpy() for frame in range(len(ours))]
    return 1000 * motion.scale * np.stack(distance), motion


def _offsets(tree: TriangleTree, faces: np.ndarray, vertices: np.ndarray, points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Normal (P, 3) of the nearest triangle and signed distance (P,) along it."""
    found = _closest(tree, points)
    corners = vertices[faces[found.triangle_ids.numpy()]]
    normals = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    normals /= np.maximum(np.linalg.norm(normals, axis=1, keepdims=True), 1e-18)
    return normals, ((points - found.points.numpy()) * normals).sum(1)


def _stepped(motion: Motion, points: np.ndarray, normals: np.ndarray, offset_m: np.ndarray, with_scale: bool) -> Motion:
    """One step of reweighted least squares on the distances along the normals: it lets points slide, so it takes few steps where pulling them to the
    nearest points takes hundreds (Chen and Medioni, "Object modelling by registration of multiple range images", 1992). The weights make it the
    mean distance that falls, which is what is reported, and not its square, which a few places that one head lacks would rule."""
    centre = points.mean(0)
    arm = points - centre
    rows = np.concatenate([np.cross(arm, normals), normals, (arm * normals).sum(1, keepdims=True)], 1)[:, : 7 if with_scale else 6]
    weighted = rows * (FLAT_M / np.maximum(np.abs(offset_m), FLAT_M))[:, None]
    normal = weighted.T @ rows
    step = np.linalg.solve(normal + 1e-9 * np.diag(np.diag(normal) + 1e-12), -weighted.T @ offset_m)
    turn, grow = matrices_from_axis_angles(step[:3]), 1 + (step[6] if with_scale else 0.0)
    shift = centre + step[3:6] - grow * turn @ centre
    # points' = grow turn points + shift, in our frame: the motion takes that back before it does what it did.
    rotation, scale = motion.rotation @ turn.T, motion.scale / grow
    return Motion(rotation, motion.shift - scale * rotation @ shift, scale)


def _closest(tree: TriangleTree, points: np.ndarray) -> Closest:
    return tree.closest(_tensor(points))


def _tensor(points: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(np.ascontiguousarray(points, np.float64))
