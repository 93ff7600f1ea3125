"""HDR tone mapping against the standards' own figures, and the fast path against the exact one."""

from pathlib import Path

import numpy as np
import pytest
from made_clips import write_planes

from backend.capture import colour
from backend.capture.video import iterate_frames, open_clip


def test_curves_meet_published_points() -> None:
    # BT.2408 table 1: reference white is 75 % HLG and 58 % PQ, that is 203 cd/m2
    assert colour.hlg_scene_linear(np.array([0.0, 0.5, 1.0])) == pytest.approx([0, 1 / 12, 1], abs=1e-6)
    assert 1000 * float(colour.hlg_scene_linear(np.array(0.75))) ** 1.2 == pytest.approx(203, abs=1.0)
    assert float(colour.pq_display_cd(np.array(0.58))) == pytest.approx(203, rel=0.01)
    assert colour.pq_display_cd(np.array([0.0, 1.0])) == pytest.approx([0, 10000])
    levels = np.linspace(0, 1, 101)
    np.testing.assert_allclose(colour.pq_signal(colour.pq_display_cd(levels)), levels, atol=1e-6)
    np.testing.assert_allclose(colour.srgb_decode(colour.srgb_encode(levels)), levels, atol=1e-7)
    assert float(colour.srgb_encode(np.array(0.18))) == pytest.approx(0.4613, abs=1e-3)


def test_fold_leaves_faces_alone_and_never_clips_below_peak() -> None:
    light = np.linspace(0.1, 1000, 4000)
    folded = colour.fold_range_cd(light)
    is_low = light < 85
    np.testing.assert_allclose(folded[is_low], light[is_low], rtol=1e-6)
    assert np.all(np.diff(folded) > 0)
    assert folded[-1] == pytest.approx(203, rel=1e-3)
    assert np.all(folded <= light * (1 + 1e-9))
    assert colour.fold_range_cd(np.array([5000.0]))[0] == pytest.approx(203, rel=1e-3)


def test_primaries_against_published_matrix() -> None:
    # BT.2087-0, linear BT.2020 to BT.709
    expected = [[1.6605, -0.5876, -0.0728], [-0.1246, 1.1329, -0.0083], [-0.0182, -0.1006, 1.1187]]
    np.testing.assert_allclose(colour.srgb_from_primaries(colour.BT2020), expected, atol=2e-4)
    np.testing.assert_allclose(colour.srgb_from_primaries(colour.SMPTE432).sum(1), 1, atol=1e-9)  # white stays white
    np.testing.assert_array_equal(colour.srgb_from_primaries(2), np.eye(3))


def _ten_bit_planes(rgb_signal: np.ndarray) -> list[np.ndarray]:
    """Y, Cb, Cr (limited range, BT.2020 non-constant luminance, BT.2100 table 9) of (h, w, 3) R'G'B'."""
    r, g, b = np.moveaxis(rgb_signal, -1, 0)
    y = 0.2627 * r + 0.6780 * g + 0.0593 * b
    cb, cr = (b - y) / 1.8814, (r - y) / 1.4746
    return [np.round(plane).astype(np.uint16) for plane in (876 * y + 64, 896 * cb + 512, 896 * cr + 512)]


@pytest.mark.parametrize(("transfer", "code"), [("hlg", 18), ("pq", 16)])
def test_ten_bit_hdr_video(tmp_path: Path, transfer: str, code: int) -> None:
    """A grey ramp and a field of skin-like and saturated colours, through a real 10-bit file."""
    ramp = np.repeat(np.linspace(0, 1, 64)[None, :, None], 3, axis=-1).repeat(16, axis=0)
    colours = np.kron(np.random.default_rng(1).uniform(0.15, 0.7, (4, 16, 3)), np.ones((4, 4, 1)))
    signal = np.concatenate([ramp, colours])
    path = write_planes(tmp_path / "hdr.mkv", _ten_bit_planes(signal), "yuv444p10le", 9, 9, code)
    info = open_clip(path)
    assert (info.transfer, info.is_hdr, info.primaries) == (transfer, True, 9)
    _, _, rgb = next(iterate_frames(path))
    exact = 255 * colour.srgb_from_hdr(signal, transfer)
    error = np.abs(rgb - exact)
    # a 10-bit step is up to 3 levels of the steepest part of the curve near black; elsewhere rounding only
    assert error.mean() < 0.6
    assert np.percentile(error, 99) < 3
    grey = rgb[:16].astype(int)
    assert np.abs(grey - grey.mean(-1, keepdims=True)).max() <= 2
    assert np.all(np.diff(grey.mean((0, 2))) > -0.5)


def test_hlg_reference_white_and_mid_grey() -> None:
    white, skin = colour.srgb_from_hdr(np.array([[0.75] * 3, [0.55] * 3]), "hlg")
    assert 0.85 < white[0] < 0.97  # folded a little, so that highlights above it keep room
    # 55 % HLG: scene 0.1026, display 64.8 cd/m2 = 0.319 of white: below the knee, untouched
    assert skin[0] == pytest.approx(float(colour.srgb_encode(1000 * colour.hlg_scene_linear(np.array(0.55)) ** 1.2 / 203)), abs=1e-3)


def test_wide_gamut_sdr_is_converted(tmp_path: Path) -> None:
    planes = [np.full((16, 16), value, np.uint8) for value in (110, 110, 160)]
    wide = next(iterate_frames(write_planes(tmp_path / "p3.mkv", planes, "yuv444p", 1, 12, 1)))[2][8, 8] / 255.0
    plain = next(iterate_frames(write_planes(tmp_path / "sdr.mkv", planes, "yuv444p", 1, 1, 1)))[2][8, 8] / 255.0
    expected = colour.srgb_encode(colour.srgb_from_primaries(colour.SMPTE432) @ colour.srgb_decode(plain))
    np.testing.assert_allclose(wide, expected, atol=1.5 / 255)
    assert wide[0] > plain[0] + 0.02  # P3's red is redder than the same code value in sRGB
