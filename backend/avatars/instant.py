"""What every representation is asked to draw, and what it gives back."""

from __future__ import annotations

import dataclasses

import numpy as np
import torch

from ..geometry.shapes import check_shape


@dataclasses.dataclass(frozen=True)
class Drive:
    """What poses an avatar, for B instants.

    controls: (B, E) float32. joint_rotations: (B, J, 3) float32, axis-angle rad. world_from_root: (B, 4, 4) float64, rigid.
    """

    controls: np.ndarray
    joint_rotations: np.ndarray
    world_from_root: np.ndarray

    def __post_init__(self) -> None:
        check_shape("joint_rotations", self.joint_rotations, None, 3)
        check_shape("world_from_root", self.world_from_root, 4, 4)
        if not len(self.controls) == len(self.joint_rotations) == len(self.world_from_root):
            raise ValueError("controls, joint_rotations and world_from_root must have one row per instant")

    def __len__(self) -> int:
        return len(self.controls)


@dataclasses.dataclass(frozen=True)
class Camera:
    """What looks at it, for B instants: px_from_cam (B, 3, 3) K; world_from_cam (B, 4, 4), OpenCV axes; one picture size for all."""

    px_from_cam: np.ndarray
    world_from_cam: np.ndarray
    size_hw: tuple[int, int]

    def __post_init__(self) -> None:
        check_shape("px_from_cam", self.px_from_cam, 3, 3)
        check_shape("world_from_cam", self.world_from_cam, 4, 4)


@dataclasses.dataclass(frozen=True)
class Rendered:
    """B pictures. colour: (B, H, W, 3) float32, linear light, premultiplied with alpha. alpha: (B, H, W) in [0, 1].
    depth: (B, H, W) m, inf where nothing is. What was not wanted is None.
    """

    colour: torch.Tensor | None
    alpha: torch.Tensor | None
    depth: torch.Tensor | None
