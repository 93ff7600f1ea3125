"""A tracked clip whose texture is known and changes with the expression: the dynamic texture's own renderer draws it, from a painted rule."""

from __future__ import annotations

import numpy as np
import torch
from procedural_rig import procedural_rig
from synthetic_take import PORTRAIT, checker_texture, synthetic_take

from backend.avatars import textured_mesh
from backend.avatars.instant import Camera, Drive
from backend.avatars.textured_head import state_of
from backend.capture.colour import srgb_decode, srgb_encode
from backend.capture.model import PARSING, Capture
from backend.package.write import packaged_controls
from backend.rig import landmark_names
from backend.rig.posing import posable_head
from backend.texture.blending_mask import blending_mask
from backend.texture.light import even_light
from backend.texture.model import StaticTexture
from backend.texture.texels import find_texels
from backend.track.model import Track

SIZE, NUM = 256, 40


class ExpressiveTake:
    """Frames are drawn when they are asked for; ``asked`` remembers which. The skin inside the mask turns redder with jawOpen and darker with browInnerUp."""

    def __init__(self, num: int = NUM) -> None:
        self.rig = procedural_rig()
        capture, track = synthetic_take(self.rig, num, size_hw=PORTRAIT)
        self.track: Track = track.replace(controls=packaged_controls(self.rig, track.controls, track.joint_rotations))
        self.static = srgb_decode(0.35 + 0.3 * checker_texture(SIZE)[0] / 255).astype(np.float32)
        texels = find_texels(self.rig, SIZE)
        self.mask = blending_mask(self.rig, texels).image
        srgb = np.floor(srgb_encode(self.static) * 255 + 0.5).astype(np.uint8)
        self.texture = StaticTexture(srgb, self.static, np.full((SIZE, SIZE), 255, np.uint8), srgb, self.mask, even_light(), {"delit": True})
        head = posable_head(self.rig, torch.from_numpy(self.track.identity), self.track.scale)
        self.mesh = state_of(head, self.rig.quads, self.rig.uv, self.rig.quad_uv, self.rig.quad_parts, self.rig.part_names, self.static)
        self.capture: Capture = self._seen(capture)
        self.asked: list[int] = []
        self.drawn: dict[int, np.ndarray] = {}

    def true_texture(self, sample: int) -> np.ndarray:
        """(S, S, 3) linear."""
        names = self.rig.expression_names
        jaw, brow = (float(self.track.controls[sample, names.index(name)]) for name in ("jawOpen", "browInnerUp"))
        code = srgb_encode(self.static) + jaw * np.array([0.12, -0.08, -0.08]) - 0.1 * brow
        share = (self.mask / 255)[..., None]
        return (self.static + share * (srgb_decode(np.clip(code, 0, 1)) - self.static)).astype(np.float32)

    def drive(self, sample: int) -> Drive:
        return Drive(self.track.controls[[sample]], self.track.joint_rotations[[sample]], self.track.world_from_root[[sample]])

    def camera(self, sample: int) -> Camera:
        return Camera(self.track.px_from_cam[None], self.track.world_from_cam[[sample]], PORTRAIT)

    def frames(self, path: str, indices: list[int]):
        """Stands in for ``iterate_frames``."""
        for index in sorted(indices):
            self.asked.append(index)
            if index not in self.drawn:
                self.drawn[index] = self._draw(index)
            yield index, index / 25, self.drawn[index]

    def _draw(self, index: int) -> np.ndarray:
        state = textured_mesh.TexturedMesh(self.mesh.head, self.mesh.triangles, self.mesh.corner_uv, torch.from_numpy(self.true_texture(index)))
        picture = textured_mesh.render(state, self.drive(index), self.camera(index), want=("colour", "alpha"))
        return np.floor(srgb_encode(picture.colour[0].numpy()) * 255 + 0.5).astype(np.uint8)

    def _seen(self, capture: Capture) -> Capture:
        """Landmarks (outline, lips, lids, eye corners) and parsing as a capture would hold them."""
        num = capture.num_samples
        points = np.zeros((num, 478, 2), np.float32)
        turns = np.linspace(0, 2 * np.pi, len(landmark_names.FACE_OVAL), endpoint=False)
        centre, controls, names = np.array([PORTRAIT[1] / 2, PORTRAIT[0] / 2]), self.track.controls, self.rig.expression_names
        points[:] = centre
        points[:, list(landmark_names.FACE_OVAL)] = centre + np.stack([70 * np.sin(turns), -95 * np.cos(turns)], -1)
        for row, x in zip(landmark_names.OUTER_EYES, (-40, 40)):
            points[:, row] = centre + [x, -20]
        points[:, landmark_names.LIP_INNER_LOWER[5], 1] += 15 * controls[:, names.index("jawOpen")]
        for side, upper, lower in (
            ("Right", landmark_names.LID_UPPER_RIGHT, landmark_names.LID_LOWER_RIGHT), ("Left", landmark_names.LID_UPPER_LEFT, landmark_names.LID_LOWER_LEFT)
        ):
            open_px = 10 * (1 - controls[:, names.index(f"eyeBlink{side}")])
            sign = -1 if side == "Right" else 1
            across = centre[0] + sign * np.linspace(15, 40, len(upper))
            for ids, way in ((upper, -0.5), (lower, 0.5)):
                points[:, list(ids), 0] = across
                points[:, list(ids[1:-1]), 1] = centre[1] - 20 + way * open_px[:, None]
        parsing = np.full((num, 64, 64), PARSING.index("skin"), np.uint8)
        scale = np.diag([64 / PORTRAIT[1], 64 / PORTRAIT[0], 1.0])
        return capture.replace(source_path="expressive.mp4", landmarks_px=points, parsing=parsing, matte=np.full_like(parsing, 255), px_crop_from_px=scale)
