"""Baking: shape keys and texture weights as keyframes, freed shape keys, and pictures of the exact network in the materials."""

from __future__ import annotations

import json

import bpy
import cv2
import numpy as np
import pytest
from dynamic_package import SIZE_PX, dynamic_folder, lookup
from flat_render import lay_flat, picture, places, rows_that_count
from imported import package_folder
from test_scene_dynamic import assert_weights, content

from backend.package.read import read_package
from blender_avatar.backend_link import backend_module
from blender_avatar.runtime import (
    bake_keyframes,
    free_shape_keys,
    unbake_keyframes,
    use_baked_images,
    use_live_texture,
    write_texture_frames,
)
from blender_avatar.scene import import_avatar

PLAIN = {"light": None}


def values_of(name: str) -> dict[str, float]:
    """Evaluated values of all shape keys of an object."""
    blocks = bpy.data.objects[name].evaluated_get(bpy.context.evaluated_depsgraph_get()).data.shape_keys.key_blocks
    return {block.name: block.value for block in blocks[1:]}


def test_baked_keyframes_play_without_drivers_and_can_be_taken_back():
    folder = dynamic_folder(**PLAIN)
    avatar = import_avatar(bpy.context, folder)
    scene, root, head = bpy.context.scene, bpy.data.objects[avatar.root], bpy.data.objects[avatar.heads[0]]
    scene.frame_set(4)
    wanted = {}
    for frame in (2, 6, 9):
        scene.frame_set(frame)
        wanted[frame] = values_of(head.name)
    scene.frame_set(4)
    baked = bake_keyframes(root, scene, 1, 12)
    assert scene.frame_current == 4 and (baked.frame_start, baked.frame_end) == (1, 12) and len(baked.actions) == 2
    keys = head.data.shape_keys
    assert all(driver.mute for driver in keys.animation_data.drivers)
    rig = bpy.data.objects[avatar.rig]
    action, rig.animation_data.action = rig.animation_data.action, None  # nothing but the baked keys moves the face now
    for frame in (2, 6, 9):
        scene.frame_set(frame)
        assert values_of(head.name) == pytest.approx(wanted[frame], abs=1e-6)
        assert_weights(head.name, folder, content(folder)[2][frame - 1])
    rig.animation_data.action = action
    assert unbake_keyframes(root) > 0
    assert not any(driver.mute for driver in keys.animation_data.drivers) and keys.animation_data.action is None
    assert all(name not in bpy.data.actions for name in baked.actions)
    rig.animation_data.action = None
    rig.pose.bones["face"]["jawOpen"] = 0.25
    rig.update_tag()
    bpy.context.view_layer.update()
    assert values_of(head.name)["jawOpen"] == pytest.approx(0.25)


def test_baking_twice_replaces_and_an_empty_range_is_refused():
    avatar = import_avatar(bpy.context, dynamic_folder(**PLAIN))
    scene, root = bpy.context.scene, bpy.data.objects[avatar.root]
    bake_keyframes(root, scene, 1, 12)
    num_actions = len(bpy.data.actions)
    again = bake_keyframes(root, scene, 3, 5)
    assert len(bpy.data.actions) == num_actions and bpy.data.actions[again.actions[0]].frame_range[:] == (3, 5)
    with pytest.raises(backend_module("errors").AvatarError, match="empty"):
        bake_keyframes(root, scene, 5, 3)


def test_freed_shape_keys_belong_to_the_artist():
    folder = dynamic_folder(**PLAIN)
    avatar = import_avatar(bpy.context, folder)
    scene, root, head = bpy.context.scene, bpy.data.objects[avatar.root], bpy.data.objects[avatar.heads[0]]
    scene.frame_set(6)
    wanted = values_of(head.name)
    free_shape_keys(root, scene, 1, 12)
    for name in (head.name, "Anna.controls"):
        assert not bpy.data.objects[name].data.shape_keys.animation_data.drivers
    scene.frame_set(6)
    assert values_of(head.name) == pytest.approx(wanted, abs=1e-6)
    head.data.shape_keys.animation_data.action = None
    head.data.shape_keys.key_blocks["jawOpen"].value = 0.9
    bpy.context.view_layer.update()
    assert values_of(head.name)["jawOpen"] == pytest.approx(0.9)
    with pytest.raises(backend_module("errors").AvatarError, match="no driven shape keys"):
        free_shape_keys(root, scene, 1, 12)


