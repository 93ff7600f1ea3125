"""Pictures of the dynamic texture as parts of the .blend: the eigen tiles and the mask."""

from __future__ import annotations

from typing import Any

import bpy
import numpy as np

from ..tile_sizes import SIZE_MARK
from .half_exr import exr_bytes
from .tile_plan import MARGIN_PX, TilePlan


def create_tile_image(name: str, dynamic: Any, plan: TilePlan) -> bpy.types.Image:
    """Makes ``NAME.tiles``: signed, linear light, half float, packed.

    Args:
        name: of the avatar. dynamic: the package's ``DynamicTexture``. plan: where the tiles go.
    """
    width, height = plan.size_px
    content = exr_bytes(tile_pixels(dynamic, plan)[::-1])
    image = pack_image(f"{name}.tiles", content, "exr", "Non-Color")
    image.use_half_precision = True
    image[SIZE_MARK] = [width, height]
    return image


def pack_image(name: str, content: bytes, ending: str, colour_space: str) -> bpy.types.Image:
    """An image as part of the .blend: no path of this machine stays in it.

    Args:
        content: of the file. ending: png or exr.
    """
    image = bpy.data.images.new(name, 8, 8, float_buffer=ending == "exr")
    image.pack(data=content, data_len=len(content))
    image.source = "FILE"
    image.filepath_raw = f"//{name}.{ending}"
    image.colorspace_settings.name = colour_space
    return image


def tile_pixels(dynamic: Any, plan: TilePlan) -> np.ndarray:
    """(height, width, 3) float32, lowest row first."""
    width, height = plan.size_px
    picture = np.zeros((height, width, 3), np.float32)
    for patch, tile in enumerate(dynamic.tiles):
        border = ((0, 0), (MARGIN_PX, MARGIN_PX), (MARGIN_PX, MARGIN_PX), (0, 0))
        padded = np.pad(tile[:, ::-1].astype(np.float32), border, mode="edge")
        for component, pixels in enumerate(padded):
            row, column = divmod(component, plan.num_columns)
            x = column * plan.cell_px[0] + int(plan.corners_px[patch, 0]) - MARGIN_PX
            y = row * plan.cell_px[1] + int(plan.corners_px[patch, 1]) - MARGIN_PX
            picture[y : y + pixels.shape[0], x : x + pixels.shape[1]] = pixels
    return picture
