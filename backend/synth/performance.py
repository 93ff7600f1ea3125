"""An invented performance: speech, moods, blinks, gaze and head motion, smooth in time."""

from __future__ import annotations

import dataclasses

import numpy as np
from scipy.spatial.transform import Rotation

from ..rig.gaze import eye_look_controls
from ..rig.model import RigModel
from .config import SynthConfig
from .visemes import CONSONANTS, MOODS, VISEMES, VOWELS

YAW_DEG, PITCH_DEG, ROLL_DEG = 25.0, 11.0, 7.0
CHAIR_YAW_DEG, CHAIR_SHARE, CHAIR_MOODS = 75.0, 0.25, 0.3
"""On the chair: the turn to either side; share of the other motions, and of the moods, that is left."""
SHIFT_M = (0.018, 0.012, 0.025)
GAZE_LEFT_DEG, GAZE_DOWN_DEG = 14.0, 9.0
"""Largest turn of an eye in its socket, either way."""
BLINK_CLOSING_S, BLINK_CLOSED_S, BLINK_OPENING_S = 0.07, 0.03, 0.12
SPEECH_SMOOTH_S, MOOD_SMOOTH_S, SACCADE_S = 0.035, 0.09, 0.04
MOTION_FADE_S = 1.2
LOOK_DOWN_LID = 0.6
"""Nothing but eyeLook* couples lids and gaze; wide and squint fade by this share while a blink is closed."""


@dataclasses.dataclass(frozen=True)
class Performance:
    """N frames of acting, before any camera.

    time_s: (N,). controls: (N, E) float32. joint_rotations: (N, J, 3) float32 rad.
    head_rotations: (N, 3) yaw, pitch, roll, rad (to the subject's left, down, to the subject's right shoulder).
    head_shift_m: (N, 3) m. blinks_s: (B, 3) start, closed, end.
    """

    time_s: np.ndarray
    controls: np.ndarray
    joint_rotations: np.ndarray
    head_rotations: np.ndarray
    head_shift_m: np.ndarray
    blinks_s: np.ndarray


def perform(rig: RigModel, config: SynthConfig, rng: np.random.Generator) -> Performance:
    """Invents a performance for a rig; controls the rig lacks are left out."""
    time_s = np.arange(config.num_frames) / config.fps
    values = {name: np.zeros(len(time_s)) for name in rig.expression_names}
    is_chair = config.performance == "chair"
    for name, value in _speech(time_s, rng).items():
        _add(values, name, value * (0 if is_chair else config.expressiveness))
    for name, value in _moods(time_s, rng).items():
        _add(values, name, value * (CHAIR_MOODS if is_chair else 1) * config.expressiveness)
    head_rotations, head_shift_m = _chair_motion(time_s, config.head_motion, rng) if is_chair else _head_motion(time_s, config.head_motion, rng)
    # On the chair the eyes go with the head: nobody holds the camera at 75 degrees.
    joint_rotations = _gaze(rig, time_s, np.zeros_like(head_rotations) if is_chair else head_rotations, rng)
    for name, value in eye_look_controls(rig.joint_names, joint_rotations).items():
        _add(values, name, value)
    closed, blinks_s = _blinks(time_s, config.fps, rng)
    for side in ("Left", "Right"):
        # A shut lid lies the same way whatever the eye below it looks at, and no brow or squint opens or doubles it.
        for name in ("eyeWide", "eyeSquint", "eyeLookUp", "eyeLookDown"):
            if f"{name}{side}" in values:
                values[f"{name}{side}"] *= 1 - closed
        _add(values, f"eyeBlink{side}", closed)
    low, high = rig.expression_limits[:, 0], rig.expression_limits[:, 1]
    controls = np.stack([values[name] for name in rig.expression_names], -1)
    controls = np.clip(controls, np.maximum(low, 0), np.minimum(high, 1)).astype(np.float32)
    names = {name: index for index, name in enumerate(rig.expression_names)}
    if {"mouthClose", "jawOpen"} <= names.keys():
        controls[:, names["mouthClose"]] = np.minimum(controls[:, names["mouthClose"]], controls[:, names["jawOpen"]])
    return Performance(time_s, controls, joint_rotations, head_rotations, head_shift_m, blinks_s)


