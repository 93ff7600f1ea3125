"""A range tracked again changes its keys and nothing else; it must be refused when it does not fit."""

from __future__ import annotations

import bpy
import numpy as np
import pytest
from imported import curves_of
from tracked_scene import LOST, NUM_FRAMES, channels_of, every_bit, key_values, tracked_package, write_patch

from backend.errors import AvatarError
from backend.package.read import read_package
from blender_avatar.scene import apply_patch, import_avatar, package_folder_of, read_patch, read_record, smooth_animation
from blender_avatar.scene.axes import quaternions_from_matrices, root_bone_locations

JAW = 'pose.bones["face"]["jawOpen"]'
SMILE = 'pose.bones["face"]["mouthSmileLeft"]'
TURN = 'pose.bones["root"].rotation_quaternion'


@pytest.fixture
def anna():
    return import_avatar(bpy.context, tracked_package())


def again(avatar, path):
    from blender_avatar.backend_link import backend_module

    package = backend_module("package.read").read_package(tracked_package())
    return apply_patch(bpy.data.objects[avatar.root], read_patch(path), package)


def edits_of_an_artist(action):
    """Everything an artist may have done to an animation."""
    curves = {(curve.data_path, curve.array_index): curve for curve in curves_of(action)}
    jaw = curves[JAW, 0]
    jaw.keyframe_points.insert(10.5, 0.33)  # a key between frames, within the range
    for number in (4, 7, 25):  # keys of their own, with handles, beside the range and away from it
        point = jaw.keyframe_points[number]
        point.co.y, point.interpolation = 0.123, "BEZIER"
        point.handle_left_type = point.handle_right_type = "FREE" if number == 25 else "AUTO"
    jaw.modifiers.new("NOISE")
    curves[SMILE, 0].keyframe_points[9].interpolation = "BEZIER"  # within: keeps its kind, gets the new value
    jaw.update()
    extra = channels_of(action).fcurves.new('pose.bones["gaze"].location', index=0)
    extra.keyframe_points.insert(9, 0.2)
    extra.keyframe_points.insert(11, 0.4)


@pytest.mark.parametrize("first", [0, 8, NUM_FRAMES - 5], ids=["start", "middle", "end"])
def test_only_the_keys_of_the_range_change(anna, tmp_path, first):
    action = bpy.data.actions[anna.action]
    edits_of_an_artist(action)
    rig = bpy.data.objects[anna.rig]
    layer = rig.animation_data.nla_tracks.new()
    layer.strips.new("mine", 5, bpy.data.actions.new("mine"))
    frames = (first + 1, first + 5)
    untouched = ('pose.bones["gaze"].location',)
    before, drivers = every_bit(action, frames, untouched), str([curve.driver.expression for curve in bpy.data.objects[anna.heads[0]].data.shape_keys.animation_data.drivers])
    done = again(anna, write_patch(tmp_path / "p.npz", first, first + 4))
    assert every_bit(action, frames, untouched) == before
    assert [track.name for track in rig.animation_data.nla_tracks] == [anna.action, layer.name] and layer.strips[0].name == "mine"
    assert str([curve.driver.expression for curve in bpy.data.objects[anna.heads[0]].data.shape_keys.animation_data.drivers]) == drivers
    assert (done.frame_start, done.frame_end, done.which, done.num_made_again, done.locked, done.missing) == (*frames, "smoothed", 0, (), ())
    jaw = key_values(action, JAW)
    assert all(jaw[float(frame)] == np.float32(0.75) for frame in range(frames[0], frames[1] + 1))
    assert jaw[10.5] == np.float32(0.33)
    (smile,) = (curve for curve in curves_of(action) if curve.data_path == SMILE)
    assert smile.keyframe_points[9].interpolation == "BEZIER"


def test_the_new_keys_are_those_of_the_patch(anna, tmp_path):
    action = bpy.data.actions[anna.action]
    path = write_patch(tmp_path / "p.npz", 8, 12)
    again(anna, path)
    patch, mesh = read_patch(path), read_package(tracked_package()).mesh
    wanted = root_bone_locations(patch.world_from_root_smooth, mesh.joints[0].astype(float))
    for axis in range(3):
        keys = key_values(action, 'pose.bones["root"].location', axis)
        assert np.allclose([keys[float(frame)] for frame in range(9, 14)], wanted[:, axis], atol=1e-7)
    keys = np.array([list(key_values(action, TURN, index).values()) for index in range(4)])
    assert (np.abs(np.diff(keys, axis=1)) < 0.2).all(), "no sign jumps at the borders"
    quaternions = quaternions_from_matrices(patch.world_from_root_smooth[:, :3, :3])
    assert np.allclose(np.abs((keys.T[8:13] * quaternions).sum(1)), 1, atol=1e-6)


