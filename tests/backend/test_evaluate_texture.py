"""Textures against painted truth, and the appearances an avatar can wear, on made pictures."""

from __future__ import annotations

import dataclasses
import json
import sys
from pathlib import Path

import numpy as np
import pytest
from painted_package import painted_package

from backend.avatars.instant import Drive
from backend.evaluation.appearances import ALBEDO, STATIC, Appearance, appearances_of, best_of
from backend.evaluation.drawing import DrawnSurface
from backend.evaluation.images import measure_images
from backend.evaluation.mask_share import mask_area_percent
from backend.evaluation.truth_texture import PaintedTruth, difference_percent, measure_albedo, measure_changes, measure_light
from backend.package.read import read_package
from backend.reporter import Reporter
from backend.synth.expression_texture import ExpressionTexture
from backend.texture.light import ClipLight, even_light

SIDE = 64
NOTHING = Drive(np.zeros((1, 0), np.float32), np.zeros((1, 0, 3), np.float32), np.eye(4)[None])


def made_texture(seed=0):
    return np.random.default_rng(seed).uniform(0.1, 0.6, (SIDE, SIDE, 3))


def test_an_albedo_that_is_right_up_to_a_gain_is_right():
    true, chosen = made_texture(), np.ones((SIDE, SIDE), bool)
    same = measure_albedo(true * [0.8, 0.9, 1.1], true, chosen)
    assert same["psnr_db"] > 60 and same["log_error_percent"] < 1e-3 and same["detail_correlation"] > 0.999
    np.testing.assert_allclose(same["gains"], [1 / 0.8, 1 / 0.9, 1 / 1.1], rtol=1e-5)
    # Shading is an error, but leaves the fine detail; a constant has none.
    ramp = np.linspace(0.5, 1.5, SIDE)[None, :, None]
    shaded = measure_albedo(true * ramp, true, chosen)
    assert shaded["log_error_percent"] > 15 and shaded["detail_correlation"] > 0.98
    assert measure_albedo(np.full_like(true, 0.3) + 1e-4 * made_texture(5), true, chosen)["detail_correlation"] < 0.3
    assert difference_percent(true.reshape(-1, 3), 2 * true.reshape(-1, 3)) < 1e-9


def test_the_light_is_compared_up_to_its_gain_and_in_its_own_frame():
    sh = np.array([3.5, 0.3, 1.0, -0.4, 0.1, 0.2, 0.05, -0.1, 0.02], np.float32)
    true = 2.5 * sh[:, None] * np.ones(3)
    right = measure_light(ClipLight(sh, np.ones(3, np.float32)), true)
    assert right["shade_error_percent"] < 1e-4 and right["direction_deg"] < 0.1 and right["coefficients_relative"] < 1e-5
    from_camera = ClipLight(sh * np.array([1, -1, -1, 1, -1, 1, 1, -1, 1], np.float32), np.ones(3, np.float32), "camera")
    assert measure_light(from_camera, true)["shade_error_percent"] < 1e-4
    normals = np.random.default_rng(0).standard_normal((50, 3))
    normals /= np.linalg.norm(normals, axis=1, keepdims=True)
    np.testing.assert_allclose(from_camera.shade(normals, np.diag([1.0, -1, -1, 1])), ClipLight(sh, np.ones(3, np.float32)).shade(normals), atol=1e-5)
    turned = ClipLight(sh * np.array([1, 1, 1, -1, -1, 1, 1, -1, 1], np.float32), np.ones(3, np.float32))
    wrong = measure_light(turned, true)
    assert wrong["shade_error_percent"] > 5 and 20 < wrong["direction_deg"] < 90
    assert measure_light(even_light(), true)["direction_deg"] is None


def test_changes_that_follow_the_truth_score_and_still_ones_do_not():
    albedo = made_texture().astype(np.float32)
    layer = np.zeros((12, 12, 3), np.float16)
    layer[2:-2, 2:-2] = -0.08
    weights = np.linspace(0.4, 1, 6, dtype=np.float32)[:, None]
    truth = PaintedTruth(albedo, ExpressionTexture(("line",), np.array([[20, 30, 32, 42]], np.int32), (layer,), weights), np.zeros((9, 3)))
    chosen, frames = np.ones((SIDE, SIDE), bool), np.arange(6)
    painters = {"dynamic": lambda sample: truth.texture(sample, SIDE) * np.float32(0.5), "albedo": lambda sample: albedo * np.float32(0.5)}
    found = measure_changes(painters, truth, np.full(3, 2.0), frames, frames, chosen)
    assert found["dynamic"]["psnr_changing_db"] > 60 and found["dynamic"]["change_correlation"] > 0.999 and found["dynamic"]["num_changing"] == 64
    assert found["albedo"]["psnr_changing_db"] < 30 and found["albedo"]["change_correlation"] is None
    assert found["albedo"]["psnr_db"] > found["albedo"]["psnr_changing_db"] + 10


