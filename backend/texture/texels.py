"""Which place of the head's surface each texel shows. Depends on the rig only."""

from __future__ import annotations

import dataclasses

import numpy as np
import scipy.sparse as sp
from scipy.sparse.csgraph import connected_components
from scipy.spatial import cKDTree

from ..render.meshes import rasterise_uv
from ..rig.model import PARTS, RigModel


@dataclasses.dataclass(frozen=True)
class Texels:
    """The n covered texels of a square texture, in row-major order.

    size_px: side of the texture. rows, cols: (n,) int32. triangle: (n,) int32 into the rig's triangles.
    barycentric: (n, 3) float32. part: (n,) uint8 into ``PARTS``. inside: (n,) uint8, skin behind the lids (1) or the lips
        (2), 0 for all else.
    mirror_xy: (n, 2) float32, the texel on the other side of the head in texel coordinates (centres at +0.5), NaN when unknown.
    """

    size_px: int
    rows: np.ndarray
    cols: np.ndarray
    triangle: np.ndarray
    barycentric: np.ndarray
    part: np.ndarray
    inside: np.ndarray
    mirror_xy: np.ndarray

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def is_inside(self) -> np.ndarray:
        """(n,) bool: hidden skin."""
        return self.inside > 0

    def of(self, *names: str) -> np.ndarray:
        """(n,) bool: texels of the named parts."""
        return np.isin(self.part, [PARTS.index(name) for name in names])

    def image(self, values: np.ndarray, empty: float = 0.0) -> np.ndarray:
        """(n, ...) values as an (S, S, ...) image; ``empty`` where nothing is covered."""
        image = np.full((self.size_px, self.size_px, *values.shape[1:]), empty, values.dtype)
        image[self.rows, self.cols] = values
        return image


def part_of_quad(rig: RigModel) -> np.ndarray:
    """(Q,) uint8 into ``PARTS``, whatever order the rig's own list has."""
    order = np.array([PARTS.index(name) for name in rig.part_names], np.uint8)
    return order[rig.quad_parts]


def find_texels(rig: RigModel, size_px: int) -> Texels:
    """Rasterises the head in texture space.

    Args:
        rig: any head model with texture coordinates.
        size_px: side of the texture.
    """
    triangles, uv_triangles, owner = rig.triangles_of_quads()
    fragments = rasterise_uv(rig.uv, uv_triangles, size_px)
    ids = fragments.triangle_ids.numpy()
    rows, cols = np.nonzero(ids >= 0)
    triangle = ids[rows, cols].astype(np.int32)
    barycentric = fragments.barycentric.numpy()[rows, cols].astype(np.float32)
    inside = inside_vertices(rig)[triangles].min(1)
    return Texels(
        size_px, rows.astype(np.int32), cols.astype(np.int32), triangle, barycentric, part_of_quad(rig)[owner[triangle]], inside[triangle],
        _mirror_xy(rig, triangles, owner, triangle, barycentric, size_px),
    )


def vertex_edges(triangles: np.ndarray) -> np.ndarray:
    """(N, 2) undirected edges, each once."""
    pairs = np.sort(np.concatenate([triangles[:, [0, 1]], triangles[:, [1, 2]], triangles[:, [2, 0]]]), axis=1)
    return np.unique(pairs, axis=0)


LIPS = ("lip_inner_upper", "lip_inner_lower")
LIDS = ("lid_upper_left", "lid_lower_left", "lid_upper_right", "lid_lower_right")
BEHIND_LIDS, BEHIND_LIPS = 1, 2


def inside_vertices(rig: RigModel) -> np.ndarray:
    """(V,) uint8: skin that lies behind the lids (1) or the lips (2), 0 for all else.

    The rims cut the skin; what is not connected to the face without crossing one lies inside, and belongs to the rim it comes nearest to.
    Rims themselves are outside.
    """
    triangles, _, owner = rig.triangles_of_quads()
    part = part_of_quad(rig)[owner]
    skin = triangles[np.isin(part, [PARTS.index("skin"), PARTS.index("scalp")])]
    inside = np.zeros(rig.num_vertices, np.uint8)
    is_skin = np.zeros(rig.num_vertices, bool)
    is_skin[skin] = True
    rims = [np.flatnonzero(np.any([rig.regions[name] for name in names if name in rig.regions] or [inside > 0], axis=0)) for names in (LIDS, LIPS)]
    is_loose = is_skin.copy()
    is_loose[np.concatenate(rims)] = False
    if not is_loose.any():
        return inside
    edges = vertex_edges(skin)
    edges = edges[is_loose[edges].all(1)]
    graph = sp.coo_matrix((np.ones(len(edges), bool), (edges[:, 0], edges[:, 1])), shape=(rig.num_vertices,) * 2)
    _, label = connected_components(graph, directed=False)
    outside = np.bincount(label[is_loose]).argmax()
    for component in np.unique(label[is_loose & (label != outside)]):
        members = np.flatnonzero(is_loose & (label == component))
        nearest = [cKDTree(rig.template[ids]).query(rig.template[members])[0].min() if len(ids) else np.inf for ids in rims]
        inside[members] = BEHIND_LIPS if nearest[1] <= nearest[0] else BEHIND_LIDS
    return inside


def _mirror_xy(rig: RigModel, triangles: np.ndarray, owner: np.ndarray, triangle: np.ndarray, barycentric: np.ndarray, size_px: int) -> np.ndarray:
    """Texel coordinates of the mirrored places: the mirrored quad is found by its vertices, its corners' uv are mixed."""
    quad_of: dict[tuple[int, ...], int] = {tuple(sorted(int(v) for v in quad if v >= 0)): index for index, quad in enumerate(rig.quads)}
    corner_uv = np.full((len(triangles), 3, 2), np.nan, np.float32)
    mirrored_quads = np.where(rig.quads >= 0, rig.mirror_vertices[np.maximum(rig.quads, 0)], -1)
    partner = np.full(len(rig.quads), -1)
    for index, (quad, mirrored) in enumerate(zip(rig.quads, mirrored_quads)):
        wanted = mirrored[quad >= 0]
        if (wanted >= 0).all():
            partner[index] = quad_of.get(tuple(sorted(int(v) for v in wanted)), -1)
    for index in np.flatnonzero(partner[owner] >= 0):
        quad = partner[owner[index]]
        for corner in range(3):
            at = np.flatnonzero(rig.quads[quad] == rig.mirror_vertices[triangles[index, corner]])[0]
            corner_uv[index, corner] = rig.uv[rig.quad_uv[quad, at]]
    uv = (corner_uv[triangle] * barycentric[..., None]).sum(1)
    return np.stack([uv[:, 0] * size_px, (1 - uv[:, 1]) * size_px], -1).astype(np.float32)
