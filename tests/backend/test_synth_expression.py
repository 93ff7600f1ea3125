"""A texture that changes with the expression: its truth is what the clip shows, and without it clips stay as they were."""

from __future__ import annotations

import importlib.util
import json

import av
import cv2
import numpy as np
import pytest
from procedural_rig import procedural_rig

from backend.capture.colour import srgb_decode
from backend.errors import AvatarError
from backend.reporter import Reporter
from backend.storage import write_arrays
from backend.synth.build import write_clip
from backend.synth.config import SynthConfig
from backend.synth.expression_layers import LAYERS, layer_weights
from backend.synth.expression_texture import read_expression_texture
from backend.synth.truth import read_truth

RIG = procedural_rig()
SMALL = {"seconds": 1.2, "size_hw": (96, 64), "texture_px": 256, "supersample": 1, "seed": 5, "fps": 5}
needs_bpy = pytest.mark.skipif(importlib.util.find_spec("bpy") is None, reason="the bpy package is not installed")


@pytest.fixture(scope="module")
def clips(tmp_path_factory):
    """The same clip without and with layers, and under another light."""
    folder = tmp_path_factory.mktemp("expression")
    settings = {"plain": {}, "dynamic": {"use_dynamic_texture": True}, "lit": {"light_seed": 3}}
    for name, extra in settings.items():
        write_clip(folder / name, RIG, SynthConfig(**SMALL, **extra), Reporter())
    return folder


def frames_of(path):
    with av.open(str(path)) as container:
        return np.stack([frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]).astype(float)


def test_strengths_follow_their_controls():
    names = ("browDownLeft", "jawOpen", "eyeBlinkRight", "mouthSmileLeft")
    weights = layer_weights(names, np.array([[0, 1, 0, 0], [1, 0, 0, 0], [0.4, 0, 1, 0.4]], np.float32))
    column = list(LAYERS).index
    assert not weights[0].any()
    assert weights[1, column("frown_left")] == 1 and weights[1, column("frown_right")] == 0
    assert weights[2, column("lid_right")] == 1 and weights[2, column("lid_left")] == 0 and 0 < weights[2, column("fold_left")] < 1
    assert weights.min() >= 0 and weights.max() <= 1


def test_layers_lie_inside_their_rectangles_on_skin_and_keep_the_texture_in_range(clips):
    layers = read_expression_texture(clips / "dynamic" / "expression_texture.npz")
    truth = read_truth(clips / "dynamic" / "truth.npz")
    np.testing.assert_array_equal(layers.weights, layer_weights(truth.control_names, truth.controls))
    assert layers.names == tuple(LAYERS)
    position = np.load(clips / "dynamic" / "uv_position.npz")["position_m"]
    png = cv2.imread(str(clips / "dynamic" / "albedo.png"))[..., ::-1]
    albedo = srgb_decode(png / 255.0).astype(np.float32)
    for name, layer, (left, top, right, bottom) in zip(layers.names, layers.layers, layers.rects_px):
        assert layer.shape == (bottom - top, right - left, 3), name
        if layer.shape != (1, 1, 3):
            assert not layer[0].any() and not layer[:, 0].any() and np.abs(layer).max() > 0.01
            assert np.isfinite(position[top:bottom, left:right][np.abs(layer).max(-1) > 0]).all()
    full = layers.texture(albedo, np.ones(len(layers.names)))
    assert full.min() >= 0 and full.max() <= 1 and (full != albedo).any(-1).mean() > 0.01
    np.testing.assert_array_equal(layers.texture(albedo, np.zeros(len(layers.names))), albedo)
    # The frown is dark, pressed lips are paler, and sides do not leak into each other.
    frown = layers.names.index("frown_left")
    left, top, right, bottom = layers.rects_px[frown]
    changed = np.abs(layers.layers[frown]).max(-1) > 0
    assert layers.layers[frown].astype(float).sum() < 0 and (position[top:bottom, left:right][changed][:, 0] > -0.002).all()
    assert layers.layers[layers.names.index("blanch")].astype(float)[..., 1].sum() > 0


def test_the_clip_shows_the_layers_and_only_them(clips):
    plain, dynamic = frames_of(clips / "plain" / "clip.mp4"), frames_of(clips / "dynamic" / "clip.mp4")
    assert (clips / "plain" / "truth.npz").read_bytes() == (clips / "dynamic" / "truth.npz").read_bytes()
    assert (clips / "plain" / "albedo.png").read_bytes() == (clips / "dynamic" / "albedo.png").read_bytes()
    strengths = read_expression_texture(clips / "dynamic" / "expression_texture.npz").weights.max(1)
    difference = np.abs(plain - dynamic).max((1, 2, 3))
    assert difference[strengths.argmax()] > 10
    index = json.loads((clips / "dynamic" / "dataset.json").read_text())
    assert index["identities"][0]["expression_texture"] == "expression_texture.npz"
    assert not (clips / "plain" / "expression_texture.npz").exists()


def test_another_light_seed_changes_the_light_alone(clips):
    plain, lit = (read_truth(clips / name / "truth.npz") for name in ("plain", "lit"))
    for name in ("controls", "identity", "world_from_root", "px_from_cam", "world_from_cam", "neutral"):
        np.testing.assert_array_equal(getattr(plain, name), getattr(lit, name))
    assert np.abs(plain.light - lit.light).max() > 0.05
    assert (clips / "plain" / "albedo.png").read_bytes() == (clips / "lit" / "albedo.png").read_bytes()


def test_a_foreign_or_newer_layer_file_is_refused(tmp_path):
    for arrays in ({"weights": np.zeros((1, 1))}, {"format_version": np.array(99), "layer_names": np.array(["a"]), "rects_px": np.zeros((1, 4)), "weights": np.zeros((1, 1)), "layers.0": np.zeros(3)}):
        write_arrays(tmp_path / "x.npz", arrays)
        with pytest.raises(AvatarError) as caught:
            read_expression_texture(tmp_path / "x.npz")
        assert caught.value.code == "bad_input"


@needs_bpy
@pytest.mark.slow
def test_cycles_mixes_the_same_layers(tmp_path):
    """Where the fast renderer's frames change most under the layers, the path tracer's change the same way."""
    settings = {**SMALL, "samples": 8, "use_hair": False, "use_body": False, "crf": 4}
    changes = {}
    for renderer in ("fast", "cycles"):
        for use in (False, True):
            write_clip(tmp_path / f"{renderer}{use}", RIG, SynthConfig(renderer=renderer, use_dynamic_texture=use, **settings), Reporter())
        changes[renderer] = frames_of(tmp_path / f"{renderer}True" / "clip.mp4") - frames_of(tmp_path / f"{renderer}False" / "clip.mp4")
    strengths = read_expression_texture(tmp_path / "fastTrue" / "expression_texture.npz").weights.max(1)
    frame = int(strengths.argmax())
    assert strengths[frame] > 0.3
    fast, traced = (cv2.GaussianBlur(changes[name][frame].mean(-1), (0, 0), 1.5) for name in ("fast", "cycles"))
    assert np.corrcoef(fast.ravel(), traced.ravel())[0, 1] > 0.6
