"""The dense photometric term: surface points must have, in every frame, the colour that the clip's appearance says.

Linearised around the current state, the residual of a point is r + G d, with r the difference of the observed and the predicted
sRGB colour, G (3, 2) the picture's gradient and d the displacement of the point's projection. Its square is that of a
two-dimensional observation: a target |N (p - p*)|^2 with N^T N = G^T W G and p* = p - (G^T W G)^+ G^T W r. So each point joins the
landmarks as one more observation, anew in every round, and the solver needs no second kind of row (Gauss-Newton on (D1) of the
specification, section 11.2; points without texture weigh nothing). What is not differentiated: visibility and shade.

The mean residual of a point's neighbourhood is taken off first: gloss, cast shadows and beards of light that nine coefficients
cannot hold are smooth, misplaced features are not.
"""

from __future__ import annotations

import dataclasses
import functools

import cv2
import numpy as np
import torch

from ..capture.colour import srgb_decode, srgb_encode
from ..capture.model import Capture
from ..geometry.cameras import intrinsics
from ..render.meshes import rasterise
from ..render.shading import sh_basis
from ..render.surface_normals import vertex_normals
from ..rig.model import RigModel
from ..rig.posing import posable_head
from ..rig.solid_parts import solid_triangles
from .appearance import Appearance, estimate_appearance, even_light
from .energy import Observations, Shared
from .face_pixels import FaceBox, comparable_pixels, read_pictures
from .state import FrameStates, Unknowns
from .surface_points import HIDING_DEPTH_M, SurfacePoints

NOISE, HUBER = 0.03, 0.06
"""sRGB residual of a well-placed point, and from where on it counts linearly."""
INDEPENDENT_POINTS = 300.0
"""Neighbouring points see the same pixels; all of them together are worth so many."""
LEAST_FACING = 0.25
"""Cosine between normal and view below which a point is not compared."""
MAX_RESIDUAL = 0.1
"""Residuals are cut here before the neighbourhood's mean is taken."""


@dataclasses.dataclass(frozen=True)
class Look:
    """What some frames show at the surface points.

    points_px: (F, N, 2) projections, frame pixels. colours: (F, N, 3) sRGB. slopes: (F, N, 3, 2) per frame pixel.
    basis: (F, N, 9) harmonics at the normals, camera frame. is_seen: (F, N) bool. vertices_cam_m, normals: (F, V, 3) of the head.
    """

    points_px: np.ndarray
    colours: np.ndarray
    slopes: np.ndarray
    basis: np.ndarray
    is_seen: np.ndarray
    vertices_cam_m: torch.Tensor
    normals: torch.Tensor


