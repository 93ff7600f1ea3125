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
from .landmark_model import LandmarkModel
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
    is_linked: (F - 1,) bool, neighbours that belong to one chain. identity: weight of the squared coefficients.
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
    identity: float
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
    points = model.positions(shared.identity, unknowns.posed_controls(states), unknowns.joint_rotations(states))
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
    total += 0.5 * priors.identity * ((shared.identity - priors.identity_mean) ** 2).sum()
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
    """Whitened residuals (F, R), their Jacobian (F, R, n) and that of the shared unknowns (F, R, m)."""
    num_frames, num_points = len(states), len(model.points)
    controls = unknowns.posed_controls(states)
    rotations = unknowns.joint_rotations(states)
    in_root = model.positions(shared.identity, controls, rotations)
    rotation = states.cam_from_root_rotation
    turned = in_root @ rotation.swapaxes(1, 2)
    in_cam = turned + states.translation_m[:, None]

    # Columns as motions of the points in the root frame, turned into the camera at the end.
    expression = np.broadcast_to(model.expression, (num_frames, *model.expression.shape)).copy()
    turns = {name: matrices_from_axis_angles(vector) for name, vector in rotations.items()}
    for joint in model.joints:
        if joint.name in turns:
            expression[:, joint.rows] += np.einsum("fab,kbe->fkae", turns[joint.name] - np.eye(3), joint.moved_expression)
    columns = np.zeros((num_frames, num_points, 3, unknowns.size))
    columns[..., unknowns.controls] = expression[..., unknowns.free_controls]
    if unknowns.has_eyes:
        columns[..., unknowns.gaze] = np.einsum("flae,fge->flag", expression, unknowns.look_slopes(states))
        for side, name in enumerate(("eye_left", "eye_right")):
            for axis, offset in ((1, 0), (0, 1)):  # yaw turns about y, pitch about x
                _add_turn(columns, unknowns.gaze.start + 2 * side + offset, model, name, axis, turns, rotations, shared, controls)
    if unknowns.has_jaw:
        for axis in range(3):
            _add_turn(columns, unknowns.jaw.start + axis, model, "jaw", axis, turns, rotations, shared, controls)
    columns = np.einsum("fab,flbn->flan", rotation, columns)
    columns[..., ROTATION] = _negative_cross(turned)
    columns[..., TRANSLATION] = np.eye(3)

    focal, depth = shared.focal_px, in_cam[..., 2:]
    scale = (100.0 / seen.eye_px)[:, None, None]
    error = (focal * in_cam[..., :2] / depth + shared.principal_px - seen.points_px) * scale
    to_px = lambda motion: (motion[..., :2, :] - (in_cam[..., :2] / depth)[..., None] * motion[..., 2:, :]) * (focal * scale / depth)[..., None]  # noqa: E731
    jacobian = to_px(columns)
    shared_jacobian = np.zeros((num_frames, num_points, 2, 0))
    if solve_shared:
        identity = np.broadcast_to(model.identity, (num_frames, *model.identity.shape)).copy()
        for joint in model.joints:
            if joint.name in turns:
                lever = joint.moved_identity - joint.share[:, None, None] * joint.centre_identity
                identity[:, joint.rows] += np.einsum("fab,kbs->fkas", turns[joint.name] - np.eye(3), lever)
        log_focal = (focal * in_cam[..., :2] / depth * scale)[..., None]
        shared_jacobian = np.concatenate([to_px(np.einsum("fab,flbs->flas", rotation, identity)), log_focal], -1)

    first, second = seen.pairs[:, 0], seen.pairs[:, 1]
    gap_weight = seen.pair_weight[..., None]
    gaps = (error[:, first] - error[:, second] - seen.pair_offset_px * scale) * gap_weight
    merge = lambda array: array.reshape(num_frames, array.shape[1] * 2, *array.shape[3:])  # noqa: E731
    pack = lambda points, pairs: np.concatenate([merge(points), merge(pairs)], 1)  # noqa: E731
    whiten = lambda array: seen.whitening @ array  # noqa: E731
    residual = pack(whiten(error[..., None])[..., 0], gaps)
    jacobian_rows = pack(whiten(jacobian), (jacobian[:, first] - jacobian[:, second]) * gap_weight[..., None])
    shared_rows = pack(whiten(shared_jacobian), (shared_jacobian[:, first] - shared_jacobian[:, second]) * gap_weight[..., None])
    return residual, jacobian_rows, shared_rows


def _add_turn(
    columns: np.ndarray, column: int, model: LandmarkModel, name: str, axis: int, turns: dict[str, np.ndarray], rotations: dict[str, np.ndarray],
    shared: Shared, controls: np.ndarray,
) -> None:
    """Adds the motion of a joint's points when one component of its axis-angle vector grows (central difference of the rotation)."""
    joint = model.joint(name)
    assert joint is not None
    step = 1e-5
    nudge = np.zeros(3)
    nudge[axis] = step
    slope = (matrices_from_axis_angles(rotations[name] + nudge) - matrices_from_axis_angles(rotations[name] - nudge)) / (2 * step)
    one = columns[..., column]
    one[:, joint.rows] += np.einsum("fab,fkb->fka", slope, model.lever(joint, shared.identity, controls))


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
