"""The clip's light: the same harmonics as the renderer's, a gauge, a floor, and a frame."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from backend.render.shading import sh_basis
from backend.render.shading import shade as rendered_shade
from backend.texture.light import MIN_SHADE, ClipLight, even_light, harmonics

RNG = np.random.default_rng(3)
NORMALS = RNG.standard_normal((200, 3))
NORMALS /= np.linalg.norm(NORMALS, axis=1, keepdims=True)
SH = np.array([3.5, 0.4, 0.3, 0.8, 0.05, -0.1, 0.1, 0.02, 0.1], np.float32)


def test_harmonics_are_those_of_the_renderer():
    np.testing.assert_allclose(harmonics(NORMALS), sh_basis(torch.from_numpy(NORMALS)).numpy(), atol=1e-12)


def test_even_light_shows_the_albedo():
    np.testing.assert_allclose(even_light().shade(NORMALS), 1, atol=1e-6)


def test_shade_is_the_renderers():
    light = ClipLight(SH, np.array([1.1, 1.0, 0.9], np.float32))
    wanted = rendered_shade(torch.from_numpy(NORMALS), torch.from_numpy(light.coefficients.astype(np.float64))).numpy()
    np.testing.assert_allclose(light.shade(NORMALS), wanted, atol=1e-6)
    assert light.shade(NORMALS).min() > MIN_SHADE


def test_nothing_is_darker_than_the_floor():
    steep = ClipLight(np.array([1.0, 0, 0, 4, 0, 0, 0, 0, 0], np.float32), np.ones(3, np.float32))
    assert steep.shade(NORMALS).min() == pytest.approx(MIN_SHADE)


def test_a_light_fixed_to_the_camera_turns_with_it():
    world_from_cam = np.eye(4)
    world_from_cam[:3, :3] = np.array([[0, 0, 1.0], [0, -1, 0], [1, 0, 0]]) @ np.diag([1, 1, 1])
    still, moving = ClipLight(SH, np.ones(3, np.float32)), ClipLight(SH, np.ones(3, np.float32), "camera")
    in_cam = NORMALS @ world_from_cam[:3, :3]
    np.testing.assert_allclose(moving.shade(NORMALS, world_from_cam), still.shade(in_cam), atol=1e-6)
    with pytest.raises(ValueError, match="camera"):
        moving.shade(NORMALS)


@pytest.mark.parametrize("change", [{"sh": np.zeros(8)}, {"tint": np.zeros(4)}, {"frame": "sun"}])
def test_a_light_of_another_shape_is_refused(change):
    with pytest.raises(ValueError, match="9 coefficients"):
        ClipLight(**{"sh": SH, "tint": np.ones(3), "frame": "world", **change})
