"""Modes of identity for what a face wears at rest: lids, brows and lips that never return to the model's neutral.

A neutral person is then ``template + shape modes + resting expression``. The tracker sets the resting part by the neutral
gauge (the 10th percentile of a control over a clip is 0); priors over people and samplers leave it at 0.
"""

from __future__ import annotations

import numpy as np

from .model import RigModel

PREFIX = "rest:"
MAX_LIP_GAP_M = 0.0004
"""A control that moves the inner lip rims apart (or together) by more than this has no resting mode."""


def with_resting_modes(rig: RigModel) -> RigModel:
    """Appends one identity mode per one-sided control (1 standard deviation = the control at 1), named ``rest:CONTROL``.

    Left out are gaze-derived controls, the tongue, and whatever opens the lips: a mouth at rest is shut, and lips that are
    apart at rest could never close again (controls are one-sided). A rig that has such modes already is returned as it is.
    """
    if any(name.startswith(PREFIX) for name in rig.identity_names):
        return rig
    upper, lower = (rig.expression_basis[rig.regions[region], 1].mean(0) for region in ("lip_inner_upper", "lip_inner_lower"))
    opens = np.abs(upper - lower) > MAX_LIP_GAP_M
    chosen = [
        index
        for index, name in enumerate(rig.expression_names)
        if rig.expression_limits[index, 0] >= 0 and not name.startswith("eyeLook") and name != "tongueOut" and not opens[index]
    ]
    if not chosen:
        return rig
    names = tuple(PREFIX + rig.expression_names[index] for index in chosen)
    basis = np.concatenate([rig.identity_basis, rig.expression_basis[..., chosen]], -1).astype(np.float32)
    return rig.replace(identity_basis=basis, identity_names=(*rig.identity_names, *names))


def is_resting_mode(rig: RigModel) -> np.ndarray:
    """(S,) bool: the modes added by ``with_resting_modes``."""
    return np.array([name.startswith(PREFIX) for name in rig.identity_names], dtype=bool)


def num_shape_modes(rig: RigModel) -> int:
    """How many identity modes describe shape; they come first."""
    return int((~is_resting_mode(rig)).sum())
