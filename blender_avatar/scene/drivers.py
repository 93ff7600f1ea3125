"""What moves the shape keys: one-variable drivers on the controls, lids that follow the eyes, pose correctives.

Everything here is evaluated by Blender itself: averages, or expressions simple enough to run with Python scripts switched off.
"""

from __future__ import annotations

import math
from typing import Any

import bpy

from .names import CONTROL_BONE, FOLLOW, GAZE_BONE, LIDS_FOLLOW, bone_name

_EYE_OF = {"Left": "eye_left", "Right": "eye_right"}
# Where the eye looks, from its quaternion: the rotated forward axis is (2(xz+wy), 2(yz-wx), 1-2(xx+yy)).
_TO_THE_LEFT = "atan2(2*(x*z+w*y),1-2*(x*x+y*y))"
_DOWN = "asin(clamp(2*(w*x-y*z),-1,1))"
_LOOK = {"In": (-1, _TO_THE_LEFT, 0), "Out": (1, _TO_THE_LEFT, 1), "Down": (1, _DOWN, 2), "Up": (-1, _DOWN, 3)}
"""Direction -> sign for the left eye, angle, place in ``gaze_limits_deg``."""


def control_path(name: str) -> str:
    """Data path of a control on the armature object."""
    return f'pose.bones["{CONTROL_BONE}"]["{name}"]'


def gaze_path(name: str) -> str:
    return f'pose.bones["{GAZE_BONE}"]["{name}"]'


def drive_shape_keys(key_blocks: Any, rig: bpy.types.Object, mesh: Any) -> None:
    """Adds a driver to every expression key.

    Args:
        key_blocks: of the head. rig: armature object with the controls. mesh: the package's ``MeshAsset``.
    """
    for name in mesh.shape_key_names:
        expression = _look_expression(name, mesh)
        if expression is None:
            average_driver(key_blocks[name], "value", "control", rig, control_path(name))
            continue
        driver = _expression_driver(key_blocks[name], "value", expression)
        for variable, path in (("c", control_path(name)), ("f", gaze_path(FOLLOW)), ("l", gaze_path(LIDS_FOLLOW))):
            _property_variable(driver, variable, rig, path)
        _rotation_variables(driver, rig, bone_name(_EYE_OF["Left" if name.endswith("Left") else "Right"]))


def _look_expression(name: str, mesh: Any) -> str | None:
    """Expression of an eyeLook key: its control, or with Follow what the evaluated eye says. None for other keys."""
    side = "Left" if name.endswith("Left") else "Right"
    way = name.removeprefix("eyeLook").removesuffix(side)
    if not name.startswith("eyeLook") or way not in _LOOK or _EYE_OF[side] not in mesh.joint_names:
        return None
    sign, angle, place = _LOOK[way]
    if side == "Right" and angle is _TO_THE_LEFT:
        sign = -sign
    limit = sign * math.radians(float(mesh.gaze_limits_deg[place]))
    return f"lerp(c,clamp({angle}/{limit:.8f}),max(f,l))"


def drive_correctives(key_blocks: Any, rig: bpy.types.Object, mesh: Any) -> None:
    """Adds drivers to pose correctives: key (j, r, c) follows (R_j - I)[r, c] of the bone's own rotation."""
    elements = (
        "-2*(y*y+z*z)", "2*(x*y-w*z)", "2*(x*z+w*y)",
        "2*(x*y+w*z)", "-2*(x*x+z*z)", "2*(y*z-w*x)",
        "2*(x*z-w*y)", "2*(y*z+w*x)", "-2*(x*x+y*y)",
    )  # fmt: skip
    for name, joint, element in corrective_names(mesh):
        driver = _expression_driver(key_blocks[name], "value", elements[element])
        _rotation_variables(driver, rig, bone_name(joint))


def corrective_names(mesh: Any) -> list[tuple[str, str, int]]:
    """Key name, joint and matrix element (row-major) of each pose corrective, in the package's order."""
    if mesh.correctives is None:
        return []
    return [(f"corrective.{joint}.{element // 3}{element % 3}", joint, element) for joint in mesh.joint_names[1:] for element in range(9)]


def average_driver(owner: Any, field: str, variable: str, rig: bpy.types.Object, path: str) -> None:
    """Makes ``owner.field`` follow one property of the armature object."""
    driver = _new_driver(owner, field)
    driver.type = "AVERAGE"
    _property_variable(driver, variable, rig, path)


def _expression_driver(owner: Any, field: str, expression: str) -> bpy.types.Driver:
    # Blender cuts longer expressions off without a word
    if len(expression) > 255:
        raise ValueError(f"driver expression of {len(expression)} characters: {expression}")
    driver = _new_driver(owner, field)
    driver.type = "SCRIPTED"
    driver.expression = expression
    return driver


def _new_driver(owner: Any, field: str) -> bpy.types.Driver:
    curve = owner.driver_add(field)
    for modifier in list(curve.modifiers):  # scripts get a generator that does nothing but sit in the list
        curve.modifiers.remove(modifier)
    return curve.driver


def _property_variable(driver: bpy.types.Driver, name: str, rig: bpy.types.Object, path: str) -> None:
    variable = driver.variables.new()
    variable.name = name
    variable.type = "SINGLE_PROP"
    variable.targets[0].id = rig
    variable.targets[0].data_path = path


def _rotation_variables(driver: bpy.types.Driver, rig: bpy.types.Object, bone: str) -> None:
    """Variables w, x, y, z: the bone's rotation against its parent, constraints included."""
    for name in "wxyz":
        variable = driver.variables.new()
        variable.name = name
        variable.type = "TRANSFORMS"
        target = variable.targets[0]
        target.id, target.bone_target = rig, bone
        target.transform_type = f"ROT_{name.upper()}"
        target.rotation_mode = "QUATERNION"
        target.transform_space = "LOCAL_SPACE"
