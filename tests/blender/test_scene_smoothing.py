"""Smoothing is the tracker's own, starts from the raw keys every time, and can be taken back exactly."""

from __future__ import annotations

import bpy
import numpy as np
import pytest
from imported import curves_of
from tracked_scene import NUM_FRAMES, channels_of, every_bit, key_values, tracked_package

from backend.package.read import read_package
from blender_avatar.scene import GROUPS, import_avatar, read_record, smooth_animation
from blender_avatar.scene.animation import motions_of, rig_curves
from blender_avatar.scene.smoothing import gaussian, group_of

ALL = frozenset(GROUPS)
JAW = 'pose.bones["face"]["jawOpen"]'
BLINK = 'pose.bones["face"]["eyeBlinkLeft"]'
SMILE = 'pose.bones["face"]["mouthSmileLeft"]'
EYE = 'pose.bones["eye.L"].rotation_quaternion'


@pytest.fixture
def anna():
    return import_avatar(bpy.context, tracked_package())


def all_values(action):
    return {(curve.data_path, curve.array_index): np.array([point.co.y for point in curve.keyframe_points], np.float32) for curve in curves_of(action)}


def raw_values():
    package = read_package(tracked_package())
    raw, _ = motions_of(package.animation)
    return {(curve.path, curve.index): curve.values.astype(np.float32) for curve in rig_curves(package.mesh, raw, True)}


def test_strength_0_is_the_raw_track_bit_by_bit(anna):
    action, root = bpy.data.actions[anna.action], bpy.data.objects[anna.root]
    imported = every_bit(action)
    for strength in (3.0, 0.0):
        changed = smooth_animation(root, strength, ALL, 1, NUM_FRAMES)
    assert changed.num_keys == NUM_FRAMES * len(curves_of(action))
    raw = raw_values()
    for key, values in all_values(action).items():
        assert values.tobytes() == raw[key].tobytes(), key
    assert every_bit(action) != imported


def test_the_trackers_strength_gives_the_trackers_smoothing(anna):
    """Controls agree to rounding; eyeLook follow the turned eyes there and are smoothed themselves here; rotations agree closely."""
    action = bpy.data.actions[anna.action]
    tracked = all_values(action)
    smooth_animation(bpy.data.objects[anna.root], 1.0, ALL, 1, NUM_FRAMES)
    for key, values in all_values(action).items():
        tolerance = 0.02 if "eyeLook" in key[0] else 2e-4 if key[0].endswith(("rotation_quaternion", "location")) else 1e-6
        assert np.abs(values - tracked[key]).max() < tolerance, key


def test_no_delay_no_leak_across_the_split_and_blinks_keep_their_speed():
    chains = [slice(0, 36), slice(36, 40), slice(40, 48)]
    pulse = np.zeros(48)
    pulse[20], pulse[40] = 1, 1
    soft = gaussian(pulse, 2.0, chains)
    assert np.allclose(soft[20 - 8:21], soft[20:29][::-1]) and soft[20] == soft[:36].max(), "symmetric: zero phase"
    assert (soft[36:40] == 0).all() and soft[40:48].max() > 0, "test frames do not flow into the gap"
    assert np.isclose(soft[:36].sum(), 1)
    constant = gaussian(np.full(48, 0.37), 5.0, chains)
    assert np.allclose(constant, 0.37) and (gaussian(pulse, 0.0, chains) == pulse).all()
    assert group_of(BLINK) == ("BLINKS", 0.4) and group_of('pose.bones["face"]["eyeLookInLeft"]') == ("GAZE", 0.4) and group_of(EYE) == ("GAZE", 0.4)
    assert group_of(JAW) == ("EXPRESSIONS", 1.0) and group_of('pose.bones["root"].location') == ("HEAD", 1.0) and group_of("location") == ("HEAD", 1.0)


