"""What an avatar package holds, as read from disk. numpy and standard library only."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np

from ..texture.light import ClipLight

FORMAT = "video_avatar"
FORMAT_VERSION = 1
INDEX = "avatar.json"
MESH_FILE = "mesh/head.npz"
CLIP_FILE = "animation/clip.npz"
BACKGROUND_FILE = "animation/background.mp4"
ALBEDO_FILE = "texture/albedo.png"
SEEN_FILE = "texture/seen.png"
MASK_FILE = "texture/mask.png"
LIGHT_FILE = "texture/light.json"
UNWRAPPED_FILE = "texture/unwrapped.png"
UNWRAPPED_ID = "unwrapped"
ONNX_FILE = "dynamic/network.onnx"
NETWORK_FILE = "dynamic/network.npz"
EIGEN_FILE = "dynamic/eigen.npz"
DYNAMIC_FILES = (ONNX_FILE, NETWORK_FILE, EIGEN_FILE)
DYNAMIC_ID, DYNAMIC_KIND = "dynamic", "dynamic_texture"
LIGHT_FORMAT_VERSION = 1
REPORT_FILE = "report.json"
SHEET_FILE = "contact_sheet.png"
HASHED_FILES = (MESH_FILE, CLIP_FILE, BACKGROUND_FILE, ALBEDO_FILE, SEEN_FILE, MASK_FILE, LIGHT_FILE, UNWRAPPED_FILE, *DYNAMIC_FILES)
KNOWN_FILES = (*HASHED_FILES, REPORT_FILE, SHEET_FILE, INDEX)
"""Every file a writer of this version may make, the index last."""
UNITS = "metre"
AXES = "x left of the subject, y up, z out of the face"


@dataclasses.dataclass(frozen=True)
class Control:
    """One handle of the avatar.

    name: ARKit spelling where one exists. unit: "1" for a plain factor. min, max, neutral: range and rest value.
    seen_min, seen_max: range over the training frames. mirror: name of the other side's control, or None.
    moves_kind: "shape_key" or "bone". moves_target: name of that shape key or bone.
    """

    name: str
    unit: str
    min: float
    max: float
    neutral: float
    seen_min: float
    seen_max: float
    mirror: str | None
    moves_kind: str
    moves_target: str


@dataclasses.dataclass(frozen=True)
class AssetFile:
    """One file of an asset. path: inside the package, with forward slashes. sha256: hexadecimal. num_bytes: size."""

    path: str
    sha256: str
    num_bytes: int


@dataclasses.dataclass(frozen=True)
class Asset:
    """One entry of the index.

    id: unique in the package. kind: "mesh", "animation", "texture", ... version: of that kind's format.
    depends_on: ids. controls: names of the controls it answers to. metres_from_asset: scale. info: further facts.
    """

    id: str
    kind: str
    version: int
    files: tuple[AssetFile, ...]
    depends_on: tuple[str, ...]
    controls: tuple[str, ...]
    metres_from_asset: float
    info: dict[str, Any]


@dataclasses.dataclass(frozen=True)
class LandmarkPlaces:
    """Where a detector's points lie: (L,) triangle (-1 = nowhere), (L, 3) barycentric weights, (L,) spread in metres."""

    triangle_ids: np.ndarray
    barycentric: np.ndarray
    spread_m: np.ndarray


