"""What an import leaves in the file: structure, names, materials, keys, facts; and what it never does."""

from __future__ import annotations

import json
import shutil
from fractions import Fraction
from pathlib import Path

import av
import bpy
import numpy as np
import pytest
from imported import curves_of, datablocks, evaluated_vertices, key_value, package_folder, rig, run_fresh
from synthetic_take import PORTRAIT, write_take

from backend.package.read import read_package
from blender_avatar.scene import import_avatar, match_clip_colours, match_scene_to_clip

MATERIALS = ["Anna.Skin", "Anna.Lashes", "Anna.Eye", "Anna.Cornea", "Anna.Teeth", "Anna.Tongue"]


def test_structure():
    avatar = import_avatar(bpy.context, package_folder())
    collection = bpy.data.collections["Anna"]
    assert {ob.name: ob.parent and ob.parent.name for ob in collection.objects} == {
        "Anna": None, "Anna.rig": "Anna", "Anna.head": "Anna.rig", "Anna.camera": "Anna",
    }
    for name in ("Anna", "Anna.rig", "Anna.head"):
        assert np.array_equal(np.array(bpy.data.objects[name].matrix_world), np.eye(4)), name
    assert bpy.context.view_layer.objects.active.name == avatar.rig
    points = evaluated_vertices(avatar.heads[0])
    eyes = [bpy.data.objects[avatar.rig].data.bones[bone].head_local for bone in ("eye.L", "eye.R")]
    assert eyes[0].x > 0 > eyes[1].x  # left is the subject's left
    assert eyes[0].y < points[:, 1].mean()  # the face looks along -Y
    assert 0.1 < np.ptp(points[:, 2]) < 0.4 and points[:, 2].max() > 0.2  # Z up, metres


def test_mesh_keeps_the_order_and_wears_the_parts():
    package = read_package(package_folder())
    avatar = import_avatar(bpy.context, package.folder)
    head = bpy.data.objects[avatar.heads[0]]
    mesh = head.data
    assert len(mesh.vertices) == package.mesh.num_vertices and len(mesh.polygons) == len(package.mesh.quads)
    assert [slot.material.name for slot in head.material_slots] == MATERIALS
    worn = {mesh.materials[face.material_index].name for face in mesh.polygons}
    assert worn == set(MATERIALS)
    corners = np.concatenate([face[face >= 0] for face in package.mesh.quads])
    assert [loop.vertex_index for loop in mesh.loops] == corners.tolist()
    uv = np.array([tuple(item.vector) for item in mesh.uv_layers["UVMap"].uv])
    assert np.allclose(uv, package.mesh.uv[package.mesh.quad_uv[package.mesh.quads >= 0]])
    assert all(face.use_smooth for face in mesh.polygons)
    assert [(modifier.type, modifier.name) for modifier in head.modifiers] == [("ARMATURE", "Armature"), ("SUBSURF", "Subdivision")]
    assert not head.modifiers[0].use_deform_preserve_volume
    assert (head.modifiers[1].levels, head.modifiers[1].render_levels) == (0, 1)
    weights = np.zeros_like(package.mesh.skin_weights)
    for vertex in mesh.vertices:
        for group in vertex.groups:
            weights[vertex.index, group.group] = group.weight
    assert np.abs(weights - package.mesh.skin_weights).max() < 1e-6


def test_action_has_a_key_per_decoded_frame():
    package = read_package(package_folder())
    avatar = import_avatar(bpy.context, package.folder)
    armature = bpy.data.objects[avatar.rig]
    action = armature.animation_data.action
    assert action.name == "Anna|clip" and action.use_fake_user and action.use_frame_range
    assert (action.frame_start, action.frame_end) == (1, 12)
    curves = {(curve.data_path, curve.array_index): curve for curve in curves_of(action)}
    assert len(curves) == 7 + 2 * 4 + len(rig().expression_names)
    for curve in curves.values():
        assert [point.co.x for point in curve.keyframe_points] == list(range(1, 13))
        assert {point.interpolation for point in curve.keyframe_points} == {"LINEAR"}
    jaw = curves['pose.bones["face"]["jawOpen"]', 0]
    wanted = package.animation.controls_smooth[:, package.animation.control_names.index("jawOpen")]
    assert np.allclose([point.co.y for point in jaw.keyframe_points], wanted)
    (track,) = armature.animation_data.nla_tracks
    assert track.mute and track.strips[0].action == action


