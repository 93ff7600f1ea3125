"""A person corrects a track with the mouse: sees the weak frames, goes there, pins a point, tracks again, takes it back, smooths.

Tracking itself is done by ``tests/blender/fake_tracker.py``, which hands out a prepared patch: here it is about what the person sees and clicks.
"""

import json
import shutil
import time

import cv2
import numpy as np
import pytest
from gui_machine import HEIGHT_PX
from gui_person import OUTPUT, ROOT, blender_with_extension
from procedural_rig import procedural_rig
from synthetic_take import checker_texture, synthetic_take

pytestmark = pytest.mark.slow  # a second start of Blender

STATE = "wm.video_avatar"
SETTINGS = "bpy.context.scene.video_avatar"
NUM_FRAMES = 48
WEAK, LOST = (10, 11, 12), (30, 31)
VERTEX = 500
JAW = '[point.co.y for curve in bpy.data.actions["Anna|clip"].fcurves if "jawOpen" in curve.data_path for point in curve.keyframe_points]'


@pytest.fixture(scope="module")
def avatar(rootfs, tmp_path_factory):
    from backend.package.write import write_package

    rig = procedural_rig()
    capture, track = synthetic_take(rig, num_frames=NUM_FRAMES)
    confidence = np.full(NUM_FRAMES, 0.95, np.float32)
    confidence[list(WEAK)], confidence[list(LOST)] = 0.3, 0.0
    is_tracked = confidence > 0
    texture, seen = checker_texture()
    return write_package(
        tmp_path_factory.mktemp("take") / "Anna.avatar", name="Anna", rig=rig, track=track.replace(confidence=confidence, is_tracked=is_tracked),
        capture=capture, texture=texture, seen=seen, background_mp4=None, consent=True,
    )  # fmt: skip


@pytest.fixture(scope="module")
def worker(avatar, tmp_path_factory):
    """A backend folder whose worker hands out a patch: the mouth open, the head where it was."""
    from backend.package.read import read_package

    folder = tmp_path_factory.mktemp("worker")
    shutil.copy(ROOT / "tests" / "blender" / "fake_tracker.py", folder / "__main__.py")
    (folder / "worker.py").write_text("")  # by this file the add-on knows a backend folder
    clip = read_package(avatar).animation
    here = slice(WEAK[0], WEAK[-1] + 1)
    arrays = {key: getattr(clip, key)[here] for key in ("time_index", "joint_rotations", "world_from_root", "joint_rotations_smooth", "world_from_root_smooth")}
    for suffix in ("", "_smooth"):
        controls = getattr(clip, f"controls{suffix}")[here].copy()
        controls[:, clip.control_names.index("jawOpen")] = 0.875
        arrays[f"controls{suffix}"] = controls
    np.savez(folder / "patch.npz", format_version=np.array(1), control_names=np.array(clip.control_names), confidence=np.full(len(WEAK), 0.9, np.float32), **arrays)
    (folder / "fake_tracker.json").write_text(json.dumps({"patch": str(folder / "patch.npz")}))
    return folder


@pytest.fixture(scope="module")
def person(rootfs, avatar, worker, tmp_path_factory):
    with blender_with_extension(rootfs, tmp_path_factory.mktemp("gui_track"), "blender_track.log") as someone:
        blender = someone.blender
        blender.run(f"bpy.context.preferences.addons['bl_ext.user_default.video_avatar'].preferences.backend_folder = {str(worker)!r}")
        blender.run(
            "import sys; protocol = sys.modules['bl_ext.user_default.video_avatar.backend.protocol']\n"
            "if 'track_again' not in protocol.JOB_KINDS: protocol.JOB_KINDS += ('track_again',)"
        )
        blender.run(
            "for ob in list(bpy.data.objects): bpy.data.objects.remove(ob)\n"
            f"window, area, _ = sidebar_region()\nwith bpy.context.temp_override(window=window, area=area): bpy.ops.video_avatar.import_avatar('EXEC_DEFAULT', True, directory={str(avatar)!r})\n"
            "space = area.spaces.active; space.shading.color_type = 'TEXTURE'; space.shading.light = 'FLAT'; space.region_3d.view_perspective = 'CAMERA'"
        )
        someone.open_tab()
        yield someone


def strip_pixels(picture, colour):
    """Rows and columns of a screenshot that show a colour of the strip (r, g, b in 0..1; it lies over dark grey)."""
    image = cv2.imread(str(picture))[..., ::-1].astype(float) / 255
    rows, columns = np.nonzero((np.abs(image - colour[:3]) < 0.09).all(-1))
    return rows, columns


