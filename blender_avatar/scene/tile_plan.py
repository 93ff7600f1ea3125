"""Where every eigen tile lies in the one picture that a material looks into, and which weights each face needs. numpy only.

The picture is a grid of equal cells; cell k holds component k of every patch. Inside a cell each patch has a border of its own
edge texels, so that no filter ever mixes two of them: a lookup clamped to the patch equals one with repeated edges.

Few vertex attributes reach a shader (Eevee takes 15), so a face does not carry the weights of all blocks, only of those that paint on it:
patches are sorted into *slots* such that no face sees two blocks in one slot, and each slot carries one block's weights per face.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np

MARGIN_PX = 8
"""Border around each patch, texels."""
PER_ATTRIBUTE = 4
"""Weights per attribute: a colour has four numbers."""
MAX_ATTRIBUTES = 14
"""Attributes beside the UV map that Eevee hands to one material."""
_FACE_MARGIN = 0.1
"""A face counts as larger by this share of itself: Subdivision moves its UVs a little."""


@dataclasses.dataclass(frozen=True)
class TilePlan:
    """P patches, S slots, Q faces.

    size_px: width and height of the picture. cell_px: of one cell. num_columns: cells per row; cell 0 is the lower left one.
    corners_px: (P, 2) lower left texel of the patch itself, inside cell 0. slot_of_patch: (P,).
    block_of_face: (S, Q) int32, block whose weights a face needs, -1 = none. num_weights: (S,) most weights of a block in the slot, mean not counted.
    """

    size_px: tuple[int, int]
    cell_px: tuple[int, int]
    num_columns: int
    corners_px: np.ndarray
    slot_of_patch: np.ndarray
    block_of_face: np.ndarray
    num_weights: np.ndarray

    @property
    def num_slots(self) -> int:
        return len(self.num_weights)

    @property
    def num_attributes(self) -> int:
        """Attributes that the weights need."""
        return int((-(-self.num_weights // PER_ATTRIBUTE)).sum())

    def cell_offset(self, component: int) -> tuple[float, float]:
        """From cell 0 to a component's cell, as a share of the picture."""
        row, column = divmod(component, self.num_columns)
        return column * self.cell_px[0] / self.size_px[0], row * self.cell_px[1] / self.size_px[1]


def plan_tiles(mesh: Any, dynamic: Any) -> TilePlan:
    """Plans picture and slots.

    Args:
        mesh: the package's ``MeshAsset``. dynamic: its ``DynamicTexture``.
    """
    sizes = np.array([(tile.shape[2] + 2 * MARGIN_PX, tile.shape[1] + 2 * MARGIN_PX) for tile in dynamic.tiles])
    places, cell = pack_shelves(sizes)
    num_cells = int(dynamic.block_num_components.max())
    columns = min(num_cells, max(1, round(float(np.sqrt(num_cells * cell[1] / cell[0])))))
    rows = -(-num_cells // columns)
    sees = _faces_on_patches(mesh, dynamic.patch_uv_rect)
    slot_of_patch = _slots(sees, dynamic.patch_block, dynamic.patch_uv_rect)
    num_slots = int(slot_of_patch.max()) + 1
    block_of_face = np.full((num_slots, len(mesh.quads)), -1, np.int32)
    num_weights = np.zeros(num_slots, int)
    for patch, (slot, block) in enumerate(zip(slot_of_patch.tolist(), dynamic.patch_block.tolist())):
        block_of_face[slot, sees[patch]] = block
        num_weights[slot] = max(num_weights[slot], int(dynamic.block_num_components[block]) - 1)
    return TilePlan((columns * cell[0], rows * cell[1]), cell, columns, places + MARGIN_PX, slot_of_patch, block_of_face, num_weights)


def pack_shelves(sizes_px: np.ndarray) -> tuple[np.ndarray, tuple[int, int]]:
    """Lays rectangles into a nearly square one: tallest first, row upon row.

    Args:
        sizes_px: (P, 2) width and height.

    Returns:
        (P, 2) lower left corners, and the size of the whole.
    """
    area = float((sizes_px[:, 0] * sizes_px[:, 1]).sum())
    best: tuple[float, np.ndarray, tuple[int, int]] | None = None
    for stretch in (0.8, 0.9, 1.0, 1.1, 1.2, 1.35, 1.5):
        limit = max(int(sizes_px[:, 0].max()), int(stretch * np.sqrt(area)))
        places = np.zeros((len(sizes_px), 2), int)
        x = y = shelf = right = 0
        for patch in np.lexsort((-sizes_px[:, 0], -sizes_px[:, 1])).tolist():
            width, height = (int(side) for side in sizes_px[patch])
            if x + width > limit:
                x, y, shelf = 0, y + shelf, 0
            places[patch] = x, y
            x, shelf = x + width, max(shelf, height)
            right = max(right, x)
        waste = right * (y + shelf) - area
        if best is None or waste < best[0]:
            best = waste, places, (right, y + shelf)
    assert best is not None
    return best[1], best[2]


def _faces_on_patches(mesh: Any, rects: np.ndarray) -> np.ndarray:
    """(P, Q) bool: may the face show something of the patch?"""
    is_corner = mesh.quad_uv >= 0
    uv = mesh.uv[np.where(is_corner, mesh.quad_uv, mesh.quad_uv[:, :1])]
    low, high = uv.min(1), uv.max(1)
    margin = _FACE_MARGIN * (high - low) + 1e-6
    low, high = low - margin, high + margin
    return ((low[None, :, 0] < rects[:, None, 2]) & (high[None, :, 0] > rects[:, None, 0])
            & (low[None, :, 1] < rects[:, None, 3]) & (high[None, :, 1] > rects[:, None, 1]))  # fmt: skip


def _slots(sees: np.ndarray, blocks: np.ndarray, rects: np.ndarray) -> np.ndarray:
    """(P,) slot of each patch, first fit: patches of two blocks share a slot when no face sees both, patches of one block when they do not overlap."""
    order = sorted(range(len(blocks)), key=lambda patch: (-(blocks == blocks[patch]).sum(), blocks[patch], patch))
    slots = np.full(len(blocks), -1)
    for patch in order:
        slot = 0
        while any(_clash(sees, blocks, rects, patch, other) for other in np.flatnonzero(slots == slot).tolist()):
            slot += 1
        slots[patch] = slot
    return slots


def _clash(sees: np.ndarray, blocks: np.ndarray, rects: np.ndarray, one: int, other: int) -> bool:
    if blocks[one] != blocks[other]:
        return bool((sees[one] & sees[other]).any())
    a, b = rects[one], rects[other]
    return bool(a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3])