@dataclasses.dataclass(frozen=True)
class PhotometricTerm:
    """A clip's frames and the points that are compared.

    samples: (F,) of the capture. pictures: (F, h, w, 3) uint8. is_believed: (F,) bool; other frames show nothing that counts.
    """

    capture: Capture
    rig: RigModel
    unknowns: Unknowns
    points: SurfacePoints
    box: FaceBox
    samples: np.ndarray
    pictures: np.ndarray
    is_believed: np.ndarray

    def look(self, shared: Shared, states: FrameStates, blur_px: float) -> Look:
        """Reads the frames at the current projections.

        Args:
            blur_px: standard deviation of the blur of the pictures, picture pixels; the coarse levels of the pyramid.
        """
        vertices = self._vertices_cam(shared, states)
        corners = torch.from_numpy(self.rig.triangles[self.points.triangle_ids].astype(np.int64))
        weights = torch.from_numpy(self.points.barycentric)[..., None]
        all_normals = vertex_normals(vertices, torch.from_numpy(self.rig.triangles))
        normals = (all_normals[:, corners] * weights).sum(2)
        normals = normals / normals.norm(dim=-1, keepdim=True).clamp_min(1e-9)
        in_cam = (vertices[:, corners] * weights).sum(2)
        facing = -(normals * in_cam).sum(-1) / in_cam.norm(dim=-1).clamp_min(1e-9)
        place = in_cam.numpy().astype(np.float64)
        points_px = shared.focal_px * place[..., :2] / np.maximum(place[..., 2:], 1e-3) + shared.principal_px
        is_seen = (facing.numpy() > LEAST_FACING) & self._is_unhidden(vertices, shared, points_px, place[..., 2])
        is_seen &= self._is_comparable(points_px) & self.is_believed[:, None]
        colours, slopes = self._pixels(points_px, blur_px)
        return Look(points_px, colours, slopes, sh_basis(normals).numpy().astype(np.float64), is_seen, vertices, all_normals)

    def appearance(self, look: Look, start: Appearance | None) -> Appearance:
        """What explains these frames best."""
        return estimate_appearance(look.colours, look.basis, look.is_seen.astype(np.float64), even_light() if start is None else start.light)

    def residuals(self, look: Look, appearance: Appearance) -> np.ndarray:
        """(F, N, 3) sRGB, observed minus predicted, after the frame's gain and the neighbourhoods' means; 0 where nothing was seen."""
        lit = appearance.albedo * appearance.shade(look.basis)
        seen = look.is_seen[..., None].astype(np.float64)
        # Exposure and white balance wander; the gain is that of linear light.
        gain = (seen * srgb_decode(look.colours) * lit).sum(1, keepdims=True) / np.maximum((seen * lit**2).sum(1, keepdims=True), 1e-9)
        residual = (look.colours - srgb_encode(np.clip(lit * gain, 0, 1))) * seen
        for frame in range(len(residual)):
            cut = np.clip(residual[frame], -MAX_RESIDUAL, MAX_RESIDUAL).astype(np.float32)
            total = self.points.around @ np.concatenate([cut, seen[frame].astype(np.float32)], 1)
            residual[frame] -= seen[frame] * total[:, :3] / np.maximum(total[:, 3:], 1e-3)
        return residual

    def observations(self, look: Look, residual: np.ndarray, eye_px: np.ndarray, weight: float, reach_px: float) -> tuple[np.ndarray, np.ndarray]:
        """The term as targets for the projections.

        Args:
            residual: (F, N, 3) of ``residuals``. eye_px: (F,) outer-eye distance, the unit of the energy. weight: of the term against the landmarks.
            reach_px: longest displacement believed, frame pixels.

        Returns:
            (F, N, 2) targets, frame pixels, and (F, N, 2, 2) whitening as in ``Observations``.
        """
        size = np.sqrt((residual**2).mean(-1))
        trust = look.is_seen * np.minimum(1, HUBER / np.maximum(size, 1e-9)) * (weight / NOISE**2 * INDEPENDENT_POINTS / len(self.points))
        normal = np.einsum("fnca,fncb->fnab", look.slopes, look.slopes) * trust[..., None, None]
        right = np.einsum("fnca,fnc->fna", look.slopes, residual) * trust[..., None]
        values, axes = np.linalg.eigh(normal)
        values = np.maximum(values, 0)
        # The floor keeps flat directions from asking for a displacement; their weight is that of ``values``, so it vanishes.
        floor = 1e-4 * (weight / NOISE**2 * INDEPENDENT_POINTS / len(self.points))
        along = np.einsum("fnab,fna->fnb", axes, right) / (values + floor)
        shift = np.clip(np.einsum("fnab,fnb->fna", axes, along), -reach_px, reach_px)
        whitening = (np.sqrt(values) * (eye_px[:, None, None] / 100))[..., None] * axes.swapaxes(-1, -2)
        return look.points_px - shift, whitening

    def _vertices_cam(self, shared: Shared, states: FrameStates) -> torch.Tensor:
        head = posable_head(self.rig, torch.from_numpy(shared.identity.astype(np.float32)))
        joints = np.zeros((len(states), len(self.rig.joint_names), 3), np.float32)
        for name, rotation in self.unknowns.joint_rotations(states).items():
            joints[:, self.rig.joint_names.index(name)] = rotation
        vertices = head.pose(torch.from_numpy(states.controls).float(), torch.from_numpy(joints))
        rotation = torch.from_numpy(states.cam_from_root_rotation).float()
        return vertices @ rotation.transpose(1, 2) + torch.from_numpy(states.translation_m).float()[:, None]

    def _is_unhidden(self, vertices: torch.Tensor, shared: Shared, points_px: np.ndarray, depth_m: np.ndarray) -> np.ndarray:
        """(F, N): nothing solid in front, by a depth picture of half the box's resolution."""
        height, width = (max(2, side // 2) for side in self.box.picture_hw)
        zoom = np.array([width, height]) / self.box.size_px
        camera = intrinsics(shared.focal_px, tuple(shared.principal_px))
        camera[:2, 2] -= self.box.origin_px
        camera[:2] *= zoom[:, None]
        depth = rasterise(vertices, torch.from_numpy(solid_triangles(self.rig)), torch.from_numpy(camera), (height, width)).depth_m.numpy()
        x, y = np.moveaxis(np.floor((points_px - self.box.origin_px) * zoom).astype(int), -1, 0)
        is_inside = (x >= 1) & (x < width - 1) & (y >= 1) & (y < height - 1)
        frames = np.arange(len(depth))[:, None]
        return is_inside & (depth_m <= depth[frames, np.clip(y, 0, height - 1), np.clip(x, 0, width - 1)] + HIDING_DEPTH_M)

    @functools.cached_property
    def _masks(self) -> np.ndarray:
        """(F, h, w) bool in the capture's crop; the same in every round."""
        return np.stack([comparable_pixels(self.capture, int(sample)) for sample in self.samples])

    def _is_comparable(self, points_px: np.ndarray) -> np.ndarray:
        crop = self.capture.px_crop_from_px
        height, width = self.capture.crop_size_hw
        x, y = np.moveaxis(np.floor(points_px @ crop[:2, :2].T + crop[:2, 2]).astype(int), -1, 0)
        is_inside = (x >= 0) & (x < width) & (y >= 0) & (y < height)
        masks = self._masks
        return is_inside & masks[np.arange(len(masks))[:, None], np.clip(y, 0, height - 1), np.clip(x, 0, width - 1)]

    def _pixels(self, points_px: np.ndarray, blur_px: float) -> tuple[np.ndarray, np.ndarray]:
        """Colours (F, N, 3) in [0, 1] and their slopes (F, N, 3, 2) per frame pixel, by central differences."""
        at = (self.box.to_picture(points_px) - 0.5).astype(np.float32)
        colours = np.zeros((*points_px.shape[:2], 3), np.float64)
        slopes = np.zeros((*points_px.shape[:2], 3, 2))
        for frame, picture in enumerate(self.pictures):
            smooth = cv2.GaussianBlur(picture.astype(np.float32) / 255, (0, 0), blur_px)
            read = lambda dx, dy, x=at[frame, :, 0][None], y=at[frame, :, 1][None], smooth=smooth: cv2.remap(  # noqa: E731
                smooth, x + np.float32(dx), y + np.float32(dy), cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
            )[0]
            colours[frame] = read(0, 0)
            slopes[frame, ..., 0] = (read(0.5, 0) - read(-0.5, 0)) * self.box.scale[0]
            slopes[frame, ..., 1] = (read(0, 0.5) - read(0, -0.5)) * self.box.scale[1]
        return colours, slopes


def weighed(seen: Observations, landmark_share: np.ndarray, pair_share: float) -> Observations:
    """Landmark observations with shares (L,) of their weights, and a share of the openings'."""
    return dataclasses.replace(seen, whitening=seen.whitening * np.sqrt(landmark_share)[:, None, None], pair_weight=seen.pair_weight * np.sqrt(pair_share))


def with_points(seen: Observations, targets_px: np.ndarray, whitening: np.ndarray) -> Observations:
    """Observations with those of more points behind them: (F, P, 2) targets and (F, P, 2, 2) whitening."""
    return dataclasses.replace(seen, points_px=np.concatenate([seen.points_px, targets_px], 1), whitening=np.concatenate([seen.whitening, whitening], 1))


def photometric_term(capture: Capture, rig: RigModel, unknowns: Unknowns, points: SurfacePoints, box: FaceBox, samples: np.ndarray, is_believed: np.ndarray) -> PhotometricTerm:
    """Decodes the frames ``samples`` (ascending) and makes the term for them; ``is_believed`` as in ``PhotometricTerm``."""
    return PhotometricTerm(capture, rig, unknowns, points, box, samples, read_pictures(capture, box, samples), is_believed)
