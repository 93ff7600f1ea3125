"""Columns of a repainted avatar, and the grid of expressions that its clip never showed."""

from __future__ import annotations

import numpy as np
import pytest
from painted_package import painted_package
from repainted_package import repainted

from backend.evaluation import expression_grid
from backend.evaluation.appearances import ALBEDO, DISTILLED, DYNAMIC, STATIC, appearances_of, best_of, read_mask
from backend.evaluation.expression_grid import check_textures, draw_grid, grid_expressions, rest_drive
from backend.evaluation.images import measure_images
from backend.evaluation.packaged import drives_of
from backend.evaluation.sheet import draw_sheet
from backend.package.read import read_package
from backend.reporter import Reporter


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    folder, clip, capture = painted_package(tmp_path_factory.mktemp("expressions"))
    return repainted(read_package(folder)), clip, capture


@pytest.fixture(scope="module")
def measured(made):
    package, clip, capture = made
    samples = [int(np.flatnonzero(capture.is_test)[0])]
    return measure_images(package, capture, clip, samples, Reporter())


def test_every_texture_has_its_column_and_the_exact_one_is_gated(measured):
    image, _ = measured
    assert image["driven_by"] == DYNAMIC and image["driven"] == image["dynamic"]
    assert all(image[name]["num_frames"] == image["static"]["num_frames"] > 0 for name in (STATIC, ALBEDO, DYNAMIC, DISTILLED))
    # The clip was drawn with the albedo: textures that nobody trained are worse, each in its own way.
    assert image["albedo"]["psnr_face_db"] > 35 > image["dynamic"]["psnr_face_db"]
    assert image["distilled"]["psnr_face_db"] not in (image["dynamic"]["psnr_face_db"], image["albedo"]["psnr_face_db"])
    assert 0 < image["mask"]["skin_area_percent"] < 100 and 0 < image["mask"]["face_pixels_percent"] < 100
    assert image["interpolated"]["num_frames"] == 0 or image["interpolated"]["psnr_face_db"] < 35


def test_the_sheet_shows_mouth_and_eyes_with_every_texture(made, measured):
    _, _, capture = made
    _, shots = measured
    assert set(shots[0].over_clip) == {STATIC, ALBEDO, DYNAMIC, DISTILLED}
    lone = draw_sheet(shots, {shots[0].sample: "x"}, capture)
    # Two regions of four strips (static, dynamic, distilled, clip) below the four large rows.
    assert len(lone) > 46 + 4 * 300 + 2 * 4 * 100 and lone[46 + 1200 :].std() > 5


def test_the_exact_texture_follows_expression_and_view_inside_the_mask_only(made):
    package, _, _ = made
    found = appearances_of(package)
    assert best_of(found).name == DYNAMIC
    outside = read_mask(package) == 0
    static = found[ALBEDO].texture_of(drives_of(package, np.array([0])), np.eye(4))
    one, other = (found[DYNAMIC].texture_of(drives_of(package, np.array([s])), package.animation.world_from_cam[s]) for s in (0, 9))
    assert (one[outside] == static[outside]).all() and (other[outside] == static[outside]).all()
    assert np.abs(one - other).max() > 0.01


def test_unseen_expressions_are_named_drawn_and_harmless(made):
    package, _, _ = made
    expressions = grid_expressions(package)
    assert expressions[0].name == "neutral" and not expressions[0].controls.any()
    picture, checks = draw_grid(package, 48)
    assert picture.dtype == np.uint8 and picture.shape[0] == 2 * 3 * (48 + 18) and picture.std() > 10
    assert checks["num_expressions"] == len(expressions) and checks["num_unseen"] > 0
    assert set(checks["textures"]) == {DYNAMIC, DISTILLED}
    for figures in checks["textures"].values():
        assert figures["num_nonfinite"] == figures["num_out_of_range"] == figures["num_changed_outside"] == 0
    # Weights that nobody trained run away where no frame has been; inputs drawn back into the hull cannot.
    assert checks["textures"][DISTILLED]["beyond_seen_percent"] > checks["textures"][DYNAMIC]["beyond_seen_percent"]


def test_the_check_sees_what_it_is_there_for(made, monkeypatch):
    package, _, _ = made
    found = appearances_of(package)
    whole = found[DYNAMIC].texture_of

    def spoiled(drive, world_from_cam):
        texture = whole(drive, world_from_cam).copy()
        texture[0, 0], texture[1, 1, 0] = 1.5, np.nan
        return texture

    import dataclasses

    broken = {**found, DYNAMIC: dataclasses.replace(found[DYNAMIC], texture_of=spoiled)}
    figures = check_textures(package, broken, grid_expressions(package)[:2])["textures"][DYNAMIC]
    assert figures["num_changed_outside"] == 4 and figures["num_out_of_range"] == 6 and figures["num_nonfinite"] == 2


def test_expressions_of_training_frames_are_not_called_unseen(made, monkeypatch):
    package, _, _ = made
    clip = package.animation
    sample = int(np.flatnonzero((clip.split == 0) & ~clip.is_interpolated)[3])
    values = dict(zip(clip.control_names, clip.controls[sample].tolist()))
    monkeypatch.setattr(expression_grid, "COMBINATIONS", {"seen": values})
    (one,) = grid_expressions(package)
    assert one.newness < 1e-6 and not one.is_unseen
    assert rest_drive(package, one.controls).controls.shape == (1, len(clip.control_names))
