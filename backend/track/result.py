"""From solved unknowns to the ``Track`` others read: metric scale, world frame, confidence, smoothing."""

from __future__ import annotations

import numpy as np

from ..capture.model import TRAIN, Capture
from ..config import TrackConfig
from ..geometry.cameras import intrinsics
from ..rig.model import RigModel
from . import point_roles as names
from .energy import Shared
from .face_regions import REGIONS
from .initial_pose import CAM_FROM_UPRIGHT
from .landmark_model import LandmarkModel
from .model import Track
from .pixels import PixelResult
from .scale import Scale, estimate_scale
from .smoothing import smooth_rotations, smooth_values
from .state import FrameStates, Unknowns


def assemble_track(
    capture: Capture, rig: RigModel, model: LandmarkModel, unknowns: Unknowns, shared: Shared, states: FrameStates, residual: np.ndarray,
    trust: np.ndarray, focal_sigma: float, focal_source: str, config: TrackConfig, chains: list[slice], pixels: PixelResult | None = None,
) -> Track:
    """Builds the track; see ``Track`` for frames and units.

    Args:
        residual: (N,) percent, NaN without a face. trust: (N,) of the landmarks. chains: runs that smoothing may not cross.
        pixels: what the photometric fit found, if it ran.
    """
    scale = Scale(config.scale, "user", 0.01) if config.scale > 0 else metric_scale(capture, model, shared, states, trust)
    is_tracked = trust > 0
    rotation = CAM_FROM_UPRIGHT @ states.cam_from_root_rotation
    position = states.translation_m * scale.factor @ CAM_FROM_UPRIGHT.T
    training = is_tracked & (capture.split == TRAIN)
    origin = position[training].mean(0)

    controls = states.controls.copy()
    _keep_lips_in_order(rig, controls)
    joints = np.zeros((len(states), len(rig.joint_names), 3))
    for name, vectors in unknowns.joint_rotations(states).items():
        joints[:, rig.joint_names.index(name)] = vectors

    smooth_controls, smooth_joints, smooth_rotation, smooth_position = smooth_motion(rig, controls, joints, rotation, position, config.smooth_frames, chains)
    confidence = frame_confidence(residual, trust, training)
    if pixels is not None:
        confidence = confidence * frame_confidence(pixels.residual, np.isfinite(pixels.residual).astype(float), training)
    world_from_cam = np.eye(4)
    world_from_cam[:3, :3] = CAM_FROM_UPRIGHT
    world_from_cam[:3, 3] = -origin
    return Track(
        time_index=capture.time_index,
        time_s=capture.time_s,
        rig_name=rig.name,
        identity=shared.identity.astype(np.float32),
        scale=scale.factor,
        scale_source=scale.source,
        scale_sigma=scale.sigma,
        px_from_cam=intrinsics(shared.focal_px, tuple(shared.principal_px)),
        focal_source=focal_source,
        focal_sigma_log=focal_sigma,
        world_from_cam=np.tile(world_from_cam, (len(states), 1, 1)),
        controls=controls.astype(np.float32),
        joint_rotations=joints.astype(np.float32),
        world_from_root=rigid_transforms(rotation, position - origin),
        controls_smooth=smooth_controls.astype(np.float32),
        joint_rotations_smooth=smooth_joints.astype(np.float32),
        world_from_root_smooth=rigid_transforms(smooth_rotation, smooth_position - origin),
        residual_percent=np.where(is_tracked, residual, np.nan).astype(np.float32),
        confidence=confidence.astype(np.float32),
        is_tracked=is_tracked,
        light=(np.zeros((0, 3)) if pixels is None else _upright_light(pixels.light)).astype(np.float32),
        photometric_residual=np.full(len(states), np.nan, np.float32) if pixels is None else pixels.residual.astype(np.float32),
        region_names=() if pixels is None else REGIONS,
        region_confidence=np.zeros((len(states), 0), np.float32) if pixels is None else np.where(is_tracked[:, None], pixels.regions, 0).astype(np.float32),
        landmark_trust=1.0 if pixels is None else pixels.trust,
        chunk_disagreement_px=0.0 if pixels is None else pixels.disagreement_px,
    )


