"""The handles an artist gets: controls, gaze target, bones, and that they react."""

from __future__ import annotations

import bpy
import numpy as np
import pytest
from imported import BLENDER_FROM_RIG, key_value, package_folder, rig
from mathutils import Vector

from backend.package.read import read_package
from blender_avatar.scene import import_avatar


@pytest.fixture
def still():
    """An imported avatar without its keys, so that typed values count."""
    avatar = import_avatar(bpy.context, package_folder())
    armature = bpy.data.objects[avatar.rig]
    armature.animation_data.action = None
    for bone in armature.pose.bones:
        bone.location, bone.rotation_quaternion = (0, 0, 0), (1, 0, 0, 0)
    for name in rig().expression_names:
        armature.pose.bones["face"][name] = 0.0
    armature.update_tag()
    bpy.context.view_layer.update()
    return avatar


def _set(avatar, bone: str, name: str, value: float) -> None:
    armature = bpy.data.objects[avatar.rig]
    armature.pose.bones[bone][name] = value
    armature.update_tag()
    bpy.context.view_layer.update()


def test_every_control_moves_its_shape_key(still):
    face = bpy.data.objects[still.rig].pose.bones["face"]
    assert tuple(face.keys()) == rig().expression_names
    keys = bpy.data.objects[still.heads[0]].data.shape_keys.key_blocks
    assert tuple(keys.keys()) == ("Basis", *rig().expression_names)
    for name in rig().expression_names:
        assert key_value(still.heads[0], name) == 0
        _set(still, "face", name, 0.7)
        assert key_value(still.heads[0], name) == pytest.approx(0.7), name
        _set(still, "face", name, 0.0)


def test_controls_have_range_description_and_can_be_overridden(still):
    face = bpy.data.objects[still.rig].pose.bones["face"]
    for name in rig().expression_names:
        ui = face.id_properties_ui(name).as_dict()
        assert (ui["min"], ui["max"], ui["soft_min"], ui["soft_max"], ui["default"]) == (0, 1, 0, 1, 0)
        assert "seen in the clip" in ui["description"]
        assert face.is_property_overridable_library(f'["{name}"]')
    gaze = bpy.data.objects[still.rig].pose.bones["gaze"]
    assert gaze.is_property_overridable_library('["follow"]')


def test_drivers_run_without_python(still):
    key = bpy.data.objects[still.heads[0]].data.shape_keys
    curves = [*key.animation_data.drivers, *bpy.data.objects[still.rig].animation_data.drivers]
    assert len(curves) == len(rig().expression_names) + 2
    for curve in curves:
        assert curve.driver.is_valid and not curve.modifiers
        if curve.driver.type == "SCRIPTED":
            assert curve.driver.is_simple_expression and len(curve.driver.expression) <= 255
            assert "eyeLook" in curve.data_path
        else:
            assert curve.driver.type == "AVERAGE" and len(curve.driver.variables) == 1


def _look(avatar, bone: str) -> np.ndarray:
    """Unit line of sight of an eye bone in the world."""
    depsgraph = bpy.context.evaluated_depsgraph_get()
    matrix = bpy.data.objects[avatar.rig].evaluated_get(depsgraph).pose.bones[bone].matrix
    return np.array(matrix.col[2])[:3]


