"""Where the dynamic texture may paint."""

from __future__ import annotations

import numpy as np
import pytest
from procedural_rig import procedural_rig

from backend.texture.blending_mask import MAX_SKIN_SHARE, blending_mask, texel_areas_m2
from backend.texture.light import even_light
from backend.texture.residual import residual_of_texels
from backend.texture.samples import FrameSamples, mirrored_samples, sampled_texels
from backend.texture.texels import find_texels

SIZE = 256


@pytest.fixture(scope="module")
def head():
    rig = procedural_rig()
    texels = find_texels(rig, SIZE)
    return rig, texels, np.einsum("nc,ncd->nd", texels.barycentric, rig.template[rig.triangles[texels.triangle]])


def values_of(texels, mask):
    return mask.image[texels.rows, texels.cols]


def test_rims_and_what_lies_behind_them_are_dynamic(head):
    rig, texels, places = head
    values = values_of(texels, blending_mask(rig, texels))
    skin = texels.of("skin") & ~texels.is_inside
    for names in (("lid_upper_left", "lid_lower_left"), ("lid_upper_right", "lid_lower_right"), ("lip_inner_upper", "lip_inner_lower")):
        rim = rig.template[np.any([rig.regions[name] for name in names], axis=0)]
        near = skin & (np.linalg.norm(places[:, None] - rim[None], axis=2).min(1) < 0.002)
        assert near.any() and values[near].min() == 255
    front = texels.of("eye_left", "eye_right") & (places[:, 2] > np.quantile(places[texels.of("eye_left"), 2], 0.95))
    assert front.any() and values[front].min() == 255
    assert (values[texels.of("teeth_upper", "teeth_lower", "tongue")] == 255).mean() > 0.5


def test_the_rest_is_exactly_static_and_the_edge_is_soft(head):
    rig, texels, places = head
    mask = blending_mask(rig, texels)
    values = values_of(texels, mask)
    behind = texels.of("skin", "scalp") & (places[:, 2] < 0)
    assert behind.any() and values[behind].max() == 0
    skin = texels.of("skin") & ~texels.is_inside
    assert 0.02 < ((values[skin] > 0) & (values[skin] < 255)).mean()
    assert 0 < mask.skin_share <= MAX_SKIN_SHARE
    areas = texel_areas_m2(rig, texels)
    both = [values[skin].mean() / 255, (values * areas)[skin].sum() / 255 / areas[skin].sum()]
    assert mask.skin_share == pytest.approx(max(both), abs=0.01)


def test_changing_skin_joins_and_the_limit_holds(head):
    rig, texels, places = head
    plain = values_of(texels, blending_mask(rig, texels))
    residual = np.full(len(texels), 0.005, np.float32)
    face = rig.regions["face"][rig.triangles].all(1)[texels.triangle] & texels.of("skin") & ~texels.is_inside
    spot = face & (np.linalg.norm(places - places[face][np.argmax(places[face][:, 1])], axis=1) < 0.02)
    residual[spot] = 0.1
    values = values_of(texels, blending_mask(rig, texels, residual))
    assert (plain[spot] == 0).mean() > 0.5 and (values[spot] > 200).mean() > 0.5
    assert (values >= plain).all()
    wild = np.abs(np.random.default_rng(0).normal(0, 0.2, len(texels))).astype(np.float32)
    assert blending_mask(rig, texels, np.where(face, wild + 0.2, 0.001).astype(np.float32)).skin_share <= MAX_SKIN_SHARE


def test_residual_sees_places_that_change_and_not_the_frames_exposure(head):
    rig, texels, places = head
    chosen = sampled_texels(texels)
    num, frames = len(chosen), 12
    rng = np.random.default_rng(0)
    normals = np.tile(np.float32([0, 0, 1]), (frames, num, 1))
    colour = np.full((frames, num, 3), 0.3, np.float32) * rng.uniform(0.8, 1.2, (frames, 1, 1)).astype(np.float32)
    spot = np.linalg.norm(places[chosen] - places[chosen][num // 2], axis=1) < 0.01
    colour[::2, spot] *= 1.4
    samples = FrameSamples(chosen, colour, np.ones((frames, num), np.float32), normals, np.ones((frames, num), np.uint8))
    residual = residual_of_texels(texels, samples, even_light())[chosen]
    other = np.isin(np.arange(num), mirrored_samples(texels, chosen)[spot])
    assert other.any() and not (other & spot).all()
    # Half of it goes to the other side of the face, which could do the same.
    assert min(np.median(residual[spot]), np.median(residual[other])) > 0.02 > 5 * np.median(residual[~spot & ~other])
    assert np.isnan(residual_of_texels(texels, samples, even_light())[texels.of("scalp")]).all()


def test_the_worst_explained_skin_gets_what_is_left_of_the_allowance(head):
    rig, texels, places = head
    face = rig.regions["face"][rig.triangles[texels.triangle]].all(1) & texels.of("skin")
    wrong = face & (places[:, 0] > 0.03) & (np.abs(places[:, 1] - 0.12) < 0.03)
    assert wrong.sum() > 100
    plain, nothing = values_of(texels, blending_mask(rig, texels)), np.full(len(texels), 0.005, np.float32)
    filled = blending_mask(rig, texels, nothing, np.where(wrong, 0.09, 0.01).astype(np.float32))
    values = values_of(texels, filled)
    assert (values >= plain).all() and values[wrong].mean() > plain[wrong].mean() + 60, "what is badly explained is painted too"
    everything = blending_mask(rig, texels, nothing, np.where(face, 0.09, 0.01).astype(np.float32))
    assert everything.skin_share <= MAX_SKIN_SHARE
    np.testing.assert_array_equal(values_of(texels, blending_mask(rig, texels, nothing, nothing)), values_of(texels, blending_mask(rig, texels, nothing)))