def test_the_strip_shows_weak_and_lost_frames_in_the_timeline(person):
    from blender_avatar.confidence import LOST as LOST_COLOUR
    from blender_avatar.confidence import WEAK as WEAK_COLOUR

    # on so small a screen Blender's own timeline has no room for anything: a second, larger one instead of the properties
    person.blender.run(
        "window = wm.windows[0]; area = next(area for area in window.screen.areas if area.type == 'PROPERTIES'); area.ui_type = 'TIMELINE'\n"
        "area.spaces.active.show_region_channels = False"
    )
    time.sleep(1)
    timelines = person.blender.run(
        "region = next(region for region in area.regions if region.type == 'WINDOW')\n"
        "with bpy.context.temp_override(window=window, area=area, region=region): bpy.ops.action.view_all()\n"
        "result = [[region.x, window.height - region.y - region.height, region.width, region.height]"
        " for area in window.screen.areas if area.type == 'DOPESHEET_EDITOR' for region in area.regions if region.type == 'WINDOW']"
    )
    time.sleep(1)  # the view glides there
    person.rest()
    picture = person.picture("track_strip")
    weak, lost = strip_pixels(picture, WEAK_COLOUR), strip_pixels(picture, LOST_COLOUR)
    for rows, columns in (weak, lost):
        assert len(rows) > 20
        inside = [(y <= rows) & (rows < y + height) & (x <= columns) & (columns < x + width) for x, y, width, height in timelines]
        assert len(timelines) == 2 and max(places.sum() for places in inside) > 20 and np.any(inside, 0).mean() > 0.95, "in the timelines and nowhere else"
    assert np.median(weak[1]) < np.median(lost[1]), "frame 11 is left of frame 31"
    person.blender.run(f"{SETTINGS}.show_confidence = False")
    assert len(strip_pixels(person.picture("track_strip_off"), WEAK_COLOUR)[0]) < 5
    person.blender.run(f"{SETTINGS}.show_confidence = True")


def test_a_click_on_a_weak_range_goes_there(person):
    blender = person.blender
    person.press("video_avatar.choose_range")
    assert blender.value(f"[{SETTINGS}.range_start, {SETTINGS}.range_end, bpy.context.scene.frame_current]") == [11, 13, 12]


def test_two_clicks_set_a_pin(person):
    blender = person.blender
    blender.run("bpy.context.scene.frame_set(12)")
    places = blender.run(
        "from bpy_extras.view3d_utils import location_3d_to_region_2d as project\nimport sys\n"
        "scene = sys.modules['bl_ext.user_default.video_avatar.scene']; depsgraph = bpy.context.evaluated_depsgraph_get()\n"
        "root = bpy.data.objects['Anna']; view = scene.clip_view(root, depsgraph); points = scene.HeadPoints(root, depsgraph)\n"
        "window, area, _ = sidebar_region(); region = next(region for region in area.regions if region.type == 'WINDOW')\n"
        f"vertex = next(v for v in range({VERTEX}, 2000) if points.can_be_pinned[v] and points.is_visible(v, view))\n"
        "px = view.px_from_world(points.points_m[vertex][None])[0]; target = (float(px[0]) + 20, float(px[1]) - 10)\n"
        "screen = [project(region, area.spaces.active.region_3d, p) for p in (points.points_m[vertex], view.world_from_px(*target))]\n"
        "result = [vertex, target, [[region.x + p.x, region.y + p.y] for p in screen]]"
    )
    vertex, target, ((x1, y1), (x2, y2)) = places
    person.press("video_avatar.add_pin")
    person.screen.click(round(x1), round(HEIGHT_PX - y1))
    blender.wait_for(f"{STATE}.draft_vertex == {vertex} or {STATE}.draft_vertex == -1", 5)
    person.screen.move(round((x1 + x2) / 2), round(HEIGHT_PX - (y1 + y2) / 2))
    person.picture("track_pin_placing")
    person.screen.click(round(x2), round(HEIGHT_PX - y2))
    blender.wait_for("'video_avatar_pins' in bpy.data.objects['Anna.rig']", 5)
    (pin,) = json.loads(blender.value("bpy.data.objects['Anna.rig']['video_avatar_pins']"))
    assert (pin["frame"], pin["vertex_id"]) == (11, vertex)
    assert abs(pin["x_px"] - target[0]) < 2 and abs(pin["y_px"] - target[1]) < 2, (pin, target)
    assert blender.value(f"{STATE}.draft_vertex") == -1
    person.rest()
    person.picture("track_pin")


def test_tracking_again_is_one_undo_step(person, worker):
    blender = person.blender
    before = blender.value(JAW)
    person.press("video_avatar.track_again")
    blender.wait_for(f"{STATE}.job_state == 'done'", 60)
    blender.wait_for(f"'Tracked 11 to 13' in {STATE}.note", 10)
    after = blender.value(JAW)
    assert after[10:13] == [0.875] * 3 and after[:10] == before[:10] and after[13:] == before[13:]
    asked = json.loads((worker / "asked.json").read_text())
    assert (asked["frame_start"], asked["frame_end"], len(asked["pins"])) == (10, 12, 1)
    person.rest()
    person.picture("track_again_done")
    person.screen.key("ctrl+z")
    blender.wait_for(f"{JAW}[10] != 0.875", 10)
    assert blender.value(JAW) == before
    person.screen.key("ctrl+shift+z")
    blender.wait_for(f"{JAW}[10] == 0.875", 10)


def test_the_pictures_are_there(person):
    assert {path.name.partition("_")[2] for path in OUTPUT.glob("*_track_*.png")} >= {"track_strip.png", "track_pin.png", "track_again_done.png"}
