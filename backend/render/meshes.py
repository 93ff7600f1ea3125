"""Triangle meshes to pixels: which triangle, how far, what lies behind it.

Coverage is not differentiable; ``interpolate`` is, in attributes and positions. The kernels follow the tensors' device: numba on
the CPU, Warp on CUDA. On other devices visibility is found on the CPU and copied, and torch interpolates on the device.
"""

from __future__ import annotations

import numpy as np
import torch

from ..errors import AvatarError
from ..geometry.cameras import project
from ..geometry.shapes import check_shape
from .fragments import Covered, Fragments
from .interpolation import homogeneous_from_cam, interpolate, interpolate_covered
from .kernel_choice import kernels_for
from .numba_kernels.meshes import rasterise_into

__all__ = [
    "Covered", "Fragments", "homogeneous_from_cam", "interpolate", "interpolate_covered", "is_visible", "peel", "rasterise", "rasterise_uv",
    "sample_texture", "visible_depth",
]

_ROWS_PER_BAND = 32


def rasterise(vertices_cam_m: torch.Tensor, triangles: torch.Tensor, px_from_cam: torch.Tensor, size_hw: tuple[int, int], near_m: float = 0.01) -> Fragments:
    """The nearest triangle at every pixel centre (+0.5), both sides visible, clipped at the near plane.

    A pixel centre on an edge that two triangles share belongs to one of them, by the rule of left and upper edges.

    Args:
        vertices_cam_m: (V, 3) or (B, V, 3) float, camera frame (OpenCV axes), m. Numpy arrays are accepted everywhere.
        triangles: (F, 3) int, indices of vertices, the same for the whole batch. int32 is fastest.
        px_from_cam: (3, 3) or (B, 3, 3) K, last row (0, 0, 1).
        size_hw: height and width of the pictures, px.
        near_m: nothing nearer than this is seen, m; > 0.

    Returns:
        Fragments (H, W), or (B, H, W) for vertices with a batch, on the device of ``vertices_cam_m``. Depths are compared as float32;
        where they are equal the lower triangle number wins. Independent of batch split and number of threads. Not differentiable.
        A triangle with a corner more than 1e15 px outside is not drawn.

    Raises:
        AvatarError: ``diverged`` when a vertex or the camera is not finite.
        ValueError: wrong shapes or devices, an index out of range.
    """
    return peel(vertices_cam_m, triangles, px_from_cam, size_hw, 1, near_m)[0]


def peel(
    vertices_cam_m: torch.Tensor, triangles: torch.Tensor, px_from_cam: torch.Tensor, size_hw: tuple[int, int], num_layers: int = 2, near_m: float = 0.01
) -> tuple[Fragments, ...]:
    """The ``num_layers`` nearest surfaces at every pixel, nearest first: what shows through cornea, lashes, glasses.

    Every layer holds the next triangle by (depth, number); a triangle is in one layer of a pixel at most, so a second triangle in
    the same place is the second layer. Arguments, errors and each of the results are those of ``rasterise``.
    """
    vertices = torch.as_tensor(vertices_cam_m)
    faces = torch.as_tensor(triangles)
    is_batch = vertices.ndim == 3
    check_shape("vertices_cam_m", vertices, None, 3)
    check_shape("triangles", faces, None, 3)
    if vertices.ndim > 3:
        raise ValueError(f"vertices_cam_m must have shape (V, 3) or (B, V, 3), got {tuple(vertices.shape)}")
    if near_m <= 0:
        raise ValueError(f"near_m must be positive, got {near_m}")
    if num_layers < 1:
        raise ValueError(f"num_layers must be 1 or more, got {num_layers}")
    matrix = _camera(px_from_cam, len(vertices) if is_batch else 1)
    return _drawn(vertices, faces, matrix, size_hw, num_layers, near_m)


