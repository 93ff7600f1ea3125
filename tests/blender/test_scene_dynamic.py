"""The dynamic texture in the scene: weights from Geometry Nodes, pictures from Cycles, in every way an avatar can be used."""

from __future__ import annotations

import functools
from pathlib import Path

import bpy
import numpy as np
import pytest
from dynamic_package import dynamic_folder
from flat_render import error_255, lay_flat, picture
from imported import datablocks, package_folder, run_fresh

from backend.package.read import read_package
from backend.package.read_dynamic import read_dynamic_texture
from blender_avatar.scene import import_avatar
from blender_avatar.scene.tile_nodes import weight_attribute
from blender_avatar.scene.tile_plan import MARGIN_PX, plan_tiles

VARIANTS = ({"light": None}, {"light": None, "num_hidden": 24}, {"light": None, "num_components": 16})


@functools.cache
def content(folder: Path):
    """The dynamic texture of a package, its control names, and the controls that the import keys."""
    package = read_package(folder)
    dynamic = read_dynamic_texture(package)
    return dynamic, package.animation.control_names, package.animation.controls_smooth, plan_tiles(package.mesh, dynamic)


def face_weights(name: str) -> dict[str, np.ndarray]:
    """Evaluated weight attributes of a head: name -> (Q, 4)."""
    head = bpy.data.objects[name].evaluated_get(bpy.context.evaluated_depsgraph_get())
    found = {}
    for attribute in head.data.attributes:
        if attribute.name.startswith("tile_weights"):
            values = np.empty(4 * len(attribute.data), np.float32)
            attribute.data.foreach_get("color", values)
            found[attribute.name] = values.reshape(-1, 4)
    return found


def assert_weights(name: str, folder: Path, controls: np.ndarray) -> None:
    """Every face carries the weights of the block that paints on it in each slot."""
    dynamic, names, _, plan = content(folder)
    wanted = dynamic.weights(controls[[names.index(each) for each in dynamic.input_names]])
    found = face_weights(name)
    assert len(found) == plan.num_attributes
    num_checked = 0
    for slot in range(plan.num_slots):
        for block in set(plan.block_of_face[slot].tolist()) - {-1}:
            faces = plan.block_of_face[slot] == block
            for component in range(1, int(dynamic.block_num_components[block])):
                number, channel = divmod(component - 1, 4)
                got = found[weight_attribute(slot, number)][faces, channel]
                assert np.abs(got - wanted[dynamic.block_starts[block] + component]).max() < 1e-4
                num_checked += 1
    assert num_checked >= int((dynamic.block_num_components - 1).sum())


@pytest.mark.parametrize("variant", VARIANTS)
def test_nodes_compute_the_weights_of_every_frame(variant):
    folder = dynamic_folder(**variant)
    avatar = import_avatar(bpy.context, folder)
    controls = content(folder)[2]
    for frame in (1, 5, 12):
        bpy.context.scene.frame_set(frame)
        assert_weights(avatar.heads[0], folder, controls[frame - 1])
    assert np.abs(controls[0] - controls[4]).max() > 0.1
    assert avatar.warnings == ()


@pytest.mark.parametrize("variant", VARIANTS)
def test_cycles_shows_the_texture_of_the_format(variant):
    folder = dynamic_folder(**variant)
    avatar = import_avatar(bpy.context, folder)
    scene, head = bpy.context.scene, bpy.data.objects[avatar.heads[0]]
    head["as_filmed"] = 1.0
    scene.frame_set(4)
    lay_flat(scene, head)
    controls = content(folder)[2][3]
    got = picture(scene)
    assert error_255(got, folder, controls) < 2
    assert error_255(got, folder, controls, amount=0.0) > 30  # the static texture is something else
    head["dynamic"] = 0.5
    head.update_tag()
    assert error_255(picture(scene), folder, controls, amount=0.5) < 2


