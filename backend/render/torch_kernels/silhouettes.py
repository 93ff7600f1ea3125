"""Silhouette antialiasing in plain torch: any device, float64; the algorithm is described in ``render/silhouettes.py``.

The search for crossings runs without gradients; the crossings that are kept are computed again with them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from ..edge_topology import EdgeTopology


def antialias(colour: torch.Tensor, homogeneous: torch.Tensor, depth: torch.Tensor, topology: EdgeTopology, near_m: float) -> torch.Tensor:
    """See ``silhouettes.antialias``; colour (B, H, W, C), homogeneous (B, V, 3), depth (B, H, W)."""
    batches, height, width, channels = colour.shape
    edges = topology.edges.long()
    with torch.no_grad():
        # Which pixels lie on which side is decided in float64, like the visibility: on the CPU where the device has none.
        place = torch.device("cpu") if homogeneous.device.type == "mps" else homogeneous.device
        exact = [homogeneous.detach().to(place).double(), depth.to(place).double(), edges.to(place), topology.opposites.to(place).long()]
        found = [_crossings(*exact, near_m, axis) for axis in (0, 1)]
        batch, edge, axis, line, pair, is_beyond, share, reach = (torch.cat(parts) for parts in zip(*found))
        # The outermost edge of each pixel pair; of equal ones the first: a stable sort by pair of what is sorted by reach.
        key = ((batch * 2 + axis) * max(height, width) + line) * max(height, width) + pair
        order = torch.argsort(edge, stable=True)
        order = order[torch.argsort(reach[order], descending=True, stable=True)]
        order = order[torch.argsort(key[order], stable=True)]
        is_first = torch.ones_like(order, dtype=torch.bool)
        is_first[1:] = key[order][1:] != key[order][:-1]
        kept = order[is_first]
        batch, edge, axis, line, pair, is_beyond, share = (part[kept] for part in (batch, edge, axis, line, pair, is_beyond, share))
        batch, edge, axis, line, pair, is_beyond = (part.to(homogeneous.device) for part in (batch, edge, axis, line, pair, is_beyond))
        share = share.to(homogeneous)
        lower = batch * height * width + torch.where(axis == 0, line * width + pair, pair * width + line)
        upper = lower + torch.where(axis == 0, 1, width)
        front, back = torch.where(is_beyond, upper, lower), torch.where(is_beyond, lower, upper)
        # Seen from the lower pixel's centre the numbers are small, so float32 is enough.
        along, lines = pair + 0.5, line + 0.5
        centre = torch.stack([torch.where(axis == 0, along, lines), torch.where(axis == 0, lines, along)], -1).to(homogeneous)
    a, b = (_seen_from(homogeneous[batch, edges[edge, end]], centre) for end in (0, 1))
    line_x, line_y, line_1 = torch.linalg.cross(a, b).unbind(-1)
    fraction = -line_1 / torch.where(axis == 0, line_x, line_y)
    reach = torch.where(is_beyond, 1 - fraction, fraction)
    is_over = reach.detach() >= 0.5
    target, source = torch.where(is_over, back, front), torch.where(is_over, front, back)
    blend = share * torch.where(is_over, reach - 0.5, 0.5 - reach)
    flat = colour.reshape(-1, channels)
    # A pixel that several edges blend away by more than its whole is shared out among them.
    blend = blend / torch.zeros_like(flat[:, 0]).index_add(0, target, blend)[target].clamp_min(1)
    return flat.index_add(0, target, blend[:, None] * (flat[source] - flat[target])).reshape(colour.shape)


def _seen_from(points: torch.Tensor, centre_px: torch.Tensor) -> torch.Tensor:
    """(N, 3) homogeneous points with the picture's origin moved to ``centre_px`` (N, 2)."""
    return torch.cat([points[:, :2] - centre_px * points[:, 2:], points[:, 2:]], -1)