def test_quaternion_keys_never_jump(tmp_path):
    from synthetic_take import checker_texture, synthetic_take

    from backend.geometry.rotations import matrices_from_axis_angles
    from backend.package.write import write_package

    capture, track = synthetic_take(rig(), num_frames=40)
    turns = np.zeros((40, 3))
    turns[:, 1] = np.linspace(-3.5, 3.5, 40)  # beyond half a turn: wrapped quaternions would change sign
    placed = track.world_from_root.copy()
    placed[:, :3, :3] = matrices_from_axis_angles(turns)
    texture, seen = checker_texture()
    folder = write_package(
        tmp_path / "turn.avatar", name="Turn", rig=rig(), track=track.replace(world_from_root=placed, world_from_root_smooth=placed), capture=capture,
        texture=texture, seen=seen, background_mp4=None, consent=False,
    )  # fmt: skip
    avatar = import_avatar(bpy.context, folder)
    action = bpy.data.actions[avatar.action]
    keys = np.array([[point.co.y for point in curve.keyframe_points] for curve in curves_of(action) if curve.data_path == 'pose.bones["root"].rotation_quaternion'])
    assert (np.abs(np.diff(keys, axis=1)) < 0.12).all()


def test_variable_rate_keys_sit_at_their_times(tmp_path):
    times = np.array([0, 1, 2, 4, 5, 7, 8, 9, 11, 12, 13, 14]) / 30 + 0.5
    fps = 11 / (times[-1] - times[0])
    folder = write_take(tmp_path / "vfr.avatar", rig(), times_s=times, fps=float(fps))
    avatar = import_avatar(bpy.context, folder)
    curve = curves_of(bpy.data.actions[avatar.action])[0]
    assert np.allclose([point.co.x for point in curve.keyframe_points], 1 + (times - times[0]) * fps, atol=1e-5)
    # rounded times of a constant-rate clip (milliseconds) give whole frames
    rounded = np.round(np.arange(12) / 29.97, 2)
    folder = write_take(tmp_path / "rounded.avatar", rig(), times_s=rounded, fps=29.97)
    avatar = import_avatar(bpy.context, folder)
    curve = curves_of(bpy.data.actions[avatar.action])[0]
    assert [point.co.x for point in curve.keyframe_points] == list(range(1, 13))


def test_taken_names_get_a_number_and_avatars_stay_apart():
    first = import_avatar(bpy.context, package_folder())
    before = datablocks()
    second = import_avatar(bpy.context, package_folder())
    assert (second.name, second.rig, second.heads, second.action) == ("Anna.001", "Anna.001.rig", ("Anna.001.head",), "Anna.001|clip")
    for kind, names in before.items():
        new = datablocks()[kind] - names
        assert names <= datablocks()[kind] and all(name.startswith("Anna.001") for name in new), kind
    third = import_avatar(bpy.context, package_folder())
    assert third.name == "Anna.002"

    bpy.context.scene.frame_set(5)
    other = evaluated_vertices(second.heads[0])
    for armature in (bpy.data.objects[first.rig],):
        armature.animation_data.action = None
        armature.pose.bones["face"]["jawOpen"] = 1.0
        armature.update_tag()
    bpy.context.view_layer.update()
    assert key_value(first.heads[0], "jawOpen") == 1.0
    assert np.array_equal(evaluated_vertices(second.heads[0]), other)
    head = bpy.data.objects[second.heads[0]]
    owners = {variable.targets[0].id.name for curve in head.data.shape_keys.animation_data.drivers for variable in curve.driver.variables}
    assert owners == {second.rig}
    assert {slot.material.name for slot in head.material_slots} == {name.replace("Anna", "Anna.001") for name in MATERIALS}


