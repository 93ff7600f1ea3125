"""The energy of the landmark fit, its gradient and its Gauss-Newton blocks.

Residuals are in percent of the person's outer-eye distance as the camera sees it, so that weights mean the same for a
close and a distant face. Per frame:

    E = sum_l w_l |N_l (project(x_l) - d_l)|^2  +  sum_pairs w_gap |(r_a - r_b)|^2          landmarks; lid and lip openings
      + sum_e (sparse_e c_e + ridge_e c_e^2)    +  sum_ties w (c_a - c_b)^2                  controls
      + vergence and gaze priors + soft mouthClose <= jawOpen + temporal first differences

Robustness enters as weights that are constant within one linearisation (iteratively reweighted least squares).
Formulated after section 11.2 (D3, D4) of the metrical tracker's specification, with weights of our own.
"""

from __future__ import annotations

import dataclasses

import numpy as np

from ..geometry.rotations import matrices_from_axis_angles
from .block_solver import BlockSystem
from .landmark_model import LandmarkModel, TurningJoint
from .state import ROTATION, TRANSLATION, FrameStates, Unknowns

CHUNK = 64
"""Frames linearised at once; bounds the memory of the Jacobians."""


@dataclasses.dataclass(frozen=True)
class Observations:
    """What the frames show.

    points_px: (F, L, 2), zero where unknown. whitening: (F, L, 2, 2): N times the square root of the weight, zero where
    nothing was seen. eye_px: (F,) outer-eye distance in the image, px. pairs: (G, 2) indices into L whose difference counts
    extra. pair_weight: (F, G) square roots of the weights. pair_offset_px: (F, G, 2), added to the observed difference.
    """

    points_px: np.ndarray
    whitening: np.ndarray
    eye_px: np.ndarray
    pairs: np.ndarray
    pair_weight: np.ndarray
    pair_offset_px: np.ndarray

    def take(self, rows: np.ndarray | slice) -> "Observations":
        return Observations(
            self.points_px[rows], self.whitening[rows], self.eye_px[rows], self.pairs, self.pair_weight[rows], self.pair_offset_px[rows]
        )


@dataclasses.dataclass(frozen=True)
class Priors:
    """Quadratic and linear terms on one frame's unknowns, and between neighbours.

    sparse: (n,) linear weight, for unknowns whose lower bound is 0. ridge: (n,) weight of the square.
    ties: (T, 2) pairs of unknowns, tie_weight: (T,), tie_offset: (T,): w (x_a - x_b - offset)^2.
    ordered: (a, b, weight): w max(0, x_a - x_b)^2, or None. temporal: (n,) weight of the squared first difference.
    is_linked: (F - 1,) bool, neighbours that belong to one chain. identity: (S,) weights of the squared coefficients.
    focal_weight: 1 / sigma^2 of log f. identity_mean: (S,).
    """

    sparse: np.ndarray
    ridge: np.ndarray
    ties: np.ndarray
    tie_weight: np.ndarray
    tie_offset: np.ndarray
    ordered: tuple[int, int, float] | None
    temporal: np.ndarray
    is_linked: np.ndarray
    identity: np.ndarray
    identity_mean: np.ndarray
    focal_weight: float
    focal_prior_px: float


@dataclasses.dataclass(frozen=True)
class Shared:
    """identity: (S,). focal_px. principal_px: (2,)."""

    identity: np.ndarray
    focal_px: float
    principal_px: np.ndarray


def landmarks_in_camera(model: LandmarkModel, unknowns: Unknowns, shared: Shared, states: FrameStates) -> np.ndarray:
    """(F, L, 3) m, camera frame."""
    points = model.positions(shared.identity, states.controls, unknowns.joint_rotations(states))
    return points @ states.cam_from_root_rotation.swapaxes(1, 2) + states.translation_m[:, None]


def projected(points_m: np.ndarray, shared: Shared) -> np.ndarray:
    """(F, L, 2) px."""
    return shared.focal_px * points_m[..., :2] / points_m[..., 2:] + shared.principal_px


def data_residuals(model: LandmarkModel, unknowns: Unknowns, shared: Shared, states: FrameStates, seen: Observations) -> tuple[np.ndarray, np.ndarray]:
    """Whitened landmark residuals (F, L, 2) and pair residuals (F, G, 2), percent of the eye distance."""
    error = projected(landmarks_in_camera(model, unknowns, shared, states), shared) - seen.points_px
    error *= 100.0 / seen.eye_px[:, None, None]
    gaps = error[:, seen.pairs[:, 0]] - error[:, seen.pairs[:, 1]] - seen.pair_offset_px * (100.0 / seen.eye_px[:, None, None])
    return np.einsum("flab,flb->fla", seen.whitening, error), gaps * seen.pair_weight[..., None]


