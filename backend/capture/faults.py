"""What is wrong with a frame, as one number per sample, and what to tell the user about it."""

from __future__ import annotations

import numpy as np

from .landmarks import EYE_OUTER_LEFT, EYE_OUTER_RIGHT, NUM_MESH_LANDMARKS
from .model import CUT, EXPOSURE_JUMP, FROZEN, JUMP, NO_FACE, NONE, OTHER_PERSON, OUT_OF_FRAME, UPSIDE_DOWN

MAX_OUTSIDE = 0.3
"""Share of the face mesh beyond the picture's edge from which a face is not believed: the network invents what it cannot see."""
ROLL_DEG = 75.0
"""Turn in the picture's plane from which the matte, the hands and the parsing, which know upright people only, are in doubt."""
EDGE_WIDTHS = 0.35
"""A face that vanishes closer than this to the edge, in its own widths, has left the picture."""
EXPOSURE_STEP = 0.2
"""Change of the skin's log luminance from one frame to the next that is a jump: automatic exposure moves by less than a tenth."""
JUMP_EYES, JUMP_RATIO = 0.4, 5.0
"""A head that moves this many outer-eye distances between two frames, and this many times its usual move around them, has not moved: frames are missing."""
_WORDS = {
    NO_FACE: "no face found", OUT_OF_FRAME: "the face leaves the picture", FROZEN: "the picture stands still (repeated frames)",
    CUT: "another take, or an interruption", OTHER_PERSON: "another face is where the followed one was expected",
    EXPOSURE_JUMP: "the exposure jumps (followed; the brightness is off)", UPSIDE_DOWN: "the head lies on its side or upside down (followed where it is seen; outline and hair are unreliable)",
    JUMP: "frames are missing before these: the head jumps",
}


def share_outside(landmarks_px: np.ndarray, size_hw: tuple[int, int]) -> np.ndarray:
    """(...): share of the face mesh's points outside the picture; NaN points count as inside.

    Args:
        landmarks_px: (..., 478, 2). size_hw: of the picture, px.
    """
    mesh = landmarks_px[..., :NUM_MESH_LANDMARKS, :]
    return ((mesh < 0) | (mesh > np.array([size_hw[1], size_hw[0]]))).any(-1).mean(-1)


def roll_deg(landmarks_px: np.ndarray) -> np.ndarray:
    """(...): turn of the eye line in the picture, clockwise on the screen, -180 to 180."""
    along = landmarks_px[..., EYE_OUTER_LEFT, :] - landmarks_px[..., EYE_OUTER_RIGHT, :]
    return np.degrees(np.arctan2(along[..., 1], along[..., 0]))


def left_the_picture(landmarks_px: np.ndarray, size_hw: tuple[int, int]) -> np.ndarray:
    """(N,) bool: frames without a face whose nearest seen face in time was at the edge of the picture, or across it.

    Args:
        landmarks_px: (N, 478, 2), NaN without a face.
    """
    seen = np.flatnonzero(~np.isnan(landmarks_px[:, 0, 0]))
    out = np.zeros(len(landmarks_px), bool)
    if not len(seen):
        return out
    low, high = landmarks_px[seen].min(1), landmarks_px[seen].max(1)
    margin = EDGE_WIDTHS * np.ptp(landmarks_px[seen, :, 0], axis=1)
    # The lower edge of a portrait is always near; a head does not sink through it.
    is_at_edge = (low.min(1) < margin) | (size_hw[1] - high[:, 0] < margin) | (size_hw[0] - high[:, 1] < 0)
    missing = np.setdiff1d(np.arange(len(landmarks_px)), seen)
    after = np.searchsorted(seen, missing)
    before_edge = np.where(after > 0, is_at_edge[np.maximum(after - 1, 0)], False)
    after_edge = np.where(after < len(seen), is_at_edge[np.minimum(after, len(seen) - 1)], False)
    out[missing] = before_edge | after_edge
    return out


