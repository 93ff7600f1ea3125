"""``capture_clip`` end to end on short pieces of the shared clips, and the clip check on made-up measurements."""

from pathlib import Path

import cv2
import numpy as np
import pytest
from made_clips import cut_file, grey_frames, turn_movie, write_clip
from shared_data import shared_path

from backend.capture.build import capture_clip
from backend.capture.clip_check import check_clip, count_blinks, head_yaw_deg
from backend.capture.masks import to_crop
from backend.capture.model import PARSING, Capture, read_capture, write_capture
from backend.capture.split import split_sha256
from backend.capture.video import iterate_frames
from backend.config import CaptureConfig
from backend.errors import AvatarError, Cancelled
from backend.reporter import Reporter

NUM_FRAMES = 24


def _piece(name: str = "talking_man_kitchen", num: int = NUM_FRAMES) -> list[np.ndarray]:
    """The first frames of a shared clip at 360 x 640."""
    source = shared_path(f"clips/{name}.mp4")
    return [cv2.resize(rgb, (360, 640), interpolation=cv2.INTER_AREA) for _, _, rgb in iterate_frames(source, range(num))]


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_clip(tmp_path_factory.mktemp("clip") / "man.mp4", _piece(), is_index_first=True)


@pytest.fixture(scope="module")
def capture(clip: Path) -> Capture:
    return capture_clip(clip, CaptureConfig(), Reporter())


def test_capture_is_complete(capture: Capture, clip: Path) -> None:
    num = NUM_FRAMES
    assert capture.num_samples == num and capture.size_hw == (640, 360) and capture.fps == 25
    assert capture.has_face.all() and np.isfinite(capture.landmarks_px).all()
    np.testing.assert_array_equal(capture.time_index, np.arange(num))
    np.testing.assert_allclose(capture.time_s, np.arange(num) / 25, atol=1e-4)
    expected = {
        "landmarks_px": ((num, 478, 2), "float32"), "landmarks_depth": ((num, 478), "float32"), "landmark_confidence": ((num,), "float32"),
        "matte": ((num, 256, 256), "uint8"), "parsing": ((num, 256, 256), "uint8"), "occlusion": ((num,), "float32"), "sharpness": ((num,), "float32"),
        "exposure": ((num,), "float32"), "split": ((num,), "uint8"), "is_interpolated": ((num,), "bool"), "camera_id": ((num,), "int32"),
        "source_id": ((num,), "int32"), "time_index": ((num,), "int32"), "time_s": ((num,), "float64"), "px_crop_from_px": ((3, 3), "float64"),
    }
    for name, (shape, kind) in expected.items():
        value = getattr(capture, name)
        assert (value.shape, value.dtype.name) == (shape, kind), name
    assert capture.landmark_confidence.min() > 0.5
    assert 0.1 < np.median(capture.exposure) < 0.5
    assert capture.sharpness.min() > 1 and capture.occlusion.max() < 0.1
    assert (capture.focal_source, capture.focal_prior_px, capture.focal_sigma_log) == ("default", pytest.approx(0.85 * 640), 0.35)
    assert tuple(capture.principal_px) == (180, 320)
    assert capture.split_sha256 == split_sha256(capture.time_index, capture.split, capture.is_interpolated)
    assert capture.notes == ()
    # the masks lie where the landmarks are
    nose = to_crop(capture.landmarks_px[:, 4], capture.px_crop_from_px).astype(int)
    assert np.all(capture.parsing[np.arange(num), nose[:, 1], nose[:, 0]] == PARSING.index("skin"))
    assert np.all(capture.matte[np.arange(num), nose[:, 1], nose[:, 0]] == 255)


def test_capture_survives_its_file_and_repeats_itself(capture: Capture, clip: Path, tmp_path: Path) -> None:
    write_capture(tmp_path / "one.npz", capture)
    back = read_capture(tmp_path / "one.npz")
    np.testing.assert_array_equal(back.landmarks_px, capture.landmarks_px)
    assert back.clip_check == capture.clip_check and back.size_hw == capture.size_hw and back.notes == capture.notes
    write_capture(tmp_path / "two.npz", capture_clip(clip, CaptureConfig(), Reporter()))
    assert (tmp_path / "one.npz").read_bytes() == (tmp_path / "two.npz").read_bytes()


def test_settings_reach_the_capture(clip: Path) -> None:
    config = CaptureConfig(max_frames=6, focal_px=700, is_mirrored=True, kind="sweep", crop_px=96)
    capture = capture_clip(clip, config, Reporter())
    assert capture.num_samples == 6 and capture.matte.shape == (6, 96, 96)
    assert (capture.focal_source, capture.focal_prior_px, capture.focal_sigma_log) == ("user", 700.0, 0.01)
    assert capture.is_mirrored and capture.kind == "sweep"
    assert capture.notes == ()  # stopping where asked is not damage


