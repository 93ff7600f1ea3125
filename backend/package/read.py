"""Reads an avatar package and checks all of it before anyone uses any of it. numpy and standard library only.

A package may come from a stranger: nothing is unpickled, no path leads out of the folder, every file has its stated
size and hash, every index stays inside its array.
"""

from __future__ import annotations

import dataclasses
import struct
import zlib
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from ..errors import AvatarError
from ..storage import file_sha256, read_arrays, read_json
from ..texture.light import ClipLight
from .model import (
    ALBEDO_FILE,
    BACKGROUND_FILE,
    CLIP_FILE,
    FORMAT,
    FORMAT_VERSION,
    INDEX,
    LIGHT_FILE,
    LIGHT_FORMAT_VERSION,
    MASK_FILE,
    MESH_FILE,
    SEEN_FILE,
    UNWRAPPED_FILE,
    UNWRAPPED_ID,
    AnimationAsset,
    Asset,
    AssetFile,
    AvatarPackage,
    Control,
    LandmarkPlaces,
    MeshAsset,
    TextureAsset,
)
from .schema import check_clip, check_mesh, damaged

_REQUIRED = {"mesh": (MESH_FILE,), "animation": (CLIP_FILE,), "texture": (ALBEDO_FILE, SEEN_FILE)}
_TEXT, _NUMBER = str, (int, float)


def read_package(folder: Path | str) -> AvatarPackage:
    """Reads and checks ``NAME.avatar/``.

    Args:
        folder: the package folder (or its ``avatar.json``).

    Returns:
        The package with the arrays of its mesh and animation; textures stay files.

    Raises:
        AvatarError: ``asset_missing`` when there is no package or a file is missing, ``bad_input`` when it is damaged,
            tampered with, or written by a newer version.
    """
    folder = Path(folder)
    if folder.name == INDEX:
        folder = folder.parent
    index = folder / INDEX
    if not index.is_file():
        raise AvatarError(
            "asset_missing", f"{folder} is no avatar: it has no {INDEX}.", "Choose the folder that a reconstruction wrote; it ends in .avatar.", {"path": str(index)}
        )
    info = _read_index(index)
    controls = tuple(_control(index, entry) for entry in _list(index, info, "controls"))
    assets = tuple(_asset(index, entry) for entry in _list(index, info, "assets"))
    _check_assets(index, assets, controls)
    for asset in assets:
        for file in asset.files:
            _check_file(folder, file)

    by_kind = {asset.kind: asset for asset in reversed(assets)}
    mesh_path, clip_path = folder / MESH_FILE, folder / CLIP_FILE
    mesh_arrays, clip_arrays = _arrays(mesh_path), _arrays(clip_path)
    sizes: dict[str, int] = {}
    check_mesh(mesh_path, mesh_arrays, sizes)
    check_clip(clip_path, clip_arrays, sizes)
    mesh, animation = _mesh(mesh_arrays), _animation(clip_arrays)
    if animation.control_names != mesh.shape_key_names:
        raise damaged(clip_path, "its controls are not those of the mesh")
    if tuple(control.name for control in controls) != animation.control_names:
        raise damaged(index, "its controls are not those of the animation")
    if any(file.path == BACKGROUND_FILE for file in by_kind["animation"].files):
        animation = dataclasses.replace(animation, background=folder / BACKGROUND_FILE)
    rig, source = _object(index, info, "rig"), _object(index, info, "source")
    if info["num_frames"] != animation.num_samples:
        raise damaged(index, f"num_frames is {info['num_frames']}, the animation has {animation.num_samples}")
    return AvatarPackage(
        folder, info["name"], float(info["fps"]), info["consent"], tuple(str(line) for line in _list(index, info, "licences")),
        str(rig.get("name", "")), str(source.get("file_name", "")), str(source.get("sha256", "")), controls, assets, mesh, animation,
        _texture(folder, by_kind["texture"], next((asset for asset in assets if asset.id == UNWRAPPED_ID), None)), info,
    )


