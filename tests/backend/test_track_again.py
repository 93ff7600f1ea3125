"""A range tracked again, on made landmarks: nothing outside moves, pins are reached and fade, wrong requests are refused, equal bytes."""

import dataclasses

import numpy as np
import pytest
import torch

from backend.capture.embed import load_rig_with_landmarks
from backend.capture.model import GAP, TEST, TRAIN, Capture
from backend.config import TrackConfig
from backend.errors import AvatarError, Cancelled
from backend.geometry.cameras import invert_rigid, project
from backend.geometry.rotations import matrices_from_axis_angles
from backend.package.person_rig import person_rig
from backend.package.read import read_package
from backend.package.write import write_package
from backend.reporter import Reporter
from backend.rig.landmarks import embedding_matrix
from backend.rig.posing import posable_head
from backend.track.again import stored_states, track_again
from backend.track.energy import Shared, landmarks_in_camera, projected
from backend.track.fit import track_clip
from backend.track.initial_pose import CAM_FROM_UPRIGHT
from backend.track.landmark_model import landmark_model
from backend.track.patch import read_patch, write_patch
from backend.track.pins import REACH_FRAMES, Pin, checked_pins, pin_points, vertex_model
from backend.track.state import unknowns_of
from backend.track_again import stored_track, track_package_again
from backend.worker_jobs import run_job

FRAMES, FOCAL_PX, SIZE_HW = 60, 1000.0, (640, 480)
CONFIG = TrackConfig(num_key_frames=12, scale=1.07, use_photometric=False)
MOTION = ("controls", "joint_rotations", "world_from_root")


@pytest.fixture(scope="module")
def rig():
    return load_rig_with_landmarks("anny")


@pytest.fixture(scope="module")
def capture(rig):
    """Landmarks of a head that turns, talks, smiles and looks around; train 0-39, gap 40-44, test 45-59."""
    rng = np.random.default_rng(11)
    names, joints = list(rig.expression_names), list(rig.joint_names)
    identity = np.zeros(len(rig.identity_names))
    identity[:30] = rng.normal(size=30) * 0.5
    phase = np.linspace(0, 4 * np.pi, FRAMES)
    controls = np.zeros((FRAMES, len(names)))
    controls[:, names.index("jawOpen")] = np.clip(0.35 * np.sin(phase), 0, 1)
    for side in ("Left", "Right"):
        controls[:, names.index(f"mouthSmile{side}")] = np.clip(0.6 * np.sin(0.5 * phase + 1), 0, 1)
    rotations = np.zeros((FRAMES, len(joints), 3))
    for name in ("eye_left", "eye_right"):
        rotations[:, joints.index(name), 1] = 0.2 * np.sin(phase)
    turn = np.stack([0.1 * np.sin(0.8 * phase), 0.3 * np.sin(0.5 * phase), 0.05 * np.cos(phase)], 1)
    head = posable_head(rig, torch.from_numpy(identity), dtype=torch.float64)
    vertices = head.pose(torch.from_numpy(controls), torch.from_numpy(rotations)).numpy()
    points = np.stack([embedding_matrix(rig, rig.mediapipe478) @ one for one in vertices])
    place = np.stack([0.02 * np.sin(phase), 0.16 + 0.01 * np.cos(phase), 0.62 + 0.02 * np.sin(0.3 * phase)], 1)
    in_cam = points @ (CAM_FROM_UPRIGHT @ matrices_from_axis_angles(turn)).swapaxes(1, 2) + place[:, None]
    landmarks = project(np.array([[FOCAL_PX, 0, 240], [0, FOCAL_PX, 320], [0, 0, 1.0]]), in_cam) + rng.normal(size=(FRAMES, 478, 2)) * 0.3
    split = np.full(FRAMES, TRAIN, np.uint8)
    split[40:45], split[45:] = GAP, TEST
    zeros = np.zeros(FRAMES, np.float32)
    return Capture(
        source_path="made", source_sha256="made", size_hw=SIZE_HW, fps=25.0, kind="performance", is_mirrored=False, time_s=np.arange(FRAMES) / 25,
        time_index=np.arange(FRAMES, dtype=np.int32), camera_id=np.zeros(FRAMES, np.int32), source_id=np.zeros(FRAMES, np.int32), focal_prior_px=FOCAL_PX,
        focal_sigma_log=0.01, focal_source="user", principal_px=np.array([240.0, 320.0]), px_crop_from_px=np.eye(3), crop_size_hw=(8, 8),
        has_face=np.ones(FRAMES, bool), landmarks_px=landmarks.astype(np.float32), landmarks_depth=np.zeros((FRAMES, 478), np.float32),
        landmark_confidence=zeros + 1, matte=np.zeros((FRAMES, 8, 8), np.uint8), parsing=np.zeros((FRAMES, 8, 8), np.uint8), occlusion=zeros,
        sharpness=zeros + 1, exposure=zeros + 0.4, fault=np.zeros(FRAMES, np.uint8), take=np.zeros(FRAMES, np.int32), split=split,
        is_interpolated=np.zeros(FRAMES, bool), split_sha256="split", notes=(), clip_check=(),
    )  # fmt: skip