def cost(model: LandmarkModel, unknowns: Unknowns, shared: Shared, states: FrameStates, seen: Observations, priors: Priors) -> float:
    """The energy (half the squares, to match the gradient of ``linearise``)."""
    points, gaps = data_residuals(model, unknowns, shared, states, seen)
    values = unknowns.values(states)
    total = 0.5 * (points**2).sum() + 0.5 * (gaps**2).sum()
    total += (values @ priors.sparse).sum() + 0.5 * (values**2 @ priors.ridge).sum()
    if len(priors.ties):
        difference = values[:, priors.ties[:, 0]] - values[:, priors.ties[:, 1]] - priors.tie_offset
        total += 0.5 * (difference**2 @ priors.tie_weight).sum()
    if priors.ordered is not None:
        first, second, weight = priors.ordered
        total += 0.5 * weight * (np.maximum(values[:, first] - values[:, second], 0) ** 2).sum()
    total += 0.5 * (_temporal_differences(unknowns, states)[priors.is_linked] ** 2 @ priors.temporal).sum()
    total += 0.5 * ((shared.identity - priors.identity_mean) ** 2 @ priors.identity)
    total += 0.5 * priors.focal_weight * np.log(shared.focal_px / priors.focal_prior_px) ** 2
    return float(total)


def linearise(
    model: LandmarkModel, unknowns: Unknowns, shared: Shared, states: FrameStates, seen: Observations, priors: Priors, solve_shared: bool
) -> BlockSystem:
    """Gauss-Newton normal equations around the current state.

    Args:
        solve_shared: whether identity and log f are unknowns (else the border is empty).

    Returns:
        Blocks for ``block_solver.solve``; shared unknowns are identity (S) and log f.
    """
    num_frames, size = len(states), unknowns.size
    num_shared = len(shared.identity) + 1 if solve_shared else 0
    diagonal = np.zeros((num_frames, size, size))
    gradient = np.zeros((num_frames, size))
    border = np.zeros((num_frames, size, num_shared))
    corner = np.zeros((num_shared, num_shared))
    shared_gradient = np.zeros(num_shared)
    for start in range(0, num_frames, CHUNK):
        rows = slice(start, min(start + CHUNK, num_frames))
        residual, jacobian, shared_jacobian = _rows(model, unknowns, shared, states.take(rows), seen.take(rows), solve_shared)
        diagonal[rows] = jacobian.swapaxes(1, 2) @ jacobian
        gradient[rows] = (residual[:, None] @ jacobian)[:, 0]
        if solve_shared:
            border[rows] = jacobian.swapaxes(1, 2) @ shared_jacobian
            flat = shared_jacobian.reshape(-1, num_shared)
            corner += flat.T @ flat
            shared_gradient += residual.reshape(-1) @ flat
    coupling = _add_priors(unknowns, states, priors, diagonal, gradient)
    if solve_shared:
        index = np.arange(num_shared - 1)
        corner[index, index] += priors.identity
        shared_gradient[:-1] += priors.identity * (shared.identity - priors.identity_mean)
        corner[-1, -1] += priors.focal_weight
        shared_gradient[-1] += priors.focal_weight * np.log(shared.focal_px / priors.focal_prior_px)
    return BlockSystem(diagonal, coupling, gradient, border, corner, shared_gradient)


