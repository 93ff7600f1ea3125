"""Resting modes: what a face wears at rest is part of identity, exactly, and never parts the lips."""

import numpy as np
import torch
from default_head import default_head

from backend.rig.personal_neutral import MAX_LIP_GAP_M, PREFIX, is_resting_mode, num_shape_modes, with_resting_modes
from backend.rig.posing import posable_head


def test_a_control_at_rest_is_the_same_mesh_as_the_control():
    rig = with_resting_modes(default_head())
    control = rig.expression_names.index("browInnerUp")
    identity = np.zeros(len(rig.identity_names))
    identity[rig.identity_names.index(PREFIX + "browInnerUp")] = 0.4
    controls = torch.zeros(len(rig.expression_names))
    still = torch.zeros(len(rig.joint_names), 3)
    worn = posable_head(rig, torch.from_numpy(identity)).pose(controls, still)
    controls[control] = 0.4
    made = posable_head(rig).pose(controls, still)
    np.testing.assert_allclose(worn.numpy(), made.numpy(), atol=1e-6)


def test_shape_modes_come_first_and_are_untouched():
    plain, rig = default_head(), with_resting_modes(default_head())
    count = num_shape_modes(rig)
    assert count == len(plain.identity_names) and is_resting_mode(rig)[count:].all()
    np.testing.assert_array_equal(rig.identity_basis[..., :count], plain.identity_basis)
    assert with_resting_modes(rig) is rig


def test_gaze_tongue_and_whatever_parts_the_lips_stay_out():
    rig = with_resting_modes(default_head())
    worn = {name.removeprefix(PREFIX) for name in rig.identity_names if name.startswith(PREFIX)}
    assert {"eyeWideLeft", "browInnerUp", "mouthSmileLeft", "cheekSquintRight"} <= worn
    assert not worn & {"jawOpen", "mouthUpperUpLeft", "mouthLowerDownRight", "mouthFunnel", "tongueOut"} and not any(name.startswith("eyeLook") for name in worn)
    upper, lower = (rig.identity_basis[rig.regions[region], 1].mean(0) for region in ("lip_inner_upper", "lip_inner_lower"))
    assert np.abs(upper - lower)[is_resting_mode(rig)].max() <= MAX_LIP_GAP_M + 1e-7