def _read_index(index: Path) -> dict[str, Any]:
    info = read_json(index)
    if not isinstance(info, dict) or info.get("format") != FORMAT:
        raise AvatarError("bad_input", f"{index} does not describe an avatar.", "Choose the folder that a reconstruction wrote.", {"path": str(index)})
    version = info.get("format_version")
    if not isinstance(version, int) or isinstance(version, bool) or version < 1:
        raise damaged(index, f"format_version is {version!r}")
    if version > FORMAT_VERSION:
        raise AvatarError(
            "bad_input", f"{index} was written in format {version}; this version of Video Avatar reads up to {FORMAT_VERSION}.",
            "Update Video Avatar.", {"path": str(index), "format_version": version, "supported": FORMAT_VERSION},
        )
    for key, kinds in (("name", _TEXT), ("fps", _NUMBER), ("num_frames", int), ("consent", bool)):
        if not isinstance(info.get(key), kinds) or (kinds is not bool and isinstance(info.get(key), bool)):
            raise damaged(index, f"{key} is {info.get(key)!r}")
    if not info["name"].strip() or not 0 < info["fps"] <= 1000:
        raise damaged(index, "name is empty or fps is out of range")
    return info


def _list(index: Path, values: dict[str, Any], key: str) -> list[Any]:
    if not isinstance(values.get(key), list):
        raise damaged(index, f"{key} is no list")
    return values[key]


def _object(index: Path, values: dict[str, Any], key: str) -> dict[str, Any]:
    if not isinstance(values.get(key), dict):
        raise damaged(index, f"{key} is no object")
    return values[key]


def _control(index: Path, entry: Any) -> Control:
    try:
        moves = entry["moves"]
        control = Control(
            entry["name"], entry["unit"], *(float(entry[key]) for key in ("min", "max", "neutral", "seen_min", "seen_max")), entry["mirror"],
            moves["kind"], moves["target"],
        )
    except (KeyError, TypeError, ValueError) as error:
        raise damaged(index, f"a control is incomplete ({error})") from error
    texts = (control.name, control.unit, control.moves_kind, control.moves_target)
    if not all(isinstance(text, str) for text in texts) or not isinstance(control.mirror, str | None):
        raise damaged(index, "a control has a name that is no text")
    if not (np.isfinite([control.min, control.max, control.neutral]).all() and control.min <= control.neutral <= control.max):
        raise damaged(index, f"the range of the control {control.name} is empty")
    return control


