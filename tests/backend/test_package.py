"""The avatar package: what is written is read, equal input gives equal bytes, nothing foreign is touched, nothing broken is accepted."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from procedural_rig import procedural_rig
from synthetic_take import checker_texture, synthetic_take, write_take

from backend.errors import AvatarError
from backend.geometry.rotations import matrices_from_axis_angles
from backend.package import write as writer
from backend.package.posing import posable_head_of
from backend.package.read import is_inside, read_package
from backend.package.write import check_output, write_package
from backend.rig.gaze import eye_look_controls, gaze_angles_rad
from backend.rig.posing import posable_head

REPOSITORY = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def rig():
    return procedural_rig()


@pytest.fixture
def folder(tmp_path, rig) -> Path:
    return write_take(tmp_path / "anna.avatar", rig)


def contents(folder: Path) -> dict[str, str]:
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(folder.rglob("*")) if path.is_file()}


def parts(rig, **take):
    capture, track = synthetic_take(rig, **take)
    texture, seen = checker_texture()
    return {"name": "Anna", "rig": rig, "track": track, "capture": capture, "texture": texture, "seen": seen, "background_mp4": None, "consent": True}


def test_round_trip(folder, rig):
    capture, track = synthetic_take(rig)
    package = read_package(folder)
    assert (package.name, package.fps, package.consent, package.rig_name) == ("Anna", capture.fps, True, "procedural")
    assert package.source_name == "clip.mp4" and package.source_sha256 == capture.source_sha256
    assert package.animation.size_hw == capture.size_hw and package.animation.background is None
    assert np.array_equal(package.animation.world_from_root, track.world_from_root)
    assert np.array_equal(package.animation.px_from_cam, track.px_from_cam)
    assert np.array_equal(package.mesh.triangles, rig.triangles)
    assert np.array_equal(package.mesh.mediapipe478.triangle_ids, rig.mediapipe478.triangle_ids)
    assert set(package.mesh.regions) == set(rig.regions)
    assert package.texture.size_px == 64 and not package.texture.is_delit
    assert "private" not in (folder / "avatar.json").read_text()  # no path of the user's machine


def test_the_packaged_head_poses_like_the_rig(folder, rig):
    _, track = synthetic_take(rig)
    package = read_package(folder)
    controls = torch.as_tensor(package.animation.controls, dtype=torch.float64)
    rotations = torch.as_tensor(track.joint_rotations, dtype=torch.float64)
    wanted = posable_head(rig, torch.as_tensor(track.identity, dtype=torch.float64), track.scale, torch.float64).pose(controls, rotations)
    got = posable_head_of(package.mesh, torch.float64).pose(controls, rotations)
    assert (got - wanted).abs().max() < 1e-7


def test_control_table(folder, rig):
    capture, _ = synthetic_take(rig)
    package = read_package(folder)
    assert tuple(control.name for control in package.controls) == rig.expression_names
    by_name = {control.name: control for control in package.controls}
    assert by_name["eyeBlinkLeft"].mirror == "eyeBlinkRight" and by_name["jawOpen"].mirror is None
    for index, control in enumerate(package.controls):
        train = package.animation.controls[capture.is_train, index]
        assert (control.min, control.max, control.neutral) == (0, 1, 0)
        assert (control.seen_min, control.seen_max) == (float(train.min()), float(train.max()))
        assert (control.moves_kind, control.moves_target) == ("shape_key", control.name)
    everywhere = package.animation.controls.max(0)
    assert any(control.seen_max < everywhere[index] for index, control in enumerate(package.controls))  # test frames are not looked at


def test_lids_come_from_the_eyes_and_lips_close_no_more_than_they_opened(folder, rig):
    clip = read_package(folder).animation
    for name, values in eye_look_controls(rig.joint_names, clip.joint_rotations).items():
        assert np.array_equal(clip.controls[:, clip.control_names.index(name)], values)
    assert (clip.controls[:, clip.control_names.index("mouthClose")] <= clip.controls[:, clip.control_names.index("jawOpen")]).all()


@given(st.lists(st.floats(-1.2, 1.2), min_size=3, max_size=3))
def test_gaze_angles_are_those_of_the_turned_axis(rotation):
    rotation = np.array(rotation)
    look = matrices_from_axis_angles(rotation)[:, 2]
    left, down = gaze_angles_rad(rotation)
    assert left == pytest.approx(np.arctan2(look[0], look[2]), abs=1e-9)
    assert down == pytest.approx(np.arcsin(-look[1]), abs=1e-7)


def test_gaze_signs():
    names = ("root", "eye_left", "eye_right")
    rotations = np.zeros((4, 3, 3))
    rotations[0, 1:, 0] = np.radians(11.4)  # about +X: down
    rotations[1, 1:, 1] = np.radians(15.0)  # about +Y: to the subject's left
    rotations[2, 1:, 0] = -np.radians(4.9)
    rotations[3, 1:, 1] = -np.radians(40.0)
    values = eye_look_controls(names, rotations)
    assert values["eyeLookDownLeft"][0] == values["eyeLookDownRight"][0] == pytest.approx(1)
    assert values["eyeLookOutLeft"][1] == pytest.approx(1) and values["eyeLookInRight"][1] == pytest.approx(15.0 / 15.4)
    assert values["eyeLookInLeft"][1] == values["eyeLookOutRight"][1] == 0
    assert values["eyeLookUpLeft"][2] == pytest.approx(0.5)
    assert values["eyeLookInLeft"][3] == values["eyeLookOutRight"][3] == 1  # clamped


def test_equal_input_equal_bytes(tmp_path, rig):
    first = write_take(tmp_path / "a" / "anna.avatar", rig)
    second = write_take(tmp_path / "b" / "anna.avatar", procedural_rig())
    assert contents(first) == contents(second)
    assert sorted(contents(first)) == ["animation/clip.npz", "avatar.json", "mesh/head.npz", "texture/albedo.png", "texture/seen.png"]


def test_nothing_is_left_beside_the_package(tmp_path, rig):
    write_take(tmp_path / "anna.avatar", rig)
    assert [path.name for path in tmp_path.iterdir()] == ["anna.avatar"]


def test_what_a_killed_run_left_is_cleared(tmp_path, rig):
    part = tmp_path / ".anna.avatar.part"
    part.mkdir()
    (part / "half.npz").write_text("half")
    write_take(tmp_path / "anna.avatar", rig)
    assert [path.name for path in tmp_path.iterdir()] == ["anna.avatar"] and "half.npz" not in contents(tmp_path / "anna.avatar")


def test_a_failure_leaves_nothing(tmp_path, rig, monkeypatch):
    def fail(*args):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(writer, "write_json", fail)
    with pytest.raises(AvatarError, match="disk is full") as caught:
        write_package(tmp_path / "anna.avatar", **parts(rig))
    assert caught.value.code == "environment" and list(tmp_path.iterdir()) == []


def test_existing_output_is_refused_and_replaced_only_on_demand(folder, rig):
    (folder / "my notes.txt").write_text("keep me")
    (folder / "mesh" / "sculpt.blend").write_text("me too")
    (folder / "report.json").write_text("{}")
    before = contents(folder)
    with pytest.raises(AvatarError) as caught:
        write_package(folder, **parts(rig))
    assert caught.value.code == "bad_request" and contents(folder) == before

    write_package(folder, **{**parts(rig, num_frames=7), "overwrite": True})
    after = contents(folder)
    assert after["my notes.txt"] == before["my notes.txt"] and after["mesh/sculpt.blend"] == before["mesh/sculpt.blend"]
    assert "report.json" not in after  # it described the avatar that is gone
    assert read_package(folder).animation.num_samples == 7


def test_a_kill_while_replacing_is_noticed_and_healed(folder, rig, monkeypatch):
    replace, done = os.replace, []

    def die_after_two(source, target):
        if Path(source).parent.name in ("mesh", "animation", "texture") and str(target).startswith(str(folder)):
            if len(done) == 1:
                raise KeyboardInterrupt
            done.append(target)
        replace(source, target)

    monkeypatch.setattr(writer.os, "replace", die_after_two)
    with pytest.raises(KeyboardInterrupt):
        write_package(folder, **{**parts(rig, num_frames=7, scale=1.2), "overwrite": True})
    monkeypatch.undo()
    with pytest.raises(AvatarError):
        read_package(folder)
    write_package(folder, **{**parts(rig, num_frames=7, scale=1.2), "overwrite": True})
    assert read_package(folder).animation.num_samples == 7


@pytest.mark.parametrize("kind", ["file", "foreign folder", "linked folder"])
def test_what_is_no_avatar_is_never_replaced(tmp_path, rig, kind):
    out = tmp_path / "out.avatar"
    if kind == "file":
        out.write_text("mine")
    elif kind == "foreign folder":
        out.mkdir()
        (out / "report.json").write_text("mine")
    else:
        write_take(out, rig)
        (tmp_path / "elsewhere").mkdir()
        (tmp_path / "elsewhere" / "head.npz").write_text("mine")
        for path in (out / "mesh").iterdir():
            path.unlink()
        (out / "mesh").rmdir()
        (out / "mesh").symlink_to(tmp_path / "elsewhere")
    before = contents(tmp_path)
    with pytest.raises(AvatarError) as caught:
        write_package(out, **{**parts(rig), "overwrite": True})
    assert caught.value.code == "bad_request" and contents(tmp_path) == before


def test_an_empty_folder_is_fine(tmp_path, rig):
    (tmp_path / "anna.avatar").mkdir()
    check_output(tmp_path / "anna.avatar", overwrite=False)
    write_package(tmp_path / "anna.avatar", **parts(rig))
    assert read_package(tmp_path / "anna.avatar").name == "Anna"


def test_parts_that_do_not_belong_together_are_refused(tmp_path, rig):
    values = parts(rig)
    for change in (
        {"track": values["track"].replace(rig_name="flame")}, {"capture": synthetic_take(rig, num_frames=5)[0]}, {"name": "  "},
    ):  # fmt: skip
        with pytest.raises(AvatarError):
            write_package(tmp_path / "x.avatar", **{**values, **change})
    with pytest.raises(ValueError, match="seen"):
        write_package(tmp_path / "x.avatar", **{**values, "seen": values["seen"][:3]})
    assert list(tmp_path.iterdir()) == []


def rewrite(folder: Path, file: str, change) -> None:
    """Changes the arrays of a file and makes size and hash fit again, as an attacker would."""
    with np.load(folder / file) as archive:
        arrays = dict(archive)
    change(arrays)
    np.savez(folder / file, **arrays)
    refresh(folder, file)


def refresh(folder: Path, file: str) -> None:
    index = json.loads((folder / "avatar.json").read_text())
    for asset in index["assets"]:
        for entry in asset["files"]:
            if entry["path"] == file:
                entry["bytes"] = (folder / file).stat().st_size
                entry["sha256"] = hashlib.sha256((folder / file).read_bytes()).hexdigest()
    (folder / "avatar.json").write_text(json.dumps(index))


def edit_index(folder: Path, change) -> None:
    index = json.loads((folder / "avatar.json").read_text())
    change(index)
    (folder / "avatar.json").write_text(json.dumps(index))


def _set(key, value, where=None):
    def change(arrays):
        if where is None:
            arrays[key] = value(arrays[key]) if callable(value) else value
        else:
            arrays[key] = arrays[key].copy()
            arrays[key][where] = value

    return change


MESH_DAMAGE = {
    "missing array": lambda arrays: arrays.pop("uv"),
    "wrong type": _set("vertices", lambda array: array.astype(int)),
    "pickled": _set("part_names", np.array([{"a": 1}], dtype=object)),
    "wrong length": _set("skin_weights", lambda array: array[:-1]),
    "index too large": _set("quads", 10**6, (0, 0)),
    "negative index": _set("quads", -5, (3, 1)),
    "uv index too large": _set("quad_uv", 10**6, (0, 2)),
    "folded face": _set("quads", lambda array: np.concatenate([array[:-1], [[0, 0, 1, 2]]])),
    "double face": _set("quads", lambda array: np.concatenate([array[:-1], array[:1]])),
    "not finite": _set("vertices", np.nan, (5, 1)),
    "cyclic joints": _set("joint_parents", np.array([-1, 2, 1, 2, 2], np.int32)),
    "two roots": _set("joint_parents", -1, 2),
    "weights": _set("skin_weights", 0.7, (0, 0)),
    "unknown part": _set("quad_parts", 200, 0),
    "double key": _set("shape_key_names", lambda names: np.array([names[0], *names[:-1]])),
    "landmark outside": _set("mediapipe478.triangle_ids", 10**6, 4),
}


@pytest.mark.parametrize("kind", MESH_DAMAGE)
def test_a_broken_mesh_is_refused(folder, kind):
    rewrite(folder, "mesh/head.npz", MESH_DAMAGE[kind])
    with pytest.raises(AvatarError, match="head.npz") as caught:
        read_package(folder)
    assert caught.value.code == "bad_input"


CLIP_DAMAGE = {
    "times fall": _set("time_s", -1.0, 5),
    "not rigid": _set("world_from_root_smooth", 3.0, (2, 0, 0)),
    "no focal length": _set("px_from_cam", 0.0, (0, 0)),
    "other controls": _set("control_names", lambda names: names[::-1]),
    "too few controls": lambda arrays: arrays.update(controls=arrays["controls"][:, :-1]),
    "no frames": lambda arrays: arrays.update({key: value[:0] for key, value in arrays.items() if value.ndim and len(value) == 12}),
}


@pytest.mark.parametrize("kind", CLIP_DAMAGE)
def test_a_broken_clip_is_refused(folder, kind):
    rewrite(folder, "animation/clip.npz", CLIP_DAMAGE[kind])
    with pytest.raises(AvatarError) as caught:
        read_package(folder)
    assert caught.value.code == "bad_input"


INDEX_DAMAGE = {
    "other format": lambda index: index.update(format="something"),
    "no version": lambda index: index.pop("format_version"),
    "newer": lambda index: index.update(format_version=99),
    "newer asset": lambda index: index["assets"][0].update(version=99),
    "fps": lambda index: index.update(fps=0),
    "consent text": lambda index: index.update(consent="yes"),
    "frames": lambda index: index.update(num_frames=3),
    "no mesh": lambda index: index["assets"].pop(0),
    "double id": lambda index: index["assets"][1].update(id="head"),
    "depends on nothing": lambda index: index["assets"][1].update(depends_on=["ghost"]),
    "control without range": lambda index: index["controls"][0].pop("min"),
    "controls reversed": lambda index: index["controls"].reverse(),
    "unhashed": lambda index: index["assets"][0]["files"][0].pop("sha256"),
    "traversal": lambda index: index["assets"][0]["files"].append({"path": "../../etc/passwd", "sha256": "0" * 64, "bytes": 1}),
    "absolute": lambda index: index["assets"][0]["files"].append({"path": "/etc/passwd", "sha256": "0" * 64, "bytes": 1}),
    "drive": lambda index: index["assets"][0]["files"].append({"path": "C:/x", "sha256": "0" * 64, "bytes": 1}),
}


@pytest.mark.parametrize("kind", INDEX_DAMAGE)
def test_a_broken_index_is_refused(folder, kind):
    edit_index(folder, INDEX_DAMAGE[kind])
    with pytest.raises(AvatarError) as caught:
        read_package(folder)
    assert caught.value.code == "bad_input"
    if "newer" in kind:
        assert "Update" in caught.value.hint


@pytest.mark.parametrize("file", ["mesh/head.npz", "animation/clip.npz", "texture/albedo.png", "texture/seen.png"])
def test_files_are_missed_and_changes_noticed(folder, file):
    content = (folder / file).read_bytes()
    for changed in (content[:-1], content[:-1] + bytes([content[-1] ^ 1]), b""):
        (folder / file).write_bytes(changed)
        with pytest.raises(AvatarError, match=Path(file).name):
            read_package(folder)
    (folder / file).unlink()
    with pytest.raises(AvatarError) as caught:
        read_package(folder)
    assert caught.value.code == "asset_missing"


def test_a_link_out_of_the_folder_is_refused(folder, tmp_path):
    outside = tmp_path / "outside.npz"
    (folder / "mesh/head.npz").rename(outside)
    (folder / "mesh/head.npz").symlink_to(outside)
    with pytest.raises(AvatarError, match="out of the avatar's folder"):
        read_package(folder)


def test_a_texture_that_is_none_is_refused(folder):
    (folder / "texture/albedo.png").write_bytes(b"GIF89a" + bytes(100))
    refresh(folder, "texture/albedo.png")
    with pytest.raises(AvatarError, match="no PNG"):
        read_package(folder)


@pytest.mark.parametrize("path", ["/a", "../a", "a/../../b", "a\\b", "C:/a", "", "\0", "."])
def test_paths_that_lead_out(path):
    assert not is_inside(path)


def test_no_package_says_what_to_choose(tmp_path):
    with pytest.raises(AvatarError) as caught:
        read_package(tmp_path)
    assert caught.value.code == "asset_missing" and ".avatar" in caught.value.hint


def test_the_reader_needs_numpy_only(folder):
    code = f"""
import sys, importlib.abc
class Refuse(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ("torch", "scipy", "cv2", "numba", "av", "PIL"):
            raise ImportError(name)
sys.meta_path.insert(0, Refuse())
sys.path.insert(0, {str(REPOSITORY)!r})
from backend.package.read import read_package
print(read_package({str(folder)!r}).name)
"""
    done = subprocess.run([sys.executable, "-I", "-c", code], capture_output=True, text=True, timeout=60)
    assert done.stdout.strip() == "Anna", done.stderr
