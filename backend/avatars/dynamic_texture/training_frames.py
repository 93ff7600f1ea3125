"""Everything about the training frames that does not change while the network learns, computed once.

A step then only runs the network, looks its canvas up at known places, mixes, shades and compares. Only training frames are ever decoded.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import cv2
import numpy as np
import torch

from ...capture.colour import srgb_decode, srgb_encode
from ...capture.model import PARSING, Capture
from ...capture.video import iterate_frames
from ...geometry.cameras import invert_rigid
from ...render.interpolation import interpolate
from ...render.meshes import rasterise, sample_texture
from ...render.surface_normals import vertex_normals
from ...reporter import Reporter
from ...rig import landmark_names
from ...texture.light import ClipLight
from ...track.model import Track
from ..textured_head import TexturedMesh
from .painting import WINDOW_PX

FACE_PIXELS = tuple(PARSING.index(name) for name in ("skin", "lips", "inner_mouth", "eyes", "brows"))
_MARGIN = 1.12
"""Side of the crop over the larger side of the face's outline."""
_MAX_GAIN = 1.15


@dataclasses.dataclass(frozen=True)
class TrainingFrame:
    """One frame, R x R pixels around the face. n pixels can change; p = R * R.

    sample: index into the capture. target: (p, 3) uint8 sRGB. base: (p, 3) uint8 sRGB, the static texture in the clip's light. weight: (p,) uint8,
    255 where the pixel is certainly face. pixels: (n,) int32 into the p. uv: (n, 2) float32. static: (n, 3) float16 linear albedo. mask: (n,) float16, M.
    shade: (n, 3) float16. gain: how much brighter this frame is than the clip; target and base are compared after it was taken out of the target.
    """

    sample: int
    target: np.ndarray
    base: np.ndarray
    weight: np.ndarray
    pixels: np.ndarray
    uv: np.ndarray
    static: np.ndarray
    mask: np.ndarray
    shade: np.ndarray
    gain: float


def crop_side_px(capture: Capture, samples: np.ndarray) -> int:
    """Side of the square around the face, whole pixels of the frame, large enough for 95 of 100 frames."""
    outlines = capture.landmarks_px[samples][:, list(landmark_names.FACE_OVAL)]
    extent = np.ptp(outlines, axis=1).max(1)
    return max(16, int(np.ceil(np.percentile(extent, 95) * _MARGIN)))


def prepare_frames(
    capture: Capture, track: Track, mesh: TexturedMesh, light: ClipLight, mask: np.ndarray, samples: np.ndarray, render_px: int, reporter: Reporter,
    progress: Callable[[int, int], None],
) -> list[TrainingFrame]:
    """Decodes and rasterises the frames.

    Args:
        capture, track: of the clip. mesh: the head with its static albedo. light: of the clip. mask: (S, S) float32, M.
        samples: frames to prepare, training frames only. render_px: side of the pictures; the clip is never enlarged.
        progress: hears (done, all).

    Raises:
        AvatarError: the clip cannot be read.
    """
    side = crop_side_px(capture, samples)
    size = min(render_px, side)
    sample_of = {int(capture.time_index[sample]): int(sample) for sample in samples}
    mask_image = torch.from_numpy(np.ascontiguousarray(mask[..., None], np.float32))
    frames = []
    for index, _, rgb in iterate_frames(capture.source_path, sorted(sample_of)):
        frames.append(_frame(capture, track, mesh, light, mask_image, sample_of[index], rgb, side, size))
        reporter.check()
        progress(len(frames), len(samples))
    return frames


def hits_of(frames: list[TrainingFrame]) -> np.ndarray:
    """(WINDOW_PX, WINDOW_PX) how many certain face pixels of all frames showed each place of the texture."""
    hits = np.zeros(WINDOW_PX * WINDOW_PX)
    for frame in frames:
        sure = frame.weight[frame.pixels] > 127
        cells = np.clip((np.stack([1 - frame.uv[sure, 1], frame.uv[sure, 0]], -1) * WINDOW_PX).astype(np.int64), 0, WINDOW_PX - 1)
        hits += np.bincount(cells[:, 0] * WINDOW_PX + cells[:, 1], minlength=len(hits))
    return hits.reshape(WINDOW_PX, WINDOW_PX)


