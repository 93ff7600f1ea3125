"""Baked textures are the exact network's, all of them or none; foreign and missing files are refused."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
from dynamic_take import NUM_FRAMES, SIZE, painted_inputs, painted_texture, write_dynamic_take
from procedural_rig import procedural_rig
from synthetic_take import synthetic_take, write_take

from backend.avatars.dynamic_texture.painting import TexturePainter
from backend.bake_textures import bake_textures, read_frames
from backend.capture.colour import srgb_encode
from backend.command_line.arguments import parse
from backend.errors import AvatarError, Cancelled
from backend.half_exr import write_half_exr
from backend.package.read import read_package
from backend.package.read_dynamic import read_dynamic_texture
from backend.package.write import packaged_controls
from backend.reporter import Reporter
from backend.storage import read_json, write_arrays
from backend.worker_jobs import run_job


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("dynamic")
    write_dynamic_take(folder)
    return folder


@pytest.fixture
def frames(tmp_path) -> Path:
    rig = procedural_rig()
    _, track = synthetic_take(rig, NUM_FRAMES)
    chosen = [3, 20, 33, 47, 55]
    write_arrays(tmp_path / "frames.npz", {
        "format_version": np.array(1), "control_names": np.array(rig.expression_names), "controls": packaged_controls(rig, track.controls, track.joint_rotations)[chosen],
        "joint_names": np.array(rig.joint_names), "joint_rotations": track.joint_rotations[chosen], "orientation": painted_inputs()[1][chosen, -3:],
        "numbers": np.array([10, 11, 12, 13, 20]),
    })
    return tmp_path / "frames.npz"


def wanted_textures() -> np.ndarray:
    exact, static, mask, _ = painted_texture()
    painter = TexturePainter(static, mask.astype(np.float32) / 255, exact.canvas, exact.windows)
    return painter.paint(exact.offsets(painted_inputs()[1][[3, 20, 33, 47, 55]]))


def test_the_package_holds_the_dynamic_texture(made):
    package = read_package(made / "anna.avatar")
    asset = next(asset for asset in package.assets if asset.id == "dynamic")
    assert asset.kind == "dynamic_texture" and asset.depends_on == ("head", "albedo")
    assert [file.path for file in asset.files] == ["dynamic/network.onnx", "dynamic/network.npz", "dynamic/eigen.npz"]
    read = read_dynamic_texture(package)
    assert read.input_names == asset.controls and 1 <= asset.info["distilled"]["num_components"] <= 8
    psnr = asset.info["distilled"]["psnr_db"]
    assert {"test_frames", "unseen_combinations", "view"} <= psnr.keys() and psnr["test_frames"]["all"] > psnr["test_frames"]["static"]["all"] + 2
    assert psnr["test_frames"]["num"] == NUM_FRAMES - 50 and psnr["view"]["all"] < 90


def test_pictures_are_those_of_the_exact_network(made, frames, tmp_path):
    result = run_job("bake_textures", {"folder": str(made / "anna.avatar"), "frames": str(frames), "out": str(tmp_path / "baked")}, Reporter())
    assert result["pattern"] == "texture_####.png" and (result["first"], result["last"], result["num_frames"], result["size_px"]) == (10, 20, 5, SIZE)
    names = sorted(path.name for path in (tmp_path / "baked").iterdir())
    assert names == ["frames.json", *(f"texture_{number:04d}.png" for number in (10, 11, 12, 13, 20))]
    wanted = srgb_encode(wanted_textures()) * 255
    for number, image in zip((10, 11, 12, 13, 20), wanted):
        got = cv2.imread(str(tmp_path / "baked" / f"texture_{number:04d}.png"))[..., ::-1].astype(float)
        assert np.abs(got - image).max() < 0.51
    assert np.ptp(wanted, axis=0).max() > 5  # frames differ
    mark = read_json(tmp_path / "baked" / "frames.json")
    assert mark["numbers"] == [10, 11, 12, 13, 20] and mark["colour_space"] == "sRGB" and str(tmp_path) not in str(mark)


def test_dynamic_zero_is_the_static_texture(made, frames, tmp_path):
    bake_textures(made / "anna.avatar", frames, tmp_path / "baked", "png", 0.0, False, Reporter())
    albedo = cv2.imread(str(made / "anna.avatar" / "texture" / "albedo.png"))
    assert np.array_equal(cv2.imread(str(tmp_path / "baked" / "texture_0011.png")), albedo)


def test_half_float_pictures_are_read_by_others(made, frames, tmp_path):
    bake_textures(made / "anna.avatar", frames, tmp_path / "baked", "exr", 1.0, False, Reporter())
    code = "import sys, cv2, numpy; numpy.save(sys.argv[2], cv2.imread(sys.argv[1], cv2.IMREAD_UNCHANGED)[..., ::-1])"
    command = [sys.executable, "-c", code, str(tmp_path / "baked" / "texture_0012.exr"), str(tmp_path / "read.npy")]
    subprocess.run(command, check=True, timeout=60, env={**os.environ, "OPENCV_IO_ENABLE_OPENEXR": "1"})
    assert np.array_equal(np.load(tmp_path / "read.npy"), wanted_textures()[2].astype(np.float16).astype(np.float32))


def test_exr_of_odd_sizes_and_signed_values(tmp_path):
    image = np.random.default_rng(0).normal(0, 2, (37, 5, 3)).astype(np.float32)
    write_half_exr(tmp_path / "a.exr", image)
    write_half_exr(tmp_path / "b.exr", image)
    assert (tmp_path / "a.exr").read_bytes() == (tmp_path / "b.exr").read_bytes()
    code = "import sys, cv2, numpy; numpy.save(sys.argv[2], cv2.imread(sys.argv[1], cv2.IMREAD_UNCHANGED)[..., ::-1])"
    subprocess.run([sys.executable, "-c", code, str(tmp_path / "a.exr"), str(tmp_path / "a.npy")], check=True, timeout=60, env={**os.environ, "OPENCV_IO_ENABLE_OPENEXR": "1"})
    assert np.array_equal(np.load(tmp_path / "a.npy"), image.astype(np.float16).astype(np.float32))


class CancelledAt(Reporter):
    def __init__(self, frame: int) -> None:
        super().__init__()
        self.frame = frame

    def progress(self, stage, done, total, unit=""):
        if done >= self.frame:
            self.cancel()
        super().progress(stage, done, total, unit)


@pytest.mark.parametrize("frame", [0, 3, 5])
def test_cancelling_leaves_nothing(made, frames, tmp_path, frame):
    with pytest.raises(Cancelled):
        bake_textures(made / "anna.avatar", frames, tmp_path / "out" / "baked", "png", 1.0, False, CancelledAt(frame))
    assert not list((tmp_path / "out").iterdir())


def test_what_was_baked_is_replaced_on_demand_and_nothing_else_ever(made, frames, tmp_path):
    out, package = tmp_path / "baked", made / "anna.avatar"
    out.mkdir()
    bake_textures(package, frames, out, "png", 0.0, False, Reporter())
    before = (out / "texture_0010.png").read_bytes()
    with pytest.raises(AvatarError, match="exists"):
        bake_textures(package, frames, out, "png", 1.0, False, Reporter())
    with pytest.raises(Cancelled):
        bake_textures(package, frames, out, "png", 1.0, True, CancelledAt(4))
    assert (out / "texture_0010.png").read_bytes() == before
    bake_textures(package, frames, out, "png", 1.0, True, Reporter())
    assert (out / "texture_0010.png").read_bytes() != before and sorted(path.name for path in tmp_path.iterdir()) == ["baked", "frames.npz"]
    (out / "my notes.txt").write_text("keep me")
    with pytest.raises(AvatarError, match="only baked textures") as caught:
        bake_textures(package, frames, out, "png", 1.0, True, Reporter())
    assert caught.value.code == "bad_request" and (out / "my notes.txt").read_text() == "keep me"


def test_an_avatar_without_one_says_so(frames, tmp_path):
    write_take(tmp_path / "plain.avatar", procedural_rig())
    with pytest.raises(AvatarError, match="no dynamic texture") as caught:
        bake_textures(tmp_path / "plain.avatar", frames, tmp_path / "baked", "png", 1.0, False, Reporter())
    assert caught.value.code == "asset_missing" and not (tmp_path / "baked").exists()


@pytest.mark.parametrize("damage", ["missing", "garbage", "pickled", "shape", "not finite", "foreign"])
def test_a_damaged_network_is_refused_even_when_its_hash_fits(made, frames, tmp_path, damage):
    from test_package import refresh

    package = tmp_path / "anna.avatar"
    shutil.copytree(made / "anna.avatar", package)
    path = package / "dynamic" / "network.npz"
    with np.load(path) as archive:
        arrays = dict(archive)
    trained = next(name for name in sorted(arrays) if name.startswith("network.") and arrays[name].ndim > 1)
    if damage == "missing":
        path.unlink()
    elif damage == "garbage":
        path.write_bytes(b"PK\3\4 garbage")
    elif damage == "pickled":
        np.savez(path, **{**arrays, trained: np.array([{"a": 1}], dtype=object)})
    elif damage == "shape":
        np.savez(path, **{**arrays, trained: arrays[trained][:-1]})
    elif damage == "not finite":
        np.savez(path, **{**arrays, trained: arrays[trained] * np.nan})
    else:
        np.savez(path, weights=np.zeros(3))
    if path.exists():
        refresh(package, "dynamic/network.npz")
    with pytest.raises(AvatarError) as caught:
        bake_textures(package, frames, tmp_path / "baked", "png", 1.0, False, Reporter())
    assert caught.value.code == ("asset_missing" if damage == "missing" else "bad_input") and not (tmp_path / "baked").exists()


@pytest.mark.parametrize("key, value", [
    ("controls", None), ("controls", np.zeros((5, 2))), ("joint_rotations", np.full((5, 5, 3), np.inf)), ("numbers", np.array([1, 1, 2, 3, 4])), ("format_version", np.array(7)),
    ("orientation", np.zeros((4, 3))), ("control_names", np.array(["a"] * 15)),
])
def test_frames_that_do_not_fit_are_refused(made, frames, tmp_path, key, value):
    with np.load(frames) as archive:
        arrays = dict(archive)
    arrays.pop(key) if value is None else arrays.update({key: value})
    np.savez(frames, **arrays)
    with pytest.raises(AvatarError) as caught:
        bake_textures(made / "anna.avatar", frames, tmp_path / "baked", "png", 1.0, False, Reporter())
    assert caught.value.code == "bad_input" and not (tmp_path / "baked").exists()


def test_frames_without_orientation_get_the_constant_one(made, frames, tmp_path):
    with np.load(frames) as archive:
        arrays = dict(archive)
    arrays.pop("orientation")
    arrays.pop("numbers")
    np.savez(frames, **arrays)
    assert read_frames(frames).orientation is None and read_frames(frames).numbers.tolist() == [0, 1, 2, 3, 4]
    bake_textures(made / "anna.avatar", frames, tmp_path / "baked", "png", 1.0, False, Reporter())
    exact, static, mask, _ = painted_texture()
    inputs = painted_inputs()[1][[3]].copy()
    inputs[:, -3:] = exact.space.constant_orientation
    wanted = srgb_encode(TexturePainter(static, mask.astype(np.float32) / 255, exact.canvas, exact.windows).paint(exact.offsets(inputs))[0]) * 255
    assert np.abs(cv2.imread(str(tmp_path / "baked" / "texture_0000.png"))[..., ::-1] - wanted).max() < 0.51


def test_settings_out_of_range_are_refused(made, frames, tmp_path):
    for file_format, dynamic in (("jpg", 1.0), ("png", 1.5)):
        with pytest.raises(AvatarError) as caught:
            bake_textures(made / "anna.avatar", frames, tmp_path / "baked", file_format, dynamic, False, Reporter())
        assert caught.value.code == "bad_request"


def test_the_command_line_says_the_same():
    command = parse(["bake-textures", "anna.avatar", "--frames", "f.npz", "--out", "baked", "--format", "exr"])
    assert command.kind == "bake_textures" and command.settings["file_format"] == "exr" and command.settings["dynamic"] == 1.0 and not command.settings["overwrite"]
