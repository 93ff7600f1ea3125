"""Canvas, inputs, network, painting and light of the dynamic texture: each against a formula, a slow version, or a round trip."""

from __future__ import annotations

import dataclasses
import functools

import numpy as np
import pytest
import torch
from expressive_take import SIZE, ExpressiveTake
from procedural_rig import procedural_rig

from backend.avatars.dynamic_texture.blocks import BLOCK_NAMES, block_windows
from backend.avatars.dynamic_texture.canvas import Canvas, canvas_of_arrays, pack_canvas
from backend.avatars.dynamic_texture.exact import ExactTexture, read_exact, write_exact
from backend.avatars.dynamic_texture.inputs import (
    FACING,
    InputLayer,
    InputSpace,
    gather_inputs,
    head_orientation,
    input_names,
    input_space,
    input_space_of_arrays,
)
from backend.avatars.dynamic_texture.network import DECODERS, LARGEST_OFFSET, network_arrays, network_of_arrays, seeded_network
from backend.avatars.dynamic_texture.painting import WINDOW_PX, TexturePainter, canvas_lookup, composed, paintable_windows
from backend.avatars.dynamic_texture.render import render, texture
from backend.avatars.dynamic_texture.state import DynamicTexture
from backend.avatars.dynamic_texture.train import all_inputs
from backend.capture.colour import srgb_encode
from backend.errors import AvatarError
from backend.geometry.cameras import invert_rigid
from backend.geometry.rotations import matrices_from_axis_angles
from backend.render.meshes import rasterise, sample_texture
from backend.render.surface_normals import vertex_normals
from backend.texture.light import ClipLight
from backend.texture.texels import find_texels


@functools.lru_cache(maxsize=1)
def windows() -> np.ndarray:
    return block_windows(procedural_rig(), SIZE)


@functools.lru_cache(maxsize=2)
def packed(size_px: int = 256) -> Canvas:
    return pack_canvas(procedural_rig(), find_texels(procedural_rig(), SIZE), the_take().mask > 0, windows(), BLOCK_NAMES, size_px)


@functools.lru_cache(maxsize=1)
def the_take() -> ExpressiveTake:
    return ExpressiveTake()


def space_of(inputs: np.ndarray, names: tuple[str, ...]) -> InputSpace:
    return input_space(names, len(procedural_rig().expression_names), inputs)


def state_of(light: ClipLight | None = None) -> DynamicTexture:
    take = the_take()
    inputs, names = all_inputs(take.rig, take.track)
    network = seeded_network(space_of(inputs, names), 256, "shuffle", 5)
    with torch.no_grad():
        network.paint.weight.mul_(30)
    small = paintable_windows(windows(), np.full((WINDOW_PX, WINDOW_PX), 100.0))
    exact = ExactTexture(network.eval(), space_of(inputs, names), packed(), small)
    return DynamicTexture(take.mesh, light or take.texture.light, take.mask.astype(np.float32) / 255, exact, take.rig.expression_names, take.rig.joint_names)


@pytest.mark.parametrize("size_px", [256, 512])
def test_patches_cover_what_may_change_and_do_not_overlap(size_px: int) -> None:
    canvas = packed(size_px)
    used = np.zeros((size_px, size_px), int)
    for patch in canvas.patches:
        x0, y0, x1, y1 = patch.canvas_rect_px
        used[y0:y1, x0:x1] += 1
    assert used.max() == 1 and used.mean() > 0.35, "the canvas is mostly used, nothing twice"
    rows, cols = np.nonzero((the_take().mask > 0) & (windows()[:4].max(0) > 0.3))
    uv = np.stack([(cols + 0.5) / SIZE, 1 - (rows + 0.5) / SIZE], -1)
    small = paintable_windows(windows(), np.full((WINDOW_PX, WINDOW_PX), 100.0))
    lookup = canvas_lookup(canvas, small, uv)
    total = np.bincount(lookup.place, lookup.weight, minlength=len(uv))
    assert np.quantile(total, 0.02) > 0.9 and total.max() < 1.02, "windows sum to one"
    per_block = np.zeros((len(canvas.block_names), len(uv)), int)
    for patch in canvas.patches:
        u0, v0, u1, v1 = patch.uv_rect
        per_block[patch.block] += (uv[:, 0] >= u0) & (uv[:, 0] < u1) & (uv[:, 1] >= v0) & (uv[:, 1] < v1)
    assert per_block.max() == 1, "patches of one block lie apart on the texture"


