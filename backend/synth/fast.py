"""Frames by the project's own rasteriser: diffuse light, gloss, ambient occlusion, hair shells. For tests and the quick demo, never for tables."""

from __future__ import annotations

import numpy as np
import torch

from ..geometry.cameras import invert_rigid, transform_points
from ..render.meshes import rasterise
from ..render.shading import linear_from_srgb
from ..render.surface_normals import vertex_normals
from ..rig.model import RigModel
from ..rig.solid_parts import solid_mask
from . import fast_kernels as kernels
from .anatomy import Anatomy
from .dress import SHELLS, combed_coordinates
from .fast_kernels import CLOTH, SKIN, WET
from .light import Light
from .occlusion import ambient_openness
from .person import Person

_SENSOR_NOISE = 0.004
"""Standard deviation of the camera's noise, of full scale."""
_MOUTH_OPEN = {"jawOpen": 0.6, "mouthLowerDownLeft": 0.3, "mouthLowerDownRight": 0.3, "mouthUpperUpLeft": 0.3, "mouthUpperUpRight": 0.3}
_LETS_LIGHT_IN = {"jawOpen": 1.6, "mouthLowerDown": 0.45, "mouthUpperUp": 0.45, "mouthSmile": 0.2, "mouthFunnel": 0.5}
"""How much of the open mouth's ambient light a control (each side of it) brings."""
_WET_PARTS = ["eye_left", "eye_right", "teeth_upper", "teeth_lower", "tongue"]
_GLOSS = np.array([[0.05, 14.0], [0.09, 40.0], [0.75, 220.0]])
"""Strength and exponent of the highlight (Blinn and Phong) on skin, lips and wet surfaces."""


