"""Frames by the project's own rasteriser: diffuse light, gloss, ambient occlusion, hair shells. For tests and the quick demo, never for tables."""

from __future__ import annotations

import numpy as np
import torch

from ..geometry.cameras import transform_points
from ..render.meshes import Fragments, interpolate, rasterise, sample_texture
from ..render.shading import linear_from_srgb, shade, srgb_from_linear, vertex_normals
from ..rig.model import RigModel
from .anatomy import Anatomy, solid_triangles
from .dress import SHELLS, strand_pattern
from .light import Light
from .noise import noise
from .occlusion import ambient_openness
from .person import Person

_SENSOR_NOISE = 0.004
"""Standard deviation of the camera's noise, of full scale."""
_MOUTH_OPEN = {"jawOpen": 0.6, "mouthLowerDownLeft": 0.3, "mouthLowerDownRight": 0.3, "mouthUpperUpLeft": 0.3, "mouthUpperUpRight": 0.3}
_SKIN_GLOSS, _LIP_GLOSS, _WET_GLOSS = (0.05, 14.0), (0.09, 40.0), (0.75, 220.0)
"""Strength and exponent of the highlight (Blinn and Phong)."""


class FastStage:
    """Renders one person under one light.

    Args:
        size_hw: of the frame, px. supersample: rays per pixel side. backdrop: (H, W, 3) linear.
    """

    def __init__(self, rig: RigModel, anatomy: Anatomy, person: Person, light: Light, backdrop: np.ndarray, supersample: int, noise_seed: int):
        self._size_hw, self._supersample, self._noise_seed = backdrop.shape[:2], supersample, noise_seed
        self._person, self._light, self._anatomy = person, light, anatomy
        self._backdrop = torch.from_numpy(backdrop)
        self._sh = torch.from_numpy(light.coefficients())
        triangles, uv_triangles, owner = rig.triangles_of_quads()
        solid = solid_triangles(rig)
        part = np.array(rig.part_names)[rig.quad_parts[owner]]
        self._head_triangles = triangles
        self._solid = torch.from_numpy(triangles[solid])
        self._solid_uv = torch.from_numpy(rig.uv[uv_triangles[solid]])
        self._lashes = torch.from_numpy(triangles[part == "lashes"])
        self._lash_uv = torch.from_numpy(rig.uv[uv_triangles[part == "lashes"]])
        self._shirt = torch.from_numpy(person.shirt_triangles + rig.num_vertices)
        self._num_head, self._num_solid = rig.num_vertices, int(solid.sum())
        self._scene_triangles = torch.cat([self._solid, self._shirt])
        self._texture = linear_from_srgb(torch.from_numpy(person.texture.albedo))
        self._opacity = torch.from_numpy(person.texture.opacity[..., None])
        self._wet = torch.from_numpy(np.isin(part[solid], ["eye_left", "eye_right", "teeth_upper", "teeth_lower", "tongue"]))
        self._open_control = rig.expression_names.index("jawOpen") if "jawOpen" in rig.expression_names else None
        opened = torch.zeros(len(rig.expression_names))
        for name, value in _MOUTH_OPEN.items():
            if name in rig.expression_names:
                opened[rig.expression_names.index(name)] = value
        still = torch.zeros(len(rig.joint_names), 3)
        self._openness = [self._open(person.head.pose(controls, still).numpy(), triangles[solid]) for controls in (torch.zeros(len(opened)), opened)]
        self._shirt_openness = torch.from_numpy(self._open_shirt())
        self._lips = torch.from_numpy(anatomy.lips)
        self._template = torch.from_numpy(rig.template)
        self._hair_triangles = torch.from_numpy(person.hair.triangles)
        self._hair_colour = linear_from_srgb(torch.from_numpy(person.look.hair).float())
        self._shirt_colour = linear_from_srgb(torch.from_numpy(person.look.shirt).float())

    def _open(self, vertices: np.ndarray, triangles: np.ndarray) -> torch.Tensor:
        normals = vertex_normals(torch.from_numpy(vertices), torch.from_numpy(self._head_triangles)).numpy()
        return torch.from_numpy(ambient_openness(vertices.astype(np.float64), triangles, normals.astype(np.float64)))

    def _open_shirt(self) -> np.ndarray:
        head = self._person.head.neutral.numpy()
        both = np.concatenate([head, self._person.shirt_vertices]).astype(np.float64)
        triangles = self._scene_triangles.numpy()
        normals = vertex_normals(torch.from_numpy(both), torch.from_numpy(triangles)).numpy()
        return ambient_openness(both, triangles, normals)[len(head):]

    def frame(
        self, index: int, controls: np.ndarray, joint_rotations: np.ndarray, world_from_root: np.ndarray, world_from_body: np.ndarray,
        world_from_cam: np.ndarray, px_from_cam: np.ndarray,
    ) -> np.ndarray:
        """(H, W, 3) uint8 sRGB.

        Args:
            index: number of the frame, seeds the sensor's noise. Poses as in ``Truth``; ``world_from_body`` (4, 4) places the shirt.
        """
        head = self._person.head.pose(torch.from_numpy(controls), torch.from_numpy(joint_rotations))
        world = torch.cat([
            transform_points(torch.from_numpy(world_from_root).float(), head),
            transform_points(torch.from_numpy(world_from_body).float(), torch.from_numpy(self._person.shirt_vertices)),
        ])
        cam_from_world = torch.from_numpy(np.linalg.inv(world_from_cam)).float()
        eye_point = torch.from_numpy(world_from_cam[:3, 3]).float()
        triangles = torch.cat([torch.from_numpy(self._head_triangles), self._shirt])
        normals = vertex_normals(world, triangles)
        opening = 0.0 if self._open_control is None else min(1.0, max(0.0, 1.6 * float(controls[self._open_control])))
        openness = torch.cat([self._openness[0] + opening * (self._openness[1] - self._openness[0]), self._shirt_openness])
        s = self._supersample
        camera = np.diag([s, s, 1.0]) @ px_from_cam
        size = (self._size_hw[0] * s, self._size_hw[1] * s)
        to_camera = lambda points: transform_points(cam_from_world, points)  # noqa: E731
        lips = torch.cat([self._lips, torch.zeros(len(self._person.shirt_vertices))])
        attributes = torch.cat([world, normals, openness[:, None], lips[:, None]], -1)
        scene = rasterise(to_camera(world), self._scene_triangles, camera, size)
        picture = self._backdrop.repeat_interleave(s, 0).repeat_interleave(s, 1).clone()
        depth = scene.depth_m.clone()
        self._shade_solid(picture, scene, attributes, eye_point)
        self._blend_lashes(picture, depth, rasterise(to_camera(world), self._lashes, camera, size))
        if len(self._hair_triangles) and self._person.look.hair_length_m > 0:
            self._blend_hair(picture, depth, world[: self._num_head], normals[: self._num_head], camera, size, to_camera)
        height, width = self._size_hw
        small = picture.reshape(height, s, width, s, 3).mean((1, 3))
        encoded = srgb_from_linear(small).numpy()
        rng = np.random.default_rng((self._noise_seed, index))
        encoded = encoded + _SENSOR_NOISE * rng.standard_normal(encoded.shape, dtype=np.float32)
        return (np.clip(encoded, 0, 1) * 255 + 0.5).astype(np.uint8)

    def _shade_solid(self, picture: torch.Tensor, scene: Fragments, attributes: torch.Tensor, eye_point: torch.Tensor) -> None:
        is_covered = scene.is_covered
        ids = scene.triangle_ids[is_covered].long()
        values = interpolate(scene, self._scene_triangles, attributes)[is_covered]
        points, normals, openness, lips = values[:, :3], values[:, 3:6], values[:, 6], values[:, 7]
        normals = normals / normals.norm(dim=-1, keepdim=True).clamp_min(1e-9)
        is_head = ids < self._num_solid
        albedo = self._shirt_colour.expand(len(ids), 3).clone()
        weave = torch.from_numpy(noise(points[~is_head].double().numpy() * 900, self._person.look.seed + 80))
        albedo[~is_head] *= (1 + 0.12 * weave)[:, None]
        head_ids = ids[is_head]
        weights = scene.barycentric[is_covered][is_head]
        uv = (self._solid_uv[head_ids] * weights[..., None]).sum(1)
        albedo[is_head] = sample_texture(self._texture, uv)
        # What lies deep sees little sky, and light that gets there has been reddened by skin.
        closed = openness[:, None].clamp(0.02, 1.0) ** torch.tensor([0.85, 1.0, 1.0])
        colour = albedo * shade(normals, self._sh) * closed
        view = eye_point - points
        view = view / view.norm(dim=-1, keepdim=True)
        is_wet = torch.zeros(len(ids), dtype=torch.bool)
        is_wet[is_head] = self._wet[head_ids]
        strength = torch.where(is_wet, _WET_GLOSS[0], _SKIN_GLOSS[0] + lips * (_LIP_GLOSS[0] - _SKIN_GLOSS[0])) * is_head
        exponent = torch.where(is_wet, _WET_GLOSS[1], _SKIN_GLOSS[1] + lips * (_LIP_GLOSS[1] - _SKIN_GLOSS[1]))
        for lamp in self._light.lamps:
            direction = torch.from_numpy(lamp.direction).float()
            half = view + direction
            half = half / half.norm(dim=-1, keepdim=True).clamp_min(1e-9)
            facing = (normals @ direction).clamp_min(0) > 0
            highlight = strength * (normals * half).sum(-1).clamp_min(0) ** exponent * facing * openness.clamp(0, 1) ** 2
            colour = colour + highlight[:, None] * torch.from_numpy(lamp.irradiance / np.pi).float()
        picture[is_covered] = colour

    def _blend_lashes(self, picture: torch.Tensor, depth: torch.Tensor, lashes: Fragments) -> None:
        chosen = lashes.is_covered & (lashes.depth_m < depth + 0.0004)
        ids = lashes.triangle_ids[chosen].long()
        uv = (self._lash_uv[ids] * lashes.barycentric[chosen][..., None]).sum(1)
        opacity = sample_texture(self._opacity, uv)
        picture[chosen] = picture[chosen] * (1 - opacity) + opacity * sample_texture(self._texture, uv) * 0.6

    def _blend_hair(self, picture, depth, world, normals, camera, size, to_camera) -> None:  # type: ignore[no-untyped-def]
        look, template = self._person.look, self._template
        lift = torch.from_numpy(self._person.hair.lift)[:, None] * self._person.scale
        for share in SHELLS:
            shell = world + normals * lift * share
            hair = rasterise(to_camera(shell), self._hair_triangles, camera, size)
            chosen = hair.is_covered & (hair.depth_m < depth)
            if not chosen.any():
                continue
            values = interpolate(hair, self._hair_triangles, torch.cat([template, normals], -1))[chosen]
            rest = values[:, :3].double().numpy()
            normal = values[:, 3:] / values[:, 3:].norm(dim=-1, keepdim=True).clamp_min(1e-9)
            pattern = strand_pattern(rest, look.seed + 90)
            inside = self._anatomy.hair_depth_m(rest) + 0.004 * noise(rest * 160, look.seed + 95)
            # Fewer hairs reach each higher shell; the hairline frays.
            is_hair = torch.from_numpy((pattern > -0.75 + 0.75 * share) & (inside > 0.001 + 0.002 * share))
            colour = self._hair_colour * torch.from_numpy(0.55 + 0.5 * share + 0.55 * pattern.clip(-0.7, 0.7)).float().clamp_min(0.1)[:, None]
            colour = colour * shade(normal, self._sh)
            for lamp in self._light.lamps[:1]:
                gloss = (normal @ torch.from_numpy(lamp.direction).float()).clamp_min(0) ** 12
                colour = colour + 0.05 * gloss[:, None] * torch.from_numpy((1 + pattern) * share).float()[:, None]
            rows, columns = torch.nonzero(chosen, as_tuple=True)
            rows, columns = rows[is_hair], columns[is_hair]
            picture[rows, columns] = colour[is_hair]
            depth[rows, columns] = hair.depth_m[rows, columns]
