"""The operators of the panel Track, in background mode, with a worker that hands out a prepared patch; undo, save, register twice."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

import bpy
import numpy as np
import pytest
from tracked_scene import NUM_FRAMES, every_bit, key_values, tracked_package, write_patch

import blender_avatar
from blender_avatar import active, session
from blender_avatar.client.process import Launch
from blender_avatar.pins import Pin, read_pins, with_pin, write_pins
from blender_avatar.scene import HeadPoints, clip_view, pins_of, read_record

JAW = 'pose.bones["face"]["jawOpen"]'
ops = bpy.ops.video_avatar


@pytest.fixture
def add_on():
    blender_avatar.register()
    yield
    blender_avatar.unregister()


@pytest.fixture
def anna(add_on):
    assert ops.import_avatar(directory=str(tracked_package()), match="ALWAYS") == {"FINISHED"}
    return bpy.data.objects["Anna"]


@pytest.fixture
def worker(tmp_path, monkeypatch):
    """Plans of the fake worker: ``worker(patch=..)`` or ``worker(error=..)``; ``asked()`` says what it was asked."""
    from blender_avatar.client.wire import protocol

    if "track_again" not in protocol.JOB_KINDS:
        monkeypatch.setattr(protocol, "JOB_KINDS", (*protocol.JOB_KINDS, "track_again"))
    main = tmp_path / "fake_tracker.py"
    shutil.copy(Path(__file__).with_name("fake_tracker.py"), main)
    monkeypatch.setattr(session, "find_launch", lambda: Launch(Path(sys.executable), main, tmp_path / "worker.log"))

    class Plans:
        def __call__(self, **plan):
            (tmp_path / "fake_tracker.json").write_text(json.dumps({key: str(value) if key == "patch" else value for key, value in plan.items()}))

        def asked(self):
            return json.loads((tmp_path / "asked.json").read_text())

    return Plans()


def action():
    return bpy.data.actions["Anna|clip"]


def state():
    return bpy.context.window_manager.video_avatar


def test_track_again_changes_the_range_as_one_undo_step(anna, worker, tmp_path):
    worker(patch=write_patch(tmp_path / "p.npz", 8, 12))
    ops.add_pin(vertex_id=5, x_px=10.0, y_px=20.0, frame=10)
    ops.add_pin(vertex_id=6, x_px=10.0, y_px=20.0, frame=30)
    bpy.ops.ed.undo_push(message="before")
    before, outside = every_bit(action()), every_bit(action(), (9, 13))
    record = read_record(action()).raw.tobytes()
    assert ops.track_again("EXEC_DEFAULT", True, frame_start=9, frame_end=13) == {"FINISHED"}
    asked = worker.asked()
    assert asked == {
        "folder": str(tracked_package()), "video": "", "frame_start": 8, "frame_end": 12, "out": asked["out"],
        "pins": [{"frame": 9, "vertex_id": 5, "x_px": 10.0, "y_px": 20.0}],
    }  # fmt: skip
    assert every_bit(action(), (9, 13)) == outside and every_bit(action()) != before
    assert key_values(action(), JAW)[11.0] == np.float32(0.75)
    assert "9 to 13" in state().note and "smoothed" in state().note and state().error == ""
    assert not Path(asked["out"]).exists() and asked["out"].endswith(".npz")
    after = every_bit(action())
    bpy.ops.ed.undo()
    assert every_bit(action()) == before and read_record(action()).raw.tobytes() == record, "one step takes all of it back, the record too"
    bpy.ops.ed.redo()
    assert every_bit(action()) == after


def test_a_job_that_fails_changes_nothing_and_says_why(anna, worker):
    worker(error={"code": "bad_input", "message": "The clip talk.mp4 is not where it was.", "hint": "Say where it is.", "detail": {}})
    before = every_bit(action())
    with pytest.raises(RuntimeError, match="talk.mp4"):
        ops.track_again(frame_start=9, frame_end=13)
    assert every_bit(action()) == before and (state().error_code, state().job_kind) == ("bad_input", "track_again")
    ops.dismiss()


def test_undo_works_from_edit_mode_too(anna, worker, tmp_path):
    """Undo in edit mode knows the mesh only: the operators leave it first."""
    worker(patch=write_patch(tmp_path / "p.npz", 8, 12))
    bpy.context.view_layer.objects.active = bpy.data.objects["Anna.head"]
    bpy.ops.object.mode_set("EXEC_DEFAULT", True, mode="EDIT")
    before = every_bit(action())
    for call in (lambda: ops.track_again("EXEC_DEFAULT", True, frame_start=9, frame_end=13), lambda: ops.smooth_animation("EXEC_DEFAULT", True, strength_frames=2.0)):
        bpy.ops.ed.undo_push(message="before")
        assert call() == {"FINISHED"} and bpy.context.mode == "OBJECT"
        assert every_bit(action()) != before
        bpy.ops.ed.undo()
        assert every_bit(action()) == before


def test_what_is_missing_is_said_before_anything_starts(anna, worker, tmp_path):
    with pytest.raises(RuntimeError, match="No tracked frame lies between 100 and 110"):
        ops.track_again(frame_start=100, frame_end=110)
    with pytest.raises(RuntimeError, match="not found.*Choose it under Track"):
        session.current().package_folders.clear()
        ops.track_again(frame_start=9, frame_end=13)
    assert state().error_code == "asset_missing"
    with pytest.raises(RuntimeError, match="not found"):
        ops.track_again(frame_start=9, frame_end=13, folder=str(tmp_path))
    worker(patch=write_patch(tmp_path / "p.npz", 8, 12))
    assert ops.track_again(frame_start=9, frame_end=13, folder=str(tracked_package()), video=str(tmp_path / "clip.mp4")) == {"FINISHED"}
    assert worker.asked()["video"] == str(tmp_path / "clip.mp4") and state().error == ""


def test_without_an_avatar_every_operator_says_so(add_on):
    for call in (ops.track_again, ops.add_pin, ops.remove_pin, ops.smooth_animation):
        with pytest.raises(RuntimeError, match="no avatar"):
            call()


def test_smoothing_is_undone_in_one_step_and_strength_0_is_raw(anna):
    bpy.ops.ed.undo_push(message="before")
    before = every_bit(action())
    assert ops.smooth_animation("EXEC_DEFAULT", True, strength_frames=3.0, channels={"EXPRESSIONS"}, frame_start=1, frame_end=NUM_FRAMES) == {"FINISHED"}
    assert every_bit(action()) != before
    bpy.ops.ed.undo()
    assert every_bit(action()) == before and (read_record(action()).smoothing == -1).all()
    ops.smooth_animation(strength_frames=0.0)
    performance = read_record(action())
    jaw = np.float32(list(key_values(action(), JAW).values()))
    assert (performance.smoothing == 0).all() and (jaw == performance.raw[performance.curves.index((JAW, 0))]).all()
    with pytest.raises(RuntimeError, match="at least one"):
        ops.smooth_animation(channels=set())


def test_pins_are_kept_on_the_rig_and_in_the_file(anna, tmp_path):
    bpy.context.scene.frame_set(7)
    assert ops.add_pin(vertex_id=3, x_px=100.5, y_px=50.25) == {"FINISHED"}
    ops.add_pin(vertex_id=9, x_px=1.0, y_px=2.0, frame=5)
    ops.add_pin(vertex_id=3, x_px=101.5, y_px=50.25)  # the same point again: moved
    wanted = [Pin(4, 9, 1.0, 2.0), Pin(6, 3, 101.5, 50.25)]
    assert pins_of(anna) == wanted == active.active_pins(bpy.context)
    for arguments, words in (
        ({"vertex_id": 3}, "x_px"), ({"vertex_id": 10**6, "x_px": 1.0, "y_px": 1.0}, "no point"), ({"vertex_id": 3, "x_px": -5.0, "y_px": 1.0}, "outside"),
        ({"vertex_id": 3, "x_px": 1.0, "y_px": 1.0, "frame": 400}, "no picture"), ({"x_px": 1.0, "y_px": 1.0}, "Which point"),
    ):  # fmt: skip
        with pytest.raises(RuntimeError, match=words):
            ops.add_pin(**arguments)
    bpy.ops.wm.save_as_mainfile(filepath=str(tmp_path / "shot.blend"))
    bpy.ops.wm.open_mainfile(filepath=str(tmp_path / "shot.blend"))
    assert pins_of(bpy.data.objects["Anna"]) == wanted
    ops.remove_pin(index=0)
    assert pins_of(bpy.data.objects["Anna"]) == wanted[1:]
    with pytest.raises(RuntimeError, match="no pin number 5"):
        ops.remove_pin(index=5)
    ops.remove_pin()
    assert "video_avatar_pins" not in bpy.data.objects["Anna.rig"]


def test_the_active_vertex_of_edit_mode_is_pinned(anna):
    import bmesh

    head = bpy.data.objects["Anna.head"]
    bpy.context.view_layer.objects.active = head
    bpy.ops.object.mode_set(mode="EDIT")
    mesh = bmesh.from_edit_mesh(head.data)
    mesh.verts.ensure_lookup_table()
    mesh.select_history.clear()
    mesh.select_history.add(mesh.verts[123])
    assert ops.add_pin(x_px=10.0, y_px=10.0) == {"FINISHED"}
    bpy.ops.object.mode_set(mode="OBJECT")
    assert [pin.vertex_id for pin in pins_of(anna)] == [123]


def test_pins_edited_by_hand_do_no_harm():
    text = json.dumps([{"frame": 1, "vertex_id": 2, "x_px": 3, "y_px": 4}, {"frame": 1}, 7, {"frame": 1, "vertex_id": -2, "x_px": 3, "y_px": 4}])
    assert read_pins(text) == [Pin(1, 2, 3.0, 4.0)] and read_pins("{") == read_pins("7") == read_pins("") == []
    pins = with_pin([Pin(5, 1, 0.0, 0.0)], Pin(2, 1, 1.0, 1.0))
    assert [pin.frame for pin in pins] == [2, 5] and read_pins(write_pins(pins)) == pins


def test_clicking_finds_the_visible_point_where_the_backend_would_project_it(anna):
    """Every vertex's place agrees with the package's camera; a click picks the nearest one that the camera sees."""
    import torch

    from backend.package.posing import posable_head_of
    from backend.package.read import read_package

    package = read_package(tracked_package())
    clip = package.animation
    bpy.context.scene.frame_set(15)
    depsgraph = bpy.context.evaluated_depsgraph_get()
    points, view = HeadPoints(anna, depsgraph), clip_view(anna, depsgraph)
    posed = posable_head_of(package.mesh).pose(torch.from_numpy(clip.controls_smooth[14]), torch.from_numpy(clip.joint_rotations_smooth[14]))
    cam = np.linalg.inv(clip.world_from_cam[14]) @ clip.world_from_root_smooth[14] @ np.concatenate([np.asarray(posed), np.ones((len(posed), 1))], 1).T
    wanted = (clip.px_from_cam @ cam[:3]).T
    wanted = wanted[:, :2] / wanted[:, 2:]
    places = view.px_from_world(points.points_m)
    assert np.abs(places - wanted).max() < 0.02
    x_px, y_px = wanted[700]
    assert np.allclose(view.px_from_world(view.world_from_px(x_px, y_px, 0.8)[None])[0], (x_px, y_px), atol=1e-6)
    visible = [vertex for vertex in range(0, len(wanted), 17) if points.is_visible(vertex, view)]
    assert 10 < len(visible) < 60
    for vertex in visible:
        found = points.nearest_visible(*wanted[vertex], view, 5.0)
        if points.can_be_pinned[vertex]:  # the very point, or one on the same spot
            assert found is not None and np.linalg.norm(wanted[found] - wanted[vertex]) < 1e-3
        if found is not None:
            near = np.linalg.norm(wanted - wanted[found], axis=1) < 2
            assert cam[2, found] < cam[2, near].min() + 0.02, "not one at the back of the head"
    assert any(points.can_be_pinned[vertex] for vertex in visible) and not points.can_be_pinned.all(), "lashes and corneas are never pinned"
    assert points.nearest_visible(1.0, 1.0, view, 5.0) is None


def test_the_operators_bring_the_strip_and_the_list_what_they_need(anna):
    record = active.active_record(bpy.context)
    frames, confidence, is_tracked = active.confidence_of(record)
    assert frames == [float(frame) for frame in range(1, NUM_FRAMES + 1)] and confidence[10] == pytest.approx(0.3) and is_tracked[20] == 0
    assert active.regions_of(record) == ([], []) and active.scene_frame_of(record, 9) == 10.0 and active.scene_frame_of(record, 900) is None
    bpy.context.view_layer.objects.active = None
    assert active.active_record(bpy.context) is not None, "the only avatar of the scene"
    ops.choose_range(frame_start=11, frame_end=13)
    settings = bpy.context.scene.video_avatar
    assert (settings.range_start, settings.range_end, bpy.context.scene.frame_current) == (11, 13, 12)


def test_registering_twice_leaves_no_drawing_behind():
    from blender_avatar.overlays import pin_markers, strip

    for _ in range(2):
        blender_avatar.register()
        assert len(strip._handles) == len(pin_markers._handles) == 1
        assert "track_again" in dir(ops) and hasattr(bpy.types, "VIDEO_AVATAR_PT_track")
        blender_avatar.unregister()
        assert not strip._handles and not pin_markers._handles
        assert "track_again" not in dir(ops) and not hasattr(bpy.types, "VIDEO_AVATAR_PT_track") and not hasattr(bpy.types.Scene, "video_avatar")
