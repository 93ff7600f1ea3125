"""What the network hears: the package's controls, the eyes' rotations, and the way the head is turned towards the camera.

Mean, deviation and hull come from training frames only. Whatever is asked later is drawn back into that hull, so that a slider or a view which the
clip never showed gives the nearest thing it did show instead of noise.
"""

from __future__ import annotations

import dataclasses

import numpy as np
import torch

from ...errors import AvatarError
from ...geometry.cameras import invert_rigid
from ...geometry.rotations import axis_angles_from_matrices, matrices_from_axis_angles
from ...geometry.shapes import check_shape
from ...rig.gaze import eye_look_controls

EYES = ("eye_left", "eye_right", "jaw")
"""Joints whose rotations are inputs, where the rig has them."""
ORIENTATION = tuple(f"orientation.{axis}" for axis in "xyz")
FACING = np.diag([1.0, -1.0, -1.0])
"""Turns OpenCV's camera axes to those of a head that looks into the camera, so that looking into it is no rotation."""
CONTROL_REACH = 1.1
"""Inputs may go this many times as far from their mean as any training frame did."""
MIN_DEVIATION = 0.02
"""Of an input that hardly moved in the clip; without a floor its noise would be as loud as an expression."""
HULL_REACH = 1.1


@dataclasses.dataclass(frozen=True)
class InputSpace:
    """Names and order of the inputs, and the part of their space that the clip showed.

    names: X names: controls, then ``joint.x|y|z`` in rad, then ``orientation.x|y|z`` in rad. num_controls: how many are controls.
    mean, deviation, low, high: (X,) float32 over training frames. hull_matrix: (3, 3) float32; ``|hull_matrix (o - mean_o)| <= 1`` is where the clip saw the
    head from. constant_orientation: (3,) float32 rad, of the training frame nearest to the mean: what lit avatars use.
    """

    names: tuple[str, ...]
    num_controls: int
    mean: np.ndarray
    deviation: np.ndarray
    low: np.ndarray
    high: np.ndarray
    hull_matrix: np.ndarray
    constant_orientation: np.ndarray

    @property
    def control_names(self) -> tuple[str, ...]:
        return self.names[: self.num_controls]

    @property
    def joint_names(self) -> tuple[str, ...]:
        """Joints among the inputs, in order."""
        return tuple(name.removesuffix(".x") for name in self.names[self.num_controls : -3] if name.endswith(".x"))

    def clamped(self, inputs: np.ndarray) -> np.ndarray:
        """(..., X) inputs drawn back into what the clip showed: a box for each, and an ellipsoid for the orientation."""
        check_shape("inputs", inputs, len(self.names))
        boxed = np.clip(inputs, self.low, self.high)
        offset = boxed[..., -3:] - self.mean[-3:]
        radius = np.linalg.norm(offset @ self.hull_matrix.T, axis=-1, keepdims=True)
        boxed[..., -3:] = self.mean[-3:] + offset / np.maximum(radius, 1)
        return boxed.astype(np.float32)

    def to_arrays(self) -> dict[str, np.ndarray]:
        """Plain arrays for files; ``input_space_of_arrays`` is the inverse."""
        fields = {name: np.asarray(getattr(self, name), np.float32) for name in _FLOATS}
        return {"input_names": np.array(self.names), "input_num_controls": np.array(self.num_controls, np.int32), **{f"input_{k}": v for k, v in fields.items()}}


_FLOATS = ("mean", "deviation", "low", "high", "hull_matrix", "constant_orientation")


def input_space_of_arrays(arrays: dict[str, np.ndarray]) -> InputSpace:
    """Reads what ``InputSpace.to_arrays`` made. Raises ``AvatarError`` (bad_input) when it does not fit together."""
    try:
        names = tuple(str(name) for name in arrays["input_names"])
        values = {name: np.asarray(arrays[f"input_{name}"], np.float32) for name in _FLOATS}
        for name in ("mean", "deviation", "low", "high"):
            check_shape(f"input_{name}", values[name], len(names))
        check_shape("input_hull_matrix", values["hull_matrix"], 3, 3)
        check_shape("input_constant_orientation", values["constant_orientation"], 3)
        if not all(np.isfinite(value).all() for value in values.values()) or (values["deviation"] <= 0).any() or names[-3:] != ORIENTATION:
            raise ValueError("values are not finite or names are in another order")
        return InputSpace(names, int(arrays["input_num_controls"]), **values)
    except (KeyError, TypeError, ValueError) as error:
        raise AvatarError("bad_input", f"The inputs of the dynamic texture are damaged: {error}.", "Make the avatar again.", {}) from error


