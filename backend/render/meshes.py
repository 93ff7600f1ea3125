"""Triangle meshes to pixels: which triangle, where in it, how far.

The kernel is chosen by the tensors' device; CPU (numba) is the only one so far. Coverage itself is not differentiable;
``interpolate`` and ``sample_texture`` are, in their attributes and texture.
"""

from __future__ import annotations

import dataclasses

import numpy as np
import torch

from ..errors import AvatarError
from ..geometry.cameras import project
from ..geometry.shapes import check_shape
from .mesh_kernels import fill_bands, prepare_triangles

_ROWS_PER_BAND = 32


@dataclasses.dataclass(frozen=True)
class Fragments:
    """What each pixel sees.

    triangle_ids: (H, W) int32, -1 = background. depth_m: (H, W) float32, z in the camera frame, inf = background.
    barycentric: (H, W, 3) float32, perspective-correct weights of the triangle's corners, 0 on the background.
    """

    triangle_ids: torch.Tensor
    depth_m: torch.Tensor
    barycentric: torch.Tensor

    @property
    def is_covered(self) -> torch.Tensor:
        """(H, W) bool."""
        return self.triangle_ids >= 0

    @property
    def size_hw(self) -> tuple[int, int]:
        return tuple(self.triangle_ids.shape)  # type: ignore[return-value]


def rasterise(vertices_cam_m: torch.Tensor, triangles: torch.Tensor, px_from_cam: torch.Tensor, size_hw: tuple[int, int], near_m: float = 0.01) -> Fragments:
    """The nearest triangle at every pixel centre (+0.5), both sides visible, clipped at the near plane.

    Args:
        vertices_cam_m: (V, 3) float, camera frame (OpenCV axes), m. Numpy arrays are accepted everywhere.
        triangles: (F, 3) int, indices of vertices.
        px_from_cam: (3, 3) K, last row (0, 0, 1).
        size_hw: height and width of the picture, px.
        near_m: nothing nearer than this is seen, m; > 0.

    Returns:
        Fragments on the CPU. Equal depth: the lower triangle number wins. Independent of the number of threads.

    Raises:
        AvatarError: ``diverged`` when a vertex or the camera is not finite.
        ValueError: wrong shapes, an index out of range.
    """
    vertices, faces = _numpy(vertices_cam_m, np.float64), _triangles(triangles)
    matrix = _numpy(px_from_cam, np.float64)
    check_shape("vertices_cam_m", vertices, None, 3)
    check_shape("px_from_cam", matrix, 3, 3)
    if near_m <= 0:
        raise ValueError(f"near_m must be positive, got {near_m}")
    if not np.isfinite(matrix).all():
        raise AvatarError("diverged", "The camera matrix to render with is not finite.")
    _check_finite(vertices)
    return _rasterise_homogeneous(vertices @ matrix.T, faces, size_hw, near_m)


def rasterise_uv(uv: torch.Tensor, uv_triangles: torch.Tensor, size_hw: tuple[int, int] | int) -> Fragments:
    """Rasterises a mesh in its own texture space: what surface point each texel centre belongs to.

    Args:
        uv: (T, 2) float in [0, 1], v up (row 0 of the texture is v = 1).
        uv_triangles: (F, 3) int, indices into ``uv``; triangle f here is triangle f of the mesh.
        size_hw: texture size, or the side of a square one, px.

    Returns:
        Fragments whose ``depth_m`` is 1 where a triangle lies.
    """
    coordinates, faces = _numpy(uv, np.float64), _triangles(uv_triangles)
    check_shape("uv", coordinates, None, 2)
    _check_finite(coordinates)
    height, width = (size_hw, size_hw) if isinstance(size_hw, int) else size_hw
    flat = np.stack([coordinates[:, 0] * width, (1 - coordinates[:, 1]) * height, np.ones(len(coordinates))], -1)
    return _rasterise_homogeneous(flat, faces, (height, width), 0.5)


