"""A whole report on a small package whose clip was drawn from the package itself."""

from __future__ import annotations

import json

import cv2
import numpy as np
import pytest
from painted_package import painted_package

from backend.capture.model import PARSING
from backend.errors import AvatarError
from backend.evaluate import evaluate_package
from backend.evaluation import images
from backend.evaluation.crops import SIZE_PX, Cutout, boundary_ring, cutout_of, regions_of
from backend.evaluation.packaged import drives_of, textured_mesh_of
from backend.package.read import read_package
from backend.storage import read_json


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    return painted_package(tmp_path_factory.mktemp("evaluate"))


@pytest.fixture(scope="module")
def report(made):
    return evaluate_package(made[0], made[1], capture=made[2], stages={"track": {"seconds": 1.5}}, provenance={"device": "cpu"})


def test_an_avatar_that_is_its_clip_scores_high(report):
    driven = report["image"]["driven"]
    assert driven["psnr_face_db"] > 35 and driven["ssim_face"] > 0.97 and driven["lpips_face"] is None
    assert driven["num_frames"] == 3
    assert report["image"]["frozen"]["psnr_face_db"] < driven["psnr_face_db"] - 3
    assert report["image"]["neighbour_average"]["psnr_face_db"] < driven["psnr_face_db"] - 3
    assert report["landmarks"]["mean_percent"] is not None and report["signals"]["lip_gap_correlation"] is not None


def test_the_report_has_every_promised_key(report, made):
    assert set(report) == {"format_version", "landmarks", "image", "signals", "photometric", "jitter", "truth", "split", "stages", "provenance"}
    assert {"mean_percent", "test_percent"} <= set(report["landmarks"])
    assert set(report["image"]) == {
        "driven", "driven_by", "static", "albedo", "dynamic", "distilled", "frozen", "neighbour_average", "flow_ceiling", "interpolated", "fitted", "mask", "cutout",
    }
    for column in ("driven", "static", "frozen", "neighbour_average", "flow_ceiling", "interpolated"):
        assert set(report["image"][column]) - {"gain"} == {"psnr_face_db", "ssim_face", "lpips_face", "num_frames", "regions"}
        assert set(report["image"][column]["regions"]) == {"face", "eyes", "mouth", "head", "ring"}
    assert {"lip_gap_correlation", "lip_gap_slope", "blink_f1", "blink_true", "blink_false", "blink_missed"} <= set(report["signals"])
    assert set(report["photometric"]) == {"rmse", "rmse_skin", "rmse_covered", "uncovered_percent", "num_frames", "num_light_frames", "light"}
    assert set(report["jitter"]) == {"num_still_frames", "cutoff_hz", "raw", "smooth"}
    assert report["truth"] is None and report["stages"] == {"track": {"seconds": 1.5}} and report["provenance"] == {"device": "cpu"}
    on_disk = read_json(made[0] / "report.json")
    assert on_disk == json.loads(json.dumps(report))


def test_the_contact_sheet_is_a_picture_of_its_frames(report, made):
    sheet = cv2.imread(str(made[0] / "contact_sheet.png"))
    assert sheet is not None and sheet.shape[0] > 1200 and sheet.std() > 20


def test_again_gives_equal_bytes(report, made):
    before = [(made[0] / name).read_bytes() for name in ("report.json", "contact_sheet.png")]
    evaluate_package(made[0], made[1], capture=made[2], stages={"track": {"seconds": 1.5}}, provenance={"device": "cpu"})
    assert before == [(made[0] / name).read_bytes() for name in ("report.json", "contact_sheet.png")]


def test_another_clip_is_refused(made, tmp_path):
    other = tmp_path / "clip.mp4"
    other.write_bytes(made[1].read_bytes() + b"x")
    for video in (other, tmp_path / "missing.mp4"):
        with pytest.raises(AvatarError) as caught:
            evaluate_package(made[0], video, capture=made[2])
        assert caught.value.code == "bad_input"


def test_what_has_no_surface_counts_as_error(made):
    """Masks come from the capture; where the avatar is absent it is as wrong as black or white can be."""
    package = read_package(made[0])
    cutout = cutout_of(made[2])
    seen = np.full((SIZE_PX, SIZE_PX, 3), 0.3, np.float32)
    state = textured_mesh_of(package)
    surface = images.surface_of(package, state, drives_of(package, np.array([0])), 0, cutout)
    picture, alpha = images.over_worst(surface.colour(state.texture.numpy()), surface.alpha, seen), surface.alpha
    empty = alpha == 0
    assert empty.any() and np.abs(picture[empty] - 1).max() < 1e-6
    ring = boundary_ring(np.ones((SIZE_PX, SIZE_PX), bool), alpha)
    assert ring[empty].all() and not ring[cv2.erode((alpha > 0.5).astype(np.uint8), np.ones((41, 41), np.uint8)) > 0].any()


def test_cutouts_map_pixels_where_they_say():
    frame = np.zeros((100, 80, 3), np.uint8)
    frame[40:44, 30:34] = 255
    cutout = Cutout(left_px=-10, top_px=0, side_px=128)
    cut = cutout.cut(frame)
    rows, cols = np.nonzero(cut[..., 0] > 127)
    centre = cutout.cutout_from_px @ [32, 42, 1]
    assert abs(cols.mean() + 0.5 - centre[0]) < 0.6 and abs(rows.mean() + 0.5 - centre[1]) < 0.6


def test_regions_come_from_the_capture_alone(made):
    capture = made[2]
    cutout = cutout_of(capture)
    regions = regions_of(capture, 3, cutout)
    assert regions["face"].sum() > 1000 and (regions["head"] | ~regions["face"]).all()
    hand = capture.parsing.copy()
    hand[3][hand[3] > 0] = PARSING.index("occlusion")
    assert not regions_of(capture.replace(parsing=hand), 3, cutout)["face"].any()


def test_the_flow_ceiling_removes_a_shift_and_a_smooth_gain():
    rng = np.random.default_rng(0)
    picture = cv2.GaussianBlur(rng.uniform(0, 1, (SIZE_PX, SIZE_PX, 3)).astype(np.float32), (0, 0), 4)
    picture = (picture - picture.min()) / np.ptp(picture)
    seen = np.clip(0.9 * np.roll(picture, (3, -2), (0, 1)), 0, 1)
    mask = np.zeros((SIZE_PX, SIZE_PX), bool)
    mask[100:400, 100:400] = True
    before = images.psnr_db(picture, seen, mask)
    assert images.psnr_db(images.flow_ceiling(picture, seen, mask), seen, mask) > before + 8