def test_a_texel_of_the_canvas_looks_itself_up() -> None:
    canvas = packed()
    for patch in canvas.patches:
        x0, y0, x1, y1 = patch.canvas_rect_px
        found = canvas.px_of_uv(patch, canvas.uv_of_texels(patch).reshape(-1, 2)).reshape(y1 - y0, x1 - x0, 2)
        wanted = np.stack(np.meshgrid(np.arange(x0, x1) + 0.5, np.arange(y0, y1) + 0.5), -1)
        assert np.allclose(found, wanted, atol=1e-6)
        assert patch.uv_rect[3] > patch.uv_rect[1] and canvas.uv_of_texels(patch)[0, 0, 1] > canvas.uv_of_texels(patch)[-1, 0, 1], "row 0 is the top"


def test_a_canvas_survives_its_file_and_a_damaged_one_is_refused() -> None:
    arrays = packed().to_arrays()
    assert canvas_of_arrays(arrays) == packed()
    for name, value in (("canvas_patch_rect_px", arrays["canvas_patch_rect_px"] + 1000), ("canvas_patch_block", arrays["canvas_patch_block"] + 9), ("canvas_size_px", None)):
        broken = {key: entry for key, entry in arrays.items() if key != name} | ({} if value is None else {name: value})
        with pytest.raises(AvatarError) as error:
            canvas_of_arrays(broken)
        assert error.value.code == "bad_input"


def test_an_empty_mask_is_refused() -> None:
    rig = procedural_rig()
    with pytest.raises(AvatarError) as error:
        pack_canvas(rig, find_texels(rig, SIZE), np.zeros((SIZE, SIZE), bool), windows(), BLOCK_NAMES, 256)
    assert error.value.code == "bad_input"


def test_orientation_is_relative_to_the_camera() -> None:
    joints = ("root", "neck", "head")
    still, camera = np.zeros((1, 3, 3), np.float32), np.eye(4)[None].copy()
    camera[0, :3, :3] = FACING
    assert np.allclose(head_orientation(np.eye(4)[None], still, joints, camera), 0)
    turn = np.eye(4)[None].copy()
    turn[0, :3, :3] = matrices_from_axis_angles(np.array([0.0, 0.4, 0.0]))
    assert np.allclose(head_orientation(turn, still, joints, camera), [[0, 0.4, 0]], atol=1e-6)
    assert np.allclose(head_orientation(turn, still, joints, turn @ camera), 0, atol=1e-6), "the camera went along"
    bent = still.copy()
    bent[0, 1] = [0, 0.3, 0]
    assert np.allclose(head_orientation(turn, bent, joints, camera), [[0, 0.7, 0]], atol=1e-6), "the neck turns the head too"


def test_inputs_follow_their_names_and_the_eyes() -> None:
    take = the_take()
    inputs, names = all_inputs(take.rig, take.track)
    assert names == input_names(take.rig.expression_names, take.rig.joint_names) and inputs.dtype == np.float32
    assert np.array_equal(inputs[:, names.index("jawOpen")], take.track.controls[:, take.rig.expression_names.index("jawOpen")])
    joint = take.rig.joint_names.index("eye_left")
    assert np.allclose(inputs[:, names.index("eye_left.y")], take.track.joint_rotations[:, joint, 1])
    away = take.track.joint_rotations.copy()
    away[:, joint] = [0, 0.2, 0]  # to the subject's left: out for the left eye
    looking = gather_inputs(names, take.rig.expression_names, take.track.controls, take.rig.joint_names, away, np.zeros((len(away), 3)))
    assert (looking[:, names.index("eyeLookOutLeft")] > 0.5).all() and (looking[:, names.index("eyeLookInLeft")] == 0).all()


def test_inputs_outside_the_clip_are_drawn_back() -> None:
    random = np.random.default_rng(0)
    names = input_names(("a", "b", "c"), ("eye_left",))
    training = random.normal(size=(200, len(names))).astype(np.float32) * 0.3
    space = input_space(names, 3, training)
    assert np.allclose(space.clamped(training), training, atol=1e-6), "what the clip showed stays as it is"
    far = random.normal(size=(50, len(names))).astype(np.float32) * 30
    drawn = space.clamped(far)
    assert (drawn <= space.high + 1e-6).all() and (drawn >= space.low - 1e-6).all()
    assert np.linalg.norm((drawn[:, -3:] - space.mean[-3:]) @ space.hull_matrix.T, axis=1).max() <= 1 + 1e-5
    layer = InputLayer(space)(torch.from_numpy(far)).numpy()
    assert np.allclose(layer, (drawn - space.mean) / space.deviation, atol=1e-4)
    again = input_space_of_arrays(space.to_arrays())
    assert again.names == space.names and np.array_equal(again.clamped(far), drawn) and again.control_names == ("a", "b", "c") and again.joint_names == ("eye_left",)
    with pytest.raises(AvatarError):
        input_space_of_arrays(space.to_arrays() | {"input_deviation": np.zeros(len(names), np.float32)})


