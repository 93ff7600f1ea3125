"""Colours for what the clip did not show: from the other side of the head, then smoothly over the surface.

Smooth filling happens on the mesh, not in the image, so that it crosses the texture's seams without a trace.
"""

from __future__ import annotations

import dataclasses

import numpy as np
import scipy.sparse as sp
from scipy.ndimage import distance_transform_edt, map_coordinates
from scipy.sparse.linalg import splu

from .texels import Texels, vertex_edges

SEAM_TEXELS = 8
"""Width of the border repeated around every island, at least (the gaps are filled completely)."""
FULL_WEIGHT = 0.6
"""Sum of frame weight times squared cosine at which a texel is trusted in full."""
MIN_WEIGHT = 0.05
"""Below this sum a texel counts as unseen (spec dynamic_texture.md 13.6)."""
_MEMORY_M = 0.045
"""Distance over which a filled colour forgets the nearest seen one and approaches the part's mean."""


def vertex_means(colour: np.ndarray, weight: np.ndarray, corners: np.ndarray, barycentric: np.ndarray, num_vertices: int) -> tuple[np.ndarray, np.ndarray]:
    """Mean colour of the texels around each vertex.

    Args:
        colour: (n, C). weight: (n,), 0 = ignore. corners: (n, 3) vertices of each texel. barycentric: (n, 3).

    Returns:
        (V, C) float64 means (0 where nothing is near) and (V,) sums of weights.
    """
    shares = (barycentric * weight[:, None]).astype(np.float64)
    total = np.bincount(corners.ravel(), shares.ravel(), minlength=num_vertices)
    sums = np.stack([np.bincount(corners.ravel(), (shares * colour[:, k : k + 1]).ravel(), minlength=num_vertices) for k in range(colour.shape[1])], -1)
    return sums / np.maximum(total, 1e-12)[:, None], total


def spread(values: np.ndarray, is_known: np.ndarray, vertices_m: np.ndarray, triangles: np.ndarray, default: np.ndarray) -> np.ndarray:
    """Completes per-vertex values smoothly over a surface (screened Laplace equation, known values fixed).

    Args:
        values: (V, C). is_known: (V,) bool. vertices_m: (V, 3). triangles: (F, 3), the surface. default: (C,) or (V, C), approached
            far from anything known.

    Returns:
        (V, C); vertices off the surface get ``default`` unless known.
    """
    result = np.where(is_known[:, None], values, default).astype(np.float64)
    on_surface = np.zeros(len(values), bool)
    on_surface[triangles] = True
    unknown = np.flatnonzero(on_surface & ~is_known)
    if not len(unknown):
        return result
    edges = vertex_edges(triangles)
    length = np.maximum(np.linalg.norm(vertices_m[edges[:, 0]] - vertices_m[edges[:, 1]], axis=1), 1e-5)
    num = len(values)
    half = sp.coo_matrix((1 / length**2, (edges[:, 0], edges[:, 1])), shape=(num, num))
    links = (half + half.T).tocsr()
    screen = np.full(num, 4.0 / _MEMORY_M**2)
    system = (sp.diags(np.asarray(links.sum(1)).ravel() + screen) - links).tocsr()
    known = np.flatnonzero(is_known)
    default = np.broadcast_to(default, result.shape)
    right = screen[unknown, None] * default[unknown] - system[unknown][:, known] @ result[known]
    result[unknown] = splu(system[unknown][:, unknown].tocsc()).solve(np.ascontiguousarray(right))
    return result


