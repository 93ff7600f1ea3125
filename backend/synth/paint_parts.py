"""Procedural eyes, teeth, tongue and lashes, painted at points of the template."""

from __future__ import annotations

import numpy as np

from .looks import Look
from .noise import layered_noise, noise
from .paint_skin import MUCOSA, smoothstep

IRIS_RADIUS_M = 0.00585
"""Human irises measure 11.7 mm across; the scale estimate of tracking rests on it."""
UPPER_TEETH_MM = (8.6, 6.6, 7.6, 7.0, 6.7, 10.2, 9.6)
LOWER_TEETH_MM = (5.4, 5.9, 6.9, 7.0, 7.2, 11.0, 10.4)
"""Widths from the middle line backwards (Wheeler's Dental Anatomy, mean crown widths)."""
_GUM_SCALLOP_MM = 1.6


def paint_eye(points: np.ndarray, centre: np.ndarray, look: Look, seed: int) -> np.ndarray:
    """(P, 3) sRGB of eyeball points (P, 3): sclera with veins, limbus, fibred iris, pupil. The eye looks along +Z."""
    offset = points - centre
    radius = np.hypot(offset[:, 0], offset[:, 1])
    radius = np.where(offset[:, 2] > 0, radius, 1.0)
    angle = np.arctan2(offset[:, 1], offset[:, 0])
    mm = points * 1000
    sclera = np.array([0.77, 0.745, 0.72]) * (1 + 0.02 * layered_noise(mm / 3, seed + 1, 3))[:, None]
    # Veins: thin ridges of a warped noise, growing towards the corners.
    warped = mm + 0.8 * np.stack([noise(mm / 1.6, seed + 2), noise(mm / 1.6, seed + 3), noise(mm / 1.6, seed + 4)], -1)
    veins = smoothstep(0.06, 0.0, np.abs(noise(warped / 1.9, seed + 5))) * smoothstep(0.0065, 0.0115, np.hypot(offset[:, 0], 0.5 * offset[:, 1]))
    sclera = sclera + (0.45 * veins * (0.4 + 0.6 * smoothstep(-0.1, 0.3, noise(mm / 3, seed + 6))))[:, None] * (np.array([0.72, 0.30, 0.26]) - sclera)
    pinkish = smoothstep(0.008, 0.0115, radius)[:, None]
    sclera = sclera * (1 - 0.12 * pinkish * np.array([0.3, 1.0, 1.0]))
    # Iris: fibres run radially, a lighter ring surrounds the pupil, the limbus is dark and soft.
    share = radius / IRIS_RADIUS_M
    ring = np.stack([np.cos(angle), np.sin(angle)], -1)
    fibres = noise(np.concatenate([ring * 9, share[:, None] * 1.3], -1), seed + 7) + 0.6 * noise(np.concatenate([ring * 21, share[:, None] * 2.5], -1), seed + 8)
    iris = look.iris * 0.82 * (1 + 0.38 * fibres + 0.30 * smoothstep(0.62, 0.42, share))[:, None]
    iris = iris * (1 - 0.72 * smoothstep(0.78, 1.0, share))[:, None]
    eye = iris + smoothstep(0.93, 1.05, share)[:, None] * (sclera - iris)
    pupil = smoothstep(look.pupil_m + 0.0002, look.pupil_m - 0.0002, radius)[:, None]
    return np.clip(eye * (1 - pupil) + pupil * 0.02, 0.01, 0.98)