def test_gaze_target_turns_eyes_and_lids(still):
    armature = bpy.data.objects[still.rig]
    eyes = {bone: np.array(armature.data.bones[bone].head_local) for bone in ("eye.L", "eye.R")}
    gaze = armature.pose.bones["gaze"]
    rest = np.array(armature.data.bones["gaze"].head_local)
    for offset_deg, raised in (((8.0, 0.0), None), ((-10.0, 0.0), None), ((0.0, 7.0), "Up"), ((0.0, -9.0), "Down")):
        middle = np.mean(list(eyes.values()), 0)
        across, up = np.tan(np.radians(offset_deg)) * 0.6
        gaze.location = (across, up, 0)  # bone axes: x left, y up
        _set(still, "gaze", "follow", 0.0)
        assert key_value(still.heads[0], "eyeLookInLeft") == 0
        assert np.allclose(_look(still, "eye.L"), [0, -1, 0], atol=1e-6)

        _set(still, "gaze", "follow", 1.0)
        target = rest + BLENDER_FROM_RIG @ np.array([across, up, 0])
        assert np.linalg.norm(target - middle) > 0.59
        for bone, side, inwards in (("eye.L", "Left", -1), ("eye.R", "Right", 1)):
            wanted = (target - eyes[bone]) / np.linalg.norm(target - eyes[bone])
            assert np.allclose(_look(still, bone), wanted, atol=1e-5)
            yaw, pitch = np.degrees(np.arctan2(wanted[0], -wanted[1])), np.degrees(np.arcsin(wanted[2]))
            for way, angle, limit in (("In", inwards * yaw, 15.4), ("Out", -inwards * yaw, 15.0), ("Up", pitch, 9.8), ("Down", -pitch, 11.4)):
                value = key_value(still.heads[0], f"eyeLook{way}{side}")
                assert value == pytest.approx(np.clip(angle / limit, 0, 1), abs=1e-4), (offset_deg, way, side)
                assert way != raised or value > 0.5


def test_half_follow_blends_and_ends_meet_the_clip():
    package = read_package(package_folder())
    avatar = import_avatar(bpy.context, package.folder)
    bpy.context.scene.frame_set(3)
    keyed = {bone: _look(avatar, bone) for bone in ("eye.L", "eye.R")}
    armature = bpy.data.objects[avatar.rig]
    angles = []
    for follow in (0.0, 0.5, 1.0):
        _set(avatar, "gaze", "follow", follow)
        angles.append(np.degrees(np.arccos(np.clip(_look(avatar, "eye.L") @ keyed["eye.L"], -1, 1))))
    assert angles[0] < 0.05 and angles[1] == pytest.approx(angles[2] / 2, rel=0.05) and angles[2] > 3
    armature.pose.bones["gaze"]["follow"] = 0.0


def test_lids_follow_an_eye_turned_by_hand(still):
    armature = bpy.data.objects[still.rig]
    armature.pose.bones["eye.L"].rotation_quaternion = (np.cos(0.05), np.sin(0.05), 0, 0)  # 0.1 rad down
    _set(still, "gaze", "lids_follow", 0.0)
    assert key_value(still.heads[0], "eyeLookDownLeft") == 0
    _set(still, "gaze", "lids_follow", 1.0)
    assert key_value(still.heads[0], "eyeLookDownLeft") == pytest.approx(np.degrees(0.1) / 11.4, abs=1e-4)
    assert key_value(still.heads[0], "eyeLookDownRight") == 0


def test_bones_are_named_shaped_and_sorted(still):
    armature = bpy.data.objects[still.rig]
    names = {bone.name for bone in armature.data.bones}
    assert names == {"root", "neck", "head", "eye.L", "eye.R", "face", "gaze"}
    assert all(bone.custom_shape is not None for bone in armature.pose.bones)
    assert {group.name: {bone.name for bone in group.bones} for group in armature.data.collections} == {
        "Head": {"root", "neck", "head"}, "Eyes": {"eye.L", "eye.R", "gaze"}, "Face": {"face"},
    }
    assert {bone.name for bone in armature.data.bones if not bone.use_deform} == {"face", "gaze"}


def test_a_look_straight_into_the_camera_meets_it(still):
    armature = bpy.data.objects[still.rig]
    camera = bpy.data.objects[still.camera]
    gaze = armature.pose.bones["gaze"]
    gaze.matrix = armature.matrix_world.inverted() @ camera.matrix_world
    _set(still, "gaze", "follow", 1.0)
    for bone in ("eye.L", "eye.R"):
        eye = Vector(armature.data.bones[bone].head_local)
        wanted = (camera.matrix_world.translation - eye).normalized()
        assert np.allclose(_look(still, bone), wanted, atol=1e-5)
