"""Gaussians in plain torch: for devices without kernels of their own, and in float64 for gradcheck.

Which splats touch which tile is decided on the CPU; everything that carries a gradient runs on the tensors' device. A group of
tiles is one batch of (tile, splat, pixel); groups are recomputed in the backward pass, so memory stays bounded.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch.utils.checkpoint import checkpoint

if TYPE_CHECKING:
    from ..gaussian_compositing import ScreenGradients
    from ..gaussian_projection import Lens, ProjectedGaussians

_MAX_ENTRIES = 1 << 21
"""(tile, splat, pixel) triples of one group."""


def project(
    means_m: torch.Tensor, first: torch.Tensor, second: torch.Tensor | None, cam_from_world: torch.Tensor, kind: int, lens: Lens
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    """See ``gaussian_projection.project_gaussians``; ``first``, ``second`` hold the shape as ``kind`` says."""
    fx, fy, cx, cy = lens.intrinsics
    rotation = cam_from_world[:3, :3]
    centres = means_m @ rotation.T + cam_from_world[:3, 3]
    depths = centres[:, 2]
    linear = first if second is None else _rotations(first) * second[:, None]
    with torch.no_grad():
        is_near = (depths > lens.near_m) & (depths < lens.far_m)
        xx, _, yy, det = _covariances_px(torch.where(is_near[:, None], centres, _ahead(centres)), linear, rotation, kind, lens)
        is_valid = is_near & (det > 0) & (xx > 0) & (yy > 0) & (det < 1e37)
    # Culled splats are replaced before the arithmetic, because autograd would turn their overflow into NaN for the others too.
    centres, linear = torch.where(is_valid[:, None], centres, _ahead(centres)), torch.where(is_valid[:, None, None], linear, 0.0)
    xx, xy, yy, det = _covariances_px(centres, linear, rotation, kind, lens)
    x, y, z = centres.unbind(-1)
    conics = torch.where(is_valid[:, None], torch.stack([yy, -xy, xx], -1) / torch.where(is_valid, det, 1.0)[:, None], 0.0)
    means_px = torch.where(is_valid[:, None], torch.stack([fx * x / z + cx, fy * y / z + cy], -1), 0.0)
    with torch.no_grad():
        height, width = lens.size_hw
        radii = torch.ceil(3.33 * torch.sqrt(torch.stack([xx, yy], -1)))
        size = torch.tensor([width, height], dtype=radii.dtype, device=radii.device)
        is_seen = is_valid & (means_px + radii > 0).all(-1) & (means_px - radii < size).all(-1)
        radii_px = torch.where(is_seen[:, None], radii, 0.0).clamp(max=2e9).to(torch.int32)
    return means_px, conics, depths, radii_px


def _ahead(centres: torch.Tensor) -> torch.Tensor:
    return centres.new_tensor([0.0, 0.0, 1.0])


def _covariances_px(
    centres: torch.Tensor, linear: torch.Tensor, rotation: torch.Tensor, kind: int, lens: Lens
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    """xx, xy, yy with the low-pass, and the determinant. ``linear`` holds covariances when ``kind`` is 2."""
    x, y, z = centres.unbind(-1)
    slope_x, slope_y = (x / z).clamp(*lens.limits[:2]), (y / z).clamp(*lens.limits[2:])
    row_x = (lens.intrinsics[0] / z)[:, None] * (rotation[0] - slope_x[:, None] * rotation[2])
    row_y = (lens.intrinsics[1] / z)[:, None] * (rotation[1] - slope_y[:, None] * rotation[2])
    if kind == 2:
        symmetric = (linear + linear.transpose(1, 2)) / 2
        u, v = (symmetric @ row_x[..., None])[..., 0], (symmetric @ row_y[..., None])[..., 0]
        xx, xy, yy = (u * row_x).sum(-1), (u * row_y).sum(-1), (v * row_y).sum(-1)
        area = xx * yy - xy * xy
    else:
        u, v = (linear.transpose(1, 2) @ row_x[..., None])[..., 0], (linear.transpose(1, 2) @ row_y[..., None])[..., 0]
        xx, xy, yy = (u * u).sum(-1), (u * v).sum(-1), (v * v).sum(-1)
        # |u x v|^2: no cancellation however thin the splat.
        area = torch.linalg.cross(u, v).square().sum(-1)
    low_pass = lens.low_pass_px2
    return xx + low_pass, xy, yy + low_pass, area + low_pass * (xx + yy) + low_pass**2


def _rotations(quaternions: torch.Tensor) -> torch.Tensor:
    w, x, y, z = (quaternions / quaternions.norm(dim=-1, keepdim=True)).unbind(-1)
    rows = [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)]
    rows += [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)]
    rows += [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)]
    return torch.stack(rows, -1).view(-1, 3, 3)


def composite(
    projected: ProjectedGaussians, opacities: torch.Tensor, colours: torch.Tensor, background: torch.Tensor, size: tuple[int, int], use_depth: bool,
    screen_gradients: ScreenGradients | None,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor | None]:
    """See ``gaussian_compositing.composite_gaussians``. Returns colour, alpha, depth or None."""
    from ..numba_kernels.gaussians_tiles import TILE_PX

    height, width = size
    tiles_x, tiles_y = -(-width // TILE_PX), -(-height // TILE_PX)
    starts, ids = _tile_lists(projected, opacities, size)
    device, dtype = colours.device, colours.dtype
    features = torch.cat([colours, projected.depths_m[:, None]], 1) if use_depth else colours
    counts = np.diff(starts)
    order = np.argsort(-counts, kind="stable")
    num_pixels = TILE_PX * TILE_PX
    sums, tiles = [], []
    first = 0
    while first < len(order):
        longest = int(counts[order[first]])
        if longest == 0:
            break
        group = order[first : first + max(1, _MAX_ENTRIES // (longest * num_pixels))]
        group = group[counts[group] > 0]
        first += len(group)
        positions = starts[group][:, None] + np.arange(longest)
        is_entry = np.arange(longest) < counts[group][:, None]
        entries = torch.from_numpy(np.where(is_entry, ids[np.minimum(positions, len(ids) - 1)], 0).astype(np.int64)).to(device)
        corner = torch.from_numpy(np.stack([group % tiles_x, group // tiles_x], -1) * TILE_PX).to(device)
        arguments = (projected.means_px, projected.conics, opacities, features, entries, torch.from_numpy(is_entry).to(device), corner, screen_gradients)
        sums.append(checkpoint(_composite_tiles, *arguments, use_reentrant=False) if torch.is_grad_enabled() else _composite_tiles(*arguments))
        tiles.append(torch.from_numpy(group).to(device))
    total = torch.zeros(tiles_y * tiles_x, num_pixels, features.shape[1] + 1, dtype=dtype, device=device)
    total[..., -1] = 1
    if sums:
        total = total.index_copy(0, torch.cat(tiles), torch.cat(sums))
    else:
        # Nothing is seen; the picture still belongs to the graph, with zero gradients.
        total = total + 0 * (projected.means_px.sum() + projected.conics.sum() + opacities.sum() + features.sum())
    total = total.view(tiles_y, tiles_x, TILE_PX, TILE_PX, -1).transpose(1, 2).reshape(tiles_y * TILE_PX, tiles_x * TILE_PX, -1)[:height, :width]
    transmittance = total[..., -1]
    num_channels = colours.shape[1]
    colour = total[..., :num_channels] + transmittance[..., None] * background
    return colour, 1 - transmittance, total[..., num_channels] if use_depth else None


def _tile_lists(projected: ProjectedGaussians, opacities: torch.Tensor, size: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    from ..numba_kernels.gaussians_tiles import fill_tiles, order_visible, pack_splats

    def host(tensor: torch.Tensor, dtype: torch.dtype) -> np.ndarray:
        return tensor.detach().to("cpu", dtype).contiguous().numpy()

    num = len(opacities)
    splats, bounds = np.empty((num, 8), np.float32), np.empty((num, 4), np.int32)
    slots, keys = np.empty(num + 1, np.int64), np.empty(num, np.uint32)
    geometry = (host(tensor, torch.float32) for tensor in (projected.means_px, projected.conics))
    values = (host(tensor, torch.float32) for tensor in (projected.depths_m, opacities))
    pack_splats(*geometry, host(projected.radii_px, torch.int32), *values, *size, splats, bounds, slots, keys)
    return fill_tiles(order_visible(slots, keys), bounds, *size)


def _composite_tiles(
    means_px: torch.Tensor, conics: torch.Tensor, opacities: torch.Tensor, features: torch.Tensor, entries: torch.Tensor, is_entry: torch.Tensor,
    corner: torch.Tensor, screen_gradients: ScreenGradients | None,
) -> torch.Tensor:
    """entries, is_entry: (T, K) splats of T tiles, front to back. corner: (T, 2) first pixel. Returns (T, pixels, C + 1): features, transmittance."""
    from ..numba_kernels.gaussians_tiles import TILE_PX

    pixel = torch.arange(TILE_PX * TILE_PX, device=means_px.device)
    centre = corner[:, None] + torch.stack([pixel % TILE_PX, pixel // TILE_PX], -1) + 0.5
    offset = _Offsets.apply(means_px, entries, centre.to(means_px.dtype), screen_gradients)
    dx, dy = offset[0], offset[1]
    a, b, c = conics[entries][..., None].unbind(2)
    sigma = 0.5 * (a * dx * dx + c * dy * dy) + b * dx * dy
    raw = opacities[entries][..., None] * torch.exp(-sigma.clamp_min(0))
    alpha = raw.clamp(max=0.999)
    alpha = torch.where(is_entry[..., None] & (sigma >= 0) & (alpha >= 1 / 255), alpha, 0.0)
    after = torch.cumprod(1 - alpha, 1)
    before = torch.cat([torch.ones_like(after[:, :1]), after[:, :-1]], 1)
    is_added = after > 1e-4
    weight = torch.where(is_added, alpha * before, 0.0)
    # Not 1 - sum of weights, which loses its digits where the picture is opaque. Splats that add nothing repeat the same product.
    transmittance = torch.where(is_added, after, 1.0).amin(1)
    return torch.cat([torch.einsum("tkp,tkc->tpc", weight, features[entries]), transmittance[..., None]], -1)


class _Offsets(torch.autograd.Function):
    """(2, T, K, pixels): centre of the splat minus centre of the pixel; the backward pass sees every pixel's pull before it is summed."""

    @staticmethod
    def forward(ctx: Any, means_px, entries, centre, screen_gradients):  # type: ignore[no-untyped-def]
        ctx.save_for_backward(entries)
        ctx.like, ctx.screen_gradients = means_px, screen_gradients
        return (means_px[entries][:, :, None] - centre[:, None]).movedim(-1, 0)

    @staticmethod
    def backward(ctx: Any, grad):  # type: ignore[no-untyped-def]
        (entries,) = ctx.saved_tensors
        flat = entries.reshape(-1)
        total = torch.zeros_like(ctx.like).index_add_(0, flat, grad.sum(-1).movedim(0, -1).reshape(-1, 2))
        if ctx.screen_gradients is not None:
            ctx.screen_gradients.signed.add_(total)
            ctx.screen_gradients.absolute.index_add_(0, flat, grad.abs().sum(-1).movedim(0, -1).reshape(-1, 2))
        return total, None, None, None
