"""Hands the textured mesh's assets to a package writer. Knows no Blender."""

from __future__ import annotations

from typing import Protocol

import numpy as np

from ...capture.colour import srgb_encode
from ..textured_head import TexturedMesh


class AssetWriter(Protocol):
    """What a package offers to representations: one image asset under a name."""

    def image(self, asset_id: str, srgb: np.ndarray) -> None: ...


def export(state: TexturedMesh, writer: AssetWriter) -> None:
    """Writes the ``texture`` asset (sRGB, 8 bit). Mesh and animation are the package's own and need nothing from here."""
    writer.image("texture", np.floor(srgb_encode(state.texture.numpy()) * 255 + 0.5).astype(np.uint8))
