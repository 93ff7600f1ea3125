"""The 52 ARKit expression shapes of the default head."""

from __future__ import annotations

import numpy as np

from .anny_lids import LidFitter
from .anny_mouth import LipFitter
from .anny_source import read_target

EYE_SIDE_BLEND_M = 0.005
"""Units of one eye fade out between this far on its own side of the middle and this far on the other."""

TARGET_FOLDER = "faceunits01/targets/faceunits"

ARKIT_NAMES = (
    "eyeBlinkLeft", "eyeLookDownLeft", "eyeLookInLeft", "eyeLookOutLeft", "eyeLookUpLeft", "eyeSquintLeft", "eyeWideLeft",
    "eyeBlinkRight", "eyeLookDownRight", "eyeLookInRight", "eyeLookOutRight", "eyeLookUpRight", "eyeSquintRight", "eyeWideRight",
    "jawForward", "jawLeft", "jawRight", "jawOpen", "mouthClose", "mouthFunnel", "mouthPucker", "mouthLeft", "mouthRight",
    "mouthSmileLeft", "mouthSmileRight", "mouthFrownLeft", "mouthFrownRight", "mouthDimpleLeft", "mouthDimpleRight",
    "mouthStretchLeft", "mouthStretchRight", "mouthRollLower", "mouthRollUpper", "mouthShrugLower", "mouthShrugUpper",
    "mouthPressLeft", "mouthPressRight", "mouthLowerDownLeft", "mouthLowerDownRight", "mouthUpperUpLeft", "mouthUpperUpRight",
    "browDownLeft", "browDownRight", "browInnerUp", "browOuterUpLeft", "browOuterUpRight", "cheekPuff", "cheekSquintLeft",
    "cheekSquintRight", "noseSneerLeft", "noseSneerRight", "tongueOut",
)  # fmt: skip
"""The order of ARKit's blend shape locations: left eye, right eye, mouth and jaw, brows, cheeks, nose, tongue."""


def read_expressions(num_vertices: int, keep: np.ndarray) -> np.ndarray:
    """The face units over the kept vertices, (V, 3, 52) m at value 1, in ARKit's order."""
    return np.stack([read_target(f"{TARGET_FOLDER}/{name}", num_vertices)[keep] for name in ARKIT_NAMES], -1)


def mirrored_names() -> np.ndarray:
    """(52,) int32: the control of the other side, itself when it has none."""
    other = {"Left": "Right", "Right": "Left"}
    table = []
    for index, name in enumerate(ARKIT_NAMES):
        for side, opposite in other.items():
            if name.endswith(side):
                table.append(ARKIT_NAMES.index(name.removesuffix(side) + opposite))
                break
        else:
            table.append(index)
    return np.array(table, dtype=np.int32)


def fit_expressions(
    neutral: np.ndarray, shapes: np.ndarray, mirror: np.ndarray, lid_fitters: tuple[LidFitter, LidFitter], eye_centres: np.ndarray, lips: LipFitter
) -> np.ndarray:
    """The face units made to fit this head: symmetric, blinks that close, lips that do not cross, mouthClose that closes an open jaw.

    Args:
        neutral: (V, 3) m. shapes: (V, 3, 52) m as read. mirror: (V,) vertex on the other side.
        lid_fitters: left and right. eye_centres: (2, 3) m.

    Returns:
        (V, 3, 52) m.
    """
    other, shapes = mirrored_names(), shapes.copy()
    # the source's eyeBlinkLeft also drags a corner of the right eye's socket
    left_share = np.clip(neutral[:, 0] / EYE_SIDE_BLEND_M / 2 + 0.5, 0, 1)[:, None]
    for index, name in enumerate(ARKIT_NAMES):
        if name.startswith("eye"):
            shapes[:, :, index] = shapes[:, :, index] * (left_share if name.endswith("Left") else 1 - left_share)
    shapes = (shapes + shapes[mirror][:, :, other] * np.array([-1.0, 1.0, 1.0])[:, None]) / 2
    column = {name: index for index, name in enumerate(ARKIT_NAMES)}
    for name, fitter, centre in zip(("eyeBlinkLeft", "eyeBlinkRight"), lid_fitters, eye_centres):
        shapes[:, :, column[name]] = fitter.fix_blink(neutral, shapes[:, :, column[name]], centre)
    for index, name in enumerate(ARKIT_NAMES):
        if name.startswith("eye"):
            side = 0 if name.endswith("Left") else 1
            shapes[:, :, index] = lid_fitters[side].keep_outside(neutral, shapes[:, :, index], eye_centres[side])
        if name != "mouthClose":
            shapes[:, :, index] += lips.keep_apart(neutral, shapes[:, :, index])
    shapes[:, :, column["mouthClose"]] += lips.hold_together(shapes[:, :, column["jawOpen"]] + shapes[:, :, column["mouthClose"]])
    return shapes
