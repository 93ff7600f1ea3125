"""The default head as an artist gets it: 52 controls, seven materials, vertices that agree."""

from __future__ import annotations

import bpy
import numpy as np
import pytest
from default_head import default_head
from imported import BLENDER_FROM_RIG, evaluated_vertices
from synthetic_take import write_take
from test_scene_agreement import VERTEX_TOLERANCE_M, backend_vertices

from backend.package.read import read_package
from blender_avatar.scene import import_avatar


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_take(tmp_path_factory.mktemp("default") / "anna.avatar", default_head())


def test_the_default_head_agrees(folder):
    package = read_package(folder)
    avatar = import_avatar(bpy.context, folder)
    for sample in (2, 9):
        bpy.context.scene.frame_set(1 + sample)
        wanted = backend_vertices(package, sample) @ BLENDER_FROM_RIG.T
        assert np.linalg.norm(evaluated_vertices(avatar.heads[0]) - wanted, axis=1).max() < VERTEX_TOLERANCE_M


def test_the_default_head_has_everything(folder):
    avatar = import_avatar(bpy.context, folder)
    head, armature = bpy.data.objects[avatar.heads[0]], bpy.data.objects[avatar.rig]
    face = armature.pose.bones["face"]
    assert len(face.keys()) == 52 and list(face.keys()) == [key.name for key in head.data.shape_keys.key_blocks[1:]]
    kinds = {slot.material.name.removeprefix("Anna.") for slot in head.material_slots}
    assert kinds == {"Skin", "Scalp", "Lashes", "Eye", "Cornea", "Teeth", "Tongue"}
    expressions = [curve for curve in head.data.shape_keys.animation_data.drivers if curve.driver.type == "SCRIPTED"]
    assert len(expressions) == 8 and all(curve.driver.is_simple_expression for curve in expressions)


def test_lids_stay_on_the_eyes_that_follow_the_target(folder):
    """With Follow 1 and the target 10 degrees down, upper lids come down as the eyeLookDown shape says."""
    avatar = import_avatar(bpy.context, folder)
    armature = bpy.data.objects[avatar.rig]
    armature.animation_data.action = None
    for bone in armature.pose.bones:
        bone.location, bone.rotation_quaternion = (0, 0, 0), (1, 0, 0, 0)
    for name in armature.pose.bones["face"].keys():
        armature.pose.bones["face"][name] = 0.0
    package = read_package(folder)
    lid = package.mesh.regions["lid_upper_left"]
    rest = evaluated_vertices(avatar.heads[0])[lid, 2].mean()
    armature.pose.bones["gaze"].location = (0, -0.6 * float(np.tan(np.radians(10))), 0)
    armature.pose.bones["gaze"]["follow"] = 1.0
    armature.update_tag()
    bpy.context.view_layer.update()
    down = package.mesh.shape_keys[package.mesh.shape_key_names.index("eyeLookDownLeft")][lid, 1].mean()
    assert down < -0.0005
    assert evaluated_vertices(avatar.heads[0])[lid, 2].mean() - rest == pytest.approx(down * 10 / 11.4, rel=0.1)