def _crossings(
    homogeneous: torch.Tensor, depth: torch.Tensor, edges: torch.Tensor, opposites: torch.Tensor, near: float, axis: int
) -> tuple[torch.Tensor, ...]:
    """Crossings of silhouette edges with rows (axis 0) or columns (1) of pixel centres that separate a near from a far pixel.

    Returns:
        batch, edge, axis, line, pair (int64), is_beyond (bool: the surface lies towards larger coordinates), share, reach; each (N,).
    """
    height, width = depth.shape[1:]
    a, b = homogeneous[:, edges[:, 0]], homogeneous[:, edges[:, 1]]
    equation = torch.linalg.cross(a, b)
    side = (equation[:, :, None] * homogeneous[:, opposites]).sum(-1)
    is_positive, is_negative = (side > 0).any(-1), (side < 0).any(-1)
    is_seen = (a[..., 2] >= near) | (b[..., 2] >= near)
    batch, edge = (is_seen & (is_positive != is_negative)).nonzero().unbind(-1)
    a, b, equation, is_positive = a[batch, edge], b[batch, edge], equation[batch, edge], is_positive[batch, edge]
    start, end = _clipped(a, b, near), _clipped(b, a, near)
    direction = end - start
    square = direction.square().sum(-1)
    share = torch.where(square > 0, direction[:, 1].square() / square.clamp_min(torch.finfo(square.dtype).tiny), torch.full_like(square, 0.5))
    lines, along, coordinate = (height, width, 1) if axis == 0 else (width, height, 0)
    low, high = torch.minimum(start, end)[:, coordinate], torch.maximum(start, end)[:, coordinate]
    first, last = ((value - 0.5).ceil().clamp(0, lines).long() for value in (low, high))
    counts = last - first
    item = torch.repeat_interleave(torch.arange(len(counts), device=depth.device), counts)
    line = first[item] + torch.arange(len(item), device=depth.device) - (counts.cumsum(0) - counts)[item]
    centre = line + 0.5
    across, other = equation[item, axis], equation[item, 1 - axis]
    place = -(other * centre + equation[item, 2]) / across
    step = (place - 0.5).floor()
    is_inside = (across != 0) & (step >= 0) & (step < along - 1)
    pair = torch.where(is_inside, step, torch.zeros_like(step)).long()
    end_a, end_b = a[item, coordinate] - centre * a[item, 2], b[item, coordinate] - centre * b[item, 2]
    z = a[item, 2] + (end_a / (end_a - end_b)).clamp(0, 1) * (b - a)[item, 2]
    is_beyond = (across > 0) == is_positive[item]
    lower = line * width + pair if axis == 0 else pair * width + line
    lower = batch[item] * height * width + lower
    upper = lower + (1 if axis == 0 else width)
    flat_depth = depth.reshape(-1)
    # One pixel across has no pair at all, and nothing to index.
    upper = upper.clamp_max(flat_depth.numel() - 1)
    z_front, z_back = flat_depth[torch.where(is_beyond, upper, lower)], flat_depth[torch.where(is_beyond, lower, upper)]
    kept = (is_inside & (end_a != end_b) & (z_back > z) & (2 * z_front < z + z_back)).nonzero()[:, 0]
    fraction = (place - 0.5 - pair)[kept]
    is_beyond = is_beyond[kept]
    item, line, pair = item[kept], line[kept], pair[kept]
    share = share if axis == 0 else 1 - share
    return batch[item], edge[item], torch.full_like(item, axis), line, pair, is_beyond, share[item], torch.where(is_beyond, 1 - fraction, fraction)


def _clipped(end: torch.Tensor, other: torch.Tensor, near: float) -> torch.Tensor:
    """(N, 2) px: ``end``, or the point towards ``other`` on the near plane when it lies before that."""
    is_before = end[:, 2] < near
    t = (near - end[:, 2]) / torch.where(is_before, other[:, 2] - end[:, 2], torch.ones_like(end[:, 2]))
    point = torch.where(is_before[:, None], end + t[:, None] * (other - end), end)
    depth = torch.where(is_before, torch.full_like(t, near), point[:, 2])
    return point[:, :2] / depth[:, None]
