"""Numbered full textures of an avatar by its exact network: frames in, a folder of pictures out, all of them or none."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import shutil
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from .avatars.dynamic_texture.exact import ExactTexture, read_exact
from .avatars.dynamic_texture.inputs import gather_inputs
from .avatars.dynamic_texture.painting import TexturePainter
from .capture.colour import srgb_decode, srgb_encode
from .errors import AvatarError
from .half_exr import write_half_exr
from .output_folder import check_writable
from .package.model import DYNAMIC_KIND, NETWORK_FILE, AvatarPackage
from .package.read import read_package
from .reporter import Reporter
from .rig.gaze import EYE_LOOK_CONTROLS
from .storage import file_sha256, read_arrays, read_json, storage_error, write_json

FORMATS = ("png", "exr")
FRAMES_VERSION = 1
MARK = "frames.json"
"""Written last into the folder: what its pictures are. A folder that has it was baked and may be baked again."""
_BATCH = 4


@dataclasses.dataclass(frozen=True)
class TextureFrames:
    """What poses the texture, for n frames (docs/formats/texture-frames.md).

    control_names: E. controls: (n, E). joint_names: J. joint_rotations: (n, J, 3) axis-angle rad.
    orientation: (n, 3) axis-angle rad of the head relative to the capture camera, or None for the one constant of lit avatars.
    numbers: (n,) frame numbers, which name the files.
    """

    control_names: tuple[str, ...]
    controls: np.ndarray
    joint_names: tuple[str, ...]
    joint_rotations: np.ndarray
    orientation: np.ndarray | None
    numbers: np.ndarray

    def __len__(self) -> int:
        return len(self.controls)


def bake_textures(folder: Path, frames_file: Path, out: Path, file_format: str, dynamic: float, overwrite: bool, reporter: Reporter) -> dict[str, Any]:
    """Bakes a sequence.

    Args:
        folder: the package. frames_file: ``.npz``, docs/formats/texture-frames.md. out: folder to make. file_format: "png" (8 bit sRGB) or "exr"
            (half float, linear). dynamic: 0 = static texture, 1 = all of it. overwrite: ``out`` may be a folder that was baked before.

    Returns:
        ``folder``, ``pattern`` with the frame number's digits as ``####``, ``first``, ``last``, ``num_frames``, ``size_px``.

    Raises:
        AvatarError: ``bad_request`` for settings and output, ``asset_missing`` when the avatar has no dynamic texture or a file is missing,
            ``bad_input`` when one is damaged or the frames do not belong to this avatar.
        Cancelled: nothing of it is left.
    """
    folder, out = Path(folder).absolute(), Path(os.path.abspath(out))
    if file_format not in FORMATS:
        raise AvatarError("bad_request", f"file_format is {file_format!r}.", f"Allowed: {', '.join(FORMATS)}.", {"field": "file_format", "value": file_format})
    if not 0 <= dynamic <= 1:
        raise AvatarError("bad_request", f"dynamic is {dynamic!r}.", "Allowed: 0 to 1.", {"field": "dynamic", "value": dynamic})
    _check_out(out, overwrite)
    check_writable(out)
    package = read_package(folder)
    exact, painter = _exact_of(package)
    frames = read_frames(frames_file)
    inputs = _inputs(exact, frames)
    digits = max(4, len(str(int(np.abs(frames.numbers).max()))))
    temporary = out.with_name(f".{out.name}.part")  # one name: what a killed run left is cleared by the next
    try:
        shutil.rmtree(temporary, ignore_errors=True)
        temporary.mkdir(parents=True)
        for start in range(0, len(frames), _BATCH):
            offsets = exact.offsets(inputs[start : start + _BATCH])
            for index, offset in enumerate(offsets, start):
                reporter.progress("textures", index, len(frames), "frames")
                name = f"texture_{int(frames.numbers[index]):0{digits}d}.{file_format}"
                _write(temporary / name, painter.paint(offset[None], dynamic)[0])
        reporter.progress("textures", len(frames), len(frames), "frames")
        mark = {
            "format_version": 1, "avatar": package.name, "network_sha256": file_sha256(folder / NETWORK_FILE), "colour_space": "sRGB" if file_format == "png" else "linear",
            "file_format": file_format, "dynamic": float(dynamic), "size_px": package.texture.size_px, "numbers": [int(number) for number in frames.numbers],
        }
        write_json(temporary / MARK, mark)
        reporter.check()
        _swap(temporary, out)
    except OSError as error:
        raise storage_error(out, error) from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    reporter.artifact(out)
    return {
        "folder": str(out), "pattern": f"texture_{'#' * digits}.{file_format}", "first": int(frames.numbers.min()), "last": int(frames.numbers.max()),
        "num_frames": len(frames), "size_px": package.texture.size_px,
    }


def read_frames(path: Path) -> TextureFrames:
    """Reads and checks a file of frames. Raises ``AvatarError`` (bad_input) naming what is wrong with it."""
    path = Path(path)
    arrays = read_arrays(path)

    def refuse(what: str) -> AvatarError:
        return AvatarError("bad_input", f"{path} is no file of texture frames: {what}.", "See docs/formats/texture-frames.md.", {"path": str(path)})

    for key in ("format_version", "control_names", "controls", "joint_names", "joint_rotations"):
        if key not in arrays:
            raise refuse(f"the array {key} is missing")
    if arrays["format_version"].ndim or arrays["format_version"].dtype.kind not in "iu" or int(arrays["format_version"]) != FRAMES_VERSION:
        raise refuse(f"format_version is not {FRAMES_VERSION}")
    num = len(arrays["controls"]) if arrays["controls"].ndim else 0
    wanted = {
        "control_names": ("U", (arrays["control_names"].size,)), "controls": ("f", (num, arrays["control_names"].size)), "joint_names": ("U", (arrays["joint_names"].size,)),
        "joint_rotations": ("f", (num, arrays["joint_names"].size, 3)), "orientation": ("f", (num, 3)), "numbers": ("iu", (num,)),
    }
    for key, (kind, shape) in wanted.items():
        if key in arrays and (arrays[key].dtype.kind not in kind or arrays[key].shape != shape):
            raise refuse(f"the array {key} has the type {arrays[key].dtype} and the shape {arrays[key].shape}")
        if key in arrays and kind == "f" and not np.isfinite(arrays[key]).all():
            raise refuse(f"the array {key} holds values that are no numbers")
    if not num:
        raise refuse("it has no frame")
    numbers = arrays["numbers"].astype(np.int64) if "numbers" in arrays else np.arange(num)
    if len(np.unique(numbers)) < num or numbers.min() < 0:
        raise refuse("a frame number is negative or comes twice")
    names = {key: tuple(str(name) for name in arrays[key]) for key in ("control_names", "joint_names")}
    return TextureFrames(names["control_names"], arrays["controls"], names["joint_names"], arrays["joint_rotations"], arrays.get("orientation"), numbers)


def _exact_of(package: AvatarPackage) -> tuple[ExactTexture, TexturePainter]:
    """The network of a package and what it paints on."""
    listed = {file.path for asset in package.assets if asset.kind == DYNAMIC_KIND for file in asset.files}
    if NETWORK_FILE not in listed or package.texture.mask is None:
        raise AvatarError(
            "asset_missing", f"{package.folder} has no dynamic texture.", "Reconstruct the clip again with the preset standard or high.", {"path": str(package.folder / NETWORK_FILE)}
        )
    exact = read_exact(package.folder / NETWORK_FILE)
    albedo, mask = cv2.imread(str(package.texture.albedo), cv2.IMREAD_COLOR), cv2.imread(str(package.texture.mask), cv2.IMREAD_GRAYSCALE)
    if albedo is None or mask is None:
        raise AvatarError("bad_input", f"A texture of {package.folder} cannot be read.", "Copy the avatar once more.", {"path": str(package.texture.albedo)})
    static = srgb_decode(albedo[..., ::-1] / 255.0).astype(np.float32)
    return exact, TexturePainter(static, mask.astype(np.float32) / 255, exact.canvas, exact.windows)


def _inputs(exact: ExactTexture, frames: TextureFrames) -> np.ndarray:
    missing = [name for name in exact.space.control_names if name not in frames.control_names and name not in EYE_LOOK_CONTROLS]
    if missing:
        text = f"The frames do not say what the control {missing[0]} is."
        raise AvatarError("bad_input", text, "Bake with the controls of this avatar.", {"missing": missing})
    orientation = frames.orientation
    if orientation is None:
        orientation = np.repeat(exact.space.constant_orientation[None], len(frames), 0)
    return gather_inputs(exact.space.names, frames.control_names, frames.controls, frames.joint_names, frames.joint_rotations, orientation)


def _write(path: Path, linear: np.ndarray) -> None:
    if path.suffix == ".exr":
        write_half_exr(path, linear)
        return
    image = np.floor(srgb_encode(linear) * 255 + 0.5).astype(np.uint8)
    is_encoded, data = cv2.imencode(".png", np.ascontiguousarray(image[..., ::-1]), [cv2.IMWRITE_PNG_COMPRESSION, 3])
    if not is_encoded:
        raise AvatarError("internal", f"{path} could not be encoded.", "", {"path": str(path)})
    path.write_bytes(data.tobytes())


def _check_out(out: Path, overwrite: bool) -> None:
    if not (out.is_symlink() or out.exists()):
        return
    if out.is_dir() and not out.is_symlink() and not any(out.iterdir()):
        return
    detail = {"field": "out", "path": str(out)}
    if out.is_symlink() or not out.is_dir() or not _is_baked(out):
        raise AvatarError("bad_request", f"{out} exists and holds no baked textures.", "Choose another output; only baked textures are ever replaced.", detail)
    if not overwrite:
        raise AvatarError("bad_request", f"{out} exists.", "Choose another output, or allow overwriting.", detail)


def _is_baked(out: Path) -> bool:
    """Whether a folder holds baked textures and nothing else."""
    try:
        mark = read_json(out / MARK)
        return {path.suffix for path in out.iterdir()} <= {".json", f".{mark['file_format']}"} and sum(1 for path in out.iterdir()) == len(mark["numbers"]) + 1
    except (AvatarError, KeyError, TypeError):
        return False


def _swap(built: Path, out: Path) -> None:
    """Makes the finished folder visible by a rename; an old one steps aside first and comes back when that fails."""
    old = out.with_name(f".{out.name}.old")
    shutil.rmtree(old, ignore_errors=True)
    has_old = out.is_dir() and any(out.iterdir())
    if has_old:
        os.replace(out, old)
    else:
        with contextlib.suppress(FileNotFoundError):
            out.rmdir()
    try:
        os.replace(built, out)
    except OSError:
        if has_old:
            os.replace(old, out)
        raise
    shutil.rmtree(old, ignore_errors=True)