def sample_texels(texels: Texels, values: np.ndarray, weight: np.ndarray, xy: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Weighted bilinear lookup of per-texel values at texture positions.

    Args:
        values: (n, C). weight: (n,). xy: (m, 2) texel coordinates, centres at +0.5; NaN = nowhere.

    Returns:
        (m, C) colours (0 where nothing is) and (m,) bilinear weights.
    """
    is_somewhere = np.isfinite(xy).all(1)
    at = np.where(is_somewhere[:, None], xy, 0.0)
    coordinates = np.stack([at[:, 1] - 0.5, at[:, 0] - 0.5])
    look = lambda plane: map_coordinates(texels.image(plane.astype(np.float32)), coordinates, order=1, mode="nearest")  # noqa: E731
    total = look(weight) * is_somewhere
    sums = np.stack([look(values[:, k] * weight) for k in range(values.shape[1])], -1)
    return sums / np.maximum(total, 1e-9)[:, None], total


def trust(texels: Texels, weight: np.ndarray) -> np.ndarray:
    """(n,) float32 in [0, 1]: 1 deep inside what was seen, fading to 0 towards its border and where little was seen."""
    is_seen = weight >= MIN_WEIGHT
    unseen = texels.image(~is_seen)
    if not unseen.any():
        inside = np.full(len(texels), np.inf)
    else:
        inside = distance_transform_edt(~unseen)[texels.rows, texels.cols]
    feather = max(2.0, 0.012 * texels.size_px)
    ramp = np.clip(inside / feather, 0, 1)
    strength = np.clip((weight - MIN_WEIGHT) / (FULL_WEIGHT - MIN_WEIGHT), 0, 1)
    return (is_seen * ramp * ramp * (3 - 2 * ramp) * np.sqrt(strength)).astype(np.float32)


@dataclasses.dataclass(frozen=True)
class SurfaceFill:
    """Smooth colours for a surface, and how much of them is needed.

    colour: (k, 3) float64 linear for the k texels that were asked for, valid everywhere. mirrored: (k,) share that came from the other side of the head.
    kept: (n,) share in which the seen colours replace ``colour``, for all texels.
    """

    colour: np.ndarray
    mirrored: np.ndarray
    kept: np.ndarray


def surface_fill(
    texels: Texels, chosen: np.ndarray, colour: np.ndarray, seen: np.ndarray, default: np.ndarray, vertices_m: np.ndarray, triangles: np.ndarray,
    surface: np.ndarray, mirror_vertices: np.ndarray | None = None, detail: np.ndarray | None = None,
) -> SurfaceFill:
    """Smooth colours for the texels of one kind of surface.

    Args:
        chosen: (n,) bool, the texels to complete. colour: (n, 3) linear, valid where ``seen`` > 0. seen: (n,) trust in [0, 1].
        default: (3,) or (V, 3) linear, for places far from anything seen.
        vertices_m: (V, 3) neutral head. triangles: (F, 3), all of them. surface: (F,) bool, triangles of this kind.
        mirror_vertices: (V,) to use the other side first (symmetry, corrected for the difference in light); None = do not.
        detail: (n,) in [0, 1], how much of the seen colours' detail is kept; below 1 their smooth part takes over (None = all).
    """
    corners = triangles[texels.triangle]
    weight = np.where(chosen, seen, 0).astype(np.float64)
    means, total = vertex_means(colour, weight, corners, texels.barycentric, len(vertices_m))
    is_known = total > 0.5
    fill_vertices = spread(means, is_known, vertices_m, triangles[surface], default)
    fill = np.einsum("nc,ncd->nd", texels.barycentric[chosen], fill_vertices[corners[chosen]])
    mirrored = np.zeros(len(fill))
    if mirror_vertices is not None:
        other = np.where(mirror_vertices >= 0, mirror_vertices, 0)
        is_pair = is_known & is_known[other] & (mirror_vertices >= 0)
        ratio = np.log(np.maximum(means, 1e-3)) - np.log(np.maximum(means[other], 1e-3))
        ratio = np.exp(np.clip(spread(ratio, is_pair, vertices_m, triangles[surface], np.zeros(3)), -0.7, 0.7))
        across, share = sample_texels(texels, colour, weight, texels.mirror_xy[chosen])
        mirrored = np.clip(share, 0, 1)
        fill += mirrored[:, None] * (across * np.einsum("nc,ncd->nd", texels.barycentric[chosen], ratio[corners[chosen]]) - fill)
    return SurfaceFill(fill, mirrored, seen if detail is None else seen * detail)


def complete_surface(colour: np.ndarray, chosen: np.ndarray, fill: SurfaceFill) -> np.ndarray:
    """(n, 3): seen colours and smooth ones mixed; unchanged outside ``chosen``."""
    result = colour.copy()
    result[chosen] = fill.colour + fill.kept[chosen, None] * (colour[chosen] - fill.colour)
    return result


def fill_gaps(texels: Texels, colour: np.ndarray) -> np.ndarray:
    """(S, S, 3): per-texel colours as an image whose uncovered texels repeat the nearest covered one."""
    image = texels.image(colour)
    is_covered = texels.image(np.ones(len(texels), bool))
    rows, cols = distance_transform_edt(~is_covered, return_distances=False, return_indices=True)
    return image[rows, cols]
