"""Split, focal prior and constant frame rates: pure functions, checked on many inputs."""

from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from made_clips import grey_frames, write_clip

from backend.capture.metadata import focal_35mm_mm, focal_prior
from backend.capture.model import GAP, TEST, TRAIN
from backend.capture.split import make_split, split_sha256
from backend.capture.timing import average_fps, is_constant_rate, proxy_frames, rate_fraction, samples_for_proxy
from backend.capture.video import open_clip

steps = st.lists(st.floats(0.004, 0.2), min_size=1, max_size=400)


@given(steps)
@settings(max_examples=80, deadline=None)
def test_split_is_train_then_gap_then_test(intervals: list[float]) -> None:
    time_s = np.concatenate([[3.0], 3.0 + np.cumsum(intervals)])
    num = len(time_s)
    split, is_interpolated = make_split(time_s)
    assert split.shape == is_interpolated.shape == (num,)
    assert np.all(np.diff(split.astype(int)) >= 0)  # TRAIN 0, GAP 1, TEST 2: each a contiguous block, in this order
    assert split[0] == TRAIN
    assert not np.any(is_interpolated & (split != TRAIN))
    if num >= 4:
        num_test = int((split == TEST).sum())
        assert num_test == max(1, round(0.15 * num))
        first_test = num - num_test
        # no training frame is nearer to the test block than the gap, which is 1 s or a tenth of the clip (first sample excepted)
        length_s = (time_s[-1] - time_s[0]) * num / (num - 1)
        train_s = time_s[1:][split[1:] == TRAIN]
        assert np.all(time_s[first_test] - train_s >= min(1.0, 0.1 * length_s) - 1e-6)
    trained = np.flatnonzero(split == TRAIN)
    np.testing.assert_array_equal(np.flatnonzero(is_interpolated), trained[9::10])


def test_split_of_an_ordinary_clip() -> None:
    split, is_interpolated = make_split(np.arange(500) / 25)
    assert [(split == kind).sum() for kind in (TRAIN, GAP, TEST)] == [400, 25, 75]
    assert is_interpolated.sum() == 40
    short, _ = make_split(np.arange(50) / 25)  # 2 s: the gap is 0.2 s
    assert [(short == kind).sum() for kind in (TRAIN, GAP, TEST)] == [37, 5, 8]
    assert np.all(make_split(np.arange(3) / 25)[0] == TRAIN)


def test_split_hash_depends_on_everything() -> None:
    time_index = np.arange(100)
    split, flags = make_split(time_index / 25)
    base = split_sha256(time_index, split, flags)
    assert base == split_sha256(time_index.astype(np.int64), split.copy(), flags)
    other_split, other_flags = split.copy(), flags.copy()
    other_split[50], other_flags[3] = GAP, True
    hashes = {base, split_sha256(time_index + 1, split, flags), split_sha256(time_index, other_split, flags), split_sha256(time_index, split, other_flags)}
    assert len(hashes) == 4


@given(st.floats(5, 120), st.integers(2, 300), st.floats(0, 0.45))
@settings(max_examples=80, deadline=None)
def test_constant_rate_shows_sample_i_at_frame_i(fps: float, num: int, jitter: float) -> None:
    wobble = np.random.default_rng(num).uniform(-jitter, jitter, num) / fps
    wobble[0] = 0
    time_s = 7.0 + np.arange(num) / fps + wobble
    np.testing.assert_array_equal(samples_for_proxy(time_s, fps), np.arange(num))
    np.testing.assert_array_equal(proxy_frames(time_s, fps), np.arange(num))


@given(steps)
@settings(max_examples=80, deadline=None)
def test_variable_rate_shows_the_nearest_sample(intervals: list[float]) -> None:
    time_s = np.concatenate([[0.0], np.cumsum(intervals)])
    fps = average_fps(time_s, 30.0)
    shown = samples_for_proxy(time_s, fps)
    assert shown[0] == 0
    assert shown[-1] == len(time_s) - 1
    assert np.all(np.diff(shown) >= 0)
    assert np.all(proxy_frames(time_s, fps) < len(shown))
    if not is_constant_rate(time_s, fps):
        grid_s = np.arange(len(shown)) / fps
        nearest = np.abs(time_s[None, :] - grid_s[:, None]).min(1)
        np.testing.assert_allclose(np.abs(time_s[shown] - grid_s), nearest, atol=1e-9)
        # and back: the frame a sample is sent to lies within half a frame of it
        assert np.all(np.abs(proxy_frames(time_s, fps) / fps - time_s) <= 0.5 / fps + 1e-9)


def test_rates() -> None:
    assert average_fps(np.arange(600) / 30.0, 30.0) == 30.0
    assert average_fps(np.arange(3000) / 29.9, 30.0) == pytest.approx(29.9)  # 10 frames of drift: the nominal rate would be wrong
    assert average_fps(np.array([0.0]), 24.0) == 24.0
    assert rate_fraction(30000 / 1001) == Fraction(30000, 1001)
    assert rate_fraction(23.976) == Fraction(24000, 1001)
    assert rate_fraction(30.0) == 30
    assert float(rate_fraction(28.734)) == pytest.approx(28.734, abs=1e-4)


def test_focal_prior_sources() -> None:
    apple = {"com.apple.quicktime.camera.focal_length.35mm_equivalent": "26"}
    assert focal_prior(apple, (1920, 1080)) == (pytest.approx(26 / 36 * 1920), 0.05, "metadata")
    assert focal_prior(apple, (1080, 1920)) == (pytest.approx(26 / 36 * 1920), 0.05, "metadata")
    assert focal_prior(apple, (1920, 1080), focal_px=1500.0) == (1500.0, 0.01, "user")
    assert focal_prior({}, (1920, 1080)) == (pytest.approx(0.85 * 1920), 0.35, "default")
    assert focal_35mm_mm({"FocalLengthIn35mmFilm": "24/1"}) == 24
    assert focal_35mm_mm({"focal_length_35mm": "52 mm"}) == 52
    for useless in ({"focal_length": "4.2"}, {"FocalLengthIn35mmFilm": "0"}, {"FocalLengthIn35mmFilm": "unknown"}, {"comment": "35mm look"}):
        assert focal_35mm_mm(useless) is None


def test_focal_length_survives_the_container(tmp_path: Path) -> None:
    path = write_clip(tmp_path / "phone.mov", grey_frames([90, 100]), metadata={"com.apple.quicktime.camera.focal_length.35mm_equivalent": "28"})
    assert focal_35mm_mm(open_clip(path).metadata) == 28
