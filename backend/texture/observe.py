"""Two passes over the chosen frames: a mean colour per texel, then the mean without outliers."""

from __future__ import annotations

import dataclasses

import cv2
import numpy as np
import torch

from ..capture.colour import srgb_decode
from ..capture.model import PARSING, Capture
from ..capture.video import iterate_frames
from ..geometry.cameras import invert_rigid, project
from ..render.meshes import rasterise
from ..reporter import Reporter
from ..rig.model import RigModel
from ..rig.posing import PosableHead, posable_head
from ..rig.solid_parts import solid_triangles
from ..track.model import Track
from .frames import frame_weights
from .gather import DEPTH_TOLERANCE_M, OUTLIER, add_frame
from .texels import Texels

SKIN, HAIR, EYE, MOUTH = 1, 2, 4, 8
"""Bits of what a pixel may colour."""
_MARGIN_PX = 8
_MAX_KEPT = 40000


@dataclasses.dataclass(frozen=True)
class Observed:
    """What the frames say about each texel.

    colour: (n, 3) float32 linear, 0 where nothing was seen. weight: (n,) float32, sum of frame weight times squared cosine.
    mouth_colours, eye_colours, hair_colours: (m, 3) float32 linear, pixels of those classes from all chosen frames, thinned out evenly.
    """

    colour: np.ndarray
    weight: np.ndarray
    mouth_colours: np.ndarray
    eye_colours: np.ndarray
    hair_colours: np.ndarray


def observe(capture: Capture, track: Track, rig: RigModel, texels: Texels, samples: np.ndarray, reporter: Reporter) -> Observed:
    """Looks every texel up in the frames ``samples`` (int, ascending) and averages in linear light.

    Frames are decoded at their own resolution, in one sweep per pass. A texel takes colour only from pixels of a class that
    fits its part (skin and scalp from skin, lips, brows and hair, wherever this person's hair grows; eyeballs from eyes; teeth and
    tongue from the inner mouth).
    """
    head = posable_head(rig, torch.from_numpy(np.asarray(track.identity, np.float32)), float(track.scale))
    bits = allowed_bits(texels)
    wanted = np.flatnonzero(bits)
    views = {int(track.time_index[sample]): _view(capture, track, rig, head, int(sample)) for sample in samples}
    weights_of = {int(track.time_index[sample]): weight for sample, weight in zip(samples, frame_weights(capture, samples))}
    corners = np.ascontiguousarray(rig.triangles[texels.triangle[wanted]], np.int32)
    barycentric = np.ascontiguousarray(texels.barycentric[wanted])
    linear_of_code = srgb_decode(np.arange(256) / 255).astype(np.float32)
    colour = np.zeros((0, 3), np.float32)
    total = np.zeros(len(wanted))
    pools: dict[str, list[np.ndarray]] = {"inner_mouth": [], "eyes": [], "hair": []}
    done = 0
    for second in (False, True):
        sums, total = np.zeros((len(wanted), 3)), np.zeros(len(wanted))
        for time_index, _, rgb in iterate_frames(capture.source_path, sorted(views)):
            view = views[time_index]
            image = np.ascontiguousarray(rgb[view.rows, view.cols])
            add_frame(
                corners, barycentric, bits[wanted], view.vertices_cam_m, view.normals_cam, track.px_from_cam, image, view.origin_px, linear_of_code,
                view.depth(rig), DEPTH_TOLERANCE_M, view.allowed, np.ascontiguousarray(capture.px_crop_from_px[:2], np.float64), float(weights_of[time_index]),
                np.ones(3, np.float32), colour, OUTLIER, sums, total,
            )
            if not second:
                _collect(capture, view, rgb, linear_of_code, pools, max(1, _MAX_KEPT // len(views)))
            done += 1
            reporter.progress("texture", done, 2 * len(views), "frames")
        colour = np.where(total[:, None] > 0, sums / np.maximum(total, 1e-12)[:, None], colour if second else 0).astype(np.float32)
    full_colour, full_weight = np.zeros((len(texels), 3), np.float32), np.zeros(len(texels), np.float32)
    full_colour[wanted], full_weight[wanted] = np.where(total[:, None] > 0, colour, 0), total
    pooled = {name: np.concatenate(parts) if parts else np.zeros((0, 3), np.float32) for name, parts in pools.items()}
    return Observed(full_colour, full_weight, pooled["inner_mouth"], pooled["eyes"], pooled["hair"])


def allowed_bits(texels: Texels) -> np.ndarray:
    """(n,) uint8: which pixels each texel may take its colour from; 0 = none."""
    bits = np.zeros(len(texels), np.uint8)
    for names, bit in ((("skin", "scalp"), SKIN | HAIR), (("eye_left", "eye_right"), EYE), (("teeth_upper", "teeth_lower", "tongue"), MOUTH)):
        bits[texels.of(*names)] = bit
    bits[texels.is_inside] = 0
    return bits


def allowed_pixels(parsing: np.ndarray) -> np.ndarray:
    """(h, w) uint8 bits per pixel of a parsing map; all classes keep a distance from background and hands, whose borders are soft."""
    is_of = lambda *names: np.isin(parsing, [PARSING.index(name) for name in names])  # noqa: E731
    near = lambda mask, radius: cv2.dilate(mask.astype(np.uint8), cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * radius + 1,) * 2)) > 0  # noqa: E731
    foreign = near(is_of("background", "occlusion"), 3)
    allowed = np.zeros(parsing.shape, np.uint8)
    allowed[is_of("skin", "lips", "brows") & ~foreign] |= SKIN
    allowed[is_of("hair") & ~foreign] |= HAIR
    allowed[is_of("eyes") & ~foreign] |= EYE
    allowed[is_of("inner_mouth") & ~foreign] |= MOUTH
    return allowed


