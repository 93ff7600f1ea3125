"""Checks of the arrays in a package: presence, type, shape, index ranges. numpy and standard library only."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from ..errors import AvatarError

Shape = tuple[int | str, ...]

MESH_ARRAYS: dict[str, tuple[str, Shape]] = {
    "vertices": ("f", ("V", 3)),
    "quads": ("i", ("Q", 4)),
    "uv": ("f", ("T", 2)),
    "quad_uv": ("i", ("Q", 4)),
    "quad_parts": ("i", ("Q",)),
    "part_names": ("U", ("P",)),
    "shape_key_names": ("U", ("E",)),
    "shape_keys": ("f", ("E", "V", 3)),
    "shape_key_limits": ("f", ("E", 2)),
    "joint_names": ("U", ("J",)),
    "joint_parents": ("i", ("J",)),
    "joints": ("f", ("J", 3)),
    "skin_weights": ("f", ("V", "J")),
    "gaze_limits_deg": ("f", (4,)),
}

CLIP_ARRAYS: dict[str, tuple[str, Shape]] = {
    "time_s": ("f", ("N",)),
    "time_index": ("i", ("N",)),
    "control_names": ("U", ("E",)),
    "controls": ("f", ("N", "E")),
    "joint_rotations": ("f", ("N", "J", 3)),
    "world_from_root": ("f", ("N", 4, 4)),
    "controls_smooth": ("f", ("N", "E")),
    "joint_rotations_smooth": ("f", ("N", "J", 3)),
    "world_from_root_smooth": ("f", ("N", 4, 4)),
    "world_from_cam": ("f", ("N", 4, 4)),
    "px_from_cam": ("f", (3, 3)),
    "size_hw": ("i", (2,)),
    "focal_source": ("U", ()),
    "focal_sigma_log": ("f", ()),
    "confidence": ("f", ("N",)),
    "is_tracked": ("b", ("N",)),
    "split": ("i", ("N",)),
    "is_interpolated": ("b", ("N",)),
    "split_sha256": ("U", ()),
}

CLIP_REGIONS: dict[str, tuple[str, Shape]] = {"region_names": ("U", ("R",)), "region_confidence": ("f", ("N", "R"))}
"""Both or neither."""

CLIP_TRUST: dict[str, tuple[str, Shape]] = {"landmark_trust": ("f", ())}
"""May be missing."""

_KINDS = {"f": "f", "i": "iu", "U": "U", "b": "b"}
_NOT_FINITE_ALLOWED = ("focal_sigma_log",)


def damaged(path: Path, what: str) -> AvatarError:
    """The error for a file whose content breaks the format."""
    return AvatarError("bad_input", f"{path} is damaged: {what}.", "Make the avatar again, or copy its folder once more.", {"path": str(path)})


def check_arrays(path: Path, arrays: Mapping[str, np.ndarray], wanted: Mapping[str, tuple[str, Shape]], sizes: dict[str, int]) -> None:
    """Checks that every wanted array is there with its type and shape, and that floats are finite.

    Args:
        path: file they came from, for the message.
        arrays: what the file holds.
        wanted: key -> (kind, shape); letters in a shape stand for sizes that must agree.
        sizes: letter -> size; sizes met for the first time are added.

    Raises:
        AvatarError: ``bad_input`` naming the file and the array.
    """
    for key, (kind, shape) in wanted.items():
        if key not in arrays:
            raise damaged(path, f"the array {key} is missing")
        array = arrays[key]
        if array.dtype.kind not in _KINDS[kind]:
            raise damaged(path, f"the array {key} has the type {array.dtype}")
        matches = array.ndim == len(shape)
        for size, want in zip(array.shape, shape):
            matches = matches and size == (want if isinstance(want, int) else sizes.setdefault(want, size))
        if not matches:
            text = ", ".join(str(want if isinstance(want, int) else sizes.get(want, want)) for want in shape)
            raise damaged(path, f"the array {key} has the shape {tuple(array.shape)}, wanted ({text})")
        if kind == "f" and key not in _NOT_FINITE_ALLOWED and not np.isfinite(array).all():
            raise damaged(path, f"the array {key} holds values that are no numbers")


def check_mesh(path: Path, arrays: Mapping[str, np.ndarray], sizes: dict[str, int]) -> None:
    """Array checks of ``mesh/head.npz`` plus index ranges: no index can lead out of an array."""
    check_arrays(path, arrays, MESH_ARRAYS, sizes)
    num_joints = sizes["J"]
    optional: dict[str, tuple[str, Shape]] = {key: ("b", ("V",)) for key in arrays if key.startswith("regions.")}
    if "correctives" in arrays:
        optional["correctives"] = ("f", (9 * (num_joints - 1), "V", 3))
    if any(key.startswith("mediapipe478.") for key in arrays):
        optional["mediapipe478.triangle_ids"] = ("i", (478,))
        optional["mediapipe478.barycentric"] = ("f", (478, 3))
        optional["mediapipe478.spread_m"] = ("f", (478,))
    check_arrays(path, arrays, optional, sizes)

    quads, quad_uv = arrays["quads"], arrays["quad_uv"]
    for key, indices, count in (("quads", quads, sizes["V"]), ("quad_uv", quad_uv, sizes["T"])):
        if len(indices) and (indices[:, :3].min() < 0 or indices[:, 3].min() < -1 or indices.max() >= count):
            raise damaged(path, f"{key} points outside its array")
    if ((quads[:, 3] < 0) != (quad_uv[:, 3] < 0)).any():
        raise damaged(path, "quads and quad_uv disagree about triangles")
    if any(len(set(corners[corners >= 0].tolist())) < (corners >= 0).sum() for corners in quads):
        raise damaged(path, "a face uses one vertex twice")
    if len(np.unique(np.sort(quads, 1), axis=0)) < len(quads):
        raise damaged(path, "two faces use the same vertices")
    if len(arrays["quad_parts"]) and arrays["quad_parts"].max() >= sizes["P"]:
        raise damaged(path, "quad_parts points outside part_names")
    parents = arrays["joint_parents"]
    if num_joints < 1 or parents[0] != -1 or any(not 0 <= parent < joint for joint, parent in enumerate(parents[1:].tolist(), 1)):
        raise damaged(path, "joint_parents is no tree with the root first")
    for key in ("shape_key_names", "joint_names"):
        if len(set(arrays[key].tolist())) < len(arrays[key]) or "" in arrays[key].tolist():
            raise damaged(path, f"{key} has an empty or a double name")
    if not np.allclose(arrays["skin_weights"].sum(1), 1, atol=1e-3) or arrays["skin_weights"].min() < -1e-6:
        raise damaged(path, "skin_weights do not sum to 1")
    if "mediapipe478.triangle_ids" in arrays and arrays["mediapipe478.triangle_ids"].max() >= 2 * sizes["Q"]:
        raise damaged(path, "mediapipe478.triangle_ids points outside the triangles")


def check_clip(path: Path, arrays: Mapping[str, np.ndarray], sizes: dict[str, int]) -> None:
    """Array checks of ``animation/clip.npz``: shapes, rising times, rigid transforms, a usable camera."""
    check_arrays(path, arrays, CLIP_ARRAYS, sizes)
    if CLIP_REGIONS.keys() & arrays.keys():
        check_arrays(path, arrays, CLIP_REGIONS, sizes)
    if CLIP_TRUST.keys() & arrays.keys():
        check_arrays(path, arrays, CLIP_TRUST, sizes)
    if sizes["N"] < 1:
        raise damaged(path, "it holds no frame")
    if (np.diff(arrays["time_s"]) <= 0).any():
        raise damaged(path, "time_s does not rise")
    if (arrays["size_hw"] < 1).any() or arrays["px_from_cam"][0, 0] <= 0 or arrays["px_from_cam"][1, 1] <= 0:
        raise damaged(path, "the camera has no size or no focal length")
    for key in ("world_from_root", "world_from_root_smooth", "world_from_cam"):
        rotation = arrays[key][:, :3, :3]
        if not np.allclose(rotation @ rotation.swapaxes(1, 2), np.eye(3), atol=1e-3) or (np.linalg.det(rotation) < 0).any():
            raise damaged(path, f"{key} is not rigid")
