"""A person delivers an avatar with the mouse: sees the dynamic texture move in the viewport, takes the clip's light, bakes, takes it back.

The avatar is the one of the tests in ``tests/blender``: random, smooth tiles on a head made by code.
"""

import sys
import time

import cv2
import numpy as np
import pytest
from gui_person import ROOT, blender_with_extension

pytestmark = pytest.mark.slow  # a start of Blender of its own

SHADERS_LIMIT_S = 600
"""For compiling the shaders without a graphics card; the machine may be busy with other tests."""
KEYS = "bpy.data.objects['Anna.head'].data.shape_keys"


@pytest.fixture(scope="module")
def avatar(rootfs, tmp_path_factory):
    sys.path.insert(0, str(ROOT / "tests" / "blender"))
    from dynamic_package import write_dynamic_package

    return write_dynamic_package(tmp_path_factory.mktemp("take") / "Anna.avatar")


@pytest.fixture(scope="module")
def person(rootfs, avatar, tmp_path_factory):
    with blender_with_extension(rootfs, tmp_path_factory.mktemp("gui_deliver"), "blender_deliver.log") as someone:
        someone.blender.run(
            "for ob in list(bpy.data.objects): bpy.data.objects.remove(ob)\n"
            "bpy.context.scene.world = None\n"
            "bpy.context.preferences.system.anisotropic_filter = 'FILTER_0'\n"
            f"window, area, _ = sidebar_region()\nwith bpy.context.temp_override(window=window, area=area): bpy.ops.video_avatar.import_avatar('EXEC_DEFAULT', True, directory={str(avatar)!r})\n"
            "space = area.spaces.active; space.region_3d.view_perspective = 'CAMERA'; space.overlay.show_overlays = False\n"
            "bpy.data.objects['Anna.head']['as_filmed'] = 1.0"
        )
        someone.open_tab()
        yield someone


def test_buttons_of_deliver(person):
    blender = person.blender
    person.press("video_avatar.light_world")
    assert blender.value("bpy.context.scene.world.name") == "Anna.light"
    person.rest()
    person.screen.key("ctrl+z")
    blender.wait_for("bpy.context.scene.world is None", 10)
    person.screen.key("ctrl+shift+z")
    blender.wait_for("bpy.context.scene.world is not None", 10)
    blender.run("bpy.ops.video_avatar.bake_keyframes('EXEC_DEFAULT', True)")  # its panel is closed at first
    assert blender.value(f"{KEYS}.animation_data.action is not None and all(d.mute for d in {KEYS}.animation_data.drivers)")
    person.rest()
    person.screen.key("ctrl+z")
    blender.wait_for(f"{KEYS}.animation_data.action is None and not any(d.mute for d in {KEYS}.animation_data.drivers)", 10)
    person.picture("deliver")
    assert "Traceback" not in blender.log_path.read_text(errors="replace")


def shown_face(person, name, limit_s=SHADERS_LIMIT_S):
    """The head in the 3D view, once it stands still (the first drawing compiles the shaders)."""
    deadline = time.monotonic() + limit_s
    before = None
    while True:
        picture = cv2.imread(str(person.picture(name)))[270:430, 450:570].astype(int)
        if before is not None and np.abs(picture - before).mean() < 0.2 and picture.std() > 8:
            return picture
        assert time.monotonic() < deadline, "the view does not come to rest"
        before = picture
        time.sleep(2)


def test_the_texture_moves_in_the_viewport(person):
    blender = person.blender
    blender.run("_, area, _ = sidebar_region(); area.spaces.active.shading.type = 'MATERIAL'")
    blender.run("result = 0", limit_s=SHADERS_LIMIT_S)  # answers after the first drawing
    first = shown_face(person, "dynamic_frame_1")
    blender.run("bpy.context.scene.frame_set(1); bpy.data.objects['Anna.head']['dynamic'] = 0.0; bpy.data.objects['Anna.head'].update_tag()")
    static = shown_face(person, "static_frame_1")
    assert np.abs(first - static).mean() > 3, "the dynamic texture is not seen"
    blender.run("bpy.data.objects['Anna.head']['dynamic'] = 1.0; bpy.data.objects['Anna.head'].update_tag()")
    assert np.abs(shown_face(person, "dynamic_again") - first).mean() < 1
