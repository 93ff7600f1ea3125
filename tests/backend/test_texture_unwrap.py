"""The unwrap against a texture that is known because we painted it: our own renderer makes the clip."""

from __future__ import annotations

import numpy as np
import pytest
from painted_take import NUM, SIZE, Take, painted

from backend.capture.colour import srgb_decode, srgb_encode
from backend.capture.model import GAP, PARSING, TEST, TRAIN
from backend.config import TextureConfig
from backend.errors import AvatarError
from backend.texture import observe, unexplained
from backend.texture.frames import choose_frames, usable_frames
from backend.texture.model import read_texture, write_texture
from backend.texture.texels import find_texels
from backend.texture.unwrap import rigidity, unwrap_texture


@pytest.fixture(scope="module")
def take():
    return Take(painted())


@pytest.fixture(scope="module")
def made(take):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(observe, "iterate_frames", take.frames)
        patch.setattr(unexplained, "iterate_frames", take.frames)
        return unwrap_texture(take.capture, take.track, take.rig, TextureConfig(size_px=SIZE, num_frames=8))


def filmed(made) -> np.ndarray:
    """The surface as filmed, linear."""
    return srgb_decode(made.unwrapped / 255.0).astype(np.float32)


def skin_seen(take, made, least=255):
    """Texels of the rigid head's skin that were seen; the neck keeps no detail on purpose."""
    texels = find_texels(take.rig, SIZE)
    chosen = texels.of("skin") & (rigidity(take.rig, texels) == 1) & (made.seen[texels.rows, texels.cols] >= least)
    return texels, chosen


def test_what_was_seen_comes_back(take, made):
    texels, chosen = skin_seen(take, made)
    assert chosen.sum() > 3000
    error = np.abs(filmed(made) - painted())[texels.rows[chosen], texels.cols[chosen]]
    assert error.mean() < 0.006
    assert np.percentile(error, 99) < 0.03


def test_no_background_bleeds_in(take, made):
    """The background is pure green; nothing on the head is."""
    texels, chosen = skin_seen(take, made, 1)
    colour = filmed(made)[texels.rows[chosen], texels.cols[chosen]]
    reference = painted()[texels.rows[chosen], texels.cols[chosen]]
    assert (colour[:, 1] - reference[:, 1]).max() < 0.1


def test_only_training_frames_are_decoded(take, made):
    allowed = set(take.track.time_index[usable_frames(take.capture, take.track)])
    assert set(take.asked) and set(take.asked) <= allowed
    assert set(made.info["time_index"]) == set(take.asked) and len(made.info["time_index"]) == 8


def test_frames_of_gap_test_and_interpolation_are_never_chosen(take):
    split = np.full(NUM, TRAIN, np.uint8)
    split[:5], split[5:9] = TEST, GAP
    interpolated = np.zeros(NUM, bool)
    interpolated[[12, 17]] = True
    capture = take.capture.replace(split=split, is_interpolated=interpolated)
    chosen = choose_frames(capture, take.track, 100)
    assert set(chosen) == set(range(9, NUM)) - {12, 17}
    assert set(choose_frames(capture, take.track, 6)) < set(chosen)
    with pytest.raises(AvatarError) as caught:
        choose_frames(capture.replace(split=np.full(NUM, TEST, np.uint8)), take.track, 6)
    assert caught.value.code == "bad_input"


def test_chosen_frames_spread_over_the_poses(take):
    yaw = np.arctan2(take.track.world_from_root[:, 0, 2], take.track.world_from_root[:, 2, 2])
    usable = usable_frames(take.capture, take.track)
    chosen = choose_frames(take.capture, take.track, 5)
    assert np.ptp(yaw[chosen]) > 0.8 * np.ptp(yaw[usable])


def test_the_back_of_the_head_is_unseen_but_coloured(take, made):
    texels = find_texels(take.rig, SIZE)
    position = np.einsum("nc,ncd->nd", texels.barycentric, take.rig.template[take.rig.triangles[texels.triangle]])
    behind = (texels.of("skin") | texels.of("scalp")) & (position[:, 2] < -0.05)
    assert behind.sum() > 500
    assert made.seen[texels.rows[behind], texels.cols[behind]].max() == 0
    assert made.unwrapped[texels.rows[behind], texels.cols[behind]].min() > 20
    assert made.srgb.reshape(-1, 3).max(1).min() > 5, "no black texel anywhere, not even between the islands"


def test_islands_are_dilated(take, made):
    """Eight texels outside an island repeat its border."""
    from scipy.ndimage import distance_transform_edt

    texels = find_texels(take.rig, SIZE)
    covered = texels.image(np.ones(len(texels), bool))
    distance, (rows, cols) = distance_transform_edt(~covered, return_indices=True)
    near = (distance > 0) & (distance <= 8)
    assert near.any()
    np.testing.assert_array_equal(made.srgb[near], made.srgb[rows[near], cols[near]])


