"""The result of tracking: one person, one camera, and a pose for every sample of the clip."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np

from ..errors import AvatarError
from ..storage import read_arrays, write_arrays

FORMAT_VERSION = 2


@dataclasses.dataclass(frozen=True)
class Track:
    """Indexed like the capture it came from (N samples, ``time_index`` equal).

    World frame: metres, Y up, the camera looks along -Z, origin at the mean position of the rig's root over the
    tracked training frames. ``world_from_root`` places the rig's root frame (``rig.posing`` vertices) in it.

    time_index: (N,) int32. time_s: (N,) float64.
    rig_name: name of the rig model.
    identity: (S,) float32, standard deviations. scale: multiplies the rig (1 = the rig's own size).
    scale_source: "iris", "pupil_distance", "iris+pupil_distance" or "user". scale_sigma: relative.
    px_from_cam: (3, 3) float64 K, one for the clip. focal_source: as in the capture, or "estimated".
    focal_sigma_log: posterior uncertainty of the focal length (natural log).
    world_from_cam: (N, 4, 4) float64, OpenCV camera axes.
    controls: (N, E) float32 in the rig's order and limits. Raw.
    joint_rotations: (N, J, 3) float32, axis-angle rad; only the eyes (and a jaw bone, if any) turn, root, neck and head stay 0.
    world_from_root: (N, 4, 4) float64, rigid.
    controls_smooth, joint_rotations_smooth, world_from_root_smooth: the same after smoothing, for animation only.
    residual_percent: (N,) float32, mean landmark distance, percent of the outer-eye distance; NaN where no face was found.
    confidence: (N,) float32 in [0, 1]; 0 where the pose is bridged.
    is_tracked: (N,) bool.
    light: (9, 3) float32 irradiance / pi, world frame, of the clip; the mean shade of the seen skin is 1. (0, 3) when pixels were not compared.
    photometric_residual: (N,) float32, root mean square sRGB difference over the seen skin; NaN when unknown.
    region_names: R names. region_confidence: (N, R) float32 in [0, 1]. chunk_disagreement_px: mean over the frames that two chunks solved.
    landmark_trust: how far the landmarks were believed beside the pixels, in (0, 1] (``refine.landmark_trust``).
    """

    time_index: np.ndarray
    time_s: np.ndarray
    rig_name: str
    identity: np.ndarray
    scale: float
    scale_source: str
    scale_sigma: float
    px_from_cam: np.ndarray
    focal_source: str
    focal_sigma_log: float
    world_from_cam: np.ndarray
    controls: np.ndarray
    joint_rotations: np.ndarray
    world_from_root: np.ndarray
    controls_smooth: np.ndarray
    joint_rotations_smooth: np.ndarray
    world_from_root_smooth: np.ndarray
    residual_percent: np.ndarray
    confidence: np.ndarray
    is_tracked: np.ndarray
    light: np.ndarray = dataclasses.field(default_factory=lambda: np.zeros((0, 3), np.float32))
    photometric_residual: np.ndarray = dataclasses.field(default_factory=lambda: np.zeros(0, np.float32))
    region_names: tuple[str, ...] = ()
    region_confidence: np.ndarray = dataclasses.field(default_factory=lambda: np.zeros((0, 0), np.float32))
    chunk_disagreement_px: float = 0.0
    landmark_trust: float = 1.0

    @property
    def num_samples(self) -> int:
        return len(self.time_index)

    def replace(self, **changes: object) -> "Track":
        return dataclasses.replace(self, **changes)  # type: ignore[arg-type]


_SCALARS: dict[str, type] = {"rig_name": str, "scale": float, "scale_source": str, "scale_sigma": float, "focal_source": str, "focal_sigma_log": float, "chunk_disagreement_px": float, "landmark_trust": float}


def write_track(path: Path, track: Track) -> None:
    """Writes a track as one ``.npz`` (docs/formats/track.md)."""
    arrays = {"format_version": np.array(FORMAT_VERSION)}
    arrays.update({field.name: np.asarray(getattr(track, field.name)) for field in dataclasses.fields(track)})
    write_arrays(path, arrays)


def read_track(path: Path) -> Track:
    """Reads what ``write_track`` wrote. Raises ``AvatarError`` (bad_input) when the file is damaged."""
    arrays = read_arrays(path)
    version = int(arrays["format_version"]) if "format_version" in arrays else 0
    missing = [field.name for field in dataclasses.fields(Track) if field.name not in arrays]
    if version != FORMAT_VERSION or missing:
        text = f"{path} is a track of format {version}; this program reads {FORMAT_VERSION}."
        raise AvatarError("bad_input", text, "Reconstruct the clip again.", {"path": str(path), "missing": missing})
    values: dict[str, object] = {
        field.name: _SCALARS[field.name](arrays[field.name].item()) if field.name in _SCALARS else arrays[field.name] for field in dataclasses.fields(Track)
    }
    values["region_names"] = tuple(str(name) for name in arrays["region_names"])
    return Track(**values)  # type: ignore[arg-type]
