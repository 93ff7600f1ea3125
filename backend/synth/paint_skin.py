"""Procedural skin: tone, mottling, pores, flush, lips, brows, stubble, mouth inside. Painted at points of the template."""

from __future__ import annotations

import numpy as np

from .anatomy import HAIR_EDGE_M, Anatomy, signed_distance
from .looks import Look
from .noise import layered_noise, noise

MUCOSA = np.array([0.48, 0.17, 0.16])
LIP = np.array([0.70, 0.38, 0.36])


def smoothstep(low: float, high: float, x: np.ndarray) -> np.ndarray:
    """0 below ``low``, 1 above ``high``, smooth between (also with low > high)."""
    t = np.clip((x - low) / (high - low), 0, 1)
    return t * t * (3 - 2 * t)


def paint_skin(points: np.ndarray, anatomy: Anatomy, look: Look, lips: np.ndarray, inside: np.ndarray, openness: np.ndarray, lid_rim: np.ndarray, use_hair: bool) -> np.ndarray:
    """Colours of skin points.

    Args:
        points: (P, 3) template positions, m.
        lips, inside, openness, lid_rim: (P,) interpolated vertex masks in [0, 1].
        use_hair: whether the scalp is tinted under the hair.

    Returns:
        (P, 3) sRGB in [0, 1].
    """
    seed = look.seed
    mm = points * 1000.0
    if anatomy.lip_outline is not None:
        # The outline decides where the red ends; the region also holds the skin around and the inside of the mouth.
        depth = signed_distance(points[:, :2], anatomy.lip_outline[:, :2])
        is_front = (points[:, 2] > anatomy.lip_outline[:, 2].min() - 0.012) & (openness > 0.02)
        lips = np.where(is_front, smoothstep(-0.0009, 0.0011, depth), 0.0) * smoothstep(0.0, 0.1, lips + (depth > 0.002))
    colour = np.broadcast_to(look.skin, points.shape).copy()
    # Mottling: blood (redder) and pigment (darker, yellower) vary independently over centimetres and millimetres.
    blood = layered_noise(mm / 22, seed + 1, 4, 0.6)
    pigment = layered_noise(mm / 14, seed + 2, 4, 0.6)
    colour = colour * (1 + blood[:, None] * np.array([0.025, -0.032, -0.028]) + pigment[:, None] * np.array([-0.025, -0.032, -0.042]))
    colour = _flush(colour, points, anatomy, look)
    colour = _freckles(colour, mm, points, anatomy, look)
    # Pores: small dark dots, finest on the nose, plus a fine grain.
    grain = noise(mm / 0.55, seed + 3) + 0.6 * noise(mm / 0.28, seed + 4)
    pores = smoothstep(0.28, 0.6, noise(mm / 0.8, seed + 5))
    colour = colour * (1 + 0.035 * grain - 0.07 * pores)[:, None]
    colour = _stubble(colour, mm, points, anatomy, look, lips)
    colour = _lips(colour, mm, look, lips, openness)
    for outline in anatomy.brows:
        colour = _brow(colour, mm, points, outline, look)
    # Lash line: dark, wet rim of the lids.
    colour = _mix(colour, look.hair * 0.35 + np.array([0.06, 0.03, 0.03]), 0.75 * smoothstep(0.35, 0.85, lid_rim))
    colour = _mix(colour, np.array([0.72, 0.42, 0.38]) * look.skin.mean() / 0.75, 0.35 * smoothstep(0.02, 0.3, lid_rim) * (1 - smoothstep(0.3, 0.8, lid_rim)))
    # Inside the mouth, the nostrils and the eye sockets: mucosa, darker with depth.
    colour = _mix(colour, MUCOSA * (0.8 + 0.25 * layered_noise(mm / 4, seed + 6, 2))[:, None], inside * (1 - 0.5 * lips))
    if use_hair:
        depth = anatomy.hair_depth_m(points) + 0.003 * layered_noise(mm / 7, seed + 7, 3)
        colour = _mix(colour, look.hair * (0.9 + 0.25 * noise(mm * [1.2, 0.25, 0.25], seed + 8))[:, None], 0.93 * smoothstep(-0.4 * HAIR_EDGE_M, HAIR_EDGE_M, depth) * (1 - inside))
    return np.clip(colour, 0.01, 0.98)


def _mix(colour: np.ndarray, other: np.ndarray, amount: np.ndarray) -> np.ndarray:
    return colour + amount[:, None] * (other - colour)


def _blob(points: np.ndarray, centre: np.ndarray, radius_m: float) -> np.ndarray:
    """Bell of a given radius, the same on both sides."""
    mirrored = np.stack([np.abs(points[:, 0]), points[:, 1], points[:, 2]], -1)
    return np.exp(-0.5 * (((mirrored - centre) / radius_m) ** 2).sum(-1))