class FastStage:
    """Renders one person under one light.

    Args:
        size_hw: of the frame, px. supersample: rays per pixel side. backdrop: (H, W, 3) linear.
    """

    def __init__(self, rig: RigModel, anatomy: Anatomy, person: Person, light: Light, backdrop: np.ndarray, supersample: int, noise_seed: int):
        self._size_hw, self._supersample, self._noise_seed = backdrop.shape[:2], supersample, noise_seed
        self._person, self._light = person, light
        self._backdrop = np.repeat(np.repeat(backdrop, supersample, 0), supersample, 1)
        self._sh = light.coefficients().astype(np.float64)
        self._lamps = np.stack([lamp.direction for lamp in light.lamps]), np.stack([lamp.irradiance for lamp in light.lamps]) / np.pi
        triangles, uv_triangles, owner = rig.triangles_of_quads()
        part = np.array(rig.part_names)[rig.quad_parts[owner]]
        solid, lashes = solid_mask(rig), part == "lashes"
        self._head_triangles, self._num_head = triangles, rig.num_vertices
        shirt = person.shirt_triangles + rig.num_vertices
        self._scene = np.concatenate([triangles[solid], shirt])
        self._all_triangles = torch.from_numpy(np.concatenate([triangles, shirt]))
        self._uv = np.concatenate([rig.uv[uv_triangles[solid]], np.zeros((len(shirt), 3, 2), np.float32)])
        kinds = np.where(np.isin(part[solid], _WET_PARTS), WET, SKIN)
        self._kinds = np.concatenate([kinds, np.full(len(shirt), CLOTH)]).astype(np.uint8)
        self._lashes, self._lash_uv = triangles[lashes], rig.uv[uv_triangles[lashes]]
        linear = lambda colour: linear_from_srgb(torch.from_numpy(np.asarray(colour, dtype=np.float32))).numpy()  # noqa: E731
        self.albedo, self._opacity = linear(person.texture.albedo), np.ascontiguousarray(person.texture.opacity[..., None])
        self._cloth, self._hair_colour = linear(person.look.shirt), linear(person.look.hair)
        self._lips = np.concatenate([anatomy.lips, np.zeros(len(person.shirt_vertices), np.float32)])
        self._hair = np.concatenate(
            [combed_coordinates(rig.template, person.look.seed + 90), anatomy.hair_depth_m(rig.template.astype(np.float64))[:, None].astype(np.float32)], -1
        )
        self._opening = np.array([_LETS_LIGHT_IN.get(name.removesuffix("Left").removesuffix("Right"), 0.0) for name in rig.expression_names])
        self._openness_shut, self._openness_open = self._openness(rig)

    def _openness(self, rig: RigModel) -> tuple[np.ndarray, np.ndarray]:
        """Ambient openness of head and shirt with the mouth shut and open, (P,) each."""
        opened = torch.zeros(len(rig.expression_names))
        for name, value in _MOUTH_OPEN.items():
            if name in rig.expression_names:
                opened[rig.expression_names.index(name)] = value
        found = []
        for controls in (torch.zeros_like(opened), opened):
            head = self._person.head.pose(controls, torch.zeros(len(rig.joint_names), 3))
            both = torch.cat([head, torch.from_numpy(self._person.shirt_vertices)]).double()
            found.append(ambient_openness(both.numpy(), self._scene, vertex_normals(both, self._all_triangles).numpy()))
        return found[0], found[1]

    def frame(
        self, index: int, controls: np.ndarray, joint_rotations: np.ndarray, world_from_root: np.ndarray, world_from_body: np.ndarray,
        world_from_cam: np.ndarray, px_from_cam: np.ndarray, texture: np.ndarray | None = None,
    ) -> np.ndarray:
        """(H, W, 3) uint8 sRGB.

        Args:
            index: number of the frame, seeds the sensor's noise. Poses as in ``Truth``; ``world_from_body`` (4, 4) places the shirt.
            texture: (S, S, 3) float32 linear, of this frame; None = the person's albedo.
        """
        texture = self.albedo if texture is None else texture
        head = self._person.head.pose(torch.from_numpy(controls), torch.from_numpy(joint_rotations)).numpy()
        world = np.concatenate([
            transform_points(world_from_root, head.astype(np.float64)), transform_points(world_from_body, self._person.shirt_vertices.astype(np.float64)),
        ])
        normals = kernels.area_normals(world, self._all_triangles.numpy())
        # Opening the mouth lets light in.
        opening = float(np.clip(controls @ self._opening, 0, 1))
        openness = self._openness_shut + opening * (self._openness_open - self._openness_shut)
        s, (height, width) = self._supersample, self._size_hw
        camera, size = np.diag([s, s, 1.0]) @ px_from_cam, (height * s, width * s)
        cam_from_world = invert_rigid(world_from_cam)
        seen = transform_points(cam_from_world, world)
        picture = self._backdrop.copy()
        scene = rasterise(seen, self._scene, camera, size)
        depth = scene.depth_m.numpy()
        attributes = np.concatenate([world.astype(np.float32), normals, openness[:, None], self._lips[:, None]], -1)
        kernels.shade_solid(
            scene.triangle_ids.numpy(), scene.barycentric.numpy(), self._scene, attributes, self._uv, self._kinds, texture, self._sh,
            *self._lamps, world_from_cam[:3, 3].copy(), self._cloth, _GLOSS, picture,
        )
        if len(self._lashes):
            cards = rasterise(seen, self._lashes, camera, size)
            kernels.blend_lashes(
                cards.triangle_ids.numpy(), cards.barycentric.numpy(), cards.depth_m.numpy(), depth, self._lash_uv, texture, self._opacity, picture
            )
        hair = self._person.hair
        if len(hair.triangles):
            attributes = np.concatenate([normals[: self._num_head], self._hair], -1)
            lift = (hair.lift * self._person.scale)[:, None] * normals[: self._num_head]
            for share in SHELLS:
                shell = rasterise(transform_points(cam_from_world, world[: self._num_head] + share * lift), hair.triangles, camera, size)
                kernels.blend_hair(
                    shell.triangle_ids.numpy(), shell.barycentric.numpy(), shell.depth_m.numpy(), hair.triangles, attributes, share,
                    self._person.look.seed + 91, self._hair_colour, self._sh, self._lamps[0][0], depth, picture,
                )
        grain = _SENSOR_NOISE * np.random.default_rng((self._noise_seed, index)).standard_normal((height, width, 3), dtype=np.float32)
        out = np.empty((height, width, 3), np.uint8)
        kernels.finish(picture, s, grain, out)
        return out