@dataclasses.dataclass(frozen=True)
class MeshAsset:
    """The person's head (docs/formats/avatar.md, mesh/head.npz). Root frame: metres, Y up, face along +Z.

    vertices: (V, 3). quads, quad_uv: (Q, 4) with -1 in the last place of a triangle. uv: (T, 2), v up. quad_parts: (Q,)
    into part_names. shape_keys: (E, V, 3) m at value 1, shape_key_limits: (E, 2). joints: (J, 3) rest positions,
    joint_parents: (J,). skin_weights: (V, J). correctives: (9 (J - 1), V, 3) or None. regions: name -> (V,) bool.
    gaze_limits_deg: (4,) In, Out, Down, Up.
    """

    vertices: np.ndarray
    quads: np.ndarray
    uv: np.ndarray
    quad_uv: np.ndarray
    quad_parts: np.ndarray
    part_names: tuple[str, ...]
    shape_key_names: tuple[str, ...]
    shape_keys: np.ndarray
    shape_key_limits: np.ndarray
    joint_names: tuple[str, ...]
    joint_parents: np.ndarray
    joints: np.ndarray
    skin_weights: np.ndarray
    gaze_limits_deg: np.ndarray
    regions: dict[str, np.ndarray]
    correctives: np.ndarray | None = None
    mediapipe478: LandmarkPlaces | None = None

    @property
    def num_vertices(self) -> int:
        return len(self.vertices)

    @property
    def triangles(self) -> np.ndarray:
        """(F, 3) int32: quad q gives (0, 1, 2) and then (0, 2, 3), as landmark places count them."""
        both = np.stack([self.quads[:, [0, 1, 2]], self.quads[:, [0, 2, 3]]], 1).reshape(-1, 3)
        return both[both[:, 2] >= 0]


@dataclasses.dataclass(frozen=True)
class AnimationAsset:
    """The performance (docs/formats/avatar.md, animation/clip.npz): N samples in order of time.

    Raw arrays are what was tracked, ``*_smooth`` what an artist gets. World frame: metres, Y up; cameras in OpenCV axes.
    background: path of the clip for the scene's camera, or None.
    landmark_trust: how far the clip's landmarks were believed beside its pixels, in (0, 1].
    region_names: R parts of the face, none when the tracker did not compare pixels. region_confidence: (N, R) in [0, 1], or None likewise.
    """

    time_s: np.ndarray
    time_index: np.ndarray
    control_names: tuple[str, ...]
    controls: np.ndarray
    joint_rotations: np.ndarray
    world_from_root: np.ndarray
    controls_smooth: np.ndarray
    joint_rotations_smooth: np.ndarray
    world_from_root_smooth: np.ndarray
    world_from_cam: np.ndarray
    px_from_cam: np.ndarray
    size_hw: tuple[int, int]
    focal_source: str
    focal_sigma_log: float
    confidence: np.ndarray
    is_tracked: np.ndarray
    split: np.ndarray
    is_interpolated: np.ndarray
    split_sha256: str
    background: Path | None = None
    region_names: tuple[str, ...] = ()
    region_confidence: np.ndarray | None = None
    landmark_trust: float = 1.0

    @property
    def num_samples(self) -> int:
        return len(self.time_s)


@dataclasses.dataclass(frozen=True)
class TextureAsset:
    """The static texture. All images are square with the side size_px, row 0 is v = 1.

    albedo: sRGB PNG; the clip's light is still in it unless is_delit. seen: 8 bit PNG, 255 where the clip showed the surface.
    mask: 8 bit PNG, 255 where a dynamic texture may paint. light: the clip's light, under which albedo shows what was filmed.
    unwrapped: sRGB PNG, the surface as filmed. The last three are None in packages of older writers.
    """

    albedo: Path
    seen: Path
    size_px: int
    is_delit: bool
    mask: Path | None = None
    light: ClipLight | None = None
    unwrapped: Path | None = None

    @property
    def as_filmed(self) -> Path:
        """The image that holds the clip's light: ``unwrapped``, or the albedo of an older writer."""
        return self.unwrapped or self.albedo


@dataclasses.dataclass(frozen=True)
class AvatarPackage:
    """A package that passed every check.

    folder: where it lies. name: suggested name. fps: average rate of the clip. info: the whole of ``avatar.json``.
    """

    folder: Path
    name: str
    fps: float
    consent: bool
    licences: tuple[str, ...]
    rig_name: str
    source_name: str
    source_sha256: str
    controls: tuple[Control, ...]
    assets: tuple[Asset, ...]
    mesh: MeshAsset
    animation: AnimationAsset
    texture: TextureAsset
    info: dict[str, Any]