def test_a_foreign_object_of_that_name_is_left_alone():
    cube = bpy.data.objects.new("Anna.head", None)
    bpy.context.scene.collection.objects.link(cube)
    avatar = import_avatar(bpy.context, package_folder())
    assert avatar.name == "Anna.001" and bpy.data.objects["Anna.head"] == cube
    assert import_avatar(bpy.context, package_folder(), name="Bert").name == "Bert"


def test_scene_is_matched_only_when_empty_or_asked():
    folder = package_folder(size_hw=PORTRAIT, fps=29.97)
    scene = bpy.context.scene
    scene.collection.objects.link(bpy.data.objects.new("mine", None))
    scene.view_settings.view_transform = "AgX"
    before = (scene.render.fps, scene.render.resolution_x, scene.frame_end, scene.camera)
    avatar = import_avatar(bpy.context, folder)
    assert not avatar.is_scene_matched and before == (scene.render.fps, scene.render.resolution_x, scene.frame_end, scene.camera)
    assert scene.view_settings.view_transform == "AgX"

    changes = match_scene_to_clip(scene)
    assert any("resolution x" in line for line in changes)
    assert (scene.render.fps, scene.frame_start, scene.frame_end) == (30, 1, 12)
    assert scene.render.fps / scene.render.fps_base == pytest.approx(29.97, rel=1e-6)
    assert (scene.render.resolution_x, scene.render.resolution_y) == (360, 640) and scene.camera.name == avatar.camera
    assert match_scene_to_clip(scene) == []
    assert match_clip_colours(scene) != [] and match_clip_colours(scene) == []
    assert (scene.view_settings.view_transform, scene.view_settings.look, scene.view_settings.exposure) == ("Standard", "None", 0)


def test_an_empty_scene_is_matched():
    assert import_avatar(bpy.context, package_folder()).is_scene_matched
    assert bpy.context.scene.camera is not None and bpy.context.scene.view_settings.view_transform == "Standard"
    bpy.ops.wm.read_factory_settings(use_empty=True)
    assert not import_avatar(bpy.context, package_folder(), match=False).is_scene_matched
    assert bpy.context.scene.camera is None


def test_import_into_another_scene_and_from_edit_mode():
    other = bpy.data.scenes.new("other")
    mesh = bpy.data.objects.new("edited", bpy.data.meshes.new("edited"))
    bpy.context.scene.collection.objects.link(mesh)
    bpy.context.view_layer.objects.active = mesh
    avatar = import_avatar(other, package_folder())
    assert avatar.root in other.objects and avatar.root not in bpy.context.scene.objects
    bpy.ops.object.mode_set(mode="EDIT")
    second = import_avatar(bpy.context, package_folder())
    assert second.root in bpy.context.scene.objects and len(bpy.data.objects[second.rig].data.bones) == 7


def test_facts_and_no_paths(tmp_path):
    avatar = import_avatar(bpy.context, package_folder())
    root = bpy.data.objects[avatar.root]
    assert root["consent"] is True and "CC0" in root["licences"] and root["source_file"] == "clip.mp4" and len(root["source_sha256"]) == 64
    (image,) = [image for image in bpy.data.images if image.name.startswith("Anna")]
    assert image.packed_file is not None and image.filepath == "//Anna.albedo.png" and tuple(image.size) == (64, 64)
    assert image.colorspace_settings.name == "sRGB"
    bpy.ops.wm.save_as_mainfile(filepath=str(tmp_path / "a.blend"), compress=False)
    content = (tmp_path / "a.blend").read_bytes()
    for path in (str(package_folder()), "/somewhere/private", "avatar-test-"):
        assert path.encode() not in content


def test_texture_is_the_one_of_the_package():
    import cv2

    package = read_package(package_folder())
    import_avatar(bpy.context, package.folder)
    image = bpy.data.images["Anna.albedo"]
    pixels = np.array(image.pixels[:]).reshape(64, 64, 4)[::-1, :, :3]
    assert np.abs(np.round(pixels * 255) - cv2.imread(str(package.texture.albedo))[..., ::-1]).max() == 0