def test_the_scene_shows_it_and_the_record_knows_it(anna, tmp_path):
    rig = bpy.data.objects[anna.rig]
    bpy.context.scene.frame_set(11)
    old = rig.pose.bones["face"]["jawOpen"]
    again(anna, write_patch(tmp_path / "p.npz", 8, 21))
    bpy.context.view_layer.update()
    assert rig.evaluated_get(bpy.context.evaluated_depsgraph_get()).pose.bones["face"]["jawOpen"] == pytest.approx(0.75) != pytest.approx(old)
    performance = read_record(bpy.data.actions[anna.action])
    assert np.allclose(performance.confidence[8:22], 0.9) and performance.confidence[30] == np.float32(0.3) and performance.is_tracked[list(LOST)].all()
    jaw = performance.curves.index((JAW, 0))
    assert np.allclose(performance.raw[jaw, 8:22], 0.8) and not np.allclose(performance.raw[jaw, 7], 0.8)


@pytest.mark.parametrize("strength", [0.0, 2.0])
def test_raw_stays_raw_and_an_own_smoothing_stays_that_smoothing(anna, tmp_path, strength):
    action, root = bpy.data.actions[anna.action], bpy.data.objects[anna.root]
    smooth_animation(root, strength, frozenset({"EXPRESSIONS"}), 1, NUM_FRAMES)
    done = again(anna, write_patch(tmp_path / "p.npz", 8, 18))
    assert done.which == ("partly smoothed" if strength == 0 else "smoothed")
    jaw = key_values(action, JAW)
    if strength == 0:
        assert jaw[14.0] == np.float32(0.8)
    else:
        untouched = jaw[8.0]  # outside the range, although its surroundings are other ones now
        smooth_animation(root, strength, frozenset({"EXPRESSIONS"}), 9, 19)
        assert key_values(action, JAW) == jaw, "as if it had been smoothed after tracking"
        smooth_animation(root, strength, frozenset({"EXPRESSIONS"}), 8, 8)
        assert key_values(action, JAW)[8.0] != untouched
    turn = key_values(action, 'pose.bones["root"].location', 0)
    assert np.isclose(turn[10.0], root_bone_locations(read_patch(tmp_path / "p.npz").world_from_root_smooth, read_package(tracked_package()).mesh.joints[0].astype(float))[1, 0])


def test_deleted_keys_come_back_locked_and_removed_channels_stay_away(anna, tmp_path):
    action = bpy.data.actions[anna.action]
    curves = {(curve.data_path, curve.array_index): curve for curve in curves_of(action)}
    for _ in range(2):
        curves[JAW, 0].keyframe_points.remove(curves[JAW, 0].keyframe_points[9])
    curves[SMILE, 0].lock = True
    channels_of(action).fcurves.remove(curves['pose.bones["face"]["browInnerUp"]', 0])
    before = every_bit(action, (9, 13))
    smile = every_bit(action)[SMILE, 0]
    done = again(anna, write_patch(tmp_path / "p.npz", 8, 12))
    assert done.num_made_again == 2 and done.locked == (SMILE,) and done.missing == ('pose.bones["face"]["browInnerUp"]',)
    assert every_bit(action, (9, 13)) == before and every_bit(action)[SMILE, 0] == smile
    assert sorted(key_values(action, JAW)) == [float(frame) for frame in range(1, NUM_FRAMES + 1)]
    assert "deleted keys" in done.text and "locked" in done.text and "removed" in done.text


def test_a_moving_camera_is_tracked_again_too(tmp_path):
    anna = import_avatar(bpy.context, tracked_package(), head_moves=False)
    camera_action, action = bpy.data.actions[anna.camera_action], bpy.data.actions[anna.action]
    before, rest = key_values(camera_action, "location"), every_bit(camera_action, (9, 13))
    again(anna, write_patch(tmp_path / "p.npz", 8, 12))
    after = key_values(camera_action, "location")
    assert {frame for frame in after if after[frame] != before[frame]} == {9.0, 10.0, 11.0, 12.0, 13.0}
    assert every_bit(camera_action, (9, 13)) == rest and key_values(action, JAW)[10.0] == np.float32(0.75)
    keys = np.array([list(key_values(camera_action, "rotation_quaternion", index).values()) for index in range(4)])
    assert (np.abs(np.diff(keys, axis=1)) < 0.2).all()


