"""One synthetic person: shape, look, texture, hair and shirt, drawn from a seed."""

from __future__ import annotations

import dataclasses

import numpy as np
import torch

from ..rig.model import RigModel
from ..rig.personal_neutral import is_resting_mode
from ..rig.posing import PosableHead, posable_head
from .anatomy import Anatomy
from .config import SynthConfig
from .dress import Hair, grow_hair, shirt
from .looks import Look, draw_look
from .texture_bake import BakedTexture, bake_texture

_MAX_SIGMAS = 2.2


@dataclasses.dataclass(frozen=True)
class Person:
    """identity: (S,) float32. scale: of the rig. head: ready to pose. shirt_vertices, shirt_triangles: root frame of the rest pose."""

    identity: np.ndarray
    scale: float
    head: PosableHead
    look: Look
    texture: BakedTexture
    hair: Hair
    shirt_vertices: np.ndarray
    shirt_triangles: np.ndarray


def draw_person(rig: RigModel, anatomy: Anatomy, config: SynthConfig, rng: np.random.Generator) -> Person:
    """A random person."""
    modes = rig.identity_basis.shape[2]
    identity = np.clip(rng.standard_normal(modes) * config.identity_sigma, -_MAX_SIGMAS, _MAX_SIGMAS).astype(np.float32)
    identity[is_resting_mode(rig)] = 0
    scale = float(np.round(rng.uniform(0.97, 1.03), 4))
    look = draw_look(rng)
    head = posable_head(rig, torch.from_numpy(identity), scale)
    texture = bake_texture(rig, anatomy, look, config.texture_px, config.use_hair)
    hair = grow_hair(rig, anatomy, look) if config.use_hair else Hair(np.zeros((0, 3), np.int32), np.zeros(rig.num_vertices, np.float32))
    clothes = shirt(rig, head.neutral.numpy()) if config.use_body else (np.zeros((0, 3), np.float32), np.zeros((0, 3), np.int32))
    return Person(identity, scale, head, look, texture, hair, *clothes)
