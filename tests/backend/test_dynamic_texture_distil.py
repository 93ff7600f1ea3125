"""Distillation: known low-rank textures come back, parts of the face do not leak, equal input gives equal bytes."""

from __future__ import annotations

import dataclasses
from unittest import mock

import numpy as np
import pytest
from painted_canvas import CONTROLS, INPUTS, on_canvas, painted_canvas, training_inputs
from procedural_rig import procedural_rig

from backend.avatars.dynamic_texture import distil as distillation
from backend.avatars.dynamic_texture.blocks import BLOCK_NAMES, block_windows, heard_controls
from backend.avatars.dynamic_texture.combinations import combined_inputs, mixing_groups
from backend.avatars.dynamic_texture.distil import Distilled, distil
from backend.avatars.dynamic_texture.eigen import EigenTexture, WeightMap
from backend.avatars.dynamic_texture.eigen_files import read_eigen, write_eigen
from backend.avatars.dynamic_texture.eigen_render import EigenPainter, tile_lookup
from backend.avatars.dynamic_texture.weight_map import fit_hidden, fit_linear, hidden_shares, shared_out
from backend.errors import AvatarError, Cancelled
from backend.reporter import Reporter
from backend.rig.gaze import GAZE_LIMITS_DEG
from backend.texture.texels import find_texels


@pytest.fixture(scope="module", autouse=True)
def few_combinations():
    with mock.patch.object(distillation, "NUM_COMBINATIONS", 240):
        yield


@pytest.fixture(scope="module")
def bent(few_combinations) -> Distilled:
    return distil(painted_canvas(is_linear=False).teacher, training_inputs(), 16, 0, Reporter())


def offsets(eigen: EigenTexture, inputs: np.ndarray) -> np.ndarray:
    """(n, C, C, 3): what the distilled texture adds, back on the canvas."""
    exact = painted_canvas(True)
    weights = eigen.weight_map.weights(inputs[:, eigen.columns(INPUTS)])
    images = []
    for row in weights:
        first = [eigen.first_component(int(block)) for block in eigen.patch_block]
        tiles = [np.tensordot(row[start : start + len(tile)], tile.astype(np.float32), 1) for start, tile in zip(first, eigen.tiles)]
        images.append(on_canvas(exact.teacher.crops, tiles))
    return np.stack(images)


def rms(values: np.ndarray) -> float:
    return float(np.sqrt((values.astype(np.float64) ** 2).mean()))


def test_a_linear_network_is_found_exactly_with_as_many_components_as_it_has():
    exact, training = painted_canvas(is_linear=True), training_inputs()
    found = distil(exact.teacher, training, 16, 0, Reporter())
    assert found.info["map"] == "linear" and found.info["components_by_block"] == {"eye_left": 2, "eye_right": 2, "mouth": 3, "brows": 1, "rest": 1}
    unseen = combined_inputs(training, INPUTS, exact.teacher.input_limits, exact.teacher.still, 40, 99)
    wanted = exact.offsets(unseen)[:, exact.mask > 0]
    assert rms(offsets(found.eigen, unseen)[:, exact.mask > 0] - wanted) < 0.01 * rms(wanted)


def test_a_bent_network_needs_the_hidden_layer(bent):
    exact, training = painted_canvas(is_linear=False), training_inputs()
    assert bent.info["map"] == "hidden" and not bent.eigen.weight_map.is_linear
    explained = bent.info["explained"]
    assert explained["hidden_16"] > explained["linear_16"] + 0.05 and explained["hidden_16"] > explained["hidden_8"]
    unseen = combined_inputs(training, INPUTS, exact.teacher.input_limits, exact.teacher.still, 40, 99)
    wanted = exact.offsets(unseen)[:, exact.mask > 0]
    assert rms(offsets(bent.eigen, unseen)[:, exact.mask > 0] - wanted) < 0.15 * rms(wanted)


