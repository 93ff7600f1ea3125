"""Interpolation over triangles in plain torch, for devices without compiled kernels; gradients by autograd."""

from __future__ import annotations

import torch


def covered_pixels(triangle_ids: torch.Tensor, num_triangles: int) -> tuple[torch.Tensor, torch.Tensor]:
    """(B, H * W) int32 ids -> flat index (P,) int64 and id (P,) int32 of the covered pixels, by picture, triangle and place."""
    pictures, places = (triangle_ids >= 0).nonzero(as_tuple=True)
    ids = triangle_ids[pictures, places]
    order = torch.sort(pictures * num_triangles + ids, stable=True).indices
    return (pictures * triangle_ids.shape[1] + places)[order], ids[order]


def barycentric(
    homogeneous: torch.Tensor, triangles: torch.Tensor, triangle_ids: torch.Tensor, pixels: torch.Tensor, size_hw: tuple[int, int]
) -> torch.Tensor:
    """(P, 3) perspective-correct weights at pixel centres; differentiable in ``homogeneous``.

    b_i = e_i / (e_0 + e_1 + e_2) with e_i = (h_j x h_k) . (x, y, 1): Olano and Greer, "Triangle scan conversion using 2D
    homogeneous coordinates", 1997. Holds for triangles with corners behind the camera, too.

    Args:
        homogeneous: (B, V, 3). triangles: (F, 3) int. triangle_ids: (P,) int. pixels: (P,) int64 into the flattened (B, H, W).
    """
    height, width = size_hw
    picture = pixels // (height * width)
    x = (pixels % width).to(homogeneous.dtype) + 0.5
    y = (pixels // width % height).to(homogeneous.dtype) + 0.5
    index = picture[:, None] * homogeneous.shape[1] + triangles[triangle_ids.long()].long()
    corners = homogeneous.reshape(-1, 3).index_select(0, index.reshape(-1)).view(-1, 3, 3)
    # Relative to the pixel's ray the product needs two coordinates only, and large terms do not cancel.
    across = corners[..., 0] - x[:, None] * corners[..., 2]
    down = corners[..., 1] - y[:, None] * corners[..., 2]
    edges = across.roll(-1, 1) * down.roll(-2, 1) - across.roll(-2, 1) * down.roll(-1, 1)
    return edges / edges.sum(1, keepdim=True)


def interpolate(weights: torch.Tensor, attributes: torch.Tensor, triangles: torch.Tensor, triangle_ids: torch.Tensor, picture: torch.Tensor) -> torch.Tensor:
    """(P, C) from (P, 3) weights and attributes (A, T, C), A = 1 or the number of pictures.

    Args:
        triangles: (F, 3) int into the T attributes. triangle_ids: (P,). picture: (P,) int64.
    """
    index = triangles[triangle_ids.long()].long()
    if len(attributes) > 1:
        index = index + picture[:, None] * attributes.shape[1]
    corners = attributes.reshape(-1, attributes.shape[2]).index_select(0, index.reshape(-1)).view(-1, 3, attributes.shape[2])
    return (corners * weights[..., None].to(attributes.dtype)).sum(1)
