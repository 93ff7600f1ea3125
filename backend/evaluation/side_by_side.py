"""A video to look at: the clip, the tracked geometry laid over it, the avatar alone."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import torch

from ..avatars.instant import Camera
from ..avatars.textured_mesh import TexturedMesh, render
from ..capture.colour import srgb_decode
from ..capture.model import Capture
from ..capture.video import iterate_frames
from ..geometry.cameras import invert_rigid
from ..package.model import AvatarPackage
from ..render.shading import ambient_light, render_mesh
from ..reporter import Reporter
from ..rig.landmark_names import BROW_LEFT, BROW_RIGHT, GROUPS
from ..synth.encode import write_video
from .crops import Cutout, cutout_of
from .drawing import encode
from .packaged import drives_of, performance_of, textured_mesh_of
from .signals import landmark_points, to_camera, to_pixels

FILE = "side_by_side.mp4"
PANEL_PX = 384
"""Side of each of the three panels; even, as H.264 wants it."""
_LABELS = ("clip", "overlay", "model")
_CLAY, _SHARE = np.array([0.55, 0.58, 0.62], np.float32), 0.65
"""Colour of the geometry, linear, and how much of it covers the clip."""
_LINES = tuple((points, name.endswith("oval")) for name, points in GROUPS.items() if name.startswith(("lip_", "lid_")) or name == "face_oval")
_BROWS = (BROW_RIGHT, BROW_LEFT)
_MODEL_INK, _SEEN_INK, _BACK = (255, 70, 200), (90, 255, 90), 0.03
_SHIFT = 4
_LEVEL, _LIGHT = 0.35, ((1, -0.45), (2, -0.45), (3, -0.45))
"""Of the clay, camera frame (y down, z forward): even light, and light from the upper left front (coefficient of y, z, x)."""


def write_side_by_side(package: AvatarPackage, capture: Capture, video: Path, path: Path, reporter: Reporter | None = None, max_frames: int = 0) -> int:
    """Writes the video at the clip's own rate; equal inputs give equal bytes on one machine.

    The overlay shows the tracked geometry as clay over the clip, the model's lids, lips, brows and outline in pink over the detector's in
    green; where no green shows, the two agree. Frames that were bridged carry a red border.

    Args:
        package: the avatar. capture: of its clip, same samples. video: the clip. path: file to write (MP4, H.264).
        max_frames: stop after so many; 0 = all.

    Returns:
        The number of frames.
    """
    reporter = reporter or Reporter()
    frames = _frames(package, capture, video, reporter, max_frames)
    return write_video(path, frames, (PANEL_PX, 3 * PANEL_PX), package.fps, crf=20)


def _frames(package: AvatarPackage, capture: Capture, video: Path, reporter: Reporter, max_frames: int) -> Iterator[np.ndarray]:
    cutout = cutout_of(capture)
    state = textured_mesh_of(package)
    performance = performance_of(package)
    panel_from_px = cutout_panel(cutout)
    place = lambda pixels: pixels @ panel_from_px[:2, :2].T + panel_from_px[:2, 2]  # noqa: E731
    model = place(to_pixels(performance, to_camera(performance, landmark_points(performance))))
    seen = place(capture.landmarks_px.astype(np.float64))
    samples = {int(index): sample for sample, index in enumerate(capture.time_index)}
    wanted = sorted(samples)[: max_frames or None]
    for done, (index, _, rgb) in enumerate(iterate_frames(video, wanted)):
        sample = samples[index]
        clip = cv2.resize(cutout.cut(rgb), (PANEL_PX, PANEL_PX), interpolation=cv2.INTER_AREA)
        overlay = overlaid(clip, state, package, sample, panel_from_px)
        for lines, ink in ((seen[sample], _SEEN_INK), (model[sample], _MODEL_INK)):
            draw_lines(overlay, lines, ink)
        avatar = drawn_alone(state, package, sample, panel_from_px)
        row = np.concatenate([clip, overlay, avatar], 1)
        for column, label in enumerate(_LABELS):
            cv2.putText(row, label, (column * PANEL_PX + 8, PANEL_PX - 10), cv2.FONT_HERSHEY_SIMPLEX, 0.5, (255, 255, 255), 1, cv2.LINE_AA)
        cv2.putText(row, f"{capture.time_s[sample]:.2f} s", (8, 20), cv2.FONT_HERSHEY_SIMPLEX, 0.5, (255, 255, 255), 1, cv2.LINE_AA)
        if not package.animation.is_tracked[sample]:
            cv2.rectangle(row, (PANEL_PX, 0), (3 * PANEL_PX - 1, PANEL_PX - 1), (230, 40, 40), 4)
        reporter.progress("report", (done + 1) / len(wanted), 1.0)
        yield row


def overlaid(clip: np.ndarray, state: TexturedMesh, package: AvatarPackage, sample: int, panel_from_px: np.ndarray) -> np.ndarray:
    """(P, P, 3) uint8: the clip with the tracked geometry over it, shaded grey."""
    motion = package.animation
    vertices = state.head.pose(
        torch.from_numpy(np.asarray(motion.controls[sample], np.float32)), torch.from_numpy(np.asarray(motion.joint_rotations[sample], np.float32))
    ).numpy()
    cam_from_root = invert_rigid(motion.world_from_cam[sample]) @ motion.world_from_root[sample]
    in_cam = torch.from_numpy((vertices @ cam_from_root[:3, :3].T + cam_from_root[:3, 3]).astype(np.float32))
    light = ambient_light(_LEVEL)
    for coefficient, value in _LIGHT:
        light[coefficient] = value
    colours = torch.from_numpy(_CLAY).expand(len(vertices), 3)
    matrix = torch.from_numpy(panel_from_px @ motion.px_from_cam)
    picture, alpha, _ = render_mesh(in_cam, torch.from_numpy(state.triangles), matrix, (PANEL_PX, PANEL_PX), light=light, colours=colours, supersample=2)
    cover = _SHARE * alpha.numpy()[..., None]
    mixed = srgb_decode(clip.astype(np.float64) / 255) * (1 - cover) + _SHARE * picture.numpy()
    return np.round(encode(mixed.astype(np.float32)) * 255).astype(np.uint8)


def drawn_alone(state: TexturedMesh, package: AvatarPackage, sample: int, panel_from_px: np.ndarray) -> np.ndarray:
    """(P, P, 3) uint8: the avatar before a dark ground."""
    motion = package.animation
    camera = Camera((panel_from_px @ motion.px_from_cam)[None], motion.world_from_cam[sample][None], (PANEL_PX, PANEL_PX))
    rendered = render(state, drives_of(package, np.array([sample])), camera, want=("colour", "alpha"))
    ground = (1 - rendered.alpha[0].numpy()[..., None]) * _BACK
    return np.round(encode(rendered.colour[0].numpy() + ground) * 255).astype(np.uint8)


def draw_lines(picture: np.ndarray, points: np.ndarray, ink: tuple[int, int, int]) -> None:
    """Lids, lips, brows and outline of one set of (478, 2) points, panel pixels; lines with a point that has no place are left out."""
    for ids, is_closed in (*_LINES, *((brow, True) for brow in _BROWS)):
        line = points[list(ids)]
        if np.isfinite(line).all() and np.abs(line).max() < 1e5:
            fixed = np.round((line - 0.5) * 2**_SHIFT).astype(np.int32)
            cv2.polylines(picture, [fixed[:, None]], is_closed, ink, 1, cv2.LINE_AA, _SHIFT)


def cutout_panel(cutout: Cutout) -> np.ndarray:
    """(3, 3): frame pixels to pixels of a panel."""
    scale = PANEL_PX / cutout.side_px
    return np.array([[scale, 0, -scale * cutout.left_px], [0, scale, -scale * cutout.top_px], [0, 0, 1.0]])