def world_from_root(performance: Performance, pivot_m: np.ndarray) -> np.ndarray:
    """(N, 4, 4) float64: head turns about ``pivot_m`` (3,) of the root frame; world origin at the mean root position."""
    yaw, pitch, roll = performance.head_rotations.T
    rotation = Rotation.from_euler("YXZ", np.stack([yaw, pitch, roll], -1)).as_matrix()
    matrices = np.tile(np.eye(4), (len(rotation), 1, 1))
    matrices[:, :3, :3] = rotation
    matrices[:, :3, 3] = pivot_m - rotation @ pivot_m + performance.head_shift_m
    matrices[:, :3, 3] -= matrices[:, :3, 3].mean(0)
    return matrices


def _add(values: dict[str, np.ndarray], name: str, value: np.ndarray) -> None:
    if name in values:
        values[name] = values[name] + value


def _smooth(track: np.ndarray, time_s: np.ndarray, sigma_s: float) -> np.ndarray:
    from scipy.ndimage import gaussian_filter1d

    step = time_s[1] - time_s[0] if len(time_s) > 1 else 1.0
    return gaussian_filter1d(track, sigma_s / step, mode="nearest") if len(time_s) > 1 else track


def _sum_of(weights: dict[str, np.ndarray], shapes: dict[str, dict[str, float]]) -> dict[str, np.ndarray]:
    total: dict[str, np.ndarray] = {}
    for shape, weight in weights.items():
        for name, amount in shapes[shape].items():
            total[name] = total.get(name, 0) + amount * weight
    return total


def _speech(time_s: np.ndarray, rng: np.random.Generator) -> dict[str, np.ndarray]:
    """Phrases of four to nine syllables (consonant, vowel) with pauses between; each shape is held briefly and blended."""
    weights = {name: np.zeros(len(time_s)) for name in VISEMES}
    now = rng.uniform(0.1, 0.5)
    while now < time_s[-1]:
        for _ in range(int(rng.integers(4, 10))):
            strength = rng.uniform(0.65, 1.1)
            for group, low_s, high_s in ((CONSONANTS, 0.06, 0.10), (VOWELS, 0.09, 0.17)):
                shape, length = str(rng.choice(group)), rng.uniform(low_s, high_s)
                # The share of each frame that lies in the interval, so that frame rates see the same performance.
                weights[shape] += strength * _share(time_s, now, now + length)
                now += length
        now += rng.uniform(0.3, 1.0)
    return _sum_of({name: _smooth(weight, time_s, SPEECH_SMOOTH_S) for name, weight in weights.items()}, VISEMES)


def _share(time_s: np.ndarray, start_s: float, end_s: float) -> np.ndarray:
    step = time_s[1] - time_s[0] if len(time_s) > 1 else 1.0
    return np.clip(np.minimum(time_s + step / 2, end_s) - np.maximum(time_s - step / 2, start_s), 0, None) / step


def _moods(time_s: np.ndarray, rng: np.random.Generator) -> dict[str, np.ndarray]:
    """One mood after another, each held 0.5 to 1.3 s; a clip of some seconds sees most of them, smile, brows and open mouth first."""
    weights = {name: np.zeros(len(time_s)) for name in MOODS}
    order = ["smile", "brows_up", "wide_open", *rng.permutation([name for name in MOODS if name not in ("smile", "brows_up", "wide_open")])]
    now, index = rng.uniform(0.2, 0.6), 0
    while now < time_s[-1]:
        length = rng.uniform(0.5, 1.3) if order[index % len(order)] != "wide_open" else 0.4
        weights[order[index % len(order)]] += rng.uniform(0.7, 1.0) * _share(time_s, now, now + length)
        now += length + rng.uniform(0.2, 0.7)
        index += 1
    return _sum_of({name: _smooth(weight, time_s, MOOD_SMOOTH_S) for name, weight in weights.items()}, MOODS)


