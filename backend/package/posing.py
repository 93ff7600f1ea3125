"""A packaged head as tensors, for everything in the backend that poses it again."""

from __future__ import annotations

import torch

from ..rig.posing import PosableHead
from .model import MeshAsset


def posable_head_of(mesh: MeshAsset, dtype: torch.dtype = torch.float32, device: str | torch.device = "cpu") -> PosableHead:
    """The mesh of a package, ready for ``pose(controls, joint_rotations)``; controls in the order of its shape keys."""
    to = lambda array: torch.as_tensor(array, dtype=dtype, device=device)  # noqa: E731
    correctives = None if mesh.correctives is None else to(mesh.correctives).reshape(len(mesh.correctives), -1)
    return PosableHead(
        to(mesh.vertices), to(mesh.shape_keys).reshape(len(mesh.shape_keys), -1), to(mesh.joints), to(mesh.skin_weights),
        tuple(int(parent) for parent in mesh.joint_parents), correctives,
    )
