"""Spherical harmonics light, normals, colour curves and antialiased pictures."""

from __future__ import annotations

import numpy as np
import torch

from backend.geometry.cameras import intrinsics
from backend.render.shading import (
    ambient_light,
    linear_from_srgb,
    render_mesh,
    sh_basis,
    shade,
    specular,
    specular_attenuation,
    srgb_from_linear,
)
from backend.render.surface_normals import corner_tangents, mapped_normals, vertex_normals


def directions(count: int) -> torch.Tensor:
    """Fibonacci points on the sphere, for integrals."""
    index = torch.arange(count, dtype=torch.float64) + 0.5
    z, angle = 1 - 2 * index / count, index * np.pi * (1 + 5**0.5)
    radius = (1 - z * z).sqrt()
    return torch.stack([radius * angle.cos(), radius * angle.sin(), z], -1)


def test_basis_is_orthonormal():
    values = sh_basis(directions(20000))
    assert torch.allclose(values.T @ values * (4 * np.pi / 20000), torch.eye(9, dtype=torch.float64), atol=1e-3)


def test_light_is_irradiance_over_pi():
    """White sky of radiance 1: every normal has irradiance pi, so the shade is 1; directional light gives the cosine lobe."""
    assert torch.allclose(shade(directions(50).float(), ambient_light()), torch.ones(50, 3), atol=1e-5)
    sun = torch.tensor([0.0, 0.0, 1.0], dtype=torch.float64)
    lobe = torch.tensor([np.pi] + [2 * np.pi / 3] * 3 + [np.pi / 4] * 5, dtype=torch.float64)  # Ramamoorthi and Hanrahan, eq. 8
    light = sh_basis(sun) * lobe / np.pi
    normals = directions(5000)
    # Nine coefficients hold the clamped cosine to 1 % of its energy, so at most about 0.1 anywhere.
    assert (shade(normals, light) - (normals @ sun).clamp_min(0) / np.pi).abs().max() < 0.04


def test_normals_of_a_cube_and_a_sphere():
    signs = np.array([[x, y, z] for x in (-1, 1) for y in (-1, 1) for z in (-1, 1)], np.float64)
    faces = [(0, 1, 3, 2), (4, 6, 7, 5), (0, 4, 5, 1), (2, 3, 7, 6), (0, 2, 6, 4), (1, 5, 7, 3)]
    triangles = torch.tensor([t for a, b, c, d in faces for t in ((a, b, c), (a, c, d))])
    normals = vertex_normals(torch.from_numpy(signs), triangles)
    # Angle weights make the corner independent of which diagonal was chosen.
    assert torch.allclose(normals, torch.from_numpy(signs) / 3**0.5, atol=1e-9)
    lonely = vertex_normals(torch.cat([torch.from_numpy(signs), torch.zeros(1, 3, dtype=torch.float64)]), triangles)
    assert lonely[-1].tolist() == [0, 0, 1]


def test_colour_curve_round_trip():
    values = torch.linspace(0, 1, 1001, dtype=torch.float64)
    assert torch.allclose(linear_from_srgb(srgb_from_linear(values)), values, atol=1e-9)
    assert abs(srgb_from_linear(torch.tensor(0.2140)).item() - 0.5) < 1e-3


def test_supersampled_alpha_is_the_covered_area():
    """A 10 x 10 px square at a fractional place: alpha sums to its area within the sampling error of a 4 x 4 grid."""
    corners = np.array([[3.3, 4.6, 1], [13.3, 4.6, 1], [13.3, 14.6, 1], [3.3, 14.6, 1]], np.float32)
    triangles = np.array([[0, 1, 2], [0, 2, 3]], np.int32)
    colour, alpha, fragments = render_mesh(corners, triangles, np.eye(3), (20, 20), supersample=4)
    assert fragments.size_hw == (80, 80) and abs(alpha.sum().item() - 100) < 6
    assert torch.allclose(colour, alpha[..., None] * 0.5) and 0 < alpha[4, 8] < 1
    hard = render_mesh(corners, triangles, np.eye(3), (20, 20))[1]
    assert set(hard.unique().tolist()) == {0.0, 1.0}


def test_light_is_fixed_to_the_world():
    """A square facing the camera is lit by light from the camera's side of the world, whichever way the camera looks."""
    square = np.array([[-1, -1, 2], [1, -1, 2], [1, 1, 2], [-1, 1, 2]], np.float32)
    triangles = np.array([[0, 2, 1], [0, 3, 2]], np.int32)
    camera = intrinsics(8.0, (8.0, 8.0))
    light = torch.zeros(9, 3)
    light[2] = 0.5  # brighter towards +Z of the world
    facing = torch.diag(torch.tensor([1.0, -1.0, -1.0, 1.0]))  # looks along world -Z, so the square's normal is world +Z
    away = torch.eye(4)
    lit = render_mesh(square, triangles, camera, (16, 16), light=light, world_from_cam=facing)[0]
    dark = render_mesh(square, triangles, camera, (16, 16), light=light, world_from_cam=away)[0]
    assert lit[8, 8, 0] > 0.1 and dark[8, 8, 0] == 0
    texture = torch.zeros(2, 2, 3)
    texture[0] = 1.0
    corners = torch.tensor([[0.0, 1], [1, 1], [1, 0], [0, 0]])[torch.from_numpy(triangles).long()]
    painted = render_mesh(square, triangles, camera, (16, 16), texture=texture, uv_corners=corners)[0]
    assert painted[4, 8, 1] > 0.9 and painted[12, 8, 1] < 0.1