@pytest.fixture(scope="module")
def track(rig, capture):
    return track_clip(capture, rig, CONFIG, Reporter())


@pytest.fixture(scope="module")
def packaged(rig, capture, track, tmp_path_factory):
    """The track in a package, and what is read out of it: package, person's rig, stored track."""
    grey = np.full((64, 64, 3), 128, np.uint8)
    folder = write_package(
        tmp_path_factory.mktemp("avatar") / "made.avatar", name="made", rig=rig, track=track, capture=capture, texture=grey, seen=grey[..., 0],
        background_mp4=None, consent=True,
    )  # fmt: skip
    package = read_package(folder)
    return package, person_rig(package), stored_track(package)


@pytest.fixture(scope="module")
def again(capture, packaged):
    """Tracks a range again: ``again(20, 29, pins)``."""
    _, person, stored = packaged
    return lambda first, last, pins=(), config=CONFIG, clip=capture: track_again(clip, person, stored, first, last, pins, config, Reporter())


def vertex_px(packaged, motion, rows, vertex):
    """(n, 2) px where a vertex is, posed by the general head, in no way by the tracker."""
    package, person, stored = packaged
    head = posable_head(person, dtype=torch.float64)
    vertices = head.pose(torch.from_numpy(motion.controls.astype(np.float64)), torch.from_numpy(motion.joint_rotations.astype(np.float64))).numpy() * stored.scale
    cam_from_root = invert_rigid(stored.world_from_cam[rows]) @ motion.world_from_root
    return project(stored.px_from_cam, np.einsum("nab,nb->na", cam_from_root[:, :3, :3], vertices[:, vertex]) + cam_from_root[:, :3, 3])


def rows_of(stored, rows):
    return dataclasses.replace(stored, **{name: getattr(stored, name)[rows] for name in MOTION})


def test_the_person_of_a_package_is_the_person_that_was_tracked(rig, track, packaged):
    package, person, stored = packaged
    neutral = (rig.template + rig.identity_basis @ track.identity).astype(np.float64)
    np.testing.assert_allclose(person.template, neutral, atol=2e-7)
    np.testing.assert_allclose(person.joint_regressor @ person.template, rig.joint_regressor @ neutral, atol=2e-6)
    np.testing.assert_allclose(person.expression_basis, rig.expression_basis, atol=1e-8)
    np.testing.assert_array_equal(person.mirror_expressions, rig.mirror_expressions)
    unknowns = unknowns_of(landmark_model(person))
    states = stored_states(stored, person, unknowns)
    world_from_cam = np.array(stored.world_from_cam)
    rotation = world_from_cam[:, :3, :3] @ states.cam_from_root_rotation
    np.testing.assert_allclose(rotation, track.world_from_root[:, :3, :3], atol=1e-12)
    position = (world_from_cam[:, :3, :3] @ (states.translation_m * track.scale)[..., None])[..., 0] + world_from_cam[:, :3, 3]
    np.testing.assert_allclose(position, track.world_from_root[:, :3, 3], atol=1e-12)
    eyes = unknowns.joint_rotations(states)
    np.testing.assert_array_equal(eyes["eye_left"], track.joint_rotations[:, rig.joint_names.index("eye_left")])


