"""Telling light from skin: on samples made from formulas, and on a head that our renderer lit in three ways."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from painted_take import SIZE, Take
from scipy.ndimage import gaussian_filter

from backend.capture.model import PARSING
from backend.config import TextureConfig
from backend.geometry.rotations import matrices_from_axis_angles
from backend.texture import observe, unexplained
from backend.texture.delight import JOINT_STEPS, LIGHT_STEPS, delight
from backend.texture.light import harmonics
from backend.texture.samples import FrameSamples
from backend.texture.texels import find_texels
from backend.texture.unwrap import unwrap_texture

LUMINANCE = np.array([0.2126, 0.7152, 0.0722])
LIGHTS = (
    np.array([3.4, 0.3, 0.4, 1.3, 0.05, 0.0, 0.0, 0.1, 0.1]),
    np.array([3.2, 0.6, 0.3, -1.2, -0.1, 0.1, -0.1, 0.0, 0.0]),
    np.array([3.3, 1.1, 0.5, 0.1, 0.0, 0.1, 0.0, 0.0, -0.1]),
)


def made_samples(light: np.ndarray, num: int = 1500, frames: int = 16, seed: int = 0) -> tuple[FrameSamples, np.ndarray]:
    """Places on the front of a ball that turns by 20 degrees, with freckles; their albedo (m, 3)."""
    rng = np.random.default_rng(seed)
    at = rng.standard_normal((num, 3)) * [1, 1, 0.5] + [0, 0, 1.0]
    normals = at / np.linalg.norm(at, axis=1, keepdims=True)
    turns = rng.uniform(-0.35, 0.35, (frames, 3)) * [0.5, 1, 0.3]
    normals = np.einsum("fij,kj->fki", matrices_from_axis_angles(turns), normals)
    albedo = np.array([0.42, 0.26, 0.19]) * np.exp(0.12 * np.random.default_rng(99).standard_normal(num))[:, None]
    noise = np.exp(0.02 * rng.standard_normal((frames, num, 1)))
    colour = albedo * np.maximum(harmonics(normals) @ light, 0.2)[..., None] * noise
    weight = np.where(normals[..., 2] > 0.2, normals[..., 2] ** 2, 0)
    label = np.full((frames, num), PARSING.index("skin"), np.uint8)
    as32 = lambda values: values.astype(np.float32)  # noqa: E731
    return FrameSamples(np.arange(num, dtype=np.int32), as32(colour), as32(weight), as32(normals), label), albedo


@pytest.mark.parametrize("light", LIGHTS)
def test_light_and_albedo_come_back(light):
    samples, albedo = made_samples(light)
    found = delight(samples, np.full(len(albedo), -1))
    grid = harmonics(samples.normals[samples.weight > 0])
    true, made = grid @ light, grid @ found.light.sh.astype(np.float64)
    assert np.abs(made / made.mean() - true / true.mean()).mean() < 0.03, "shade over what was seen, of its mean"
    known = np.isfinite(found.log_albedo)
    assert known.mean() > 0.3
    assert np.corrcoef(found.log_albedo[known], np.log(albedo[known] @ LUMINANCE))[0, 1] > 0.93
    weight = samples.weight[:, known]
    shade = np.maximum(harmonics(samples.normals[:, known]) @ found.light.sh, 0.2)
    assert (weight * shade).sum() / weight.sum() == pytest.approx(1, abs=0.05), "the gauge: mean shade of the seen skin is 1"


def test_albedo_stands_still_while_only_the_light_moves():
    samples, albedo = made_samples(LIGHTS[0])
    heard = []
    delight(samples, np.full(len(albedo), -1), watch=lambda step, phase, values, sh: heard.append((step, phase, values.tobytes(), sh.copy())))
    assert [step for step, *_ in heard] == list(range(LIGHT_STEPS + JOINT_STEPS)) and LIGHT_STEPS == 50
    first = heard[:LIGHT_STEPS]
    assert {phase for _, phase, *_ in first} == {"light"} and len({values for _, _, values, _ in first}) == 1
    assert np.abs(first[0][3] - first[-1][3]).max() > 0.01, "the light did move"
    joint = heard[LIGHT_STEPS:]
    assert {phase for _, phase, *_ in joint} == {"joint"} and len({values for _, _, values, _ in joint}) > 1
    assert np.abs(joint[-1][3] - joint[-2][3]).max() < 0.01, "and came to rest"


def test_equal_samples_give_equal_bits():
    samples, albedo = made_samples(LIGHTS[1])
    none = np.full(len(albedo), -1)
    first, second = delight(samples, none), delight(samples, none)
    assert first.light.sh.tobytes() == second.light.sh.tobytes() and first.log_albedo.tobytes() == second.log_albedo.tobytes()


def test_a_beard_is_not_taken_for_shadow():
    """The lower third is three times as dark and of the same kind; the light is even but for a lamp on one side."""
    light = np.array([3.4, 0.0, 0.3, 0.9, 0, 0, 0, 0, 0])
    samples, _ = made_samples(light)
    beard = samples.normals[:, :, 1].mean(0) < -0.45
    assert 0.1 < beard.mean() < 0.4
    samples.colour[:, beard] *= 0.33
    found = delight(samples, np.full(len(beard), -1))
    up_down = np.array([[0, 0.6, 0.8], [0, -0.6, 0.8]])
    shade = harmonics(up_down) @ found.light.sh
    assert abs(np.log(shade[0] / shade[1])) < 0.35, "of the log 1.1 between skin and beard"


def test_too_little_skin_leaves_the_light_in():
    samples, _ = made_samples(LIGHTS[0], num=60)
    found = delight(samples, np.full(60, -1))
    assert not found.is_estimated and np.isnan(found.log_albedo).all()
    np.testing.assert_allclose(found.light.shade(np.eye(3)), 1, atol=1e-6)


def spotted(size: int) -> np.ndarray:
    """Skin with fine detail and nothing broad."""
    rng = np.random.default_rng(1)
    fine = gaussian_filter(rng.standard_normal((size, size)), 1.5)
    return (np.array([0.42, 0.26, 0.19]) * np.exp(0.15 * fine / fine.std())[..., None]).astype(np.float32)


@pytest.fixture(scope="module")
def lit():
    """The same head under three lights: textures and texels."""
    made = []
    for light in LIGHTS:
        take = Take(spotted(SIZE), 12, light[:, None] * np.ones(3))
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(observe, "iterate_frames", take.frames)
            patch.setattr(unexplained, "iterate_frames", take.frames)
            made.append(unwrap_texture(take.capture, take.track, take.rig, TextureConfig(size_px=SIZE, num_frames=6)))
    return made, find_texels(take.rig, SIZE)


def test_three_lights_give_one_albedo(lit):
    made, texels = lit
    seen = np.min([texture.seen for texture in made], axis=0)[texels.rows, texels.cols] == 255
    chosen = seen & texels.of("skin") & ~texels.is_inside
    assert chosen.sum() > 2000
    log = lambda image: np.log(np.maximum(image[texels.rows, texels.cols][chosen], 1e-3))  # noqa: E731
    raw = [log((texture.unwrapped / 255.0) ** 2.2) for texture in made]
    albedo = [log(texture.linear) for texture in made]

    def apart(values: list[np.ndarray]) -> float:
        return float(np.mean([np.abs((a - b) - np.median(a - b, axis=0)).mean() for a, b in itertools.combinations(values, 2)]))

    assert apart(raw) > 0.1 and apart(raw) > 3 * apart(albedo)
    true = np.log(spotted(SIZE) @ LUMINANCE)
    weight = gaussian_filter(texels.image(chosen.astype(float)), 4)

    def detail(image: np.ndarray) -> np.ndarray:
        low = gaussian_filter(np.where(texels.image(chosen), image, 0), 4) / np.maximum(weight, 1e-6)
        return (image - low)[texels.rows, texels.cols][chosen]

    for texture in made:
        assert np.corrcoef(detail(np.log(np.maximum(texture.linear @ LUMINANCE, 1e-3))), detail(true))[0, 1] > 0.9


def test_albedo_under_the_light_is_what_was_filmed(lit):
    """At the mean pose, albedo times shade is close to the plain unwrap."""
    made, texels = lit
    for texture, light in zip(made, LIGHTS):
        assert texture.info["delit"] and texture.light.frame == "world"
        around = np.array([[0, 0, 1.0], [0.7, 0, 0.714], [-0.7, 0, 0.714], [0, 0.7, 0.714], [0, -0.7, 0.714]])
        true, found = harmonics(around) @ light, harmonics(around) @ texture.light.sh
        np.testing.assert_allclose(found / found.mean(), true / true.mean(), atol=0.16)


def test_overexposed_skin_is_left_out_and_told(monkeypatch):
    take = Take(spotted(SIZE) * 1.6, 8, (LIGHTS[0] * 1.5)[:, None] * np.ones(3))
    monkeypatch.setattr(observe, "iterate_frames", take.frames)
    monkeypatch.setattr(unexplained, "iterate_frames", take.frames)
    texture = unwrap_texture(take.capture, take.track, take.rig, TextureConfig(size_px=SIZE, num_frames=5))
    assert texture.info["clipped_skin_percent"] > 3
    assert any("overexposed" in line for line in texture.info["warnings"])
    assert texture.linear.max() <= 1 and np.isfinite(texture.linear).all()
