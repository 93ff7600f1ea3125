"""A tracked clip of a head whose texture is known because we painted it: our own renderer makes the frames when they are asked for."""

from __future__ import annotations

import numpy as np
import torch
from procedural_rig import procedural_rig
from synthetic_take import PORTRAIT, synthetic_take

from backend.avatars import textured_mesh
from backend.avatars.instant import Camera, Drive
from backend.capture.colour import srgb_encode
from backend.capture.model import PARSING
from backend.geometry.cameras import invert_rigid
from backend.render.meshes import rasterise
from backend.render.shading import render_mesh
from backend.rig.model import PARTS
from backend.rig.posing import posable_head
from backend.texture.texels import part_of_quad

SIZE = 256
NUM = 20
CLASS_OF_PART = {"skin": "skin", "scalp": "hair", "eye_left": "eyes", "eye_right": "eyes", "teeth_upper": "inner_mouth", "teeth_lower": "inner_mouth", "tongue": "inner_mouth"}


def painted(size: int = SIZE) -> np.ndarray:
    """A smooth linear texture in which every place differs from its neighbours."""
    v, u = np.mgrid[0:size, 0:size] / size
    return np.stack([0.35 + 0.2 * np.sin(7 * u), 0.3 + 0.2 * np.cos(9 * v), 0.3 + 0.15 * np.sin(5 * (u + v))], -1).astype(np.float32)


class Take:
    """A tracked clip of the painted head, whose frames are rendered when they are asked for."""

    def __init__(self, texture: np.ndarray, num: int = NUM, light: np.ndarray | None = None):
        """light: (9, 3) irradiance / pi, world frame; None = the texture is shown as it is."""
        self.light = light
        self.rig = procedural_rig()
        capture, self.track = synthetic_take(self.rig, num, size_hw=PORTRAIT)
        head = posable_head(self.rig, torch.from_numpy(self.track.identity), self.track.scale)
        self.state = textured_mesh.state_of(head, self.rig.quads, self.rig.uv, self.rig.quad_uv, self.rig.quad_parts, self.rig.part_names, texture)
        self.asked: list[int] = []
        self.gains = np.ones(num)
        self.pictures: dict[int, tuple[np.ndarray, np.ndarray]] = {}
        triangles, _, owner = self.rig.triangles_of_quads()
        part = part_of_quad(self.rig)[owner]
        number = np.array([PARSING.index(CLASS_OF_PART.get(name, "background")) for name in PARTS], np.uint8)
        drawn = ~np.isin(part, [PARTS.index(name) for name in ("cornea_left", "cornea_right", "lashes")])
        parsing = np.zeros((num, *PORTRAIT), np.uint8)
        for sample in range(num):
            drive, camera = self.drive(sample), self.camera(sample)
            matrix = invert_rigid(camera.world_from_cam[0]) @ drive.world_from_root[0]
            vertices = head.pose(*(torch.from_numpy(values[0]) for values in (drive.controls, drive.joint_rotations))).numpy()
            ids = rasterise(vertices @ matrix[:3, :3].T + matrix[:3, 3], triangles[drawn], camera.px_from_cam[0], PORTRAIT).triangle_ids.numpy()
            parsing[sample] = np.where(ids >= 0, number[part[drawn]][np.maximum(ids, 0)], 0)
        self.capture = capture.replace(
            source_path="painted.mp4", px_crop_from_px=np.eye(3), crop_size_hw=PORTRAIT, parsing=parsing, matte=np.where(parsing > 0, 255, 0).astype(np.uint8),
            sharpness=np.linspace(1, 2, num).astype(np.float32),
        )

    def drive(self, sample: int) -> Drive:
        return Drive(self.track.controls[[sample]], self.track.joint_rotations[[sample]], self.track.world_from_root[[sample]])

    def camera(self, sample: int) -> Camera:
        return Camera(self.track.px_from_cam[None], self.track.world_from_cam[[sample]], PORTRAIT)

    def picture(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        """(H, W, 3) premultiplied linear colour and (H, W, 1) coverage of one frame."""
        if self.light is None:
            picture = textured_mesh.render(self.state, self.drive(index), self.camera(index))
            return picture.colour[0].numpy(), picture.alpha[0].numpy()[..., None]
        drive, camera = self.drive(index), self.camera(index)
        matrix = invert_rigid(camera.world_from_cam[0]) @ drive.world_from_root[0]
        vertices = self.state.head.pose(torch.from_numpy(drive.controls[0]), torch.from_numpy(drive.joint_rotations[0])).numpy()
        colour, alpha, _ = render_mesh(
            torch.from_numpy((vertices @ matrix[:3, :3].T + matrix[:3, 3]).astype(np.float32)), torch.from_numpy(self.state.triangles), camera.px_from_cam[0], PORTRAIT,
            world_from_cam=camera.world_from_cam[0], light=torch.from_numpy(self.light.astype(np.float32)), texture=self.state.texture,
            uv_corners=torch.from_numpy(self.state.corner_uv),
        )
        return colour.numpy(), alpha.numpy()[..., None]

    def frames(self, path, indices):
        assert path == "painted.mp4"
        for index in sorted(indices):
            self.asked.append(index)
            if index not in self.pictures:
                self.pictures[index] = self.picture(index)
            colour, alpha = self.pictures[index]
            linear = colour * self.gains[index] + (1 - alpha) * np.float32([0, 1, 0])
            yield index, index / 25, np.floor(srgb_encode(linear) * 255 + 0.5).astype(np.uint8)
