"""Texture lookup and mip levels in plain torch: any device, float64; what they compute is said in ``render/textures.py``."""

from __future__ import annotations

import numpy as np
import torch


def coarser_levels(texture: torch.Tensor, num_levels: int) -> torch.Tensor:
    """(B, h, w, C) -> (B, T, C): levels 1 to ``num_levels`` - 1, row by row, one after the other."""
    levels = []
    level = texture
    for _ in range(num_levels - 1):
        level = _halved(_halved(level, 1), 2)
        levels.append(level.flatten(1, 2))
    return torch.cat(levels, 1) if levels else texture.flatten(1, 2)[:, :0]


def _halved(level: torch.Tensor, dim: int) -> torch.Tensor:
    from ..mip_weights import halving_weights

    size = level.shape[dim]
    weights = torch.as_tensor(np.array(halving_weights(size))).to(level)
    first = 2 * torch.arange(len(weights), device=level.device)
    total = 0
    for tap in range(1 if size == 1 else 2 + size % 2):
        shape = [-1 if axis == dim else 1 for axis in range(level.ndim)]
        total = total + weights[:, tap].reshape(shape) * level.index_select(dim, first + tap)
    return total


def sample(
    texture: torch.Tensor, coarse: torch.Tensor, uv: torch.Tensor, level: torch.Tensor | None, covered: torch.Tensor | None, sizes: np.ndarray
) -> torch.Tensor:
    """(B, P, C); arguments as in ``numba_kernels.textures.sample``, level and covered None when there are none."""
    batches, _, channels = texture.shape
    if covered is not None:
        uv = torch.where(covered[..., None], uv, torch.zeros_like(uv))
    texels = torch.cat([texture, coarse], 1)
    table = torch.as_tensor(np.array(sizes), device=uv.device)
    # ``sizes`` counts coarse texels from the start of ``coarse``.
    table[1:, 2] += texture.shape[1]
    first = torch.arange(batches, device=uv.device)[:, None] * texels.shape[1]
    flat = texels.reshape(-1, channels)
    if level is None:
        values = _bilinear(flat, first, table[0].expand(*uv.shape[:-1], 3), uv)
    else:
        clamped = level.clamp(0, len(sizes) - 1)
        if covered is not None:
            clamped = torch.where(covered, clamped, torch.zeros_like(clamped))
        finer = clamped.floor().clamp_max(max(len(sizes) - 2, 0))
        share = (clamped - finer)[..., None]
        finer = finer.long()
        values = _bilinear(flat, first, table[finer], uv) * (1 - share)
        if len(sizes) > 1:
            values = values + _bilinear(flat, first, table[finer + 1], uv) * share
    return values if covered is None else torch.where(covered[..., None], values, torch.zeros_like(values))


def _bilinear(flat: torch.Tensor, first: torch.Tensor, level: torch.Tensor, uv: torch.Tensor) -> torch.Tensor:
    """One level: flat (N, C), first (B, 1) texel of each item, level (B, P, 3) height, width, first texel; uv (B, P, 2)."""
    height, width, start = level.unbind(-1)
    left, right, across = _taps(uv[..., 0], width)
    top, bottom, down = _taps(1 - uv[..., 1], height)
    start = first + start
    upper = flat[start + top * width + left] * (1 - across) + flat[start + top * width + right] * across
    lower = flat[start + bottom * width + left] * (1 - across) + flat[start + bottom * width + right] * across
    return upper * (1 - down) + lower * down


def _taps(coordinate: torch.Tensor, size: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """The two texels of an axis and the weight of the second (..., 1)."""
    last = (size - 1).to(coordinate.dtype)
    x = torch.minimum((coordinate * size - 0.5).clamp_min(0), last)
    first = torch.minimum(x.detach().floor(), (last - 1).clamp_min(0))
    index = first.long()
    return index, torch.minimum(index + 1, size - 1), (x - first)[..., None]


def uv_derivatives(
    triangle_ids: torch.Tensor, depth: torch.Tensor, barycentric: torch.Tensor, homogeneous: torch.Tensor, triangles: torch.Tensor, uv: torch.Tensor,
    uv_triangles: torch.Tensor,
) -> torch.Tensor:
    """(B, P, 4) float32; see ``numba_kernels.textures.uv_derivatives``."""
    batches = len(homogeneous)
    if len(triangles) == 0:
        return torch.zeros(*triangle_ids.shape, 4, device=uv.device)
    # Per triangle in float64 (on the CPU where the device has none): the determinant of a small triangle is a small difference.
    place = torch.device("cpu") if homogeneous.device.type == "mps" else homogeneous.device
    corners = homogeneous.to(place).double()[:, triangles.to(place).long()]
    edges = torch.linalg.cross(corners[:, :, [1, 2, 0]], corners[:, :, [2, 0, 1]])
    determinant = (edges[:, :, 0] * corners[:, :, 0]).sum(-1)[..., None, None]
    edges = torch.where(determinant != 0, edges[..., :2] / determinant, torch.zeros_like(edges[..., :2]))
    corner_uv = uv.to(place).double()[uv_triangles.to(place).long()]
    corner_uv = corner_uv - corner_uv[:, :1]
    slopes = torch.einsum("bfix,fiu->bfux", edges, corner_uv).flatten(2)
    # The float table as big as the mesh goes to the device; the pixels stay there.
    table = torch.cat([slopes, edges.sum(2), corner_uv[:, 1:].flatten(1).expand(batches, -1, -1)], -1).to(device=uv.device, dtype=torch.float32)
    covered = triangle_ids >= 0
    ids = triangle_ids.clamp_min(0).long()
    row = torch.gather(table, 1, ids[..., None].expand(-1, -1, 10))
    at = barycentric[..., 1:2] * row[..., 6:8] + barycentric[..., 2:3] * row[..., 8:10]
    slope = row[..., :4].unflatten(-1, (2, 2)) - at[..., :, None] * row[..., None, 4:6]
    # The depth of the background is infinite.
    z = torch.where(covered, depth, torch.zeros_like(depth))[..., None, None]
    return torch.where(covered[..., None, None], z * slope, torch.zeros_like(slope)).flatten(2)