def _flush(colour: np.ndarray, points: np.ndarray, anatomy: Anatomy, look: Look) -> np.ndarray:
    eye, nose, chin = anatomy.eyes[0], anatomy.nose_tip, anatomy.chin
    cheek = np.array([eye[0] + 0.010, (eye[1] + nose[1]) / 2 - 0.008, eye[2] - 0.004])
    red = 0.75 * _blob(points, cheek, 0.018) + 0.38 * _blob(points, nose * [0, 1, 1], 0.013) + 0.3 * _blob(points, chin * [0, 1, 1], 0.012)
    red += 0.7 * smoothstep(0.070, 0.082, np.abs(points[:, 0])) * smoothstep(0.06, 0.03, np.abs(points[:, 1] - nose[1]))
    colour = colour * (1 + look.ruddy * np.clip(red, 0, 1.2)[:, None] * np.array([0.035, -0.13, -0.11]))
    # Thin, bluish-brown skin round the eyes.
    socket = _blob(points, np.array([eye[0], eye[1] - 0.011, eye[2] + 0.008]), 0.010) + 0.6 * _blob(points, np.array([eye[0] - 0.014, eye[1] + 0.004, eye[2]]), 0.008)
    return colour * (1 - np.clip(socket, 0, 1)[:, None] * np.array([0.10, 0.13, 0.10]))


def _freckles(colour: np.ndarray, mm: np.ndarray, points: np.ndarray, anatomy: Anatomy, look: Look) -> np.ndarray:
    moles = smoothstep(0.66, 0.73, noise(mm / 7.5, look.seed + 11)) * smoothstep(0.05, 0.3, noise(mm / 30, look.seed + 12))
    moles = moles * smoothstep(0.016, 0.024, np.hypot(points[:, 0], 0.7 * (points[:, 1] - anatomy.eye_height_m)))
    colour = _mix(colour, look.skin * [0.45, 0.36, 0.32], 0.8 * moles)
    if look.freckles > 0:
        where = np.clip(_blob(points, anatomy.nose_tip * [0, 1, 1] + [0.02, 0.015, -0.02], 0.025), 0, 1)
        dots = smoothstep(0.32, 0.5, noise(mm / 1.7, look.seed + 13))
        colour = _mix(colour, look.skin * [0.72, 0.56, 0.46], 0.7 * look.freckles * where * dots)
    return colour


def _stubble(colour: np.ndarray, mm: np.ndarray, points: np.ndarray, anatomy: Anatomy, look: Look, lips: np.ndarray) -> np.ndarray:
    if look.stubble <= 0:
        return colour
    nose, chin = anatomy.nose_tip, anatomy.chin
    # Moustache, chin and jaw; bare below the jaw's underside and on the upper cheeks.
    side = np.abs(points[:, 0])
    upper = nose[1] - 0.012 + 0.35 * np.clip(side - 0.045, 0, None) - 0.5 * np.clip(side - 0.014, 0, 0.02)
    area = smoothstep(0.008, -0.008, points[:, 1] - upper) * smoothstep(chin[1] - 0.055, chin[1] - 0.03, points[:, 1]) * smoothstep(-0.02, 0.03, points[:, 2])
    area = area * (1 - smoothstep(0.0, 0.4, lips))
    hairs = smoothstep(0.05, 0.35, noise(mm / 0.6, look.seed + 21))
    amount = look.stubble * area * (0.28 + 0.45 * hairs)
    return _mix(colour, look.hair * 0.55 + look.skin * 0.22, amount)


def _lips(colour: np.ndarray, mm: np.ndarray, look: Look, lips: np.ndarray, openness: np.ndarray) -> np.ndarray:
    edge = lips + 0.10 * noise(mm / 1.6, look.seed + 31)
    amount = 0.85 * smoothstep(0.45, 0.95, edge)
    shade = LIP * (0.55 + 0.6 * look.skin.mean())
    # Creases run up and down; the wet inner rim is darker.
    creases = noise(mm * [1.1, 0.16, 0.5], look.seed + 32)
    red = shade * (1 + 0.16 * creases + 0.06 * noise(mm / 0.7, look.seed + 33))[:, None]
    red = red * (0.62 + 0.38 * smoothstep(0.06, 0.30, openness))[:, None]
    return _mix(colour, (1 - look.lip_red) * 0.5 * look.skin + (1 - (1 - look.lip_red) * 0.5) * red, amount)


def _brow(colour: np.ndarray, mm: np.ndarray, points: np.ndarray, outline: np.ndarray, look: Look) -> np.ndarray:
    side = np.sign(outline[:, 0].mean())
    depth = np.where((np.sign(points[:, 0]) == side) & (points[:, 2] > outline[:, 2].min() - 0.015), signed_distance(points[:, :2], outline[:, :2]), -1.0)
    inner, outer = np.abs(outline[:, 0]).min(), np.abs(outline[:, 0]).max()
    across = np.clip((np.abs(points[:, 0]) - inner) / (outer - inner), 0, 1)
    # Hairs stand up at the inner end and lie down along the brow further out.
    lean = np.radians(65) * (1 - smoothstep(0.0, 0.45, across)) - np.radians(12) * smoothstep(0.55, 1.0, across)
    along = side * mm[:, 0] * np.cos(lean) + mm[:, 1] * np.sin(lean)
    cross = -side * mm[:, 0] * np.sin(lean) + mm[:, 1] * np.cos(lean)
    strands = noise(np.stack([along * 0.22, cross * 2.3, mm[:, 2] * 0.0 + side * 7], -1), look.seed + 41)
    density = smoothstep(-0.0012, 0.0016, depth + 0.0013 * noise(mm / 2.2, look.seed + 42)) * (1 - 0.35 * across**3)
    return _mix(colour, look.hair * 0.75, np.clip(density * (0.72 + 0.65 * strands), 0, 0.95))
