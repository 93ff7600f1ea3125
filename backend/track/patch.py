"""A track patch: the new motion of a range of frames (docs/formats/track-patch.md)."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np

from ..errors import AvatarError
from ..storage import read_arrays, write_arrays

FORMAT_VERSION = 1
_TEXTS = ("control_names", "region_names")


@dataclasses.dataclass(frozen=True)
class TrackPatch:
    """n frames in order of time, E controls, J joints, R regions; frames and units as in ``Track``.

    time_index: (n,) int32. control_names: E. controls, controls_smooth: (n, E) float32. joint_rotations, joint_rotations_smooth: (n, J, 3)
    float32 axis-angle rad. world_from_root, world_from_root_smooth: (n, 4, 4) float64. confidence: (n,) float32 in [0, 1], 0 where bridged.
    region_names: R, none when pixels were not compared. region_confidence: (n, R) float32.
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


def write_patch(path: Path, patch: TrackPatch) -> None:
    """Writes a patch as one ``.npz``, complete or not at all; equal patches give equal bytes."""
    arrays = {"format_version": np.array(FORMAT_VERSION)}
    for field in dataclasses.fields(patch):
        value = getattr(patch, field.name)
        arrays[field.name] = np.array(value, dtype=np.str_) if field.name in _TEXTS else value
    write_arrays(path, arrays)


def read_patch(path: Path) -> TrackPatch:
    """Reads what ``write_patch`` wrote. Raises ``AvatarError`` (bad_input) when the file is damaged."""
    arrays = read_arrays(path)
    version = int(arrays.get("format_version", np.array(0)))
    missing = [field.name for field in dataclasses.fields(TrackPatch) if field.name not in arrays]
    if version != FORMAT_VERSION or missing:
        text = f"{path} is no track patch of format {FORMAT_VERSION}."
        raise AvatarError("bad_input", text, "Track the range again.", {"path": str(path), "missing": missing})
    return TrackPatch(**{
        field.name: tuple(str(text) for text in arrays[field.name]) if field.name in _TEXTS else arrays[field.name] for field in dataclasses.fields(TrackPatch)
    })