@pytest.mark.parametrize("canvas_px", [256, 512])
@pytest.mark.parametrize("decoder", DECODERS)
def test_networks_are_small_seeded_and_plain_arrays(decoder: str, canvas_px: int) -> None:
    names = input_names(tuple(f"control{index}" for index in range(52)), ("eye_left", "eye_right"))
    space = input_space(names, 52, np.random.default_rng(1).random((50, len(names))).astype(np.float32))
    network = seeded_network(space, canvas_px, decoder, 4)
    assert network.num_bytes <= 2 * 2**20
    inputs = torch.from_numpy(np.random.default_rng(2).random((2, len(names))).astype(np.float32))
    with torch.no_grad():
        painted = network(inputs)
        assert painted.shape == (2, 3, canvas_px, canvas_px) and painted.abs().max() <= LARGEST_OFFSET
        assert torch.equal(painted, seeded_network(space, canvas_px, decoder, 4)(inputs))
        arrays = network_arrays(network)
        assert torch.equal(painted, network_of_arrays(arrays, space, canvas_px, decoder)(inputs))
    for broken in ({**arrays, "network.more": np.zeros(1, np.float32)}, {**arrays, "network.paint.bias": np.full_like(arrays["network.paint.bias"], np.nan)}):
        with pytest.raises(AvatarError) as error:
            network_of_arrays(broken, space, canvas_px, decoder)
        assert error.value.code == "bad_input"


def test_painting_is_the_formula() -> None:
    """The compiled painter against the differentiable formula of the training, texel by texel."""
    take = the_take()
    mask, static = take.mask.astype(np.float32) / 255, take.static
    small = paintable_windows(windows(), np.full((WINDOW_PX, WINDOW_PX), 100.0))
    painter = TexturePainter(static, mask, packed(), small)
    offsets = np.random.default_rng(3).uniform(-0.5, 0.5, (1, 256, 256, 3)).astype(np.float32)
    rows, cols = np.divmod(painter.texels, SIZE)
    lookup = canvas_lookup(packed(), small, np.stack([(cols + 0.5) / SIZE, 1 - (rows + 0.5) / SIZE], -1))
    picked = sample_texture(torch.from_numpy(offsets[0]), torch.from_numpy(np.stack([lookup.px[:, 0] / 256, 1 - lookup.px[:, 1] / 256], -1).astype(np.float32)))
    total = torch.zeros(len(rows), 3).index_add(0, torch.from_numpy(lookup.place.astype(np.int64)), picked * torch.from_numpy(lookup.weight)[:, None])
    base = torch.from_numpy(static[rows, cols])
    wanted = composed(base, torch.from_numpy(mask[rows, cols])[:, None], total, torch.from_numpy(srgb_encode(static[rows, cols]).astype(np.float32)))
    painted = painter.paint(offsets)[0]
    assert np.abs(painted[rows, cols] - wanted.numpy()).max() < 2e-5
    assert painted.min() >= 0 and painted.max() <= 1
    untouched = np.ones(SIZE * SIZE, bool)
    untouched[painter.texels] = False
    assert np.array_equal(painted.reshape(-1, 3)[untouched], static.reshape(-1, 3)[untouched])
    assert np.array_equal(painter.paint(offsets, 0.0)[0], static)


def test_what_was_never_seen_is_never_painted() -> None:
    assert paintable_windows(windows(), np.zeros((WINDOW_PX, WINDOW_PX))).max() == 0
    hits = np.zeros((WINDOW_PX, WINDOW_PX))
    hits[100:120, 100:120] = 50
    allowed = paintable_windows(windows(), hits).max(0) > 0
    assert allowed[100:120, 100:120].mean() > 0.9 and not allowed[:90].any() and not allowed[130:].any()