@pytest.mark.parametrize("is_persistent", [False, True])
def test_an_animation_renders_each_frame_with_its_own_weights(tmp_path, is_persistent):
    from flat_render import load

    folder = dynamic_folder(**VARIANTS[0])
    avatar = import_avatar(bpy.context, folder)
    scene, head = bpy.context.scene, bpy.data.objects[avatar.heads[0]]
    head["as_filmed"] = 1.0
    lay_flat(scene, head)
    scene.frame_start, scene.frame_end = 2, 4
    scene.render.use_persistent_data = is_persistent
    scene.render.filepath = str(tmp_path / "frame_")
    bpy.ops.render.render(animation=True)
    for frame in (2, 3, 4):
        got = load(str(tmp_path / f"frame_{frame:04d}.png"))
        assert error_255(got, folder, content(folder)[2][frame - 1]) < 2, frame
        assert error_255(got, folder, content(folder)[2][frame]) > 4  # the next frame's weights would be wrong


def test_no_handler_no_text_and_the_sliders_work_at_once():
    before = [len(handlers) for handlers in (bpy.app.handlers.frame_change_post, bpy.app.handlers.depsgraph_update_post, bpy.app.handlers.frame_change_pre)]
    folder = dynamic_folder(**VARIANTS[0])
    avatar = import_avatar(bpy.context, folder)
    assert before == [len(handlers) for handlers in (bpy.app.handlers.frame_change_post, bpy.app.handlers.depsgraph_update_post, bpy.app.handlers.frame_change_pre)]
    assert not bpy.data.texts
    rig = bpy.data.objects[avatar.rig]
    rig.animation_data.action = None
    _, names, _, _ = content(folder)
    controls = np.linspace(0, 1, len(names)).astype(np.float32)
    for name, value in zip(names, controls):
        rig.pose.bones["face"][name] = float(value)
    rig.update_tag()
    bpy.context.view_layer.update()
    assert_weights(avatar.heads[0], folder, controls)


def test_after_save_and_reload_in_a_blender_that_knows_nothing_of_us(tmp_path):
    folder = dynamic_folder(**VARIANTS[1])
    avatar = import_avatar(bpy.context, folder)
    head = bpy.data.objects[avatar.heads[0]]
    head["as_filmed"] = 1.0
    lay_flat(bpy.context.scene, head)
    bpy.context.scene.frame_set(1)
    bpy.ops.wm.save_as_mainfile(filepath=str(tmp_path / "a.blend"))
    run_fresh(
        "import bpy, sys\n"
        "bpy.ops.wm.open_mainfile(filepath=sys.argv[1])\n"
        "scene = bpy.context.scene\nscene.frame_set(7)\nscene.render.filepath = sys.argv[2]\nbpy.ops.render.render(write_still=True)\n"
        "assert not [name for name in sys.modules if 'avatar' in name]",
        tmp_path / "a.blend", tmp_path / "fresh.png",
    )  # fmt: skip
    from flat_render import load

    assert error_255(load(str(tmp_path / "fresh.png")), folder, content(folder)[2][6]) < 2