def test_nodes_are_labelled():
    import_avatar(bpy.context, package_folder())
    for name in MATERIALS:
        tree = bpy.data.materials[name].node_tree
        assert all(node.label for node in tree.nodes), name
        output = next(node for node in tree.nodes if node.type == "OUTPUT_MATERIAL")
        assert output.inputs["Surface"].is_linked


FRESH = """
import bpy, json, sys
import numpy as np
bpy.ops.wm.open_mainfile(filepath=sys.argv[1])
assert not bpy.context.preferences.filepaths.use_scripts_auto_execute
assert not any("blender_avatar" in name or "video_avatar" in name for name in sys.modules)
out = []
for frame in (1, 6, 11):
    bpy.context.scene.frame_set(frame)
    head = bpy.data.objects["Anna.head"].evaluated_get(bpy.context.evaluated_depsgraph_get())
    mesh = head.to_mesh()
    points = np.empty(3 * len(mesh.vertices), np.float32)
    mesh.vertices.foreach_get("co", points)
    out.append([float(points.sum(dtype=np.float64)), float(np.abs(points).sum(dtype=np.float64)), float(points[::7].std())])
print("RESULT" + json.dumps(out))
"""


def test_a_saved_file_plays_without_us(tmp_path):
    avatar = import_avatar(bpy.context, package_folder())
    wanted = []
    for frame in (1, 6, 11):
        bpy.context.scene.frame_set(frame)
        points = evaluated_vertices(avatar.heads[0]).astype(np.float32).ravel()
        wanted.append([points.sum(dtype=np.float64), np.abs(points).sum(dtype=np.float64), points[::7].std()])
    assert np.ptp(np.array(wanted)[:, 1]) > 0.1
    bpy.ops.wm.save_as_mainfile(filepath=str(tmp_path / "a.blend"))
    out = run_fresh(FRESH, tmp_path / "a.blend")
    assert np.allclose(json.loads(out.split("RESULT")[1]), wanted, atol=1e-3)


def test_controls_survive_a_library_override(tmp_path):
    import_avatar(bpy.context, package_folder())
    bpy.data.objects["Anna.rig"].animation_data.action = None
    bpy.ops.wm.save_as_mainfile(filepath=str(tmp_path / "library.blend"))
    bpy.ops.wm.read_factory_settings(use_empty=True)
    with bpy.data.libraries.load(str(tmp_path / "library.blend"), link=True) as (_, wanted):
        wanted.collections = ["Anna"]
    linked = bpy.data.collections["Anna"]
    override = linked.override_hierarchy_create(bpy.context.scene, bpy.context.view_layer)
    armature = next(ob for ob in override.all_objects if ob.type == "ARMATURE")
    head = next(ob for ob in override.all_objects if ob.type == "MESH")
    armature.pose.bones["face"]["jawOpen"] = 0.625
    bpy.ops.wm.save_as_mainfile(filepath=str(tmp_path / "shot.blend"))
    bpy.ops.wm.open_mainfile(filepath=str(tmp_path / "shot.blend"))
    armature = next(ob for ob in bpy.data.objects if ob.type == "ARMATURE" and ob.override_library)
    head = next(ob for ob in bpy.data.objects if ob.type == "MESH" and ob.override_library)
    assert armature.pose.bones["face"]["jawOpen"] == 0.625
    depsgraph = bpy.context.evaluated_depsgraph_get()
    assert head.evaluated_get(depsgraph).data.shape_keys.key_blocks["jawOpen"].value == pytest.approx(0.625)


