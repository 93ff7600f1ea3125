"""Reads and checks the asset kind ``dynamic_texture`` of a package. numpy and standard library only: it runs in Blender too.

Nothing here executes a network: the exact one is only looked at, far enough to know that the file is what it says it is.
"""

from __future__ import annotations

import dataclasses
import zlib
from pathlib import Path

import numpy as np

from ..errors import AvatarError
from ..storage import read_arrays
from .model import AvatarPackage
from .schema import Shape, check_arrays, damaged

KIND = "dynamic_texture"
EIGEN_FILE, NETWORK_FILE, ONNX_FILE = "dynamic/eigen.npz", "dynamic/network.npz", "dynamic/network.onnx"
FORMAT_VERSION = 1
MAX_PATCHES, MAX_COMPONENTS, MAX_TILE_PX, MAX_HIDDEN, MAX_ONNX_BYTES = 64, 256, 4096, 1024, 64 << 20
"""More than any writer makes; a file beyond them is refused before memory is taken for it."""

_ARRAYS: dict[str, tuple[str, Shape]] = {
    "format_version": ("i", ()),
    "size_px": ("i", ()),
    "block_names": ("U", ("B",)),
    "block_num_components": ("i", ("B",)),
    "patch_block": ("i", ("P",)),
    "patch_uv_rect": ("f", ("P", 4)),
    "input_names": ("U", ("E",)),
    "map_bias": ("f", ("K",)),
}
_HIDDEN: dict[str, tuple[str, Shape]] = {"hidden_weight": ("f", ("H", "E")), "hidden_bias": ("f", ("H",))}


@dataclasses.dataclass(frozen=True)
class DynamicTexture:
    """The distilled texture (docs/formats/avatar.md, dynamic/eigen.npz): signed offsets from the static texture, linear light.

        T(u) = clip(static(u) + dynamic * M(u) * sum over patches and components of weight * tile(u), 0, 1)

    block_names: B parts of the face. block_num_components: (B,) tiles of each, the mean offset first.
    patch_block: (P,) into the blocks. patch_uv_rect: (P, 4) u0, v0, u1, v1. tiles: P arrays (K of the block, h, w, 3) float16, row 0 is v1.
    input_names: (E,) controls. hidden_weight: (H, E), hidden_bias: (H,), or None. map_weight: (K, H or E), map_bias: (K,), blocks one after another.
    onnx, network: files of the exact network.
    """

    size_px: int
    block_names: tuple[str, ...]
    block_num_components: np.ndarray
    patch_block: np.ndarray
    patch_uv_rect: np.ndarray
    tiles: tuple[np.ndarray, ...]
    input_names: tuple[str, ...]
    hidden_weight: np.ndarray | None
    hidden_bias: np.ndarray | None
    map_weight: np.ndarray
    map_bias: np.ndarray
    onnx: Path
    network: Path

    @property
    def block_starts(self) -> np.ndarray:
        """(B,) place of each block's component 0 among all K."""
        return np.concatenate([[0], np.cumsum(self.block_num_components)[:-1]]).astype(int)

    def weights(self, controls: np.ndarray) -> np.ndarray:
        """(..., K) weights for (..., E) raw control values in the order of ``input_names``."""
        values = np.asarray(controls, np.float32)
        if self.hidden_weight is not None and self.hidden_bias is not None:
            values = np.maximum(values @ self.hidden_weight.T + self.hidden_bias, 0)
        return values @ self.map_weight.T + self.map_bias


def read_dynamic_texture(package: AvatarPackage) -> DynamicTexture | None:
    """The dynamic texture of a package that ``read_package`` has read (files, sizes and hashes are checked there).

    Returns:
        None when the package has none.

    Raises:
        AvatarError: ``asset_missing`` when a file is not listed, ``bad_input`` when one is damaged, foreign or newer than this version.
    """
    asset = next((asset for asset in package.assets if asset.kind == KIND), None)
    if asset is None:
        return None
    index = package.folder / "avatar.json"
    if not isinstance(asset.version, int) or asset.version > FORMAT_VERSION:
        raise _newer(index, asset.version)
    listed = {file.path for file in asset.files}
    for path in (EIGEN_FILE, NETWORK_FILE, ONNX_FILE):
        if path not in listed:
            raise AvatarError(
                "asset_missing", f"{index}: the dynamic texture comes without {path}.", "Make the avatar again, or copy its folder once more.", {"path": path}
            )
    if package.texture.mask is None:
        raise damaged(index, "the dynamic texture comes without a mask")
    check_onnx(package.folder / ONNX_FILE)
    check_network(package.folder / NETWORK_FILE)
    return _read_eigen(package.folder, package.animation.control_names)