def test_turned_clip_has_upright_landmarks(tmp_path: Path, capture: Capture) -> None:
    """Stored lying on its side with a display matrix: the same landmarks as the upright clip."""
    lying = [np.ascontiguousarray(np.rot90(rgb, 1)) for rgb in _piece(num=4)]
    path = turn_movie(write_clip(tmp_path / "lying.mp4", lying), 90)
    turned = capture_clip(path, CaptureConfig(), Reporter())
    assert turned.size_hw == (640, 360)
    error = np.linalg.norm(turned.landmarks_px - capture.landmarks_px[:4], axis=-1)
    assert error.mean() < 0.02 * np.linalg.norm(capture.landmarks_px[0, 263] - capture.landmarks_px[0, 33])


def test_cut_clip_uses_what_is_left_and_says_so(tmp_path: Path) -> None:
    path = cut_file(write_clip(tmp_path / "cut.mp4", _piece(), is_index_first=True), 0.55)
    capture = capture_clip(path, CaptureConfig(), Reporter())
    assert 4 <= capture.num_samples < NUM_FRAMES
    assert f"{capture.num_samples} of {NUM_FRAMES} frames" in capture.notes[0]


def test_cut_clip_without_frame_count(tmp_path: Path) -> None:
    """Matroska names a duration but no number of frames."""
    path = cut_file(write_clip(tmp_path / "cut.mkv", _piece()), 0.55)
    capture = capture_clip(path, CaptureConfig(), Reporter())
    assert 4 <= capture.num_samples < NUM_FRAMES
    assert f"Only {capture.num_samples} of 2" in capture.notes[0]


def test_small_face_is_followed(tmp_path: Path) -> None:
    """A face of 70 px in 1920 x 1080: the detector misses it in the whole picture, the search of the survey finds it."""
    frames = []
    for number, rgb in enumerate(_piece(num=6)):
        wide = np.full((1080, 1920, 3), (120, 130, 125), np.uint8)
        wide[400:875, 1200 + 4 * number:1467 + 4 * number] = cv2.resize(rgb, (267, 475), interpolation=cv2.INTER_AREA)
        frames.append(wide)
    capture = capture_clip(write_clip(tmp_path / "far.mp4", frames), CaptureConfig(min_face_px=48), Reporter())
    assert capture.has_face.all()
    np.testing.assert_allclose(np.diff(capture.landmarks_px[:, :, 0].mean(1)), 4, atol=2)
    verdicts = {item["item"]: item["verdict"] for item in capture.clip_check}
    assert verdicts["face size"] == "bad"


def test_frames_without_the_face(tmp_path: Path) -> None:
    frames = _piece(num=12)
    for number in (5, 6, 7):
        frames[number] = np.full_like(frames[number], 120)
    capture = capture_clip(write_clip(tmp_path / "gone.mp4", frames), CaptureConfig(), Reporter())
    assert list(np.flatnonzero(~capture.has_face)) == [5, 6, 7]
    assert np.isnan(capture.landmarks_px[5:8]).all() and np.isnan(capture.landmarks_depth[5:8]).all()
    assert np.all(capture.landmark_confidence[5:8] == 0) and np.all(capture.parsing[5:8] == 0)
    assert np.isfinite(capture.landmarks_px[8:]).all()
    assert any("3 of 12 frames" in note and "frame 5" in note for note in capture.notes)


def test_largest_of_two_people(tmp_path: Path) -> None:
    kitchen, gestures = _piece(num=5), _piece("talking_man_gestures", num=5)
    pair = [np.hstack([other, one]) for one, other in zip(kitchen, gestures)]
    capture = capture_clip(write_clip(tmp_path / "two.mp4", pair), CaptureConfig(), Reporter())
    assert capture.landmarks_px[:, 4, 0].min() > 360  # the man on the right is larger
    assert any("2 faces" in note for note in capture.notes)


def test_bad_input_is_typed(tmp_path: Path) -> None:
    wall = write_clip(tmp_path / "wall.mp4", grey_frames([90] * 8))
    far = [np.full((360, 640, 3), 128, np.uint8) for _ in range(4)]
    for frame, rgb in zip(far, _piece(num=4)):
        frame[100:260, 300:390] = cv2.resize(rgb, (90, 160), interpolation=cv2.INTER_AREA)
    small = write_clip(tmp_path / "far.mp4", far)
    single = write_clip(tmp_path / "single.mp4", grey_frames([90]))
    for path, words in ((wall, "No face"), (small, "64 px"), (single, "1 frame"), (tmp_path / "absent.mp4", "no file")):
        with pytest.raises(AvatarError) as caught:
            capture_clip(path, CaptureConfig(), Reporter())
        assert caught.value.code == "bad_input" and words in caught.value.message and path.name in caught.value.message
        assert caught.value.hint


def test_progress_rises_and_cancel_works(clip: Path) -> None:
    class Recorder(Reporter):
        def __init__(self, stop_at: float = 2.0):
            super().__init__()
            self.shares: list[float] = []
            self.stop_at = stop_at

        def progress(self, stage: str, done: float, total: float, unit: str = "") -> None:
            self.shares.append(done / total)
            if done / total > self.stop_at:
                self.cancel()
            super().progress(stage, done, total, unit)

    recorder = Recorder()
    capture_clip(clip, CaptureConfig(max_frames=8), recorder)
    assert np.all(np.diff(recorder.shares) >= 0) and recorder.shares[-1] == pytest.approx(1) and len(recorder.shares) > 10
    with pytest.raises(Cancelled):
        capture_clip(clip, CaptureConfig(max_frames=8), Recorder(0.4))


