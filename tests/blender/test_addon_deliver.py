"""The operators of the panel Deliver in background mode: light, baking (pictures by the real backend), export; undo; what is refused and how it is said."""

from __future__ import annotations

import functools
import sys
import tempfile
from pathlib import Path

import bpy
import cv2
import imported
import numpy as np
import pytest
from dynamic_package import dynamic_folder, list_files, onnx_bytes, write_dynamic_package
from imported import REPOSITORY, datablocks, package_folder

import blender_avatar
from backend.package.read import read_package
from backend.package.read_dynamic import EIGEN_FILE, NETWORK_FILE, ONNX_FILE
from backend.storage import read_arrays, write_arrays
from blender_avatar import session
from blender_avatar.client.process import Launch
from blender_avatar.tile_sizes import wrong_sizes

ops = bpy.ops.video_avatar


@pytest.fixture
def add_on():
    blender_avatar.register()
    yield
    blender_avatar.unregister()


@pytest.fixture
def anna(add_on):
    assert ops.import_avatar(directory=str(dynamic_folder()), match="ALWAYS") == {"FINISHED"}
    return bpy.data.objects["Anna"]


@functools.cache
def trained_folder() -> Path:
    """An avatar with a real (never trained) network, as the pipeline writes it."""
    sys.path.insert(0, str(REPOSITORY / "tests" / "backend"))
    from dynamic_take import write_dynamic_take

    imported.scratch.append(Path(tempfile.mkdtemp(prefix="avatar-test-")))
    return write_dynamic_take(imported.scratch[-1])


def test_light_world_is_one_undo_step_and_says_what_it_did(anna):
    bpy.context.preferences.edit.use_global_undo = True
    bpy.ops.ed.undo_push(message="before")
    assert ops.light_world("EXEC_DEFAULT", True) == {"FINISHED"}
    assert bpy.context.scene.world.name == "Anna.light"
    bpy.ops.ed.undo()
    assert bpy.context.scene.world is None


def test_keyframes_are_baked_taken_back_and_freed(anna):
    keys = bpy.data.objects["Anna.head"].data.shape_keys
    assert ops.bake_keyframes() == {"FINISHED"}
    assert keys.animation_data.action.frame_range[:] == (1, 12) and all(driver.mute for driver in keys.animation_data.drivers)
    assert ops.bake_keyframes(clear=True) == {"FINISHED"}
    assert keys.animation_data.action is None
    assert ops.free_shape_keys(frame_start=2, frame_end=4) == {"FINISHED"}
    assert not keys.animation_data.drivers and keys.animation_data.action.frame_range[:] == (2, 4)
    with pytest.raises(RuntimeError, match="no driven shape keys"):
        ops.free_shape_keys()
    assert bpy.context.window_manager.video_avatar.error_code == "bad_input"


def test_export_writes_and_refuses(anna, tmp_path):
    assert ops.export_avatar(filepath=str(tmp_path / "anna.glb"), frame_start=1, frame_end=3) == {"FINISHED"}
    assert (tmp_path / "anna.glb").stat().st_size > 10_000
    with pytest.raises(RuntimeError, match="ends in none of"):
        ops.export_avatar(filepath=str(tmp_path / "anna.txt"))


@pytest.mark.slow  # the backend starts, with torch
def test_images_of_the_exact_network_are_baked_by_the_backend(add_on, tmp_path, monkeypatch):
    monkeypatch.setattr(session, "find_launch", lambda: Launch(Path(sys.executable), REPOSITORY / "backend" / "__main__.py", tmp_path / "worker.log"))
    folder = trained_folder()
    assert ops.import_avatar(directory=str(folder), match="ALWAYS") == {"FINISHED"}
    assert ops.bake_images(frame_start=3, frame_end=5, out=str(tmp_path / "textures"), use_view=True) == {"FINISHED"}
    image = bpy.data.images["Anna.baked"]
    assert image.source == "SEQUENCE" and bpy.data.objects["Anna.head"]["dynamic"] == 0.0
    pictures = sorted((tmp_path / "textures").glob("*.png"))
    assert [path.name for path in pictures] == ["texture_0003.png", "texture_0004.png", "texture_0005.png"]
    painted = [cv2.imread(str(path)).astype(int) for path in pictures]
    mask = cv2.imread(str(read_package(folder).texture.mask), cv2.IMREAD_GRAYSCALE)
    assert np.abs(painted[0] - painted[2])[mask == 255].max() > 3 and np.abs(painted[0] - painted[2])[mask == 0].max() == 0
    assert not list(Path(bpy.app.tempdir).glob("video_avatar_frames_*"))
    assert ops.live_texture() == {"FINISHED"} and bpy.data.objects["Anna.head"]["dynamic"] == 1.0
    assert ops.apply_baked_images(folder=str(tmp_path / "textures")) == {"FINISHED"}
    with pytest.raises(RuntimeError, match="holds no baked textures"):
        ops.apply_baked_images(folder=str(tmp_path))
    plain = tmp_path / "mine"
    plain.mkdir()
    (plain / "letter.txt").write_text("mine")
    with pytest.raises(RuntimeError, match="holds no baked textures"):  # the backend replaces nothing but its own
        ops.bake_images(out=str(plain))
    assert (plain / "letter.txt").exists()


