"""Where the static texture in the clip's light looks unlike the training frames, whatever the reason: gloss, shadows, beards, imperfect tracking.

Unlike ``residual`` it compares pictures, not texels with their own mean: at the sides of a face, where few pixels fall on many texels and the surface is
seen obliquely, those differ most.
"""

from __future__ import annotations

import cv2
import numpy as np
import torch
from scipy.ndimage import gaussian_filter

from ..capture.colour import srgb_decode, srgb_encode
from ..capture.model import PARSING, Capture
from ..capture.video import iterate_frames
from ..geometry.cameras import invert_rigid
from ..render.interpolation import interpolate
from ..render.meshes import rasterise, sample_texture
from ..render.surface_normals import vertex_normals
from ..reporter import Reporter
from ..rig import landmark_names
from ..rig.model import RigModel
from ..rig.posing import PosableHead, posable_head
from ..rig.solid_parts import solid_mask
from ..track.model import Track
from .light import ClipLight
from .texels import Texels

NUM_FRAMES = 48
PICTURE_PX, CELLS = 256, 256
"""Side of the pictures of the face, and of the grid over the texture on which their errors are collected."""
_MARGIN = 1.12
_BLUR_CELLS = 1.5
_FACE = tuple(PARSING.index(name) for name in ("skin", "lips", "brows"))


def unexplained_of_texels(
    capture: Capture, track: Track, rig: RigModel, texels: Texels, linear: np.ndarray, light: ClipLight, samples: np.ndarray, reporter: Reporter
) -> np.ndarray:
    """(n,) float32: root mean square difference in sRGB of the pixels that showed a texel; NaN where none did.

    Args:
        linear: (S, S, 3) float32, albedo. light: of the clip. samples: training frames to choose ``NUM_FRAMES`` from, ascending.
    """
    chosen = samples[np.unique(np.round(np.linspace(0, len(samples) - 1, min(len(samples), NUM_FRAMES))).astype(int))]
    sample_of = {int(capture.time_index[sample]): int(sample) for sample in chosen}
    head = posable_head(rig, torch.from_numpy(np.asarray(track.identity, np.float32)), float(track.scale))
    texture = torch.from_numpy(np.ascontiguousarray(linear, np.float32))
    squares, counts = np.zeros(CELLS * CELLS), np.zeros(CELLS * CELLS)
    for index, _, rgb in iterate_frames(capture.source_path, sorted(sample_of)):
        cells, error = _compared(capture, track, rig, head, texture, light, sample_of[index], rgb)
        squares += np.bincount(cells, error, len(squares))
        counts += np.bincount(cells, minlength=len(counts))
        reporter.check()
    blurred = lambda values: gaussian_filter(values.reshape(CELLS, CELLS), _BLUR_CELLS)  # noqa: E731
    weight = blurred(counts)
    root = np.where(weight > 1, np.sqrt(blurred(squares) / np.maximum(weight, 1e-9)), np.nan).astype(np.float32)
    return root[texels.rows * CELLS // texels.size_px, texels.cols * CELLS // texels.size_px]


def _compared(
    capture: Capture, track: Track, rig: RigModel, head: PosableHead, texture: torch.Tensor, light: ClipLight, sample: int, rgb: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """(k,) cell of the grid and (k,) mean squared sRGB difference of the pixels of one frame that are certainly skin."""
    outline = capture.landmarks_px[sample, list(landmark_names.FACE_OVAL)]
    side = max(16.0, float(np.ptp(outline, axis=0).max()) * _MARGIN)
    scale = PICTURE_PX / side
    left, top = 0.5 * (outline.min(0) + outline.max(0)) - 0.5 * side
    picture_from_px = np.array([[scale, 0, -scale * left], [0, scale, -scale * top], [0, 0, 1.0]])
    vertices = head.pose(torch.from_numpy(track.controls[sample]).float(), torch.from_numpy(track.joint_rotations[sample]).float()).numpy()
    cam_from_root = invert_rigid(track.world_from_cam[sample]) @ track.world_from_root[sample]
    in_cam = torch.from_numpy((vertices @ cam_from_root[:3, :3].T + cam_from_root[:3, 3]).astype(np.float32))
    triangles, uv_triangles, _ = rig.triangles_of_quads()
    is_solid = solid_mask(rig)
    solid, corner_uv = np.ascontiguousarray(triangles[is_solid], np.int32), torch.from_numpy(np.ascontiguousarray(rig.uv[uv_triangles[is_solid]], np.float32))
    fragments = rasterise(in_cam, solid, picture_from_px @ track.px_from_cam, (PICTURE_PX, PICTURE_PX))
    is_face = cv2.erode(np.isin(capture.parsing[sample], _FACE).astype(np.uint8), np.ones((3, 3), np.uint8))
    is_covered = fragments.is_covered
    chosen = is_covered.numpy() & (_warped(is_face.astype(np.float32), picture_from_px @ np.linalg.inv(capture.px_crop_from_px)) > 0.8)
    at = torch.from_numpy(chosen)
    uv = interpolate(fragments, solid, corner_uv)[at]
    normals = torch.nn.functional.normalize(interpolate(fragments, solid, vertex_normals(in_cam, torch.from_numpy(solid)))[at], dim=-1).numpy()
    expected = sample_texture(texture, uv).numpy() * light.shade(normals @ track.world_from_cam[sample][:3, :3].T.astype(np.float32), track.world_from_cam[sample])
    seen = _warped(rgb, picture_from_px)[chosen] / 255.0
    if len(seen):  # the exposure of the frame is nobody's fault
        ratio = srgb_decode(seen).mean(-1) / np.maximum(expected.mean(-1), 1e-3)
        expected = expected * np.clip(np.median(ratio), 0.8, 1.25)
    place = np.clip((np.stack([1 - uv[:, 1].numpy(), uv[:, 0].numpy()], -1) * CELLS).astype(np.int64), 0, CELLS - 1)
    return place[:, 0] * CELLS + place[:, 1], ((srgb_encode(np.clip(expected, 0, 1)) - seen) ** 2).mean(-1)


def _warped(picture: np.ndarray, matrix: np.ndarray) -> np.ndarray:
    """A picture of ``PICTURE_PX`` a side; pixel centres lie at +0.5, which cv2 puts at 0."""
    shift = np.array([[1, 0, 0.5], [0, 1, 0.5], [0, 0, 1.0]])
    return cv2.warpAffine(picture, (np.linalg.inv(shift) @ matrix @ shift)[:2], (PICTURE_PX, PICTURE_PX), flags=cv2.INTER_LINEAR)
