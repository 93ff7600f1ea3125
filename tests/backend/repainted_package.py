"""A painted package that also has a light, a mask, an exact network and a distilled texture, with numbers that nobody trained."""

from __future__ import annotations

import dataclasses

import cv2
import numpy as np

from backend.avatars.dynamic_texture.canvas import Canvas, Patch
from backend.avatars.dynamic_texture.eigen import EigenTexture, WeightMap
from backend.avatars.dynamic_texture.eigen_files import write_eigen
from backend.avatars.dynamic_texture.exact import ExactTexture, write_exact
from backend.avatars.dynamic_texture.inputs import gather_inputs, head_orientation, input_names, input_space
from backend.avatars.dynamic_texture.network import seeded_network
from backend.avatars.dynamic_texture.painting import WINDOW_PX
from backend.package.model import Asset, AvatarPackage
from backend.package.read_dynamic import EIGEN_FILE, KIND, NETWORK_FILE
from backend.texture.light import even_light

RECT = (0.02, 0.2, 0.62, 0.56)
"""Where the face of the procedural head lies on its texture."""


def repainted(package: AvatarPackage, strength: float = 300.0) -> AvatarPackage:
    """The package with further files in its folder and the assets that name them. The mask is 0 outside the face.

    Args:
        strength: multiplies the last layer of the fresh network, which paints nearly nothing.
    """
    clip, size = package.animation, package.texture.size_px
    names = input_names(clip.control_names, package.mesh.joint_names)
    orientation = head_orientation(clip.world_from_root, clip.joint_rotations, package.mesh.joint_names, clip.world_from_cam)
    training = gather_inputs(names, clip.control_names, clip.controls, package.mesh.joint_names, clip.joint_rotations, orientation)
    space = input_space(names, len(clip.control_names), training[clip.split == 0])
    network = seeded_network(space, 256, "shuffle", 3)
    network.paint.weight.data.mul_(strength)
    canvas = Canvas(256, (Patch(0, RECT, (0, 0, 128, 128)),), ("rest",))
    write_exact(package.folder / NETWORK_FILE, ExactTexture(network, space, canvas, np.full((1, WINDOW_PX, WINDOW_PX), 255, np.uint8)))
    random = np.random.default_rng(4)
    tiles = (0.2 * random.standard_normal((3, 16, 16, 3))).astype(np.float16)
    weights = np.concatenate([np.zeros((1, len(clip.control_names))), random.standard_normal((2, len(clip.control_names)))]).astype(np.float32)
    eigen = EigenTexture(
        size, ("rest",), np.array([3], np.int32), np.array([0], np.int32), np.array([RECT], np.float32), (tiles,),
        WeightMap(clip.control_names, weights, np.array([1, 0, 0], np.float32)),
    )
    write_eigen(package.folder / EIGEN_FILE, eigen)
    mask = np.zeros((size, size), np.uint8)
    mask[int(0.46 * size) : int(0.78 * size), int(0.05 * size) : int(0.6 * size)] = 255
    cv2.imwrite(str(package.folder / "texture" / "mask.png"), cv2.GaussianBlur(mask, (0, 0), 2))
    texture = dataclasses.replace(package.texture, mask=package.folder / "texture" / "mask.png", light=even_light(), is_delit=True)
    asset = Asset("dynamic", KIND, 1, (), ("head", "albedo"), clip.control_names, 1.0, {})
    return dataclasses.replace(package, texture=texture, assets=(*package.assets, asset))
