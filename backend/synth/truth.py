"""The truth file of a synthetic clip (docs/formats/truth.md)."""

from __future__ import annotations

import dataclasses
import hashlib
from pathlib import Path

import numpy as np
import torch

from ..errors import AvatarError
from ..geometry.cameras import invert_rigid, transform_points
from ..rig.model import RigModel
from ..rig.posing import PosableHead, posable_head
from ..storage import read_arrays, write_arrays

FORMAT_VERSION = 1


@dataclasses.dataclass(frozen=True)
class Truth:
    """What a synthetic clip shows, exactly. N frames; world and camera conventions of ``track.model.Track``.

    rig_name: name of the rig model. rig_sha256: hash of the rig's shape (``rig_sha256``), so that a truth is not
        read with another version of the rig.
    seed: of the clip. renderer: "fast" or "cycles".
    size_hw: (height, width) of the frame, px. fps: frame rate.
    time_s: (N,) float64, presentation time of each frame.
    identity: (S,) float32, standard deviations. scale: multiplies the rig.
    neutral: (V, 3) float32 m, the person's neutral vertices in the root frame (scale included).
    control_names: E names. controls: (N, E) float32.
    joint_names: J names. joint_rotations: (N, J, 3) float32 axis-angle rad; only the eyes (and a jaw) turn.
    world_from_root: (N, 4, 4) float64, rigid. world_from_cam: (N, 4, 4) float64, OpenCV camera axes.
    px_from_cam: (3, 3) float64.
    light: (9, 3) float32, irradiance / pi in the world frame, spherical harmonics as in ``render.shading`` (for Cycles: of
        the lamps and world used, without shadows).
    blinks_s: (B, 3) float64, start, first fully closed frame and end of each blink, s.
    """

    rig_name: str
    rig_sha256: str
    seed: int
    renderer: str
    size_hw: tuple[int, int]
    fps: float
    time_s: np.ndarray
    identity: np.ndarray
    scale: float
    neutral: np.ndarray
    control_names: tuple[str, ...]
    controls: np.ndarray
    joint_names: tuple[str, ...]
    joint_rotations: np.ndarray
    world_from_root: np.ndarray
    world_from_cam: np.ndarray
    px_from_cam: np.ndarray
    light: np.ndarray
    blinks_s: np.ndarray

    @property
    def num_frames(self) -> int:
        return len(self.time_s)

    @property
    def cam_from_root(self) -> np.ndarray:
        """(N, 4, 4) float64."""
        return invert_rigid(self.world_from_cam) @ self.world_from_root


def rig_sha256(rig: RigModel) -> str:
    """Hash of everything that decides where the vertices of a posed rig lie."""
    digest = hashlib.sha256(rig.name.encode())
    for array in (rig.template, rig.quads, rig.identity_basis, rig.expression_basis, rig.joint_regressor, rig.skin_weights):
        digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()


def truth_head(truth: Truth, rig: RigModel) -> PosableHead:
    """The person of a clip. Raises ``bad_input`` when ``rig`` is not the rig the clip was made with."""
    if rig_sha256(rig) != truth.rig_sha256:
        raise AvatarError(
            "bad_input", f"The synthetic clip was made with another {truth.rig_name} head than this {rig.name}.", "Make the clip again with this version.",
            {"rig": rig.name, "wanted": truth.rig_name},
        )
    return posable_head(rig, torch.from_numpy(truth.identity), truth.scale)


def vertices_cam(truth: Truth, head: PosableHead, frame: int) -> np.ndarray:
    """(V, 3) float32 m, the posed head of one frame in its camera's frame."""
    vertices = head.pose(torch.from_numpy(truth.controls[frame]), torch.from_numpy(truth.joint_rotations[frame])).numpy()
    return np.asarray(transform_points(truth.cam_from_root[frame], vertices.astype(np.float64)), dtype=np.float32)


_SCALARS: dict[str, type] = {"rig_name": str, "rig_sha256": str, "seed": int, "renderer": str, "fps": float, "scale": float}
_TEXTS = ("control_names", "joint_names")


def write_truth(path: Path, truth: Truth) -> None:
    """Writes a truth file."""
    arrays = {"format_version": np.array(FORMAT_VERSION)}
    arrays.update({field.name: np.asarray(getattr(truth, field.name)) for field in dataclasses.fields(truth)})
    write_arrays(path, arrays)


def read_truth(path: Path) -> Truth:
    """Reads what ``write_truth`` wrote. Raises ``bad_input`` when the file is damaged, incomplete or newer than this program."""
    arrays = read_arrays(path)
    if "format_version" not in arrays or int(arrays["format_version"]) > FORMAT_VERSION:
        raise AvatarError("bad_input", f"{path} is no truth file this version can read.", "Make the clip again.", {"path": str(path)})
    missing = [field.name for field in dataclasses.fields(Truth) if field.name not in arrays]
    if missing:
        raise AvatarError("bad_input", f"{path} lacks {', '.join(missing)}.", "Make the clip again.", {"path": str(path)})
    values: dict[str, object] = {}
    for field in dataclasses.fields(Truth):
        value = arrays[field.name]
        if field.name in _TEXTS:
            values[field.name] = tuple(str(text) for text in value)
        elif field.name == "size_hw":
            values[field.name] = (int(value[0]), int(value[1]))
        elif field.name in _SCALARS:
            values[field.name] = _SCALARS[field.name](value.item())
        else:
            values[field.name] = value
    return Truth(**values)  # type: ignore[arg-type]
