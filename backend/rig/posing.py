"""Puts a rig model into a pose: identity, controls, joints (linear blend skinning)."""

from __future__ import annotations

import dataclasses

import torch

from ..geometry.rotations import matrix_from_axis_angle
from ..geometry.shapes import check_shape
from .model import RigModel


@dataclasses.dataclass(frozen=True)
class PosableHead:
    """One person's head as tensors, ready to be posed many times.

    neutral: (V, 3) m. expressions: (E, V * 3) m per unit. joints: (J, 3) m, rest positions.
    weights: (V, J). parents: J parent indices. correctives: (9 (J - 1), V * 3) or None.
    """

    neutral: torch.Tensor
    expressions: torch.Tensor
    joints: torch.Tensor
    weights: torch.Tensor
    parents: tuple[int, ...]
    correctives: torch.Tensor | None = None

    def pose(self, controls: torch.Tensor, joint_rotations: torch.Tensor) -> torch.Tensor:
        """Vertices in the root frame.

        Args:
            controls: (..., E) float.
            joint_rotations: (..., J, 3) axis-angle rad, relative to the parent joint, about the rest joint position.

        Returns:
            (..., V, 3) m. Differentiable in both arguments.
        """
        num_joints = len(self.parents)
        check_shape("controls", controls, self.expressions.shape[0])
        check_shape("joint_rotations", joint_rotations, num_joints, 3)
        batch = controls.shape[:-1]
        rest = self.neutral + (controls @ self.expressions).reshape(*batch, -1, 3)
        rotations = matrix_from_axis_angle(joint_rotations)
        if self.correctives is not None:
            eye = torch.eye(3, dtype=rotations.dtype, device=rotations.device)
            features = (rotations[..., 1:, :, :] - eye).reshape(*batch, -1)
            rest = rest + (features @ self.correctives).reshape(*batch, -1, 3)
        world_rotations: list[torch.Tensor] = []
        positions: list[torch.Tensor] = []
        for joint, parent in enumerate(self.parents):
            if parent < 0:
                world_rotations.append(rotations[..., joint, :, :])
                positions.append(self.joints[joint].expand(*batch, 3))
            else:
                offset = self.joints[joint] - self.joints[parent]
                world_rotations.append(world_rotations[parent] @ rotations[..., joint, :, :])
                positions.append(positions[parent] + (world_rotations[parent] @ offset[:, None])[..., 0])
        turned = torch.stack(world_rotations, -3)
        shift = torch.stack(positions, -2) - (turned @ self.joints[..., None])[..., 0]
        skin_rotation = torch.einsum("vj,...jab->...vab", self.weights, turned)
        skin_shift = torch.einsum("vj,...ja->...va", self.weights, shift)
        return (skin_rotation @ rest[..., None])[..., 0] + skin_shift


def posable_head(
    rig: RigModel, identity: torch.Tensor | None = None, scale: float = 1.0, dtype: torch.dtype = torch.float32, device: str | torch.device = "cpu"
) -> PosableHead:
    """A person: the rig with identity coefficients (S,) in standard deviations, times an overall scale."""
    to = lambda array: torch.as_tensor(array, dtype=dtype, device=device)  # noqa: E731
    neutral = to(rig.template)
    if identity is not None:
        check_shape("identity", identity, rig.identity_basis.shape[2])
        neutral = neutral + to(rig.identity_basis) @ to(identity)
    neutral = neutral * scale
    num_expressions = rig.expression_basis.shape[2]
    expressions = to(rig.expression_basis).reshape(-1, num_expressions).T * scale
    correctives = None if rig.correctives is None else to(rig.correctives).reshape(rig.num_vertices * 3, -1).T * scale
    return PosableHead(
        neutral, expressions.contiguous(), to(rig.joint_regressor) @ neutral, to(rig.skin_weights), tuple(int(p) for p in rig.joint_parents), correctives
    )
