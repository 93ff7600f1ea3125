"""What a head wears: hair as shells (fast) or strands (path traced), and a shirt below the neck."""

from __future__ import annotations

import dataclasses

import numpy as np

from ..rig.model import RigModel
from .anatomy import Anatomy
from .looks import Look
from .noise import layered_noise, noise
from .paint_skin import smoothstep

SHELLS = (0.1, 0.3, 0.5, 0.7, 0.9)
"""Heights of the hair shells as shares of the hair length."""
_TORSO_SEGMENTS = 48


@dataclasses.dataclass(frozen=True)
class Hair:
    """triangles: (T, 3) int32 of the rig that carry hair. lift: (V,) height of the full hair over each vertex, m."""

    triangles: np.ndarray
    lift: np.ndarray


def grow_hair(rig: RigModel, anatomy: Anatomy, look: Look) -> Hair:
    """Where hair grows and how far it stands off the skin: longest on the crown, short at the sides and the hairline."""
    template = rig.template.astype(np.float64)
    depth = anatomy.hair_depth_m(template)
    unit = anatomy.crown_m - anatomy.eye_height_m
    height = (template[:, 1] - anatomy.eye_height_m) / unit
    crown = smoothstep(0.2, 0.75, height)
    lift = look.hair_length_m * (0.28 + 0.72 * crown) * smoothstep(-0.002, 0.022, depth)
    lift = lift * (1 + 0.35 * layered_noise(template * 28, look.seed + 60, 2))
    triangles, _, owner = rig.triangles_of_quads()
    is_skin = np.isin(np.array(rig.part_names)[rig.quad_parts[owner]], ["skin", "scalp"])
    is_hairy = is_skin & (depth[triangles].max(1) > -0.004) & (anatomy.openness[triangles].min(1) > 0.12)
    return Hair(triangles[is_hairy], np.maximum(lift, 0.0006).astype(np.float32))


def combed_coordinates(template: np.ndarray, seed: int) -> np.ndarray:
    """(V, 3) float32 mm: template points, gently bent, in which hair runs along y and z and is fine along x."""
    mm = template.astype(np.float64) * 1000
    return (mm + 3.0 * np.stack([noise(mm / 24, seed), noise(mm / 24, seed + 1), noise(mm / 24, seed + 2)], -1)).astype(np.float32)


def hair_strands(rig: RigModel, anatomy: Anatomy, look: Look, vertices: np.ndarray, count: int, num_points: int = 6) -> np.ndarray:
    """Strands for the path tracer, combed back and down.

    Args:
        vertices: (V, 3) m, the person's neutral vertices, root frame.
        count: strands wanted.

    Returns:
        (S, num_points, 3) float32 m, root to tip.
    """
    rng = np.random.default_rng(look.seed + 70)
    hair = grow_hair(rig, anatomy, look)
    corners = vertices[hair.triangles].astype(np.float64)
    area = np.linalg.norm(np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]), axis=1)
    chosen = rng.choice(len(area), count, p=area / area.sum())
    u, v = rng.random((2, count))
    u, v = np.where(u + v > 1, 1 - u, u), np.where(u + v > 1, 1 - v, v)
    weights = np.stack([1 - u - v, u, v], -1)
    mix = lambda values: np.einsum("sc,sc...->s...", weights, values[hair.triangles[chosen]])  # noqa: E731
    rest, roots, normals = mix(rig.template.astype(np.float64)), mix(vertices.astype(np.float64)), mix(anatomy.normals.astype(np.float64))
    depth = anatomy.hair_depth_m(rest) + 0.002 * rng.standard_normal(count)
    keep = depth > 0.0005
    roots, normals, lift, rest = roots[keep], normals[keep], mix(hair.lift)[keep], rest[keep]
    normals /= np.linalg.norm(normals, axis=1, keepdims=True)
    comb = np.array([0.0, -0.35, -1.0]) + 0.35 * np.stack([layered_noise(rest * 30, look.seed + 71 + axis, 2) for axis in range(3)], -1)
    comb[:, 0] += 0.5 * np.sign(rest[:, 0]) * smoothstep(0.0, 0.05, np.abs(rest[:, 0]))
    comb -= (comb * normals).sum(1, keepdims=True) * normals
    comb /= np.linalg.norm(comb, axis=1, keepdims=True) + 1e-9
    length = lift * rng.uniform(0.75, 1.15, len(lift)) + 0.002
    steps = np.linspace(0, 1, num_points)[None, :, None]
    jitter = 0.12 * rng.standard_normal((len(roots), 1, 3)) * length[:, None, None]
    rise = normals[:, None] * (0.75 * steps - 0.4 * steps**2) * length[:, None, None]
    sweep = comb[:, None] * (1.1 * steps**1.3) * length[:, None, None]
    return (roots[:, None] - normals[:, None] * 0.0005 + rise + sweep + jitter * steps**2).astype(np.float32)


def shirt(rig: RigModel, vertices: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """A collar and shoulders that hide the open neck.

    Args:
        vertices: (V, 3) m, neutral vertices, root frame.

    Returns:
        vertices (P, 3) float32 m in the root frame, triangles (T, 3) int32, counter-clockwise from outside.
    """
    loop = vertices[rig.regions["neck_loop"]].astype(np.float64)
    slope, base = np.polyfit(loop[:, 2], loop[:, 1], 1)
    half_x, half_z = np.abs(loop[:, 0]).max(), np.ptp(loop[:, 2]) / 2
    centre_z = (loop[:, 2].min() + loop[:, 2].max()) / 2
    # (height over the loop, widening in x and z, share of the loop's tilt, exponent of the superellipse)
    rings = (
        (0.018, -0.006, -0.004, 1.0, 2.0), (0.024, -0.001, 0.002, 1.0, 2.0), (0.020, 0.004, 0.008, 1.0, 2.0), (0.004, 0.009, 0.014, 0.95, 2.0),
        (-0.012, 0.030, 0.020, 0.8, 2.1), (-0.028, 0.066, 0.027, 0.5, 2.2), (-0.046, 0.100, 0.034, 0.3, 2.3), (-0.075, 0.128, 0.038, 0.15, 2.4),
        (-0.12, 0.142, 0.046, 0.0, 2.5), (-0.20, 0.145, 0.056, 0.0, 2.5), (-0.45, 0.140, 0.060, 0.0, 2.5),
    )
    angle = np.linspace(0, 2 * np.pi, _TORSO_SEGMENTS, endpoint=False)
    points = []
    for height, wide_x, wide_z, tilt, power in rings:
        x = np.sign(np.sin(angle)) * np.abs(np.sin(angle)) ** (2 / power) * (half_x + wide_x)
        z = np.sign(np.cos(angle)) * np.abs(np.cos(angle)) ** (2 / power) * (half_z + wide_z) + centre_z
        # Shoulders fall towards the arms.
        fall = 0.0 if wide_x < 0.02 else 0.30 * np.clip(np.abs(x) - half_x, 0, None) * (1 - np.clip(-height / 0.2, 0, 1))
        points.append(np.stack([x, base + slope * tilt * z + height - fall, z], -1))
    index = np.arange(len(rings) * _TORSO_SEGMENTS).reshape(len(rings), -1)
    a, b = index[:-1], np.roll(index[:-1], -1, 1)
    c, d = np.roll(index[1:], -1, 1), index[1:]
    triangles = np.concatenate([np.stack([a, d, c], -1).reshape(-1, 3), np.stack([a, c, b], -1).reshape(-1, 3)])
    return np.concatenate(points).astype(np.float32), triangles.astype(np.int32)
