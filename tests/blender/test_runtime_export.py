"""Export: what other programs get. glTF is judged by its own validator, FBX by reading it again."""

from __future__ import annotations

import json
import os
import shutil
import struct
import subprocess
from pathlib import Path

import bpy
import numpy as np
import pytest
from dynamic_package import dynamic_folder
from imported import REPOSITORY, datablocks, evaluated_vertices

from backend.package.read import read_package
from blender_avatar.backend_link import backend_module
from blender_avatar.runtime import export_avatar
from blender_avatar.scene import import_avatar


def exported(path: Path):
    folder = dynamic_folder()
    avatar = import_avatar(bpy.context, folder)
    stray = bpy.data.actions.new("stray pose")  # an Action that nobody plays must not go along
    stray.use_fake_user = True
    before, selected = datablocks(), [ob.name for ob in bpy.context.selected_objects]
    names = {material.name for material in bpy.data.materials}
    made = export_avatar(bpy.data.objects[avatar.root], bpy.context.scene, path)
    after = datablocks()
    assert {kind: after[kind] for kind in ("objects", "meshes", "materials", "actions", "shape_keys")} == {kind: before[kind] for kind in ("objects", "meshes", "materials", "actions", "shape_keys")}
    assert {material.name for material in bpy.data.materials} == names and [ob.name for ob in bpy.context.selected_objects] == selected
    head = bpy.data.objects[avatar.heads[0]]
    assert not any(driver.mute for driver in head.data.shape_keys.animation_data.drivers)
    assert all(modifier.show_viewport for modifier in head.modifiers)
    return folder, avatar, made


def gltf_content(path: Path) -> tuple[dict, bytes]:
    data = path.read_bytes()
    length = struct.unpack_from("<I", data, 12)[0]
    return json.loads(data[20 : 20 + length]), data[20 + length + 8 :]


def accessor(content: dict, binary: bytes, index: int) -> np.ndarray:
    entry = content["accessors"][index]
    width = {"SCALAR": 1, "VEC2": 2, "VEC3": 3, "VEC4": 4}[entry["type"]]
    view = content["bufferViews"][entry["bufferView"]]
    start = view.get("byteOffset", 0) + entry.get("byteOffset", 0)
    return np.frombuffer(binary, np.float32, entry["count"] * width, start).reshape(entry["count"], width)


def test_glb_has_skin_named_targets_one_animation_and_the_static_texture(tmp_path):
    folder, avatar, made = exported(tmp_path / "anna.glb")
    package = read_package(folder)
    content, binary = gltf_content(tmp_path / "anna.glb")
    mesh = next(mesh for mesh in content["meshes"] if "targetNames" in mesh.get("extras", {}))
    assert tuple(mesh["extras"]["targetNames"]) == made.morph_targets == package.mesh.shape_key_names
    assert all(len(primitive["targets"]) == len(made.morph_targets) for primitive in mesh["primitives"])
    (skin,) = content["skins"]
    joints = {content["nodes"][index]["name"] for index in skin["joints"]}
    assert {"root", "neck", "head", "eye.L", "eye.R"} <= joints
    (animation,) = content["animations"]
    weights = next(channel for channel in animation["channels"] if channel["target"]["path"] == "weights")
    values = accessor(content, binary, animation["samplers"][weights["sampler"]]["output"]).reshape(-1, len(made.morph_targets))
    clip = package.animation
    assert values.shape[0] == clip.num_samples
    assert np.allclose(values, clip.controls_smooth, atol=1e-4)
    assert {channel["target"]["path"] for channel in animation["channels"]} >= {"weights", "rotation", "translation"}
    names = {material["name"]: material for material in content["materials"]}
    assert set(names) == {"Anna.Skin", "Anna.Lashes", "Anna.Eye", "Anna.Cornea", "Anna.Teeth", "Anna.Tongue"}
    assert "baseColorTexture" in names["Anna.Skin"]["pbrMetallicRoughness"] and names["Anna.Cornea"]["alphaMode"] == "BLEND"
    assert len(content["images"]) == 1
    assert not any("controls" in node["name"] for node in content["nodes"])