def test_an_action_in_the_nla_is_found(anna, tmp_path):
    bpy.data.objects[anna.rig].animation_data.action = None
    again(anna, write_patch(tmp_path / "p.npz", 8, 12))
    assert key_values(bpy.data.actions[anna.action], JAW)[10.0] == np.float32(0.75)


def test_a_copy_of_the_animation_is_its_own(anna, tmp_path):
    rig = bpy.data.objects[anna.rig]
    original = bpy.data.actions[anna.action]
    rig.animation_data.action = original.copy()
    before = every_bit(original)
    again(anna, write_patch(tmp_path / "p.npz", 8, 12))
    assert every_bit(original) == before and read_record(original).confidence[10] == np.float32(0.3)
    assert key_values(rig.animation_data.action, JAW)[10.0] == np.float32(0.75)


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"format_version": np.array(2)}, "format 2"), ({"controls": None}, "controls is missing"), ({"confidence": np.zeros(3, np.float32)}, "shape"),
        ({"time_index": np.arange(100, 105, dtype=np.int32)}, "pictures"), ({"time_index": np.array([8, 8, 9, 10, 11], np.int32)}, "order"),
        ({"controls_smooth": np.full((5, 15), np.nan, np.float32)}, "no numbers"), ({"world_from_root": np.zeros((5, 4, 4))}, "rigid"),
        ({"control_names": np.array([f"c{number}" for number in range(15)])}, "controls"),
        ({"joint_rotations": np.zeros((5, 2, 3)), "joint_rotations_smooth": np.zeros((5, 2, 3))}, "joints"),
    ],
)  # fmt: skip
def test_a_patch_that_does_not_fit_changes_nothing(anna, tmp_path, changed, words):
    action = bpy.data.actions[anna.action]
    before, record = every_bit(action), read_record(action).raw.tobytes()
    with pytest.raises(Exception, match=words) as caught:
        again(anna, write_patch(tmp_path / "p.npz", 8, 12, **changed))
    assert caught.value.code == "bad_input" and every_bit(action) == before and read_record(action).raw.tobytes() == record


def test_a_patch_without_regions_and_one_that_is_no_archive(anna, tmp_path):
    assert read_patch(write_patch(tmp_path / "p.npz", 8, 12, region_names=None, region_confidence=None)).region_confidence.shape == (5, 0)
    (tmp_path / "letter.npz").write_text("Dear reader")
    for path in (tmp_path / "letter.npz", tmp_path / "nothing.npz"):
        with pytest.raises(Exception, match="npz") as caught:
            read_patch(path)
        assert caught.value.code in ("bad_input", "asset_missing")


def test_the_package_is_found_where_it_was_where_it_is_said_to_be_or_with_the_file(anna, tmp_path):
    import shutil

    root = bpy.data.objects[anna.root]
    assert package_folder_of(root, known=str(tracked_package())) == tracked_package()
    assert root["avatar_folder"] == "Anna.avatar"
    with pytest.raises(Exception, match="not found") as caught:
        package_folder_of(root)
    assert caught.value.code == "asset_missing" and "Avatar folder" in caught.value.hint and type(caught.value).__name__ == AvatarError.__name__
    shutil.copytree(tracked_package(), tmp_path / "Anna.avatar")
    assert package_folder_of(root, str(tmp_path / "Anna.avatar")) == tmp_path / "Anna.avatar"
    bpy.ops.wm.save_as_mainfile(filepath=str(tmp_path / "shot.blend"))
    assert package_folder_of(root) == tmp_path / "Anna.avatar"
    root["source_sha256"] = "0" * 64
    with pytest.raises(Exception, match="another clip"):
        package_folder_of(root, str(tmp_path / "Anna.avatar"))


def test_an_avatar_without_a_record_says_what_to_do(anna, tmp_path):
    del bpy.data.actions[anna.action]["video_avatar"]
    with pytest.raises(Exception, match="no animation with tracked motion") as caught:
        again(anna, write_patch(tmp_path / "p.npz", 8, 12))
    assert caught.value.code == "bad_input" and "import the avatar again" in caught.value.hint