def rasterise_uv(uv: torch.Tensor, uv_triangles: torch.Tensor, size_hw: tuple[int, int] | int) -> Fragments:
    """Rasterises a mesh in its own texture space: what surface point each texel centre belongs to.

    Args:
        uv: (T, 2) float in [0, 1], v up (row 0 of the texture is v = 1).
        uv_triangles: (F, 3) int, indices into ``uv``; triangle f here is triangle f of the mesh.
        size_hw: texture size, or the side of a square one, px.

    Returns:
        Fragments whose ``depth_m`` is 1 where a triangle lies.
    """
    coordinates, faces = torch.as_tensor(uv).detach(), torch.as_tensor(uv_triangles)
    check_shape("uv", coordinates, None, 2)
    check_shape("uv_triangles", faces, None, 3)
    height, width = (size_hw, size_hw) if isinstance(size_hw, int) else size_hw
    flat = torch.nn.functional.pad(coordinates, (0, 1), value=1.0)
    matrix = torch.tensor([[[width, 0, 0], [0, -height, height], [0, 0, 1]]], dtype=torch.float64)
    return _drawn(flat, faces, matrix, (height, width), 1, 0.5)[0]


def sample_texture(texture: torch.Tensor, uv: torch.Tensor) -> torch.Tensor:
    """Bilinear texture lookup; texel centres at (i + 0.5) / size, clamped at the borders.

    Args:
        texture: (h, w, C) float, row 0 is v = 1.
        uv: (..., 2) float, v up.

    Returns:
        (..., C); differentiable in both arguments (piecewise in ``uv``).
    """
    texture = torch.as_tensor(texture)
    uv = torch.as_tensor(uv)
    check_shape("texture", texture, None, None, None)
    check_shape("uv", uv, 2)
    height, width, channels = texture.shape
    x = (uv[..., 0] * width - 0.5).clamp(0, width - 1)
    y = ((1 - uv[..., 1]) * height - 0.5).clamp(0, height - 1)
    left, top = x.detach().floor().clamp_max(max(width - 2, 0)), y.detach().floor().clamp_max(max(height - 2, 0))
    across, down = (x - left)[..., None].to(texture.dtype), (y - top)[..., None].to(texture.dtype)
    left, top = left.long(), top.long()
    right, bottom = (left + 1).clamp_max(width - 1), (top + 1).clamp_max(height - 1)
    flat = texture.reshape(-1, channels)
    upper = flat[top * width + left] * (1 - across) + flat[top * width + right] * across
    lower = flat[bottom * width + left] * (1 - across) + flat[bottom * width + right] * across
    return upper * (1 - down) + lower * down


def visible_depth(fragments: Fragments, px_from_cam: torch.Tensor, points_cam_m: torch.Tensor) -> torch.Tensor:
    """Depth of the surface seen where points project: the nearest of the four pixels around each.

    Args:
        points_cam_m: (..., N, 3) camera frame, m.

    Returns:
        (..., N) float32 m: inf where only background is seen, NaN where the point is outside the picture or behind the camera.
    """
    points = torch.as_tensor(points_cam_m)
    check_shape("points_cam_m", points, None, 3)
    if fragments.depth_m.ndim != 2:
        raise ValueError(f"fragments must be of one picture (H, W), got {tuple(fragments.depth_m.shape)}")
    height, width = fragments.size_hw
    is_ahead = points[..., 2] > 0
    safe = torch.where(is_ahead[..., None], points, torch.ones_like(points))
    pixels = project(torch.as_tensor(px_from_cam, dtype=points.dtype, device=points.device), safe)
    x, y = pixels[..., 0], pixels[..., 1]
    is_inside = is_ahead & (x >= 0) & (x < width) & (y >= 0) & (y < height)
    left, top = (torch.where(is_inside, value, torch.zeros_like(value)) - 0.5 for value in (x, y))
    left, top = left.floor().long(), top.floor().long()
    nearest = torch.full(x.shape, torch.inf, dtype=torch.float32, device=points.device)
    for step_x in (0, 1):
        for step_y in (0, 1):
            nearest = torch.minimum(nearest, fragments.depth_m[(top + step_y).clamp(0, height - 1), (left + step_x).clamp(0, width - 1)])
    return torch.where(is_inside, nearest, torch.full_like(nearest, torch.nan))


def is_visible(fragments: Fragments, px_from_cam: torch.Tensor, points_cam_m: torch.Tensor, tolerance_m: float = 0.003) -> torch.Tensor:
    """(..., N) bool: points inside the picture with no surface more than ``tolerance_m`` in front of them."""
    points = torch.as_tensor(points_cam_m)
    return points[..., 2] <= visible_depth(fragments, px_from_cam, points) + tolerance_m


