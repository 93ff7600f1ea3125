"""The static texture and its files."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import AvatarError
from ..storage import read_arrays, read_json, write_arrays, write_json
from .light import ClipLight

FORMAT_VERSION = 2
_ARRAYS, _INFO = "texture.npz", "texture.json"
_NEEDED = ("srgb", "linear", "seen", "unwrapped", "mask", "light_sh", "light_tint", "light_frame")


@dataclasses.dataclass(frozen=True)
class StaticTexture:
    """One colour for every place of the head's surface, and what else is known about it. Row 0 of the images is v = 1.

    srgb: (S, S, 3) uint8, albedo, sRGB encoded, opaque everywhere (gaps between islands repeat the nearest texel).
    linear: (S, S, 3) float32, the same in linear light, before rounding.
    seen: (S, S) uint8, 255 where the clip showed the surface, 0 where it was completed, between in the transition.
    unwrapped: (S, S, 3) uint8, sRGB encoded, the surface as it was filmed, light included: the baseline that others are compared with.
    mask: (S, S) uint8, 255 where the dynamic texture may paint, 0 where it may not, between in the transition.
    light: the clip's light. ``linear`` times its shade is what the training frames show.
    info: facts for the report, JSON types; ``delit`` is False when the light could not be told from the albedo and stayed in it.
    """

    srgb: np.ndarray
    linear: np.ndarray
    seen: np.ndarray
    unwrapped: np.ndarray
    mask: np.ndarray
    light: ClipLight
    info: dict[str, Any]

    @property
    def size_px(self) -> int:
        return len(self.srgb)


def write_texture(folder: Path, texture: StaticTexture) -> None:
    """Writes a texture into a folder (made when missing): ``texture.npz`` and ``texture.json`` (docs/formats/work.md)."""
    folder = Path(folder)
    arrays = {
        "format_version": np.array(FORMAT_VERSION), "srgb": texture.srgb, "linear": texture.linear.astype(np.float16), "seen": texture.seen,
        "unwrapped": texture.unwrapped, "mask": texture.mask, "light_sh": np.asarray(texture.light.sh, np.float32),
        "light_tint": np.asarray(texture.light.tint, np.float32), "light_frame": np.array(texture.light.frame),
    }
    write_arrays(folder / _ARRAYS, arrays)
    write_json(folder / _INFO, texture.info)


def read_texture(folder: Path) -> StaticTexture:
    """Reads what ``write_texture`` wrote; ``linear`` comes back rounded to half precision.

    Raises:
        AvatarError: ``bad_input`` when the files are damaged or of another format.
    """
    path = Path(folder) / _ARRAYS
    arrays = read_arrays(path)
    version = int(arrays["format_version"]) if "format_version" in arrays else 0
    missing = [name for name in _NEEDED if name not in arrays]
    if version != FORMAT_VERSION or missing:
        text = f"{path} is a texture of format {version}; this program reads {FORMAT_VERSION}."
        raise AvatarError("bad_input", text, "Reconstruct the clip again.", {"path": str(path), "missing": missing})
    try:
        light = ClipLight(arrays["light_sh"], arrays["light_tint"], str(arrays["light_frame"]))
    except ValueError as error:
        raise AvatarError("bad_input", f"{path}: {error}.", "Reconstruct the clip again.", {"path": str(path)}) from error
    return StaticTexture(
        arrays["srgb"], arrays["linear"].astype(np.float32), arrays["seen"], arrays["unwrapped"], arrays["mask"], light, read_json(Path(folder) / _INFO)
    )
