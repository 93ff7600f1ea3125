"""The painter's parts: noise, openness, distances, eyes, teeth, light."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from procedural_rig import procedural_rig

from backend.render.shading import shade
from backend.synth.anatomy import signed_distance, study
from backend.synth.dress import grow_hair, hair_strands, shirt
from backend.synth.light import draw_light
from backend.synth.looks import draw_look
from backend.synth.noise import noise
from backend.synth.occlusion import ambient_openness
from backend.synth.paint_parts import IRIS_RADIUS_M, LOWER_TEETH_MM, UPPER_TEETH_MM, paint_eye, paint_teeth
from backend.synth.texture_bake import bake_texture


@pytest.fixture(scope="module")
def rig():
    return procedural_rig()


@pytest.fixture(scope="module")
def anatomy(rig):
    return study(rig)


def test_noise_is_smooth_zero_on_the_lattice_and_repeatable():
    rng = np.random.default_rng(0)
    points = rng.uniform(-50, 50, (4000, 3))
    values = noise(points, 3)
    assert (values == noise(points, 3)).all() and np.abs(values - noise(points, 4)).max() > 0.3
    assert abs(values.mean()) < 0.03 and 0.15 < values.std() < 0.4 and np.abs(values).max() < 1.2
    assert (noise(np.round(points), 3) == 0).all()
    assert np.abs(noise(points + 1e-4, 3) - values).max() < 2e-3


def box(half):
    signs = np.array([[x, y, z] for x in (-1, 1) for y in (-1, 1) for z in (-1, 1)], np.float64) * half
    faces = [(0, 1, 3, 2), (4, 6, 7, 5), (0, 4, 5, 1), (2, 3, 7, 6), (0, 2, 6, 4), (1, 5, 7, 3)]
    return signs, np.array([t for a, b, c, d in faces for t in ((a, b, c), (a, c, d))], np.int32)


def test_openness_of_a_convex_body_and_of_what_lies_inside():
    outer, triangles = box(0.1)
    inner = outer * 0.3
    both = np.concatenate([outer, inner])
    normals = both / np.linalg.norm(both, axis=1, keepdims=True)
    openness = ambient_openness(both, triangles, normals, num_directions=24, size_px=96)
    assert openness[:8].min() > 0.97 and openness[8:].max() == 0


def test_openness_of_a_floor_beside_a_wall():
    """At the foot of a long high wall half the cosine-weighted sky is hidden."""
    floor = np.array([[-1, 0, -1], [1, 0, -1], [1, 0, 1], [-1, 0, 1], [0, 0, 0.002], [-1, 0, 0], [1, 0, 0], [1, 1, 0], [-1, 1, 0]], np.float64) * 0.3
    triangles = np.array([[0, 2, 1], [0, 3, 2], [5, 6, 7], [5, 7, 8]], np.int32)
    normals = np.tile([0.0, 1.0, 0.0], (9, 1))
    assert abs(ambient_openness(floor, triangles, normals, num_directions=200)[4] - 0.5) < 0.12


def test_signed_distance_to_a_square():
    square = np.array([[0, 0], [2, 0], [2, 2], [0, 2]], np.float64)
    points = np.array([[1, 1], [0.5, 1], [3, 1], [-1, -1], [1, 2.25]])
    assert np.allclose(signed_distance(points, square), [1, 0.5, -1, -np.sqrt(2), -0.25])


def test_eye_has_pupil_iris_and_sclera_where_they_belong():
    look = draw_look(np.random.default_rng(4))
    x = np.linspace(0, 0.0105, 200)
    centre = np.array([0.03, 0.16, 0.1])
    points = centre + np.stack([x, 0 * x, np.sqrt(0.012**2 - x**2)], -1)
    level = paint_eye(points, centre, look, 1).mean(-1)
    assert (level[x < look.pupil_m - 0.0003] < 0.05).all()
    assert (level[x > 1.1 * IRIS_RADIUS_M] > 0.5).all()
    # The brightest step of the profile, iris to sclera, is at the iris radius.
    rise = np.diff(level)
    outer = x[:-1] > 1.3 * look.pupil_m
    assert abs(x[:-1][outer][rise[outer].argmax()] - IRIS_RADIUS_M) < 0.0005
    behind = paint_eye(centre + [[0.0, 0.0, -0.012]], centre, look, 1)
    assert behind.mean() > 0.5


@pytest.mark.parametrize(("is_upper", "widths"), [(True, UPPER_TEETH_MM), (False, LOWER_TEETH_MM)])
def test_teeth_have_their_widths(is_upper, widths):
    """Walking along the arch, dark gaps lie at the cumulative tooth widths."""
    angle = np.linspace(0, np.pi / 2, 4000)
    arch = np.stack([0.030 * np.sin(angle), np.full_like(angle, 0.0), 0.045 * np.cos(angle)], -1)
    row = np.concatenate([arch, arch + [0, 0.018, 0], arch * [-1, 1, 1]])
    edge = 0.0 if is_upper else 0.018
    walk = arch + [0, abs(edge - 0.003), 0]
    level = paint_teeth(walk, row, is_upper, draw_look(np.random.default_rng(1)), 5).mean(-1)
    arc_mm = np.concatenate([[0], np.cumsum(np.linalg.norm(np.diff(arch, axis=0), axis=1))]) * 1000
    dark = level < 0.5 * np.median(level)
    starts = arc_mm[1:][np.diff(dark.astype(int)) == 1]
    for border in np.cumsum(widths):
        if border < arc_mm[-1] - 2:
            assert np.abs(starts - border).min() < 0.7
    assert 5 <= len(starts) <= 8


def test_texture_covers_every_texel_and_is_repeatable(rig, anatomy):
    look = draw_look(np.random.default_rng(2))
    baked = bake_texture(rig, anatomy, look, 256, use_hair=True)
    assert baked.albedo.shape == (256, 256, 3) and np.isfinite(baked.albedo).all() and baked.albedo.min() > 0 and baked.albedo.max() < 1
    assert (baked.opacity >= 0).all() and (baked.opacity <= 1).all()
    placed = np.isfinite(baked.position).all(-1)
    assert placed.mean() > 0.2
    assert (baked.albedo == bake_texture(rig, anatomy, look, 256, use_hair=True).albedo).all()
    cheek = placed & (np.abs(baked.position - [0.04, 0.12, 0.05]).max(-1) < 0.02)
    assert cheek.any() and np.abs(baked.albedo[cheek].mean(0) - look.skin).max() < 0.2


def test_hair_grows_on_top_and_not_on_the_face(rig, anatomy):
    look = draw_look(np.random.default_rng(3))
    hair = grow_hair(rig, anatomy, look)
    centres = rig.template[hair.triangles].mean(1)
    assert len(hair.triangles) > 20 and centres[:, 1].min() > anatomy.eye_height_m - 0.12
    in_front = centres[:, 2] > anatomy.eyes[:, 2].mean() - 0.01
    assert (centres[in_front][:, 1] > anatomy.eye_height_m + 0.03).all()
    strands = hair_strands(rig, anatomy, look, rig.template, 500)
    assert 100 < len(strands) <= 500 and np.isfinite(strands).all()
    length = np.linalg.norm(np.diff(strands, axis=1), axis=-1).sum(1)
    assert 0.001 < np.median(length) < 0.06


def test_shirt_hides_the_open_neck(rig):
    vertices, triangles = shirt(rig, rig.template)
    loop = rig.template[rig.regions["neck_loop"]]
    assert np.abs(vertices[:, 0]).max() > np.abs(loop[:, 0]).max() + 0.08 and vertices[:, 1].max() > loop[:, 1].mean()
    corners = vertices[triangles].astype(np.float64)
    normals = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    lower = corners.mean(1)[:, 1] < loop[:, 1].min() - 0.1
    outward = corners.mean(1) - vertices.mean(0)
    outward[:, 1] = 0
    assert ((normals * outward).sum(1)[lower] > 0).all()


def test_light_coefficients_equal_the_integral():
    """The coefficients against Monte Carlo over the sphere of sky, plus the lamps' exact cosine."""
    light = draw_light(np.random.default_rng(6))
    index = np.arange(40000) + 0.5
    height, angle = 1 - 2 * index / 40000, index * np.pi * (1 + 5**0.5)
    ring = np.sqrt(1 - height**2)
    directions = np.stack([ring * np.cos(angle), height, ring * np.sin(angle)], -1)
    radiance = light.ground + (directions[:, 1:2] + 1) / 2 * (light.sky - light.ground)
    for normal in np.array([[0, 0, 1.0], [0, 1, 0], [0.6, 0, 0.8], [0, -0.6, 0.8]]):
        sky = (np.clip(directions @ normal, 0, None)[:, None] * radiance).mean(0) * 4
        lamps = sum(np.clip(lamp.direction @ normal, 0, None) * lamp.irradiance / np.pi for lamp in light.lamps)
        got = shade(torch.from_numpy(normal), torch.from_numpy(light.coefficients().astype(np.float64))).numpy()
        assert np.abs(got - (sky + lamps)).max() < 0.05


def test_exposure_evens_out_faces():
    light = draw_light(np.random.default_rng(6))
    pale, dark = np.array([0.65, 0.5, 0.4]), np.array([0.12, 0.07, 0.05])
    gain = [light.exposed_for(albedo).sky[0] / light.sky[0] for albedo in (pale, dark)]
    assert gain[1] > 1.5 * gain[0]
    assert dark.mean() * gain[1] < pale.mean() * gain[0]
