"""A face made of its 478 landmark points only, for tests of the measurements: every point is a vertex."""

from __future__ import annotations

import numpy as np
import torch

from backend.evaluation.performance import Performance
from backend.evaluation.points import EYE_CORNERS, LID_PAIRS, LIP_PAIRS
from backend.geometry.rotations import matrices_from_axis_angles
from backend.rig.model import LandmarkEmbedding
from backend.rig.posing import PosableHead

FOCAL_PX = 1200.0


def point_face(controls: np.ndarray, rotations_rad: np.ndarray, fps: float = 25.0) -> Performance:
    """Controls (N, 2): jaw opens the mouth by 20 mm at 1, blink shuts both eyes at 1. Head at 0.8 m, turned by (N, 3) rad."""
    rng = np.random.default_rng(0)
    points = np.stack([rng.uniform(-0.06, 0.06, 478), rng.uniform(-0.08, 0.08, 478), rng.uniform(0.02, 0.06, 478)], -1)
    expressions = np.zeros((2, 478, 3))
    for k, (upper, lower) in enumerate(LIP_PAIRS):
        points[upper] = points[lower] = [-0.01 + 0.005 * k, -0.03, 0.06]
        expressions[0, lower] = [0, -0.020, -0.006]
    rims: dict[str, list[int]] = {}
    extra: list[np.ndarray] = []
    extra_blink: list[np.ndarray] = []
    for side, sign in (("left", 1.0), ("right", -1.0)):
        outer, inner = EYE_CORNERS[side]
        points[outer], points[inner] = [sign * 0.045, 0.03, 0.04], [sign * 0.015, 0.03, 0.045]
        for k, (upper, lower) in enumerate(LID_PAIRS[side]):
            x = sign * (0.025 + 0.005 * k)
            points[upper], points[lower] = [x, 0.035, 0.05], [x, 0.026, 0.05]
            expressions[1, upper] = [0, -0.009, 0]
        # The mesh's own rims: denser than the landmarks and slightly different, as on a real model.
        for which, height, drop in (("upper", 0.035, -0.009), ("lower", 0.026, 0.0)):
            ids = []
            for x in np.linspace(0.015, 0.045, 9):
                arch = 1 - ((x - 0.03) / 0.015) ** 2
                ids.append(478 + len(extra))
                extra.append(np.array([sign * x, 0.030 + arch * (height - 0.030), 0.05]))
                extra_blink.append(np.array([0, arch * drop, 0]))
            rims[f"lid_{which}_{side}"] = ids
    vertices = np.concatenate([points, extra])
    moves = np.concatenate([expressions, np.stack([np.zeros((len(extra), 3)), np.array(extra_blink)])], 1)
    num = len(controls)
    cam_from_root = np.tile(np.eye(4), (num, 1, 1))
    cam_from_root[:, :3, :3] = np.diag([1.0, -1.0, -1.0]) @ matrices_from_axis_angles(rotations_rad)
    cam_from_root[:, :3, 3] = [0.03, -0.05, 0.8]
    regions = {name: np.isin(np.arange(len(vertices)), ids) for name, ids in rims.items()}
    head = PosableHead(
        torch.as_tensor(vertices), torch.as_tensor(moves.reshape(2, -1)), torch.zeros(1, 3, dtype=torch.float64),
        torch.ones(len(vertices), 1, dtype=torch.float64), (-1,),
    )
    corners = np.repeat(np.arange(478, dtype=np.int32)[:, None], 3, 1)
    embedding = LandmarkEmbedding(np.arange(478, dtype=np.int32), np.tile(np.float32([1, 0, 0]), (478, 1)), np.zeros(478, np.float32))
    return Performance(
        head, corners, embedding, regions, ("jaw", "blink"), np.asarray(controls, np.float64), np.zeros((num, 1, 3)), cam_from_root,
        np.array([[FOCAL_PX, 0, 500.0], [0, FOCAL_PX, 400.0], [0, 0, 1]]), np.arange(num) / fps, np.arange(num), np.ones(num, bool),
    )
