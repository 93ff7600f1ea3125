"""The static texture inside a package: mask, light and the surface as filmed, and packages of writers that knew none of them."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from procedural_rig import procedural_rig
from synthetic_take import checker_texture, synthetic_take, write_take

from backend.errors import AvatarError
from backend.package.model import LIGHT_FILE, MASK_FILE, UNWRAPPED_FILE
from backend.package.read import read_package
from backend.package.write import write_package
from backend.texture.light import ClipLight

LIGHT = ClipLight(np.array([3.5, 0.1, 0.2, -0.7, 0, 0, 0.1, 0, 0], np.float32), np.array([1.05, 1.0, 0.95], np.float32), "camera")


def parts():
    rig = procedural_rig(12, 16)
    capture, track = synthetic_take(rig)
    texture, seen = checker_texture()
    return {
        "name": "Anna", "rig": rig, "track": track, "capture": capture, "texture": texture, "seen": seen, "background_mp4": None, "consent": True,
        "mask": 255 - seen, "light": LIGHT, "unwrapped": texture[::-1].copy(), "texture_info": {"delit": True},
    }


@pytest.fixture
def folder(tmp_path) -> Path:
    return write_package(tmp_path / "anna.avatar", **parts())


def refresh(folder: Path, file: str, content: bytes) -> None:
    """Replaces a file and makes size and hash fit again."""
    (folder / file).write_bytes(content)
    index = json.loads((folder / "avatar.json").read_text())
    for asset in index["assets"]:
        for entry in asset["files"]:
            if entry["path"] == file:
                entry["bytes"], entry["sha256"] = len(content), hashlib.sha256(content).hexdigest()
    (folder / "avatar.json").write_text(json.dumps(index))


def test_round_trip(folder):
    texture = read_package(folder).texture
    values = parts()
    assert texture.is_delit and texture.size_px == 64 and texture.as_filmed == texture.unwrapped
    np.testing.assert_array_equal(cv2.imread(str(texture.mask), cv2.IMREAD_GRAYSCALE), values["mask"])
    np.testing.assert_array_equal(cv2.imread(str(texture.unwrapped))[..., ::-1], values["unwrapped"])
    np.testing.assert_array_equal(cv2.imread(str(texture.albedo))[..., ::-1], values["texture"])
    np.testing.assert_array_equal(texture.light.sh, LIGHT.sh)
    np.testing.assert_array_equal(texture.light.tint, LIGHT.tint)
    assert texture.light.frame == "camera"


def test_the_index_tells_albedo_from_what_was_filmed(folder):
    assets = {asset["id"]: asset for asset in json.loads((folder / "avatar.json").read_text())["assets"]}
    assert assets["albedo"]["info"]["delit"] is True and assets["unwrapped"]["info"]["delit"] is False
    assert [file["path"] for file in assets["unwrapped"]["files"]] == [UNWRAPPED_FILE]
    assert {MASK_FILE, LIGHT_FILE} <= {file["path"] for file in assets["albedo"]["files"]}
    light = json.loads((folder / LIGHT_FILE).read_text())
    assert light["format_version"] == 1 and len(light["sh"]) == 9 and len(light["tint"]) == 3 and light["frame"] == "camera"


def test_packages_of_older_writers_are_read(tmp_path):
    texture = read_package(write_take(tmp_path / "old.avatar", procedural_rig(12, 16))).texture
    assert (texture.mask, texture.light, texture.unwrapped) == (None, None, None) and texture.as_filmed == texture.albedo and not texture.is_delit


def test_replacing_by_an_older_kind_leaves_no_stray_files(folder):
    old = {key: value for key, value in parts().items() if key not in ("mask", "light", "unwrapped", "texture_info")}
    write_package(folder, **old, overwrite=True)
    assert not any((folder / file).exists() for file in (MASK_FILE, LIGHT_FILE, UNWRAPPED_FILE))
    assert read_package(folder).texture.light is None


@pytest.mark.parametrize("file", [MASK_FILE, LIGHT_FILE, UNWRAPPED_FILE])
def test_changes_are_noticed(folder, file):
    content = (folder / file).read_bytes()
    (folder / file).write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    with pytest.raises(AvatarError, match=Path(file).name):
        read_package(folder)


@pytest.mark.parametrize(
    "change",
    [{"format_version": 2}, {"format_version": True}, {"sh": [1.0] * 8}, {"tint": [1.0, 0.0, 1.0]}, {"tint": ["red", 1, 1]}, {"frame": "sun"}, {"sh": [1e400] + [0.0] * 8}, {"sh": None}],
)
def test_a_light_that_is_none_is_refused(folder, change):
    values = {**json.loads((folder / LIGHT_FILE).read_text()), **change}
    refresh(folder, LIGHT_FILE, json.dumps(values).encode())
    with pytest.raises(AvatarError) as caught:
        read_package(folder)
    assert caught.value.code == "bad_input"


@pytest.mark.parametrize("file", [MASK_FILE, UNWRAPPED_FILE])
def test_images_of_another_size_are_refused(folder, file):
    refresh(folder, file, cv2.imencode(".png", np.zeros((32, 32), np.uint8))[1].tobytes())
    with pytest.raises(AvatarError, match="differ in size"):
        read_package(folder)


@pytest.mark.parametrize("name", ["mask", "unwrapped"])
def test_the_writer_refuses_images_of_another_size(tmp_path, name):
    values = parts()
    with pytest.raises(ValueError, match=name):
        write_package(tmp_path / "x.avatar", **{**values, name: values[name][:3]})
    assert list(tmp_path.iterdir()) == []
