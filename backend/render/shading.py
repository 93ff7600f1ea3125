"""Light on a surface: spherical harmonics of degree 2, vertex normals, and the picture made from both.

Light is nine coefficients per colour, *irradiance divided by pi* in the world frame (DESIGN, Conventions): the shade of a
white Lambertian surface with normal n is ``sh_basis(n) @ light``. Ramamoorthi and Hanrahan, "An efficient representation
for irradiance environment maps", 2001. Everything here is linear light; ``srgb_from_linear`` comes last.
"""

from __future__ import annotations

import math

import torch

from ..geometry.shapes import check_shape
from .meshes import Fragments, interpolate, rasterise, sample_texture

NUM_SH = 9
_Y0, _Y1, _Y2 = 0.5 * math.sqrt(1 / math.pi), math.sqrt(3 / (4 * math.pi)), 0.5 * math.sqrt(15 / math.pi)
_Y20, _Y22 = 0.25 * math.sqrt(5 / math.pi), 0.25 * math.sqrt(15 / math.pi)


def sh_basis(directions: torch.Tensor) -> torch.Tensor:
    """Real spherical harmonics, order 1 | y z x | xy yz 3z²-1 xz x²-y².

    Args:
        directions: (..., 3) unit vectors.

    Returns:
        (..., 9).
    """
    check_shape("directions", directions, 3)
    x, y, z = directions.unbind(-1)
    return torch.stack(
        [torch.full_like(x, _Y0), _Y1 * y, _Y1 * z, _Y1 * x, _Y2 * x * y, _Y2 * y * z, _Y20 * (3 * z * z - 1), _Y2 * x * z, _Y22 * (x * x - y * y)], -1
    )


def shade(normals: torch.Tensor, light: torch.Tensor) -> torch.Tensor:
    """Shade of a white matte surface.

    Args:
        normals: (..., 3) unit, world frame.
        light: (9, 3) or (9,) irradiance / pi.

    Returns:
        (..., 3) or (...), linear, not below 0.
    """
    return (sh_basis(normals) @ light).clamp_min(0)


def ambient_light(level: float = 1.0) -> torch.Tensor:
    """(9, 3) light that shades every normal ``level``."""
    light = torch.zeros(NUM_SH, 3)
    light[0] = level / _Y0
    return light


def vertex_normals(vertices: torch.Tensor, triangles: torch.Tensor) -> torch.Tensor:
    """Normals averaged over the triangles around each vertex, weighted by area times corner angle.

    Args:
        vertices: (V, 3). triangles: (F, 3) int, counter-clockwise seen from outside.

    Returns:
        (V, 3) unit vectors, outward; (0, 0, 1) where no triangle has area. Differentiable in ``vertices``.
    """
    check_shape("vertices", vertices, None, 3)
    triangles = torch.as_tensor(triangles).long()
    corners = vertices[triangles]
    normals = torch.linalg.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    total = torch.zeros_like(vertices)
    for corner in range(3):
        first = corners[:, (corner + 1) % 3] - corners[:, corner]
        second = corners[:, (corner + 2) % 3] - corners[:, corner]
        angle = torch.atan2(normals.norm(dim=-1), (first * second).sum(-1))
        total = total.index_add(0, triangles[:, corner], normals * angle[:, None])
    length = total.norm(dim=-1, keepdim=True)
    fallback = torch.tensor([0.0, 0.0, 1.0], dtype=vertices.dtype, device=vertices.device).expand_as(total)
    return torch.where(length > 1e-20, total / length.clamp_min(1e-20), fallback)


def srgb_from_linear(linear: torch.Tensor) -> torch.Tensor:
    """The sRGB curve (IEC 61966-2-1) on values clamped to [0, 1]."""
    linear = linear.clamp(0, 1)
    return torch.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear.clamp_min(0.0031308) ** (1 / 2.4) - 0.055)


def linear_from_srgb(encoded: torch.Tensor) -> torch.Tensor:
    """The inverse of ``srgb_from_linear``."""
    encoded = encoded.clamp(0, 1)
    return torch.where(encoded <= 0.04045, encoded / 12.92, ((encoded + 0.055) / 1.055).clamp_min(1e-12) ** 2.4)


def render_mesh(
    vertices_cam_m: torch.Tensor,
    triangles: torch.Tensor,
    px_from_cam: torch.Tensor,
    size_hw: tuple[int, int],
    *,
    world_from_cam: torch.Tensor | None = None,
    light: torch.Tensor | None = None,
    texture: torch.Tensor | None = None,
    uv_corners: torch.Tensor | None = None,
    colours: torch.Tensor | None = None,
    supersample: int = 1,
    near_m: float = 0.01,
) -> tuple[torch.Tensor, torch.Tensor, Fragments]:
    """A picture of a mesh.

    Args:
        vertices_cam_m: (V, 3) camera frame, m. triangles: (F, 3) int.
        px_from_cam: (3, 3) K of the final picture. size_hw: its size.
        world_from_cam: (4, 4), turns normals into the frame of ``light``; None = light is in the camera frame.
        light: (9, 3) irradiance / pi; None = unlit.
        texture: (h, w, 3) linear albedo with ``uv_corners`` (F, 3, 2), v up; else ``colours`` (V, 3) linear; else mid grey.
        supersample: rays per pixel side; the colour is the mean over covered and uncovered rays (premultiplied).

    Returns:
        colour (H, W, 3) linear, premultiplied; alpha (H, W); the fragments at ``supersample`` times the size.
    """
    if supersample < 1:
        raise ValueError(f"supersample must be 1 or more, got {supersample}")
    vertices = torch.as_tensor(vertices_cam_m, dtype=torch.float32)
    height, width = size_hw
    zoom = torch.diag(torch.tensor([supersample, supersample, 1.0], dtype=torch.float64))
    matrix = zoom @ torch.as_tensor(px_from_cam, dtype=torch.float64)
    fragments = rasterise(vertices, triangles, matrix, (height * supersample, width * supersample), near_m)
    is_covered = fragments.is_covered
    if texture is not None:
        if uv_corners is None:
            raise ValueError("texture needs uv_corners")
        uv = interpolate(fragments, triangles, torch.as_tensor(uv_corners, dtype=torch.float32))
        albedo = torch.zeros(*fragments.size_hw, 3)
        albedo[is_covered] = sample_texture(torch.as_tensor(texture, dtype=torch.float32), uv[is_covered])
    elif colours is not None:
        albedo = interpolate(fragments, triangles, torch.as_tensor(colours, dtype=torch.float32))
    else:
        albedo = is_covered[..., None].float().expand(-1, -1, 3) * 0.5
    if light is not None:
        normals = interpolate(fragments, triangles, vertex_normals(vertices, triangles))[is_covered]
        normals = normals / normals.norm(dim=-1, keepdim=True).clamp_min(1e-12)
        if world_from_cam is not None:
            normals = normals @ torch.as_tensor(world_from_cam, dtype=torch.float32)[:3, :3].T
        albedo = albedo.clone()
        albedo[is_covered] *= shade(normals, torch.as_tensor(light, dtype=torch.float32))
    return _box_filter(albedo, supersample), _box_filter(is_covered.float()[..., None], supersample)[..., 0], fragments


def _box_filter(picture: torch.Tensor, supersample: int) -> torch.Tensor:
    height, width, channels = picture.shape
    return picture.reshape(height // supersample, supersample, width // supersample, supersample, channels).mean((1, 3))