def paint_teeth(points: np.ndarray, row: np.ndarray, is_upper: bool, look: Look, seed: int) -> np.ndarray:
    """(P, 3) sRGB of points of a tooth row's shell: single teeth with gaps, gums above a scalloped line.

    Args:
        row: (R, 3) all vertices of the row: they give the arch and the biting edge.
    """
    half_width, back, depth = np.abs(row[:, 0]).max(), row[:, 2].min(), np.ptp(row[:, 2])
    angle = np.arctan2(np.abs(points[:, 0]) / half_width, np.clip(points[:, 2] - back, 1e-6, None) / depth)
    samples = np.linspace(0, np.pi / 2, 256)
    steps = np.hypot(half_width * np.cos(samples), depth * np.sin(samples)) * (samples[1] - samples[0])
    arc_mm = np.interp(angle, samples, 1000 * np.concatenate([[0], np.cumsum(steps)[:-1]]))
    borders = np.concatenate([[0], np.cumsum(UPPER_TEETH_MM if is_upper else LOWER_TEETH_MM)])
    tooth = np.clip(np.searchsorted(borders, arc_mm, side="right") - 1, 0, len(borders) - 2)
    left, right = borders[tooth], borders[tooth + 1]
    within = np.clip((arc_mm - left) / (right - left), 0, 1)
    edge = row[:, 1].min() if is_upper else row[:, 1].max()
    from_edge_mm = np.abs(points[:, 1] - edge) * 1000
    length_mm = (9.6 if is_upper else 8.2) - 0.5 * (tooth == 1) - 0.25 * tooth
    gum_line_mm = length_mm - _GUM_SCALLOP_MM * np.abs(2 * within - 1) ** 2
    mm = points * 1000
    shade = 1 - 0.10 * look.tooth_shade
    ivory = np.array([0.90, 0.86, 0.78 - 0.10 * look.tooth_shade]) * shade
    colour = ivory * (1 + 0.04 * layered_noise(mm / 2.5, seed + 1, 3) - 0.05 * (tooth == 2))[:, None]
    towards_gum = np.clip(from_edge_mm / gum_line_mm, 0, 1)
    colour = colour * (1 - 0.10 * towards_gum[:, None] * np.array([0.1, 0.5, 1.2])) * (1 - 0.10 * smoothstep(0.15, 0.0, towards_gum))[:, None]
    # Teeth are round: darker towards the gaps, dark in the gap, widest between the biting edges.
    to_gap_mm = np.minimum(arc_mm - left, right - arc_mm)
    colour = colour * (0.72 + 0.28 * smoothstep(0.0, 1.5, to_gap_mm))[:, None]
    gap = smoothstep(0.36, 0.08, to_gap_mm - 0.25 * smoothstep(0.3, 0.0, towards_gum))
    colour = colour + (0.6 * gap)[:, None] * (np.array([0.22, 0.12, 0.09]) - colour)
    gums = np.array([0.72, 0.38, 0.37]) * (1 + 0.10 * layered_noise(mm / 2.0, seed + 2, 3))[:, None]
    return np.clip(colour + smoothstep(-0.25, 0.35, from_edge_mm - gum_line_mm)[:, None] * (gums - colour), 0.01, 0.98)


def paint_tongue(points: np.ndarray, seed: int) -> np.ndarray:
    """(P, 3) sRGB of tongue points: rough, pink, paler towards the back, a furrow in the middle."""
    mm = points * 1000
    colour = np.array([0.70, 0.36, 0.36]) * (1 + 0.14 * noise(mm / 0.7, seed) + 0.10 * layered_noise(mm / 5, seed + 1, 2))[:, None]
    furrow = np.exp(-((points[:, 0] / 0.0012) ** 2))
    return np.clip(colour * (1 - 0.25 * furrow)[:, None] * 0.5 + 0.5 * colour * (1 + 0.1 * MUCOSA), 0.01, 0.98)


def lash_opacity(points: np.ndarray, rims: np.ndarray, seed: int) -> np.ndarray:
    """(P,) opacity of lash-card points: single hairs that thin out away from the lid.

    Args:
        points: (P, 3) template points of the cards. rims: (R, 3) points of the lid rims.
    """
    from scipy.spatial import cKDTree

    distance, nearest = cKDTree(rims).query(points)
    root = rims[nearest]
    reach = np.clip(distance / 0.0085, 0, 1)
    # Hairs fan out from the middle of the eye: follow the position at the root, not of the point itself.
    fan = points[:, 0] - 0.35 * (points[:, 0] - root[:, 0])
    hair = noise(np.stack([fan * 1900, np.sign(points[:, 1] - root[:, 1]) * 5, 0 * fan], -1), seed)
    return np.clip(smoothstep(0.0 + 0.30 * reach, 0.22 + 0.30 * reach, hair + 0.22 * (1 - reach)), 0, 1) * smoothstep(1.0, 0.75, reach)