def test_nothing_new_gives_the_old_track(rig, track, again):
    patch = again(15, 24)
    rows = slice(15, 25)
    np.testing.assert_array_equal(patch.time_index, np.arange(15, 25))
    assert patch.control_names == rig.expression_names and patch.region_confidence.shape == (10, 0)
    assert np.abs(patch.controls - track.controls[rows]).mean() < 0.004
    for smooth in ("", "_smooth"):
        moved_m = np.linalg.norm(getattr(patch, f"world_from_root{smooth}")[:, :3, 3] - getattr(track, f"world_from_root{smooth}")[rows, :3, 3], axis=1)
        assert moved_m.max() < 0.0005
    np.testing.assert_allclose(patch.confidence, track.confidence[rows], atol=0.1)


def test_the_ends_join_on_and_the_neighbours_are_held(track, capture, packaged, again):
    """Landmarks of the range are off by 15 px: the new frames follow, but their smoothed ends are drawn to neighbours that did not move."""
    landmarks = capture.landmarks_px.copy()
    landmarks[15:25] += np.array([15.0, 0], np.float32)
    patch = again(15, 24, clip=capture.replace(landmarks_px=landmarks))
    stored = packaged[2]
    assert (patch.world_from_root[:, 0, 3] - stored.world_from_root[15:25, 0, 3]).min() > 0.006  # 15 px are 9 mm there
    jump = np.abs(np.diff(np.concatenate([track.world_from_root_smooth[14:15, 0, 3], patch.world_from_root_smooth[:, 0, 3]])))
    raw_jump = np.abs(patch.world_from_root[0, 0, 3] - stored.world_from_root[14, 0, 3])
    assert jump[0] < 0.75 * raw_jump


def test_pins_are_reached_and_fade(capture, packaged, again):
    _, person, stored = packaged
    nose = int(np.argmax(np.where(person.regions["face"], person.template[:, 2], -1)))
    lip = int(np.flatnonzero(person.regions["lips_lower"])[0])
    rows = np.arange(12, 32)
    base = again(12, 31)
    before = {vertex: vertex_px(packaged, base, rows, vertex) for vertex in (nose, lip)}
    old_px = vertex_px(packaged, rows_of(stored, rows), rows, nose)
    wanted = old_px[9] + [12.0, -7.0]
    patch = again(12, 31, (Pin(21, *wanted, nose), Pin(21, *(before[lip][9] + [4.0, 5.0]), lip)))
    after = vertex_px(packaged, patch, rows, nose)
    assert np.linalg.norm(after[9] - wanted) < 1
    assert np.linalg.norm(vertex_px(packaged, patch, rows, lip)[9] - before[lip][9] - [4.0, 5.0]) < 1
    moved = np.linalg.norm(after - before[nose], axis=1)
    assert (np.diff(moved[:10]) > -0.5).all() and (np.diff(moved[9:]) < 0.5).all()  # rises to the pin and falls after it
    assert 4 < moved[9 - 2] < 13 and 4 < moved[9 + 2] < 13  # 14 px at the pin
    assert moved[np.abs(np.arange(20) - 9) > REACH_FRAMES + 1].max() < 0.5
    assert np.isfinite(patch.controls).all() and (patch.controls >= person.expression_limits[:, 0]).all() and (patch.controls <= person.expression_limits[:, 1]).all()


def test_a_pin_at_the_border_of_the_split_does_not_cross_it(capture, packaged, again):
    _, person, stored = packaged
    nose = int(np.argmax(np.where(person.regions["face"], person.template[:, 2], -1)))
    place = vertex_px(packaged, rows_of(stored, np.array([39])), np.array([39]), nose)[0] + [10, 0]
    patch, plain = again(35, 48, (Pin(39, *place, nose),)), again(35, 48)
    for name in MOTION:
        np.testing.assert_array_equal(getattr(patch, name)[5:], getattr(plain, name)[5:])  # gap and test
    assert np.abs(patch.world_from_root[4] - plain.world_from_root[4]).max() > 1e-3


