"""How open each vertex lies to the sky: ambient occlusion from depth maps of the project's own rasteriser."""

from __future__ import annotations

import numpy as np
import torch

from ..geometry.cameras import intrinsics
from ..render.meshes import is_visible, rasterise

_DISTANCE_M = 4.0


def ambient_openness(vertices: np.ndarray, triangles: np.ndarray, normals: np.ndarray, num_directions: int = 40, size_px: int = 192) -> np.ndarray:
    """Cosine-weighted share of directions from which each vertex is seen.

    Args:
        vertices: (V, 3) m. triangles: (F, 3) int. normals: (V, 3) unit, outward.
        num_directions: views, spread evenly over the sphere.

    Returns:
        (V,) float32 in [0, 1]: 1 in the open, 0 inside.
    """
    centre = (vertices.min(0) + vertices.max(0)) / 2
    radius = float(np.linalg.norm(vertices - centre, axis=1).max()) * 1.02
    camera = intrinsics(size_px / 2 * (_DISTANCE_M - radius) / radius, (size_px / 2, size_px / 2))
    index = np.arange(num_directions) + 0.5
    height, angle = 1 - 2 * index / num_directions, index * np.pi * (1 + 5**0.5)
    ring = np.sqrt(1 - height * height)
    directions = np.stack([ring * np.cos(angle), height, ring * np.sin(angle)], -1)
    tolerance_m = 2.5 * 2 * radius / size_px
    seen, total = np.zeros(len(vertices)), np.zeros(len(vertices))
    for direction in directions:
        side = np.cross(direction, [0.0, 1.0, 0.0] if abs(direction[1]) < 0.9 else [1.0, 0.0, 0.0])
        side /= np.linalg.norm(side)
        axes = np.stack([side, np.cross(-direction, side), -direction])
        points = (vertices - centre) @ axes.T + [0, 0, _DISTANCE_M]
        fragments = rasterise(points, triangles, camera, (size_px, size_px))
        # Tested a little off the surface, so that its own slope does not hide it.
        lifted = (vertices + normals * tolerance_m - centre) @ axes.T + [0, 0, _DISTANCE_M]
        weight = np.clip(normals @ direction, 0, None)
        seen += weight * is_visible(fragments, camera, torch.from_numpy(lifted), tolerance_m * 0.6).numpy()
        total += weight
    return (seen / np.maximum(total, 1e-9)).astype(np.float32)