def _rows(
    model: LandmarkModel, unknowns: Unknowns, shared: Shared, states: FrameStates, seen: Observations, solve_shared: bool
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Whitened residuals (F, R), their Jacobian (F, R, n) and that of the shared unknowns (F, R, m), float32."""
    rotations = unknowns.joint_rotations(states)
    turned = model.positions(shared.identity, states.controls, rotations) @ states.cam_from_root_rotation.swapaxes(1, 2)
    in_cam = turned + states.translation_m[:, None]
    plane = in_cam[..., :2] / in_cam[..., 2:]
    scale = (100.0 / seen.eye_px)[:, None, None]
    error = (shared.focal_px * plane + shared.principal_px - seen.points_px) * scale

    # Motion of the image point per motion of the point in the camera frame: focal / z * [1 0 -x/z; 0 1 -y/z].
    slope = np.zeros((*plane.shape, 3))
    slope[..., 0, 0] = slope[..., 1, 1] = 1
    slope[..., 2] = -plane
    slope *= (shared.focal_px * scale / in_cam[..., 2:])[..., None]
    view = _View(model, unknowns, shared, states, rotations, turned, plane * shared.focal_px * scale, solve_shared)
    points = view.jacobians(seen.whitening @ slope, seen.whitening, np.arange(len(model.points)))
    first, second = seen.pairs[:, 0], seen.pairs[:, 1]
    weight = seen.pair_weight[..., None]
    ones = np.broadcast_to(np.eye(2), (len(states), len(first), 2, 2)) * weight[..., None]
    upper = view.jacobians(slope[:, first] * weight[..., None], ones, first)
    lower = view.jacobians(slope[:, second] * weight[..., None], ones, second)
    gaps = (error[:, first] - error[:, second] - seen.pair_offset_px * scale) * weight
    residual = np.concatenate([(seen.whitening @ error[..., None])[..., 0].reshape(len(states), -1), gaps.reshape(len(states), -1)], 1)
    rows, shared_rows = (np.concatenate([all_points, a - b], 1) for all_points, a, b in zip(points, upper, lower))
    return residual.astype(np.float32), rows, shared_rows


@dataclasses.dataclass(frozen=True)
class _View:
    """Some frames around which residuals are linearised; ``pixels``: (F, L, 2) derivative by log f, in residual units."""

    model: LandmarkModel
    unknowns: Unknowns
    shared: Shared
    states: FrameStates
    rotations: dict[str, np.ndarray]
    turned: np.ndarray
    pixels: np.ndarray
    solve_shared: bool

    def jacobians(self, slope: np.ndarray, whitening: np.ndarray, points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Rows of some points.

        Args:
            slope: (F, K, 2, 3) residual per motion in the camera frame. whitening: (F, K, 2, 2). points: (K,) which landmarks.

        Returns:
            (F, 2 K, n) and (F, 2 K, m), float32.
        """
        num_frames, unknowns = len(self.states), self.unknowns
        in_root = (slope @ self.states.cam_from_root_rotation[:, None]).astype(np.float32)
        everything = _contract(in_root, self.model.expression[points])
        for joint, turn, at, rows in self._joints(points):
            bent = np.einsum("fab,kbe->fkae", turn, joint.moved_expression[at]).astype(np.float32)
            everything[:, rows] += in_root[:, rows] @ bent
        out = np.zeros((num_frames, len(points), 2, unknowns.size), dtype=np.float32)
        out[..., ROTATION] = slope @ _negative_cross(self.turned[:, points])
        out[..., TRANSLATION] = slope
        out[..., unknowns.controls] = everything[..., unknowns.free_controls]
        if unknowns.has_eyes:
            for side, name in enumerate(("eye_left", "eye_right")):
                for axis, offset in ((1, 0), (0, 1)):  # yaw turns about y, pitch about x
                    self._add_turn(out, in_root, points, unknowns.gaze.start + 2 * side + offset, name, axis)
        if unknowns.has_jaw:
            for axis in range(3):
                self._add_turn(out, in_root, points, unknowns.jaw.start + axis, "jaw", axis)
        flat = lambda array: array.reshape(num_frames, 2 * len(points), -1)  # noqa: E731
        if not self.solve_shared:
            return flat(out), np.zeros((num_frames, 2 * len(points), 0), dtype=np.float32)
        identity = _contract(in_root, self.model.identity[points])
        for joint, turn, at, rows in self._joints(points):
            lever = joint.moved_identity[at] - joint.share[at, None, None] * joint.centre_identity
            identity[:, rows] += in_root[:, rows] @ np.einsum("fab,kbs->fkas", turn, lever).astype(np.float32)
        log_focal = (whitening @ self.pixels[:, points][..., None]).astype(np.float32)
        return flat(out), flat(np.concatenate([identity, log_focal], -1))

    def _joints(self, points: np.ndarray) -> list[tuple[TurningJoint, np.ndarray, np.ndarray, np.ndarray]]:
        """For each turning joint: (R - I) per frame, the entries of its lists, and the places in ``points`` they move."""
        found = []
        for joint in self.model.joints:
            rows = np.flatnonzero(np.isin(points, joint.rows))
            if joint.name in self.rotations and len(rows):
                turn = matrices_from_axis_angles(self.rotations[joint.name]) - np.eye(3)
                found.append((joint, turn, np.searchsorted(joint.rows, points[rows]), rows))
        return found

    def _add_turn(self, out: np.ndarray, in_root: np.ndarray, points: np.ndarray, column: int, name: str, axis: int) -> None:
        """Adds what happens when one component of a joint's axis-angle vector grows (central difference of the rotation)."""
        joint = self.model.joint(name)
        assert joint is not None
        rows = np.flatnonzero(np.isin(points, joint.rows))
        if not len(rows):
            return
        nudge = np.zeros(3)
        nudge[axis] = 1e-5
        turn = (matrices_from_axis_angles(self.rotations[name] + nudge) - matrices_from_axis_angles(self.rotations[name] - nudge)) / 2e-5
        lever = self.model.lever(joint, self.shared.identity, self.states.controls)[:, np.searchsorted(joint.rows, points[rows])]
        motion = np.einsum("fab,fkb->fka", turn, lever).astype(np.float32)
        one = out[..., column]
        one[:, rows] += (in_root[:, rows] @ motion[..., None])[..., 0]


def _contract(in_root: np.ndarray, basis: np.ndarray) -> np.ndarray:
    """(F, K, 2, 3) times (K, 3, B) per point: (F, K, 2, B), as one matrix product per point."""
    num_frames, num_points = in_root.shape[:2]
    stacked = np.ascontiguousarray(in_root.transpose(1, 0, 2, 3)).reshape(num_points, 2 * num_frames, 3)
    product = stacked @ basis.astype(np.float32)
    return product.reshape(num_points, num_frames, 2, -1).transpose(1, 0, 2, 3)


def _negative_cross(points: np.ndarray) -> np.ndarray:
    """(..., 3) to (..., 3, 3): the motion of a point per unit of a left rotation increment, -[p]x."""
    x, y, z = np.moveaxis(points, -1, 0)
    zero = np.zeros_like(x)
    return np.stack([np.stack([zero, z, -y], -1), np.stack([-z, zero, x], -1), np.stack([y, -x, zero], -1)], -2)


def _temporal_differences(unknowns: Unknowns, states: FrameStates) -> np.ndarray:
    """(F - 1, n): how much each unknown changes from a frame to the next; the rotation by its logarithm."""
    values = unknowns.values(states)
    difference = np.diff(values, axis=0)
    turn = states.cam_from_root_rotation[1:] @ states.cam_from_root_rotation[:-1].swapaxes(1, 2)
    skew = 0.5 * (turn - turn.swapaxes(1, 2))  # sine of the angle; neighbours turn by a few degrees at most
    difference[:, ROTATION] = np.stack([skew[:, 2, 1], skew[:, 0, 2], skew[:, 1, 0]], 1)
    difference[:, TRANSLATION] = np.diff(states.translation_m, axis=0)
    return difference


def _add_priors(unknowns: Unknowns, states: FrameStates, priors: Priors, diagonal: np.ndarray, gradient: np.ndarray) -> np.ndarray:
    """Adds every term without landmarks; returns the coupling (F - 1, n)."""
    values = unknowns.values(states)
    index = np.arange(unknowns.size)
    gradient += priors.sparse + priors.ridge * values
    diagonal[:, index, index] += priors.ridge
    for (first, second), weight, offset in zip(priors.ties, priors.tie_weight, priors.tie_offset):
        difference = weight * (values[:, first] - values[:, second] - offset)
        gradient[:, first] += difference
        gradient[:, second] -= difference
        diagonal[:, first, first] += weight
        diagonal[:, second, second] += weight
        diagonal[:, first, second] -= weight
        diagonal[:, second, first] -= weight
    if priors.ordered is not None:
        first, second, weight = priors.ordered
        excess = np.maximum(values[:, first] - values[:, second], 0)
        active = weight * (excess > 0)
        gradient[:, first] += weight * excess
        gradient[:, second] -= weight * excess
        for one, other, sign in ((first, first, 1), (second, second, 1), (first, second, -1), (second, first, -1)):
            diagonal[:, one, other] += sign * active
    linked = priors.is_linked[:, None] * priors.temporal
    change = linked * _temporal_differences(unknowns, states)
    gradient[1:] += change
    gradient[:-1] -= change
    diagonal[1:, index, index] += linked
    diagonal[:-1, index, index] += linked
    return -linked
