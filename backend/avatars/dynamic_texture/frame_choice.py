"""Which training frames teach, which judge, which are shown more often, and what the clip never showed."""

from __future__ import annotations

import dataclasses

import numpy as np

from ...capture.model import Capture
from ...errors import AvatarError
from ...rig import landmark_names
from ...texture.frames import choose_frames, usable_frames
from ...track.lids import lid_openness
from ...track.model import Track

NOTHING_TO_LEARN = "nothing_to_learn"
"""``detail["reason"]`` of errors after which an avatar can still be made, with its static texture."""
MIN_FRAMES = 20
VALIDATION_SHARE = 0.06
"""Of the training frames, in two runs; the checkpoint is chosen by them, and they teach nothing."""
WIDEST_SHARE = 0.10
OVERSAMPLING = 3.0
"""The frames with the widest mouths, and those with shut eyes, are shown this many times as often (spec 13.10)."""
SHUT = 0.45
"""Lid openness below which an eye counts as shut, open = 1."""
OPEN_MOUTH = 0.05
"""Gap of the lips over the distance of the outer eye corners from which a mouth counts as open."""


@dataclasses.dataclass(frozen=True)
class FrameChoice:
    """training, validation: (n,), (m,) int samples. share: (n,) how often each training frame is shown, sum 1. warnings: what will be missing."""

    training: np.ndarray
    validation: np.ndarray
    share: np.ndarray
    warnings: tuple[str, ...]


def choose_training_frames(capture: Capture, track: Track, max_frames: int) -> FrameChoice:
    """Picks the frames.

    Raises:
        AvatarError: bad_input when fewer than ``MIN_FRAMES`` training frames were tracked.
    """
    usable = usable_frames(capture, track)
    if len(usable) < MIN_FRAMES:
        text = f"Only {len(usable)} training frames of the clip were tracked; the dynamic texture needs {MIN_FRAMES}."
        raise AvatarError("bad_input", text, "Use a longer clip that shows the face, or the static texture alone.", {"reason": NOTHING_TO_LEARN, "frames": len(usable), "needed": MIN_FRAMES})
    chosen = choose_frames(capture, track, max_frames)
    run = max(1, int(round(0.5 * VALIDATION_SHARE * len(chosen))))
    is_validation = np.zeros(len(chosen), bool)
    for start in (len(chosen) // 3, 3 * len(chosen) // 4):
        is_validation[start : start + run] = True
    training = chosen[~is_validation]
    gaps, openness = mouth_gap(capture)[training], _openness(capture, usable)[training]
    is_shown_more = (gaps >= np.quantile(gaps, 1 - WIDEST_SHARE)) | (openness < SHUT)
    share = np.where(is_shown_more, OVERSAMPLING, 1.0)
    warnings = []
    if np.quantile(gaps, 0.98) < OPEN_MOUTH:
        warnings.append("The mouth is never open in the clip: teeth and the inside of the mouth stay those of the static texture.")
    if not (openness < SHUT).any():
        warnings.append("The eyes never shut in the clip: closed lids stay those of the static texture.")
    return FrameChoice(training, chosen[is_validation], share / share.sum(), tuple(warnings))


def mouth_gap(capture: Capture) -> np.ndarray:
    """(N,) gap between the inner lips at the middle, over the distance of the outer eye corners; 0 where no face was found."""
    points = capture.landmarks_px.astype(np.float64)
    upper, lower = points[:, landmark_names.LIP_INNER_UPPER[5]], points[:, landmark_names.LIP_INNER_LOWER[5]]
    eyes = np.linalg.norm(points[:, landmark_names.OUTER_EYES[0]] - points[:, landmark_names.OUTER_EYES[1]], axis=1)
    return np.nan_to_num(np.linalg.norm(upper - lower, axis=1) / np.maximum(eyes, 1e-6))


def _openness(capture: Capture, usable: np.ndarray) -> np.ndarray:
    """(N,) of the eye that is shut more, 1 = as open as usual."""
    is_reference = np.zeros(capture.num_samples, bool)
    is_reference[usable] = True
    return np.nan_to_num(lid_openness(capture.landmarks_px, is_reference), nan=1.0).min(1)
