"""Models with a jaw bone and pose correctives (FLAME's kind) arrive exactly as well."""

from __future__ import annotations

import bpy
import numpy as np
import torch
from imported import BLENDER_FROM_RIG, evaluated_vertices
from procedural_rig import MOUTH, procedural_rig
from synthetic_take import write_take

from backend.geometry.cameras import transform_points
from backend.package.posing import posable_head_of
from backend.package.read import read_package
from blender_avatar.scene import import_avatar


def _jaw_rig():
    """The procedural head with a jaw between head and eyes, and a small corrective for every rotation entry."""
    rig = procedural_rig()
    weights = np.insert(rig.skin_weights, 3, 0, axis=1)
    below = 1 / (1 + np.exp((rig.template[:, 1] - MOUTH[1]) / 0.004)) * (rig.template[:, 2] > 0.02) * (rig.skin_weights[:, 2] > 0.5)
    weights[:, 3] = weights[:, 2] * below
    weights[:, 2] -= weights[:, 3]
    regressor = np.insert(rig.joint_regressor, 3, 0, axis=0)
    regressor[3] = rig.joint_regressor[2]
    correctives = np.random.default_rng(3).normal(size=(rig.num_vertices, 3, 45)) * 0.004
    return rig.replace(
        name="with jaw", joint_names=("root", "neck", "head", "jaw", "eye_left", "eye_right"), joint_parents=np.array([-1, 0, 1, 2, 2, 2], np.int32),
        joint_regressor=regressor.astype(np.float32), skin_weights=weights.astype(np.float32), correctives=correctives.astype(np.float32),
    )  # fmt: skip


def test_jaw_and_correctives_agree(tmp_path):
    package = read_package(write_take(tmp_path / "jaw.avatar", _jaw_rig()))
    avatar = import_avatar(bpy.context, package.folder)
    head = posable_head_of(package.mesh, torch.float64)
    clip = package.animation
    keys = bpy.data.objects[avatar.heads[0]].data.shape_keys
    assert len(keys.key_blocks) == 1 + 15 + 45
    assert all(curve.driver.type == "AVERAGE" or curve.driver.is_simple_expression for curve in keys.animation_data.drivers)
    for sample in (2, 5):
        bpy.context.scene.frame_set(1 + sample)
        rotations = torch.as_tensor(clip.joint_rotations_smooth[sample], dtype=torch.float64)
        assert rotations[3].abs().max() > 0.05  # the jaw turns
        posed = head.pose(torch.as_tensor(clip.controls_smooth[sample], dtype=torch.float64), rotations).numpy()
        wanted = transform_points(clip.world_from_root_smooth[sample], posed) @ BLENDER_FROM_RIG.T
        assert np.linalg.norm(evaluated_vertices(avatar.heads[0]) - wanted, axis=1).max() < 1e-5