@pytest.mark.parametrize("name, block", [("eyeBlinkLeft", 0), ("eyeBlinkRight", 1), ("jawOpen", 2), ("browInnerUp", 3), ("cheekPuff", 4)])
def test_a_control_changes_nothing_outside_the_blocks_that_hear_it(bent, name, block):
    names = bent.eigen.weight_map.input_names
    neutral = np.full((2, len(names)), 0.2, np.float32)
    neutral[1, names.index(name)] = 1
    change = np.abs(np.diff(bent.eigen.weight_map.weights(neutral), axis=0)[0])
    heard = heard_controls(names)[:, names.index(name)]
    for other in range(len(BLOCK_NAMES)):
        start = bent.eigen.first_component(other)
        of_block = change[start : start + bent.eigen.block_num_components[other]]
        assert of_block[0] == 0
        if not heard[other]:
            assert (of_block == 0).all()
    start = bent.eigen.first_component(block)
    assert change[start : start + bent.eigen.block_num_components[block]].max() > 0.1


def test_blinks_and_gaze_are_heard_by_one_eye_only():
    names = ("eyeBlinkLeft", "eyeLookInRight", "jawOpen", "browDownLeft", "expr07")
    heard = heard_controls(names)
    assert heard[:, 0].tolist() == [True, False, False, False, False]
    assert heard[:, 1].tolist() == [False, True, False, False, False]
    assert heard[:, 2].tolist() == [False, False, True, False, True]
    assert heard[:, 3].tolist() == [True, False, False, True, True]
    assert heard[:, 4].all()  # another model's control: nobody knows what it moves


def test_equal_input_gives_equal_bytes_and_reads_back(bent, tmp_path):
    again = distil(painted_canvas(is_linear=False).teacher, training_inputs(), 16, 0, Reporter())
    for index, one in enumerate((bent, again)):
        write_eigen(tmp_path / f"{index}.npz", one.eigen)
    assert (tmp_path / "0.npz").read_bytes() == (tmp_path / "1.npz").read_bytes() and bent.info == again.info
    read = read_eigen(tmp_path / "0.npz")
    assert read.weight_map.input_names == bent.eigen.weight_map.input_names and read.block_names == BLOCK_NAMES
    assert all(np.array_equal(a, b) and a.dtype == np.float16 for a, b in zip(read.tiles, bent.eigen.tiles))
    values = np.linspace(0, 1, 3 * len(read.weight_map.input_names), dtype=np.float32).reshape(3, -1)
    assert np.array_equal(read.weight_map.weights(values), bent.eigen.weight_map.weights(values))


def test_tiles_are_cropped_to_the_mask_and_kept_small(bent, monkeypatch):
    exact = painted_canvas(is_linear=False)
    for tile, block in zip(bent.eigen.tiles, bent.eigen.patch_block):
        x0, y0, x1, y1 = exact.patches[block].canvas_rect_px
        assert tile.shape[1:3] == (y1 - y0 - 2, x1 - x0 - 2)  # the mask ends 3 texels inside the patch, 2 are kept around it
    assert bent.eigen.num_bytes == bent.info["tile_bytes"] <= distillation.MAX_TILE_BYTES
    monkeypatch.setattr(distillation, "MAX_TILE_BYTES", 60_000)
    smaller = distil(exact.teacher, training_inputs(), 16, 0, Reporter())
    assert smaller.eigen.num_bytes <= 60_000 and smaller.info["num_components"] < bent.info["num_components"]


def test_orientation_stays_at_its_mean_and_the_rest_of_training_is_asked(monkeypatch):
    exact, seen = painted_canvas(is_linear=True), []
    spying = dataclasses.replace(exact.teacher, offsets=lambda inputs: seen.append(inputs.copy()) or exact.teacher.offsets(inputs))
    distil(spying, training_inputs(40), 8, 0, Reporter())
    asked = np.concatenate(seen)
    assert (asked[:, -3:] == 0).all()
    assert np.abs(asked[:40, :-3] - training_inputs(40)[:, :-3]).max() < 1e-6


