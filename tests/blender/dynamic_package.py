"""A package with a dynamic texture of random, smooth eigen tiles on the procedural head, and the texture it must give."""

from __future__ import annotations

import functools
import tempfile
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from procedural_rig import procedural_rig
from synthetic_take import synthetic_take

from backend.package.read import read_package
from backend.package.read_dynamic import EIGEN_FILE, NETWORK_FILE, ONNX_FILE, DynamicTexture, read_dynamic_texture
from backend.package.write import write_package
from backend.storage import file_sha256, read_json, write_arrays, write_json
from backend.texture.light import ClipLight

BLOCKS = ("eye_left", "eye_right", "mouth", "brows", "rest")
PATCHES = (  # block, u0, v0, u1, v1: lids, eyeballs, lips, teeth, brows over the lids, and the rest over everything
    (0, 0.03, 0.40, 0.11, 0.46), (0, 0.66, 0.02, 0.80, 0.16), (1, 0.51, 0.40, 0.60, 0.46), (1, 0.82, 0.02, 0.96, 0.16),
    (2, 0.02, 0.24, 0.14, 0.34), (2, 0.66, 0.30, 0.76, 0.40), (3, 0.02, 0.43, 0.18, 0.52), (4, 0.02, 0.20, 0.29, 0.56), (4, 0.32, 0.20, 0.62, 0.56),
)  # fmt: skip
LIGHT = ClipLight(np.array([3.3, 0.35, 0.5, -0.4, 0.1, -0.12, 0.08, 0.15, -0.1], np.float32), np.array([1.06, 1.0, 0.94], np.float32))
SIZE_PX = 128


