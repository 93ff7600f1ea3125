"""What the landmark fit solves for, frame by frame, and how a step changes it."""

from __future__ import annotations

import dataclasses

import numpy as np

from ..geometry.rotations import matrices_from_axis_angles
from ..rig.gaze import GAZE_LIMITS_DEG
from .landmark_model import LandmarkModel

ROTATION, TRANSLATION = slice(0, 3), slice(3, 6)
MAX_GAZE_RAD = np.radians(32.0)
SIDES = ("Left", "Right")


@dataclasses.dataclass(frozen=True)
class FrameStates:
    """F frames.

    cam_from_root_rotation: (F, 3, 3). translation_m: (F, 3). controls: (F, E); the eyeLook columns follow from the gaze (``Unknowns.with_looks``).
    gaze: (F, 4) rad: left yaw, left pitch, right yaw, right pitch; positive yaw to the subject's left, positive pitch down.
    jaw: (F, 3) axis-angle rad.
    """

    cam_from_root_rotation: np.ndarray
    translation_m: np.ndarray
    controls: np.ndarray
    gaze: np.ndarray
    jaw: np.ndarray

    def __len__(self) -> int:
        return len(self.controls)

    def take(self, rows: np.ndarray | slice) -> "FrameStates":
        return FrameStates(*(getattr(self, field.name)[rows] for field in dataclasses.fields(self)))


@dataclasses.dataclass(frozen=True)
class Unknowns:
    """Layout of one frame's unknowns: 6 of the pose, the free controls, 4 of the gaze, 3 of the jaw.

    free_controls: (P,) which controls are unknowns. has_eyes, has_jaw: whether the rig has those joints.
    lower, upper: (n,) bounds (infinite for the pose).
    looks: for each gaze unknown, (control or -1 for a positive angle, control or -1 for a negative one, limits rad).
    """

    free_controls: np.ndarray
    has_eyes: bool
    has_jaw: bool
    lower: np.ndarray
    upper: np.ndarray
    looks: tuple[tuple[int, int, float, float], ...]

    @property
    def size(self) -> int:
        return len(self.lower)

    @property
    def controls(self) -> slice:
        return slice(6, 6 + len(self.free_controls))

    @property
    def gaze(self) -> slice:
        start = self.controls.stop
        return slice(start, start + 4 * self.has_eyes)

    @property
    def jaw(self) -> slice:
        start = self.gaze.stop
        return slice(start, start + 3 * self.has_jaw)

    def values(self, states: FrameStates) -> np.ndarray:
        """(F, n) current values; zero for the pose, whose increments are relative."""
        out = np.zeros((len(states), self.size))
        out[:, self.controls] = states.controls[:, self.free_controls]
        out[:, self.gaze] = states.gaze[:, : 4 * self.has_eyes]
        out[:, self.jaw] = states.jaw[:, : 3 * self.has_jaw]
        return out

    def moved(self, states: FrameStates, step: np.ndarray) -> FrameStates:
        """Applies a step (F, n); the rotation is turned from the left (camera frame), bounds are kept."""
        values = np.clip(self.values(states) + step, self.lower, self.upper)
        controls = states.controls.copy()
        controls[:, self.free_controls] = values[:, self.controls]
        gaze, jaw = states.gaze.copy(), states.jaw.copy()
        if self.has_eyes:
            gaze = values[:, self.gaze]
        if self.has_jaw:
            jaw = values[:, self.jaw]
        turn = matrices_from_axis_angles(step[:, ROTATION])
        return FrameStates(turn @ states.cam_from_root_rotation, states.translation_m + step[:, TRANSLATION], controls, gaze, jaw)

    def with_looks(self, states: FrameStates) -> FrameStates:
        """Sets the eyeLook controls to what follows from the gaze.

        Called between rounds, not inside one: lids then follow the eyes, but lid landmarks cannot turn the eyes (a blink
        would otherwise be explained by looking down).
        """
        controls = states.controls.copy()
        for column, (positive, negative, positive_limit, negative_limit) in enumerate(self.looks):
            angle = states.gaze[:, column]
            if positive >= 0:
                controls[:, positive] = np.clip(angle / positive_limit, 0, 1)
            if negative >= 0:
                controls[:, negative] = np.clip(-angle / negative_limit, 0, 1)
        return dataclasses.replace(states, controls=controls)

    def joint_rotations(self, states: FrameStates) -> dict[str, np.ndarray]:
        """Joint name -> (F, 3) axis-angle rad."""
        rotations = {}
        zero = np.zeros(len(states))
        if self.has_eyes:
            rotations["eye_left"] = np.stack([states.gaze[:, 1], states.gaze[:, 0], zero], 1)
            rotations["eye_right"] = np.stack([states.gaze[:, 3], states.gaze[:, 2], zero], 1)
        if self.has_jaw:
            rotations["jaw"] = states.jaw
        return rotations


def unknowns_of(model: LandmarkModel) -> Unknowns:
    """What can be solved for with this model: eyeLook follows the gaze, the tongue is not seen by landmarks."""
    names = model.expression_names
    has_eyes = model.joint("eye_left") is not None and model.joint("eye_right") is not None
    has_jaw = model.joint("jaw") is not None
    derived = [name.startswith("eyeLook") and has_eyes for name in names]
    free = np.array([index for index, name in enumerate(names) if not derived[index] and name != "tongueOut"])
    index_of = {name: index for index, name in enumerate(names)}
    limits = {way: float(np.radians(value)) for way, value in zip(("In", "Out", "Down", "Up"), GAZE_LIMITS_DEG)}
    looks = []
    for side in SIDES:
        outward, inward = ("Out", "In") if side == "Left" else ("In", "Out")
        looks.append((index_of.get(f"eyeLook{outward}{side}", -1), index_of.get(f"eyeLook{inward}{side}", -1), limits[outward], limits[inward]))
        looks.append((index_of.get(f"eyeLookDown{side}", -1), index_of.get(f"eyeLookUp{side}", -1), limits["Down"], limits["Up"]))
    infinite = np.full(6, np.inf)
    gaze = np.full(4 * has_eyes, MAX_GAZE_RAD)
    jaw_lower, jaw_upper = np.array([-0.05, -0.25, -0.1]), np.array([0.7, 0.25, 0.1])
    lower = np.concatenate([-infinite, model.limits[free, 0], -gaze, jaw_lower[: 3 * has_jaw]])
    upper = np.concatenate([infinite, model.limits[free, 1], gaze, jaw_upper[: 3 * has_jaw]])
    return Unknowns(free, has_eyes, has_jaw, lower, upper, tuple(looks) if has_eyes else ())
