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
from .faults import MAX_OUTSIDE, ROLL_DEG, assemble_faults, fault_notes, roll_deg, share_outside
from .follow import PROBE_EVERY_S, Follower, Person, choose_person, empty_landmarks, temporal_consistency
from .landmarks import Face, FaceDetector
from .masks import crop_transform, head_patch, make_masks
from .metadata import focal_prior
from .model import FROZEN, JUMP, NONE, TRAIN, Capture
from .prefetch import prefetched
from .quality import face_sharpness
from .same_face import FaceLook, face_look
from .split import make_split, split_sha256
from .takes import Takes, find_takes, frame_thumb, take_notes
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
        survey = _survey(info, config, detector, reporter)
        time_s, notes = survey.time_s, survey.notes
        split, is_interpolated = make_split(time_s, *survey.takes.range_of(survey.used_take))
        look = _look_at_faces(info, survey, split == TRAIN, detector, reporter)
    num = len(time_s)
    has_face = ~np.isnan(look.landmarks_px[:, 0, 0])
    time_index = np.arange(num, dtype=np.int32)
    focal_px, focal_sigma_log, focal_source = focal_prior(info.metadata, info.size_hw, config.focal_px)
    height, width = info.size_hw
    px_crop_from_px = crop_transform(look.landmarks_px, config.crop_px)
    masks = make_masks(
        info.path, look.landmarks_px, look.patches, px_crop_from_px, config.crop_px, lambda done: reporter.progress(STAGE, 0.6 * num + 0.4 * done, num, "frames"), survey.is_used
    )
    fault = assemble_faults(has_face, look.fault, ~survey.is_used, survey.takes.is_frozen, look.landmarks_px, masks.exposure, info.size_hw)
    _check_motion(path, has_face, fault)
    consistency = np.where(fault == JUMP, 1.0, temporal_consistency(look.landmarks_px, time_s)) * np.clip(1 - share_outside(look.landmarks_px, info.size_hw) / MAX_OUTSIDE, 0, 1)
    used = slice(*survey.takes.range_of(survey.used_take))
    clip_check = check_clip(
        time_s[used], look.landmarks_px[used], look.depth_px[used], look.face_width_px[used], look.sharpness[used], masks.exposure[used], masks.burnt[used],
        masks.occlusion[used], focal_source,
    )
    missing = np.flatnonzero(~has_face[used])
    if len(missing):
        notes = (*notes, f"No face in {len(missing)} of {len(has_face[used])} frames, the first is frame {used.start + int(missing[0])}.")
    notes = (*notes, *fault_notes(fault))
    return Capture(
        source_path=str(path), source_sha256=file_sha256(path), size_hw=info.size_hw, fps=average_fps(time_s, info.fps), kind=config.kind,
        is_mirrored=config.is_mirrored, time_s=time_s, time_index=time_index, camera_id=np.zeros(num, np.int32), source_id=np.zeros(num, np.int32),
        focal_prior_px=focal_px, focal_sigma_log=focal_sigma_log, focal_source=focal_source, principal_px=np.array([width / 2, height / 2]),
        px_crop_from_px=px_crop_from_px, crop_size_hw=(config.crop_px, config.crop_px), has_face=has_face, landmarks_px=look.landmarks_px,
        landmarks_depth=look.depth_px, landmark_confidence=(look.confidence * consistency * has_face).astype(np.float32),
        matte=masks.matte, parsing=masks.parsing, occlusion=masks.occlusion, sharpness=look.sharpness, exposure=masks.exposure,
        fault=fault, take=survey.takes.take, split=split, is_interpolated=is_interpolated, split_sha256=split_sha256(time_index, split, is_interpolated), notes=notes, clip_check=clip_check,
    )


@dataclasses.dataclass(frozen=True)
class _Survey:
    """time_s: (N,) presentation times of all usable frames. takes: of the clip. used_take: number of the one that is used.
    is_used: (N,) bool, its frames without interruptions. person: to follow."""

    time_s: np.ndarray
    takes: Takes
    used_take: int
    is_used: np.ndarray
    person: Person
    notes: tuple[str, ...]