def test_shares_of_a_pin_end_at_the_next_pin_and_at_held_frames(packaged, capture):
    _, person, stored = packaged
    model = landmark_model(person)
    unknowns = unknowns_of(model)
    shared = Shared(np.zeros(0), FOCAL_PX, np.array([240.0, 320.0]))
    vertex = int(person.triangles[100, 0])
    is_held = np.ones(FRAMES, bool)
    is_held[10:20] = False
    states = stored_states(stored, person, unknowns)
    before_px = projected(landmarks_in_camera(vertex_model(person, np.array([vertex])), unknowns, shared, states), shared)[:, 0]
    pins = [Pin(row, *(before_px[row] + [5.0, 3.0]), vertex) for row in (12, 15)]
    points = pin_points(pins, person, unknowns, shared, states, capture.time_index, [slice(9, 21)], is_held)
    weight = points.weight[:, 0] / points.weight.max()
    np.testing.assert_allclose(weight[[9, 12, 15, 20]], [0, 1, 1, 0], atol=1e-12)
    assert not weight[:10].any() and not weight[20:].any() and (weight[10:20] > 0).all()
    np.testing.assert_allclose((points.targets_px[:, 0] - before_px)[12:16], np.tile([5.0, 3.0], (4, 1)), atol=1e-9)  # whole between two that agree
    assert (np.diff((points.targets_px[:, 0] - before_px)[15:21, 0]) < 0).all()
    assert pin_points([], person, unknowns, shared, states, capture.time_index, [slice(9, 21)], is_held) is None
    assert points.within(slice(30, 40)) is None and len(points.within(slice(10, 20)).weight) == 10


def test_lost_frames_stay_marked_but_follow_a_pin(capture, packaged, again):
    _, person, stored = packaged
    landmarks, has_face = capture.landmarks_px.copy(), capture.has_face.copy()
    landmarks[20:24], has_face[20:24] = np.nan, False
    lost = capture.replace(landmarks_px=landmarks, has_face=has_face)
    nose = int(np.argmax(np.where(person.regions["face"], person.template[:, 2], -1)))
    wanted = vertex_px(packaged, rows_of(stored, np.array([22])), np.array([22]), nose)[0] + [8, 3]
    for first, last in ((18, 25), (20, 23)):  # the second range has not one face in it
        patch = again(first, last, (Pin(22, *wanted, nose),), clip=lost)
        assert np.linalg.norm(vertex_px(packaged, patch, np.arange(first, last + 1), nose)[22 - first] - wanted) < 1
        assert not patch.confidence[20 - first : 24 - first].any()


def test_equal_input_gives_equal_bytes_and_the_file_is_read_back(again, tmp_path):
    pins = (Pin(22, 250.0, 300.0, 10),)
    for name in ("a.npz", "b.npz"):
        write_patch(tmp_path / name, again(20, 25, pins))
    assert (tmp_path / "a.npz").read_bytes() == (tmp_path / "b.npz").read_bytes()
    patch, read = again(20, 25, pins), read_patch(tmp_path / "a.npz")
    for field in dataclasses.fields(patch):
        np.testing.assert_array_equal(getattr(read, field.name), getattr(patch, field.name))
    (tmp_path / "a.npz").write_bytes(b"nothing")
    with pytest.raises(AvatarError) as caught:
        read_patch(tmp_path / "a.npz")
    assert caught.value.code == "bad_input"


@pytest.mark.parametrize(
    ("pin", "word"),
    [
        ({"frame": 30, "x_px": 1.0, "y_px": 1.0, "vertex_id": 5}, "20 to 25"), ({"frame": 22, "x_px": 1.0, "y_px": 1.0, "vertex_id": 10**6}, "vertex"),
        ({"frame": 22, "x_px": 1.0, "y_px": 1.0, "vertex_id": -1}, "vertex"), ({"frame": 22, "x_px": float("nan"), "y_px": 1.0, "vertex_id": 5}, "picture"),
        ({"frame": 22, "x_px": 1.0, "y_px": 1e6, "vertex_id": 5}, "picture"), ({"frame": 22.5, "x_px": 1.0, "y_px": 1.0, "vertex_id": 5}, "whole"),
        ({"frame": 22, "x_px": 1.0, "vertex_id": 5}, "object"), ("here", "object"), ({"frame": True, "x_px": 1.0, "y_px": 1.0, "vertex_id": 5}, "whole"),
    ],
)  # fmt: skip
def test_bad_pins_are_refused_with_a_remedy(packaged, pin, word):
    with pytest.raises(AvatarError) as caught:
        checked_pins([pin], np.arange(20, 26), packaged[1], SIZE_HW)
    assert caught.value.code == "bad_request" and word in caught.value.hint and caught.value.detail["field"].startswith("pins[0]")


