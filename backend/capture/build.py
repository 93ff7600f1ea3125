"""``capture_clip``: from a video file to a ``Capture``."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

from ..config import CaptureConfig
from ..errors import AvatarError
from ..reporter import Reporter
from ..storage import file_sha256
from .follow import PROBE_EVERY_S, Follower, Person, choose_person, empty_landmarks, temporal_consistency
from .landmarks import FaceDetector
from .metadata import focal_prior
from .model import Capture
from .split import make_split, split_sha256
from .timing import average_fps
from .video import VideoInfo, open_clip, walk_frames

STAGE = "capture"
MIN_FRAMES = 2


def capture_clip(path: Path | str, config: CaptureConfig, reporter: Reporter) -> Capture:
    """Reads a clip three times (who is in it; landmarks; masks) and gathers what is known about it.

    Args:
        path: video file. config: settings. reporter: told the progress of stage "capture" in frames.

    Raises:
        AvatarError: ``bad_input`` when the file is missing, no video, without frames, without a face or with too small a face.
        Cancelled: when the reporter was asked to stop.
    """
    path = Path(path)
    info = open_clip(path)
    with FaceDetector() as detector:
        time_s, person, notes = _survey(info, config, detector, reporter)
        landmarks_px, depth, confidence = _read_landmarks(info, time_s, detector, person, reporter)
    num = len(time_s)
    has_face = ~np.isnan(landmarks_px[:, 0, 0])
    confidence = confidence * temporal_consistency(landmarks_px, time_s)
    time_index = np.arange(num, dtype=np.int32)
    split, is_interpolated = make_split(time_s)
    focal_px, focal_sigma_log, focal_source = focal_prior(info.metadata, info.size_hw, config.focal_px)
    height, width = info.size_hw
    px_crop_from_px = crop_transform(landmarks_px, info.size_hw, config.crop_px)
    crop_hw = (config.crop_px, config.crop_px)
    return Capture(
        source_path=str(path), source_sha256=file_sha256(path), size_hw=info.size_hw, fps=average_fps(time_s, info.fps), kind=config.kind,
        is_mirrored=config.is_mirrored, time_s=time_s, time_index=time_index, camera_id=np.zeros(num, np.int32), source_id=np.zeros(num, np.int32),
        focal_prior_px=focal_px, focal_sigma_log=focal_sigma_log, focal_source=focal_source, principal_px=np.array([width / 2, height / 2]),
        px_crop_from_px=px_crop_from_px, crop_size_hw=crop_hw, has_face=has_face, landmarks_px=landmarks_px, landmarks_depth=depth,
        landmark_confidence=(confidence * has_face).astype(np.float32),
        matte=np.zeros((num, *crop_hw), np.uint8), parsing=np.zeros((num, *crop_hw), np.uint8), occlusion=np.zeros(num, np.float32),
        sharpness=np.zeros(num, np.float32), exposure=np.zeros(num, np.float32),
        split=split, is_interpolated=is_interpolated, split_sha256=split_sha256(time_index, split, is_interpolated), notes=notes, clip_check=(),
    )


def crop_transform(landmarks_px: np.ndarray, size_hw: tuple[int, int], crop_px: int) -> np.ndarray:
    """(3, 3) float64: frame pixels to pixels of the clip's one square crop, which holds the whole head in every frame.

    The face mesh's box over all frames grows by 60 % upwards (hair), 35 % sideways and 45 % downwards (neck) of the median face width.
    """
    seen = landmarks_px[~np.isnan(landmarks_px[:, 0, 0])]
    low, high = np.nanmin(seen, axis=(0, 1)).astype(np.float64), np.nanmax(seen, axis=(0, 1)).astype(np.float64)
    face_px = float(np.median(np.ptp(seen[:, :, 0], axis=1)))
    low -= np.array([0.35, 0.6]) * face_px
    high += np.array([0.35, 0.45]) * face_px
    side = float((high - low).max())
    scale = crop_px / side
    corner = (low + high) / 2 - side / 2
    return np.array([[scale, 0, -scale * corner[0]], [0, scale, -scale * corner[1]], [0, 0, 1.0]])


def cut_crop(rgb: np.ndarray, px_crop_from_px: np.ndarray, crop_px: int) -> np.ndarray:
    """(crop, crop, 3) uint8: the clip's crop of one frame; black outside the frame."""
    scale = px_crop_from_px[0, 0]
    shrink = 1 / scale
    picture, matrix = rgb, px_crop_from_px[:2].copy()
    if shrink > 1.1:
        picture = cv2.GaussianBlur(picture, (0, 0), 0.5 * float(np.sqrt(shrink * shrink - 1)))
    matrix[:, 2] += matrix[:, :2] @ [0.5, 0.5] - 0.5
    return cv2.warpAffine(picture, matrix, (crop_px, crop_px), flags=cv2.INTER_LINEAR)


def _survey(info: VideoInfo, config: CaptureConfig, detector: FaceDetector, reporter: Reporter) -> tuple[np.ndarray, Person, tuple[str, ...]]:
    """Presentation times of all usable frames, the person to follow, and notes."""
    limit = config.max_frames or 2**31
    total = min(limit, info.num_frames or 1)
    stride = max(1, min(round(info.fps * PROBE_EVERY_S), total // 12 or 1))
    times: list[float] = []
    probes = []
    for index, time_s, rgb in walk_frames(info.path, lambda index: index < limit and index % stride == 0):
        if index >= limit:
            break
        times.append(time_s)
        if rgb is not None:
            probes.append((index, detector.detect(rgb, is_thorough=True)))
        if index % 16 == 0:
            reporter.progress(STAGE, 0.2 * min(index, total), total, "frames")
    if len(times) < MIN_FRAMES:
        raise AvatarError(
            "bad_input", f"{info.path.name} has {len(times)} frame(s) that can be decoded; at least {MIN_FRAMES} are needed.", "Use a longer clip.",
            {"path": str(info.path), "num_frames": len(times)},
        )
    person, notes = choose_person(probes, config.min_face_px, info.path.name)
    if not config.max_frames and info.num_frames > len(times):
        share = 100 * len(times) / info.num_frames
        notes = (f"Only {len(times)} of {info.num_frames} frames ({share:.0f} %) of {info.path.name} can be decoded; the rest is missing or damaged.", *notes)
    return np.array(times), person, notes


def _read_landmarks(
    info: VideoInfo, time_s: np.ndarray, detector: FaceDetector, person: Person, reporter: Reporter
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    num = len(time_s)
    landmarks_px, depth = empty_landmarks(num)
    confidence = np.zeros(num)
    follower = Follower(detector, person)
    for index, _, rgb in walk_frames(info.path, lambda index: index < num):
        if rgb is None:
            break
        face = follower.find(rgb, index)
        if face is not None:
            landmarks_px[index], depth[index], confidence[index] = face.landmarks_px, face.depth_px, face.confidence
        reporter.progress(STAGE, 0.2 * num + 0.8 * (index + 1), num, "frames")
    return landmarks_px, depth, confidence