def _measurements(num: int = 300) -> dict:
    """What a good clip measures: 12 s, wide turns, three blinks, an open mouth."""
    time_s = np.arange(num) / 25
    points = np.random.default_rng(0).uniform(0, 200, (478, 2))
    points[[33, 133, 362, 263]] = [(50, 80), (80, 80), (120, 80), (150, 80)]
    landmarks_px = np.repeat(points[None], num, axis=0)
    shut = np.zeros(num, bool)
    for start in (50, 120, 220):
        shut[start:start + 4] = True
    for tops, lows, x in (((160, 159, 158), (144, 145, 153), 65), ((387, 386, 385), (373, 374, 380), 135)):
        for top, low in zip(tops, lows):
            landmarks_px[:, top] = [x, 76]
            landmarks_px[:, low] = [x, 85]
            landmarks_px[shut, top] = [x, 83.5]
    landmarks_px[:, 13], landmarks_px[:, 14] = [100, 150], [100, 152]
    landmarks_px[100:110, 14] = [100, 185]
    landmarks_px[:, 234], landmarks_px[:, 454] = [20, 100], [180, 100]
    depth = np.zeros((num, 478))
    depth[:, 454] = 110 * np.sin(np.arange(num) / 20)
    return dict(
        time_s=time_s, landmarks_px=landmarks_px, depth_px=depth, face_width_px=np.full(num, 260.0), sharpness=np.full(num, 40.0),
        exposure=np.full(num, 0.25), burnt=np.zeros(num), occlusion=np.full(num, 0.01), focal_source="metadata",
    )


def test_good_clip_passes_everything() -> None:
    items = check_clip(**_measurements())
    assert {item["verdict"] for item in items} == {"ok"}, [item for item in items if item["verdict"] != "ok"]
    assert all(item["advice"] == "" and item["value"] for item in items)
    assert len({item["item"] for item in items}) == len(items) >= 12


@pytest.mark.parametrize(
    ("change", "item"),
    [
        (lambda m: m.update(time_s=m["time_s"] / 8), "length"),
        (lambda m: m.update(depth_px=m["depth_px"] * 0.1), "head turns"),
        (lambda m: m["landmarks_px"].__setitem__((slice(None), 14), [100, 153]), "mouth opening"),
        (lambda m: m["landmarks_px"].__setitem__((slice(None), [160, 159, 158]), [65, 76]) or m["landmarks_px"].__setitem__((slice(None), [387, 386, 385]), [135, 76]), "blinks"),
        (lambda m: m.update(sharpness=m["sharpness"] * 0.1), "sharpness"),
        (lambda m: m["sharpness"].__setitem__(slice(0, 120), 5.0), "motion blur"),
        (lambda m: m.update(exposure=m["exposure"] * 0.05), "exposure"),
        (lambda m: m.update(exposure=m["exposure"] * 3.6), "exposure"),
        (lambda m: m["exposure"].__setitem__(slice(0, 150), 0.6), "steady light"),
        (lambda m: m.update(burnt=m["burnt"] + 0.1), "glare"),
        (lambda m: m.update(occlusion=m["occlusion"] + 0.4), "covered face"),
        (lambda m: m.update(face_width_px=m["face_width_px"] / 3), "face size"),
        (lambda m: m["landmarks_px"].__setitem__(slice(0, 90), np.nan), "face visible"),
        (lambda m: m.update(focal_source="default"), "lens"),
    ],
)
def test_each_defect_is_named_with_a_remedy(change, item: str) -> None:  # type: ignore[no-untyped-def]
    measured = _measurements()
    change(measured)
    verdicts = {entry["item"]: entry for entry in check_clip(**measured)}
    assert verdicts[item]["verdict"] in ("warn", "bad")
    assert len(verdicts[item]["advice"]) > 20


def test_long_closed_eyes_are_no_blink() -> None:
    measured = _measurements()
    assert count_blinks(measured["landmarks_px"], measured["time_s"]) == 3
    assert count_blinks(measured["landmarks_px"], measured["time_s"] * 10) == 0


def test_yaw_sign_and_size() -> None:
    points = np.zeros((2, 478, 2))
    depth = np.zeros((2, 478))
    for turn, frame in ((25, 0), (-10, 1)):
        # the subject turns to the left: the left end of the face moves away from the camera
        points[frame, 454], points[frame, 234] = (50 * np.cos(np.radians(turn)), 0), (-50 * np.cos(np.radians(turn)), 0)
        depth[frame, 454], depth[frame, 234] = 50 * np.sin(np.radians(turn)), -50 * np.sin(np.radians(turn))
    np.testing.assert_allclose(head_yaw_deg(points, depth), [25, -10])
