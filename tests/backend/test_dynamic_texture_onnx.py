"""The network in ONNX paints what it paints in torch, raw inputs far outside the hull included; equal networks give equal bytes."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch

from backend.avatars.dynamic_texture.canvas import Canvas, Patch
from backend.avatars.dynamic_texture.inputs import input_names, input_space
from backend.avatars.dynamic_texture.network import DECODERS, seeded_network
from backend.avatars.dynamic_texture.onnx_export import INPUT, OUTPUT, onnx_bytes

CANVAS = Canvas(256, (Patch(0, (0.1, 0.2, 0.5, 0.6), (0, 0, 128, 100)),), ("mouth",))


def small_space():
    names = input_names(("jawOpen", "eyeBlinkLeft", "mouthClose"), ("root", "eye_left", "eye_right"))
    training = np.random.default_rng(0).normal(0.3, 0.2, (60, len(names)))
    return input_space(names, 3, training)


@pytest.mark.parametrize("decoder", DECODERS)
@pytest.mark.parametrize("canvas_px", [256, 512])
def test_onnx_agrees_with_torch(decoder, canvas_px):
    runtime = pytest.importorskip("onnxruntime")
    space = small_space()
    network = seeded_network(space, canvas_px, decoder, 3).eval()
    with torch.no_grad():
        network.paint.weight.mul_(200)  # an untrained network hardly paints
    content = onnx_bytes(network, space, CANVAS)
    session = runtime.InferenceSession(content, providers=["CPUExecutionProvider"])
    inputs = np.random.default_rng(1).normal(0, 1.5, (3, len(space.names))).astype(np.float32)
    got = session.run([OUTPUT], {INPUT: inputs})[0]
    with torch.no_grad():
        wanted = network(torch.from_numpy(inputs)).numpy()
    assert got.shape == (3, 3, canvas_px, canvas_px) and wanted.std() > 0.05
    assert np.abs(got - wanted).max() < 1e-4
    known = session.get_modelmeta().custom_metadata_map
    assert json.loads(known["input_names"]) == list(space.names) and json.loads(known["canvas"])[0]["canvas_rect_px"] == [0, 0, 128, 100]


def test_equal_networks_give_equal_bytes():
    space = small_space()
    first, second = (onnx_bytes(seeded_network(space, 256, "shuffle", 5), space, CANVAS) for _ in range(2))
    assert first == second and first != onnx_bytes(seeded_network(space, 256, "shuffle", 6), space, CANVAS)
