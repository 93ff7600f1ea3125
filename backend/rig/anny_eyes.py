"""Eyeballs and corneas of human size, made by us because the source's have eight segments and are a third too large."""

from __future__ import annotations

import dataclasses

import numpy as np

EYE_RADIUS_M = 0.012
LIMBUS_RADIUS_M = 0.00585
"""Half the visible iris (11.7 mm)."""

CORNEA_BULGE_M = 0.0006
"""How far the cornea's apex stands in front of the eyeball's sphere."""

NUM_SEGMENTS = 20

IRIS_RINGS_M = ((0.0018, 0.0100), (0.0040, 0.01015), (0.00575, 0.0103))
"""(distance from the axis, height) of the rings of the iris: a nearly flat disc behind the cornea."""

SCLERA_DEG = (29.2, 40.0, 55.0, 72.0, 90.0, 115.0, 145.0)
"""Angles from the axis of the rings on the sphere; the first is the limbus, 90 deg is the equator."""

CORNEA_RINGS_M = (0.0061, 0.0046, 0.0025)
"""Distances from the axis of the cornea's rings; the first lies on the sphere."""


@dataclasses.dataclass(frozen=True)
class TurnedSurface:
    """A surface of revolution about +Z around the origin.

    vertices: (V, 3) m. quads: (Q, 4), -1 in the last place for triangles. mirror: (V,) the vertex at -x.
    corner_polar: (Q, 4, 2) per corner: angle from +Z and azimuth, rad (poles take the azimuth of their quad).
    rings: (R, NUM_SEGMENTS) vertex ids, front to back. equator: place of the ring around the centre in ``rings``, -1 when there is none.
    """

    vertices: np.ndarray
    quads: np.ndarray
    mirror: np.ndarray
    corner_polar: np.ndarray
    rings: np.ndarray
    equator: int = -1


def _turn(profile: list[tuple[float, float]], front: float, back: float | None) -> TurnedSurface:
    """profile: (distance from the axis, height) from front to back; front, back: heights of the poles (None: open behind)."""
    azimuth = 2 * np.pi * np.arange(NUM_SEGMENTS) / NUM_SEGMENTS
    circle = np.stack([np.cos(azimuth), np.sin(azimuth)], -1)
    vertices = [np.array([[0, 0, front]])]
    vertices += [np.concatenate([radius * circle, np.full((NUM_SEGMENTS, 1), height)], 1) for radius, height in profile]
    rings = 1 + np.arange(len(profile) * NUM_SEGMENTS).reshape(len(profile), NUM_SEGMENTS)
    after = np.roll(rings, -1, axis=1)
    quads = [[0, a, b, -1] for a, b in zip(rings[0], after[0])]
    quads += np.stack([rings[:-1], rings[1:], after[1:], after[:-1]], -1).reshape(-1, 4).tolist()
    if back is not None:
        pole = rings.size + 1
        vertices.append(np.array([[0, 0, back]]))
        quads += [[b, a, pole, -1] for a, b in zip(rings[-1], after[-1])]
    points = np.concatenate(vertices)
    flipped = rings[:, (NUM_SEGMENTS // 2 - np.arange(NUM_SEGMENTS)) % NUM_SEGMENTS]
    mirror = np.arange(len(points))
    mirror[rings] = flipped
    table = np.array(quads)
    polar = np.arctan2(np.hypot(points[:, 0], points[:, 1]), points[:, 2])[table]
    turn = np.concatenate([[0.0], np.tile(azimuth, len(profile)), [0.0]])[: len(points)][table]
    segment = np.where((table == 0) | ((table == len(points) - 1) & (back is not None)), np.nan, turn)
    first = np.nanmin(np.where(table >= 0, segment, np.nan), axis=1, keepdims=True)
    wraps = (np.nanmax(np.where(table >= 0, segment, np.nan), axis=1, keepdims=True) - first) > np.pi
    segment = np.where(wraps & (segment < np.pi), segment + 2 * np.pi, segment)
    segment = np.where(np.isnan(segment), np.nanmean(np.where(table >= 0, segment, np.nan), axis=1, keepdims=True), segment)
    return TurnedSurface(points, table, mirror, np.stack([polar, segment], -1), rings)


def eyeball() -> TurnedSurface:
    """A closed eyeball of radius EYE_RADIUS_M that looks along +Z, centre at the origin, with a nearly flat iris."""
    angles = np.radians(SCLERA_DEG)
    profile = [*IRIS_RINGS_M, *zip(EYE_RADIUS_M * np.sin(angles), EYE_RADIUS_M * np.cos(angles))]
    ball = _turn(profile, IRIS_RINGS_M[0][1], -EYE_RADIUS_M)
    return dataclasses.replace(ball, equator=len(IRIS_RINGS_M) + SCLERA_DEG.index(90.0))


def cornea() -> TurnedSurface:
    """The clear cap over the iris, in the eyeball's frame: a spherical cap that starts on the eyeball's sphere, open behind."""
    edge = CORNEA_RINGS_M[0]
    base = np.sqrt(EYE_RADIUS_M**2 - edge**2)
    apex = EYE_RADIUS_M + CORNEA_BULGE_M
    radius = (edge**2 + (apex - base) ** 2) / (2 * (apex - base))
    profile = [(r, apex - radius + np.sqrt(radius**2 - r**2)) for r in CORNEA_RINGS_M][::-1]
    return _turn(profile, apex, None)
