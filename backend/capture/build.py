"""``capture_clip``: from a video file to a ``Capture``."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np

from ..config import CaptureConfig
from ..errors import AvatarError
from ..reporter import Reporter
from ..storage import file_sha256
from .clip_check import check_clip
from .follow import PROBE_EVERY_S, Follower, Person, choose_person, empty_landmarks, temporal_consistency
from .landmarks import FaceDetector
from .masks import crop_transform, head_patch, make_masks
from .metadata import focal_prior
from .model import TRAIN, Capture
from .prefetch import prefetched
from .quality import face_sharpness
from .split import make_split, split_sha256
from .timing import average_fps
from .video import VideoInfo, open_clip, walk_frames

STAGE = "capture"
MIN_FRAMES = 2
NUM_PATCHES = 40
"""Training frames from which the colours of the face are learnt."""


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
        split, is_interpolated = make_split(time_s)
        look = _look_at_faces(info, time_s, split == TRAIN, detector, person, reporter)
    num = len(time_s)
    has_face = ~np.isnan(look.landmarks_px[:, 0, 0])
    time_index = np.arange(num, dtype=np.int32)
    focal_px, focal_sigma_log, focal_source = focal_prior(info.metadata, info.size_hw, config.focal_px)
    height, width = info.size_hw
    px_crop_from_px = crop_transform(look.landmarks_px, config.crop_px)
    masks = make_masks(info.path, look.landmarks_px, look.patches, px_crop_from_px, config.crop_px, lambda done: reporter.progress(STAGE, 0.6 * num + 0.4 * done, num, "frames"))
    consistency = temporal_consistency(look.landmarks_px, time_s)
    clip_check = check_clip(
        time_s, look.landmarks_px, look.depth_px, look.face_width_px, look.sharpness, masks.exposure, masks.burnt, masks.occlusion, focal_source,
    )
    if not has_face.all():
        notes = (*notes, f"No face in {int((~has_face).sum())} of {num} frames, the first is frame {int(np.argmin(has_face))}.")
    return Capture(
        source_path=str(path), source_sha256=file_sha256(path), size_hw=info.size_hw, fps=average_fps(time_s, info.fps), kind=config.kind,
        is_mirrored=config.is_mirrored, time_s=time_s, time_index=time_index, camera_id=np.zeros(num, np.int32), source_id=np.zeros(num, np.int32),
        focal_prior_px=focal_px, focal_sigma_log=focal_sigma_log, focal_source=focal_source, principal_px=np.array([width / 2, height / 2]),
        px_crop_from_px=px_crop_from_px, crop_size_hw=(config.crop_px, config.crop_px), has_face=has_face, landmarks_px=look.landmarks_px,
        landmarks_depth=look.depth_px, landmark_confidence=(look.confidence * consistency * has_face).astype(np.float32),
        matte=masks.matte, parsing=masks.parsing, occlusion=masks.occlusion, sharpness=look.sharpness, exposure=masks.exposure,
        split=split, is_interpolated=is_interpolated, split_sha256=split_sha256(time_index, split, is_interpolated), notes=notes, clip_check=clip_check,
    )


def _survey(info: VideoInfo, config: CaptureConfig, detector: FaceDetector, reporter: Reporter) -> tuple[np.ndarray, Person, tuple[str, ...]]:
    """Presentation times of all usable frames, the person to follow, and notes."""
    limit = config.max_frames or 2**31
    total = min(limit, info.expected_frames)
    stride = max(1, min(round(info.fps * PROBE_EVERY_S), total // 12 or 1))
    times: list[float] = []
    probes = []
    for index, time_s, rgb in prefetched(walk_frames(info.path, lambda index: index < limit and index % stride == 0)):
        if index >= limit:
            break
        times.append(time_s)
        if rgb is not None:
            probes.append((index, detector.detect(rgb, is_thorough=True)))
        if index % 16 == 0:
            reporter.progress(STAGE, 0.1 * min(index, total), total, "frames")
    if len(times) < MIN_FRAMES:
        raise AvatarError(
            "bad_input", f"{info.path.name} has {len(times)} frame(s) that can be decoded; at least {MIN_FRAMES} are needed.", "Use a longer clip.",
            {"path": str(info.path), "num_frames": len(times)},
        )
    person, notes = choose_person(probes, config.min_face_px, info.path.name)
    missing = info.expected_frames - len(times)
    if not config.max_frames and missing > max(2, 0.01 * info.expected_frames):
        share = 100 * len(times) / info.expected_frames
        notes = (f"Only {len(times)} of {info.expected_frames} frames ({share:.0f} %) of {info.path.name} can be decoded; the rest is missing or damaged.", *notes)
    return np.array(times), person, notes


@dataclasses.dataclass(frozen=True)
class _Look:
    """What the landmark pass found. Arrays as in ``Capture``; patches: (rgb, landmarks in patch pixels) of some training frames."""

    landmarks_px: np.ndarray
    depth_px: np.ndarray
    confidence: np.ndarray
    face_width_px: np.ndarray
    sharpness: np.ndarray
    patches: list[tuple[np.ndarray, np.ndarray]]


def _look_at_faces(
    info: VideoInfo, time_s: np.ndarray, is_train: np.ndarray, detector: FaceDetector, person: Person, reporter: Reporter
) -> _Look:
    num = len(time_s)
    landmarks_px, depth_px = empty_landmarks(num)
    confidence, face_width_px, sharpness = np.zeros(num), np.full(num, np.nan), np.zeros(num, np.float32)
    train = np.flatnonzero(is_train)
    patch_frames = set(train[np.linspace(0, len(train) - 1, min(NUM_PATCHES, len(train))).astype(int)].tolist())
    patches = []
    follower = Follower(detector, person)
    for index, _, rgb in prefetched(walk_frames(info.path, lambda index: index < num)):
        if rgb is None:
            break
        face = follower.find(rgb, index)
        if face is not None:
            landmarks_px[index], depth_px[index], confidence[index] = face.landmarks_px, face.depth_px, face.confidence
            face_width_px[index] = face.width_px
            sharpness[index] = face_sharpness(rgb, face.landmarks_px)
            if index in patch_frames:
                patches.append(head_patch(rgb, face.landmarks_px))
        reporter.progress(STAGE, 0.1 * num + 0.5 * (index + 1), num, "frames")
    if not patches:
        raise AvatarError(
            "bad_input", f"The face in {info.path.name} is seen in too few frames ({int((confidence > 0).sum())} of {num}).",
            "Use a clip in which the face is visible most of the time.", {"path": str(info.path), "num_frames": num},
        )
    return _Look(landmarks_px, depth_px, confidence, face_width_px, sharpness, patches)