@pytest.mark.parametrize("frame", ["world", "camera"])
def test_a_pixel_shows_albedo_times_shade(frame: str) -> None:
    """Against a slow version: rasterise, interpolate, ``ClipLight.shade``."""
    light = ClipLight(np.array([3.2, 0.4, 0.5, -0.7, 0.1, 0.05, 0.1, -0.1, 0.08], np.float32), np.array([1.05, 1.0, 0.95], np.float32), frame)
    state, take = state_of(light), the_take()
    drive, camera = take.drive(5), take.camera(5)
    drawn = render(state, drive, camera, supersample=1)
    matrix = invert_rigid(camera.world_from_cam[0]) @ drive.world_from_root[0]
    vertices = state.mesh.head.pose(torch.from_numpy(drive.controls[0]), torch.from_numpy(drive.joint_rotations[0])).numpy()
    in_cam = (vertices @ matrix[:3, :3].T + matrix[:3, 3]).astype(np.float32)
    fragments = rasterise(in_cam, state.mesh.triangles, camera.px_from_cam[0], camera.size_hw)
    covered = fragments.is_covered.numpy()
    ids, weights = fragments.triangle_ids.numpy()[covered], fragments.barycentric.numpy()[covered]
    normals = vertex_normals(torch.from_numpy(in_cam), torch.from_numpy(state.mesh.triangles)).numpy()[state.mesh.triangles[ids]]
    normal = (normals * weights[..., None]).sum(1)
    normal = normal / np.linalg.norm(normal, axis=1, keepdims=True) @ camera.world_from_cam[0][:3, :3].T
    uv = (state.mesh.corner_uv[ids] * weights[..., None]).sum(1)
    orientation = head_orientation(drive.world_from_root, drive.joint_rotations, state.joint_names, camera.world_from_cam)
    albedo = sample_texture(torch.from_numpy(texture(state, drive, orientation)[0]), torch.from_numpy(uv.astype(np.float32))).numpy()
    wanted = albedo * light.shade(normal, camera.world_from_cam[0])
    assert np.abs(drawn.colour[0].numpy()[covered] - wanted).max() < 2e-3
    assert np.array_equal(drawn.alpha[0].numpy() > 0, covered) and np.isfinite(drawn.depth[0].numpy()[covered]).all()


def test_another_light_asks_for_the_constant_orientation() -> None:
    """Lit anew, the texture must not change when only the camera moves."""
    state, take = state_of(), the_take()
    drive, near, far = take.drive(2), take.camera(2), take.camera(2)
    far.world_from_cam[0, :3, :3] = matrices_from_axis_angles(np.array([0, 0.2, 0.0])) @ far.world_from_cam[0, :3, :3]
    turned = [head_orientation(drive.world_from_root, drive.joint_rotations, state.joint_names, camera.world_from_cam) for camera in (near, far)]
    assert not np.array_equal(*(texture(state, drive, orientation) for orientation in turned)), "the network does hear the orientation"
    other = ClipLight(state.light.sh * np.float32(0.5), state.light.tint)
    lit, own = (render(state, drive, near, light=light, want=("colour",)).colour.numpy() for light in (other, None))
    constant = np.repeat(state.exact.space.constant_orientation[None], 1, 0)
    assert np.array_equal(texture(state, drive), texture(state, drive, constant))
    assert lit.max() < own.max()


def test_small_turns_change_the_texture_little() -> None:
    """Spec 14.11: the largest change of a texel per degree of head turn stays small and even."""
    state, take = state_of(), the_take()
    degrees = np.arange(0, 6)
    angles = np.zeros((len(degrees), 3), np.float32)
    angles[:, 1] = np.radians(degrees)
    painted = [texture(state, take.drive(2), angle[None])[0] for angle in angles]
    steps = [np.abs(after - before).max() for before, after in zip(painted, painted[1:])]
    assert 0 < max(steps) < 0.12 and max(steps) < 6 * np.median(steps) + 1e-3


def test_a_network_file_is_read_back_and_foreign_ones_are_refused(tmp_path) -> None:
    state = state_of()
    path, inputs = tmp_path / "network.npz", all_inputs(the_take().rig, the_take().track)[0][:3]
    write_exact(path, state.exact)
    again = read_exact(path)
    assert np.array_equal(again.offsets(inputs), state.exact.offsets(inputs)) and again.canvas == state.exact.canvas
    first = path.read_bytes()
    write_exact(path, state.exact)
    assert path.read_bytes() == first, "equal content, equal bytes"
    with np.load(path) as archive:
        arrays = {name: archive[name] for name in archive.files}
    for name, value in (("decoder", np.array("unknown")), ("windows", arrays["windows"][:, :5]), ("format_version", np.array(99))):
        np.savez(tmp_path / "foreign.npz", **{**arrays, name: value})
        with pytest.raises(AvatarError) as error:
            read_exact(tmp_path / "foreign.npz")
        assert error.value.code == "bad_input"
    np.savez(tmp_path / "pickled.npz", **{**arrays, "decoder": np.array([{"run": "me"}], object)})
    with pytest.raises(AvatarError):
        read_exact(tmp_path / "pickled.npz")


def test_a_mask_of_another_size_is_refused() -> None:
    with pytest.raises(ValueError):
        dataclasses.replace(state_of(), mask=np.zeros((8, 8), np.float32))