def interpolate(fragments: Fragments, triangles: torch.Tensor, attributes: torch.Tensor) -> torch.Tensor:
    """Attributes at every pixel, perspective-correct; 0 on the background.

    Args:
        triangles: (F, 3) int, the triangles that were rasterised (used with per-vertex attributes).
        attributes: (V, C) per vertex or (F, 3, C) per corner.

    Returns:
        (H, W, C), dtype of ``attributes``; differentiable in ``attributes``.
    """
    attributes = torch.as_tensor(attributes)
    is_covered = fragments.is_covered
    ids = fragments.triangle_ids[is_covered].long()
    if attributes.ndim == 3:
        check_shape("attributes", attributes, 3, None)
        corners = attributes[ids]
    else:
        check_shape("attributes", attributes, None, None)
        corners = attributes[torch.as_tensor(triangles)[ids].long()]
    values = (corners * fragments.barycentric[is_covered].to(attributes.dtype)[..., None]).sum(1)
    picture = torch.zeros(*fragments.size_hw, attributes.shape[-1], dtype=attributes.dtype, device=values.device)
    return picture.masked_scatter(is_covered[..., None], values) if values.requires_grad else _scattered(picture, is_covered, values)


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
    height, width = fragments.size_hw
    is_ahead = points[..., 2] > 0
    safe = torch.where(is_ahead[..., None], points, torch.ones_like(points))
    pixels = project(torch.as_tensor(px_from_cam, dtype=points.dtype), safe)
    x, y = pixels[..., 0], pixels[..., 1]
    is_inside = is_ahead & (x >= 0) & (x < width) & (y >= 0) & (y < height)
    left, top = (torch.where(is_inside, value, torch.zeros_like(value)) - 0.5 for value in (x, y))
    left, top = left.floor().long(), top.floor().long()
    nearest = torch.full(x.shape, torch.inf, dtype=torch.float32)
    for step_x in (0, 1):
        for step_y in (0, 1):
            nearest = torch.minimum(nearest, fragments.depth_m[(top + step_y).clamp(0, height - 1), (left + step_x).clamp(0, width - 1)])
    return torch.where(is_inside, nearest, torch.full_like(nearest, torch.nan))


def is_visible(fragments: Fragments, px_from_cam: torch.Tensor, points_cam_m: torch.Tensor, tolerance_m: float = 0.003) -> torch.Tensor:
    """(..., N) bool: points inside the picture with no surface more than ``tolerance_m`` in front of them."""
    points = torch.as_tensor(points_cam_m)
    return points[..., 2] <= visible_depth(fragments, px_from_cam, points) + tolerance_m


def _rasterise_homogeneous(homogeneous: np.ndarray, faces: np.ndarray, size_hw: tuple[int, int], near: float) -> Fragments:
    height, width = (int(side) for side in size_hw)
    if height < 1 or width < 1:
        raise ValueError(f"size_hw must be at least 1 x 1, got {size_hw}")
    if len(faces) and (faces.min() < 0 or faces.max() >= len(homogeneous)):
        raise ValueError(f"triangles name vertices {faces.min()}..{faces.max()}, but there are {len(homogeneous)}")
    triangle_ids = np.full((height, width), -1, np.int32)
    depth = np.full((height, width), np.inf, np.float32)
    barycentric = np.zeros((height, width, 3), np.float32)
    if len(faces):
        bounds = np.empty((len(faces), 4), np.int32)
        coefficients = np.zeros((len(faces), 10))
        prepare_triangles(np.ascontiguousarray(homogeneous), faces, near, height, width, bounds, coefficients)
        fill_bands(bounds, coefficients, near, -(-height // _ROWS_PER_BAND), triangle_ids, depth, barycentric)
    return Fragments(torch.from_numpy(triangle_ids), torch.from_numpy(depth), torch.from_numpy(barycentric))


def _check_finite(vertices: np.ndarray) -> None:
    if not np.isfinite(vertices).all():
        bad = int(np.flatnonzero(~np.isfinite(vertices).all(-1))[0])
        raise AvatarError("diverged", f"Vertex {bad} of the mesh to render is not finite.", "", {"vertex": bad})


def _numpy(values: torch.Tensor | np.ndarray, dtype: type) -> np.ndarray:
    if isinstance(values, torch.Tensor):
        values = values.detach().cpu().numpy()
    return np.asarray(values, dtype=dtype)


def _triangles(triangles: torch.Tensor | np.ndarray) -> np.ndarray:
    faces = _numpy(triangles, np.int32)
    check_shape("triangles", faces, None, 3)
    return np.ascontiguousarray(faces)


def _scattered(picture: torch.Tensor, is_covered: torch.Tensor, values: torch.Tensor) -> torch.Tensor:
    picture[is_covered] = values
    return picture
