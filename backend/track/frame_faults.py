"""What the faults of a capture mean for tracking: which frames are believed, and where time is not continuous."""

from __future__ import annotations

import numpy as np

from ..capture.model import JUMP, Capture


def believed(capture: Capture) -> Capture:
    """The capture with everything taken out of frames that must not be fitted: other takes, other people, repeated pictures.

    Such frames are bridged by the temporal terms and marked like frames without a face. The measurements stay what they were in the
    capture on disk; only what the solver looks at changes.
    """
    hidden = ~capture.is_trackable
    if not hidden.any():
        return capture
    landmarks_px, confidence = capture.landmarks_px.copy(), capture.landmark_confidence.copy()
    matte, parsing = capture.matte.copy(), capture.parsing.copy()
    landmarks_px[hidden], confidence[hidden], matte[hidden], parsing[hidden] = np.nan, 0, 0, 0
    return capture.replace(has_face=capture.is_trackable, landmarks_px=landmarks_px, landmark_confidence=confidence, matte=matte, parsing=parsing)


def continuous_runs(capture: Capture) -> list[slice]:
    """Runs of consecutive samples within one split and one take, broken where the head jumps: nothing temporal crosses their ends."""
    is_start = (np.diff(capture.split) != 0) | (np.diff(capture.take) != 0) | (capture.fault[1:] == JUMP)
    cuts = [0, *(np.flatnonzero(is_start) + 1), capture.num_samples]
    return [slice(int(start), int(stop)) for start, stop in zip(cuts[:-1], cuts[1:])]
