"""Which triangles of a head hide what is behind them."""

from __future__ import annotations

import numpy as np

from .model import RigModel

CLEAR_PARTS = ("cornea_left", "cornea_right", "lashes")
"""Clear or sparse: they hide nothing and take no colour from a clip."""


def solid_mask(rig: RigModel) -> np.ndarray:
    """(F,) bool, one per triangle of the rig."""
    owner = rig.triangles_of_quads()[2]
    clear = [index for index, name in enumerate(rig.part_names) if name in CLEAR_PARTS]
    return ~np.isin(rig.quad_parts[owner], clear)


def solid_triangles(rig: RigModel) -> np.ndarray:
    """(F', 3) int32: the triangles that hide what is behind them."""
    return np.ascontiguousarray(rig.triangles[solid_mask(rig)])