def test_a_package_of_the_real_writer_shows_its_distilled_texture(add_on):
    from flat_render import error_255, lay_flat, picture

    folder = trained_folder()
    assert ops.import_avatar(directory=str(folder), match="ALWAYS") == {"FINISHED"}
    scene, head = bpy.context.scene, bpy.data.objects["Anna.head"]
    for node in bpy.data.node_groups["Anna.VA Face"].nodes:  # its light would be on the flattened head's normals
        if node.type == "EMISSION":
            bpy.data.node_groups["Anna.VA Face"].links.new(next(each for each in bpy.data.node_groups["Anna.VA Face"].nodes if each.label == "Not above 1").outputs[0], node.inputs["Color"])
    head["as_filmed"] = 1.0
    lay_flat(scene, head)
    controls = read_package(folder).animation.controls_smooth
    for frame in (4, 40):
        scene.frame_set(frame)
        got = picture(scene)
        # the checker's corners are where lookups before and after the sRGB curve differ
        assert error_255(got, folder, controls[frame - 1], share=0.95) < 2, frame


@pytest.mark.parametrize("fault", ["no onnx", "foreign onnx", "cut onnx", "no network", "foreign network", "pickle", "tile size", "foreign control", "mean weight", "newer", "no mask"])
def test_a_missing_or_foreign_dynamic_texture_is_refused_and_nothing_is_left(add_on, tmp_path, fault):
    folder = write_dynamic_package(tmp_path / "anna.avatar")
    eigen = read_arrays(folder / EIGEN_FILE)
    if fault == "no onnx":
        (folder / ONNX_FILE).unlink()
    elif fault == "foreign onnx":
        (folder / ONNX_FILE).write_bytes(b"#!/usr/bin/env python3\nimport os; os.system('touch /tmp/executed')\n")
    elif fault == "cut onnx":
        (folder / ONNX_FILE).write_bytes(onnx_bytes()[:-3])
    elif fault == "no network":
        (folder / NETWORK_FILE).unlink()
    elif fault == "foreign network":
        write_arrays(folder / NETWORK_FILE, {"weights": np.zeros(3)})
    elif fault == "pickle":
        np.savez(folder / NETWORK_FILE, format_version=np.array(1), thing=np.array([{"a": 1}], dtype=object))
    elif fault == "tile size":
        eigen["tiles.2"] = eigen["tiles.2"][:, :, :, :2]
    elif fault == "foreign control":
        eigen["input_names"] = np.where(eigen["input_names"] == "jawOpen", "earWiggle", eigen["input_names"])
    elif fault == "mean weight":
        eigen["map_bias"] = eigen["map_bias"] * 0
    elif fault == "newer":
        eigen["format_version"] = np.array(9)
    write_arrays(folder / EIGEN_FILE, eigen)
    list_files(folder)
    if fault == "no mask":
        from backend.storage import read_json, write_json

        index = read_json(folder / "avatar.json")
        for asset in index["assets"]:
            asset["files"] = [file for file in asset["files"] if not file["path"].endswith("mask.png")]
        write_json(folder / "avatar.json", index)
    before = datablocks()
    with pytest.raises(RuntimeError):
        ops.import_avatar(directory=str(folder))
    state = bpy.context.window_manager.video_avatar
    assert state.error_code in ("bad_input", "asset_missing") and state.error and state.hint
    assert datablocks() == before and not bpy.data.node_groups and not Path("/tmp/executed").exists()


def test_an_edited_tile_image_of_another_size_is_reported(anna):
    assert wrong_sizes() == []
    image = bpy.data.images["Anna.tiles"]
    width, height = image.size
    image.scale(width // 2, height)
    (line,) = wrong_sizes()
    assert line == f"Anna.tiles has {width // 2} × {height} pixels instead of {width} × {height}"
    bpy.data.images["Anna.mask"].scale(64, 64)  # the mask may have any size
    assert len(wrong_sizes()) == 1


def test_without_a_dynamic_texture_baking_images_says_so(add_on, tmp_path, monkeypatch):
    monkeypatch.setattr(session, "find_launch", lambda: Launch(Path(sys.executable), REPOSITORY / "backend" / "__main__.py", tmp_path / "worker.log"))
    ops.import_avatar(directory=str(package_folder()), match="ALWAYS")
    with pytest.raises(RuntimeError, match="no dynamic texture"):
        ops.bake_images(frame_start=1, frame_end=1, out=str(tmp_path / "out"))
    assert not (tmp_path / "out").exists()
