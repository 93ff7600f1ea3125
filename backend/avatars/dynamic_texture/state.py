"""A trained dynamic texture: everything that is needed to draw it. Its file is that of ``exact``."""

from __future__ import annotations

import dataclasses
import functools
from typing import Any

import numpy as np

from ...geometry.shapes import check_shape
from ...texture.light import ClipLight
from ..textured_head import TexturedMesh
from .exact import ExactTexture
from .exact import read_exact as read_exact_texture
from .exact import write_exact as write_exact_texture
from .painting import TexturePainter

__all__ = ["DynamicTexture", "ExactTexture", "TrainedTexture", "read_exact_texture", "write_exact_texture"]


@dataclasses.dataclass(frozen=True)
class DynamicTexture:
    """What is drawn: the head with its static albedo, the clip's light, where the texture may change (M), and the network.

    mesh: posable head, triangles, static albedo (S, S, 3) linear. light: of the clip. mask: (S, S) float32 in [0, 1].
    control_names, joint_names: order of ``Drive.controls`` and ``Drive.joint_rotations``.
    """

    mesh: TexturedMesh
    light: ClipLight
    mask: np.ndarray
    exact: ExactTexture
    control_names: tuple[str, ...]
    joint_names: tuple[str, ...]

    def __post_init__(self) -> None:
        check_shape("mask", self.mask, *self.mesh.texture.shape[:2])

    @functools.cached_property
    def painter(self) -> TexturePainter:
        """Paints textures; built when first asked for (about 0.1 s)."""
        return TexturePainter(self.mesh.texture.numpy(), self.mask, self.exact.canvas, self.exact.windows)


@dataclasses.dataclass(frozen=True)
class TrainedTexture:
    """What training gives. exact: the network. info: facts for the report, JSON types (docs/dynamic-texture.md)."""

    exact: ExactTexture
    info: dict[str, Any]
