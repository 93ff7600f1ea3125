"""The static texture and its files."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np

from ..storage import read_arrays, read_json, write_arrays, write_json

FORMAT_VERSION = 1
_ARRAYS, _INFO = "texture.npz", "texture.json"


@dataclasses.dataclass(frozen=True)
class StaticTexture:
    """One colour for every place of the head's surface. Row 0 of the images is v = 1.

    srgb: (S, S, 3) uint8, sRGB encoded, opaque everywhere (gaps between islands repeat the nearest texel).
    linear: (S, S, 3) float32, the same in linear light, before rounding.
    seen: (S, S) uint8, 255 where the clip showed the surface, 0 where it was completed, between in the transition.
    info: facts for the report, JSON types; ``delit`` is False while the clip's light is still in the colours.
    """

    srgb: np.ndarray
    linear: np.ndarray
    seen: np.ndarray
    info: dict[str, Any]

    @property
    def size_px(self) -> int:
        return len(self.srgb)


def write_texture(folder: Path, texture: StaticTexture) -> None:
    """Writes a texture into a folder (made when missing): ``texture.npz`` and ``texture.json``."""
    folder = Path(folder)
    arrays = {"format_version": np.array(FORMAT_VERSION), "srgb": texture.srgb, "linear": texture.linear.astype(np.float16), "seen": texture.seen}
    write_arrays(folder / _ARRAYS, arrays)
    write_json(folder / _INFO, texture.info)


def read_texture(folder: Path) -> StaticTexture:
    """Reads what ``write_texture`` wrote; ``linear`` comes back rounded to half precision. Raises ``AvatarError`` (bad_input) when damaged."""
    arrays = read_arrays(Path(folder) / _ARRAYS)
    return StaticTexture(arrays["srgb"], arrays["linear"].astype(np.float32), arrays["seen"], read_json(Path(folder) / _INFO))