def smooth_motion(
    rig: RigModel, controls: np.ndarray, joints: np.ndarray, rotation: np.ndarray, position: np.ndarray, sigma_frames: float, chains: list[slice]
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Controls (N, E), joint rotations (N, J, 3), root rotation (N, 3, 3) and position (N, 3) smoothed for animation; eyes and blinks less."""
    per_control = np.array([0.4 * sigma_frames if name.startswith(("eyeBlink", "eyeLook")) else sigma_frames for name in rig.expression_names])
    smooth_controls = np.clip(smooth_values(controls, per_control, chains), rig.expression_limits[:, 0], rig.expression_limits[:, 1])
    _keep_lips_in_order(rig, smooth_controls)
    smooth_joints = smooth_values(joints.reshape(len(joints), -1), 0.4 * sigma_frames, chains).reshape(joints.shape)
    return smooth_controls, smooth_joints, smooth_rotations(rotation, sigma_frames, chains), smooth_values(position, sigma_frames, chains)


def metric_scale(capture: Capture, model: LandmarkModel, shared: Shared, states: FrameStates, trust: np.ndarray) -> Scale:
    """Size of the person from open, roughly frontal eyes of training frames."""
    training = np.flatnonzero((trust > 0) & (capture.split == TRAIN))
    facing = states.cam_from_root_rotation[training, 2, 2] < -0.9
    chosen = training[facing] if facing.sum() >= 3 else training
    blink = [index for index, name in enumerate(model.expression_names) if name.startswith("eyeBlink")]
    chosen = chosen[(states.controls[chosen][:, blink] < 0.3).all(1)]
    diameters = []
    for centre in names.IRIS_CENTRES:
        ring = capture.landmarks_px[chosen][:, centre + 1 : centre + 5].astype(np.float64)
        width = np.linalg.norm(ring[:, 0] - ring[:, 2], axis=-1)
        joint = model.joint("eye_left" if centre == names.IRIS_CENTRES[1] else "eye_right")
        if joint is not None:
            eye = joint.centre + joint.centre_identity @ shared.identity
            depth = (states.cam_from_root_rotation[chosen] @ eye)[:, 2] + states.translation_m[chosen, 2]
            diameters.append(1000 * width * depth / shared.focal_px)
    eyes = [model.joint(name) for name in ("eye_left", "eye_right")]
    pupil_distance = float("nan")
    if eyes[0] is not None and eyes[1] is not None:
        centres = [eye.centre + eye.centre_identity @ shared.identity for eye in eyes if eye is not None]
        pupil_distance = float(1000 * np.linalg.norm(centres[0] - centres[1]))
    return estimate_scale(np.concatenate(diameters) if diameters else np.zeros(0), pupil_distance)


def frame_confidence(residual: np.ndarray, trust: np.ndarray, training: np.ndarray) -> np.ndarray:
    """(N,) in [0, 1]: trust in the landmarks, lowered where the fit is worse than usual for this clip."""
    known = residual[training & np.isfinite(residual)]
    usual = float(np.median(known)) if len(known) else 1.0
    spread = float(1.4826 * np.median(np.abs(known - usual))) if len(known) else 1.0
    excess = np.clip((residual - usual) / max(3 * spread, 0.15 * usual, 1e-6), 0, None)
    return np.where(trust > 0, np.clip(trust, 0, 1) * np.exp(-0.5 * np.nan_to_num(excess, nan=9.0) ** 2), 0)


def _keep_lips_in_order(rig: RigModel, controls: np.ndarray) -> None:
    """mouthClose never exceeds jawOpen: lips cannot close further than the jaw opened them. Writes in place."""
    if {"mouthClose", "jawOpen"} <= set(rig.expression_names):
        close, opened = rig.expression_names.index("mouthClose"), rig.expression_names.index("jawOpen")
        controls[:, close] = np.minimum(controls[:, close], controls[:, opened])


def _upright_light(light: np.ndarray) -> np.ndarray:
    """(9, 3) from the camera's frame to the world's: half a turn about x, under which the basis functions keep or change sign."""
    return light * np.array([1, -1, -1, 1, -1, 1, 1, -1, 1.0])[:, None]


def rigid_transforms(rotation: np.ndarray, position: np.ndarray) -> np.ndarray:
    """(N, 3, 3) and (N, 3) to (N, 4, 4)."""
    out = np.tile(np.eye(4), (len(rotation), 1, 1))
    out[:, :3, :3], out[:, :3, 3] = rotation, position
    return out
