"""The FLAME reader, on files in FLAME's exact layout: real template and joint regressor, invented bases."""

from __future__ import annotations

import io
import pickle
from pathlib import Path
from typing import Any

import flame_file
import numpy as np
import pytest
import torch

from backend.errors import AvatarError
from backend.render.meshes import rasterise_uv
from backend.rig.flame import load_flame, read_flame_arrays
from backend.rig.load import load_rig
from backend.rig.model import PARTS, RigModel
from backend.rig.posing import posable_head


@pytest.fixture(scope="module")
def arrays() -> dict[str, Any]:
    return flame_file.flame_arrays()


@pytest.fixture(scope="module")
def rig(arrays: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> RigModel:
    return load_flame(flame_file.write_flame_pickle(tmp_path_factory.mktemp("flame") / "generic_model.pkl", arrays))


@pytest.mark.parametrize("form", ["protocol 2", "protocol 4", "chumpy", "npz"])
def test_every_form_of_the_file_gives_the_same_arrays(arrays: dict[str, Any], tmp_path: Path, form: str) -> None:
    if form == "npz":
        path = flame_file.write_flame_npz(tmp_path / "flame.npz", arrays)
    elif form == "chumpy":
        try:
            path = flame_file.write_flame_pickle(tmp_path / "flame.pkl", flame_file.with_chumpy(arrays))
        finally:
            flame_file.forget_chumpy()
    else:
        path = flame_file.write_flame_pickle(tmp_path / "flame.pkl", arrays, int(form[-1]))
    read = read_flame_arrays(path)
    for key in ("v_template", "shapedirs", "posedirs", "weights", "kintree_table", "f"):
        assert np.array_equal(read[key], arrays[key]), key
    assert np.array_equal(read["J_regressor"], arrays["J_regressor"].toarray())


def reference_lbs(arrays: dict[str, Any], betas: torch.Tensor, offsets: torch.Tensor, pose: torch.Tensor) -> torch.Tensor:
    """Posed vertices by smplx's own functions; joints follow ``betas`` only, ``offsets`` (V, 3) move the rest shape."""
    from smplx import lbs

    to = lambda array: torch.as_tensor(np.asarray(array, np.float64))  # noqa: E731
    shapedirs, posedirs = to(arrays["shapedirs"])[:, :, :300], to(arrays["posedirs"]).reshape(-1, 36).T
    regressor, parents = to(arrays["J_regressor"].toarray()), torch.tensor([-1, 0, 1, 1, 1])
    shaped = to(arrays["v_template"])[None] + lbs.blend_shapes(betas, shapedirs)
    joints = lbs.vertices2joints(regressor, shaped)
    rotations = lbs.batch_rodrigues(pose.reshape(-1, 3)).reshape(1, 5, 3, 3)
    correctives = torch.matmul((rotations[:, 1:] - torch.eye(3, dtype=torch.float64)).reshape(1, -1), posedirs).reshape(1, -1, 3)
    _, transforms = lbs.batch_rigid_transform(rotations, joints, parents, dtype=torch.float64)
    blended = torch.matmul(to(arrays["weights"])[None], transforms.reshape(1, 5, 16)).reshape(1, -1, 4, 4)
    rest = shaped + offsets + correctives
    return (blended[..., :3, :3] @ rest[..., None])[..., 0] + blended[..., :3, 3]


@pytest.mark.parametrize("seed", range(3))
def test_posing_equals_smplx(rig: RigModel, arrays: dict[str, Any], seed: int) -> None:
    from smplx import lbs

    random = torch.Generator().manual_seed(seed)
    betas = torch.randn(300, generator=random, dtype=torch.float64)
    controls = torch.randn(100, generator=random, dtype=torch.float64)
    pose = 0.4 * torch.randn(5, 3, generator=random, dtype=torch.float64)
    origin = torch.as_tensor((arrays["J_regressor"].toarray()[0] @ arrays["v_template"]) * [0, 1, 1])
    head = posable_head(rig, betas, dtype=torch.float64)

    # without expression: smplx's whole function, nothing replaced
    whole, _ = lbs.lbs(
        betas[None], pose.reshape(1, -1), torch.as_tensor(arrays["v_template"]), torch.as_tensor(arrays["shapedirs"][:, :, :300]),
        torch.as_tensor(arrays["posedirs"]).reshape(-1, 36).T, torch.as_tensor(arrays["J_regressor"].toarray()), torch.tensor([-1, 0, 1, 1, 1]),
        torch.as_tensor(arrays["weights"]),
    )
    mine = head.pose(torch.zeros(100, dtype=torch.float64), pose)
    # float32 storage of bases is part of the reader: 300 coefficients of noise 1e-10 m each
    assert (mine + origin - whole[0]).abs().max() < 1e-6
    assert (whole[0] - torch.as_tensor(arrays["v_template"])).abs().max() > 1e-2

    # with expression: joints follow identity only, as the FLAME paper has it (smplx lets them follow expression too)
    offsets = torch.einsum("vxe,e->vx", torch.as_tensor(arrays["shapedirs"][:, :, 300:]), controls)[None]
    expected = reference_lbs(arrays, betas[None], offsets, pose)
    assert (head.pose(controls, pose) + origin - expected[0]).abs().max() < 1e-6


def test_the_model_is_complete(rig: RigModel) -> None:
    assert rig.template.shape == (5023, 3) and rig.triangles.shape == (9976, 3)
    assert rig.identity_basis.shape == (5023, 3, 300) and rig.expression_basis.shape == (5023, 3, 100) and rig.correctives.shape == (5023, 3, 36)
    assert rig.joint_names == ("root", "neck", "jaw", "eye_left", "eye_right") and tuple(rig.joint_parents) == (-1, 0, 1, 1, 1)
    joints = rig.joint_regressor @ rig.template
    assert np.abs(joints[0, 1:]).max() < 1e-6 and abs(joints[0, 0]) < 2e-3  # the origin is the root joint's place on the middle plane
    assert joints[3, 0] > 0.02 and joints[4, 0] < -0.02  # the subject's left is +X
    for side, joint in (("left", 3), ("right", 4)):
        ball = rig.template[rig.regions[f"eye_{side}"]]
        assert np.linalg.norm((ball.min(0) + ball.max(0)) / 2 - joints[joint]) < 2e-3
    parts = rig.quad_parts
    assert (parts == PARTS.index("eye_left")).sum() == (parts == PARTS.index("eye_right")).sum() == 1088


def test_regions_are_where_they_should_be(rig: RigModel) -> None:
    centre = {name: rig.template[mask].mean(0) for name, mask in rig.regions.items()}
    for side, sign in (("left", 1), ("right", -1)):
        upper, lower = centre[f"lid_upper_{side}"], centre[f"lid_lower_{side}"]
        assert 0.004 < upper[1] - lower[1] < 0.012 and sign * upper[0] > 0.02
    assert centre["lips_upper"][1] > centre["lip_inner_upper"][1] and centre["lips_lower"][1] < centre["lip_inner_lower"][1]
    assert abs(centre["lip_inner_upper"][1] - centre["lip_inner_lower"][1]) < 2e-3  # shut
    assert centre["lip_inner_upper"][1] < centre["lid_lower_left"][1]
    assert rig.regions["neck_loop"].sum() == 30 and rig.template[rig.regions["neck_loop"], 1].max() < 0.01
    # the only vertices both rims of one eye or of the mouth share are the corners
    for upper, lower, shared in (("lid_upper_left", "lid_lower_left", 2), ("lip_inner_upper", "lip_inner_lower", 2)):
        assert (rig.regions[upper] & rig.regions[lower]).sum() == shared
    face = rig.template[rig.regions["face"]]
    assert 0.12 < np.ptp(face[:, 0]) < 0.16 and 0.13 < np.ptp(face[:, 1]) < 0.19
    assert not (rig.regions["face"] & (rig.regions["eye_left"] | rig.regions["eye_right"])).any()


def test_symmetry_pairs_are_mutual_and_plausible(rig: RigModel) -> None:
    mirror = rig.mirror_vertices
    known = mirror >= 0
    assert known.mean() > 0.99
    assert (mirror[mirror[known]] == np.flatnonzero(known)).all()
    distance = np.linalg.norm(rig.template[mirror[known]] * [-1, 1, 1] - rig.template[known], axis=1)
    assert np.median(distance) < 2.5e-3 and distance.max() < 0.012  # the template itself is lopsided by about 2 mm


def test_texture_layout_is_one_to_one(rig: RigModel) -> None:
    assert rig.uv.min() >= 0 and rig.uv.max() <= 1
    _, corners, owner = rig.triangles_of_quads()
    a, b, c = (rig.uv[corners[:, k]].astype(np.float64) for k in range(3))
    area = ((b - a)[:, 0] * (c - a)[:, 1] - (c - a)[:, 0] * (b - a)[:, 1]) / 2
    skin = rig.quad_parts[owner] == PARTS.index("skin")
    assert (area[skin] > 0).all()  # nothing flipped inside one convex border: no two points of the skin share a texel
    assert area[skin].sum() > 0.7
    # the islands do not overlap: together they cover as much as their areas add up to
    fragments = rasterise_uv(torch.as_tensor(rig.uv), torch.as_tensor(corners.astype(np.int32)), (1024, 1024))
    covered = float(fragments.is_covered.double().mean())
    assert abs(covered - np.abs(area).sum()) < 0.002
    for side in ("left", "right"):
        front = rig.quad_parts[owner] == PARTS.index(f"eye_{side}")
        assert np.abs(area[front]).sum() * 1024**2 > 128**2 * 0.6
    face = skin & rig.regions["face"][rig.triangles].all(1)
    metres = rig.template[rig.triangles].astype(np.float64)
    true_area = np.linalg.norm(np.cross(metres[:, 1] - metres[:, 0], metres[:, 2] - metres[:, 0]), axis=1)
    # the face gets more texels per square metre than the rest
    assert area[face].sum() / true_area[face].sum() > 1.5 * area[skin].sum() / true_area[skin].sum()


@pytest.mark.parametrize("problem", ["text", "missing key", "other size", "nan", "truncated", "body", "empty npz", "no expression"])
def test_files_of_another_kind_are_refused(arrays: dict[str, Any], tmp_path: Path, problem: str) -> None:
    path, content = tmp_path / "model.pkl", dict(arrays)
    if problem == "text":
        path.write_text("# not a model\n")
    elif problem == "truncated":
        data = pickle.dumps(content, 2)
        path.write_bytes(data[: len(data) // 2])
    elif problem == "empty npz":
        buffer = io.BytesIO()
        np.savez(buffer, something=np.zeros(3))
        path.write_bytes(buffer.getvalue())
    else:
        if problem == "missing key":
            del content["posedirs"]
        elif problem == "other size":
            content["v_template"] = content["v_template"][:-1]
        elif problem == "nan":
            content["shapedirs"] = content["shapedirs"].copy()
            content["shapedirs"][5, 1, 7] = np.nan
        elif problem == "body":
            content["kintree_table"] = np.zeros((2, 24))
        elif problem == "no expression":
            content["shapedirs"] = content["shapedirs"][:, :, :300]
        flame_file.write_flame_pickle(path, content)
    with pytest.raises(AvatarError) as caught:
        load_flame(path)
    assert caught.value.code == "bad_input" and str(path) in caught.value.message


def test_a_malicious_model_is_refused_through_the_front_door(arrays: dict[str, Any], tmp_path: Path) -> None:
    import os

    class Malice:
        def __reduce__(self) -> Any:
            return os.system, (f"touch {tmp_path / 'ran'}",)

    path = flame_file.write_flame_pickle(tmp_path / "flame.pkl", {**arrays, "weights": Malice()})
    with pytest.raises(AvatarError, match="system") as caught:
        load_rig(f"flame:{path}", tmp_path / "cache")
    assert caught.value.code == "bad_input" and not (tmp_path / "ran").exists()


def test_reading_twice_gives_equal_models_and_the_cache_returns_them(arrays: dict[str, Any], tmp_path: Path) -> None:
    path = flame_file.write_flame_pickle(tmp_path / "flame.pkl", arrays)
    built = load_flame(path)
    first = load_rig(f"flame:{path}", tmp_path / "cache")
    (kept,) = (tmp_path / "cache").iterdir()
    again = load_rig(f"flame:{path}", tmp_path / "cache")
    for other in (first, again):
        for name in ("template", "uv", "quad_uv", "identity_basis", "skin_weights", "mirror_vertices", "joint_regressor"):
            assert np.array_equal(getattr(built, name), getattr(other, name)), name
        assert all(np.array_equal(mask, other.regions[name]) for name, mask in built.regions.items())
    kept.write_bytes(b"damaged")
    assert np.array_equal(load_rig(f"flame:{path}", tmp_path / "cache").template, built.template)