def validator() -> list[str]:
    """Command that judges a glTF file, or a skip that says why not."""
    node = shutil.which("node")
    if node is None:
        pytest.skip("node is not installed, so the Khronos validator cannot run")
    places = [os.environ.get("AVATAR_GLTF_VALIDATOR", ""), str(REPOSITORY / "node_modules" / "gltf-validator"), str(REPOSITORY / "build" / "node_modules" / "gltf-validator")]
    found = next((place for place in places if place and Path(place, "package.json").is_file()), None)
    if found is None:
        pytest.skip("gltf-validator is not installed: npm install --prefix build gltf-validator, or name its folder in AVATAR_GLTF_VALIDATOR")
    script = "const v=require(process.argv[1]);const fs=require('fs');v.validateBytes(new Uint8Array(fs.readFileSync(process.argv[2]))).then(r=>console.log(JSON.stringify(r)))"
    return [node, "-e", script, found]


def test_the_khronos_validator_finds_no_error(tmp_path):
    command = validator()
    exported(tmp_path / "anna.glb")
    done = subprocess.run([*command, str(tmp_path / "anna.glb")], capture_output=True, text=True, timeout=60, check=True)
    report = json.loads(done.stdout)
    problems = [(message["code"], message["severity"], message.get("pointer")) for message in report["issues"]["messages"] if message["severity"] <= 1]
    assert report["issues"]["numErrors"] == 0, problems
    assert report["info"]["animationCount"] == 1 and report["info"]["hasMorphTargets"] and report["info"]["hasSkins"] and report["info"]["hasTextures"]


def test_a_reimported_glb_moves_as_the_avatar_did(tmp_path):
    _, avatar, _ = exported(tmp_path / "anna.glb")
    bpy.context.scene.frame_set(6)
    bpy.data.objects[avatar.heads[0]].modifiers["Subdivision"].show_viewport = False
    wanted = np.unique(evaluated_vertices(avatar.heads[0]).round(5), axis=0)
    bpy.ops.wm.read_factory_settings(use_empty=True)
    bpy.context.scene.render.fps = 25
    bpy.ops.import_scene.gltf(filepath=str(tmp_path / "anna.glb"))
    bpy.context.scene.frame_set(6 if min(action.frame_range[0] for action in bpy.data.actions) >= 1 else 5)
    head = next(ob for ob in bpy.data.objects if ob.type == "MESH" and ob.data.shape_keys)
    got = evaluated_vertices(head.name)
    nearest = np.sqrt(((wanted[:, None] - got[None]) ** 2).sum(-1)).min(1)
    assert nearest.max() < 2e-4


def test_fbx_comes_back_with_skin_and_moving_shape_keys(tmp_path):
    folder, _, made = exported(tmp_path / "anna.fbx")
    bpy.ops.wm.read_factory_settings(use_empty=True)
    bpy.ops.import_scene.fbx(filepath=str(tmp_path / "anna.fbx"))
    head = next(ob for ob in bpy.data.objects if ob.type == "MESH" and ob.data.shape_keys)
    blocks = head.data.shape_keys.key_blocks
    assert tuple(block.name for block in blocks[1:]) == made.morph_targets
    rig = head.find_armature()
    assert {"root", "neck", "head", "eye.L", "eye.R"} <= {bone.name for bone in rig.data.bones}
    clip = read_package(folder).animation
    column = clip.control_names.index("jawOpen")
    seen = []
    start = int(head.data.shape_keys.animation_data.action.frame_range[0])
    for sample in range(clip.num_samples):
        bpy.context.scene.frame_set(start + sample)
        seen.append(head.evaluated_get(bpy.context.evaluated_depsgraph_get()).data.shape_keys.key_blocks["jawOpen"].value)
    assert np.allclose(seen, clip.controls_smooth[:, column], atol=5e-3)


def test_wrong_places_are_refused(tmp_path):
    error = backend_module("errors").AvatarError
    avatar = import_avatar(bpy.context, dynamic_folder())
    root = bpy.data.objects[avatar.root]
    with pytest.raises(error, match="ends in none of"):
        export_avatar(root, bpy.context.scene, tmp_path / "anna.obj")
    with pytest.raises(error, match="does not exist"):
        export_avatar(root, bpy.context.scene, tmp_path / "nowhere" / "anna.glb")
