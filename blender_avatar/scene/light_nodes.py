"""The clip's light as nodes: nine spherical-harmonic coefficients are one quadratic function of the direction."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

import bpy
import numpy as np

from .axes import BLENDER_FROM_RIG
from .node_tree import Nodes

LIGHT = "clip_light"
"""Custom property of the root empty: the clip's light as JSON (``SceneLight``)."""
MIN_SHADE = 0.2
"""As ``backend.texture.light``: nothing is shaded darker."""
_Y0, _Y1, _Y2, _Y20, _Y22 = 0.28209479, 0.48860251, 1.09254843, 0.31539157, 0.54627422
_BANDS = np.array([1.0, 2 / 3, 2 / 3, 2 / 3, 0.25, 0.25, 0.25, 0.25, 0.25])
"""Bands of the cosine lobe, divided by pi: radiance is irradiance / pi divided by them (Ramamoorthi and Hanrahan 2001)."""


@dataclasses.dataclass(frozen=True)
class SceneLight:
    """The clip's light and what it is fixed to in the scene.

    sh: (9,), tint: (3,) as in the package. light_from_normal: (3, 3), from a normal in ``space`` to the frame of ``sh``.
    space: OBJECT (the head object's own axes) or CAMERA (x right, y up, z forwards).
    light_from_avatar: (3, 3), from the axes of the avatar's root empty to the frame of ``sh``, in the clip's first frame.
    """

    sh: np.ndarray
    tint: np.ndarray
    space: str
    light_from_normal: np.ndarray
    light_from_avatar: np.ndarray

    def to_json(self) -> str:
        return json.dumps({field.name: np.asarray(value).tolist() for field in dataclasses.fields(self) for value in [getattr(self, field.name)]})

    @classmethod
    def from_json(cls, text: str) -> SceneLight:
        """Raises ValueError when the text is no such light."""
        try:
            values = json.loads(text)
            arrays = {key: np.asarray(values[key], np.float64) for key in ("sh", "tint", "light_from_normal", "light_from_avatar")}
            shapes = {"sh": (9,), "tint": (3,), "light_from_normal": (3, 3), "light_from_avatar": (3, 3)}
            if any(arrays[key].shape != shape or not np.isfinite(arrays[key]).all() for key, shape in shapes.items()) or values["space"] not in ("OBJECT", "CAMERA"):
                raise ValueError("its numbers do not fit")
        except (KeyError, TypeError) as problem:
            raise ValueError(str(problem)) from problem
        return cls(space=values["space"], **arrays)


def scene_light(light: Any, world_from_cam: np.ndarray, head_moves: bool) -> SceneLight:
    """Where the light of a clip belongs in the scene.

    In the clip's frame a light stands still in the world or is fixed to the camera. With a still head ("camera moves") the world of the clip turns
    with the camera, so there the light always goes by the camera.

    Args:
        light: the package's ``ClipLight``. world_from_cam: (N, 4, 4) the clip's cameras, package axes. head_moves: as imported.
    """
    rig_from_blender = BLENDER_FROM_RIG[:3, :3].T
    views = world_from_cam[:, :3, :3]
    stands_still = bool(np.abs(views - views[0]).max() < 1e-6)
    camera_from_view = np.diag([1.0, -1.0, 1.0])  # OpenCV axes from x right, y up, z forwards
    world_from_light = views[0] if light.frame == "camera" else np.eye(3)
    light_from_avatar = world_from_light.T @ rig_from_blender
    if head_moves and (light.frame == "world" or stands_still):
        return SceneLight(light.sh, light.tint, "OBJECT", light_from_avatar, light_from_avatar)
    light_from_view = camera_from_view if light.frame == "camera" else views[0] @ camera_from_view
    return SceneLight(light.sh, light.tint, "CAMERA", light_from_view, light_from_avatar)


def quadratic(sh: np.ndarray, light_from_direction: np.ndarray) -> tuple[np.ndarray, np.ndarray, float]:
    """(3, 3) Q, (3,) b and c with value(d) = d Q d + b d + c, for directions d in another frame."""
    s = np.asarray(sh, np.float64)
    matrix = np.array([
        [_Y22 * s[8] - _Y20 * s[6], _Y2 * s[4] / 2, _Y2 * s[7] / 2],
        [_Y2 * s[4] / 2, -_Y22 * s[8] - _Y20 * s[6], _Y2 * s[5] / 2],
        [_Y2 * s[7] / 2, _Y2 * s[5] / 2, 2 * _Y20 * s[6]],
    ])  # fmt: skip
    turn = np.asarray(light_from_direction, np.float64)
    return turn.T @ matrix @ turn, turn.T @ (_Y1 * np.array([s[3], s[1], s[2]])), float(_Y0 * s[0])


def radiance(sh: np.ndarray) -> np.ndarray:
    """(9,) radiance whose irradiance / pi are the coefficients given."""
    return np.asarray(sh, np.float64) / _BANDS


def add_quadratic(nodes: Nodes, direction: bpy.types.NodeSocket, form: tuple[np.ndarray, np.ndarray, float], at_least: float, column: float, row: float) -> Any:
    """The value of the form, not below ``at_least``, as one output."""
    matrix, linear, constant = form
    rows = [nodes.vector("DOT_PRODUCT", f"Row {axis} of the form", column, row + index, direction, matrix[index].tolist()) for index, axis in enumerate("xyz")]
    turned = nodes.add("ShaderNodeCombineXYZ", "Form times direction", column + 1, row)
    for socket, value in zip(turned.inputs, rows):
        nodes.connect(socket, value)
    both = nodes.vector("ADD", "plus the linear part", column + 2, row, turned.outputs[0], linear.tolist())
    product = nodes.vector("DOT_PRODUCT", "times direction again", column + 3, row, direction, both)
    total = nodes.math("ADD", "plus the even part", column + 4, row, product, constant)
    return nodes.math("MAXIMUM", f"not below {at_least:g}", column + 5, row, total, at_least)