def smooth_noise(random: np.random.Generator, height: int, width: int, strength: float) -> np.ndarray:
    """(height, width, 3) with neighbouring texels alike."""
    coarse = random.normal(size=(max(2, height // 12), max(2, width // 12), 3)).astype(np.float32)
    return strength * cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)


def eigen_arrays(input_names: tuple[str, ...], num_components: int = 5, num_hidden: int = 0, seed: int = 3) -> dict[str, np.ndarray]:
    """Content of ``eigen.npz``."""
    random = np.random.default_rng(seed)
    counts = np.full(len(BLOCKS), num_components, np.int32)
    counts[3] = max(1, num_components - 2)
    total, width = int(counts.sum()), num_hidden or len(input_names)
    starts = np.concatenate([[0], np.cumsum(counts)[:-1]])
    weight = (random.normal(size=(total, width)) * (0.15 if num_hidden else 0.3)).astype(np.float32)
    bias = (random.normal(size=total) * 0.3).astype(np.float32)
    weight[starts], bias[starts] = 0, 1
    rects = np.array([patch[1:] for patch in PATCHES], np.float32)
    arrays: dict[str, np.ndarray] = {
        "format_version": np.array(1, np.int32), "size_px": np.array(SIZE_PX, np.int32), "block_names": np.array(BLOCKS), "block_num_components": counts,
        "patch_block": np.array([patch[0] for patch in PATCHES], np.int32), "patch_uv_rect": rects, "input_names": np.array(input_names),
        "map_weight": weight, "map_bias": bias,
    }  # fmt: skip
    if num_hidden:
        arrays["hidden_weight"] = random.normal(size=(num_hidden, len(input_names))).astype(np.float32)
        arrays["hidden_bias"] = (random.normal(size=num_hidden) * 0.2).astype(np.float32)
    for patch, (block, u0, v0, u1, v1) in enumerate(PATCHES):
        height, size = max(4, round(3 * SIZE_PX * (v1 - v0))), max(4, round(3 * SIZE_PX * (u1 - u0)))
        tiles = np.stack([smooth_noise(random, height, size, 0.05 if component else 0.06) for component in range(counts[block])])
        rise = [np.clip(np.minimum(np.arange(n) + 0.5, n - 0.5 - np.arange(n)) / 5, 0, 1) for n in (height, size)]
        arrays[f"tiles.{patch}"] = (tiles * np.outer(*rise)[None, ..., None]).astype(np.float16)  # a block's window ends softly
    return arrays


def onnx_bytes() -> bytes:
    """The outermost fields of an ONNX file: version of the format, an empty graph, one set of operators."""
    return b"\x08\x08" + b"\x3a\x02\x0a\x00" + b"\x42\x02\x10\x11"


def write_dynamic_package(folder: Path, name: str = "Anna", light: ClipLight | None = LIGHT, take: dict[str, Any] | None = None, **eigen: Any) -> Path:
    """Writes ``NAME.avatar/`` of the procedural head with texture, mask, light and dynamic texture."""
    rig = procedural_rig()
    capture, track = synthetic_take(rig, **(take or {}))
    random = np.random.default_rng(11)
    albedo = np.clip(145 + 90 * smooth_noise(random, SIZE_PX, SIZE_PX, 0.25), 40, 235).astype(np.uint8)
    mask = np.clip(200 + 120 * smooth_noise(random, SIZE_PX, SIZE_PX, 1.0)[..., 0], 0, 255).astype(np.uint8)
    write_package(
        folder, name=name, rig=rig, track=track, capture=capture, texture=albedo, seen=np.full((SIZE_PX, SIZE_PX), 255, np.uint8), background_mp4=None,
        consent=True, texture_info={"delit": light is not None}, mask=mask, light=light, unwrapped=albedo,
    )  # fmt: skip
    write_arrays(folder / EIGEN_FILE, eigen_arrays(rig.expression_names, **eigen))
    write_arrays(folder / NETWORK_FILE, {"format_version": np.array(1, np.int32), "input_names": np.array(rig.expression_names)})
    (folder / ONNX_FILE).write_bytes(onnx_bytes())
    index = read_json(folder / "avatar.json")
    index["assets"] = [asset for asset in index["assets"] if asset["id"] != "dynamic"]  # a writer of later versions may have listed it
    index["assets"].append({
        "id": "dynamic", "kind": "dynamic_texture", "version": 1, "files": [], "depends_on": ["head", "albedo"], "controls": list(rig.expression_names),
        "metres_from_asset": 1.0, "info": {},
    })  # fmt: skip
    write_json(folder / "avatar.json", index)
    list_files(folder)
    return folder


def list_files(folder: Path) -> None:
    """Brings hashes and sizes of the dynamic texture's files in the index up to date."""
    index = read_json(folder / "avatar.json")
    asset = next(asset for asset in index["assets"] if asset["id"] == "dynamic")
    asset["files"] = [
        {"path": path, "sha256": file_sha256(folder / path), "bytes": (folder / path).stat().st_size}
        for path in (ONNX_FILE, NETWORK_FILE, EIGEN_FILE) if (folder / path).is_file()
    ]  # fmt: skip
    write_json(folder / "avatar.json", index)


@functools.cache
def dynamic_folder(name: str = "Anna", **eigen: Any) -> Path:
    """One package for the whole run; equal arguments share it."""
    import imported  # loads bpy, which the tests in a window do without

    imported.scratch.append(Path(tempfile.mkdtemp(prefix="avatar-test-")))
    return write_dynamic_package(imported.scratch[-1] / f"{name.lower()}.avatar", name, **eigen)


def linear(srgb: np.ndarray) -> np.ndarray:
    """sRGB curve taken off values in 0..1."""
    return np.where(srgb <= 0.04045, srgb / 12.92, ((srgb + 0.055) / 1.055) ** 2.4)


def encoded(values: np.ndarray) -> np.ndarray:
    values = np.clip(values, 0, 1)
    return np.where(values <= 0.0031308, 12.92 * values, 1.055 * values ** (1 / 2.4) - 0.055)


def lookup(image: np.ndarray, uv: np.ndarray) -> np.ndarray:
    """Bilinear, clamped at the edge. image: (h, w, c), row 0 is v = 1. uv: (n, 2), v up."""
    height, width = image.shape[:2]
    x, y = uv[:, 0] * width - 0.5, (1 - uv[:, 1]) * height - 0.5
    x0, y0 = np.floor(x).astype(int), np.floor(y).astype(int)
    fx, fy = (x - x0)[:, None], (y - y0)[:, None]
    at = lambda row, column: image[np.clip(row, 0, height - 1), np.clip(column, 0, width - 1)].astype(np.float64)  # noqa: E731
    return (1 - fy) * ((1 - fx) * at(y0, x0) + fx * at(y0, x0 + 1)) + fy * ((1 - fx) * at(y0 + 1, x0) + fx * at(y0 + 1, x0 + 1))


def reference_texture(folder: Path, uv: np.ndarray, controls: np.ndarray, amount: float = 1.0) -> np.ndarray:
    """(n, 3) linear texture at (n, 2) places for (E,) control values: the formula of the format, written out."""
    package = read_package(folder)
    dynamic = read_dynamic_texture(package)
    assert isinstance(dynamic, DynamicTexture)
    albedo = cv2.imread(str(package.texture.albedo))[..., ::-1] / 255.0
    mask = cv2.imread(str(package.texture.mask), cv2.IMREAD_GRAYSCALE)[..., None] / 255.0
    columns = [package.animation.control_names.index(name) for name in dynamic.input_names]
    weights = dynamic.weights(np.asarray(controls)[columns])
    offset = np.zeros((len(uv), 3))
    for tile, block, (u0, v0, u1, v1) in zip(dynamic.tiles, dynamic.patch_block, dynamic.patch_uv_rect.tolist()):
        inside = (uv[:, 0] >= u0) & (uv[:, 0] <= u1) & (uv[:, 1] >= v0) & (uv[:, 1] <= v1)
        local = (uv[inside] - [u0, v0]) / [u1 - u0, v1 - v0]
        for component in range(dynamic.block_num_components[block]):
            offset[inside] += weights[dynamic.block_starts[block] + component] * lookup(tile[component], local)
    return np.clip(lookup(linear(albedo), uv) + amount * lookup(mask, uv) * offset, 0, 1)