def test_glossy_lobe_against_brute_force():
    """Band attenuations equal the lobe's integral over half vectors, done on a fine grid of the hemisphere."""
    for roughness in (0.3, 0.6, 1.0):
        half = (torch.arange(40000, dtype=torch.float64) + 0.5) / 40000 * np.pi / 2
        alpha = roughness**2
        density = alpha**2 / (np.pi * (half.cos() ** 2 * (alpha**2 - 1) + 1) ** 2)  # GGX
        cosine = (2 * half).cos()
        weight = density * half.cos() * half.sin() * cosine.clamp_min(0)
        legendre = torch.stack([torch.ones_like(cosine), cosine, 1.5 * cosine**2 - 0.5])
        wanted = (legendre * weight).sum(-1) / weight.sum()
        assert torch.allclose(specular_attenuation(torch.tensor(roughness, dtype=torch.float64)), wanted, atol=3e-3)


def test_a_mirror_shows_the_light_and_a_rough_surface_blurs_it():
    normals = directions(200)
    light = torch.randn(9, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(1)) * 0.1
    light[0] = 2
    to_camera = torch.tensor([0.0, 0.0, 1.0], dtype=torch.float64).expand_as(normals)
    mirror = specular(normals, to_camera, light, 0.0, 1.0)
    seen = 2 * normals[:, 2:] * normals - to_camera
    lobe = torch.tensor([1] + [2 / 3] * 3 + [0.25] * 5, dtype=torch.float64)
    assert torch.allclose(mirror, (sh_basis(seen) @ (light / lobe[:, None])).clamp_min(0), atol=1e-9)
    spread = [specular(normals, to_camera, light, roughness, 1.0).std() for roughness in (0.0, 0.4, 0.7, 1.0)]
    assert all(later < earlier for earlier, later in zip(spread, spread[1:]))
    white = specular(normals, to_camera, ambient_light(1.0).double(), 0.5, 1.0)
    assert torch.allclose(white, torch.ones_like(white), atol=1e-6)
    grazing = torch.tensor([1.0, 0.0, 0.0], dtype=torch.float64)
    assert torch.allclose(specular(grazing, to_camera[0], ambient_light(1.0).double(), 0.5), torch.ones(3, dtype=torch.float64), atol=1e-6)


def test_gradients_of_light_and_normals():
    generator = torch.Generator().manual_seed(2)
    normals = torch.randn(4, 3, dtype=torch.float64, generator=generator)
    normals = (normals / normals.norm(dim=-1, keepdim=True)).requires_grad_()
    light = (torch.randn(9, 3, dtype=torch.float64, generator=generator) * 0.05 + ambient_light(1.0).double()).requires_grad_()
    roughness = torch.tensor(0.4, dtype=torch.float64, requires_grad=True)
    to_camera = torch.tensor([[0.0, 0.6, 0.8]], dtype=torch.float64).expand(4, 3)
    assert torch.autograd.gradcheck(shade, (normals, light))
    assert torch.autograd.gradcheck(lambda n, e, r: specular(n, to_camera, e, r), (normals, light, roughness))
    vertices = torch.randn(2, 5, 3, dtype=torch.float64, generator=generator, requires_grad=True)
    triangles = torch.tensor([[0, 1, 2], [1, 3, 2], [2, 3, 4]])
    assert torch.autograd.gradcheck(lambda v: vertex_normals(v, triangles), (vertices,))
    assert torch.equal(vertex_normals(vertices, triangles)[1], vertex_normals(vertices[1], triangles))
    flat = torch.zeros(3, 3, dtype=torch.float64, requires_grad=True)
    vertex_normals(flat, torch.tensor([[0, 1, 2]])).sum().backward()
    assert torch.isfinite(flat.grad).all()


def test_normal_maps():
    """A wall in the xy plane whose u runs along +y: the map's first axis bends the normal towards +y, its second towards -x."""
    vertices = torch.tensor([[0.0, 0, 0], [1, 0, 0], [1, 1, 0], [0, 1, 0]])
    triangles = torch.tensor([[0, 1, 2], [0, 2, 3]])
    uv = torch.stack([vertices[:, 1], 1 - vertices[:, 0]], -1)
    tangents = corner_tangents(vertices, triangles, uv, triangles)
    assert torch.allclose(tangents, torch.tensor([0.0, 1, 0, 1]).expand(2, 3, 4))
    normal = torch.tensor([0.0, 0, 2.0])
    assert torch.allclose(mapped_normals(normal, tangents[0, 0], torch.tensor([0.0, 0, 1])), torch.tensor([0.0, 0, 1]))
    assert torch.allclose(mapped_normals(normal, tangents[0, 0], torch.tensor([0.6, 0, 0.8])), torch.tensor([0.0, 0.6, 0.8]))
    assert torch.allclose(mapped_normals(normal, tangents[0, 0], torch.tensor([0.0, 0.6, 0.8])), torch.tensor([-0.6, 0, 0.8]))
    mirrored = corner_tangents(vertices, triangles, uv * torch.tensor([1.0, -1.0]), triangles)
    assert mirrored[0, 0].tolist() == [0, 1, 0, -1]
    assert torch.allclose(mapped_normals(normal, mirrored[0, 0], torch.tensor([0.0, 0.6, 0.8])), torch.tensor([0.6, 0, 0.8]))
    assert corner_tangents(vertices, triangles, torch.zeros(4, 2), triangles)[0, 0].tolist() == [1, 0, 0, 1]
