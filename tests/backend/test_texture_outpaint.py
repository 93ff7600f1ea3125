"""What the clip did not show: quilting, the joint with what it showed, and the whole of it on a head."""

from __future__ import annotations

import numpy as np
import pytest
from painted_take import SIZE, Take
from scipy.ndimage import gaussian_filter

from backend.config import TextureConfig
from backend.texture import observe, unexplained
from backend.texture.gradient_blend import BAND_TEXELS, blend_border, surface_links
from backend.texture.outpaint import hair_strands
from backend.texture.quilting import quilt
from backend.texture.texels import find_texels
from backend.texture.unwrap import unwrap_texture

SKIN = np.array([0.42, 0.26, 0.19])


def noise(size: int, seed: int = 0, sigma: float = 1.5) -> np.ndarray:
    fine = gaussian_filter(np.random.default_rng(seed).standard_normal((size, size)), sigma)
    return (fine / fine.std()).astype(np.float32)


def test_quilting_uses_valid_pixels_only_and_repeats_itself_with_its_seed():
    exemplar = np.stack([noise(128), noise(128, 1)], -1)
    is_valid = np.zeros((128, 128), bool)
    is_valid[10:100, 20:120] = True
    exemplar[~is_valid] = 1e6
    first, again, other = (quilt(exemplar, is_valid, (150, 210), 32, 8, seed) for seed in (1, 1, 2))
    assert first.shape == (150, 210, 2) and first.tobytes() == again.tobytes() and not np.array_equal(first, other)
    known = {tuple(pixel) for pixel in exemplar[is_valid].tolist()}
    assert {tuple(pixel) for pixel in first.reshape(-1, 2).tolist()} <= known, "every pixel is one of the exemplar's"


def test_quilted_texture_is_as_rough_as_its_exemplar():
    exemplar = noise(160)[..., None]
    made = quilt(exemplar, np.ones((160, 160), bool), (300, 300), 48, 12, 3)
    steps = lambda image: np.abs(np.diff(image[..., 0], axis=1))  # noqa: E731
    assert np.percentile(steps(made), 99.9) < 1.3 * np.percentile(steps(exemplar), 99.9), "no seams"
    assert made.std() == pytest.approx(exemplar.std(), rel=0.15)


def test_small_exemplars_get_small_blocks_and_none_gets_none():
    exemplar = noise(64)[..., None]
    is_valid = np.zeros((64, 64), bool)
    is_valid[5:22, 5:22] = True
    assert quilt(exemplar, is_valid, (40, 40), 64, 16, 0).std() > 0.1
    assert not quilt(exemplar, np.zeros_like(is_valid), (40, 40), 64, 16, 0).any()


@pytest.fixture(scope="module")
def made():
    """A head with rough skin, its texture, texels and places."""
    painted = (SKIN * np.exp(0.12 * noise(SIZE, 5))[..., None]).astype(np.float32)
    take = Take(painted, 12)
    textures = []
    for _ in range(2):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(observe, "iterate_frames", take.frames)
            patch.setattr(unexplained, "iterate_frames", take.frames)
            textures.append(unwrap_texture(take.capture, take.track, take.rig, TextureConfig(size_px=SIZE, num_frames=6)))
    texels = find_texels(take.rig, SIZE)
    return take, textures, texels, np.einsum("nc,ncd->nd", texels.barycentric, take.rig.template[take.rig.triangles[texels.triangle]])


def test_no_texel_is_invalid_and_equal_input_gives_equal_bytes(made):
    _, (first, second), _, _ = made
    assert np.isfinite(first.linear).all() and first.linear.min() > 0 and first.linear.max() <= 1
    assert first.linear.tobytes() == second.linear.tobytes() and first.srgb.tobytes() == second.srgb.tobytes()


