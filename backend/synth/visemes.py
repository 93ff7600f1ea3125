"""Mouth shapes of speech and of moods, as values of the ARKit controls. Plain data."""

from __future__ import annotations

VISEMES: dict[str, dict[str, float]] = {
    "rest": {},
    "closed": {"mouthPressLeft": 0.35, "mouthPressRight": 0.35, "mouthRollLower": 0.25, "mouthRollUpper": 0.2},  # m, b, p
    "open": {"jawOpen": 0.55, "mouthLowerDownLeft": 0.35, "mouthLowerDownRight": 0.35, "mouthUpperUpLeft": 0.2, "mouthUpperUpRight": 0.2},  # a
    "middle": {"jawOpen": 0.3, "mouthLowerDownLeft": 0.3, "mouthLowerDownRight": 0.3, "mouthStretchLeft": 0.15, "mouthStretchRight": 0.15},  # e
    "spread": {
        "jawOpen": 0.14, "mouthStretchLeft": 0.35, "mouthStretchRight": 0.35, "mouthSmileLeft": 0.2, "mouthSmileRight": 0.2,
        "mouthLowerDownLeft": 0.3, "mouthLowerDownRight": 0.3, "mouthUpperUpLeft": 0.2, "mouthUpperUpRight": 0.2,
    },  # i
    "round": {"jawOpen": 0.3, "mouthFunnel": 0.5, "mouthPucker": 0.25},  # o
    "narrow": {"jawOpen": 0.1, "mouthFunnel": 0.3, "mouthPucker": 0.6},  # u, w
    "lip_teeth": {"jawOpen": 0.05, "mouthRollLower": 0.5, "mouthUpperUpLeft": 0.3, "mouthUpperUpRight": 0.3},  # f, v
    "hiss": {
        "jawOpen": 0.04, "mouthStretchLeft": 0.2, "mouthStretchRight": 0.2, "mouthLowerDownLeft": 0.35, "mouthLowerDownRight": 0.35,
        "mouthUpperUpLeft": 0.25, "mouthUpperUpRight": 0.25,
    },  # s, z, t
    "shrug": {"jawOpen": 0.12, "mouthFunnel": 0.45, "mouthShrugUpper": 0.2, "mouthShrugLower": 0.15},  # sh, ch
}

CONSONANTS = ("closed", "lip_teeth", "hiss", "shrug")
VOWELS = ("open", "middle", "spread", "round", "narrow")

MOODS: dict[str, dict[str, float]] = {
    "smile": {
        "mouthSmileLeft": 0.75, "mouthSmileRight": 0.7, "cheekSquintLeft": 0.45, "cheekSquintRight": 0.45, "eyeSquintLeft": 0.25, "eyeSquintRight": 0.25,
        "mouthDimpleLeft": 0.15, "mouthDimpleRight": 0.15,
    },
    "grin": {
        "mouthSmileLeft": 0.85, "mouthSmileRight": 0.85, "jawOpen": 0.18, "mouthUpperUpLeft": 0.4, "mouthUpperUpRight": 0.4,
        "mouthLowerDownLeft": 0.3, "mouthLowerDownRight": 0.3, "cheekSquintLeft": 0.5, "cheekSquintRight": 0.5,
    },
    "brows_up": {"browInnerUp": 0.75, "browOuterUpLeft": 0.7, "browOuterUpRight": 0.65, "eyeWideLeft": 0.35, "eyeWideRight": 0.35},
    "frown": {"browDownLeft": 0.7, "browDownRight": 0.7, "mouthFrownLeft": 0.35, "mouthFrownRight": 0.35, "eyeSquintLeft": 0.3, "eyeSquintRight": 0.3},
    "one_brow": {"browOuterUpLeft": 0.8, "browDownRight": 0.4},
    "sneer": {"noseSneerLeft": 0.5, "noseSneerRight": 0.45, "mouthUpperUpLeft": 0.25, "mouthUpperUpRight": 0.25, "browDownLeft": 0.3, "browDownRight": 0.3},
    "mouth_left": {"mouthLeft": 0.5, "mouthSmileLeft": 0.3},
    "puff": {"cheekPuff": 0.6, "mouthPressLeft": 0.4, "mouthPressRight": 0.4},
    "wide_open": {"jawOpen": 0.8, "browInnerUp": 0.4, "browOuterUpLeft": 0.3, "browOuterUpRight": 0.3},
}
