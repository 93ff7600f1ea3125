"""Decoding: turn, presentation times, damaged files, colours of SDR video."""

from pathlib import Path

import av
import numpy as np
import pytest
from made_clips import cut_file, grey_frames, noisy_frames, turn_movie, write_clip, write_planes

from backend.capture.prefetch import prefetched
from backend.capture.video import frame_times, iterate_frames, open_clip, walk_frames
from backend.errors import AvatarError

CORNERS = {"top left": (8, 8), "top right": (8, -8), "bottom right": (-8, -8), "bottom left": (-8, 8)}


def _corner_picture() -> np.ndarray:
    """Landscape, black, red in the upper left corner."""
    picture = np.zeros((64, 96, 3), np.uint8)
    picture[:24, :24] = (255, 0, 0)
    return picture


@pytest.mark.parametrize(
    ("clockwise_deg", "corner", "size_hw"),
    [(0, "top left", (64, 96)), (90, "top right", (96, 64)), (180, "bottom right", (64, 96)), (270, "bottom left", (96, 64))],
)
def test_frames_come_upright(tmp_path: Path, clockwise_deg: int, corner: str, size_hw: tuple[int, int]) -> None:
    path = turn_movie(write_clip(tmp_path / "turned.mp4", [_corner_picture()] * 3), clockwise_deg)
    info = open_clip(path)
    assert info.size_hw == size_hw
    assert info.rotation_deg == -clockwise_deg % 360
    _, _, rgb = next(iterate_frames(path))
    assert rgb.shape == (*size_hw, 3)
    assert rgb.flags["C_CONTIGUOUS"]
    for name, (row, column) in CORNERS.items():
        assert (rgb[row, column, 0] > 200) == (name == corner), name


def test_variable_rate_keeps_presentation_times(tmp_path: Path) -> None:
    time_s = np.cumsum([0, 1 / 30, 1 / 30, 1 / 15, 1 / 24, 1 / 30, 1 / 10, 1 / 30])
    path = write_clip(tmp_path / "phone.mp4", grey_frames(range(20, 180, 20)), fps=30, time_s=time_s)
    seen = list(iterate_frames(path))
    assert [index for index, _, _ in seen] == list(range(8))
    np.testing.assert_allclose([time for _, time, _ in seen], time_s, atol=1e-4)
    np.testing.assert_allclose(frame_times(path), time_s, atol=1e-4)
    np.testing.assert_allclose([rgb.mean() for _, _, rgb in seen], range(20, 180, 20), atol=2)


def test_only_wanted_frames_are_converted(tmp_path: Path) -> None:
    path = write_clip(tmp_path / "clip.mp4", grey_frames([10, 60, 110, 160, 210]))
    some = list(iterate_frames(path, [3, 1]))
    assert [index for index, _, _ in some] == [1, 3]
    for (index, time_s, rgb), level in zip(some, (60, 160)):
        assert abs(rgb.mean() - level) < 2
        assert time_s == pytest.approx(index / 25)
    assert [rgb is None for _, _, rgb in walk_frames(path, lambda index: index == 2)] == [True, True, False, True, True]
    assert list(iterate_frames(path, [])) == []
    assert list(iterate_frames(path, [99])) == []


def test_clip_facts(tmp_path: Path) -> None:
    info = open_clip(write_clip(tmp_path / "clip.mp4", grey_frames([50] * 30), fps=30000 / 1001))
    assert info.fps == pytest.approx(30000 / 1001, rel=1e-4)
    assert (info.num_frames, info.codec, info.transfer, info.primaries) == (30, "h264", "sdr", 1)
    assert info.duration_s == pytest.approx(30 * 1001 / 30000, abs=0.02)
    assert not info.is_hdr


def test_cut_in_the_middle_delivers_what_decodes(tmp_path: Path) -> None:
    path = write_clip(tmp_path / "cut.mp4", noisy_frames(40), is_index_first=True)
    whole = list(iterate_frames(path))
    cut_file(path, 0.6)
    assert open_clip(path).num_frames == len(whole) == 40
    first, second = list(iterate_frames(path)), list(iterate_frames(path))
    assert 15 <= len(first) <= 26
    assert [index for index, _, _ in first] == list(range(len(first)))
    for (_, _, one), (_, _, two), (_, _, original) in zip(first, second, whole):
        np.testing.assert_array_equal(one, two)
        np.testing.assert_array_equal(one, original)  # the half-read last picture is not delivered


