"""The ICT-FaceKit reader: packed file, original folder, what it adds."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from shared_data import shared_path

from backend.errors import AvatarError
from backend.render.meshes import rasterise_uv
from backend.rig.ict import NUM_VERTICES, arkit_name, load_ict, other_side
from backend.rig.ict_folder import read_ict_folder, read_obj
from backend.rig.model import PARTS, RigModel
from backend.rig.posing import posable_head


@pytest.fixture(scope="module")
def packed() -> dict[str, np.ndarray]:
    with np.load(shared_path("models/ict_facekit_compact.npz")) as archive:
        return {key: archive[key] for key in archive.files}


@pytest.fixture(scope="module")
def rig() -> RigModel:
    return load_ict(shared_path("models/ict_facekit_compact.npz"))


def write_obj(path: Path, vertices: np.ndarray, data: dict[str, np.ndarray] | None = None) -> None:
    lines = [f"v {x:.9f} {y:.9f} {z:.9f}" for x, y, z in vertices]
    if data is not None:
        lines += [f"vt {u:.6f} {v:.6f}" for u, v in data["uv"]]
        for face, face_uv in zip(data["faces"].tolist(), data["faces_uv"].tolist()):
            lines.append("f " + " ".join(f"{a + 1}/{b + 1}" for a, b in zip(face, face_uv) if a >= 0))
    path.write_text("mtllib none.mtl\n" + "\n".join(lines) + "\n")


def test_units_and_axes(rig: RigModel) -> None:
    assert 0.3 < np.ptp(rig.template[:, 1]) < 0.4  # head and neck, in metres
    joints = rig.joint_regressor @ rig.template
    order = {name: joints[index] for index, name in enumerate(rig.joint_names)}
    assert np.abs(order["root"]).max() < 1e-3
    assert order["root"][1] < order["neck"][1] < order["head"][1] < order["eye_left"][1]
    assert 0.055 < order["eye_left"][0] - order["eye_right"][0] < 0.07  # the subject's left is +X
    assert rig.template[:, 2].max() - order["eye_left"][2] > 0.02  # the nose lies in front of the eyes


def test_names_follow_arkit(rig: RigModel) -> None:
    assert arkit_name("eyeBlink_L") == "eyeBlinkLeft" and arkit_name("browInnerUp_R") == "browInnerUpRight" and arkit_name("jawLeft") == "jawLeft"
    assert other_side("eyeBlinkLeft") == "eyeBlinkRight" and other_side("jawRight") == "jawLeft" and other_side("jawOpen") == "jawOpen"
    names = rig.expression_names
    assert {"eyeBlinkLeft", "jawOpen", "mouthSmileRight", "browInnerUpLeft", "cheekPuffLeft", "mouthClose"} <= set(names)
    for index, name in enumerate(names):
        assert names[rig.mirror_expressions[index]] == (other_side(name) if other_side(name) in names else name)
    moved = np.abs(rig.expression_basis[:, :, names.index("eyeBlinkLeft")]).sum(1) > 2e-3
    assert rig.template[moved, 0].min() > 0  # left is the subject's


def test_gaze_comes_from_the_eye_joints_alone(rig: RigModel) -> None:
    index = rig.expression_names.index("eyeLookInLeft")
    ball = rig.regions["eye_left"]
    assert np.abs(rig.expression_basis[ball, :, index]).max() == 0
    assert np.abs(rig.expression_basis[~ball, :, index]).max() > 1e-3  # the lids still follow
    head = posable_head(rig)
    turn = torch.zeros(5, 3)
    turn[3, 1] = 0.3
    moved = (head.pose(torch.zeros(len(rig.expression_names)), turn) - torch.as_tensor(rig.template)).norm(dim=-1).numpy()
    eye = np.isin(np.arange(rig.num_vertices), rig.quads[np.isin(rig.quad_parts, [PARTS.index("eye_left"), PARTS.index("cornea_left")])])
    assert moved[eye].max() > 2e-3 and moved[~eye].max() < 1e-6


def test_identity_and_expression_are_the_files(rig: RigModel, packed: dict[str, np.ndarray]) -> None:
    ids = rig.source_vertex_ids
    assert len(ids) == 25959 and (ids[1:] > ids[:-1]).all()
    assert np.allclose(rig.identity_basis[:, :, 3], packed["identity"][3][ids].astype(np.float32) * 0.01, atol=1e-8)
    jaw = list(packed["expression_names"]).index("jawOpen")
    assert np.allclose(rig.expression_basis[:, :, jaw], packed["expression"][jaw][ids].astype(np.float32) * 0.01, atol=1e-8)
    shift = packed["neutral"][ids] * 0.01 - rig.template
    assert np.ptp(shift, axis=0).max() < 1e-6


def test_parts_and_regions(rig: RigModel) -> None:
    part_names = np.array(PARTS)
    for name in ("skin", "teeth_upper", "teeth_lower", "eye_left", "eye_right", "cornea_left", "cornea_right", "lashes"):
        assert (rig.quad_parts == PARTS.index(name)).any(), name
    vertices = {name: rig.template[np.unique(rig.quads[part_names[rig.quad_parts] == name].clip(0))] for name in ("teeth_upper", "teeth_lower")}
    assert np.median(vertices["teeth_upper"][:, 1]) > np.median(vertices["teeth_lower"][:, 1])
    centre = {name: rig.template[mask].mean(0) for name, mask in rig.regions.items()}
    assert 0.004 < centre["lid_upper_left"][1] - centre["lid_lower_left"][1] < 0.012
    assert centre["lips_upper"][1] > centre["lip_inner_upper"][1] > centre["lip_inner_lower"][1] > centre["lips_lower"][1]
    jaw = rig.expression_basis[:, 1, rig.expression_names.index("jawOpen")]
    middle = np.abs(rig.template[:, 0]) < 0.01
    assert jaw[rig.regions["lip_inner_lower"] & middle].max() < -0.02 < jaw[rig.regions["lip_inner_upper"] & middle].min()
    blink = rig.template + rig.expression_basis[:, :, rig.expression_names.index("eyeBlinkLeft")]
    shut = blink[rig.regions["lid_upper_left"], 1].mean() - blink[rig.regions["lid_lower_left"], 1].mean()
    assert abs(shut) < 0.15 * (centre["lid_upper_left"][1] - centre["lid_lower_left"][1])


def test_weights_and_symmetry(rig: RigModel) -> None:
    assert np.allclose(rig.skin_weights.sum(1), 1, atol=1e-6) and rig.skin_weights.min() >= 0
    assert np.allclose(rig.joint_regressor.sum(1), 1, atol=1e-5)
    assert (rig.skin_weights[rig.regions["face"], 2] == 1).mean() > 0.97  # the face goes with the skull
    assert rig.skin_weights[rig.regions["neck_loop"], 2].max() == 0
    mirror = rig.mirror_vertices
    known = mirror >= 0
    assert known.mean() > 0.98 and (mirror[mirror[known]] == np.flatnonzero(known)).all()
    left = rig.regions["eye_left"] & known
    assert rig.regions["eye_right"][mirror[left]].all()


def test_texture_islands_do_not_overlap(rig: RigModel) -> None:
    assert rig.uv.min() >= 0 and rig.uv.max() <= 1
    _, corners, owner = rig.triangles_of_quads()
    covered = np.zeros((1024, 1024), np.int32)
    for part in np.unique(rig.quad_parts):
        chosen = np.ascontiguousarray(corners[rig.quad_parts[owner] == part].astype(np.int32))
        covered += rasterise_uv(torch.as_tensor(rig.uv), torch.as_tensor(chosen), (1024, 1024)).is_covered.numpy()
        if PARTS[part].startswith("eye"):
            assert np.ptp(rig.uv[np.unique(chosen)], axis=0).min() * 1024 > 128
    assert (covered > 1).mean() < 1e-4 and (covered == 1).mean() > 0.5


def test_the_original_folder_gives_the_same_model(packed: dict[str, np.ndarray], tmp_path: Path) -> None:
    folder = tmp_path / "ICT-FaceKit" / "FaceXModel"
    folder.mkdir(parents=True)
    neutral = packed["neutral"].astype(np.float64)
    write_obj(folder / "generic_neutral_mesh.obj", neutral, packed)
    for mode in range(2):
        write_obj(folder / f"identity{mode:03d}.obj", neutral + packed["identity"][mode])
    chosen = [list(packed["expression_names"]).index(name) for name in ("eyeBlink_L", "jawOpen")]
    for index in chosen:
        write_obj(folder / f"{packed['expression_names'][index]}.obj", neutral + packed["expression"][index])
    small = {**packed, "identity": packed["identity"][:2], "expression": packed["expression"][chosen], "expression_names": packed["expression_names"][chosen]}
    np.savez(tmp_path / "small.npz", **small)
    from_folder, from_file = load_ict(tmp_path / "ICT-FaceKit"), load_ict(tmp_path / "small.npz")
    assert from_folder.expression_names == from_file.expression_names == ("eyeBlinkLeft", "jawOpen")
    for name in ("template", "identity_basis", "expression_basis", "uv"):
        assert np.allclose(getattr(from_folder, name), getattr(from_file, name), atol=2e-6), name
    assert np.array_equal(from_folder.quads, from_file.quads) and np.array_equal(from_folder.quad_uv, from_file.quad_uv)


def test_obj_reader(tmp_path: Path) -> None:
    path = tmp_path / "a.obj"
    path.write_text("# c\nv 1 2 3\nv 4 5 6 1.0\nv 7 8 9\nv 0 0 1e-3\nvn 0 0 1\nvt 0.5 0.25\nvt 1 0 0\nusemtl x\nf 1/1/1 2/2/1 3/1/1\nf 1/2 2/1 3/1 4/2\n")
    vertices, uv, faces, faces_uv = read_obj(path)
    assert vertices.tolist() == [[1, 2, 3], [4, 5, 6], [7, 8, 9], [0, 0, 1e-3]] and uv.tolist() == [[0.5, 0.25], [1, 0]]
    assert faces.tolist() == [[0, 1, 2, -1], [0, 1, 2, 3]] and faces_uv.tolist() == [[0, 1, 0, -1], [1, 0, 0, 1]]


@pytest.mark.parametrize("text", ["v 1 2 x\n", "v 1 2 3\nf 1/1 2/1 3/1 4/1 5/1\n", "vt 0 0\n", "v 1 2\nv 1 2 3\n"])
def test_damaged_obj_files_are_typed_errors(tmp_path: Path, text: str) -> None:
    path = tmp_path / "a.obj"
    path.write_text(text)
    with pytest.raises(AvatarError) as caught:
        read_obj(path)
    assert caught.value.code == "bad_input" and str(path) in caught.value.message


def test_things_that_are_not_ict(tmp_path: Path) -> None:
    with pytest.raises(AvatarError) as caught:
        load_ict(tmp_path / "none")
    assert caught.value.code == "asset_missing"
    (tmp_path / "empty").mkdir()
    (tmp_path / "text.npz").write_text("hello")
    np.savez(tmp_path / "other.npz", neutral=np.zeros((4, 3)))
    for name in ("empty", "text.npz", "other.npz"):
        with pytest.raises(AvatarError) as caught:
            load_ict(tmp_path / name)
        assert caught.value.code == "bad_input", name
    folder = tmp_path / "cube"
    folder.mkdir()
    (folder / "generic_neutral_mesh.obj").write_text("v 0 0 0\nv 1 0 0\nv 0 1 0\nvt 0 0\nf 1/1 2/1 3/1\n")
    (folder / "identity000.obj").write_text("v 0 0 0\nv 1 0 0\nv 0 1 0\n")
    (folder / "jawOpen.obj").write_text("v 0 0 0\nv 1 0 0\nv 0 1 1\n")
    assert read_ict_folder(folder)["identity"].shape == (1, 3, 3)
    with pytest.raises(AvatarError, match=str(NUM_VERTICES)):
        load_ict(folder)
    (folder / "jawOpen.obj").write_text("v 0 0 0\n")
    with pytest.raises(AvatarError, match="jawOpen"):
        load_ict(folder)
