"""A package on disk as something that can be posed, measured and drawn."""

from __future__ import annotations

import dataclasses

import cv2
import numpy as np

from ..avatars.instant import Drive
from ..avatars.textured_mesh import TexturedMesh, state_of
from ..capture.colour import srgb_decode
from ..errors import AvatarError
from ..geometry.cameras import invert_rigid
from ..package.model import AvatarPackage
from ..package.posing import posable_head_of
from ..rig.model import LandmarkEmbedding
from .performance import Performance


def performance_of(package: AvatarPackage) -> Performance:
    """The raw motion of a package. Raises ``bad_input`` when its mesh carries no landmark embedding."""
    mesh, clip = package.mesh, package.animation
    if mesh.mediapipe478 is None:
        raise AvatarError("bad_input", f"{package.folder} has no landmark embedding, so it cannot be measured.", "Make the avatar again.", {})
    places = mesh.mediapipe478
    return Performance(
        head=posable_head_of(mesh), triangles=mesh.triangles,
        embedding=LandmarkEmbedding(places.triangle_ids, places.barycentric, places.spread_m),
        regions=mesh.regions, control_names=clip.control_names, controls=clip.controls, joint_rotations=clip.joint_rotations,
        cam_from_root=invert_rigid(clip.world_from_cam) @ clip.world_from_root, px_from_cam=clip.px_from_cam, time_s=clip.time_s,
        time_index=clip.time_index, is_tracked=clip.is_tracked,
    )


def smooth_performance_of(package: AvatarPackage) -> Performance:
    """The smoothed motion of a package, as an artist gets it."""
    clip = package.animation
    return dataclasses.replace(
        performance_of(package), controls=clip.controls_smooth, joint_rotations=clip.joint_rotations_smooth,
        cam_from_root=invert_rigid(clip.world_from_cam) @ clip.world_from_root_smooth,
    )


def textured_mesh_of(package: AvatarPackage) -> TexturedMesh:
    """The package's mesh with its texture as filmed, the static baseline. Raises ``bad_input`` when the texture cannot be read."""
    mesh, path = package.mesh, package.texture.as_filmed
    filmed = cv2.imread(str(path), cv2.IMREAD_COLOR)
    if filmed is None:
        raise AvatarError("bad_input", f"{path} cannot be read as an image.", "Make the avatar again.", {"path": str(path)})
    linear = srgb_decode(np.arange(256) / 255).astype(np.float32)[filmed[..., ::-1]]
    return state_of(posable_head_of(mesh), mesh.quads, mesh.uv, mesh.quad_uv, mesh.quad_parts, mesh.part_names, linear)


def drives_of(package: AvatarPackage, samples: np.ndarray) -> Drive:
    """The tracked (raw) drives of some samples."""
    clip = package.animation
    return Drive(clip.controls[samples], clip.joint_rotations[samples], clip.world_from_root[samples])


def frozen_drives_of(package: AvatarPackage, samples: np.ndarray) -> Drive:
    """The same head poses with the face frozen: controls and joints at their median over the tracked training frames."""
    clip = package.animation
    train = (clip.split == 0) & clip.is_tracked
    train = train if train.any() else np.ones(len(clip.split), bool)
    controls, joints = np.median(clip.controls[train], axis=0), np.median(clip.joint_rotations[train], axis=0)
    return Drive(
        np.tile(controls, (len(samples), 1)).astype(np.float32), np.tile(joints, (len(samples), 1, 1)).astype(np.float32), clip.world_from_root[samples],
    )
