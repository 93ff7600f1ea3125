"""The sidebar's choices and the backend's settings agree."""

import dataclasses
from pathlib import Path

import pytest

from backend.config import DEVICES, PRESETS, ReconstructConfig, preset_config
from backend.worker_jobs import BakeTexturesRequest, ReconstructRequest, read_request
from blender_avatar.client.request import DEVICES as UI_DEVICES
from blender_avatar.client.request import HEAD_MODELS, QUALITIES, Choices, bake_textures_settings, missing_choice, reconstruct_settings


def test_defaults_equal_the_backends():
    request = read_request(ReconstructRequest, reconstruct_settings(Choices(video="/clips/anna.mp4", out="/o.avatar")))
    assert request == ReconstructRequest(video="/clips/anna.mp4", out="/o.avatar")
    config = ReconstructConfig()
    assert (request.preset, request.rig, request.device) == (config.preset, config.rig, config.device)


def test_every_choice_is_one_the_backend_knows():
    assert tuple(quality.lower() for quality in QUALITIES) == PRESETS
    assert tuple(device.lower() for device in UI_DEVICES) == DEVICES
    for quality in QUALITIES:
        for device in UI_DEVICES:
            for model in HEAD_MODELS:
                choices = Choices("/a.mp4", quality, True, "/o.avatar", model, "/my model.npz", device)
                request = read_request(ReconstructRequest, reconstruct_settings(choices))
                preset_config(request.preset, rig=request.rig, device=request.device)  # raises when unknown
                assert request.consent is True


def test_no_setting_is_forgotten():
    # a field added to the backend's request must be filled by the sidebar
    assert set(reconstruct_settings(Choices(video="/a.mp4"))) == {field.name for field in dataclasses.fields(ReconstructRequest)}


def test_the_output_lies_beside_the_clip(tmp_path):
    assert Path(reconstruct_settings(Choices(video=str(tmp_path / "anna.mov")))["out"]) == tmp_path / "anna.avatar"


@pytest.mark.parametrize(
    "choices, word",
    [
        (Choices(), "video"),
        (Choices(video="/a.mp4"), "consent"),
        (Choices(video="/a.mp4", has_consent=True, head_model="FLAME"), "FLAME"),
        (Choices(video="/a.mp4", has_consent=True), ""),
    ],
)
def test_what_is_missing_is_said(choices, word):
    problem = missing_choice(choices)
    assert word in problem and bool(problem) == bool(word)


def test_baking_asks_for_what_the_backend_knows():
    request = read_request(BakeTexturesRequest, bake_textures_settings("/a.avatar", "/tmp/frames.npz", "/a.textures", "EXR"))
    assert request == BakeTexturesRequest("/a.avatar", "/tmp/frames.npz", "/a.textures", "exr", 1.0, True)