def test_texture_frames_say_what_the_clip_says(tmp_path):
    from backend.avatars.dynamic_texture.inputs import head_orientation
    from backend.bake_textures import read_frames

    folder = dynamic_folder(**PLAIN)
    clip = read_package(folder).animation
    mesh = read_package(folder).mesh
    for head_moves in (True, False):
        avatar = import_avatar(bpy.context, folder, head_moves=head_moves)
        root = bpy.data.objects[avatar.root]
        root.rotation_euler = (0.1, 0.2, 0.7)  # head and camera turn together
        assert write_texture_frames(tmp_path / "frames.npz", root, bpy.context.scene, 2, 9, use_view=True) == 8
        frames = read_frames(tmp_path / "frames.npz")
        assert frames.numbers.tolist() == list(range(2, 10))
        columns = [frames.control_names.index(name) for name in clip.control_names]
        assert np.allclose(frames.controls[:, columns], clip.controls_smooth[1:9], atol=1e-5)
        for index, joint in enumerate(frames.joint_names):
            assert np.allclose(frames.joint_rotations[:, index], clip.joint_rotations_smooth[1:9, mesh.joint_names.index(joint)], atol=1e-4), joint
        wanted = head_orientation(clip.world_from_root_smooth[1:9], clip.joint_rotations_smooth[1:9], mesh.joint_names, clip.world_from_cam[1:9])
        assert np.abs(wanted).max() > 0.1
        assert np.allclose(frames.orientation, wanted, atol=1e-4)
    write_texture_frames(tmp_path / "lit.npz", root, bpy.context.scene, 1, 1, use_view=False)
    assert read_frames(tmp_path / "lit.npz").orientation is None
    with pytest.raises(backend_module("errors").AvatarError, match="range"):
        write_texture_frames(tmp_path / "no.npz", root, bpy.context.scene, 5, 4, use_view=False)


def paint_sequence(folder, numbers) -> dict[int, np.ndarray]:
    """Numbered pictures as the job makes them; number -> (S, S, 3) sRGB."""
    folder.mkdir()
    painted = {}
    for number in numbers:
        y, x = np.mgrid[:SIZE_PX, :SIZE_PX] / SIZE_PX
        painted[number] = np.stack([x, y, np.full_like(x, number / 20)], -1)
        (folder / "frames.json").write_text(json.dumps({"numbers": list(numbers)}))
        cv2.imwrite(str(folder / f"texture_{number:04d}.png"), np.round(painted[number][..., ::-1] * 255).astype(np.uint8))
    return painted


def test_baked_images_show_the_picture_of_each_frame(tmp_path):
    folder = dynamic_folder(**PLAIN)
    avatar = import_avatar(bpy.context, folder)
    scene, root, head = bpy.context.scene, bpy.data.objects[avatar.root], bpy.data.objects[avatar.heads[0]]
    painted = paint_sequence(tmp_path / "baked", range(3, 8))
    made = use_baked_images(root, tmp_path / "baked")
    assert set(made.materials) == {"Anna.Skin", "Anna.Eye", "Anna.Teeth", "Anna.Tongue"} and head["dynamic"] == 0.0
    head["as_filmed"] = 1.0
    lay_flat(scene, head)
    rows = rows_that_count(folder)
    for frame in (3, 6, 7):
        scene.frame_set(frame)
        got = picture(scene).reshape(-1, 4)[rows]
        difference = np.abs(got[:, :3] - lookup(painted[frame], places()[rows]))[got[:, 3] > 0.99]
        assert difference.max() * 255 < 3, frame
    use_baked_images(root, tmp_path / "baked")  # once more: nothing piles up
    assert sum(node.label == "Baked texture" for node in bpy.data.materials["Anna.Skin"].node_tree.nodes) == 1
    assert use_live_texture(root) and head["dynamic"] == 1.0
    assert not use_live_texture(root)
    assert {image.name for image in bpy.data.images if image.name.startswith("Anna")} == {"Anna.albedo", "Anna.mask", "Anna.tiles"}
    scene.frame_set(4)
    from flat_render import error_255

    assert error_255(picture(scene), folder, content(folder)[2][3]) < 2


def test_baked_images_that_are_not_there_are_refused(tmp_path):
    error = backend_module("errors").AvatarError
    avatar = import_avatar(bpy.context, dynamic_folder(**PLAIN))
    with pytest.raises(error, match="holds no baked textures"):
        use_baked_images(bpy.data.objects[avatar.root], tmp_path)
    paint_sequence(tmp_path / "gap", (1, 2, 3))
    (tmp_path / "gap" / "texture_0002.png").unlink()
    with pytest.raises(error, match="frame 2"):
        use_baked_images(bpy.data.objects[avatar.root], tmp_path / "gap")
    plain = import_avatar(bpy.context, package_folder())
    paint_sequence(tmp_path / "baked", (1, 2))
    with pytest.raises(error, match="no material with a dynamic texture"):
        use_baked_images(bpy.data.objects[plain.root], tmp_path / "baked")