def test_linked_and_overridden_appended_and_renamed(tmp_path):
    folder = dynamic_folder(**VARIANTS[0])
    avatar = import_avatar(bpy.context, folder)
    bpy.ops.wm.save_as_mainfile(filepath=str(tmp_path / "library.blend"))
    _, names, controls, _ = content(folder)
    for is_link in (True, False):
        bpy.ops.wm.read_factory_settings(use_empty=True)
        with bpy.data.libraries.load(str(tmp_path / "library.blend"), link=is_link) as (_, chosen):
            chosen.collections = [avatar.collection]
        collection = chosen.collections[0]
        if is_link:
            collection = collection.override_hierarchy_create(bpy.context.scene, bpy.context.view_layer, do_fully_editable=True)
        if collection.name not in bpy.context.scene.collection.children:
            bpy.context.scene.collection.children.link(collection)
        head = next(ob for ob in collection.all_objects if ob.name.startswith("Anna.head") and (not is_link or ob.library is None))
        rig = next(ob for ob in collection.all_objects if ob.name.startswith("Anna.rig") and (not is_link or ob.library is None))
        head.name, rig.name, head.data.name = "Kopf", "Gerüst", "Netz"
        bpy.context.scene.frame_set(6)
        assert_weights("Kopf", folder, controls[5])
        rig.animation_data.action = None  # the artist's own values
        values = np.full(len(names), 0.3, np.float32)
        for name in names:
            rig.pose.bones["face"][name] = 0.3
        rig.update_tag()
        bpy.context.view_layer.update()
        assert_weights("Kopf", folder, values)
        if is_link:
            bpy.ops.wm.save_as_mainfile(filepath=str(tmp_path / "shot.blend"))
            bpy.ops.wm.open_mainfile(filepath=str(tmp_path / "shot.blend"))
            assert_weights("Kopf", folder, values)


def test_duplicates_and_two_avatars_are_independent():
    folder, other = dynamic_folder(**VARIANTS[0]), dynamic_folder(**VARIANTS[1])
    first = import_avatar(bpy.context, folder)
    for ob in bpy.data.collections[first.collection].objects:
        ob.select_set(True)
    bpy.ops.object.duplicate()
    second = import_avatar(bpy.context, other)
    scene = bpy.context.scene
    scene.frame_set(5)
    _, names, controls, _ = content(folder)
    assert_weights("Anna.head.001", folder, controls[4])
    assert_weights(second.heads[0], other, controls[4])
    copy = bpy.data.objects["Anna.rig.001"]
    copy.animation_data.action = None
    values = np.full(len(names), 0.8, np.float32)
    for name in names:
        copy.pose.bones["face"][name] = 0.8
    copy.update_tag()
    scene.frame_set(6)
    assert_weights("Anna.head.001", folder, values)
    assert_weights("Anna.head", folder, controls[5])
    assert_weights(second.heads[0], other, controls[5])


def test_undo_brings_the_weights_back():
    folder = dynamic_folder(**VARIANTS[0])
    avatar = import_avatar(bpy.context, folder)
    bpy.context.preferences.edit.use_global_undo = True
    bpy.ops.ed.undo_push(message="imported")
    rig = bpy.data.objects[avatar.rig]
    rig.animation_data.action = None
    rig.pose.bones["face"]["jawOpen"] = 1.0
    bpy.ops.ed.undo_push(message="changed")
    bpy.ops.ed.undo()
    bpy.context.scene.frame_set(3)
    assert_weights(avatar.heads[0], folder, content(folder)[2][2])
    bpy.ops.ed.redo()
    assert bpy.data.objects[avatar.rig].animation_data.action is None
    assert bpy.data.objects[avatar.rig].pose.bones["face"]["jawOpen"] == 1.0


def test_hidden_or_excluded_helpers_do_not_stop_it():
    folder = dynamic_folder(**VARIANTS[1])
    avatar = import_avatar(bpy.context, folder)
    bpy.data.objects["Anna.controls"].hide_viewport = bpy.data.objects["Anna.controls"].hide_render = True
    bpy.context.scene.frame_set(9)
    assert_weights(avatar.heads[0], folder, content(folder)[2][8])


