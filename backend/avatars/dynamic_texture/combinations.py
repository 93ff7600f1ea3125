"""Inputs that never occurred together: parts of the face from different training frames, in between, farther, and single sliders.

The exact network is asked about them so that the distilled texture is right where an artist goes and the clip did not.
"""

from __future__ import annotations

import numpy as np

from ...rig.gaze import EYE_LOOK_CONTROLS, GAZE_LIMITS_DEG, eye_look_controls

EYES = ("eye_left", "eye_right")
STILL = -1
"""Group of the inputs that keep one value: the head's orientation, and whatever else belongs to no part of the face."""

_MANY = 0.25
"""Share of the slider combinations that move many at once: what happens when someone turns everything up."""


def mixing_groups(input_names: tuple[str, ...]) -> np.ndarray:
    """(X,) int: inputs that are taken from one frame together. 0 left eye, 1 right eye, 2 brows, 3 mouth and cheeks, ``STILL`` orientation."""
    groups = np.full(len(input_names), 3)
    for column, name in enumerate(input_names):
        stem = name.partition(".")[0]
        if stem in EYES:
            groups[column] = EYES.index(stem)
        elif "." in name and stem != "jaw":
            groups[column] = STILL
        elif name.startswith("eye") and name.endswith(("Left", "Right")):
            groups[column] = 0 if name.endswith("Left") else 1
        elif name.startswith("brow"):
            groups[column] = 2
    return groups


def combined_inputs(
    training: np.ndarray, input_names: tuple[str, ...], limits: np.ndarray, still: np.ndarray, num: int, seed: int
) -> np.ndarray:
    """Unseen combinations: a fifth each of other parts from other frames, the same scaled by up to 1.5, and poses between two frames; two fifths sliders.

    Args:
        training: (n, X) raw inputs of training frames. input_names: X names; joints and orientation as ``joint.x``.
        limits: (X, 2) lowest and highest value of every input (infinite for angles). still: (X,) values of the inputs that keep one.
        num: how many. seed: of the choice.

    Returns:
        (num, X) float32. eyeLook* follow from the eyes, mouthClose is no larger than jawOpen, everything lies within its limits.
    """
    random = np.random.default_rng(seed)
    groups = mixing_groups(input_names)
    result = np.tile(still.astype(np.float64), (num, 1))
    for index in range(num):
        way = index % 5
        if way >= 3:
            _slide(result[index], input_names, limits, random)
            continue
        first, second = random.integers(len(training), size=2)
        share = random.uniform()
        for group in range(4):
            columns = groups == group
            if way == 2:
                values = (1 - share) * training[first, columns] + share * training[second, columns]
            else:
                values = training[random.integers(len(training)), columns] * (random.uniform(0, 1.5) if way == 1 else 1.0)
            result[index, columns] = values
    return consistent(result, input_names, limits)


def consistent(inputs: np.ndarray, input_names: tuple[str, ...], limits: np.ndarray) -> np.ndarray:
    """(n, X) float32: within limits, eyeLook* derived from the eye joints where the inputs have them, mouthClose <= jawOpen."""
    inputs = np.clip(inputs, limits[:, 0], limits[:, 1]).astype(np.float32)
    names = list(input_names)
    for eye in EYES:
        columns = [names.index(f"{eye}.{axis}") for axis in "xyz" if f"{eye}.{axis}" in names]
        if len(columns) == 3:
            for control, values in eye_look_controls((eye,), inputs[:, None, columns]).items():
                if control in names:
                    inputs[:, names.index(control)] = values
    if "mouthClose" in names and "jawOpen" in names:
        close = names.index("mouthClose")
        inputs[:, close] = np.minimum(inputs[:, close], inputs[:, names.index("jawOpen")])
    return inputs


def _slide(row: np.ndarray, input_names: tuple[str, ...], limits: np.ndarray, random: np.random.Generator) -> None:
    """One to four controls of a neutral face set anywhere in their range, or many of them less far; now and then the eyes turned. Writes into ``row``."""
    groups = mixing_groups(input_names)
    row[groups != STILL] = 0
    names = list(input_names)
    free = [column for column, name in enumerate(names) if "." not in name and name not in EYE_LOOK_CONTROLS]
    are_many = random.uniform() < _MANY and len(free) > 4
    num, reach = (int(random.integers(5, len(free) + 1)), 0.6) if are_many else (min(int(random.integers(1, 5)), len(free)), 1.0)
    for column in random.choice(free, size=num, replace=False):
        row[column] = reach * random.uniform(limits[column, 0], limits[column, 1])
    if random.uniform() < 0.3:
        down, left = random.uniform(-1, 1, 2) * np.radians([GAZE_LIMITS_DEG[2], GAZE_LIMITS_DEG[1]])
        for eye in EYES:
            for axis, angle in (("x", down), ("y", left)):
                if f"{eye}.{axis}" in names:
                    row[names.index(f"{eye}.{axis}")] = angle