def test_damage_in_the_middle_is_skipped(tmp_path: Path) -> None:
    path = write_clip(tmp_path / "scratched.mp4", noisy_frames(40), is_index_first=True, gop=8)
    data = bytearray(path.read_bytes())
    middle = len(data) // 2
    data[middle:middle + 400] = bytes(400)
    path.write_bytes(bytes(data))
    seen = list(iterate_frames(path))
    assert 25 <= len(seen) <= 40
    assert seen[-1][1] == pytest.approx(39 / 25)
    assert np.all(np.diff([time_s for _, time_s, _ in seen]) > 0)


def _bad(path: Path) -> AvatarError:
    with pytest.raises(AvatarError) as caught:
        open_clip(path)
    with pytest.raises(AvatarError):
        list(iterate_frames(path))
    assert caught.value.code == "bad_input"
    assert path.name in caught.value.message
    assert caught.value.hint
    return caught.value


def test_bad_files_are_named(tmp_path: Path) -> None:
    text = tmp_path / "letter.mp4"
    text.write_text("Dear editor, " * 500)
    assert "not a video" in _bad(text).message
    assert "no file" in _bad(tmp_path / "missing.mp4").message
    empty = tmp_path / "empty.mp4"
    empty.touch()
    assert "empty" in _bad(empty).message
    folder = tmp_path / "folder.mp4"
    folder.mkdir()
    assert "not a file" in _bad(folder).message
    cut = cut_file(write_clip(tmp_path / "cut.mp4", noisy_frames(20)), 0.5)
    assert "cut off" in _bad(cut).message


def test_sound_without_pictures(tmp_path: Path) -> None:
    path = tmp_path / "voice.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("aac", rate=44100)
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 4096), np.float32), format="fltp", layout="mono")
        frame.sample_rate = 44100
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    assert "no video track" in _bad(path).message


def test_zero_frames(tmp_path: Path) -> None:
    # the index stands first and promises frames; the pictures are all gone
    path = write_clip(tmp_path / "none.mp4", noisy_frames(10), is_index_first=True)
    data = path.read_bytes()
    path.write_bytes(data[: data.index(b"mdat") + 4])
    assert "no video frame" in _bad(path).message


@pytest.mark.parametrize(("matrix", "kr", "kb"), [(1, 0.2126, 0.0722), (6, 0.299, 0.114), (9, 0.2627, 0.0593)])
@pytest.mark.parametrize("colour_range", [1, 2])
def test_sdr_colours_follow_the_tagged_matrix_and_range(tmp_path: Path, matrix: int, kr: float, kb: float, colour_range: int) -> None:
    generator = np.random.default_rng(3)
    luma, cb, cr = (np.kron(generator.integers(low, high, (8, 8)), np.ones((8, 8))).astype(np.uint8) for low, high in ((70, 180), (110, 146), (110, 146)))
    path = write_planes(tmp_path / "flat.mkv", [luma, cb, cr], "yuv444p", matrix, 1, 1, colour_range)
    _, _, rgb = next(iterate_frames(path))
    scale = (219.0, 224.0, 16.0) if colour_range == 1 else (255.0, 255.0, 0.0)
    y, b, r = (luma - scale[2]) / scale[0], (cb - 128.0) / scale[1], (cr - 128.0) / scale[1]
    red, blue = y + 2 * (1 - kr) * r, y + 2 * (1 - kb) * b
    exact = 255 * np.stack([red, (y - kr * red - kb * blue) / (1 - kr - kb), blue], -1)
    error = rgb - np.clip(exact, 0, 255)
    assert np.abs(error).max() < 1.6
    assert np.abs(error.mean((0, 1))).max() < 0.25  # no systematic darkening


def test_working_ahead_keeps_order_errors_and_stops() -> None:
    closed = []

    def items(fails: bool):
        try:
            for number in range(50):
                if fails and number == 7:
                    raise AvatarError("bad_input", "broken")
                yield number
        finally:
            closed.append(True)

    assert list(prefetched(items(False))) == list(range(50))
    seen = []
    with pytest.raises(AvatarError, match="broken"):
        for number in prefetched(items(True)):
            seen.append(number)
    assert seen == list(range(7))
    for number in prefetched(items(False)):
        if number == 3:
            break
    assert len(closed) == 3