def exposure_jumps(exposure: np.ndarray, is_usable: np.ndarray) -> np.ndarray:
    """(N,) bool: frames whose skin is lit unlike most of the clip since a sudden change.

    Jumps cut the clip into stretches; a stretch whose median differs by more than ``EXPOSURE_STEP`` (natural log) from the longest one's is marked.

    Args:
        exposure: (N,), as in ``Capture``. is_usable: (N,) bool, frames of the followed face.
    """
    marked = np.zeros(len(exposure), bool)
    frames = np.flatnonzero(is_usable & (exposure > 0))
    if len(frames) < 2:
        return marked
    level = np.log(exposure[frames].astype(np.float64))
    step = np.diff(level)
    # Neighbours within half a second at most: across a longer gap the light may have changed slowly.
    starts = np.flatnonzero((np.abs(step) > EXPOSURE_STEP) & (np.diff(frames) <= 12)) + 1
    stretches = np.split(np.arange(len(frames)), starts)
    usual = float(np.median(level[max(stretches, key=len)]))
    for stretch in stretches:
        if abs(float(np.median(level[stretch])) - usual) > EXPOSURE_STEP:
            marked[frames[stretch]] = True
    return marked


def jumps(landmarks_px: np.ndarray) -> np.ndarray:
    """(N,) bool: first frame after the head has jumped within its scene (an edited or stuttering clip).

    Args:
        landmarks_px: (N, 478, 2), NaN without a face.
    """
    eye_px = np.linalg.norm(landmarks_px[:, EYE_OUTER_LEFT] - landmarks_px[:, EYE_OUTER_RIGHT], axis=-1)
    width_px = np.ptp(landmarks_px[..., 0], axis=1)  # turned heads have close eyes
    unit = np.maximum(eye_px, 0.6 * width_px)[1:]
    move = np.median(np.linalg.norm(np.diff(landmarks_px, axis=0), axis=-1), axis=1) / np.maximum(unit, 1e-6)
    move = np.concatenate([[0.0], np.nan_to_num(move)])
    marked = np.zeros(len(move), bool)
    for frame in np.flatnonzero(move > JUMP_EYES):
        around = np.concatenate([move[max(1, frame - 4) : frame], move[frame + 1 : frame + 5]])
        marked[frame] = len(around) > 0 and move[frame] > JUMP_RATIO * float(np.median(around))
    return marked


def fault_notes(fault: np.ndarray) -> tuple[str, ...]:
    """One sentence per kind of fault: how many frames and which. Frames of other takes have a sentence of their own (``takes``)."""
    return tuple(f"{_frames(np.flatnonzero(fault == code))}: {words}." for code, words in _WORDS.items() if code not in (NONE, NO_FACE, CUT) and (fault == code).any())


def _frames(frames: np.ndarray) -> str:
    runs = np.split(frames, np.flatnonzero(np.diff(frames) > 1) + 1)
    named = [f"{run[0]}" if len(run) == 1 else f"{run[0]} to {run[-1]}" for run in runs]
    more = f" and {len(named) - 4} more places" if len(named) > 4 else ""
    return f"{len(frames)} frame{'s' if len(frames) > 1 else ''} ({', '.join(named[:4])}{more})"


def assemble_faults(
    has_face: np.ndarray, found_fault: np.ndarray, is_cut: np.ndarray, is_frozen: np.ndarray, landmarks_px: np.ndarray, exposure: np.ndarray, size_hw: tuple[int, int],
) -> np.ndarray:
    """(N,) uint8: one fault per frame, the gravest.

    Args:
        has_face: (N,). found_fault: (N,), what the follower said (``OTHER_PERSON``, ``OUT_OF_FRAME`` ... or ``NONE``).
        is_cut, is_frozen: (N,) bool. landmarks_px: (N, 478, 2). exposure: (N,).
    """
    fault = np.full(len(has_face), NONE, np.uint8)

    def mark(where: np.ndarray, code: int) -> None:
        fault[where & (fault == NONE)] = code

    mark(is_cut, CUT)
    for code in (OTHER_PERSON, OUT_OF_FRAME, UPSIDE_DOWN):
        mark(~has_face & (found_fault == code), code)
    mark(~has_face & left_the_picture(landmarks_px, size_hw), OUT_OF_FRAME)
    mark(~has_face, NO_FACE)
    mark(is_frozen, FROZEN)
    mark(jumps(landmarks_px), JUMP)
    mark(np.abs(np.nan_to_num(roll_deg(landmarks_px))) > ROLL_DEG, UPSIDE_DOWN)
    mark(exposure_jumps(exposure, has_face), EXPOSURE_JUMP)
    return fault
