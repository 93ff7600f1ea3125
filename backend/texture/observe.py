"""Two passes over the chosen frames: a mean colour per texel, then the mean without outliers and, the light known by then, the albedo."""

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
from .delight import Delit, delight
from .frames import frame_weights
from .gather import DEPTH_TOLERANCE_M, OUTLIER, add_frame, sample_frame
from .light import MIN_SHADE
from .samples import FrameSamples, empty_samples, mirrored_samples, sampled_frames, sampled_texels
from .texels import Texels

SKIN, HAIR, EYE, MOUTH = 1, 2, 4, 8
"""Bits of what a pixel may colour."""
_MARGIN_PX = 8
_MAX_KEPT = 40000


@dataclasses.dataclass(frozen=True)
class Observed:
    """What the frames say about each texel.

    colour: (n, 3) float32 linear, 0 where nothing was seen: as filmed. weight: (n,) float32, sum of frame weight times squared cosine.
    albedo: (n, 3) float32 linear, the same without the light (still with its tint). albedo_weight: (n,) float32; overexposed samples do not count.
    delit: the light. samples: single samples of some texels, as ``delit`` saw them. clipped_percent: overexposed samples of the skin.
    mouth_colours, eye_colours, hair_colours: (m, 3) float32 linear, pixels of those classes from all chosen frames, thinned out evenly.
    """

    colour: np.ndarray
    weight: np.ndarray
    albedo: np.ndarray
    albedo_weight: np.ndarray
    delit: Delit
    samples: FrameSamples
    clipped_percent: float
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
    views = {int(track.time_index[sample]): _view(capture, track, rig, head, int(sample)) for sample in samples}
    weight_of = {int(track.time_index[sample]): float(weight) for sample, weight in zip(samples, frame_weights(capture, samples))}
    lookup = _Lookup.of(capture, track, rig, texels, np.flatnonzero(allowed_bits(texels)))
    some = _Lookup.of(capture, track, rig, texels, sampled_texels(texels))
    kept = {time_index: row for row, time_index in enumerate(np.array(sorted(views))[sampled_frames(len(views))].tolist())}
    single = empty_samples(some.wanted, len(kept))
    sums, pools = _Sums.of(len(lookup.wanted)), {"inner_mouth": [], "eyes": [], "hair": []}  # type: tuple[_Sums, dict[str, list[np.ndarray]]]
    num = 2 * len(views)
    for done, (time_index, _, rgb) in enumerate(iterate_frames(capture.source_path, sorted(views))):
        view = views[time_index]
        depth_m = view.depth(rig)
        lookup.add(view, rgb, depth_m, weight_of[time_index], sums, None)
        if time_index in kept:
            some.sample(view, rgb, depth_m, weight_of[time_index], capture.parsing[view.sample], single, kept[time_index])
        _collect(capture, view, rgb, lookup.linear_of_code, pools, max(1, _MAX_KEPT // len(views)))
        reporter.progress("texture", done + 1, num, "frames")
    delit = delight(single, mirrored_samples(texels, some.wanted), light_frame(capture), reporter=reporter)
    first = sums.colour(np.zeros((len(lookup.wanted), 3), np.float32))
    sums = _Sums.of(len(lookup.wanted))
    for done, (time_index, _, rgb) in enumerate(iterate_frames(capture.source_path, sorted(views))):
        view = views[time_index]
        lookup.add(view, rgb, view.depth(rig), weight_of[time_index], sums, (first, delit.light.sh.astype(np.float64)))
        reporter.progress("texture", len(views) + done + 1, num, "frames")
    pooled = {name: np.concatenate(parts) if parts else np.zeros((0, 3), np.float32) for name, parts in pools.items()}
    albedo_weight = np.maximum(sums.weights - sums.clipped, 0)
    albedo = np.where(sums.lit_weights[:, None] > 0, sums.lit / np.maximum(sums.lit_weights, 1e-12)[:, None], 0)
    skin = (texels.of("skin") & ~texels.is_inside)[lookup.wanted]
    clipped_percent = 100 * float(sums.clipped[skin].sum() / max(sums.weights[skin].sum(), 1e-12))
    return Observed(
        lookup.full(np.where(sums.weights[:, None] > 0, sums.colour(first), 0)), lookup.full(sums.weights), lookup.full(albedo), lookup.full(albedo_weight),
        delit, single, clipped_percent, pooled["inner_mouth"], pooled["eyes"], pooled["hair"],
    )


def light_frame(capture: Capture) -> str:
    """Where the light stands still: beside a turning chair it is the camera's, else the room's."""
    return "camera" if capture.kind == "chair" else "world"


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
    light_from_cam: np.ndarray
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
        slice(int(low[0]), int(high[0])), np.asarray(track.px_from_cam, np.float64),
        np.eye(3) if light_frame(capture) == "camera" else np.ascontiguousarray(track.world_from_cam[sample][:3, :3], np.float64),
        allowed_pixels(capture.parsing[sample]),
    )


@dataclasses.dataclass
class _Sums:
    """Running sums over frames, see ``gather.add_frame``."""

    sums: np.ndarray
    weights: np.ndarray
    lit: np.ndarray
    lit_weights: np.ndarray
    clipped: np.ndarray

    @staticmethod
    def of(num: int) -> "_Sums":
        return _Sums(np.zeros((num, 3)), np.zeros(num), np.zeros((num, 3)), np.zeros(num), np.zeros(num))

    def colour(self, otherwise: np.ndarray) -> np.ndarray:
        """(n, 3) float32 means; ``otherwise`` where nothing was added."""
        mean = self.sums / np.maximum(self.weights, 1e-12)[:, None]
        return np.where(self.weights[:, None] > 0, mean, otherwise).astype(np.float32)


@dataclasses.dataclass(frozen=True)
class _Lookup:
    """Some texels (``wanted``, (w,) of ``num_texels``) ready to be looked up in frames."""

    wanted: np.ndarray
    num_texels: int
    corners: np.ndarray
    barycentric: np.ndarray
    bits: np.ndarray
    linear_of_code: np.ndarray
    crop_from_px: np.ndarray

    @staticmethod
    def of(capture: Capture, track: Track, rig: RigModel, texels: Texels, wanted: np.ndarray) -> "_Lookup":
        return _Lookup(
            wanted, len(texels), np.ascontiguousarray(rig.triangles[texels.triangle[wanted]], np.int32), np.ascontiguousarray(texels.barycentric[wanted]),
            allowed_bits(texels)[wanted], srgb_decode(np.arange(256) / 255).astype(np.float32), np.ascontiguousarray(capture.px_crop_from_px[:2], np.float64),
        )

    def _common(self, view: _View, rgb: np.ndarray, depth_m: np.ndarray) -> tuple:  # type: ignore[type-arg]
        image = np.ascontiguousarray(rgb[view.rows, view.cols])
        return (
            self.corners, self.barycentric, self.bits, view.vertices_cam_m, view.normals_cam, view.px_from_cam, image, view.origin_px, self.linear_of_code,
            depth_m, DEPTH_TOLERANCE_M, view.allowed, self.crop_from_px,
        )

    def add(self, view: _View, rgb: np.ndarray, depth_m: np.ndarray, weight: float, sums: _Sums, second: tuple[np.ndarray, np.ndarray] | None) -> None:
        """Adds a frame to the sums; ``second`` holds the first pass's colours and the grey light."""
        reference, light_sh = second or (np.zeros((0, 3), np.float32), np.zeros(9))
        add_frame(
            *self._common(view, rgb, depth_m), weight, reference, OUTLIER, light_sh, view.light_from_cam, MIN_SHADE, sums.sums, sums.weights, sums.lit,
            sums.lit_weights, sums.clipped,
        )

    def sample(self, view: _View, rgb: np.ndarray, depth_m: np.ndarray, weight: float, parsing: np.ndarray, samples: FrameSamples, row: int) -> None:
        """Writes one frame's row of ``samples``."""
        normal_cam, facing = np.zeros((len(self.wanted), 3), np.float32), np.zeros(len(self.wanted), np.float32)
        sample_frame(*self._common(view, rgb, depth_m), np.ascontiguousarray(parsing), samples.colour[row], facing, normal_cam, samples.label[row])
        samples.weight[row] = np.float32(weight) * facing * facing
        samples.normals[row] = normal_cam @ view.light_from_cam.T.astype(np.float32)

    def full(self, values: np.ndarray) -> np.ndarray:
        """(num_texels, ...) float32, 0 for texels that were not looked up."""
        whole = np.zeros((self.num_texels, *values.shape[1:]), np.float32)
        whole[self.wanted] = values
        return whole


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
