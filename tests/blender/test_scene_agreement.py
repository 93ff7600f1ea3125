"""Blender shows what the backend computed: vertices, landmarks, lids, in every orientation of the picture."""

from __future__ import annotations

import bpy
import numpy as np
import pytest
import torch
from bpy_extras.object_utils import world_to_camera_view
from imported import BLENDER_FROM_RIG, evaluated_vertices, key_value, package_folder
from mathutils import Vector
from synthetic_take import LANDSCAPE, PORTRAIT

from backend.geometry.cameras import invert_rigid, project, transform_points
from backend.package.posing import posable_head_of
from backend.package.read import read_package
from blender_avatar.scene import import_avatar

VERTEX_TOLERANCE_M = 1e-5


def backend_vertices(package, sample: int, controls=None) -> np.ndarray:
    """(V, 3) float64, the package's world frame: what the backend says about one sample of the smoothed track."""
    clip = package.animation
    head = posable_head_of(package.mesh, torch.float64)
    controls = clip.controls_smooth[sample] if controls is None else controls
    posed = head.pose(torch.as_tensor(controls, dtype=torch.float64), torch.as_tensor(clip.joint_rotations_smooth[sample], dtype=torch.float64))
    return transform_points(clip.world_from_root_smooth[sample], posed.numpy())


@pytest.mark.parametrize("sample", [0, 3, 7, 11])
def test_vertices_agree(sample):
    folder = package_folder()
    package = read_package(folder)
    avatar = import_avatar(bpy.context, folder)
    bpy.context.scene.frame_set(1 + sample)
    wanted = backend_vertices(package, sample) @ BLENDER_FROM_RIG.T
    error = np.linalg.norm(evaluated_vertices(avatar.heads[0]) - wanted, axis=1)
    assert error.max() < VERTEX_TOLERANCE_M
    moved = np.linalg.norm(wanted - package.mesh.vertices @ BLENDER_FROM_RIG.T, axis=1)
    assert moved.max() > 0.01  # the instant is not the rest pose


def test_a_moved_and_scaled_root_carries_everything():
    folder = package_folder()
    avatar = import_avatar(bpy.context, folder)
    bpy.context.scene.frame_set(4)
    before = evaluated_vertices(avatar.heads[0])
    root = bpy.data.objects[avatar.root]
    root.location, root.scale, root.rotation_euler = (1, 2, 3), (2, 2, 2), (0, 0, 0.7)
    bpy.context.view_layer.update()
    wanted = [root.matrix_world @ Vector(point) for point in before]
    assert np.abs(evaluated_vertices(avatar.heads[0]) - np.array(wanted)).max() < 5e-5


@pytest.mark.parametrize("size_hw", [LANDSCAPE, PORTRAIT, (500, 500)])
@pytest.mark.parametrize("shift_px", [(0.0, 0.0), (31.0, -17.0)])
@pytest.mark.parametrize("head_moves", [True, False])
def test_landmarks_fall_on_their_projections(size_hw, shift_px, head_moves):
    folder = package_folder(size_hw=size_hw, principal_shift_px=shift_px)
    package = read_package(folder)
    mesh, clip = package.mesh, package.animation
    avatar = import_avatar(bpy.context, folder, head_moves=head_moves)
    scene = bpy.context.scene
    assert (scene.render.resolution_y, scene.render.resolution_x) == size_hw
    places = np.flatnonzero(mesh.mediapipe478.triangle_ids >= 0)
    corners = mesh.triangles[mesh.mediapipe478.triangle_ids[places]]
    weights = mesh.mediapipe478.barycentric[places]
    for sample in (0, 5, 10):
        scene.frame_set(1 + sample)
        points = transform_points(invert_rigid(clip.world_from_cam[sample]), backend_vertices(package, sample))
        wanted = project(clip.px_from_cam, np.einsum("lk,lkc->lc", weights, points[corners]))
        seen = np.einsum("lk,lkc->lc", weights, evaluated_vertices(avatar.heads[0])[corners])
        views = np.array([world_to_camera_view(scene, scene.camera, Vector(point)) for point in seen])
        got = np.stack([views[:, 0] * size_hw[1], (1 - views[:, 1]) * size_hw[0]], 1)
        assert np.linalg.norm(got - wanted, axis=1).max() < 0.5
        assert np.linalg.norm(got - wanted, axis=1).max() < 0.02  # what is really reached


def test_camera_moves_shows_the_same_picture_with_a_still_head():
    avatar = import_avatar(bpy.context, package_folder(), head_moves=False)
    rig = bpy.data.objects[avatar.rig]
    camera = bpy.data.objects[avatar.camera]
    places = []
    for frame in (1, 6, 12):
        bpy.context.scene.frame_set(frame)
        assert np.allclose(np.array(rig.pose.bones["root"].matrix_basis), np.eye(4), atol=1e-7)
        places.append(np.array(camera.matrix_world))
    assert avatar.camera_action is not None
    assert np.abs(places[0] - places[1]).max() > 0.02
    assert camera.scale[:] == (1, 1, 1)


def test_lids_follow_the_eyes_of_the_clip():
    package = read_package(package_folder())
    avatar = import_avatar(bpy.context, package.folder)
    for sample in (0, 4, 9):
        bpy.context.scene.frame_set(1 + sample)
        for name in package.mesh.shape_key_names:
            wanted = package.animation.controls_smooth[sample, package.animation.control_names.index(name)]
            assert key_value(avatar.heads[0], name) == pytest.approx(float(wanted), abs=1e-5), name


def test_bones_carry_the_package_axes():
    avatar = import_avatar(bpy.context, package_folder())
    rig = bpy.data.objects[avatar.rig]
    for bone in rig.data.bones:
        assert np.abs(np.array(bone.matrix_local)[:3, :3] - BLENDER_FROM_RIG).max() < 1e-6, bone.name