def _read_eigen(folder: Path, control_names: tuple[str, ...]) -> DynamicTexture:
    path = folder / EIGEN_FILE
    arrays = _arrays(path)
    if "format_version" in arrays and arrays["format_version"].dtype.kind in "iu" and not arrays["format_version"].ndim:
        if int(arrays["format_version"]) != FORMAT_VERSION:
            raise _newer(path, int(arrays["format_version"]))
    sizes: dict[str, int] = {}
    check_arrays(path, arrays, _ARRAYS, sizes)
    has_hidden = bool(_HIDDEN.keys() & arrays.keys())
    if has_hidden:
        check_arrays(path, arrays, _HIDDEN, sizes)
    check_arrays(path, arrays, {"map_weight": ("f", ("K", "H" if has_hidden else "E"))}, sizes)
    counts, blocks, rects = arrays["block_num_components"], arrays["patch_block"], arrays["patch_uv_rect"].astype(np.float64)
    if not 1 <= sizes["P"] <= MAX_PATCHES or sizes["K"] > MAX_COMPONENTS or sizes.get("H", 0) > MAX_HIDDEN or sizes["E"] < 1:
        raise damaged(path, f"it has {sizes['P']} patches, {sizes['K']} components and {sizes['E']} inputs")
    if len(counts) < 1 or (counts < 1).any() or counts.sum() != sizes["K"]:
        raise damaged(path, "block_num_components does not fit map_bias")
    if blocks.min() < 0 or blocks.max() >= sizes["B"]:
        raise damaged(path, "patch_block points outside block_names")
    if (rects < 0).any() or (rects > 1).any() or (rects[:, 2:] <= rects[:, :2]).any():
        raise damaged(path, "a patch lies outside the texture or is empty")
    names = tuple(str(name) for name in arrays["input_names"])
    unknown = [name for name in names if name not in control_names]
    if unknown or len(set(names)) < len(names):
        raise damaged(path, f"its input {unknown[0]!r} is no control of this avatar" if unknown else "an input is named twice")
    starts = np.concatenate([[0], np.cumsum(counts)[:-1]]).astype(int)
    if not np.allclose(arrays["map_weight"][starts], 0) or not np.allclose(arrays["map_bias"][starts], 1):
        raise damaged(path, "the weight of a mean offset is not 1")
    tiles = []
    for patch, block in enumerate(blocks.tolist()):
        key = f"tiles.{patch}"
        check_arrays(path, arrays, {key: ("f", (int(counts[block]), f"h{patch}", f"w{patch}", 3))}, sizes)
        if not 1 <= min(arrays[key].shape[1:3]) or max(arrays[key].shape[1:3]) > MAX_TILE_PX:
            raise damaged(path, f"{key} has the size {arrays[key].shape[1:3]}")
        tiles.append(arrays[key].astype(np.float16))
    hidden = {key: arrays[key].astype(np.float32) if has_hidden else None for key in _HIDDEN}
    return DynamicTexture(
        int(arrays["size_px"]), tuple(str(name) for name in arrays["block_names"]), counts.astype(np.int32), blocks.astype(np.int32),
        arrays["patch_uv_rect"].astype(np.float32), tuple(tiles), names, hidden["hidden_weight"], hidden["hidden_bias"],
        arrays["map_weight"].astype(np.float32), arrays["map_bias"].astype(np.float32), folder / ONNX_FILE, folder / NETWORK_FILE,
    )  # fmt: skip


def check_network(path: Path) -> None:
    """Whether ``network.npz`` is an archive of plain, finite arrays with a version. Raises ``AvatarError`` (bad_input)."""
    arrays = _arrays(path)
    version = arrays.get("format_version")
    if version is None or version.ndim or version.dtype.kind not in "iu":
        raise damaged(path, "it is no network of a dynamic texture (format_version is missing)")
    if int(version) > FORMAT_VERSION:
        raise _newer(path, int(version))
    for key, array in arrays.items():
        if array.dtype.kind not in "fiubU" or (array.dtype.kind == "f" and not np.isfinite(array).all()):
            raise damaged(path, f"the array {key} holds something else than numbers")


def check_onnx(path: Path) -> None:
    """Whether a file is an ONNX model with a graph, by walking the outermost fields of the message. Nothing in it is run.

    Raises:
        AvatarError: ``bad_input`` when it is something else, cut off, or far too large.
    """
    size = path.stat().st_size
    if size > MAX_ONNX_BYTES:
        raise damaged(path, f"a network of {size >> 20} MiB")
    data = path.read_bytes()
    fields: set[int] = set()
    place = 0
    while place < len(data):
        key, place = _varint(path, data, place)
        number, kind = key >> 3, key & 7
        if kind == 0:
            _, place = _varint(path, data, place)
        elif kind == 2:
            length, place = _varint(path, data, place)
            place += length
        else:  # the outermost message of ONNX has whole numbers and texts or messages, nothing else
            raise _foreign(path)
        if place > len(data) or not (1 <= number <= 8 or number in (14, 20, 25, 26)):
            raise _foreign(path)
        fields.add(number)
    if not {1, 7, 8} <= fields:  # ir_version, graph, opset_import
        raise _foreign(path)


def _varint(path: Path, data: bytes, place: int) -> tuple[int, int]:
    """A whole number of the protocol buffers' encoding and where it ends."""
    value = 0
    for shift in range(0, 70, 7):
        if place >= len(data):
            break
        byte = data[place]
        place += 1
        value |= (byte & 127) << shift
        if byte < 128:
            return value, place
    raise _foreign(path)


def _arrays(path: Path) -> dict[str, np.ndarray]:
    try:
        return read_arrays(path)
    except (zlib.error, AttributeError, TypeError, NotImplementedError) as error:
        raise damaged(path, f"it is no archive of arrays ({error})") from error


def _foreign(path: Path) -> AvatarError:
    return AvatarError("bad_input", f"{path} is no ONNX network.", "Make the avatar again, or copy its folder once more.", {"path": str(path)})


def _newer(path: Path, version: object) -> AvatarError:
    return AvatarError(
        "bad_input", f"{path}: the dynamic texture has format {version!r}; this version of Video Avatar reads {FORMAT_VERSION}.", "Update Video Avatar.",
        {"path": str(path), "format_version": str(version)},
    )  # fmt: skip
