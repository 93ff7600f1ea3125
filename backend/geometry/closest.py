"""The nearest point of a triangle mesh: triangle, place in it, distance; for millions of points on the CPU.

``closest_points`` does everything in one call. Meshes that are asked more than once keep their ``TriangleTree``; when only the
vertices move (animation, registration) ``refitted`` renews its boxes, which is much cheaper than a new tree.
"""

from __future__ import annotations

import dataclasses

import numpy as np
import torch

from .shapes import check_dtype, check_finite, check_shape

_FEW_CELLS, _MANY_CELLS = 8**4, 8**7
"""Cells that sort the points before they are asked about: a finer order is quicker to ask in, and its table slower to make."""


@dataclasses.dataclass(frozen=True)
class Closest:
    """Answers for P points.

    points: (P, 3) nearest point of the mesh. distance: (P,) >= 0, unit of the vertices. triangle_ids: (P,) int64.
    barycentric: (P, 3) weights of the triangle's corners, >= 0, sum 1.
    All are constants: ``points_on_triangles`` makes the points again from vertices that require gradients.
    """

    points: torch.Tensor
    distance: torch.Tensor
    triangle_ids: torch.Tensor
    barycentric: torch.Tensor


@dataclasses.dataclass(frozen=True)
class TriangleTree:
    """A bounding volume hierarchy over a mesh; made by ``build_tree``. Arrays as in ``closest_kernels``."""

    triangles: np.ndarray
    order: np.ndarray
    corner_order: np.ndarray
    children: np.ndarray
    spans: np.ndarray
    num_vertices: int
    corners: np.ndarray
    is_flat: np.ndarray
    boxes: np.ndarray

    def refitted(self, vertices: torch.Tensor) -> TriangleTree:
        """A tree of the same triangles with vertices elsewhere: exact as ever, slower to ask the more the mesh has changed.

        Args:
            vertices: (V, 3) float, as many as before.
        """
        places = _vertices(vertices)
        if len(places) != self.num_vertices:
            raise ValueError(f"vertices must have shape ({self.num_vertices}, 3), got {tuple(places.shape)}")
        return _fitted(self, places)

    def closest(self, points: torch.Tensor) -> Closest:
        """The nearest point of the mesh to each of (P, 3) points; see ``closest_points``."""
        from .closest_kernels import along_a_curve, query

        check_shape("points", points, None, 3)
        if points.ndim != 2:
            raise ValueError(f"points must have shape (P, 3), got {tuple(points.shape)}")
        check_dtype("points", points, torch.float32, torch.float64)
        check_finite("points", points.detach())
        places = points.detach().cpu().contiguous()
        num_points = len(places)
        found, weights = torch.empty_like(places), torch.empty_like(places)
        distances, nearest = places.new_empty(num_points), torch.empty(num_points, dtype=torch.int64)
        if num_points:
            turns = np.empty(num_points, np.int64)
            along_a_curve(places.numpy(), turns, np.zeros((_MANY_CELLS if num_points > _MANY_CELLS // 8 else _FEW_CELLS) + 1, np.int64))
            tree = (self.order, self.corner_order, self.children, self.spans, self.corners, self.is_flat, self.boxes)
            query(places.numpy(), turns, *tree, found.numpy(), distances.numpy(), nearest.numpy(), weights.numpy())
        return Closest(*(answer.to(points.device) for answer in (found, distances, nearest, weights)))


def build_tree(vertices: torch.Tensor, triangles: torch.Tensor) -> TriangleTree:
    """The hierarchy over a mesh.

    Args:
        vertices: (V, 3) float, any unit. triangles: (F, 3) int, F >= 1; those without area count as their edges.

    Raises:
        AvatarError: ``diverged`` when a vertex is not finite.
        ValueError: wrong shapes, no triangle, an index out of range.
    """
    from .closest_kernels import LEAF_SIZE, build

    places = _vertices(vertices)
    faces = np.ascontiguousarray(torch.as_tensor(triangles).detach().cpu().numpy(), np.int32)
    check_shape("triangles", faces, None, 3)
    if len(faces) == 0:
        raise ValueError("triangles must have shape (F, 3) with F of 1 or more, got (0, 3)")
    if faces.min() < 0 or faces.max() >= len(places):
        raise ValueError(f"triangles name vertices {faces.min()}..{faces.max()}, but there are {len(places)}")
    order = np.arange(len(faces), dtype=np.int32)
    # A median split leaves more than half of LEAF_SIZE in every leaf, so leaves and nodes have a bound.
    most = max(4 * len(faces) // LEAF_SIZE, 1) + 1
    children, spans = np.empty((most, 2), np.int32), np.empty((most, 2), np.int32)
    num_nodes = build(places[faces].mean(1), order, children, spans)
    corner_order = np.argsort(faces, axis=1, kind="stable").astype(np.int8)
    empty = np.empty(0)
    tree = TriangleTree(faces, order, corner_order, children[:num_nodes].copy(), spans[:num_nodes].copy(), len(places), empty, empty, empty)
    return _fitted(tree, places)


def closest_points(points: torch.Tensor, vertices: torch.Tensor, triangles: torch.Tensor) -> Closest:
    """The nearest point of a mesh to each point; both sides of a triangle count.

    Args:
        points: (P, 3) float32 or float64, same frame and unit as ``vertices``.
        vertices: (V, 3) float. triangles: (F, 3) int.

    Returns:
        Closest, dtype and device of ``points``; computed on the CPU in float64. Among triangles at the same distance, such as those
        around a corner, the lowest number wins. The same bits for any number of threads and any batches. Not differentiable.

    Raises:
        AvatarError: ``diverged`` when a point or a vertex is not finite.
        ValueError, TypeError: wrong shapes or dtypes, no triangle, an index out of range.
    """
    return build_tree(vertices, triangles).closest(points)


def points_on_triangles(vertices: torch.Tensor, triangles: torch.Tensor, triangle_ids: torch.Tensor, barycentric: torch.Tensor) -> torch.Tensor:
    """Points of a mesh from triangle and weights.

    Args:
        vertices: (V, C) places or any other value per vertex. triangles: (F, 3) int. triangle_ids: (P,) int. barycentric: (P, 3).

    Returns:
        (P, C), differentiable in ``vertices`` and ``barycentric``. With ``closest_points``' weights held constant the derivative of
        the *squared distance* to a given point is exact: the nearest point's slide along the surface does not change it.
    """
    check_shape("barycentric", barycentric, len(triangle_ids), 3)
    corners = vertices[torch.as_tensor(triangles, device=vertices.device)[triangle_ids].long()]
    return (corners * barycentric.to(vertices)[..., None]).sum(1)


def _fitted(tree: TriangleTree, vertices: np.ndarray) -> TriangleTree:
    from .closest_kernels import fit

    corners, is_flat, boxes = np.empty((len(tree.order), 9)), np.empty(len(tree.order), np.bool_), np.empty((len(tree.children), 6))
    fit(vertices, tree.triangles, tree.order, tree.corner_order, tree.children, tree.spans, corners, is_flat, boxes)
    return dataclasses.replace(tree, corners=corners, is_flat=is_flat, boxes=boxes)


def _vertices(vertices: torch.Tensor) -> np.ndarray:
    tensor = torch.as_tensor(vertices).detach()
    check_shape("vertices", tensor, None, 3)
    check_finite("vertices", tensor)
    return np.ascontiguousarray(tensor.cpu().numpy(), np.float64)
