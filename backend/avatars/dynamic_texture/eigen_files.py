"""Writes and reads ``eigen.npz`` (docs/formats/avatar.md, dynamic/eigen.npz). The package's own reader checks it again without this room."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from ...errors import AvatarError
from ...storage import read_arrays, write_arrays
from .eigen import EigenTexture, WeightMap

FORMAT_VERSION = 1


def write_eigen(path: Path, eigen: EigenTexture) -> None:
    """Writes a distilled texture; equal content gives equal bytes."""
    one = eigen.weight_map
    arrays: dict[str, np.ndarray] = {
        "format_version": np.array(FORMAT_VERSION, np.int32),
        "size_px": np.array(eigen.size_px, np.int32),
        "block_names": np.array(eigen.block_names),
        "block_num_components": eigen.block_num_components.astype(np.int32),
        "patch_block": eigen.patch_block.astype(np.int32),
        "patch_uv_rect": eigen.patch_uv_rect.astype(np.float32),
        "input_names": np.array(one.input_names),
        "map_weight": one.map_weight.astype(np.float32),
        "map_bias": one.map_bias.astype(np.float32),
    }
    if one.hidden_weight is not None and one.hidden_bias is not None:
        arrays["hidden_weight"] = one.hidden_weight.astype(np.float32)
        arrays["hidden_bias"] = one.hidden_bias.astype(np.float32)
    for index, tile in enumerate(eigen.tiles):
        arrays[f"tiles.{index}"] = tile.astype(np.float16)
    write_arrays(path, arrays)


def read_eigen(path: Path) -> EigenTexture:
    """Reads what ``write_eigen`` wrote. Raises ``AvatarError``: ``bad_input`` when the file is missing, damaged or of a newer format."""
    arrays = read_arrays(path)
    try:
        version = int(arrays["format_version"])
        if version > FORMAT_VERSION:
            raise AvatarError(
                "bad_input", f"{path} was written in format {version}; this version of Video Avatar reads up to {FORMAT_VERSION}.", "Update Video Avatar.",
                {"path": str(path), "format_version": version},
            )
        hidden = (arrays.get("hidden_weight"), arrays.get("hidden_bias"))
        names = tuple(str(name) for name in arrays["input_names"])
        weight_map = WeightMap(names, arrays["map_weight"], arrays["map_bias"], *hidden)
        tiles = tuple(arrays[f"tiles.{index}"] for index in range(len(arrays["patch_block"])))
        return EigenTexture(
            int(arrays["size_px"]), tuple(str(name) for name in arrays["block_names"]), arrays["block_num_components"], arrays["patch_block"],
            arrays["patch_uv_rect"], tiles, weight_map,
        )
    except (KeyError, ValueError, IndexError, TypeError) as error:
        raise AvatarError("bad_input", f"{path} is no distilled texture: {error}.", "Make the avatar again.", {"path": str(path)}) from error
