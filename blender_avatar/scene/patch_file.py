"""Reads a track patch: the new motion of a range of pictures (docs/formats/track-patch.md). Checked before anything is changed."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np

from ..backend_link import backend_module

FORMAT_VERSION = 1
_SHAPES = {
    "time_index": ("n",), "controls": ("n", "E"), "joint_rotations": ("n", "J", 3), "world_from_root": ("n", 4, 4), "controls_smooth": ("n", "E"),
    "joint_rotations_smooth": ("n", "J", 3), "world_from_root_smooth": ("n", 4, 4), "confidence": ("n",), "region_confidence": ("n", "R"),
}  # fmt: skip
_REGIONS = ("region_names", "region_confidence")


@dataclasses.dataclass(frozen=True)
class Patch:
    """n pictures in order. time_index: (n,) their numbers in the clip; the rest as in ``AnimationAsset``, raw and smoothed.

    region_confidence: (n, R), R = 0 when the tracker gives none.
    """

    time_index: np.ndarray
    control_names: tuple[str, ...]
    controls: np.ndarray
    joint_rotations: np.ndarray
    world_from_root: np.ndarray
    controls_smooth: np.ndarray
    joint_rotations_smooth: np.ndarray
    world_from_root_smooth: np.ndarray
    confidence: np.ndarray
    region_names: tuple[str, ...]
    region_confidence: np.ndarray


def read_patch(path: Path) -> Patch:
    """Reads and checks a patch.

    Raises:
        AvatarError: ``asset_missing`` when there is no such file, ``bad_input`` when it is damaged or of a newer format.
    """
    path = Path(path)
    if not path.is_file():
        raise backend_module("errors").AvatarError("asset_missing", f"The new track {path} is missing.", "Track the range again.", {"path": str(path)})
    try:
        with np.load(path, allow_pickle=False) as archive:
            arrays = {key: archive[key] for key in archive.files}
    except Exception as problem:  # a damaged archive raises whatever its damaged part meets first
        raise _damaged(path, f"it is no archive of arrays ({problem})") from problem
    if "format_version" not in arrays or arrays["format_version"].ndim or arrays["format_version"].dtype.kind not in "iu":
        raise _damaged(path, "format_version is missing")
    if int(arrays["format_version"]) != FORMAT_VERSION:
        raise _damaged(path, f"its format {int(arrays['format_version'])} is not {FORMAT_VERSION}; install add-on and backend of the same release")
    names = {key: tuple(str(text) for text in arrays[key].ravel()) if key in arrays else () for key in ("control_names", "region_names")}
    if not set(_REGIONS) <= set(arrays):
        names["region_names"] = ()
        arrays["region_confidence"] = np.zeros((len(np.atleast_1d(arrays.get("time_index", ()))), 0), np.float32)
    sizes = {"E": len(names["control_names"]), "R": len(names["region_names"])}
    for key, shape in _SHAPES.items():
        if key not in arrays:
            raise _damaged(path, f"the array {key} is missing")
        array = arrays[key]
        wanted = tuple(size if isinstance(size, int) else sizes.setdefault(size, array.shape[place] if place < array.ndim else -1) for place, size in enumerate(shape))
        if array.shape != wanted or array.dtype.kind not in "fiu":
            raise _damaged(path, f"the array {key} has the shape {array.shape} and type {array.dtype}, wanted {wanted}")
        if not np.isfinite(array).all():
            raise _damaged(path, f"the array {key} holds values that are no numbers")
    if not sizes["n"] or (np.diff(arrays["time_index"]) <= 0).any():
        raise _damaged(path, "its pictures are none, or not in order")
    for key in ("world_from_root", "world_from_root_smooth"):
        rotation = arrays[key][:, :3, :3]
        if not np.allclose(rotation @ rotation.swapaxes(1, 2), np.eye(3), atol=1e-3) or (np.linalg.det(rotation) < 0).any():
            raise _damaged(path, f"{key} is not rigid")
    return Patch(**{key: arrays[key] for key in _SHAPES}, **names)


def _damaged(path: Path, what: str) -> Exception:
    return backend_module("errors").AvatarError("bad_input", f"The new track {path} cannot be used: {what}.", "Track the range again.", {"path": str(path)})
