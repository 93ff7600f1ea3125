"""The small square that the network paints, and which piece of it lies where on the head's texture.

Painting the whole texture would waste most of the network on hair and neck. So the places that may change (the blending mask) are cut into
rectangles of the texture, one or more for each block of the face, and packed at the resolution at which a face 512 px tall is seen.
"""

from __future__ import annotations

import dataclasses

import numpy as np
from scipy.ndimage import find_objects, label

from ...errors import AvatarError
from ...geometry.shapes import check_shape
from ...rig.model import PARTS, RigModel
from ...texture.texels import Texels

FULL_PX_PER_M = 2600.0
"""Pixels per metre of a face that fills 512 px from hairline to chin."""
DENSITY = {"eye_left": 1.0, "eye_right": 1.0, "mouth": 1.0, "brows": 0.75, "rest": 0.4}
"""Share of that resolution which each block gets; a block of another name gets what ``rest`` gets."""
PART_DENSITY = {"tongue": 0.4, "teeth_upper": 0.8, "teeth_lower": 0.8}
"""The same for parts that are only seen foreshortened or in shadow."""
MAX_ZOOM = 1.5
"""A canvas with room to spare is filled up to this many times the resolution above."""
MIN_PATCH_PX = 4
_MIN_TEXELS = 24
"""Specks smaller than this (on a 1024 texture) get no patch."""
_MARGIN_TEXELS = 2


@dataclasses.dataclass(frozen=True)
class Patch:
    """One rectangle. block: index into ``Canvas.block_names``. uv_rect: (u0, v0, u1, v1), v up.
    canvas_rect_px: (x0, y0, x1, y1) pixel edges on the canvas, row 0 = top = v1.
    """

    block: int
    uv_rect: tuple[float, float, float, float]
    canvas_rect_px: tuple[int, int, int, int]


@dataclasses.dataclass(frozen=True)
class Canvas:
    """What is painted where. Patches of one block do not overlap on the texture; those of different blocks may."""

    size_px: int
    patches: tuple[Patch, ...]
    block_names: tuple[str, ...]

    def to_arrays(self) -> dict[str, np.ndarray]:
        """Plain arrays for files; ``canvas_of_arrays`` is the inverse."""
        return {
            "canvas_size_px": np.array(self.size_px, np.int32),
            "canvas_block_names": np.array(self.block_names),
            "canvas_patch_block": np.array([patch.block for patch in self.patches], np.int32),
            "canvas_patch_uv_rect": np.array([patch.uv_rect for patch in self.patches], np.float64).reshape(-1, 4),
            "canvas_patch_rect_px": np.array([patch.canvas_rect_px for patch in self.patches], np.int32).reshape(-1, 4),
        }

    def uv_of_texels(self, patch: Patch) -> np.ndarray:
        """(h, w, 2) uv of the canvas texels' centres of one patch."""
        u0, v0, u1, v1 = patch.uv_rect
        x0, y0, x1, y1 = patch.canvas_rect_px
        u = u0 + (u1 - u0) * (np.arange(x1 - x0) + 0.5) / (x1 - x0)
        v = v1 - (v1 - v0) * (np.arange(y1 - y0) + 0.5) / (y1 - y0)
        return np.stack(np.broadcast_arrays(u[None, :], v[:, None]), -1)

    def px_of_uv(self, patch: Patch, uv: np.ndarray) -> np.ndarray:
        """(n, 2) canvas pixels (centres at +0.5) of (n, 2) uv; half a texel inside the patch, so that a lookup never reads a neighbour."""
        u0, v0, u1, v1 = patch.uv_rect
        x0, y0, x1, y1 = patch.canvas_rect_px
        x = x0 + (uv[:, 0] - u0) / (u1 - u0) * (x1 - x0)
        y = y0 + (v1 - uv[:, 1]) / (v1 - v0) * (y1 - y0)
        return np.stack([np.clip(x, x0 + 0.5, x1 - 0.5), np.clip(y, y0 + 0.5, y1 - 0.5)], -1)