def _asset(index: Path, entry: Any) -> Asset:
    try:
        files = tuple(AssetFile(file["path"], file["sha256"], file["bytes"]) for file in entry["files"])
        asset = Asset(
            entry["id"], entry["kind"], entry["version"], files, tuple(entry["depends_on"]), tuple(entry["controls"]),
            float(entry["metres_from_asset"]), dict(entry.get("info", {})),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise damaged(index, f"an asset is incomplete ({error})") from error
    for file in files:
        is_typed = isinstance(file.path, str) and isinstance(file.sha256, str) and isinstance(file.num_bytes, int)
        if not is_typed:
            raise damaged(index, f"the asset {asset.id} names a file without path, hash or size")
        if not is_inside(file.path):
            raise AvatarError(
                "bad_input", f"{index} names the file {file.path!r}, which lies outside the avatar's folder.", "Do not use this avatar.", {"path": file.path}
            )
    return asset


def is_inside(path: str) -> bool:
    """Whether a path of the index is plain, relative and cannot leave the folder on any system."""
    parts = PurePosixPath(path).parts
    return bool(parts) and not path.startswith("/") and "\\" not in path and ":" not in path and "\0" not in path and ".." not in parts


def _check_assets(index: Path, assets: tuple[Asset, ...], controls: tuple[Control, ...]) -> None:
    ids = [asset.id for asset in assets]
    names = {control.name for control in controls}
    if len(set(ids)) < len(ids):
        raise damaged(index, "two assets have one id")
    for asset in assets:
        if not set(asset.depends_on) <= set(ids) or not set(asset.controls) <= names:
            raise damaged(index, f"the asset {asset.id} depends on something that is not there")
    for kind, files in _REQUIRED.items():
        asset = next((asset for asset in assets if asset.kind == kind), None)
        missing = [kind] if asset is None else [path for path in files if path not in {file.path for file in asset.files}]
        if missing:
            raise damaged(index, f"it does not list {missing[0]}")
        if asset is not None and (not isinstance(asset.version, int) or asset.version > FORMAT_VERSION):
            raise AvatarError(
                "bad_input", f"{index}: the asset {asset.id} has version {asset.version!r}; this version of Video Avatar reads up to {FORMAT_VERSION}.",
                "Update Video Avatar.", {"path": str(index), "asset": asset.id},
            )


def _check_file(folder: Path, file: AssetFile) -> None:
    path = folder / file.path
    if not path.is_file():
        raise AvatarError("asset_missing", f"{path} is missing.", "Copy the whole folder of the avatar, or make it again.", {"path": str(path)})
    if not path.resolve().is_relative_to(folder.resolve()):
        raise AvatarError("bad_input", f"{path} is a link that leads out of the avatar's folder.", "Do not use this avatar.", {"path": str(path)})
    num_bytes = path.stat().st_size
    if num_bytes != file.num_bytes:
        raise damaged(path, f"it has {num_bytes} bytes instead of {file.num_bytes}")
    if file_sha256(path) != file.sha256:
        raise damaged(path, "its content is not what was written (wrong hash)")


def _arrays(path: Path) -> dict[str, np.ndarray]:
    try:
        return read_arrays(path)
    except (zlib.error, AttributeError, TypeError, NotImplementedError) as error:
        raise damaged(path, f"it is no archive of arrays ({error})") from error


def _texts(array: np.ndarray) -> tuple[str, ...]:
    return tuple(str(text) for text in array)


def _mesh(arrays: dict[str, np.ndarray]) -> MeshAsset:
    places = None
    if "mediapipe478.triangle_ids" in arrays:
        places = LandmarkPlaces(*(arrays[f"mediapipe478.{key}"] for key in ("triangle_ids", "barycentric", "spread_m")))
    return MeshAsset(
        arrays["vertices"], arrays["quads"], arrays["uv"], arrays["quad_uv"], arrays["quad_parts"], _texts(arrays["part_names"]),
        _texts(arrays["shape_key_names"]), arrays["shape_keys"], arrays["shape_key_limits"], _texts(arrays["joint_names"]),
        arrays["joint_parents"], arrays["joints"], arrays["skin_weights"], arrays["gaze_limits_deg"],
        {key.removeprefix("regions."): mask for key, mask in arrays.items() if key.startswith("regions.")}, arrays.get("correctives"), places,
    )


def _animation(arrays: dict[str, np.ndarray]) -> AnimationAsset:
    values: dict[str, Any] = {key: arrays[key] for key in arrays if key in AnimationAsset.__dataclass_fields__}
    values["control_names"] = _texts(arrays["control_names"])
    values["size_hw"] = (int(arrays["size_hw"][0]), int(arrays["size_hw"][1]))
    values["focal_source"], values["split_sha256"] = str(arrays["focal_source"]), str(arrays["split_sha256"])
    values["focal_sigma_log"] = float(arrays["focal_sigma_log"])
    values["background"] = None
    values["landmark_trust"] = float(arrays.get("landmark_trust", np.float32(1)))
    values["region_names"] = _texts(arrays.get("region_names", np.zeros(0, "U1")))
    return AnimationAsset(**values)


def _texture(folder: Path, asset: Asset, unwrapped: Asset | None) -> TextureAsset:
    """The static texture; mask, light and the surface as filmed where the writer knew them."""
    listed = {file.path for file in asset.files} | ({file.path for file in unwrapped.files} if unwrapped is not None else set())
    images = [path for path in (ALBEDO_FILE, SEEN_FILE, MASK_FILE, UNWRAPPED_FILE) if path in listed]
    sides = {_png_size(folder / path) for path in images}
    width, height = next(iter(sides))
    if len(sides) > 1 or width != height:
        raise damaged(folder / ALBEDO_FILE, "the textures are not square or differ in size")
    found = {path: folder / path for path in images}
    light = _light(folder / LIGHT_FILE) if LIGHT_FILE in listed else None
    return TextureAsset(
        folder / ALBEDO_FILE, folder / SEEN_FILE, width, bool(asset.info.get("delit", False)), found.get(MASK_FILE), light, found.get(UNWRAPPED_FILE)
    )


def _light(path: Path) -> ClipLight:
    values = read_json(path)
    version = values.get("format_version") if isinstance(values, dict) else None
    if not isinstance(version, int) or isinstance(version, bool) or version != LIGHT_FORMAT_VERSION:
        raise damaged(path, f"format_version is {version!r}")
    try:
        sh, tint = (np.array(values[key], np.float32) for key in ("sh", "tint"))
        light = ClipLight(sh, tint, values["frame"])
    except (KeyError, TypeError, ValueError) as error:
        raise damaged(path, f"it describes no light ({error})") from error
    if not (np.isfinite(sh).all() and np.isfinite(tint).all() and (tint > 0).all()):
        raise damaged(path, "its light is not finite")
    return light


def _png_size(path: Path) -> tuple[int, int]:
    with open(path, "rb") as handle:
        head = handle.read(24)
    if len(head) < 24 or head[:8] != b"\x89PNG\r\n\x1a\n" or head[12:16] != b"IHDR":
        raise damaged(path, "it is no PNG image")
    return struct.unpack(">II", head[16:24])
