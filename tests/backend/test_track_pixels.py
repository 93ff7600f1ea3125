"""The photometric parts of the tracker, each on a case whose answer is known."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from default_head import default_head
from synthetic_take import synthetic_take

from backend.capture.colour import srgb_encode
from backend.capture.model import PARSING
from backend.geometry.rotations import matrices_from_axis_angles
from backend.render.meshes import rasterise
from backend.render.shading import sh_basis
from backend.render.surface_normals import vertex_normals
from backend.rig.solid_parts import solid_triangles
from backend.track.appearance import Appearance, estimate_appearance, even_light
from backend.track.chunks import blended, chunks_of, disagreement_px
from backend.track.face_pixels import face_box
from backend.track.face_regions import REGIONS, region_confidence
from backend.track.photometric import Look, PhotometricTerm
from backend.track.refine import LEAST_TRUST, frame_balance, landmark_trust, person_balance
from backend.track.silhouette import outline_observations, outline_points
from backend.track.state import FrameStates
from backend.track.surface_points import SurfacePoints, face_points


@pytest.fixture(scope="module")
def points() -> SurfacePoints:
    return face_points(default_head(), 1200, 0.015)


def test_surface_points_cover_the_face_evenly(points):
    rig = default_head()
    again = face_points(rig, 1200, 0.015)
    assert np.array_equal(points.triangle_ids, again.triangle_ids) and np.array_equal(points.barycentric, again.barycentric)
    triangles, _, owner = rig.triangles_of_quads()
    assert (rig.quad_parts[owner][points.triangle_ids] == rig.part_names.index("skin")).all()
    assert rig.regions["face"][triangles[points.triangle_ids]].all()
    assert np.allclose(points.barycentric.sum(1), 1, atol=1e-6) and (points.barycentric >= 0).all()
    # The share of points in a half of the face is the half's share of the area, whatever the size of its triangles.
    corners = rig.template[triangles].astype(np.float64)
    area = 0.5 * np.linalg.norm(np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]), axis=1)
    used = np.isin(np.arange(len(triangles)), points.triangle_ids)
    upper = corners.mean(1)[:, 1] > np.median(points.model.points[:, 1])
    assert abs((area * used)[upper].sum() / (area * used).sum() - 0.5) < 0.06
    assert (abs(points.around - points.around.T) > 1e-6).nnz == 0 and np.allclose(points.around.diagonal(), 1)


def test_albedo_and_light_come_apart():
    """Colours made from a known albedo and light: the product comes back, and the mean shade is 1."""
    rng = np.random.default_rng(1)
    normals = rng.normal(size=(12, 300, 3))
    normals[..., 2] = -np.abs(normals[..., 2]) - 0.4
    basis = sh_basis(torch.from_numpy(normals / np.linalg.norm(normals, axis=-1, keepdims=True))).numpy()
    light = even_light()
    light[1:4] = rng.normal(size=(3, 3)) * 0.25
    true = Appearance(0.15 + 0.4 * rng.random((300, 3)), light)
    weight = np.ones((12, 300))
    found = estimate_appearance(true.colour(basis), basis, weight, even_light())
    assert np.abs(found.colour(basis) - true.colour(basis)).mean() < 0.01
    assert np.allclose(found.shade(basis).mean((0, 1)), 1, atol=0.05)
    assert np.corrcoef(found.albedo.ravel(), true.albedo.ravel())[0, 1] > 0.98
    dark = estimate_appearance(true.colour(basis), basis, np.zeros((12, 300)), even_light())
    assert np.isfinite(dark.albedo).all() and np.isfinite(dark.light).all()


def made_term(points: SurfacePoints) -> PhotometricTerm:
    capture, _ = synthetic_take(default_head(), 4)
    return PhotometricTerm(capture, default_head(), None, points, None, np.arange(2), None, np.ones(2, bool))  # type: ignore[arg-type]


def test_targets_undo_a_displacement(points):
    """Where colours run linearly over the picture, the target of a displaced point is its true place; flat points weigh nothing."""
    rng = np.random.default_rng(2)
    num = len(points)
    appearance = Appearance(0.2 + 0.3 * rng.random((num, 3)), even_light())
    basis = np.zeros((2, num, 9))
    basis[..., 0] = 1 / (2 * np.sqrt(np.pi))
    slopes = rng.normal(size=(2, num, 3, 2)) * 0.02
    slopes[:, ::2] *= -1
    slopes[:, ::10] = 0
    off = np.array([0.7, -0.4])
    place = rng.random((2, num, 2)) * 100
    # Signs of the slopes alternate, so the neighbourhoods' means are small. One round goes most of the way: the floor holds weak points back.
    colours = appearance.colour(basis) + slopes @ off
    look = Look(place, colours, slopes, basis, np.ones((2, num), bool), torch.zeros(0), torch.zeros(0))
    term = made_term(points)
    targets, whitening = term.observations(look, term.residuals(look, appearance), np.full(2, 100.0), 1.0, 5.0)
    textured = np.arange(num) % 10 != 0
    assert np.abs(np.median((targets - place)[:, textured], axis=(0, 1)) + off).max() < 0.2 * np.linalg.norm(off)
    assert (np.abs(whitening[:, ~textured]) < 1e-9).all() and (np.abs(whitening[:, textured]).max((-1, -2)) > 0).all()
    # The whitening's square is G^T W G: residuals count per pixel what the colours changed.
    normal = np.einsum("fnca,fncb->fnab", slopes, slopes)
    ratio = np.trace(whitening.swapaxes(-1, -2) @ whitening, axis1=-2, axis2=-1)[:, textured] / np.trace(normal, axis1=-2, axis2=-1)[:, textured]
    assert ratio.max() / np.median(ratio) < 1.01


def test_exposure_and_smooth_errors_move_nothing(points):
    """Half the light, and a smooth shadow over one side: neither asks for a displacement worth mentioning."""
    num = len(points)
    rng = np.random.default_rng(3)
    appearance = Appearance(0.2 + 0.3 * rng.random((num, 3)), even_light())
    basis = np.zeros((2, num, 9))
    basis[..., 0] = 1 / (2 * np.sqrt(np.pi))
    shadow = 1 - 0.2 / (1 + np.exp(-points.model.points[:, :1] / 0.03))
    colours = np.stack([srgb_encode(appearance.albedo * 0.5), srgb_encode(appearance.albedo * shadow)])
    look = Look(np.zeros((2, num, 2)), colours, np.zeros((2, num, 3, 2)), basis, np.ones((2, num), bool), torch.zeros(0), torch.zeros(0))
    residual = made_term(points).residuals(look, appearance)
    assert np.abs(residual[0]).max() < 1e-6
    raw = np.abs(colours[1] - appearance.colour(basis[1])).mean()
    assert np.abs(residual[1]).mean() < 0.25 * raw


def test_outline_is_drawn_to_the_border():
    """A matte that is the head moved by 3 px to the right: outline points ask to move to the right, by about as much."""
    rig = default_head()
    capture, track = synthetic_take(rig, 4)
    capture = capture.replace(px_crop_from_px=np.eye(3), crop_size_hw=(360, 640))
    vertices = torch.from_numpy(rig.template) @ torch.diag(torch.tensor([1.0, -1.0, -1.0])) + torch.tensor([0.0, 0.05, 0.7])
    camera = track.px_from_cam
    moved = camera.copy()
    moved[0, 2] += 3
    covered = rasterise(vertices, torch.from_numpy(solid_triangles(rig)), torch.from_numpy(moved), (360, 640)).is_covered.numpy()
    skin = np.where(covered, PARSING.index("skin"), PARSING.index("background")).astype(np.uint8)
    capture = capture.replace(matte=np.stack([covered * np.uint8(255)] * 4), parsing=np.stack([skin] * 4))
    places = outline_points(rig)
    normals = vertex_normals(vertices, torch.from_numpy(rig.triangles))
    targets, whitening = outline_observations(capture, np.arange(1), rig, places, vertices[None], normals[None], camera, np.array([100.0]), 40.0)
    in_px = (vertices[places.vertex_ids].double() @ torch.from_numpy(camera).T).numpy()
    here = in_px[:, :2] / in_px[:, 2:]
    used = np.abs(whitening[0]).max((-1, -2)) > 0
    assert used.sum() > 20
    direction = whitening[0][used][:, 0] / np.linalg.norm(whitening[0][used][:, 0], axis=1, keepdims=True)
    asked = ((targets[0] - here)[used] * direction).sum(1)
    wanted = direction @ np.array([3.0, 0.0])
    assert np.median(np.abs(asked - wanted)) < 1.0 and np.corrcoef(asked, wanted)[0, 1] > 0.8
    away, nothing = outline_observations(
        capture.replace(matte=capture.matte * 0), np.arange(1), rig, places, vertices[None], normals[None], camera, np.array([100.0]), 40.0
    )
    assert not nothing.any() and np.isfinite(away).all()


def states_of(rng: np.random.Generator, num: int) -> FrameStates:
    return FrameStates(matrices_from_axis_angles(rng.normal(size=(num, 3)) * 0.3), rng.normal(size=(num, 3)), rng.random((num, 5)), rng.random((num, 4)), np.zeros((num, 3)))


@pytest.mark.parametrize("length", (1, 5, 96, 97, 300))
def test_chunks_cover_and_blend(length):
    rng = np.random.default_rng(4)
    chain = slice(10, 10 + length)
    parts = chunks_of(chain)
    owned = np.concatenate([np.arange(part.keep_start, part.keep_stop) for part in parts])
    assert np.array_equal(owned, np.arange(chain.start, chain.stop))
    assert all(chain.start <= part.start <= part.keep_start < part.keep_stop <= part.stop <= chain.stop for part in parts)
    whole = states_of(rng, chain.stop + 3)
    solved = [whole.take(slice(part.start, part.stop)) for part in parts]
    mixed = blended(parts, solved, whole)
    for field in dataclasses.fields(FrameStates):
        assert np.allclose(getattr(mixed, field.name), getattr(whole, field.name), atol=1e-9)
    assert disagreement_px(parts, solved, lambda one: one.translation_m[:, None, :2]) == 0
    if len(parts) > 1:
        shifted = [dataclasses.replace(one, translation_m=one.translation_m + number) for number, one in enumerate(solved)]
        assert np.isclose(disagreement_px(parts, shifted, lambda one: one.translation_m[:, None, :2]), np.sqrt(2))
        path = blended(parts, shifted, whole).translation_m[chain, 0] - whole.translation_m[chain, 0]
        assert (np.diff(path) > -1e-9).all() and np.diff(path).max() < 0.1


def test_confidence_of_regions():
    rng = np.random.default_rng(5)
    region = np.arange(600) % len(REGIONS)
    residual = 0.02 + 0.002 * rng.random((40, 600))
    residual[30, region == 4] = np.nan
    residual[31, region == 2] *= 4
    found = region_confidence(residual, region, np.arange(25))
    assert (found[:25] > 0.7).all()
    assert found[30, 4] == 0 and found[30, 1] > 0.7
    assert found[31, 2] < 0.05 and found[31, 4] > 0.7


def test_weights_follow_the_landmarks():
    assert landmark_trust(1.0) == 1 and landmark_trust(1.2) == 1 and landmark_trust(50) == LEAST_TRUST
    trusts = [landmark_trust(percent) for percent in (1.2, 1.4, 1.8, 2.2)]
    assert all(later < earlier for earlier, later in zip(trusts, trusts[1:]))
    for balance in (person_balance, frame_balance):
        sure, unsure = balance(1.0), balance(0.2)
        assert unsure.photometric > sure.photometric and unsure.landmarks < sure.landmarks and unsure.openings < sure.openings


def test_box_keeps_small_faces_and_shrinks_large_ones():
    capture, _ = synthetic_take(default_head(), 8)
    rng = np.random.default_rng(6)
    marks = np.array([300.0, 180.0]) + np.array([60.0, 90.0]) * (rng.random((8, 478, 2)) - 0.5)
    capture = capture.replace(landmarks_px=marks.astype(np.float32), has_face=np.ones(8, bool))
    small = face_box(capture, 256)
    assert np.allclose(small.scale, 1) and np.allclose(small.to_picture(small.origin_px + 0.5), 0.5)
    large = face_box(capture, 45)
    assert np.allclose(large.scale, 0.5, atol=0.03)
    assert (large.origin_px >= 0).all() and (large.origin_px + large.size_px <= [640, 360]).all()