def canvas_of_arrays(arrays: dict[str, np.ndarray]) -> Canvas:
    """Reads what ``Canvas.to_arrays`` made. Raises ``AvatarError`` (bad_input) when it is no canvas."""
    try:
        size, names = int(arrays["canvas_size_px"]), tuple(str(name) for name in arrays["canvas_block_names"])
        blocks, uv, px = arrays["canvas_patch_block"], arrays["canvas_patch_uv_rect"], arrays["canvas_patch_rect_px"]
        check_shape("canvas_patch_uv_rect", uv, len(blocks), 4)
        check_shape("canvas_patch_rect_px", px, len(blocks), 4)
        is_inside = (px[:, :2] >= 0).all() and (px[:, 2:] <= size).all() and (px[:, 2:] > px[:, :2]).all()
        is_good = is_inside and (uv[:, 2:] > uv[:, :2]).all() and (blocks >= 0).all() and (blocks < len(names)).all()
    except (KeyError, TypeError, ValueError) as error:
        raise AvatarError("bad_input", f"The canvas of the dynamic texture is damaged: {error}.", "Make the avatar again.", {}) from error
    if not is_good:
        raise AvatarError("bad_input", "The canvas of the dynamic texture has a patch outside it.", "Make the avatar again.", {})
    patches = tuple(
        Patch(int(block), tuple(float(v) for v in rect), tuple(int(v) for v in place)) for block, rect, place in zip(blocks, uv, px)  # type: ignore[arg-type]
    )
    return Canvas(size, patches, names)


def pack_canvas(rig: RigModel, texels: Texels, paintable: np.ndarray, windows: np.ndarray, block_names: tuple[str, ...], size_px: int) -> Canvas:
    """Cuts what may be painted into rectangles and packs them.

    Args:
        rig: the head model. texels: of its texture, S a side.
        paintable: (S, S) bool. windows: (B, S, S) in [0, 1], how much each block says at a texel. block_names: B names.
        size_px: side of the canvas.

    Returns:
        A canvas whose patches cover every paintable texel (specks apart), larger or smaller as there is room.

    Raises:
        AvatarError: bad_input when nothing may be painted.
    """
    check_shape("paintable", paintable, texels.size_px, texels.size_px)
    check_shape("windows", windows, len(block_names), texels.size_px, texels.size_px)
    metres = _metres_per_texel(rig, texels)
    part_density = np.array([PART_DENSITY.get(name, 1.0) for name in PARTS])
    parts = texels.image(part_density[texels.part], 1.0)
    wanted: list[tuple[int, tuple[int, int, int, int], float, float]] = []
    for block, name in enumerate(block_names):
        zone = paintable & (windows[block] > 0.02)
        for box in _boxes(zone, texels.size_px):
            row0, row1, col0, col1 = box
            inside = metres[row0:row1, col0:col1][zone[row0:row1, col0:col1]]
            per_texel = np.nanmedian(inside, axis=0) if np.isfinite(inside).any() else np.full(2, 2e-4)
            density = FULL_PX_PER_M * DENSITY.get(name, DENSITY["rest"]) * parts[row0:row1, col0:col1][zone[row0:row1, col0:col1]].mean()
            wanted.append((block, box, float((col1 - col0) * per_texel[0] * density), float((row1 - row0) * per_texel[1] * density)))
    if not wanted:
        text = "No place of the texture may change: the blending mask is empty where the clip shows the face."
        raise AvatarError("bad_input", text, "Use a clip that shows the face, or paint the mask.", {"field": "mask"})
    sizes = np.array([[width, height] for _, _, width, height in wanted])
    zoom = _largest_zoom(sizes, size_px)
    places = _shelves(_rounded(sizes * zoom, size_px), size_px)
    assert places is not None  # _largest_zoom found this one
    side = texels.size_px
    patches = tuple(
        Patch(block, (col0 / side, 1 - row1 / side, col1 / side, 1 - row0 / side), tuple(int(v) for v in place))  # type: ignore[arg-type]
        for (block, (row0, row1, col0, col1), _, _), place in zip(wanted, places)
    )
    return Canvas(size_px, patches, tuple(block_names))


