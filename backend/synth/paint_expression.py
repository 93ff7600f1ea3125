"""The pictures of the expression layers: how each changes the skin's reflectance at points of the template."""

from __future__ import annotations

import numpy as np

from .anatomy import Anatomy, signed_distance
from .noise import noise
from .paint_skin import smoothstep

_CREASE = np.array([0.42, 0.52, 0.54])
"""Share of light a crease takes away at its bottom: less red, because what lights a crease has passed through skin."""
_RIM = np.array([0.07, 0.06, 0.05])
"""The stretched skin beside a crease is a little lighter."""
_CREASE_M, _RIM_AT_M, _RIM_M = 0.0010, 0.0024, 0.0010
_BLUSH, _PUFF = np.array([0.06, -0.24, -0.20]), np.array([0.05, -0.15, -0.13])
_BLANCH = np.array([-0.02, 0.42, 0.32])
_LID = np.array([-0.26, -0.36, -0.30])


def paint_layers(points: np.ndarray, anatomy: Anatomy, mouth: np.ndarray, lips: np.ndarray, inside: np.ndarray, seed: int) -> dict[str, np.ndarray]:
    """Relative change of the albedo at full strength.

    Args:
        points: (P, 3) template positions of skin, m. mouth: (M, 3) template positions of the lips.
        lips, inside: (P,) interpolated vertex masks in [0, 1]. seed: of the noise that makes lines uneven.

    Returns:
        (P, 3) float64 for every name of ``expression_layers.LAYERS``; new albedo = albedo (1 + change).
    """
    mm = points * 1000
    uneven = 1 + 0.5 * noise(mm / 6, seed + 1)
    wobble_m = 0.0011 * noise(mm / 9, seed + 2)
    outer = smoothstep(0.6, 0.1, inside)
    layers = {"forehead": _forehead(points, anatomy, wobble_m), "bridge": _bridge(points, anatomy, wobble_m)}
    for number, side in enumerate(("left", "right")):
        mirrored = points * [1 if number == 0 else -1, 1, 1]
        layers[f"frown_{side}"] = _frown(mirrored, anatomy, wobble_m)
        layers[f"crow_{side}"] = _crow(mirrored, anatomy, wobble_m)
        layers[f"fold_{side}"] = _fold(mirrored, anatomy, mouth, wobble_m)
    layers = {name: (change * uneven[:, None]) for name, change in layers.items()}
    cheek = np.array([anatomy.eyes[0, 0] + 0.008, (anatomy.eye_height_m + anatomy.nose_tip[1]) / 2 - 0.010, anatomy.eyes[0, 2] + 0.004])
    layers["puff"] = np.zeros_like(points)
    for number, side in enumerate(("left", "right")):
        mirrored = points * [1 if number == 0 else -1, 1, 1]
        blob = np.exp(-0.5 * (((mirrored - cheek) / 0.016) ** 2).sum(-1)) * (1 + 0.3 * noise(mm / 5, seed + 3))
        layers[f"blush_{side}"] = blob[:, None] * _BLUSH
        low = cheek + [0.004, -0.026, -0.004]
        layers["puff"] = layers["puff"] + np.exp(-0.5 * (((mirrored - low) / 0.014) ** 2).sum(-1))[:, None] * _PUFF
        eye = anatomy.eyes[number] * [1 if number == 0 else -1, 1, 1]
        away = np.linalg.norm(mirrored - eye, axis=1)
        above = smoothstep(-0.002, 0.003, mirrored[:, 1] - eye[1])
        layers[f"lid_{side}"] = (smoothstep(0.0205, 0.0155, away) * above)[:, None] * _LID * (1 + 0.25 * noise(mm / 3, seed + 4))[:, None]
    layers["blanch"] = (_red_of_lips(points, anatomy, lips) * (0.85 + 0.3 * noise(mm / 2.5, seed + 5)))[:, None] * _BLANCH
    return {name: np.clip(change, -0.8, 0.8) * outer[:, None] for name, change in layers.items()}


def _crease(distance_m: np.ndarray, strength: np.ndarray) -> np.ndarray:
    """(P, 3): a dark line with lighter sides."""
    valley = np.exp(-((distance_m / _CREASE_M) ** 2))
    rim = np.exp(-(((np.abs(distance_m) - _RIM_AT_M) / _RIM_M) ** 2))
    return strength[:, None] * (rim[:, None] * _RIM - valley[:, None] * _CREASE)


def _lines(points: np.ndarray, segments: np.ndarray, wobble_m: np.ndarray) -> np.ndarray:
    """(P, 3): creases along (L, 2, 2) segments in the plane of ``points`` (P, 2), thinning out towards their ends."""
    total = np.zeros((len(points), 3))
    for start, end in segments:
        edge = end - start
        length = np.linalg.norm(edge)
        along = (points - start) @ edge / length**2
        across = ((points - start) @ np.array([-edge[1], edge[0]])) / length
        strength = smoothstep(-0.05, 0.25, along) * smoothstep(1.05, 0.7, along)
        total += _crease(across + wobble_m, strength)
    return total


