"""How well the tracked surface explains the clip's pixels, with everything but the track held fixed (docs/evaluation.md).

The colour of each surface point is the package's static texture, which read training frames only. One light per clip, fitted to training
frames, the same for every frame that is measured; masks come from the capture alone. So two tracks of one clip differ in nothing but
where they put the surface, and neither is asked what its own tracker thought of the picture.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ..avatars.textured_mesh import TexturedMesh
from ..capture.colour import srgb_decode
from ..capture.model import Capture
from ..geometry.cameras import invert_rigid
from ..package.model import AvatarPackage
from ..render.interpolation import interpolate
from ..render.meshes import rasterise, sample_texture
from ..render.shading import ambient_light, sh_basis
from ..render.surface_normals import vertex_normals
from ..reporter import Reporter
from .crops import SIZE_PX, Cutout, cut_frames, cutout_of, regions_of
from .drawing import encode
from .packaged import textured_mesh_of
from .rounding import number

NUM_LIGHT_FRAMES = 16
"""Training frames the light is fitted to, evenly spaced."""
MAX_FRAMES = 40
"""Test frames that are measured, evenly spaced."""
MIN_SHADE = 0.05
MIN_COSINE = 0.2
"""Surface that is seen more obliquely than this says nothing about the light."""
LIGHT_ROUNDS, OUTLIER = 4, 0.06
"""Rounds of reweighting; sRGB error from which a pixel counts less (gloss, shadow, hair)."""
LIGHT_PRIOR = 0.01
"""Pull towards even light, as a share of the evidence: what the clip does not show stays even."""
STEP_PX = 3
"""The light looks at every third pixel each way."""


@dataclasses.dataclass(frozen=True)
class Seen:
    """One frame. rgb: (512, 512, 3) float32 sRGB. face, skin: (512, 512) bool; skin is the face without eyes and mouth."""

    rgb: np.ndarray
    face: np.ndarray
    skin: np.ndarray


@dataclasses.dataclass(frozen=True)
class Surface:
    """What the track shows at each pixel. albedo: (512, 512, 3) float32 linear. basis: (512, 512, 9), harmonics of the normal in the camera's
    frame. cosine: (512, 512) to the camera. is_covered: (512, 512) bool."""

    albedo: np.ndarray
    basis: np.ndarray
    cosine: np.ndarray
    is_covered: np.ndarray


def measure_photometric(package: AvatarPackage, capture: Capture, video: Path, reporter: Reporter) -> dict[str, Any] | None:
    """Root mean squared difference between the clip and the tracked, lit surface.

    Args:
        package: the avatar. capture: of its clip, same samples. video: the clip. reporter: hears "report".

    Returns:
        The report's ``photometric`` object; None without usable training and test frames.
    """
    usable = capture.has_face & package.animation.is_tracked
    train = _spread(np.flatnonzero(capture.is_train & ~capture.is_interpolated & usable), NUM_LIGHT_FRAMES)
    test = _spread(np.flatnonzero(capture.is_test & usable), MAX_FRAMES)
    if not len(train) or not len(test):
        return None
    cutout = cutout_of(capture)
    frames = cut_frames(video, cutout, capture.time_index[[*train, *test]], reporter)
    state = textured_mesh_of(package)
    draw = lambda sample: (_seen(frames, capture, int(sample), cutout), surface_of(state, package, int(sample), cutout))  # noqa: E731
    light = fit_light([draw(sample) for sample in train if int(capture.time_index[sample]) in frames])
    totals = {"rmse": [], "rmse_skin": [], "rmse_covered": [], "uncovered_percent": []}  # type: dict[str, list[float]]
    for done, sample in enumerate(test):
        if int(capture.time_index[sample]) not in frames:
            continue
        seen, surface = draw(sample)
        if not seen.face.any():
            continue
        squared = squared_error(seen, surface, light)
        totals["rmse"].append(float(squared[seen.face].mean()))
        totals["uncovered_percent"].append(100 * float((~surface.is_covered[seen.face]).mean()))
        for name, mask in (("rmse_skin", seen.skin), ("rmse_covered", seen.face & surface.is_covered)):
            if mask.any():
                totals[name].append(float(squared[mask].mean()))
        reporter.progress("report", (done + 1) / len(test), 1.0)
    if not totals["rmse"]:
        return None
    root = lambda values: number(np.sqrt(np.mean(values))) if values else None  # noqa: E731
    return {
        **{name: root(totals[name]) for name in ("rmse", "rmse_skin", "rmse_covered")}, "uncovered_percent": number(np.mean(totals["uncovered_percent"])),
        "num_frames": len(totals["rmse"]), "num_light_frames": int(len(train)), "light": [[number(value) for value in row] for row in light],
    }


def surface_of(state: TexturedMesh, package: AvatarPackage, sample: int, cutout: Cutout) -> Surface:
    """The tracked surface in the cut-out."""
    clip = package.animation
    vertices = state.head.pose(torch.from_numpy(np.asarray(clip.controls[sample], np.float32)), torch.from_numpy(np.asarray(clip.joint_rotations[sample], np.float32)))
    cam_from_root = invert_rigid(clip.world_from_cam[sample]) @ clip.world_from_root[sample]
    in_cam = torch.from_numpy((vertices.numpy() @ cam_from_root[:3, :3].T + cam_from_root[:3, 3]).astype(np.float32))
    fragments = rasterise(in_cam, state.triangles, cutout.cutout_from_px @ clip.px_from_cam, (SIZE_PX, SIZE_PX))
    is_covered = fragments.is_covered
    normals = torch.nn.functional.normalize(interpolate(fragments, state.triangles, vertex_normals(in_cam, torch.from_numpy(state.triangles))), dim=-1)
    uv = interpolate(fragments, state.triangles, torch.from_numpy(state.corner_uv))
    albedo = torch.zeros(SIZE_PX, SIZE_PX, 3)
    albedo[is_covered] = sample_texture(state.texture, uv[is_covered])
    places = torch.nn.functional.normalize(interpolate(fragments, state.triangles, in_cam), dim=-1)
    return Surface(albedo.numpy(), sh_basis(normals).numpy(), -(normals * places).sum(-1).numpy(), is_covered.numpy())


def fit_light(pairs: list[tuple[Seen, Surface]]) -> np.ndarray:
    """(9, 3): the one light, in the camera's frame, with which the surfaces look most like the frames; robust least squares in linear light.

    The texture holds the clip's mean light already; this is what turning the head changes, so it starts from even light and stays near it.
    """
    even = ambient_light().numpy().astype(np.float64)
    basis, albedo, seen = [], [], []
    for frame, surface in pairs:
        good = frame.face & surface.is_covered & (surface.cosine > MIN_COSINE)
        grid = np.zeros_like(good)
        grid[::STEP_PX, ::STEP_PX] = True
        basis.append(surface.basis[good & grid])
        albedo.append(surface.albedo[good & grid])
        seen.append(frame.rgb[good & grid])
    rows, colour, rgb = (np.concatenate(parts).astype(np.float64) if parts else np.zeros((0, 3)) for parts in (basis, albedo, seen))
    if len(rows) < 100:
        return even
    linear = srgb_decode(rgb)
    light, weight = even, np.ones(len(rows))
    for _ in range(LIGHT_ROUNDS):
        fitted = np.empty_like(even)
        for channel in range(3):
            lit = rows * colour[:, channel, None]
            normal = (lit * weight[:, None]).T @ lit
            pull = LIGHT_PRIOR * np.trace(normal) / len(normal)
            right = (lit * weight[:, None]).T @ linear[:, channel] + pull * even[:, channel]
            fitted[:, channel] = np.linalg.solve(normal + pull * np.eye(len(normal)), right)
        light = fitted
        error = np.abs(encode(_lit(rows, colour, light)) - rgb).mean(1)
        weight = np.minimum(1, OUTLIER / np.maximum(error, 1e-6))
    return light


def squared_error(seen: Seen, surface: Surface, light: np.ndarray) -> np.ndarray:
    """(512, 512) mean over the channels; where the track has no surface, what errs more of black and white."""
    picture = encode(_lit(surface.basis, surface.albedo, light))
    worst = (seen.rgb < 0.5).astype(np.float32)
    return ((np.where(surface.is_covered[..., None], picture, worst) - seen.rgb) ** 2).mean(-1)


def _lit(basis: np.ndarray, albedo: np.ndarray, light: np.ndarray) -> np.ndarray:
    return albedo * np.maximum(basis @ light, MIN_SHADE)


def _seen(frames: dict[int, np.ndarray], capture: Capture, sample: int, cutout: Cutout) -> Seen:
    regions = regions_of(capture, sample, cutout)
    rgb = frames[int(capture.time_index[sample])].astype(np.float32) / 255
    return Seen(rgb, regions["face"], regions["face"] & ~regions["eyes"] & ~regions["mouth"])


def _spread(samples: np.ndarray, limit: int) -> np.ndarray:
    return samples if len(samples) <= limit else samples[np.unique(np.round(np.linspace(0, len(samples) - 1, limit)).astype(int))]