def test_cancelling_stops_between_textures():
    class Impatient(Reporter):
        def progress(self, stage, done, total, unit=""):
            if done > 20:
                self.cancel()
            super().progress(stage, done, total, unit)

    with pytest.raises(Cancelled):
        distil(painted_canvas(is_linear=True).teacher, training_inputs(), 8, 0, Impatient())


def test_combinations_keep_to_limits_and_to_what_goes_together():
    training, exact = training_inputs(), painted_canvas(True)
    names = (*INPUTS, "eyeLookDownLeft", "eyeLookUpLeft")
    limits = np.concatenate([exact.teacher.input_limits, [[0, 1], [0, 1]]])
    training = np.concatenate([training, np.full((len(training), 2), 0.5, np.float32)], 1)
    made = combined_inputs(training, names, limits, np.zeros(len(names)), 200, 5)
    controls = made[:, : len(CONTROLS)]
    assert controls.min() >= 0 and controls.max() <= 1 and controls.max() > 0.95
    assert (made[:, names.index("mouthClose")] <= made[:, names.index("jawOpen")]).all()
    assert (made[:, [names.index(f"orientation.{axis}") for axis in "xyz"]] == 0).all()
    eye = made[:, [names.index(f"eye_left.{axis}") for axis in "xyz"]]
    straight = np.abs(eye[:, 1:]).max(1) < 1e-6  # then looking down is the angle about x
    down = np.clip(eye[straight, 0] / np.radians(GAZE_LIMITS_DEG[2]), 0, 1)
    assert straight.any() and np.allclose(made[straight, names.index("eyeLookDownLeft")], down, atol=1e-5)
    whole_frames = (made[:, None, : len(CONTROLS)] == training[None, :, : len(CONTROLS)]).all(2).any(1)
    assert whole_frames.mean() < 0.02
    assert mixing_groups(("eyeBlinkLeft", "eye_right.x", "browInnerUp", "jawOpen", "orientation.x")).tolist() == [0, 1, 2, 3, -1]


def test_windows_sum_to_one_and_know_left_from_right():
    rig = procedural_rig()
    windows = block_windows(rig, 512)
    assert windows.shape == (5, 512, 512) and windows.min() >= 0 and np.allclose(windows.sum(0), 1, atol=1e-5)
    texels = find_texels(rig, 512)
    for block, part in ((0, "eye_left"), (1, "eye_right"), (2, "teeth_upper"), (2, "tongue")):
        own = texels.of(part)
        assert (windows[block, texels.rows[own], texels.cols[own]] == 1).all()
    steps = np.abs(np.diff(windows[4], axis=1))
    skin = texels.image(texels.of("skin")) & (texels.image(texels.inside) == 0)
    assert 0 < steps[skin[:, 1:] & skin[:, :-1]].max() < 0.5  # soft


def test_the_map_of_a_known_line_and_of_a_known_hinge():
    random = np.random.default_rng(1)
    inputs, ones, heard = random.uniform(0, 1, (400, 4)), np.ones(400), np.array([True, True, False, True])
    line = inputs[:, [0, 1]] @ np.array([[2.0, 0.0], [-1.0, 0.5]]) + 0.3
    fit = fit_linear(inputs, line, ones, heard)
    assert np.abs(fit.scores(inputs) - line).max() < 0.02 and (fit.score_weight[:, 2] == 0).all()
    hinge = np.maximum(inputs[:, :1] - 0.5, 0)
    fit = fit_hidden(inputs, hinge, ones, heard, 4, 0)
    assert rms(fit.scores(inputs) - hinge) < 0.2 * rms(hinge - hinge.mean()) and (fit.hidden_weight[:, 2] == 0).all()


def test_components_go_where_they_explain_most():
    assert shared_out([np.array([9.0, 1.0]), np.array([5.0, 4.0, 3.0]), np.zeros(0)], 4).tolist() == [1, 3, 0]
    assert shared_out([np.array([9.0]), np.array([5.0, 0.0])], 10).tolist() == [1, 1]