def test_the_border_of_what_was_seen_does_not_show(made):
    """Steps between neighbours across the border against the steps inside the face (spec 14.8)."""
    _, (texture, _), texels, places = made
    skin = texels.of("skin") & ~texels.is_inside
    image, seen, ids = texture.linear, texture.seen, texels.image(np.arange(len(texels), dtype=np.int64), -1)
    pairs = [(ids[:, :-1], ids[:, 1:]), (ids[:-1], ids[1:])]
    first, second = (np.concatenate([pair[k].ravel() for pair in pairs]) for k in (0, 1))
    both = (first >= 0) & (second >= 0)
    first, second = first[both], second[both]
    both = skin[first] & skin[second] & (np.linalg.norm(places[first] - places[second], axis=1) < 0.004)
    first, second = first[both], second[both]
    log = np.log(image[texels.rows, texels.cols]).mean(-1)
    step, trust = np.abs(log[first] - log[second]), seen[texels.rows, texels.cols].astype(int)
    border = (trust[first] >= 128) != (trust[second] >= 128)
    inside = (trust[first] == 255) & (trust[second] == 255)
    assert border.sum() > 50
    assert step[border].mean() < np.percentile(step[inside], 95)
    assert np.median(step[border]) < 2 * np.median(step[inside])


def test_unseen_skin_has_detail(made):
    """The neck behind is not airbrushed: its fine contrast is at least a quarter of the face's."""
    take, (texture, _), texels, places = made
    skin = texels.of("skin") & ~texels.is_inside
    seen = texture.seen[texels.rows, texels.cols]
    unseen = skin & (seen == 0) & np.isfinite(texels.mirror_xy).all(1)

    def contrast(chosen: np.ndarray) -> float:
        weight = gaussian_filter(texels.image(chosen.astype(float)), 3)
        plane = texels.image(np.where(chosen, np.log(texture.linear[texels.rows, texels.cols]).mean(-1), 0))
        low = gaussian_filter(plane, 3) / np.maximum(weight, 1e-6)
        return float((plane - low)[texels.rows, texels.cols][chosen].std())

    assert unseen.sum() > 300
    assert contrast(unseen) > 0.25 * contrast(skin & (seen == 255))


def test_blending_takes_the_borders_colour_and_leaves_the_far_side(made):
    take, _, texels, places = made
    chosen = texels.of("skin", "scalp") & ~texels.is_inside
    known = chosen & (places[:, 2] > np.median(places[chosen, 2]))
    filling = np.ones((len(texels), 1)) + 0.1 * np.sin(300 * places[:, :1])
    colour = filling + 0.5
    links = surface_links(texels, chosen, places, take.rig.triangles[texels.triangle])
    blended = blend_border(texels, links, filling, colour, known, chosen)
    np.testing.assert_array_equal(blended[known | ~chosen], filling[known | ~chosen])
    first, second = links
    across = known[first] != known[second]
    outer = np.where(known[first], second, first)[across]
    assert np.median((blended - filling)[outer]) > 0.35, "next to the border the filling has its colour"
    changed = chosen & (np.abs(blended - filling)[:, 0] > 1e-6)
    assert 0 < changed.sum() < 0.9 * (chosen & ~known).sum() and BAND_TEXELS == 32


def test_strands_are_longer_than_wide_and_fade_at_the_crown():
    """On a ball: lightness changes slowly down the back of the head and quickly around it; where all strands meet there is no star."""
    angles = np.arange(0.0, np.pi, 0.002)
    down = 0.09 * np.stack([np.zeros_like(angles), np.cos(angles), -np.sin(angles)], -1)
    around = 0.09 * np.stack([np.sin(angles), np.zeros_like(angles), -np.cos(angles)], -1)
    everything = np.concatenate([down, around, 0.09 * np.random.default_rng(0).standard_normal((500, 3))])
    strands, contrast = hair_strands(np.concatenate([down, around, np.array([[0, 0.09, 0.0], [0, -0.09, 0.0]])]))
    num = len(angles)
    lower = slice(int(0.55 * num), int(0.8 * num))  # below the whorl
    steps_down, steps_around = np.abs(np.diff(strands[:num][lower])).mean(), np.abs(np.diff(strands[num : 2 * num])).mean()
    assert steps_around > 1.8 * steps_down
    assert contrast.min() < 0.2 and contrast[num // 2 : num].min() == 1
    assert np.isfinite(hair_strands(everything)[0]).all()