def test_an_appearance_is_its_texture_times_its_light_times_its_gain():
    normals = np.array([[0, 0, 1], [1, 0, 0]], np.float32)
    surface = DrawnSurface(np.array([0, 3], np.int32), np.array([[0.5, 0.5], [0.5, 0.5]], np.float32), normals, np.array([[0.25, 0], [0, 0.25]], np.float32), np.eye(4))
    light = ClipLight(np.array([2.0, 0, 1, 0, 0, 0, 0, 0, 0], np.float32), np.array([1.2, 1.0, 0.8], np.float32))
    texture = np.full((8, 8, 3), 0.4, np.float32)
    picture = Appearance("x", lambda drive, world_from_cam: texture, light, gain=2.0).picture(surface, NOTHING)
    np.testing.assert_allclose(picture[0, 0], 0.25 * 2 * 0.4 * light.shade(normals)[0], rtol=1e-5)
    np.testing.assert_allclose(picture[1, 1], 0.25 * 2 * 0.4 * light.shade(normals)[1], rtol=1e-5)
    assert not picture[0, 1].any() and picture[0, 0, 0] > picture[1, 1, 0]


@pytest.fixture(scope="module")
def package(tmp_path_factory):
    folder, clip, capture = painted_package(tmp_path_factory.mktemp("texture"))
    return read_package(folder), clip, capture


def test_an_old_package_has_one_appearance_and_its_gain_is_fitted_to_training_frames(package, tmp_path, monkeypatch):
    avatar, clip, capture = package
    found = appearances_of(avatar)
    assert list(found) == [STATIC] and best_of(found).name == STATIC
    image, shots = measure_images(avatar, capture, clip, [], Reporter())
    assert not shots and image["driven_by"] == STATIC and image["mask"] is None
    assert image["static"]["gain"] == pytest.approx(1, abs=0.01) and image["albedo"] is image["dynamic"] is image["distilled"] is None
    # A texture that is half as bright gets its brightness back, and test frames have no say in it.
    import backend.evaluation.appearances as module

    whole = module.read_linear
    monkeypatch.setattr(module, "read_linear", lambda path: whole(path) * np.float32(0.6))
    darker, _ = measure_images(avatar, capture, clip, [], Reporter())
    assert darker["static"]["gain"] == pytest.approx(1 / 0.6, rel=0.02) or darker["static"]["gain"] == pytest.approx(1.5, rel=0.02)
    assert darker["static"]["psnr_face_db"] > 25


def test_a_package_with_light_has_an_albedo_column(package, tmp_path):
    avatar, _, _ = package
    lit = dataclasses.replace(avatar, texture=dataclasses.replace(avatar.texture, light=even_light(), is_delit=True))
    found = appearances_of(lit)
    assert list(found) == [STATIC, ALBEDO] and best_of(found).name == ALBEDO
    np.testing.assert_array_equal(found[ALBEDO].texture_of(NOTHING, np.eye(4)), found[STATIC].texture_of(NOTHING, np.eye(4)))


def test_the_share_of_the_mask_is_weighted_by_area(package):
    mesh = package[0].mesh
    assert mask_area_percent(mesh, np.ones((256, 256), np.float32)) == pytest.approx(100, abs=1e-3)
    assert mask_area_percent(mesh, np.zeros((256, 256), np.float32)) == 0
    half = np.repeat((np.arange(256) < 128)[:, None], 256, 1).astype(np.float32)
    assert mask_area_percent(mesh, half) + mask_area_percent(mesh, 1 - half) == pytest.approx(100, abs=1e-3)


def test_the_tables_hold_what_the_reports_say(monkeypatch):
    monkeypatch.setattr(sys, "path", [str(Path(__file__).resolve().parents[2] / "tools"), *sys.path])
    from benchmark_texture import clips_table, lights_table, synthetic_table

    regions = {name: {"psnr_db": 20.0, "ssim": 0.9} for name in ("face", "mouth", "eyes")}
    better = {name: {"psnr_db": 23.5, "ssim": 0.95} for name in ("face", "mouth", "eyes")}
    image = {"static": {"regions": regions, "lpips_face": None}, "dynamic": {"regions": better, "lpips_face": None}, "distilled": None,
             "mask": {"skin_area_percent": 21.3, "face_pixels_percent": 33.0}}  # fmt: skip
    text = clips_table({"kitchen": json.loads(json.dumps(image))})
    assert "+3.50 / +3.50" in text and "distilled" not in text and "21.3 % of the skin" in text
    one = {"unwrap": {"detail_correlation": 0.8, "log_error_percent": 12.0}, "albedo": {"detail_correlation": 0.9, "log_error_percent": 6.0}, "light": {"shade_error_percent": 3.0, "direction_deg": None}}
    table = lights_table({"seed 1": {"lights": [one], "between_lights_unwrap_percent": [9.0], "between_lights_albedo_percent": [3.0], "ratio": 3.0}})
    assert "| seed 1 | 9.00 | 3.00 | 3.00 |" in table and "0.8 / 0.9" in table
    assert "12 / 6" in synthetic_table({"clip": one})