def _boxes(zone: np.ndarray, size_px: int) -> list[tuple[int, int, int, int]]:
    """(row0, row1, col0, col1) of connected pieces, with a margin; boxes that touch become one, so no texel lies in two."""
    numbered, num = label(zone)
    counts = np.bincount(numbered.ravel(), minlength=num + 1)
    limit = _MIN_TEXELS * (size_px / 1024) ** 2
    boxes = []
    for index, found in enumerate(find_objects(numbered), start=1):
        if found is None or counts[index] < limit:
            continue
        rows, cols = found
        margin = _MARGIN_TEXELS
        boxes.append((max(rows.start - margin, 0), min(rows.stop + margin, size_px), max(cols.start - margin, 0), min(cols.stop + margin, size_px)))
    merged = True
    while merged:
        merged = False
        for first in range(len(boxes)):
            for second in range(first + 1, len(boxes)):
                a, b = boxes[first], boxes[second]
                if a[0] < b[1] and b[0] < a[1] and a[2] < b[3] and b[2] < a[3]:
                    boxes[first] = (min(a[0], b[0]), max(a[1], b[1]), min(a[2], b[2]), max(a[3], b[3]))
                    del boxes[second]
                    merged = True
                    break
            if merged:
                break
    return sorted(boxes)


def _metres_per_texel(rig: RigModel, texels: Texels) -> np.ndarray:
    """(S, S, 2) how far one texel step across and one down goes on the template, m; NaN where no surface is."""
    triangles, uv_triangles, _ = rig.triangles_of_quads()
    corners, uv = rig.template[triangles].astype(np.float64), rig.uv[uv_triangles].astype(np.float64)
    d1, d2 = uv[:, 1] - uv[:, 0], uv[:, 2] - uv[:, 0]
    e1, e2 = corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]
    area = d1[:, 0] * d2[:, 1] - d2[:, 0] * d1[:, 1]
    safe = np.where(np.abs(area) > 1e-14, area, np.nan)
    by_u = np.linalg.norm((e1 * d2[:, 1:] - e2 * d1[:, 1:]) / safe[:, None], axis=1)
    by_v = np.linalg.norm((e2 * d1[:, :1] - e1 * d2[:, :1]) / safe[:, None], axis=1)
    image = np.full((texels.size_px, texels.size_px, 2), np.nan)
    image[texels.rows, texels.cols] = np.stack([by_u, by_v], -1)[texels.triangle] / texels.size_px
    return image


def _rounded(sizes: np.ndarray, size_px: int) -> np.ndarray:
    return np.clip(np.round(sizes), MIN_PATCH_PX, size_px).astype(int)


def _largest_zoom(sizes: np.ndarray, size_px: int) -> float:
    fits = lambda zoom: (sizes * zoom <= size_px).all() and _shelves(_rounded(sizes * zoom, size_px), size_px) is not None  # noqa: E731
    if fits(MAX_ZOOM):
        return MAX_ZOOM
    low, high = 0.0, MAX_ZOOM
    for _ in range(24):
        middle = 0.5 * (low + high)
        low, high = (middle, high) if fits(middle) else (low, middle)
    return low


def _shelves(sizes: np.ndarray, size_px: int) -> list[tuple[int, int, int, int]] | None:
    """Places rectangles (n, 2) of width and height in rows, the tallest first; None when they do not fit."""
    places: list[tuple[int, int, int, int] | None] = [None] * len(sizes)
    left = top = shelf = 0
    for index in np.lexsort((np.arange(len(sizes)), -sizes[:, 0], -sizes[:, 1])):
        width, height = (int(value) for value in sizes[index])
        if left + width > size_px:
            left, top, shelf = 0, top + shelf, 0
        if top + height > size_px or width > size_px:
            return None
        places[index] = (left, top, left + width, top + height)
        left += width
        shelf = max(shelf, height)
    return places  # type: ignore[return-value]