def test_hidden_units_go_where_much_changes():
    assert hidden_shares(np.array([64.0, 4.0, 0.0, 1.0])).tolist() == [44, 13, 0, 7]
    assert hidden_shares(np.zeros(3)).tolist() == [0, 0, 0] and hidden_shares(np.array([5.0])).tolist() == [64]


def test_painting_by_the_formula():
    """Against the formula of the format, written out texel by texel."""
    random = np.random.default_rng(0)
    tiles = (random.normal(0, 0.1, (3, 5, 7, 3)).astype(np.float16), random.normal(0, 0.1, (2, 4, 4, 3)).astype(np.float16))
    rects = np.array([[0.1, 0.2, 0.8, 0.7], [0.5, 0.5, 0.95, 1.0]], np.float32)
    one = WeightMap(("a", "b"), np.array([[0, 0], [1, 0], [0, 2], [0, 0], [-1, 1]], np.float32), np.array([1, 0, 0.5, 1, 0], np.float32))
    eigen = EigenTexture(32, ("x", "y"), np.array([3, 2]), np.array([0, 1]), rects, tiles, one)
    static, mask = random.uniform(0, 1, (32, 32, 3)).astype(np.float32), random.uniform(0, 1, (32, 32)).astype(np.float32)
    mask[:4] = 0
    got = EigenPainter(eigen, static, mask).texture(np.array([0.3, 0.9]), dynamic=0.7)
    weights = np.array([1, 0.3, 2.3, 1, 0.6])
    wanted = static.astype(np.float64).copy()
    for row in range(32):
        for col in range(32):
            u, v, total = (col + 0.5) / 32, 1 - (row + 0.5) / 32, np.zeros(3)
            for (u0, v0, u1, v1), tile, first in zip(rects.astype(np.float64), tiles, (0, 3)):
                if not (u0 <= u <= u1 and v0 <= v <= v1):
                    continue
                _, height, width, _ = tile.shape
                x = min(max((u - u0) / (u1 - u0) * width - 0.5, 0), width - 1)
                y = min(max((v1 - v) / (v1 - v0) * height - 0.5, 0), height - 1)
                left, top = int(x), int(y)
                for dy, dx in ((0, 0), (0, 1), (1, 0), (1, 1)):
                    share = (1 - abs(y - top - dy)) * (1 - abs(x - left - dx))
                    texel = tile[:, min(top + dy, height - 1), min(left + dx, width - 1)].astype(np.float64)
                    total += share * (weights[first : first + len(tile)] @ texel)
            wanted[row, col] = np.clip(wanted[row, col] + 0.7 * mask[row, col] * total, 0, 1)
    assert np.abs(got - wanted).max() < 1e-5
    assert np.array_equal(got[:4], static[:4])  # nothing changes where the mask is 0
    assert np.array_equal(EigenPainter(eigen, static, mask).texture(np.array([0.3, 0.9]), dynamic=0), static)


def test_a_rectangle_smaller_than_a_texel_is_harmless():
    lookup = tile_lookup(np.array([0.501, 0.501, 0.502, 0.502]), (2, 2), 32)
    assert lookup.spread(np.ones((2, 2, 3))).shape == (0, 0, 3)


def test_a_file_that_is_none_is_refused(bent, tmp_path):
    path = tmp_path / "eigen.npz"
    path.write_bytes(b"PK")
    with pytest.raises(AvatarError):
        read_eigen(path)
    write_eigen(path, bent.eigen)
    with np.load(path) as archive:
        arrays = dict(archive)
    for key, value in (("map_bias", arrays["map_bias"][:-1]), ("tiles.0", arrays["tiles.0"][:-1]), ("format_version", np.array(9)), ("patch_uv_rect", arrays["patch_uv_rect"][:, :3])):
        np.savez(path, **{**arrays, key: value})
        with pytest.raises(AvatarError) as caught:
            read_eigen(path)
        assert caught.value.code == "bad_input"
