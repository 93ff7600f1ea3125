"""Outlines that bones are drawn as. Bone axes: x left of the subject, y up, z out of the face; metres."""

from __future__ import annotations

import numpy as np


def circle(radius_m: float, plane: str, offset_m: tuple[float, float, float] = (0, 0, 0), num: int = 32) -> tuple[np.ndarray, np.ndarray]:
    """Points (num, 3) and edges (num, 2). plane: two of "xyz"."""
    turn = np.arange(num) / num * 2 * np.pi
    points = np.zeros((num, 3))
    points[:, "xyz".index(plane[0])] = radius_m * np.cos(turn)
    points[:, "xyz".index(plane[1])] = radius_m * np.sin(turn)
    return points + offset_m, np.stack([np.arange(num), (np.arange(num) + 1) % num], 1)


def line(points_m: list[tuple[float, float, float]]) -> tuple[np.ndarray, np.ndarray]:
    """An open line."""
    points = np.array(points_m, dtype=float)
    return points, np.stack([np.arange(len(points) - 1), np.arange(1, len(points))], 1)


def joined(*parts: tuple[np.ndarray, np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Several outlines as one."""
    starts = np.cumsum([0] + [len(points) for points, _ in parts[:-1]])
    return np.concatenate([points for points, _ in parts]), np.concatenate([edges + start for (_, edges), start in zip(parts, starts)])


def head_ring(width_m: float, height_m: float) -> tuple[np.ndarray, np.ndarray]:
    """A ring around the head at the height of the brow."""
    return circle(0.62 * width_m, "xz", (0, height_m, 0), 48)


def root_ring(width_m: float) -> tuple[np.ndarray, np.ndarray]:
    """A ring on the floor with an arrow where the face looks."""
    radius = 0.75 * width_m
    arrow = line([(-0.25 * radius, 0, radius), (0, 0, 1.35 * radius), (0.25 * radius, 0, radius)])
    return joined(circle(radius, "xz", num=48), arrow)


def eye_ring(distance_m: float) -> tuple[np.ndarray, np.ndarray]:
    """A ring before the eye, on its line of sight."""
    return joined(circle(0.009, "xy", (0, 0, distance_m), 24), circle(0.0015, "xy", (0, 0, distance_m), 8))


def gaze_target(half_distance_m: float) -> tuple[np.ndarray, np.ndarray]:
    """Two rings side by side in a frame."""
    h = half_distance_m
    left, right = circle(0.012, "xy", (h, 0, 0), 24), circle(0.012, "xy", (-h, 0, 0), 24)
    side, top = h + 0.02, 0.02
    frame = line([(-side, -top, 0), (side, -top, 0), (side, top, 0), (-side, top, 0), (-side, -top, 0)])
    return joined(left, right, frame)


def face_badge(radius_m: float = 0.028) -> tuple[np.ndarray, np.ndarray]:
    """A drawn face: the handle that carries the 52 controls."""
    smile = np.radians(np.linspace(215, 325, 9))
    mouth = line([(0.6 * radius_m * float(np.cos(turn)), 0.6 * radius_m * float(np.sin(turn)), 0.0) for turn in smile])
    eyes = [circle(0.13 * radius_m, "xy", (sign * 0.36 * radius_m, 0.25 * radius_m, 0), 8) for sign in (1, -1)]
    return joined(circle(radius_m, "xy"), *eyes, mouth)
