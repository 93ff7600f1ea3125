"""The one place where axes change.

Packages: metres, Y up, the face looks along +Z, cameras in OpenCV axes (x right, y down, z forward).
Blender: metres, Z up, the face looks along -Y, cameras look along their own -Z with Y up. The subject's left is +X in both.

Bones point up (+Z of the armature) without roll, so a bone's own axes are the package's axes: what the package says about
a joint goes into ``rotation_quaternion`` and ``location`` unchanged.
"""

from __future__ import annotations

import numpy as np

BLENDER_FROM_RIG = np.array([[1.0, 0.0, 0.0, 0.0], [0.0, 0.0, -1.0, 0.0], [0.0, 1.0, 0.0, 0.0], [0.0, 0.0, 0.0, 1.0]])
"""(4, 4): a quarter turn about X."""

_OPENCV_FROM_BLENDER_CAMERA = np.diag([1.0, -1.0, -1.0, 1.0])


def blender_points(points_m: np.ndarray) -> np.ndarray:
    """(..., 3) package points or directions to Blender axes, same dtype."""
    return np.stack([points_m[..., 0], -points_m[..., 2], points_m[..., 1]], -1)


def blender_camera_matrices(world_from_cam: np.ndarray) -> np.ndarray:
    """(..., 4, 4) package cameras to Blender camera matrices in the avatar's own space (parent: its root empty)."""
    return BLENDER_FROM_RIG @ world_from_cam @ _OPENCV_FROM_BLENDER_CAMERA


def root_bone_locations(world_from_root: np.ndarray, root_rest_m: np.ndarray) -> np.ndarray:
    """Pose locations of the bone ``root``.

    Args:
        world_from_root: (N, 4, 4) rigid, package axes.
        root_rest_m: (3,) rest position of the joint, package axes.

    Returns:
        (N, 3) m in the bone's own axes: the bone turns about its head, the package turns about the origin.
    """
    return world_from_root[:, :3, :3] @ root_rest_m + world_from_root[:, :3, 3] - root_rest_m


def quaternions_from_axis_angles(rotations: np.ndarray) -> np.ndarray:
    """(..., 3) axis-angle rad to (..., 4) wxyz, w >= 0 up to half a turn."""
    rotations = np.asarray(rotations, dtype=np.float64)
    angle = np.linalg.norm(rotations, axis=-1, keepdims=True)
    return np.concatenate([np.cos(angle / 2), 0.5 * np.sinc(angle / (2 * np.pi)) * rotations], -1)


def quaternions_from_matrices(matrices: np.ndarray) -> np.ndarray:
    """(..., 3, 3) rotation matrices to (..., 4) wxyz unit quaternions.

    Largest-component method (Shepperd 1978): take the component whose square, read off the diagonal, is largest, and divide by it.
    """
    m = np.asarray(matrices, dtype=np.float64)
    trace = np.trace(m, axis1=-2, axis2=-1)
    diagonal = np.diagonal(m, axis1=-2, axis2=-1)
    squares = np.concatenate([1 + trace[..., None], 1 - trace[..., None] + 2 * diagonal], -1)  # 4 w^2, 4 x^2, 4 y^2, 4 z^2
    wx, wy, wz = m[..., 2, 1] - m[..., 1, 2], m[..., 0, 2] - m[..., 2, 0], m[..., 1, 0] - m[..., 0, 1]
    xy, yz, zx = m[..., 1, 0] + m[..., 0, 1], m[..., 2, 1] + m[..., 1, 2], m[..., 0, 2] + m[..., 2, 0]
    ww, xx, yy, zz = np.moveaxis(squares, -1, 0)
    rows = np.stack([np.stack(row, -1) for row in ((ww, wx, wy, wz), (wx, xx, xy, zx), (wy, xy, yy, yz), (wz, zx, yz, zz))], -2)
    best = np.argmax(squares, -1)
    chosen = np.take_along_axis(rows, best[..., None, None], -2)[..., 0, :]
    return chosen / np.linalg.norm(chosen, axis=-1, keepdims=True)


def continuous_quaternions(quaternions: np.ndarray) -> np.ndarray:
    """(N, 4): signs chosen so that neighbours lie in one half-space and curves never jump; the first has w >= 0."""
    out = np.array(quaternions, dtype=np.float64)
    if len(out) and out[0, 0] < 0:
        out[0] *= -1
    turns = np.where((out[1:] * out[:-1]).sum(-1) < 0, -1.0, 1.0)
    # a flip carries over to everything after it: multiply up, undoing the flip already made on the first
    signs = np.concatenate([[1.0], np.cumprod(turns)])
    return out * signs[:, None]