def test_one_vertex_has_one_place_in_a_frame(packaged):
    pin = {"frame": 22, "x_px": 1.0, "y_px": 1.0, "vertex_id": 5}
    assert checked_pins([pin], np.arange(20, 26), packaged[1], SIZE_HW) == (Pin(22, 1.0, 1.0, 5),)
    with pytest.raises(AvatarError, match=r"pins\[1\]"):
        checked_pins([pin, pin], np.arange(20, 26), packaged[1], SIZE_HW)


def test_the_job_refuses_wrong_requests(packaged, tmp_path):
    folder = packaged[0].folder
    good = {"folder": str(folder), "frame_start": 20, "frame_end": 25, "out": str(tmp_path / "p.npz")}
    for change, code, word in (
        ({"frame_start": 26}, "bad_request", "26 to 59"), ({"frame_end": 60}, "bad_request", "20 to 59"), ({"frame_start": -1}, "bad_request", "0 to 59"),
        ({"out": str(tmp_path / "p.txt")}, "bad_request", ".npz"), ({"config": {"colour": 1}}, "bad_request", "num_key_frames"),
        ({"config": {"face_px": 1}}, "bad_request", "64"), ({"pins": ["x"]}, "bad_request", "object"), ({"pins": 3}, "bad_request", "list"),
        ({"folder": str(tmp_path)}, "asset_missing", "reconstruction"), ({"video": str(tmp_path / "no.mp4")}, "bad_input", "name of the clip"), ({}, "bad_input", "--video"),
    ):  # fmt: skip
        with pytest.raises(AvatarError) as caught:
            run_job("track_again", {**good, **change}, Reporter())
        assert caught.value.code == code and word in caught.value.hint, (change, caught.value)
    other = tmp_path / "other.mp4"
    other.write_bytes(b"another clip")
    with pytest.raises(AvatarError, match="is not the clip"):
        run_job("track_again", {**good, "video": str(other)}, Reporter())
    assert not (tmp_path / "p.npz").exists()


def test_cancelling_writes_nothing(packaged, capture, tmp_path, monkeypatch):
    import backend.track_again as job

    reporter = Reporter()
    monkeypatch.setattr(job, "find_clip", lambda *_: tmp_path / "clip.mp4")
    monkeypatch.setattr(job, "_capture", lambda *_: reporter.cancel() or capture)
    with pytest.raises(Cancelled):
        track_package_again(packaged[0].folder, None, 10, 40, [], tmp_path / "p.npz", {}, reporter)
    assert not list(tmp_path.iterdir())


def test_the_job_writes_the_patch_and_leaves_the_package_alone(packaged, capture, track, tmp_path, monkeypatch):
    """Through the front door; the capture comes from elsewhere because made landmarks have no video."""
    import backend.track_again as job

    folder = packaged[0].folder
    before = {path: path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}
    monkeypatch.setattr(job, "find_clip", lambda *_: tmp_path / "clip.mp4")
    monkeypatch.setattr(job, "_capture", lambda *_: capture)
    settings = {"folder": str(folder), "frame_start": 38, "frame_end": 47, "out": str(tmp_path / "p.npz"), "config": {"use_photometric": False, "smooth_frames": 0}}
    assert run_job("track_again", settings, Reporter()) == {"patch": str(tmp_path / "p.npz"), "num_frames": 10}
    patch = read_patch(tmp_path / "p.npz")
    np.testing.assert_array_equal(patch.time_index, np.arange(38, 48))
    np.testing.assert_allclose(patch.controls_smooth, patch.controls, atol=1e-6)
    assert {path: path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()} == before
    whole = {name: np.array(getattr(packaged[0].animation, name)) for name in MOTION}
    outside = np.setdiff1d(np.arange(FRAMES), patch.time_index)
    for name, values in whole.items():
        values[patch.time_index] = getattr(patch, name)
        np.testing.assert_array_equal(values[outside], getattr(packaged[0].animation, name)[outside])