def test_what_is_made_and_that_everything_is_packed():
    folder = dynamic_folder(**VARIANTS[0])
    avatar = import_avatar(bpy.context, folder)
    head = bpy.data.objects[avatar.heads[0]]
    assert [modifier.type for modifier in head.modifiers] == ["ARMATURE", "NODES", "SUBSURF"]
    assert {image.name: image.packed_file is not None for image in bpy.data.images} == {"Anna.albedo": True, "Anna.mask": True, "Anna.tiles": True}
    tiles, mask = bpy.data.images["Anna.tiles"], bpy.data.images["Anna.mask"]
    assert tiles.is_float and tiles.use_half_precision and tiles.colorspace_settings.name == mask.colorspace_settings.name == "Non-Color"
    assert {group.name for group in bpy.data.node_groups} == {"Anna.VA Face", "Anna.VA Tiles", "Anna.VA Weights"}
    for group in bpy.data.node_groups:
        assert all(node.label for node in group.nodes), group.name
    sockets = [item.name for item in bpy.data.node_groups["Anna.VA Face"].interface.items_tree if item.in_out == "INPUT"]
    assert sockets == ["Base Color", "Mask", "Dynamic", "Original light", "Roughness", "Specular", "Subsurface", "Subsurface Scale"]
    assert head["dynamic"] == 1.0 and head["as_filmed"] == 0.0
    controls = bpy.data.objects["Anna.controls"]
    assert len(controls.data.shape_keys.key_blocks) - 1 == len(content(folder)[1])
    assert max(abs(side) for corner in controls.bound_box for side in corner) < 0.02  # it does not spread the view
    assert controls.parent.name == avatar.rig


def test_an_avatar_without_dynamic_texture_has_none_of_it():
    avatar = import_avatar(bpy.context, package_folder())
    head = bpy.data.objects[avatar.heads[0]]
    assert [modifier.type for modifier in head.modifiers] == ["ARMATURE", "SUBSURF"] and "dynamic" not in head
    assert {group.name for group in bpy.data.node_groups} == {"Anna.VA Face"}


def test_a_failing_import_leaves_nothing(monkeypatch):
    from blender_avatar.scene import dynamic_texture

    monkeypatch.setattr(dynamic_texture, "add_dynamic_texture", lambda *_: 1 / 0)
    before = datablocks()
    with pytest.raises(ZeroDivisionError):
        import_avatar(bpy.context, dynamic_folder(**VARIANTS[0]))
    assert datablocks() == before and not bpy.data.node_groups


def test_every_patch_has_its_border_and_no_face_sees_two_blocks_in_one_slot():
    from blender_avatar.scene.tile_images import tile_pixels

    dynamic, _, _, plan = content(dynamic_folder(**VARIANTS[2]))
    pixels = tile_pixels(dynamic, plan)
    assert pixels.shape[:2] == plan.size_px[::-1]
    taken = np.zeros(plan.cell_px[::-1], int)
    for patch, tile in enumerate(dynamic.tiles):
        x, y = plan.corners_px[patch]
        height, width = tile.shape[1:3]
        taken[y - MARGIN_PX : y + height + MARGIN_PX, x - MARGIN_PX : x + width + MARGIN_PX] += 1
        assert np.array_equal(pixels[y : y + height, x : x + width], tile[0, ::-1].astype(np.float32))
        assert np.array_equal(pixels[y - MARGIN_PX, x], tile[0, -1, 0].astype(np.float32))  # the corner, dilated downwards
    assert taken.max() == 1
    assert plan.num_attributes <= 14


@pytest.mark.slow
def test_eevee_shows_the_texture_of_the_format():
    bpy.context.preferences.system.anisotropic_filter = "FILTER_0"  # the software renderer gets it wrong where a lookup stands still
    folder = dynamic_folder(**VARIANTS[2])
    avatar = import_avatar(bpy.context, folder)
    scene, head = bpy.context.scene, bpy.data.objects[avatar.heads[0]]
    head["as_filmed"] = 1.0
    scene.frame_set(4)
    lay_flat(scene, head, "BLENDER_EEVEE_NEXT" if bpy.app.version < (5, 0, 0) else "BLENDER_EEVEE")
    for frame in (4, 8):  # graphics cards interpolate with 8 bits: the darkest places differ most on the sRGB curve
        scene.frame_set(frame)
        got, controls = picture(scene), content(folder)[2][frame - 1]
        assert error_255(got, folder, controls, share=0.995) < 2
        assert error_255(got, folder, controls) < 8
