"""The default head's texture layout: inside the square, no overlaps, room where it is wanted."""

from __future__ import annotations

import numpy as np
import pytest
from default_head import default_head
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components

from backend.rig.model import RigModel

SIDE = 1024


@pytest.fixture(scope="module")
def rig() -> RigModel:
    return default_head()


def uv_triangles(rig: RigModel) -> tuple[np.ndarray, np.ndarray]:
    """(F, 3, 2) texel corners and the quad of every triangle."""
    _, uv_ids, owner = rig.triangles_of_quads()
    return rig.uv[uv_ids].astype(np.float64) * SIDE, owner


def areas(corners: np.ndarray) -> np.ndarray:
    return np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]) / 2


def test_every_corner_lies_in_the_square(rig: RigModel) -> None:
    assert rig.uv.min() >= 0 and rig.uv.max() <= 1
    assert np.array_equal(rig.quad_uv < 0, rig.quads < 0)
    assert set(np.unique(rig.quad_uv[rig.quad_uv >= 0])) == set(range(len(rig.uv)))


def test_shares(rig: RigModel) -> None:
    corners, owner = uv_triangles(rig)
    size = np.abs(areas(corners))
    part = rig.quad_parts[owner]
    texels = {name: size[part == index].sum() for index, name in enumerate(rig.part_names)}
    for side in ("left", "right"):
        assert texels[f"eye_{side}"] >= 128**2
    assert min(texels["teeth_upper"], texels["teeth_lower"]) >= 256 * 128
    assert texels["tongue"] >= 96**2
    face = rig.regions["face"][np.where(rig.quads < 0, rig.quads[:, :1], rig.quads)].all(1)[owner]
    others = [texels[name] for name in rig.part_names if name != "skin"] + [size[(part == 0) & ~face].sum()]
    assert size[face].sum() > max(others)
    assert size[face].sum() > 0.22 * SIDE**2


def test_no_two_triangles_share_a_texel(rig: RigModel) -> None:
    corners, _ = uv_triangles(rig)
    count = np.zeros((SIDE, SIDE), dtype=np.int32)
    for triangle, area in zip(corners, areas(corners)):
        if abs(area) < 1e-9:
            continue
        low, high = np.floor(triangle.min(0)).astype(int), np.ceil(triangle.max(0)).astype(int)
        x, y = np.meshgrid(np.arange(low[0], high[0]) + 0.5, np.arange(low[1], high[1]) + 0.5)
        weights = []
        for k in range(3):
            a, b = triangle[(k + 1) % 3], triangle[(k + 2) % 3]
            weights.append(((b[0] - a[0]) * (y - a[1]) - (b[1] - a[1]) * (x - a[0])) / (2 * area))
        count[low[1] : high[1], low[0] : high[0]] += np.min(weights, axis=0) > 1e-6
    assert (count > 1).sum() == 0
    assert (count == 1).sum() > 0.6 * SIDE**2


def test_islands_keep_their_distance(rig: RigModel) -> None:
    used = np.where(rig.quad_uv < 0, rig.quad_uv[:, :1], rig.quad_uv)
    pairs = np.concatenate([used[:, [0, 1]], used[:, [1, 2]], used[:, [2, 3]]])
    num = len(rig.uv)
    count, label = connected_components(coo_matrix((np.ones(len(pairs)), (pairs[:, 0], pairs[:, 1])), shape=(num, num)), directed=False)
    # skin 5, teeth 2, tongue, lashes 4, eyes 2, corneas 2
    assert count == 16
    boxes = [(rig.uv[label == k].min(0) * SIDE, rig.uv[label == k].max(0) * SIDE) for k in range(count)]
    for k, (low, high) in enumerate(boxes):
        assert (low > 7.9).all() and (high < SIDE - 7.9).all()
        for other_low, other_high in boxes[:k]:
            assert max((low - other_high).max(), (other_low - high).max()) > 7.9


def test_left_and_right_have_their_own_texels(rig: RigModel) -> None:
    vertex = np.full(len(rig.uv), -1)
    vertex[rig.quad_uv[rig.quad_uv >= 0]] = rig.quads[rig.quads >= 0]
    left = rig.uv[rig.template[vertex, 0] > 0.002]
    right = rig.uv[rig.template[vertex, 0] < -0.002]
    assert not set(map(tuple, np.round(left, 5))) & set(map(tuple, np.round(right, 5)))
