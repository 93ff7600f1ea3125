"""Which way a surface faces: per vertex from the triangles around it, per texel from a normal map."""

from __future__ import annotations

import torch

from ..geometry.shapes import check_shape


def vertex_normals(vertices: torch.Tensor, triangles: torch.Tensor) -> torch.Tensor:
    """Normals averaged over the triangles around each vertex, weighted by area times corner angle.

    Args:
        vertices: (..., V, 3). triangles: (F, 3) int, counter-clockwise seen from outside.

    Returns:
        (..., V, 3) unit vectors, outward; (0, 0, 1) where no triangle has area. Differentiable in ``vertices``.
    """
    check_shape("vertices", vertices, None, 3)
    triangles = torch.as_tensor(triangles, device=vertices.device).long()
    corners = vertices[..., triangles, :]
    normals = torch.linalg.cross(corners[..., 1, :] - corners[..., 0, :], corners[..., 2, :] - corners[..., 0, :])
    total = torch.zeros_like(vertices)
    for corner in range(3):
        first = corners[..., (corner + 1) % 3, :] - corners[..., corner, :]
        second = corners[..., (corner + 2) % 3, :] - corners[..., corner, :]
        # The square root's slope is infinite at 0, which a triangle without area reaches.
        squared = (normals * normals).sum(-1)
        is_flat = squared <= 0
        length = torch.where(is_flat, torch.zeros_like(squared), torch.where(is_flat, torch.ones_like(squared), squared).sqrt())
        angle = torch.where(is_flat, torch.zeros_like(length), torch.atan2(length, torch.where(is_flat, torch.ones_like(length), (first * second).sum(-1))))
        total = total.index_add(-2, triangles[:, corner], normals * angle[..., None])
    return _unit(total)


def corner_tangents(vertices: torch.Tensor, triangles: torch.Tensor, uv: torch.Tensor, uv_triangles: torch.Tensor) -> torch.Tensor:
    """The direction in which u grows, averaged around each uv vertex: the frame normal maps are given in.

    Args:
        vertices: (V, 3). triangles: (F, 3) int. uv: (T, 2), v up. uv_triangles: (F, 3) int into ``uv``.

    Returns:
        (F, 3, 4): unit tangent of each corner, and +1 or -1 for the bitangent = sign * cross(normal, tangent) (-1 where the
        uv layout is mirrored), as in glTF 2.0. (1, 0, 0, 1) where the layout has no area. Differentiable in ``vertices``.
    """
    check_shape("vertices", vertices, None, 3)
    check_shape("uv", uv, None, 2)
    triangles, uv_triangles = (torch.as_tensor(index, device=vertices.device).long() for index in (triangles, uv_triangles))
    corners, flat = vertices[triangles], uv[uv_triangles].to(vertices.dtype)
    edges = corners[:, 1:] - corners[:, :1]
    steps = flat[:, 1:] - flat[:, :1]
    area = steps[:, 0, 0] * steps[:, 1, 1] - steps[:, 1, 0] * steps[:, 0, 1]
    along = (edges[:, 0] * steps[:, 1, 1, None] - edges[:, 1] * steps[:, 0, 1, None]) * area.sign()[:, None]
    total = torch.zeros(len(uv), 3, dtype=vertices.dtype, device=vertices.device)
    signs = torch.zeros(len(uv), dtype=vertices.dtype, device=vertices.device)
    for corner in range(3):
        total = total.index_add(0, uv_triangles[:, corner], along)
        signs = signs.index_add(0, uv_triangles[:, corner], area)
    tangents = _unit(total, (1.0, 0.0, 0.0))
    sign = torch.where(signs < 0, -1.0, 1.0).to(vertices.dtype)
    return torch.cat([tangents, sign[:, None]], -1)[uv_triangles]


def mapped_normals(normals: torch.Tensor, tangents: torch.Tensor, map_values: torch.Tensor) -> torch.Tensor:
    """Normals bent by a tangent-space normal map.

    Args:
        normals: (..., 3), interpolated, need not be unit. tangents: (..., 4) interpolated ``corner_tangents``.
        map_values: (..., 3) the looked-up map in [-1, 1]: along the tangent, the bitangent, the normal.

    Returns:
        (..., 3) unit. (0, 0, 1) in the map leaves the normal as it is. Differentiable in every argument.
    """
    check_shape("normals", normals, 3)
    check_shape("tangents", tangents, 4)
    check_shape("map_values", map_values, 3)
    normal = _unit(normals)
    tangent = tangents[..., :3]
    tangent = _unit(tangent - (tangent * normal).sum(-1, keepdim=True) * normal, (1.0, 0.0, 0.0))
    bitangent = torch.linalg.cross(normal, tangent) * torch.where(tangents[..., 3:] < 0, -1.0, 1.0).to(normal.dtype)
    return _unit(map_values[..., :1] * tangent + map_values[..., 1:2] * bitangent + map_values[..., 2:] * normal)


def _unit(vectors: torch.Tensor, fallback: tuple[float, float, float] = (0.0, 0.0, 1.0)) -> torch.Tensor:
    """Unit vectors; ``fallback`` where there is no direction. Safe to differentiate there."""
    squared = (vectors * vectors).sum(-1, keepdim=True)
    is_null = squared <= 1e-40
    length = torch.where(is_null, torch.ones_like(squared), squared).sqrt()
    return torch.where(is_null, vectors.new_tensor(fallback).expand_as(vectors), vectors / length)