def test_smoothing_removes_noise_and_less_of_it_from_blinks(anna):
    action = bpy.data.actions[anna.action]
    smooth_animation(bpy.data.objects[anna.root], 2.0, ALL, 1, NUM_FRAMES)
    rough = lambda values: np.abs(np.diff(values[:36], 2)).mean()  # noqa: E731
    raw, soft = raw_values(), all_values(action)
    assert rough(soft[SMILE, 0]) < 0.2 * rough(raw[SMILE, 0])
    assert 0.2 * rough(raw[BLINK, 0]) < rough(soft[BLINK, 0]) < 0.7 * rough(raw[BLINK, 0])
    quaternions = np.stack([soft[EYE, index] for index in range(4)], 1)
    assert np.allclose(np.linalg.norm(quaternions, axis=1), 1, atol=1e-6)
    assert (soft['pose.bones["face"]["mouthClose"]', 0] <= soft[JAW, 0] + 1e-6).all(), "lips close no further than the jaw has opened"


def test_only_the_range_and_the_channels_change(anna):
    action = bpy.data.actions[anna.action]
    curves = {(curve.data_path, curve.array_index): curve for curve in curves_of(action)}
    curves[SMILE, 0].lock = True
    curves[JAW, 0].keyframe_points.insert(14.5, 0.9)
    channels_of(action).fcurves.remove(curves['pose.bones["face"]["browInnerUp"]', 0])
    before, all_before = every_bit(action, (10, 20)), every_bit(action)
    changed = smooth_animation(bpy.data.objects[anna.root], 4.0, frozenset({"EXPRESSIONS"}), 10, 20)
    assert every_bit(action, (10, 20)) == before
    different = {key[0] for key, bits in every_bit(action).items() if bits != all_before[key]}
    assert JAW in different and SMILE not in different and not different & {BLINK, EYE, 'pose.bones["root"].location'}
    assert changed.locked == (SMILE,) and changed.missing == ('pose.bones["face"]["browInnerUp"]',)
    assert key_values(action, JAW)[14.5] == np.float32(0.9)
    state = read_record(action).smoothing
    assert (state[1, 9:20] == 4).all() and (np.delete(state[1], range(9, 20)) == -1).all() and (state[[0, 2, 3]] == -1).all()


def test_a_range_outside_the_clip_is_refused(anna):
    with pytest.raises(Exception, match="No tracked frame") as caught:
        smooth_animation(bpy.data.objects[anna.root], 1.0, ALL, 200, 300)
    assert caught.value.code == "bad_request" and "1 to 48" in caught.value.hint


def test_the_record_survives_saving_and_raw_comes_back_in_a_fresh_file(anna, tmp_path):
    smooth_animation(bpy.data.objects[anna.root], 3.0, ALL, 1, NUM_FRAMES)
    before = every_bit(bpy.data.actions[anna.action])
    bpy.ops.wm.save_as_mainfile(filepath=str(tmp_path / "shot.blend"))
    bpy.ops.wm.open_mainfile(filepath=str(tmp_path / "shot.blend"))
    action = bpy.data.actions[anna.action]
    assert every_bit(action) == before
    performance = read_record(action)
    assert performance.confidence[10] == np.float32(0.3) and performance.is_tracked[20] == 0 and performance.split[47] == 2
    smooth_animation(bpy.data.objects[anna.root], 0.0, ALL, 1, NUM_FRAMES)
    raw = raw_values()
    assert all(values.tobytes() == raw[key].tobytes() for key, values in all_values(action).items())


def test_a_linked_animation_is_refused(anna, tmp_path):
    bpy.ops.wm.save_as_mainfile(filepath=str(tmp_path / "library.blend"))
    bpy.ops.wm.read_factory_settings(use_empty=True)
    with bpy.data.libraries.load(str(tmp_path / "library.blend"), link=True) as (source, target):
        target.collections = ["Anna"]
    bpy.context.scene.collection.children.link(bpy.data.collections["Anna"])
    with pytest.raises(Exception, match="linked") as caught:
        smooth_animation(bpy.data.objects["Anna"], 1.0, ALL, 1, NUM_FRAMES)
    assert caught.value.code == "bad_request" and "local" in caught.value.hint