def test_equal_input_gives_equal_bytes_and_files(take, made, tmp_path):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(observe, "iterate_frames", take.frames)
        patch.setattr(unexplained, "iterate_frames", take.frames)
        again = unwrap_texture(take.capture, take.track, take.rig, TextureConfig(size_px=SIZE, num_frames=8))
    np.testing.assert_array_equal(again.linear, made.linear)
    np.testing.assert_array_equal(again.seen, made.seen)
    np.testing.assert_array_equal(again.unwrapped, made.unwrapped)
    np.testing.assert_array_equal(again.mask, made.mask)
    np.testing.assert_array_equal(again.light.sh, made.light.sh)
    for name, texture in (("a", made), ("b", again)):
        write_texture(tmp_path / name, texture)
    assert (tmp_path / "a/texture.npz").read_bytes() == (tmp_path / "b/texture.npz").read_bytes()
    back = read_texture(tmp_path / "a")
    np.testing.assert_array_equal(back.srgb, made.srgb)
    np.testing.assert_array_equal(back.light.sh, made.light.sh)
    np.testing.assert_array_equal(back.mask, made.mask)
    assert back.info == made.info and back.info["delit"] is True and back.light.frame == "world"
    np.testing.assert_allclose(back.linear, made.linear, atol=1e-3)


def test_fine_stripes_do_not_darken(monkeypatch):
    """Averaging black and white in sRGB instead of linear light would halve the light of a texture finer than the pixels."""
    stripes = np.zeros((2048, 2048, 3), np.float32)
    stripes[::2] = 0.8
    take = Take(stripes, 8)
    monkeypatch.setattr(observe, "iterate_frames", take.frames)
    monkeypatch.setattr(unexplained, "iterate_frames", take.frames)
    take.capture = take.capture.replace(split=np.full(8, TRAIN, np.uint8))
    made = unwrap_texture(take.capture, take.track, take.rig, TextureConfig(size_px=SIZE, num_frames=8))
    texels, chosen = skin_seen(take, made)
    mean = filmed(made)[texels.rows[chosen], texels.cols[chosen]].mean()
    assert mean == pytest.approx(0.4, rel=0.06)
    assert mean > 1.3 * float(srgb_decode(np.array(0.5 * srgb_encode(np.array(0.8)))))


def test_a_flash_of_gloss_is_dropped(take, monkeypatch):
    monkeypatch.setattr(observe, "iterate_frames", take.frames)
    monkeypatch.setattr(unexplained, "iterate_frames", take.frames)
    chosen = choose_frames(take.capture, take.track, 8)
    monkeypatch.setattr(take, "gains", np.where(np.arange(NUM) == chosen[5], 2.5, 1.0))
    texture = unwrap_texture(take.capture, take.track, take.rig, TextureConfig(size_px=SIZE, num_frames=8))
    texels, seen = skin_seen(take, texture)
    error = (filmed(texture) - painted())[texels.rows[seen], texels.cols[seen]]
    assert abs(error.mean()) < 0.01, "one frame of eight at 2.5 times the light would raise the mean by 0.06"


def test_hidden_texels_take_no_colour_from_what_hides_them(take):
    """Eyeballs behind the lids: the depth test keeps lid colour out, so nothing is observed where no opening ever was."""
    from backend.reporter import Reporter

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(observe, "iterate_frames", take.frames)
        patch.setattr(unexplained, "iterate_frames", take.frames)
        texels = find_texels(take.rig, SIZE)
        parsing = np.full_like(take.capture.parsing, PARSING.index("eyes"))  # a parsing that would allow everything
        observed = observe.observe(take.capture.replace(parsing=parsing), take.track, take.rig, texels, choose_frames(take.capture, take.track, 6), Reporter())
    position = np.einsum("nc,ncd->nd", texels.barycentric, take.rig.template[take.rig.triangles[texels.triangle]])
    eye = texels.of("eye_left", "eye_right")
    behind = eye & (position[:, 2] < np.median(position[eye, 2]) - 0.008)
    assert behind.sum() > 20 and observed.weight[behind].max() == 0


def test_mirrored_texels_lie_on_the_other_side(take):
    texels = find_texels(take.rig, SIZE)
    position = np.einsum("nc,ncd->nd", texels.barycentric, take.rig.template[take.rig.triangles[texels.triangle]])
    place = np.full((SIZE, SIZE, 3), np.nan)
    place[texels.rows, texels.cols] = position
    known = np.isfinite(texels.mirror_xy).all(1) & texels.of("skin")
    assert known.mean() > 0.3
    cols, rows = np.floor(texels.mirror_xy[known]).astype(int).clip(0, SIZE - 1).T
    other = place[rows, cols]
    landed = np.isfinite(other).all(1)
    assert landed.mean() > 0.9
    np.testing.assert_allclose(np.median(np.abs(other[landed] - position[known][landed] * [-1, 1, 1]), axis=0), 0, atol=2e-3)
