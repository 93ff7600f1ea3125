"""The outline term: where skin borders on background in the picture, the head's outline must lie.

A vertex is on the outline when its normal is across the view and the picture of the posed head shows background just outside it.
Its observation is one-dimensional: the nearest border between the person and the background, along the border's normal. Only
borders with skin inside count: hair, clothes and shoulders are not the rig's.
"""

from __future__ import annotations

import dataclasses

import cv2
import numpy as np
import torch

from ..capture.model import PARSING, Capture
from ..render.meshes import rasterise
from ..rig.model import RigModel
from ..rig.solid_parts import solid_triangles
from .landmark_model import LandmarkModel, point_model

ACROSS = 0.25
"""Largest cosine between normal and view on the outline."""
OUTSIDE_PX = 2.0
"""How far outside a vertex the background must begin, and how far inside a border the skin is looked up; crop pixels."""
REACH_PX = 5.0
"""Borders farther away belong to something else, crop pixels."""
NOISE_PX = 1.5
"""Uncertainty of the matte's border, crop pixels."""
_HEAD_SHARE = 0.9
_SKIN = ("skin", "lips", "brows")


@dataclasses.dataclass(frozen=True)
class OutlinePoints:
    """M vertices that may lie on the outline. vertex_ids: (M,) int64. model: what moves them."""

    vertex_ids: np.ndarray
    model: LandmarkModel


def outline_points(rig: RigModel, stride: int = 2) -> OutlinePoints:
    """Skin vertices of the head (not the neck, not the scalp), every ``stride``-th."""
    triangles, _, owner = rig.triangles_of_quads()
    skin = np.zeros(rig.num_vertices, bool)
    skin[triangles[rig.quad_parts[owner] == rig.part_names.index("skin")]] = True
    on_head = [index for index, name in enumerate(rig.joint_names) if name not in ("root", "neck")]
    skin &= rig.skin_weights[:, on_head].sum(1) > _HEAD_SHARE
    vertex_ids = np.flatnonzero(skin)[::stride]
    first = np.full(rig.num_vertices, -1)
    corner = np.zeros(rig.num_vertices, int)
    for place in range(3):
        first[triangles[:, place]], corner[triangles[:, place]] = np.arange(len(triangles)), place
    return OutlinePoints(vertex_ids, point_model(rig, first[vertex_ids], np.eye(3)[corner[vertex_ids]]))


def outline_observations(
    capture: Capture, samples: np.ndarray, rig: RigModel, points: OutlinePoints, vertices_cam_m: torch.Tensor, normals: torch.Tensor, px_from_cam: np.ndarray,
    eye_px: np.ndarray, weight: float,
) -> tuple[np.ndarray, np.ndarray]:
    """Targets for the outline of some frames.

    Args:
        vertices_cam_m, normals: (F, V, 3) of the whole head. px_from_cam: (3, 3). eye_px: (F,) unit of the energy.
        weight: of all outline points of a frame together, in points.

    Returns:
        (F, M, 2) targets, frame pixels, and (F, M, 2, 2) whitening, zero for vertices that are not on the outline.
    """
    crop = capture.px_crop_from_px
    place = vertices_cam_m[:, points.vertex_ids].numpy().astype(np.float64)
    facing = normals[:, points.vertex_ids].numpy().astype(np.float64)
    height, width = capture.crop_size_hw
    crop_from_cam = crop @ px_from_cam
    depth = rasterise(vertices_cam_m, torch.from_numpy(solid_triangles(rig)), torch.from_numpy(crop_from_cam), (height, width)).depth_m.numpy()
    in_crop = place @ crop_from_cam.T
    in_crop = in_crop[..., :2] / np.maximum(in_crop[..., 2:], 1e-3)
    view = place / np.linalg.norm(place, axis=-1, keepdims=True)
    across = np.abs((facing * view).sum(-1)) < ACROSS
    # The normal's direction in the picture: its part across the line of sight.
    outward = facing[..., :2] - (facing * view).sum(-1, keepdims=True) * view[..., :2]
    outward /= np.maximum(np.linalg.norm(outward, axis=-1, keepdims=True), 1e-9)
    frames = np.arange(len(place))[:, None]
    outside = np.isinf(_at(depth, frames, in_crop + OUTSIDE_PX * outward)) & np.isfinite(_at(depth, frames, in_crop - OUTSIDE_PX * outward))

    targets_px = (in_crop - crop[:2, 2]) @ np.linalg.inv(crop[:2, :2]).T
    whitening = np.zeros((*place.shape[:2], 2, 2))
    for frame, sample in enumerate(samples):
        rows = np.flatnonzero(across[frame] & outside[frame])
        if not len(rows):
            continue
        distance, slope, skin = _border(capture, int(sample))
        here = in_crop[frame, rows]
        off, direction = _bilinear(distance, here), _bilinear(slope, here)
        length = np.linalg.norm(direction, axis=-1, keepdims=True)
        direction = direction / np.maximum(length, 1e-6)
        inside = here - off[:, None] * direction + OUTSIDE_PX * direction  # the distance grows inwards
        good = (np.abs(off) < REACH_PX) & (length[:, 0] > 0.5) & (_at(skin[None], np.zeros(len(rows), int), inside) > 0)
        if not good.any():
            continue
        robust = np.minimum(1, NOISE_PX / np.maximum(np.abs(off), 1e-6)) * good
        back = np.linalg.inv(crop[:2, :2])
        targets_px[frame, rows] -= (off[:, None] * direction) @ back.T
        along_px = direction @ crop[:2, :2]
        along_px /= np.linalg.norm(along_px, axis=-1, keepdims=True)
        # One point of the energy is a percent of the eye distance; the border is known to NOISE_PX.
        sigma_percent = NOISE_PX * float(np.sqrt(abs(np.linalg.det(back)))) * 100 / eye_px[frame]
        root = np.sqrt(weight * robust / good.sum()) / sigma_percent
        whitening[frame, rows, 0] = along_px * root[:, None]
    return targets_px, whitening


def _border(capture: Capture, sample: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Signed distance to the person's border (positive inside), its slope (h, w, 2), and skin (h, w) uint8; crop pixels."""
    person = (capture.matte[sample] > 127).astype(np.uint8)
    distance = cv2.distanceTransform(person, cv2.DIST_L2, 5) - cv2.distanceTransform(1 - person, cv2.DIST_L2, 5)
    # The transform counts from pixel centres: the border itself lies half a pixel outside the last pixel within.
    distance = cv2.GaussianBlur(distance - np.sign(distance).astype(np.float32) * 0.5, (0, 0), 1.0)
    slope = np.stack([cv2.Sobel(distance, cv2.CV_32F, 1, 0, ksize=3) / 8, cv2.Sobel(distance, cv2.CV_32F, 0, 1, ksize=3) / 8], -1)
    return distance, slope, np.isin(capture.parsing[sample], [PARSING.index(name) for name in _SKIN]).astype(np.uint8)


def _at(pictures: np.ndarray, frames: np.ndarray, points: np.ndarray) -> np.ndarray:
    height, width = pictures.shape[1:3]
    x, y = np.moveaxis(np.floor(np.clip(np.nan_to_num(points, nan=-1.0), -1, max(height, width))).astype(int), -1, 0)
    return pictures[frames, np.clip(y, 0, height - 1), np.clip(x, 0, width - 1)]


def _bilinear(picture: np.ndarray, points: np.ndarray) -> np.ndarray:
    at = (points - 0.5).astype(np.float32)
    return cv2.remap(picture, at[None, :, 0], at[None, :, 1], cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)[0].astype(np.float64)
