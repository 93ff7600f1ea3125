"""Multi-resolution hash encoding: positions in the unit cube to features interpolated from a table.

Müller, Evans, Schied and Keller, "Instant neural graphics primitives with a multiresolution hash encoding", 2022, section 3:
level l is a grid of N_l = floor(N_min b^l) cells per side; a level whose (N_l + 1)^3 corners fit into T entries has one
entry per corner, a finer one shares T entries through the hash (x ^ 2654435761 y ^ 805459861 z) mod T.
"""

from __future__ import annotations

import numpy as np
import torch
from torch.autograd.function import once_differentiable

from ..errors import AvatarError
from ..geometry.shapes import check_dtype, check_finite, check_shape
from .hash_grid import HashGrid
from .kernel_choice import kernels_for


class HashEncoding(torch.nn.Module):
    """The table of a ``HashGrid`` as a parameter, uniform in ±1e-4 at the start.

    Args:
        grid: sizes. generator: of the starting values; None = torch's own.
    """

    def __init__(self, grid: HashGrid, generator: torch.Generator | None = None):
        super().__init__()
        self.grid = grid
        self.table = torch.nn.Parameter((torch.rand(grid.num_entries, grid.num_features, generator=generator) * 2 - 1) * 1e-4)

    def forward(self, positions: torch.Tensor) -> torch.Tensor:
        """(N, 3) in the unit cube -> (N, L * F); see ``encode_positions``."""
        return encode_positions(positions, self.table, self.grid)


def encode_positions(positions: torch.Tensor, table: torch.Tensor, grid: HashGrid) -> torch.Tensor:
    """Features of all levels, interpolated linearly in each cell.

    Args:
        positions: (N, 3) float32 or float64 in [0, 1]; clamped to it.
        table: (grid.num_entries, grid.num_features), same dtype and device.

    Returns:
        (N, L * F), the features of level 0 first. Differentiable in both, once (again only on the path "torch"); the gradient to
        positions is piecewise: it jumps at cell walls and is zero outside the cube. On the CPU the gradients are the same
        bit for bit for any number of threads; on CUDA additions to the table happen in any order.

    Raises:
        AvatarError: ``diverged`` when a position is not finite.
        ValueError, TypeError: wrong shape, dtype or device.
    """
    check_shape("positions", positions, None, 3)
    if positions.ndim != 2:
        raise ValueError(f"positions must have shape (N, 3), got {tuple(positions.shape)}")
    check_dtype("positions", positions, torch.float32, torch.float64)
    check_dtype("table", table, positions.dtype)
    if table.shape != (grid.num_entries, grid.num_features):
        raise ValueError(f"table must have shape ({grid.num_entries}, {grid.num_features}), got {tuple(table.shape)}")
    kernels = kernels_for(positions=positions, table=table)
    if kernels == "numba":
        return _NumbaEncoding.apply(positions, table, grid)
    if kernels == "warp" and positions.dtype == torch.float32:
        check_finite("positions", positions.detach())
        return _WarpEncoding.apply(positions, table, grid)
    from .torch_kernels.hash_encoding import encode

    check_finite("positions", positions.detach())
    return encode(positions, table, grid)


class _NumbaEncoding(torch.autograd.Function):
    @staticmethod
    def forward(ctx, positions, table, grid):  # noqa: ANN001 - signature set by torch
        from .numba_kernels.hash_encoding import SAMPLES_PER_CHUNK, encode

        points = positions.detach().contiguous()
        values = table.detach().contiguous()
        encoded = torch.empty(len(points), grid.num_outputs, dtype=points.dtype)
        bad = np.full(-(-len(points) // SAMPLES_PER_CHUNK), -1, np.int64)
        if len(points):
            encode(points.numpy(), values.numpy(), grid.resolutions, grid.offsets, grid.is_dense, grid.mask, encoded.numpy(), bad)
        if (bad >= 0).any():
            index = int(bad[bad >= 0][0])
            raise AvatarError("diverged", f"positions is not finite at [{index}].", "", {"argument": "positions", "index": [index]})
        ctx.save_for_backward(points, values)
        ctx.grid = grid
        return encoded

    @staticmethod
    @once_differentiable
    def backward(ctx, encoded_grad):  # noqa: ANN001
        from .numba_kernels.hash_encoding import position_gradient, table_gradient

        points, values = ctx.saved_tensors
        grid = ctx.grid
        upstream = encoded_grad.contiguous().numpy()
        levels = (grid.resolutions, grid.offsets, grid.is_dense, grid.mask)
        position_grad = table_grad = None
        if ctx.needs_input_grad[0]:
            position_grad = torch.empty_like(points)
            position_gradient(points.numpy(), values.numpy(), upstream, *levels, position_grad.numpy())
        if ctx.needs_input_grad[1]:
            num_shares = grid.num_shares(len(points))
            buffers = torch.empty(num_shares, *values.shape, dtype=values.dtype)
            table_gradient(points.numpy(), upstream, *levels, grid.task_order, num_shares, buffers.numpy())
            # A copy, so that the other shares' memory is not kept alive by the gradient.
            table_grad = buffers[0] if num_shares == 1 else buffers[0].clone()
        return position_grad, table_grad, None


class _WarpEncoding(torch.autograd.Function):
    @staticmethod
    def forward(ctx, positions, table, grid):  # noqa: ANN001
        from .warp_kernels.hash_encoding import encode

        points, values = positions.detach().contiguous(), table.detach().contiguous()
        ctx.save_for_backward(points, values)
        ctx.grid = grid
        return encode(points, values, grid)

    @staticmethod
    @once_differentiable
    def backward(ctx, encoded_grad):  # noqa: ANN001
        from .warp_kernels.hash_encoding import position_gradient, table_gradient

        points, values = ctx.saved_tensors
        upstream = encoded_grad.contiguous()
        position_grad = position_gradient(points, values, upstream, ctx.grid) if ctx.needs_input_grad[0] else None
        table_grad = table_gradient(points, values, upstream, ctx.grid) if ctx.needs_input_grad[1] else None
        return position_grad, table_grad, None
