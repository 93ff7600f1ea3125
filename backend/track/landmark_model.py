"""The rig model as the landmark fit sees it: a few hundred points instead of thousands of vertices.

Every embedded point is a weighted sum of vertices, and posing is linear in the vertices once the joints stand still,
so the fit works on small exact bases (linear blend skinning of the eyes and the jaw included).
"""

from __future__ import annotations

import dataclasses

import numpy as np

from ..errors import AvatarError
from ..geometry.rotations import matrices_from_axis_angles
from ..rig.model import RigModel
from ..rig.personal_neutral import PREFIX

TURNING_JOINTS = ("eye_left", "eye_right", "jaw")


@dataclasses.dataclass(frozen=True)
class TurningJoint:
    """One joint that turns, and the points it moves.

    name: the joint's name. index: its place in the rig. rows: (K,) points with a share in the joint.
    share: (K,) sum of their skin weights. moved: (K, 3), moved_identity: (K, 3, S), moved_expression: (K, 3, E):
    weighted part of the points that turns. centre: (3,), centre_identity: (3, S): the joint.
    """

    name: str
    index: int
    rows: np.ndarray
    share: np.ndarray
    moved: np.ndarray
    moved_identity: np.ndarray
    moved_expression: np.ndarray
    centre: np.ndarray
    centre_identity: np.ndarray


@dataclasses.dataclass(frozen=True)
class LandmarkModel:
    """Positions of L landmarks, root frame, metres, for scale 1.

    ids: (L,) number of each point in the detector's list. points: (L, 3). identity: (L, 3, S). expression: (L, 3, E).
    normals: (L, 3), outward normals of the neutral mean head. joints: those of ``TURNING_JOINTS`` that the rig has.
    expression_names: E names. limits: (E, 2). resting_mode: (E,) identity mode of each control at rest, -1 when it has none.
    """

    ids: np.ndarray
    points: np.ndarray
    identity: np.ndarray
    expression: np.ndarray
    normals: np.ndarray
    joints: tuple[TurningJoint, ...]
    expression_names: tuple[str, ...]
    limits: np.ndarray
    resting_mode: np.ndarray

    def joint(self, name: str) -> TurningJoint | None:
        return next((joint for joint in self.joints if joint.name == name), None)

    def positions(self, identity: np.ndarray, controls: np.ndarray, rotations: dict[str, np.ndarray]) -> np.ndarray:
        """Landmarks in the root frame.

        Args:
            identity: (S,). controls: (F, E). rotations: joint name -> (F, 3) axis-angle rad; missing joints do not turn.

        Returns:
            (F, L, 3) m.
        """
        num_frames = len(controls)
        neutral = self.points + self.identity @ identity
        out = neutral + (controls @ self.expression.reshape(-1, controls.shape[1]).T).reshape(num_frames, -1, 3)
        for joint in self.joints:
            if joint.name in rotations:
                turn = matrices_from_axis_angles(rotations[joint.name]) - np.eye(3)
                out[:, joint.rows] += np.einsum("fab,fkb->fka", turn, self.lever(joint, identity, controls))
        return out

    @staticmethod
    def lever(joint: TurningJoint, identity: np.ndarray, controls: np.ndarray) -> np.ndarray:
        """(F, K, 3): what a joint's rotation acts on, relative to its centre."""
        moved = joint.moved + joint.moved_identity @ identity
        centre = joint.centre + joint.centre_identity @ identity
        return moved + np.einsum("kae,fe->fka", joint.moved_expression, controls) - joint.share[:, None] * centre


def landmark_model(rig: RigModel) -> LandmarkModel:
    """Reduces a rig to its embedded MediaPipe points.

    Raises:
        AvatarError: ``asset_missing`` when the rig has no landmark embedding.
    """
    embedding = rig.mediapipe478
    if embedding is None:
        raise AvatarError("asset_missing", f"The head model {rig.name} has no landmark embedding.", "Load it through load_rig_with_landmarks.")
    ids = np.flatnonzero(embedding.is_placed)
    return point_model(rig, embedding.triangle_ids[ids], embedding.barycentric[ids], ids)


def point_model(rig: RigModel, triangle_ids: np.ndarray, barycentric: np.ndarray, ids: np.ndarray | None = None) -> LandmarkModel:
    """Reduces a rig to any points of its surface.

    Args:
        triangle_ids: (L,) int. barycentric: (L, 3). ids: (L,) their numbers; None = -1, points that no detector knows.
    """
    ids = np.full(len(triangle_ids), -1) if ids is None else ids
    vertices, weights = rig.triangles[triangle_ids], barycentric.astype(np.float64)
    gather = lambda field: np.einsum("lk,lk...->l...", weights, field[vertices].astype(np.float64))  # noqa: E731
    joints = []
    for name in TURNING_JOINTS:
        if name not in rig.joint_names:
            continue
        index = rig.joint_names.index(name)
        shares = weights * rig.skin_weights[vertices, index]
        rows = np.flatnonzero(shares.sum(1) > 1e-6)
        weigh = lambda field, rows=rows, shares=shares: np.einsum("lk,lk...->l...", shares[rows], field[vertices[rows]].astype(np.float64))  # noqa: E731
        regressor = rig.joint_regressor[index].astype(np.float64)
        joints.append(
            TurningJoint(
                name, index, rows, shares[rows].sum(1), weigh(rig.template), weigh(rig.identity_basis), weigh(rig.expression_basis),
                regressor @ rig.template, np.einsum("v,vas->as", regressor, rig.identity_basis),
            )
        )
    corner = rig.template[vertices].astype(np.float64)
    normals = np.cross(corner[:, 1] - corner[:, 0], corner[:, 2] - corner[:, 0])
    normals /= np.maximum(np.linalg.norm(normals, axis=1, keepdims=True), 1e-12)
    return LandmarkModel(
        ids, gather(rig.template), gather(rig.identity_basis), gather(rig.expression_basis), normals, tuple(joints),
        rig.expression_names, rig.expression_limits.astype(np.float64), _resting_modes(rig),
    )


def joined(first: LandmarkModel, second: LandmarkModel) -> LandmarkModel:
    """One model of the points of both, in this order; they must come from the same rig."""
    offset = len(first.points)
    joints = []
    for one in first.joints:
        other = second.joint(one.name)
        assert other is not None
        both = {name: np.concatenate([getattr(one, name), getattr(other, name)]) for name in ("share", "moved", "moved_identity", "moved_expression")}
        joints.append(dataclasses.replace(one, rows=np.concatenate([one.rows, other.rows + offset]), **both))
    points = {name: np.concatenate([getattr(first, name), getattr(second, name)]) for name in ("ids", "points", "identity", "expression", "normals")}
    return dataclasses.replace(first, joints=tuple(joints), **points)


def _resting_modes(rig: RigModel) -> np.ndarray:
    place = {name: index for index, name in enumerate(rig.identity_names)}
    return np.array([place.get(PREFIX + name, -1) for name in rig.expression_names], dtype=int)
