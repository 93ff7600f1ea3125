"""The background proxy: upright, constant rate, same colours, same bytes."""

from pathlib import Path

import av
import numpy as np
import pytest
from made_clips import grey_frames, turn_movie, write_clip

from backend.capture.background import KEY_FRAME_EVERY, write_background
from backend.capture.timing import samples_for_proxy
from backend.capture.video import frame_times, iterate_frames, open_clip
from backend.errors import AvatarError, Cancelled
from backend.reporter import Reporter

LEVELS = list(range(16, 240, 8))


def _levels(path: Path) -> np.ndarray:
    return np.array([rgb.mean() for _, _, rgb in iterate_frames(path)])


def test_constant_clip_frame_by_frame(tmp_path: Path) -> None:
    source = turn_movie(write_clip(tmp_path / "a.mp4", grey_frames(LEVELS, (130, 202)), fps=30000 / 1001), 90)
    facts = write_background(source, tmp_path / "out" / "b.mp4", 100, Reporter())
    assert facts == {"fps": pytest.approx(30000 / 1001), "num_frames": len(LEVELS), "size_hw": (100, 64)}
    copy = open_clip(tmp_path / "out" / "b.mp4")
    assert (copy.size_hw, copy.rotation_deg, copy.codec, copy.primaries, copy.transfer) == ((100, 64), 0, "h264", 1, "sdr")
    assert copy.fps == pytest.approx(30000 / 1001)
    np.testing.assert_allclose(_levels(copy.path), LEVELS, atol=1.5)
    np.testing.assert_allclose(np.diff(frame_times(copy.path)), 1001 / 30000, atol=1e-6)
    with av.open(str(copy.path)) as container:
        keys = [number for number, frame in enumerate(container.decode(video=0)) if frame.key_frame]
    assert max(np.diff(keys)) <= KEY_FRAME_EVERY
    again = tmp_path / "again.mp4"
    write_background(source, again, 100, Reporter())
    assert again.read_bytes() == copy.path.read_bytes()


def test_never_enlarged_and_never_odd(tmp_path: Path) -> None:
    source = write_clip(tmp_path / "a.mp4", grey_frames([40, 90], (66, 98)))
    assert write_background(source, tmp_path / "b.mp4", 4000, Reporter())["size_hw"] == (66, 98)
    assert write_background(source, tmp_path / "c.mp4", 50, Reporter())["size_hw"] == (34, 50)


def test_variable_rate_becomes_constant(tmp_path: Path) -> None:
    intervals = np.array([1 / 30] * 9 + [0.2] + [1 / 30] * 9 + [1 / 15] * 8)
    time_s = np.concatenate([[0], np.cumsum(intervals)])
    source = write_clip(tmp_path / "a.mp4", grey_frames(LEVELS[: len(time_s)]), fps=30, time_s=time_s)
    facts = write_background(source, tmp_path / "b.mp4", 4000, Reporter())
    times = frame_times(source)
    assert facts["fps"] == pytest.approx(len(intervals) / times[-1], rel=1e-4)
    shown = samples_for_proxy(times, facts["fps"])
    assert facts["num_frames"] == len(shown)
    assert len(np.unique(shown)) < len(shown)  # somewhere a frame is held
    np.testing.assert_allclose(_levels(tmp_path / "b.mp4"), np.array(LEVELS)[shown], atol=2)


def test_colours_survive(tmp_path: Path) -> None:
    picture = np.kron(np.random.default_rng(5).integers(30, 220, (4, 6, 3)), np.ones((16, 16, 1))).astype(np.uint8)
    source = write_clip(tmp_path / "a.mp4", [picture] * 3)
    write_background(source, tmp_path / "b.mp4", 4000, Reporter())
    one = next(iterate_frames(source))[2].astype(float)
    two = next(iterate_frames(tmp_path / "b.mp4"))[2].astype(float)
    flat = np.zeros(one.shape[:2], bool)
    for y in range(4):
        for x in range(6):
            flat[16 * y + 5:16 * y + 11, 16 * x + 5:16 * x + 11] = True
    assert np.abs((two - one)[flat].mean(0)).max() < 0.8
    assert np.abs(two - one)[flat].mean() < 3


def test_only_the_captured_frames(tmp_path: Path) -> None:
    source = write_clip(tmp_path / "a.mp4", grey_frames(LEVELS))
    facts = write_background(source, tmp_path / "b.mp4", 4000, Reporter(), num_frames=7, fps=25.0)
    assert (facts["num_frames"], facts["fps"]) == (7, 25.0)


def test_nothing_half_written(tmp_path: Path) -> None:
    source = write_clip(tmp_path / "a.mp4", grey_frames(LEVELS))
    target = tmp_path / "b.mp4"

    class Impatient(Reporter):
        def progress(self, stage: str, done: float, total: float, unit: str = "") -> None:
            if done > 5:
                self.cancel()
            super().progress(stage, done, total, unit)

    with pytest.raises(Cancelled):
        write_background(source, target, 4000, Impatient())
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.mp4"]
    blocked = tmp_path / "file"
    blocked.touch()
    with pytest.raises(AvatarError) as caught:
        write_background(source, blocked / "b.mp4", 4000, Reporter())
    assert caught.value.code == "bad_input"
