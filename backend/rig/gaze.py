"""Lid controls that follow the eyes: eyeLook* derived from eye joint rotations. numpy only.

Gaze has one source, the eye joints (DESIGN, "Conventions"). The eyeLook* controls move the lids alone and are a
clamped, linear function of where the eye looks.
"""

from __future__ import annotations

import numpy as np

GAZE_LIMITS_DEG = (15.4, 15.0, 11.4, 9.8)
"""Eye rotation at which eyeLookIn, Out, Down and Up are 1, degrees (measured on the default head's shapes)."""

EYE_LOOK_CONTROLS = tuple(f"eyeLook{way}{side}" for side in ("Left", "Right") for way in ("In", "Out", "Down", "Up"))


def gaze_angles_rad(rotations: np.ndarray) -> np.ndarray:
    """Where an eye looks.

    Args:
        rotations: (..., 3) axis-angle rad of an eye joint, in rig axes (x left of the subject, y up, z out of the face).

    Returns:
        (..., 2) float64 rad: to the subject's left, downwards. The turn about the line of sight has no part in it.
    """
    rotations = np.asarray(rotations, dtype=np.float64)
    angle = np.linalg.norm(rotations, axis=-1)
    sinc = np.sinc(angle / np.pi)
    versine = 0.5 * np.sinc(angle / (2 * np.pi)) ** 2  # (1 - cos a) / a^2
    x, y, z = np.moveaxis(rotations, -1, 0)
    # Third column of Rodrigues' matrix: the image of the forward axis.
    look_x = sinc * y + versine * x * z
    look_y = -sinc * x + versine * y * z
    look_z = 1 - versine * (x * x + y * y)
    return np.stack([np.arctan2(look_x, look_z), np.arcsin(np.clip(-look_y, -1, 1))], -1)


def eye_look_controls(joint_names: tuple[str, ...], joint_rotations: np.ndarray) -> dict[str, np.ndarray]:
    """Values of the eight eyeLook* controls.

    Args:
        joint_names: J names; ``eye_left`` and ``eye_right`` are looked for.
        joint_rotations: (..., J, 3) axis-angle rad.

    Returns:
        name -> (...,) float32 in [0, 1] for each eye the rig has.
    """
    values: dict[str, np.ndarray] = {}
    limits = np.radians(GAZE_LIMITS_DEG)
    for side, joint, inwards in (("Left", "eye_left", -1.0), ("Right", "eye_right", 1.0)):
        if joint not in joint_names:
            continue
        left, down = np.moveaxis(gaze_angles_rad(joint_rotations[..., joint_names.index(joint), :]), -1, 0)
        ways = (inwards * left, -inwards * left, down, -down)
        for way, angle, limit in zip(("In", "Out", "Down", "Up"), ways, limits):
            values[f"eyeLook{way}{side}"] = np.clip(angle / limit, 0, 1).astype(np.float32)
    return values
