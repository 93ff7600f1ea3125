"""Which frames are unwrapped: training frames only, spread over poses and expressions, the sharp ones first."""

from __future__ import annotations

import numpy as np

from ..capture.model import Capture
from ..errors import AvatarError
from ..geometry.cameras import invert_rigid
from ..geometry.rotations import axis_angles_from_matrices
from ..track.model import Track

ANGLE_STEP_RAD = 0.15
"""Turning the head this far counts as much as a control going from 0 to 1/2 or the gaze turning by twice as much."""


def usable_frames(capture: Capture, track: Track) -> np.ndarray:
    """(n,) int: tracked training samples. Gap, test and the frames reported as interpolated are never among them."""
    return np.flatnonzero(capture.is_train & ~capture.is_interpolated & capture.has_face & track.is_tracked)


def choose_frames(capture: Capture, track: Track, num_frames: int) -> np.ndarray:
    """Samples to unwrap, in order of time.

    Farthest-point selection over head rotation, gaze and controls, where the distance is multiplied by how sharp and
    confident a frame is among the usable ones. Starts at the sharpest frame near the median pose.

    Raises:
        AvatarError: bad_input when no training frame was tracked.
    """
    usable = usable_frames(capture, track)
    if not len(usable):
        raise AvatarError("bad_input", "No training frame of the clip was tracked, so there is nothing to make a texture from.", "Use a clip that shows the face.")
    if len(usable) <= num_frames:
        return usable
    cam_from_root = invert_rigid(track.world_from_cam[usable]) @ track.world_from_root[usable]
    relative = cam_from_root[:, :3, :3] @ np.swapaxes(cam_from_root[len(usable) // 2, :3, :3], -1, -2)
    angles = axis_angles_from_matrices(relative) / ANGLE_STEP_RAD
    gaze = track.joint_rotations[usable].reshape(len(usable), -1) / (2 * ANGLE_STEP_RAD)
    features = np.concatenate([angles, gaze, 2 * track.controls[usable]], 1).astype(np.float64)
    features -= np.median(features, axis=0)
    quality = _rank(capture.sharpness[usable]) * (0.25 + 0.75 * np.clip(track.confidence[usable], 0, 1)) * (1 - 0.7 * np.clip(capture.occlusion[usable], 0, 1))
    first = int(np.argmax(quality / (1 + np.linalg.norm(features, axis=1))))
    chosen = [first]
    distance = np.linalg.norm(features - features[first], axis=1)
    while len(chosen) < num_frames:
        score = distance * (0.2 + quality)
        score[chosen] = -1
        best = int(np.argmax(score))
        chosen.append(best)
        distance = np.minimum(distance, np.linalg.norm(features - features[best], axis=1))
    return np.sort(usable[chosen])


def frame_weights(capture: Capture, samples: np.ndarray) -> np.ndarray:
    """(n,) float: sharper frames count more, at most four times as much as the blurred ones."""
    sharpness = np.maximum(np.nan_to_num(capture.sharpness[samples].astype(np.float64)), 0)
    reference = max(float(np.percentile(sharpness, 90)), 1e-9)
    return np.clip(sharpness / reference, 0.25, 1.0)


def _rank(values: np.ndarray) -> np.ndarray:
    """0 for the smallest to 1 for the largest."""
    order = np.argsort(np.argsort(np.nan_to_num(values), kind="stable"), kind="stable")
    return order / max(len(values) - 1, 1)