def _survey(info: VideoInfo, config: CaptureConfig, detector: FaceDetector, reporter: Reporter) -> _Survey:
    """Times, takes, the take to use, the person to follow in it, and notes."""
    limit = config.max_frames or 2**31
    total = min(limit, info.expected_frames)
    stride = max(1, min(round(info.fps * PROBE_EVERY_S), total // 12 or 1))
    times: list[float] = []
    thumbs: list[np.ndarray] = []
    probes: list[tuple[int, list[Face]]] = []
    looks: list[list[FaceLook]] = []
    frames = walk_frames(info.path, lambda index: index < limit and index % stride == 0, lambda frame: thumbs.append(frame_thumb(frame)))
    for index, time_s, rgb in prefetched(frames):
        if index >= limit:
            break
        times.append(time_s)
        if rgb is not None:
            faces = detector.detect(rgb, is_thorough=True) or detector.detect_turned(rgb)
            faces = [face for face in faces if share_outside(face.landmarks_px, info.size_hw) <= MAX_OUTSIDE]
            probes.append((index, faces))
            looks.append([face_look(rgb, face.landmarks_px) for face in faces])
        if index % 16 == 0:
            reporter.progress(STAGE, 0.1 * min(index, total), total, "frames")
    if len(times) < MIN_FRAMES:
        raise AvatarError(
            "bad_input", f"{info.path.name} has {len(times)} frame(s) that can be decoded; at least {MIN_FRAMES} are needed.", "Use a longer clip.",
            {"path": str(info.path), "num_frames": len(times)},
        )
    takes = find_takes(np.stack(thumbs[: len(times)]), info.fps)
    used = _longest_take_with_a_face(takes, probes)
    is_used = (takes.take == used) & ~takes.is_interruption
    kept = [number for number, (index, _) in enumerate(probes) if is_used[index]]
    person, notes = choose_person([probes[number] for number in kept], config.min_face_px, info.path.name, [looks[number] for number in kept])
    _check_upright(info.path, person)
    notes = (*take_notes(takes, used, np.array(times), info.path.name), *notes)
    missing = info.expected_frames - len(times)
    if not config.max_frames and missing > max(2, 0.01 * info.expected_frames):
        share = 100 * len(times) / info.expected_frames
        notes = (f"Only {len(times)} of {info.expected_frames} frames ({share:.0f} %) of {info.path.name} can be decoded; the rest is missing or damaged.", *notes)
    return _Survey(np.array(times), takes, used, is_used, person, notes)


def _longest_take_with_a_face(takes: Takes, probes: list[tuple[int, list[Face]]]) -> int:
    """Number of the take to use: the longest in which a probe shows a face; the longest of all when none does."""
    with_face = {int(takes.take[index]) for index, faces in probes if faces and not takes.is_interruption[index]}
    lengths = np.bincount(takes.take)
    return max(with_face or set(range(len(lengths))), key=lambda number: (lengths[number], -number))


def _check_upright(path: Path, person: Person) -> None:
    """Raises ``bad_input`` when the person lies on the side or is upside down in most of the clip: outline and hair are found on upright people only."""
    rolls = np.array([float(roll_deg(face.landmarks_px)) for face in person.faces])
    mean_deg = float(np.degrees(np.angle(np.exp(1j * np.radians(rolls)).sum())))
    if (np.abs(rolls) > ROLL_DEG).mean() > 0.5:
        quarter_turns = round(mean_deg / 90) % 4
        turn = {1: "a quarter turn counter-clockwise", 2: "upside down", 3: "a quarter turn clockwise"}.get(quarter_turns, "until the face is upright")
        raise AvatarError(
            "bad_input", f"The face in {path.name} is turned by {mean_deg:.0f} degrees at frame {person.indices[0]}, and in most of the clip.",
            f"Turn the clip {turn} in the phone's or any video editor, and save it.", {"path": str(path), "frame": person.indices[0], "roll_deg": mean_deg},
        )


def _check_motion(path: Path, has_face: np.ndarray, fault: np.ndarray) -> None:
    """Raises ``bad_input`` for a clip that is a still picture."""
    is_new = has_face & (fault != FROZEN)
    if is_new.sum() <= MIN_FRAMES and has_face.sum() > is_new.sum():
        raise AvatarError(
            "bad_input", f"{path.name} shows a still picture: {int(has_face.sum())} frames with a face, {int(is_new.sum())} of them different.", "Use a clip in which the person moves and talks.",
            {"path": str(path), "frame": int(np.flatnonzero(has_face)[0])},
        )


@dataclasses.dataclass(frozen=True)
class _Look:
    """What the landmark pass found. Arrays as in ``Capture``; fault: of frames without a face, ``NONE`` when it was just not found.
    patches: (rgb, landmarks in patch pixels) of some training frames."""

    landmarks_px: np.ndarray
    depth_px: np.ndarray
    confidence: np.ndarray
    face_width_px: np.ndarray
    sharpness: np.ndarray
    fault: np.ndarray
    patches: list[tuple[np.ndarray, np.ndarray]]


def _look_at_faces(
    info: VideoInfo, survey: _Survey, is_train: np.ndarray, detector: FaceDetector, reporter: Reporter
) -> _Look:
    num = len(survey.time_s)
    landmarks_px, depth_px = empty_landmarks(num)
    confidence, face_width_px, sharpness = np.zeros(num), np.full(num, np.nan), np.zeros(num, np.float32)
    fault = np.full(num, NONE, np.uint8)
    train = np.flatnonzero(is_train & survey.is_used & ~survey.takes.is_frozen)
    train = train if len(train) else np.flatnonzero(is_train & survey.is_used)
    patch_frames = set(train[np.linspace(0, len(train) - 1, min(NUM_PATCHES, len(train))).astype(int)].tolist())
    patches = []
    follower = Follower(detector, survey.person)
    for index, _, rgb in prefetched(walk_frames(info.path, lambda index: index < num and bool(survey.is_used[index]))):
        if index >= num:
            break
        if rgb is None:
            continue
        face, fault[index] = follower.find(rgb, index)
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
    return _Look(landmarks_px, depth_px, confidence, face_width_px, sharpness, fault, patches)
