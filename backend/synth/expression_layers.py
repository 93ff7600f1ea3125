"""Which changes of colour an expression brings to a synthetic face, and how strong each is. Plain data and one function."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

import numpy as np

from .paint_skin import smoothstep


@dataclasses.dataclass(frozen=True)
class Driver:
    """strength = smoothstep from ``low`` to ``high`` of the weighted sum of controls: skin folds late and then fully, so no
    linear map of the controls gives the strengths exactly.
    """

    controls: Mapping[str, float]
    low: float
    high: float


def _sided(name: str, controls: Mapping[str, float], low: float, high: float) -> dict[str, Driver]:
    return {f"{name}_{side.lower()}": Driver({f"{control}{side}": value for control, value in controls.items()}, low, high) for side in ("Left", "Right")}


LAYERS: dict[str, Driver] = {
    "forehead": Driver({"browInnerUp": 0.5, "browOuterUpLeft": 0.25, "browOuterUpRight": 0.25}, 0.08, 0.75),
    **_sided("frown", {"browDown": 1.0, "noseSneer": 0.3}, 0.1, 0.7),
    **_sided("crow", {"cheekSquint": 1.0, "eyeSquint": 0.8}, 0.1, 0.75),
    **_sided("fold", {"mouthSmile": 1.0, "noseSneer": 0.8, "mouthUpperUp": 0.3}, 0.12, 0.85),
    **_sided("blush", {"mouthSmile": 1.0}, 0.05, 0.9),
    "puff": Driver({"cheekPuff": 1.0}, 0.05, 0.6),
    "blanch": Driver({"mouthPressLeft": 0.6, "mouthPressRight": 0.6, "mouthRollLower": 0.6, "mouthRollUpper": 0.5}, 0.08, 0.65),
    **_sided("lid", {"eyeBlink": 1.0}, 0.2, 1.0),
    "bridge": Driver({"noseSneerLeft": 0.5, "noseSneerRight": 0.5}, 0.08, 0.5),
}
"""Wrinkles of forehead, brows, eyes, nose and cheeks, blush, blood pressed out of the lips, the darker skin of shut lids; left is the subject's."""


def layer_weights(control_names: tuple[str, ...], controls: np.ndarray) -> np.ndarray:
    """How strong every layer of ``LAYERS`` is.

    Args:
        control_names: E names. controls: (N, E).

    Returns:
        (N, K) float32 in [0, 1]; controls that are missing count as 0.
    """
    column = {name: index for index, name in enumerate(control_names)}
    weights = np.zeros((len(controls), len(LAYERS)), np.float32)
    for index, driver in enumerate(LAYERS.values()):
        total = sum((controls[:, column[name]] * value for name, value in driver.controls.items() if name in column), np.zeros(len(controls)))
        weights[:, index] = smoothstep(driver.low, driver.high, total)
    return weights