def _drawn(
    vertices: torch.Tensor, triangles: torch.Tensor, px_from_cam: torch.Tensor, size_hw: tuple[int, int], num_layers: int, near_m: float
) -> tuple[Fragments, ...]:
    """``peel`` after its checks. px_from_cam: (1 or B, 3, 3) float64."""
    height, width = (int(side) for side in size_hw)
    if height < 1 or width < 1:
        raise ValueError(f"size_hw must be at least 1 x 1, got {tuple(size_hw)}")
    is_batch = vertices.ndim == 3
    pictures = vertices.detach() if is_batch else vertices.detach()[None]
    if pictures.dtype not in (torch.float32, torch.float64):
        pictures = pictures.double()
    faces = triangles if triangles.dtype == torch.int32 else triangles.to(torch.int32)
    device = pictures.device
    if kernels_for(vertices_cam_m=pictures, triangles=faces) == "warp":
        from .warp_kernels.meshes import rasterise_layers

        layers, homogeneous, bad = rasterise_layers(pictures, faces, px_from_cam, (height, width), num_layers, near_m)
    else:
        layers, homogeneous, bad, faces = _drawn_on_cpu(pictures, faces, px_from_cam, (height, width), num_layers, near_m)
    _raise_bad(bad, faces, pictures)
    shape = (len(pictures), height, width) if is_batch else (height, width)
    homogeneous = homogeneous if is_batch else homogeneous[0]
    return tuple(Fragments(ids.view(shape).to(device), depth.view(shape).to(device), homogeneous, faces) for ids, depth in zip(*layers))


def _drawn_on_cpu(
    pictures: torch.Tensor, faces: torch.Tensor, px_from_cam: torch.Tensor, size_hw: tuple[int, int], num_layers: int, near_m: float
) -> tuple[tuple[torch.Tensor, torch.Tensor], torch.Tensor, tuple[int, int, int], torch.Tensor]:
    """(ids, depth) (L, B, H, W) on the CPU; homogeneous and triangles on the device of ``pictures``."""
    ids = torch.empty((num_layers, len(pictures), *size_hw), dtype=torch.int32)
    depth = torch.empty(ids.shape)
    homogeneous = torch.empty(pictures.shape, dtype=torch.float64)
    corners = faces.cpu().contiguous()
    bad = rasterise_into(
        pictures.cpu().contiguous().numpy(), px_from_cam.cpu().contiguous().numpy(), corners.numpy(), float(near_m), _ROWS_PER_BAND, homogeneous.numpy(), ids.numpy(), depth.numpy()
    )
    if pictures.device.type != "cpu":
        has_double = pictures.device.type != "mps"
        homogeneous = (homogeneous if has_double else homogeneous.float()).to(pictures.device)
        return (ids, depth), homogeneous, bad, faces.contiguous()
    return (ids, depth), homogeneous, bad, corners


def _camera(px_from_cam: torch.Tensor | np.ndarray, num_pictures: int) -> torch.Tensor:
    """(1 or B, 3, 3) float64. One that lies on a card is not read back here: a vertex shows that it is not finite."""
    matrix = torch.as_tensor(px_from_cam).detach().double()
    check_shape("px_from_cam", matrix, 3, 3)
    if matrix.ndim > 3 or (matrix.ndim == 3 and len(matrix) not in (1, num_pictures)):
        raise ValueError(f"px_from_cam must have shape (3, 3) or ({num_pictures}, 3, 3), got {tuple(matrix.shape)}")
    if matrix.device.type == "cpu" and not np.isfinite(matrix.numpy()).all():
        raise AvatarError("diverged", "The camera matrix to render with is not finite.")
    return matrix.reshape(-1, 3, 3)


def _raise_bad(bad: tuple[int, int, int], triangles: torch.Tensor, pictures: torch.Tensor) -> None:
    picture, vertex, triangle = bad
    if vertex >= 0:
        detail = {"vertex": int(vertex), "picture": int(picture)}
        raise AvatarError("diverged", f"Vertex {vertex} of the mesh to render is not finite.", "", detail)
    if triangle >= 0:
        raise ValueError(f"triangles name vertices {int(triangles.min())}..{int(triangles.max())}, but there are {pictures.shape[1]}")