@dataclasses.dataclass(frozen=True)
class _View:
    """A posed head in front of one frame, and the cut-out of the frame that it covers."""

    sample: int
    vertices_cam_m: np.ndarray
    normals_cam: np.ndarray
    origin_px: np.ndarray
    rows: slice
    cols: slice
    px_from_cam: np.ndarray
    allowed: np.ndarray

    def depth(self, rig: RigModel) -> np.ndarray:
        """(h, w) float32 m over the cut-out, clear parts left out."""
        shifted = self.px_from_cam.copy()
        shifted[:2, 2] -= self.origin_px
        size_hw = (self.rows.stop - self.rows.start, self.cols.stop - self.cols.start)
        return rasterise(self.vertices_cam_m, solid_triangles(rig), shifted, size_hw).depth_m.numpy()


def vertex_normals(vertices: np.ndarray, triangles: np.ndarray) -> np.ndarray:
    """(V, 3) area-weighted normals, not of length 1, zero for vertices without a triangle."""
    first, second, third = (vertices[triangles[:, k]] for k in range(3))
    normals = np.cross(second - first, third - first)
    out = np.zeros_like(vertices)
    for axis in range(3):
        for corner in range(3):
            out[:, axis] += np.bincount(triangles[:, corner], weights=normals[:, axis], minlength=len(vertices)).astype(out.dtype)
    return out


def _view(capture: Capture, track: Track, rig: RigModel, head: PosableHead, sample: int) -> _View:
    vertices = head.pose(torch.from_numpy(track.controls[sample]).float(), torch.from_numpy(track.joint_rotations[sample]).float()).numpy()
    cam_from_root = invert_rigid(track.world_from_cam[sample]) @ track.world_from_root[sample]
    vertices_cam_m = np.ascontiguousarray(vertices @ cam_from_root[:3, :3].T + cam_from_root[:3, 3], np.float32)
    pixels = project(track.px_from_cam, vertices_cam_m[vertices_cam_m[:, 2] > 0.01].astype(np.float64))
    height, width = capture.size_hw
    low = np.clip(np.floor(pixels.min(0)) - _MARGIN_PX, 0, [width - 2, height - 2]).astype(int)
    high = np.clip(np.ceil(pixels.max(0)) + _MARGIN_PX, low + 2, [width, height]).astype(int)
    return _View(
        sample, vertices_cam_m, vertex_normals(vertices_cam_m, rig.triangles), low.astype(np.float64), slice(int(low[1]), int(high[1])),
        slice(int(low[0]), int(high[0])), np.asarray(track.px_from_cam, np.float64), allowed_pixels(capture.parsing[sample]),
    )


def _collect(capture: Capture, view: _View, rgb: np.ndarray, linear_of_code: np.ndarray, pools: dict[str, list[np.ndarray]], num: int) -> None:
    """Adds at most ``num`` pixels of every pooled class of this frame, evenly spaced over the class."""
    px_from_crop = np.linalg.inv(capture.px_crop_from_px)
    parsing = capture.parsing[view.sample]
    for name, pool in pools.items():
        rows, cols = np.nonzero(parsing == PARSING.index(name))
        if not len(rows):
            continue
        pick = np.unique(np.linspace(0, len(rows) - 1, num).astype(int))
        crop = np.stack([cols[pick] + 0.5, rows[pick] + 0.5, np.ones(len(pick))], -1)
        pixels = np.floor((crop @ px_from_crop.T)[:, :2]).astype(int)
        is_in = ((pixels >= 0) & (pixels < [rgb.shape[1], rgb.shape[0]])).all(1)
        pool.append(linear_of_code[rgb[pixels[is_in, 1], pixels[is_in, 0]]])