def _blinks(time_s: np.ndarray, fps: float, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Closure (N,) in [0, 1] and the blinks' (B, 3) start, closed and end times; one every 1.2 to 3.5 s, each fully closed in at least one frame."""
    closed, blinks = np.zeros(len(time_s)), []
    now = rng.uniform(0.4, 1.0)
    while now + BLINK_CLOSED_S + BLINK_OPENING_S < time_s[-1]:
        peak = round(now * fps) / fps
        start, end = peak - BLINK_CLOSING_S, peak + BLINK_CLOSED_S + BLINK_OPENING_S
        down, up = (time_s - start) / BLINK_CLOSING_S, (end - time_s) / BLINK_OPENING_S
        # Lids fall fast and rise slowly (smoothstep both ways).
        closed = np.maximum(closed, _smoothstep(down) * _smoothstep(up))
        blinks.append((start, peak, end))
        now = peak + rng.uniform(1.2, 3.5)
    return closed, np.array(blinks, dtype=np.float64).reshape(-1, 3)


def _smoothstep(x: np.ndarray) -> np.ndarray:
    x = np.clip(x, 0, 1)
    return x * x * (3 - 2 * x)


def _wander(time_s: np.ndarray, period_s: tuple[float, float], rng: np.random.Generator) -> np.ndarray:
    """A slow curve in about [-1, 1]: three sines."""
    total = np.zeros(len(time_s))
    for share in (0.6, 0.3, 0.15):
        total += share * np.sin(2 * np.pi * time_s / (rng.uniform(*period_s) * (0.4 + share)) + rng.uniform(0, 2 * np.pi))
    return total


def _head_motion(time_s: np.ndarray, amount: float, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Turns (N, 3) rad and shifts (N, 3) m. Yaw sweeps to both sides once per clip (but no faster than 4 s), the rest wanders."""
    period_s = max(4.0, min(12.0, time_s[-1] + 0.04))
    side = rng.choice([-1.0, 1.0])
    start = _smoothstep(time_s / MOTION_FADE_S)
    yaw = side * 0.92 * np.sin(2 * np.pi * time_s / period_s) + 0.1 * start * _wander(time_s, (2, 4), rng)
    pitch, roll = _wander(time_s, (3, 6), rng), _wander(time_s, (4, 8), rng)
    turns = np.stack([yaw, pitch * start, roll * start], -1) * np.radians([YAW_DEG, PITCH_DEG, ROLL_DEG])
    shifts = np.stack([_wander(time_s, (3, 7), rng) for _ in range(3)], -1) * SHIFT_M
    return turns * amount, shifts * amount


def _chair_motion(time_s: np.ndarray, amount: float, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Turns (N, 3) rad and shifts (N, 3) m of one slow turn over the whole clip: ahead, to one side, ahead, to the other side, ahead."""
    side = rng.choice([-1.0, 1.0])
    phase = time_s / max(float(time_s[-1]), 1e-9)
    start = _smoothstep(time_s / MOTION_FADE_S)
    yaw = side * np.sin(2 * np.pi * phase)
    pitch, roll = _wander(time_s, (3, 6), rng), _wander(time_s, (4, 8), rng)
    turns = np.stack([yaw, CHAIR_SHARE * pitch * start, CHAIR_SHARE * roll * start], -1) * np.radians([CHAIR_YAW_DEG, PITCH_DEG, ROLL_DEG])
    shifts = CHAIR_SHARE * np.stack([_wander(time_s, (3, 7), rng) for _ in range(3)], -1) * SHIFT_M
    return turns * amount, shifts * amount


def _gaze(rig: RigModel, time_s: np.ndarray, head_rotations: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """(N, J, 3) float32: fixations of 0.35 to 1.3 s joined by saccades of two frames; half of them hold the camera while the head turns."""
    left, down = np.zeros(len(time_s)), np.zeros(len(time_s))
    now, is_first = 0.0, True
    while now <= time_s[-1]:
        length = rng.uniform(0.35, 1.3)
        during = (time_s >= now - 1e-9) & (time_s < now + length - 1e-9)
        target = (0.0, 0.0) if is_first or rng.random() < 0.5 else (rng.uniform(-13, 13), rng.uniform(-6, 7))
        # Fixating a point in the room: the eyes turn against the head as far as they go comfortably.
        left[during] = np.radians(target[0]) - 0.75 * head_rotations[during, 0]
        down[during] = np.radians(target[1]) - 0.75 * head_rotations[during, 1]
        now, is_first = now + length, False
    left, down = _smooth(left, time_s, SACCADE_S / 2), _smooth(down, time_s, SACCADE_S / 2)
    left = np.clip(left, -np.radians(GAZE_LEFT_DEG), np.radians(GAZE_LEFT_DEG))
    down = np.clip(down, -np.radians(GAZE_DOWN_DEG), np.radians(GAZE_DOWN_DEG))
    rotations = np.zeros((len(time_s), len(rig.joint_names), 3), np.float32)
    for joint, inwards in (("eye_left", -1.0), ("eye_right", 1.0)):
        if joint in rig.joint_names:
            # Both eyes meet about 0.8 m in front of the face.
            angles = np.stack([left + inwards * np.radians(2.2), down], -1)
            rotations[:, rig.joint_names.index(joint)] = Rotation.from_euler("YX", angles).as_rotvec()
    return rotations
