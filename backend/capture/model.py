"""What is known about a clip before anything is fitted to it."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import AvatarError
from ..storage import read_arrays, write_arrays

FORMAT_VERSION = 2
TRAIN, GAP, TEST = 0, 1, 2
NONE, NO_FACE, OUT_OF_FRAME, FROZEN, CUT, OTHER_PERSON, EXPOSURE_JUMP, UPSIDE_DOWN, JUMP = range(9)
FAULTS = ("none", "no_face", "out_of_frame", "frozen", "cut", "other_person", "exposure_jump", "upside_down", "jump")
"""Names of ``Capture.fault``, in order of their number."""
PARSING = ("background", "skin", "lips", "inner_mouth", "eyes", "brows", "hair", "occlusion")
"""Class names of ``Capture.parsing``, in order of their number."""


@dataclasses.dataclass(frozen=True)
class Capture:
    """One clip. All 2D data are in pixels of the full, upright frame unless a name says otherwise.

    source_path: the video file. source_sha256: its hash. size_hw: (height, width) of the upright frame.
    fps: average frame rate. kind: "performance", "sweep", "chair", ... is_mirrored: selfie cameras may flip.
    time_s: (N,) float64 presentation time of each sample. time_index: (N,) int32, number of the decoded frame.
    camera_id, source_id: (N,) int32, zero for a single clip.
    focal_prior_px: focal length to start from. focal_sigma_log: its uncertainty (natural log).
    focal_source: "metadata", "user" or "default". principal_px: (2,) float64.
    px_crop_from_px: (3, 3) float64, affine map from frame pixels to crop pixels, one for the clip.
    crop_size_hw: (height, width) of the crop in which ``matte`` and ``parsing`` are stored.
    has_face: (N,) bool. landmarks_px: (N, 478, 2) float32, NaN where no face was found.
    landmarks_depth: (N, 478) float32, the detector's relative depth, same unit as pixels, smaller is nearer.
    landmark_confidence: (N,) float32 in [0, 1].
    matte: (N, h, w) uint8, 255 = the person. parsing: (N, h, w) uint8, number into ``PARSING``.
    occlusion: (N,) float32, share of the face region covered by hands or hair.
    sharpness: (N,) float32, variance of the Laplacian over the face at 256 px face width.
    exposure: (N,) float32, mean linear luminance over facial skin.
    fault: (N,) uint8, number into ``FAULTS``: what is wrong with the frame. Frames of other takes (CUT), without a face, out of frame or of
    another person have no landmarks; FROZEN ones have, but show nothing new; EXPOSURE_JUMP, UPSIDE_DOWN and JUMP are marks on usable frames.
    take: (N,) int32, number of the take, counted from 0; only one take is used, the others are CUT.
    split: (N,) uint8, TRAIN, GAP or TEST. is_interpolated: (N,) bool, every 10th training frame, reported apart.
    split_sha256: hash of the split.
    notes: things to tell the user ("2 faces found, tracking the larger one").
    clip_check: list of {"item", "verdict" ("ok" | "warn" | "bad"), "value", "advice"}.
    """

    source_path: str
    source_sha256: str
    size_hw: tuple[int, int]
    fps: float
    kind: str
    is_mirrored: bool
    time_s: np.ndarray
    time_index: np.ndarray
    camera_id: np.ndarray
    source_id: np.ndarray
    focal_prior_px: float
    focal_sigma_log: float
    focal_source: str
    principal_px: np.ndarray
    px_crop_from_px: np.ndarray
    crop_size_hw: tuple[int, int]
    has_face: np.ndarray
    landmarks_px: np.ndarray
    landmarks_depth: np.ndarray
    landmark_confidence: np.ndarray
    matte: np.ndarray
    parsing: np.ndarray
    occlusion: np.ndarray
    sharpness: np.ndarray
    exposure: np.ndarray
    fault: np.ndarray
    take: np.ndarray
    split: np.ndarray
    is_interpolated: np.ndarray
    split_sha256: str
    notes: tuple[str, ...]
    clip_check: tuple[dict[str, Any], ...]

    @property
    def num_samples(self) -> int:
        return len(self.time_s)

    @property
    def is_trackable(self) -> np.ndarray:
        """(N,) bool: frames whose landmarks are the followed person's, at the frame's own time."""
        return self.has_face & (self.fault != FROZEN)

    @property
    def is_train(self) -> np.ndarray:
        return self.split == TRAIN

    @property
    def is_test(self) -> np.ndarray:
        return self.split == TEST

    def replace(self, **changes: object) -> "Capture":
        return dataclasses.replace(self, **changes)  # type: ignore[arg-type]


_JSON_FIELDS = ("size_hw", "crop_size_hw", "notes", "clip_check")
_SCALARS: dict[str, type] = {
    "source_path": str, "source_sha256": str, "fps": float, "kind": str, "is_mirrored": bool, "focal_prior_px": float,
    "focal_sigma_log": float, "focal_source": str, "split_sha256": str,
}


def write_capture(path: Path, capture: Capture) -> None:
    """Writes a capture as one ``.npz`` (docs/formats/capture.md)."""
    arrays: dict[str, np.ndarray] = {"format_version": np.array(FORMAT_VERSION)}
    for field in dataclasses.fields(capture):
        value = getattr(capture, field.name)
        arrays[field.name] = np.array(json.dumps(value)) if field.name in _JSON_FIELDS else np.asarray(value)
    write_arrays(path, arrays)


def read_capture(path: Path) -> Capture:
    """Reads what ``write_capture`` wrote. Raises ``AvatarError`` (bad_input) when the file is damaged."""
    arrays = read_arrays(path)
    version = int(arrays.get("format_version", np.array(0)))
    if version > FORMAT_VERSION:
        raise AvatarError(
            "bad_input", f"{path} was written in format {version}; this version of Video Avatar reads up to {FORMAT_VERSION}.", "Update Video Avatar.", {"path": str(path)},
        )
    if version == 1 and "has_face" in arrays:  # faults were not looked for
        arrays["fault"] = np.where(arrays["has_face"], NONE, NO_FACE).astype(np.uint8)
        arrays["take"] = np.zeros(len(arrays["has_face"]), np.int32)
    missing = [field.name for field in dataclasses.fields(Capture) if field.name not in arrays]
    if missing:
        raise AvatarError("bad_input", f"{path} is no capture: it has no {', '.join(missing[:3])}.", "Run the capture again.", {"path": str(path), "missing": missing})
    values: dict[str, object] = {}
    for field in dataclasses.fields(Capture):
        value = arrays[field.name]
        if field.name in _JSON_FIELDS:
            values[field.name] = tuple(json.loads(str(value)))
        elif field.name in _SCALARS:
            values[field.name] = _SCALARS[field.name](value.item())
        else:
            values[field.name] = value
    return Capture(**values)  # type: ignore[arg-type]