def head_orientation(world_from_root: np.ndarray, joint_rotations: np.ndarray, joint_names: tuple[str, ...], world_from_cam: np.ndarray) -> np.ndarray:
    """How the head is turned towards the camera.

    Args:
        world_from_root: (B, 4, 4). joint_rotations: (B, J, 3) rad; neck and head turn the head too. world_from_cam: (B, 4, 4), OpenCV axes.

    Returns:
        (B, 3) float32 axis-angle rad of R_cam^T R_head; 0 when the face looks into the camera, upright.
    """
    turned = world_from_root[:, :3, :3].astype(np.float64)
    for name in ("root", "neck", "head"):
        if name in joint_names:
            turned = turned @ matrices_from_axis_angles(joint_rotations[:, joint_names.index(name)])
    cam_from_world = invert_rigid(world_from_cam)[:, :3, :3]
    return axis_angles_from_matrices(FACING @ cam_from_world @ turned).astype(np.float32)


def gather_inputs(
    names: tuple[str, ...], control_names: tuple[str, ...], controls: np.ndarray, joint_names: tuple[str, ...], joint_rotations: np.ndarray, orientation: np.ndarray
) -> np.ndarray:
    """Raw inputs in the order of ``names``.

    Args:
        controls: (B, E) in the order of ``control_names``; eyeLook* are replaced by what the eyes' rotations say.
        joint_rotations: (B, J, 3) rad. orientation: (B, 3) rad, ``head_orientation``.

    Returns:
        (B, X) float32, not clamped. Controls and joints that the caller does not have are 0.
    """
    check_shape("controls", controls, None, len(control_names))
    check_shape("orientation", orientation, len(controls), 3)
    values = {name: np.asarray(controls)[:, index] for index, name in enumerate(control_names)}
    values.update(eye_look_controls(joint_names, joint_rotations))
    for index, joint in enumerate(joint_names):
        values.update({f"{joint}.{axis}": joint_rotations[:, index, place] for place, axis in enumerate("xyz")})
    values.update({name: orientation[:, place] for place, name in enumerate(ORIENTATION)})
    nothing = np.zeros(len(controls), np.float32)
    return np.stack([np.asarray(values.get(name, nothing), np.float32) for name in names], -1)


def input_names(control_names: tuple[str, ...], joint_names: tuple[str, ...]) -> tuple[str, ...]:
    """Names of all inputs of a rig, in their order."""
    joints = [name for name in EYES if name in joint_names]
    return (*control_names, *(f"{joint}.{axis}" for joint in joints for axis in "xyz"), *ORIENTATION)


def input_space(names: tuple[str, ...], num_controls: int, training: np.ndarray) -> InputSpace:
    """Statistics over the inputs (n, X) of training frames."""
    check_shape("training", training, None, len(names))
    values = training.astype(np.float64)
    mean, deviation = values.mean(0), np.maximum(values.std(0), MIN_DEVIATION)
    low, high = mean + CONTROL_REACH * (values.min(0) - mean), mean + CONTROL_REACH * (values.max(0) - mean)
    offset = values[:, -3:] - mean[-3:]
    covariance = offset.T @ offset / max(len(offset), 1) + np.eye(3) * np.radians(0.5) ** 2
    whiten = np.linalg.inv(np.linalg.cholesky(covariance))
    reach = HULL_REACH * max(float(np.linalg.norm(offset @ whiten.T, axis=1).max()), 1e-6)
    nearest = int(np.argmin(np.linalg.norm(offset @ whiten.T, axis=1)))
    as_float = lambda array: np.asarray(array, np.float32)  # noqa: E731
    return InputSpace(
        names, num_controls, as_float(mean), as_float(deviation), as_float(low), as_float(high), as_float(whiten / reach), as_float(values[nearest, -3:])
    )


class InputLayer(torch.nn.Module):
    """Raw inputs to what the network computes with: drawn back into the hull, then standardised. Nothing in it is trained."""

    def __init__(self, space: InputSpace) -> None:
        super().__init__()
        for name in ("mean", "deviation", "low", "high", "hull_matrix"):
            self.register_buffer(name, torch.from_numpy(np.array(getattr(space, name), np.float32)))

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        """(B, X) raw to (B, X) of about unit size."""
        boxed = torch.minimum(torch.maximum(inputs, self.low), self.high)
        offset = boxed[:, -3:] - self.mean[-3:]
        radius = (offset @ self.hull_matrix.T).square().sum(1, keepdim=True).clamp_min(1).sqrt()
        drawn = torch.cat([boxed[:, :-3], self.mean[-3:] + offset / radius], 1)
        return (drawn - self.mean) / self.deviation
