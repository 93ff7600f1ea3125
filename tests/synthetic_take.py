"""A capture and a track with known motion, made from formulas, for tests that need something to package."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np

from backend.capture.model import GAP, TEST, TRAIN, Capture
from backend.geometry.cameras import intrinsics
from backend.geometry.rotations import matrices_from_axis_angles
from backend.rig.model import RigModel
from backend.track.model import Track

LANDSCAPE, PORTRAIT = (360, 640), (640, 360)


def synthetic_take(
    rig: RigModel, num_frames: int = 12, fps: float = 25.0, size_hw: tuple[int, int] = LANDSCAPE, principal_shift_px: tuple[float, float] = (0.0, 0.0),
    times_s: np.ndarray | None = None, scale: float = 1.03,
) -> tuple[Capture, Track]:
    """A head that turns, talks and looks around before a still camera.

    Args:
        rig: any head model. num_frames, fps: length and rate. size_hw: upright frame, px.
        principal_shift_px: principal point away from the middle, px (x, y). times_s: presentation times, else regular.
    """
    phase = np.arange(num_frames) / max(num_frames - 1, 1) * 2 * np.pi
    times = np.arange(num_frames) / fps if times_s is None else np.asarray(times_s, float)
    height, width = size_hw
    focal = 1.1 * max(size_hw)
    principal = (width / 2 + principal_shift_px[0], height / 2 + principal_shift_px[1])

    num_controls = len(rig.expression_names)
    wave = 0.5 + 0.5 * np.sin(phase[:, None] * (1 + np.arange(num_controls) % 3) + np.arange(num_controls))
    controls = (rig.expression_limits[:, 0] + wave * (rig.expression_limits[:, 1] - rig.expression_limits[:, 0])).astype(np.float32)
    rotations = np.zeros((num_frames, len(rig.joint_names), 3), np.float32)
    for name in ("eye_left", "eye_right"):
        if name in rig.joint_names:
            joint = rig.joint_names.index(name)
            rotations[:, joint, 0] = 0.12 * np.sin(2 * phase)
            rotations[:, joint, 1] = 0.25 * np.cos(phase) + (0.02 if name == "eye_left" else -0.02)
    if "jaw" in rig.joint_names:
        rotations[:, rig.joint_names.index("jaw"), 0] = 0.1 + 0.1 * np.sin(phase)

    world_from_root = np.tile(np.eye(4), (num_frames, 1, 1))
    turns = np.stack([0.2 * np.sin(phase), 0.5 * np.sin(phase + 0.4), 0.1 * np.cos(phase)], -1)
    world_from_root[:, :3, :3] = matrices_from_axis_angles(turns)
    world_from_root[:, :3, 3] = np.stack([0.02 * np.sin(phase), 0.01 * np.cos(2 * phase), 0.03 * np.sin(2 * phase)], -1)
    world_from_cam = np.tile(np.eye(4), (num_frames, 1, 1))
    world_from_cam[:, :3, :3] = np.diag([1.0, -1.0, -1.0])
    world_from_cam[:, :3, 3] = [0.01, 0.14, 0.75]

    split = np.full(num_frames, TRAIN, np.uint8)
    split[int(0.75 * num_frames):] = GAP
    split[int(0.85 * num_frames):] = TEST
    capture = Capture(
        source_path="/somewhere/private/clip.mp4", source_sha256=hashlib.sha256(b"clip").hexdigest(), size_hw=size_hw, fps=fps, kind="performance",
        is_mirrored=False, time_s=times, time_index=np.arange(num_frames, dtype=np.int32), camera_id=np.zeros(num_frames, np.int32),
        source_id=np.zeros(num_frames, np.int32), focal_prior_px=focal, focal_sigma_log=0.35, focal_source="default", principal_px=np.array(principal),
        px_crop_from_px=np.eye(3), crop_size_hw=(64, 64), has_face=np.ones(num_frames, bool), landmarks_px=np.zeros((num_frames, 478, 2), np.float32),
        landmarks_depth=np.zeros((num_frames, 478), np.float32), landmark_confidence=np.ones(num_frames, np.float32),
        matte=np.zeros((num_frames, 64, 64), np.uint8), parsing=np.zeros((num_frames, 64, 64), np.uint8), occlusion=np.zeros(num_frames, np.float32),
        sharpness=np.ones(num_frames, np.float32), exposure=np.full(num_frames, 0.4, np.float32), fault=np.zeros(num_frames, np.uint8),
        take=np.zeros(num_frames, np.int32), split=split,
        is_interpolated=np.zeros(num_frames, bool), split_sha256=hashlib.sha256(split.tobytes()).hexdigest(), notes=(), clip_check=(),
    )
    identity = np.zeros(rig.identity_basis.shape[2], np.float32)
    identity[:3] = [0.8, -0.6, 0.4][: len(identity)]
    track = Track(
        time_index=capture.time_index, time_s=times, rig_name=rig.name, identity=identity, scale=scale, scale_source="iris", scale_sigma=0.04,
        px_from_cam=intrinsics(focal, principal), focal_source="default", focal_sigma_log=0.3, world_from_cam=world_from_cam, controls=controls,
        joint_rotations=rotations, world_from_root=world_from_root, controls_smooth=controls.copy(), joint_rotations_smooth=rotations.copy(),
        world_from_root_smooth=world_from_root.copy(), residual_percent=np.ones(num_frames, np.float32), confidence=np.ones(num_frames, np.float32),
        is_tracked=np.ones(num_frames, bool),
    )
    return capture, track


def checker_texture(size_px: int = 64) -> tuple[np.ndarray, np.ndarray]:
    """(size, size, 3) uint8 sRGB and its (size, size) seen mask."""
    y, x = np.mgrid[:size_px, :size_px]
    tiles = ((x // 8 + y // 8) % 2)[..., None]
    texture = np.where(tiles, [205, 160, 140], [170, 120, 105]).astype(np.uint8)
    return texture, np.where(x < size_px // 2, 255, 0).astype(np.uint8)


def write_take(folder: Path, rig: RigModel, name: str = "Anna", background_mp4: Path | None = None, overwrite: bool = False, **take: object) -> Path:
    """Packages a synthetic take."""
    from backend.package.write import write_package

    capture, track = synthetic_take(rig, **take)  # type: ignore[arg-type]
    texture, seen = checker_texture()
    return write_package(
        folder, name=name, rig=rig, track=track, capture=capture, texture=texture, seen=seen, background_mp4=background_mp4, consent=True, overwrite=overwrite
    )