def _frame(
    capture: Capture, track: Track, mesh: TexturedMesh, light: ClipLight, mask: torch.Tensor, sample: int, rgb: np.ndarray, side: int, size: int
) -> TrainingFrame:
    outline = capture.landmarks_px[sample, list(landmark_names.FACE_OVAL)]
    left, top = np.round(0.5 * (outline.min(0) + outline.max(0)) - 0.5 * side).astype(int)
    target = _cut(rgb, int(left), int(top), side, size)
    scale = size / side
    crop_from_px = np.array([[scale, 0, -scale * left], [0, scale, -scale * top], [0, 0, 1.0]])
    vertices = mesh.head.pose(torch.from_numpy(track.controls[sample]).float(), torch.from_numpy(track.joint_rotations[sample]).float()).numpy()
    cam_from_root = invert_rigid(track.world_from_cam[sample]) @ track.world_from_root[sample]
    in_cam = torch.from_numpy((vertices @ cam_from_root[:3, :3].T + cam_from_root[:3, 3]).astype(np.float32))
    fragments = rasterise(in_cam, mesh.triangles, crop_from_px @ track.px_from_cam, (size, size))
    is_covered = fragments.is_covered
    uv = interpolate(fragments, mesh.triangles, torch.from_numpy(mesh.corner_uv))[is_covered]
    normals = interpolate(fragments, mesh.triangles, vertex_normals(in_cam, torch.from_numpy(mesh.triangles)))[is_covered]
    in_world = torch.nn.functional.normalize(normals, dim=-1).numpy() @ track.world_from_cam[sample][:3, :3].T.astype(np.float32)
    shade = light.shade(in_world, track.world_from_cam[sample]).astype(np.float32)
    albedo = sample_texture(mesh.texture, uv).numpy()
    amount = sample_texture(mask, uv).numpy()[:, 0]
    covered = np.flatnonzero(is_covered.numpy().reshape(-1))
    lit = srgb_encode(np.clip(albedo * shade, 0, 1))
    base = np.zeros((size * size, 3), np.uint8)
    base[covered] = np.floor(lit * 255 + 0.5)
    weight = np.zeros(size * size, np.uint8)
    weight[covered] = (255 * _face_weight(capture, sample, crop_from_px, size).reshape(-1)[covered]).astype(np.uint8)
    encoded = target.reshape(-1, 3)
    gain = _gain(encoded[covered] / 255.0, albedo * shade, (weight[covered] > 250) & (amount == 0))
    can_change = amount > 1 / 512
    linear = srgb_decode(np.arange(256) / 255).astype(np.float32)[encoded] / gain
    return TrainingFrame(
        sample, np.floor(srgb_encode(np.clip(linear, 0, 1)) * 255 + 0.5).astype(np.uint8), base, weight, covered[can_change].astype(np.int32),
        uv.numpy()[can_change].astype(np.float32), albedo[can_change].astype(np.float16), amount[can_change].astype(np.float16),
        shade[can_change].astype(np.float16), gain,
    )


def _gain(seen: np.ndarray, expected: np.ndarray, chosen: np.ndarray) -> float:
    """Median brightness of the frame over what the static texture expects, where it should be right; 1 when too little can be compared."""
    expected = expected.mean(-1)
    chosen = chosen & (expected > 0.03) & (seen.max(-1) < 0.98)
    if chosen.sum() < 500:
        return 1.0
    ratio = srgb_decode(seen[chosen]).mean(-1) / expected[chosen]
    return float(np.clip(np.median(ratio), 1 / _MAX_GAIN, _MAX_GAIN))


def _face_weight(capture: Capture, sample: int, crop_from_px: np.ndarray, size: int) -> np.ndarray:
    """(size, size) in [0, 1]: 1 well inside what was parsed as face, so that hair, cloth, hands and background teach nothing."""
    is_face = np.isin(capture.parsing[sample], FACE_PIXELS).astype(np.uint8)
    kept = cv2.erode(is_face, np.ones((3, 3), np.uint8)).astype(np.float32)
    shift = np.array([[1, 0, 0.5], [0, 1, 0.5], [0, 0, 1.0]])  # cv2 puts the first pixel centre at 0
    warp = np.linalg.inv(shift) @ crop_from_px @ np.linalg.inv(capture.px_crop_from_px) @ shift
    return cv2.warpAffine(kept, warp[:2], (size, size), flags=cv2.INTER_LINEAR)


def _cut(rgb: np.ndarray, left: int, top: int, side: int, size: int) -> np.ndarray:
    rows, cols = np.clip(np.arange(top, top + side), 0, rgb.shape[0] - 1), np.clip(np.arange(left, left + side), 0, rgb.shape[1] - 1)
    is_inside = rows[-1] - rows[0] == side - 1 and cols[-1] - cols[0] == side - 1
    box = np.ascontiguousarray(rgb[top : top + side, left : left + side] if is_inside else rgb[np.ix_(rows, cols)])
    return box if size == side else cv2.resize(box, (size, size), interpolation=cv2.INTER_AREA)