def _forehead(points: np.ndarray, anatomy: Anatomy, wobble_m: np.ndarray) -> np.ndarray:
    brow = max(outline[:, 1].max() for outline in anatomy.brows)
    side = np.abs(points[:, 0])
    front = smoothstep(0.046, 0.026, side) * smoothstep(-0.02, 0.0, points[:, 2] - anatomy.eyes[:, 2].mean())
    # Lines dip over the nose and rise over the brows' arches.
    height = points[:, 1] - brow - 0.0020 * np.cos(points[:, 0] * 2 * np.pi / 0.065 + np.pi) + wobble_m
    return sum((_crease(height - level, strength * front) for level, strength in ((0.007, 0.85), (0.0145, 1.0), (0.022, 0.75))), np.zeros_like(points))


def _bridge(points: np.ndarray, anatomy: Anatomy, wobble_m: np.ndarray) -> np.ndarray:
    eye, front = anatomy.eye_height_m, anatomy.eyes[:, 2].mean()
    where = smoothstep(0.013, 0.007, np.abs(points[:, 0])) * smoothstep(0.0, 0.006, points[:, 2] - front)
    height = points[:, 1] - eye + 0.25 * np.abs(points[:, 0]) + wobble_m
    return sum((_crease(height - level, where) for level in (-0.002, -0.0075)), np.zeros_like(points))


def _frown(points: np.ndarray, anatomy: Anatomy, wobble_m: np.ndarray) -> np.ndarray:
    outline = anatomy.brows[0]
    inner, low, high = float(np.abs(outline[:, 0]).min()), float(outline[:, 1].min()), float(outline[:, 1].max())
    x = min(0.6 * inner, 0.0065)
    segments = np.array([[[x, low - 0.007], [x + 0.0015, high + 0.006]]])
    return _lines(points[:, :2], segments, wobble_m) * (smoothstep(-0.01, 0.0, points[:, 2] - anatomy.eyes[:, 2].mean()) * smoothstep(-0.001, 0.001, points[:, 0]))[:, None]


def _crow(points: np.ndarray, anatomy: Anatomy, wobble_m: np.ndarray) -> np.ndarray:
    eye = anatomy.eyes[0]
    corner = np.array([eye[0] + 0.0155, eye[1] - 0.001, eye[2] + 0.003])
    # The side of the face bends away: what counts is the way along the skin, not the way seen from the front.
    sideways = np.hypot(points[:, 0] - corner[0], points[:, 2] - corner[2]) * np.where(points[:, 0] > corner[0], 1, -1)
    plane = np.stack([sideways, points[:, 1] - corner[1]], -1)
    rays = [np.array([np.cos(np.radians(angle)), np.sin(np.radians(angle))]) for angle in (34, 8, -20)]
    segments = np.array([[0.005 * ray, 0.019 * ray] for ray in rays])
    return _lines(plane, segments, 0.5 * wobble_m) * smoothstep(-0.06, -0.04, points[:, 2] - eye[2])[:, None]


def _fold(points: np.ndarray, anatomy: Anatomy, mouth: np.ndarray, wobble_m: np.ndarray) -> np.ndarray:
    nose, corner = anatomy.nose_tip, np.array([np.abs(mouth[:, 0]).max(), mouth[:, 1].mean()])
    turns = np.array([[0.0165, nose[1] + 0.004], [0.5 * (0.0165 + corner[0]) + 0.004, 0.45 * nose[1] + 0.55 * corner[1] + 0.002], [corner[0] + 0.0085, corner[1] - 0.003]])
    # One smooth curve through three points, as height over x is not unique: distance to a dense polyline.
    share = np.linspace(0, 1, 40)[:, None]
    curve = (1 - share) * (1 - 2 * share) * turns[0] + 4 * share * (1 - share) * turns[1] + share * (2 * share - 1) * turns[2]
    near = (np.abs(points[:, 0] - 0.028) < 0.03) & (points[:, 1] > corner[1] - 0.02) & (points[:, 1] < nose[1] + 0.02) & (points[:, 2] > anatomy.eyes[0, 2] - 0.02)
    distance, strength = np.full(len(points), 1.0), np.zeros(len(points))
    if near.any():
        squared = ((points[near, None, :2] - curve[None]) ** 2).sum(-1)
        closest = squared.argmin(1)
        side = np.sign((points[near, :2] - curve[closest]) @ np.array([1.0, 0.3]))
        distance[near] = np.sqrt(squared.min(1)) * side + wobble_m[near]
        strength[near] = 1.15 * smoothstep(-0.05, 0.25, closest / 39) * smoothstep(1.0, 0.8, closest / 39)
    return _crease(distance, strength)


def _red_of_lips(points: np.ndarray, anatomy: Anatomy, lips: np.ndarray) -> np.ndarray:
    if anatomy.lip_outline is None:
        return smoothstep(0.4, 0.9, lips)
    depth = signed_distance(points[:, :2], anatomy.lip_outline[:, :2])
    return smoothstep(0.0, 0.0022, depth) * (points[:, 2] > anatomy.lip_outline[:, 2].min() - 0.012)
