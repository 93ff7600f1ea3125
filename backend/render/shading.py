"""Light on a surface: spherical harmonics of degree 2, matte and glossy, and the picture made with them.

Light is nine coefficients per colour, *irradiance divided by pi* in the world frame (DESIGN, Conventions): the shade of a
white Lambertian surface with normal n is ``sh_basis(n) @ light``. Ramamoorthi and Hanrahan, "An efficient representation
for irradiance environment maps", 2001. Everything here is linear light; ``srgb_from_linear`` comes last.
"""

from __future__ import annotations

import math

import torch

from ..geometry.shapes import check_shape
from .meshes import Fragments, interpolate, rasterise, sample_texture
from .surface_normals import vertex_normals

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


def specular(
    normals: torch.Tensor, to_camera: torch.Tensor, light: torch.Tensor, roughness: torch.Tensor | float, reflectance: torch.Tensor | float = 0.028
) -> torch.Tensor:
    """The glossy reflection of the same light, to be added to albedo times ``shade``.

    The light is seen in the mirror direction, blurred by the lobe of a GGX surface: band l is multiplied by
    ``specular_attenuation(roughness)[l]`` (Ramamoorthi and Hanrahan, "A signal-processing framework for inverse rendering",
    2001: in spherical harmonics reflection is a product band by band). The lobe is the one of normal incidence, the split of
    Karis, "Real shading in Unreal Engine 4", 2013; Fresnel by Schlick; shadowing between the micro-facets is left out.

    Args:
        normals, to_camera: (..., 3) unit, world frame; ``to_camera`` points from the surface to the camera.
        light: (9, 3) or (9,) irradiance / pi. Its bands are divided by those of the cosine lobe (1, 2/3, 1/4) to get radiance.
        roughness: in [0, 1], a number or (...); the GGX width is its square.
        reflectance: at normal incidence; skin has 0.028.

    Returns:
        (..., 3) or (...), linear, not below 0. Differentiable in every argument.
    """
    check_shape("normals", normals, 3)
    check_shape("to_camera", to_camera, 3)
    cosine = (normals * to_camera).sum(-1, keepdim=True)
    mirrored = 2 * cosine * normals - to_camera
    bands = specular_attenuation(torch.as_tensor(roughness, dtype=normals.dtype, device=normals.device)) / normals.new_tensor([1.0, 2 / 3, 0.25])
    by_coefficient = bands[..., torch.tensor([0, 1, 1, 1, 2, 2, 2, 2, 2], device=normals.device)]
    radiance = ((sh_basis(mirrored) * by_coefficient) @ light).clamp_min(0)
    at_normal = torch.as_tensor(reflectance, dtype=normals.dtype, device=normals.device)
    fresnel = at_normal + (1 - at_normal) * (1 - cosine[..., 0].clamp(0, 1)) ** 5
    return radiance * (fresnel[..., None] if light.ndim == 2 else fresnel)


def specular_attenuation(roughness: torch.Tensor, num_nodes: int = 256) -> torch.Tensor:
    """How much of each spherical-harmonic band a GGX lobe at normal incidence lets through.

    By quadrature over the lobe's own distribution of micro-normals, weighted with the cosine of the light direction:
    the mean of P_l(cos theta), P_l the Legendre polynomials.

    Args:
        roughness: (...) in [0, 1]; 0 is a mirror.

    Returns:
        (..., 3), bands 0, 1, 2; the first is 1. Differentiable.
    """
    uniform = (torch.arange(num_nodes, dtype=roughness.dtype, device=roughness.device) + 0.5) / num_nodes
    width_squared = roughness[..., None] ** 4
    cosine_half_squared = 1 / (1 + width_squared * uniform / (1 - uniform))
    cosine = 2 * cosine_half_squared - 1
    weight = cosine.clamp_min(0)
    total = weight.sum(-1)
    second = (weight * (1.5 * cosine * cosine - 0.5)).sum(-1)
    return torch.stack([torch.ones_like(total), (weight * cosine).sum(-1) / total, second / total], -1)


def ambient_light(level: float = 1.0) -> torch.Tensor:
    """(9, 3) light that shades every normal ``level``."""
    light = torch.zeros(NUM_SH, 3)
    light[0] = level / _Y0
    return light


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
