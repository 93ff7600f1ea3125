"""The camera, the backdrop and the body's motion of a synthetic clip."""

from __future__ import annotations

import numpy as np
from scipy.spatial.transform import Rotation

from ..geometry.cameras import intrinsics
from .config import SynthConfig

FACE_SHARE = 0.36
"""Height of the face (brow to chin, about 0.125 m) over the shorter side of the frame, as a talking head is framed. ``SynthConfig.face_share`` overrules it."""
_FACE_M = 0.125
BODY_TURN = 0.5
"""Share of the head's turn that the shoulders make; all of it on a turning chair."""


def draw_camera(config: SynthConfig, face_centre: np.ndarray, camera: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """K (3, 3) and world_from_cam (4, 4) of one camera.

    The first camera looks along world -Z. Others stand around the face, up to 40 degrees to the sides.

    Args:
        face_centre: (3,) mean centre of the face, world frame, m.
    """
    height, width = config.size_hw
    focal = config.focal_px or float(np.round(max(height, width) * rng.uniform(0.8, 1.4), 1))
    px_from_cam = intrinsics(focal, (width / 2, height / 2))
    face_px = config.face_share * height if config.face_share else FACE_SHARE * min(height, width)
    distance_m = _FACE_M * focal / face_px
    azimuth = 0.0 if camera == 0 else np.radians(40.0 * (1 if camera % 2 else -1) * ((camera + 1) // 2) / max(1, config.num_cameras // 2))
    turn = Rotation.from_euler("Y", azimuth).as_matrix()
    world_from_cam = np.eye(4)
    world_from_cam[:3, :3] = turn @ np.diag([1.0, -1.0, -1.0])
    # The face sits a little above the middle, where the eyes of a talking head are.
    aim = face_centre - [0, 0.02, 0]
    world_from_cam[:3, 3] = aim + turn @ [0, 0, distance_m]
    return px_from_cam, world_from_cam


def backdrop(size_hw: tuple[int, int], rng: np.random.Generator) -> np.ndarray:
    """(H, W, 3) float32 linear: a room out of focus."""
    height, width = size_hw
    rows, columns = np.mgrid[:height, :width]
    x, y = (columns + 0.5) / max(size_hw), (rows + 0.5) / max(size_hw)
    wall = np.array([0.22, 0.22, 0.23]) * rng.uniform(0.6, 1.2) * (1 + rng.uniform(-0.15, 0.15, 3))
    picture = wall * (1.1 - 0.5 * y + rng.uniform(-0.4, 0.4) * (x - 0.5))[..., None]
    for _ in range(9):
        centre, half = rng.random(2), rng.uniform(0.03, 0.22, 2)
        soft = rng.uniform(0.015, 0.05)
        inside = 1 / (1 + np.exp((np.abs(x - centre[0]) - half[0]) / soft)) / (1 + np.exp((np.abs(y - centre[1]) - half[1]) / soft))
        picture += (0.6 * inside)[..., None] * (wall * rng.uniform(0.3, 1.8, 3) - picture)
    return np.clip(picture, 0.005, 1.0).astype(np.float32)


def world_from_body(world_from_root: np.ndarray, pivot_m: np.ndarray, share: float = BODY_TURN) -> np.ndarray:
    """(N, 4, 4): the shoulders follow the neck (``pivot_m`` of the root frame) but turn only ``share`` as far."""
    rotations = Rotation.from_matrix(world_from_root[:, :3, :3])
    turned = Rotation.from_rotvec(rotations.as_rotvec() * share).as_matrix()
    matrices = np.tile(np.eye(4), (len(turned), 1, 1))
    matrices[:, :3, :3] = turned
    matrices[:, :3, 3] = world_from_root[:, :3, 3] + (world_from_root[:, :3, :3] - turned) @ pivot_m
    return matrices