def _grey_clip(path: Path, num_frames: int, size_hw: tuple[int, int]) -> None:
    """Frame k is evenly grey 20 + 15 k."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=Fraction(25))
        stream.height, stream.width, stream.pix_fmt = *size_hw, "yuv420p"
        stream.options = {"crf": "1", "g": "1"}
        for index in range(num_frames):
            frame = av.VideoFrame.from_ndarray(np.full((*size_hw, 3), 20 + 15 * index, np.uint8), "rgb24")
            for packet in stream.encode(frame):
                container.mux(packet)
        for packet in stream.encode(None):
            container.mux(packet)


def test_background_shows_the_frame_of_its_key(tmp_path):
    _grey_clip(tmp_path / "clip.mp4", 12, (90, 160))
    folder = write_take(tmp_path / "anna.avatar", rig(), background_mp4=tmp_path / "clip.mp4", size_hw=(90, 160))
    bpy.ops.wm.save_as_mainfile(filepath=str(tmp_path / "scene.blend"))
    avatar = import_avatar(bpy.context, folder)
    camera = bpy.data.objects[avatar.camera].data
    (background,) = camera.background_images
    assert camera.show_background_images and background.clip.name == avatar.background
    assert background.clip.filepath == "//anna.avatar/animation/background.mp4"
    assert background.clip.frame_duration == 12 and tuple(background.clip.size) == (160, 90)

    scene = bpy.context.scene
    if hasattr(scene, "compositing_node_group"):  # Blender 5
        tree = scene.compositing_node_group = bpy.data.node_groups.new("show", "CompositorNodeTree")
        tree.interface.new_socket("Image", in_out="OUTPUT", socket_type="NodeSocketColor")
        output = tree.nodes.new("NodeGroupOutput")
    else:
        scene.use_nodes = True
        tree = scene.node_tree
        tree.nodes.clear()
        output = tree.nodes.new("CompositorNodeComposite")
    source = tree.nodes.new("CompositorNodeMovieClip")
    source.clip = background.clip
    tree.links.new(source.outputs["Image"], output.inputs["Image"])
    scene.render.engine, scene.render.resolution_percentage = "BLENDER_WORKBENCH", 100
    scene.render.image_settings.file_format = "PNG"
    for ob in scene.objects:
        ob.hide_render = True
    for frame in (1, 5, 12):
        scene.frame_set(frame)
        scene.render.filepath = str(tmp_path / f"{frame}.png")
        bpy.ops.render.render(write_still=True)
        image = bpy.data.images.load(scene.render.filepath)
        grey = np.array(image.pixels[:]).reshape(-1, 4)[:, 0].mean() * 255
        assert grey == pytest.approx(20 + 15 * (frame - 1), abs=4), frame


def test_an_unreadable_background_is_left_out(tmp_path):
    (tmp_path / "clip.mp4").write_bytes(b"no film at all" * 50)
    folder = write_take(tmp_path / "anna.avatar", rig(), background_mp4=tmp_path / "clip.mp4")
    avatar = import_avatar(bpy.context, folder)
    assert avatar.background is None and "background" in avatar.warnings[0] and not bpy.data.movieclips


def _tamper_index(folder: Path, **changes: object) -> None:
    index = json.loads((folder / "avatar.json").read_text())
    index.update(changes)
    (folder / "avatar.json").write_text(json.dumps(index))


def _damage(folder: Path, kind: str) -> None:
    mesh = folder / "mesh/head.npz"
    if kind == "no index":
        (folder / "avatar.json").unlink()
    elif kind == "missing file":
        (folder / "texture/albedo.png").unlink()
    elif kind == "truncated":
        mesh.write_bytes(mesh.read_bytes()[:-100])
    elif kind == "tampered":
        content = bytearray(mesh.read_bytes())
        content[len(content) // 2] ^= 1
        mesh.write_bytes(content)
    elif kind == "newer":
        _tamper_index(folder, format_version=2)
    elif kind == "outside":
        index = json.loads((folder / "avatar.json").read_text())
        index["assets"][0]["files"][0]["path"] = "../mesh/head.npz"
        (folder / "avatar.json").write_text(json.dumps(index))


@pytest.mark.parametrize("kind", ["no index", "missing file", "truncated", "tampered", "newer", "outside"])
def test_a_damaged_package_creates_nothing(tmp_path, kind):
    from blender_avatar.backend_link import backend_module

    folder = tmp_path / "anna.avatar"
    shutil.copytree(package_folder(), folder)
    _damage(folder, kind)
    before = datablocks()
    with pytest.raises(backend_module("errors").AvatarError) as caught:
        import_avatar(bpy.context, folder)
    assert caught.value.code in ("bad_input", "asset_missing") and caught.value.hint
    assert datablocks() == before


def test_a_failing_import_leaves_nothing_behind(monkeypatch):
    from blender_avatar.scene import importer

    def fail(*args, **kwargs):
        raise RuntimeError("out of memory")

    before = datablocks()
    monkeypatch.setattr(importer, "create_camera", fail)  # nearly at the end
    with pytest.raises(RuntimeError):
        import_avatar(bpy.context, package_folder())
    assert datablocks() == before


def test_lashes_know_root_tip_and_hair():
    package = read_package(package_folder())
    avatar = import_avatar(bpy.context, package.folder)
    mesh = bpy.data.objects[avatar.heads[0]].data
    lashes = np.unique(package.mesh.quads[package.mesh.quad_parts == package.mesh.part_names.index("lashes")])
    values = {}
    for name in ("lash_strand", "lash_tip"):
        values[name] = np.empty(len(mesh.vertices), np.float32)
        mesh.attributes[name].data.foreach_get("value", values[name])
        assert not values[name][np.setdiff1d(np.arange(len(mesh.vertices)), lashes)].any()
    out_of_face = package.mesh.vertices[lashes, 2]  # the tips of the procedural lashes stand out of the face
    assert np.corrcoef(values["lash_tip"][lashes], out_of_face)[0, 1] > 0.99
    assert set(values["lash_tip"][lashes]) == {0, 1}
    assert 30 < values["lash_strand"].max() < 70  # 28 mm at 0.6 mm


@pytest.mark.parametrize("name", ["Ä" * 60, "a|b", "  ", "Anna.001", "x.rig"])
def test_unusual_names(name):
    first, second = (import_avatar(bpy.context, package_folder(), name=name) for _ in range(2))
    for avatar in (first, second):
        assert (avatar.collection, avatar.root, avatar.rig, avatar.heads[0]) == (avatar.name, avatar.name, f"{avatar.name}.rig", f"{avatar.name}.head")
        assert avatar.action == f"{avatar.name}|clip" and avatar.name in bpy.data.collections
    assert second.name == f"{first.name}.001"


def test_a_single_frame(tmp_path):
    avatar = import_avatar(bpy.context, write_take(tmp_path / "one.avatar", rig(), num_frames=1))
    action = bpy.data.actions[avatar.action]
    assert all(len(curve.keyframe_points) == 1 for curve in curves_of(action)) and action.frame_end > action.frame_start
    assert (bpy.context.scene.frame_start, bpy.context.scene.frame_end) == (1, 1)


def test_a_missing_view_transform_is_said(monkeypatch):
    from types import SimpleNamespace

    class View:
        view_transform, look, exposure, gamma = "ACES", "None", 0.0, 1.0

        def __setattr__(self, field, value):
            raise TypeError(f'enum "{value}" not found')

    scene = SimpleNamespace(view_settings=View(), display_settings=SimpleNamespace(display_device="sRGB"))
    assert match_clip_colours(scene) == ["view transform: Standard is not available here"]


def test_a_duplicate_of_the_whole_is_independent():
    avatar = import_avatar(bpy.context, package_folder())
    for ob in bpy.data.collections[avatar.collection].objects:
        ob.select_set(True)
    bpy.ops.object.duplicate()
    copy = bpy.data.objects["Anna.head.001"]
    owners = {variable.targets[0].id.name for curve in copy.data.shape_keys.animation_data.drivers for variable in curve.driver.variables}
    assert owners == {"Anna.rig.001"} and copy.modifiers[0].object.name == "Anna.rig.001"
    bpy.data.objects["Anna.rig"].animation_data.action = None
    bpy.data.objects["Anna.rig"].pose.bones["face"]["jawOpen"] = 1.0
    bpy.data.objects["Anna.rig"].update_tag()
    bpy.context.scene.frame_set(3)
    wanted = read_package(package_folder()).animation
    assert key_value("Anna.head.001", "jawOpen") == pytest.approx(float(wanted.controls_smooth[2, wanted.control_names.index("jawOpen")]), abs=1e-5)
    assert key_value("Anna.head", "jawOpen") == 1.0
