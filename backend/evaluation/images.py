"""Pictures of the avatar against pictures of the clip, on frames it never learned from (docs/evaluation.md)."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from ..avatars.instant import Camera, Drive
from ..avatars.textured_mesh import TexturedMesh
from ..capture.colour import srgb_decode
from ..capture.model import Capture
from ..objectives.image_metrics import psnr_db, ssim_map
from ..package.model import AvatarPackage
from ..reporter import Reporter
from .appearances import ALBEDO, DISTILLED, DYNAMIC, STATIC, Appearance, appearances_of, best_of, read_mask
from .crops import SIZE_PX, Cutout, boundary_ring, cut_frames, cutout_of, regions_of
from .drawing import DrawnSurface, draw_surface, encode
from .mask_share import mask_area_percent
from .packaged import drives_of, frozen_drives_of, textured_mesh_of
from .rounding import number

MAX_TEST_FRAMES = 100
"""Test frames that are looked at, evenly spaced, when the block is longer."""
MAX_INTERPOLATED_FRAMES = 25
MIN_SQUARED_ERROR = 1e-10
"""Equal pictures have a PSNR of 100 dB."""
NUM_GAIN_FRAMES = 12
"""Training frames the static baseline's one gain is fitted to, evenly spaced."""
REGIONS = ("face", "eyes", "mouth", "head", "ring")
PAINTED = (STATIC, ALBEDO, DYNAMIC, DISTILLED)
"""Columns that differ in nothing but the texture on the same driven surface."""
COLUMNS = ("driven", *PAINTED, "frozen", "neighbour_average", "flow_ceiling", "interpolated")


@dataclasses.dataclass(frozen=True)
class Shot:
    """One evaluated frame at 512 pixels. seen: (512, 512, 3) float32 sRGB. compared: the same of the avatar, over what errs most where it
    has no surface. premultiplied: (512, 512, 3) float32, the avatar alone, linear. alpha: (512, 512) float32.

    regions: name -> mask. sample: index into the capture. psnr_face_db: of this frame. over_clip: name -> (512, 512, 3) float32 sRGB, every appearance over the clip.
    """

    sample: int
    seen: np.ndarray
    compared: np.ndarray
    premultiplied: np.ndarray
    alpha: np.ndarray
    regions: dict[str, np.ndarray]
    psnr_face_db: float
    over_clip: dict[str, np.ndarray] = dataclasses.field(default_factory=dict)


def measure_images(
    package: AvatarPackage, capture: Capture, video: Path, sheet_samples: list[int], reporter: Reporter
) -> tuple[dict[str, Any], list[Shot]]:
    """PSNR and SSIM of the driven avatar and of what it must be compared with.

    Args:
        package: the avatar. capture: of its clip, same samples. video: the clip.
        sheet_samples: samples whose pictures are kept for the contact sheet.
        reporter: hears "report".

    Returns:
        The report's ``image`` object (docs/formats/report.md), and the kept shots in the order of ``sheet_samples``.
    """
    usable = capture.has_face & package.animation.is_tracked
    test = thinned(np.flatnonzero(capture.is_test & usable), MAX_TEST_FRAMES)
    interpolated = thinned(np.flatnonzero(capture.is_interpolated & capture.is_train & usable), MAX_INTERPOLATED_FRAMES)
    train = thinned(np.flatnonzero(capture.is_train & ~capture.is_interpolated & usable), NUM_GAIN_FRAMES)
    index_of = capture.time_index
    neighbours = [int(index_of[s]) + step for s in test for step in (-1, 1)]
    cutout = cutout_of(capture)
    frames = cut_frames(video, cutout, [*index_of[test], *index_of[interpolated], *index_of[train], *index_of[sheet_samples], *neighbours], reporter)
    state, appearances = textured_mesh_of(package), appearances_of(package)
    gain = _static_gain(package, state, appearances[STATIC], capture, train, cutout, frames)
    appearances[STATIC] = dataclasses.replace(appearances[STATIC], gain=gain)
    still = appearances.get(ALBEDO, appearances[STATIC])
    best, mask = best_of(appearances), read_mask(package)
    columns = {name: _Column() for name in COLUMNS}
    mask_shares: list[float] = []
    shots: dict[int, Shot] = {}
    work = sorted({*(int(s) for s in test), *(int(s) for s in interpolated), *sheet_samples})
    for done, sample in enumerate(work):
        index = int(index_of[sample])
        if index not in frames:
            continue
        seen = frames[index].astype(np.float32) / 255
        drive = drives_of(package, np.array([sample]))
        surface = surface_of(package, state, drive, sample, cutout)
        is_test, is_shown = bool(capture.is_test[sample]) and sample in test, sample in sheet_samples
        premultiplied = {name: one.picture(surface, drive) for name, one in appearances.items() if is_test or is_shown or one is best}
        painted = {name: over_worst(picture, surface.alpha, seen) for name, picture in premultiplied.items()}
        driven = painted[best.name]
        regions = regions_of(capture, sample, cutout)
        regions["ring"] = boundary_ring(regions["head"], surface.alpha)
        if sample in interpolated:
            columns["interpolated"].add(driven, seen, regions)
        if is_test:
            for name, picture in painted.items():
                columns[name].add(picture, seen, regions)
            frozen = frozen_drives_of(package, np.array([sample]))
            still_surface = surface_of(package, state, frozen, sample, cutout)
            columns["frozen"].add(over_worst(still.picture(still_surface, frozen), still_surface.alpha, seen), seen, regions)
            columns["flow_ceiling"].add(flow_ceiling(painted[STATIC], seen, regions["face"]), seen, regions)
            if regions["face"].any():
                mask_shares.append(float(surface.average(mask)[regions["face"]].mean()))
            if index - 1 in frames and index + 1 in frames:
                average = 0.5 * (frames[index - 1].astype(np.float32) + frames[index + 1].astype(np.float32)) / 255
                columns["neighbour_average"].add(average, seen, regions)
        if is_shown:
            behind = (1 - surface.alpha[..., None]) * srgb_decode(seen).astype(np.float32)
            over_clip = {name: encode(picture + behind) for name, picture in premultiplied.items()}
            shots[sample] = Shot(sample, seen, driven, premultiplied[best.name], surface.alpha, regions, psnr_db(driven, seen, regions["face"]), over_clip)
        reporter.progress("report", 0.3 + 0.65 * (done + 1) / len(work), 1.0)
    columns["driven"] = columns[best.name]
    image: dict[str, Any] = {name: columns[name].summary() if name in appearances or name not in PAINTED else None for name in COLUMNS}
    image["static"]["gain"] = number(gain)
    image.update(driven_by=best.name, fitted=None, mask=_mask(package, mask, mask_shares))
    image["cutout"] = {"left_px": cutout.left_px, "top_px": cutout.top_px, "side_px": cutout.side_px, "size_px": SIZE_PX}
    return image, [shots[sample] for sample in sheet_samples if sample in shots]


class _Column:
    """Collects one column of the table, frame by frame."""

    def __init__(self) -> None:
        self.psnr: dict[str, list[float]] = {name: [] for name in REGIONS}
        self.ssim: dict[str, list[float]] = {name: [] for name in REGIONS}

    def add(self, picture: np.ndarray, seen: np.ndarray, regions: dict[str, np.ndarray]) -> None:
        similarity = ssim_map(picture, seen, regions["head"])
        squared = np.square(picture - seen).mean(-1)
        for name in REGIONS:
            mask = regions[name]
            if mask.any():
                self.psnr[name].append(-10 * float(np.log10(max(squared[mask].mean(dtype=np.float64), MIN_SQUARED_ERROR))))
                self.ssim[name].append(float(similarity[mask].mean()))

    def summary(self) -> dict[str, Any]:
        mean = lambda values: number(np.mean(values)) if values else None  # noqa: E731
        return {
            "psnr_face_db": mean(self.psnr["face"]), "ssim_face": mean(self.ssim["face"]), "lpips_face": None, "num_frames": len(self.psnr["face"]),
            "regions": {name: {"psnr_db": mean(self.psnr[name]), "ssim": mean(self.ssim[name])} for name in REGIONS},
        }


def surface_of(package: AvatarPackage, state: TexturedMesh, drive: Drive, sample: int, cutout: Cutout) -> DrawnSurface:
    """The driven head in the cut-out, seen by the clip's camera."""
    clip = package.animation
    camera = Camera((cutout.cutout_from_px @ clip.px_from_cam)[None], clip.world_from_cam[sample][None], (SIZE_PX, SIZE_PX))
    return draw_surface(state, drive, camera)


def over_worst(premultiplied: np.ndarray, alpha: np.ndarray, seen: np.ndarray) -> np.ndarray:
    """(512, 512, 3) float32 sRGB: the picture, as wrong as black or white can be where the avatar has no surface."""
    return encode(premultiplied + (1 - alpha[..., None]) * (seen < 0.5).astype(np.float32))


def _static_gain(
    package: AvatarPackage, state: TexturedMesh, static: Appearance, capture: Capture, train: np.ndarray, cutout: Cutout, frames: dict[int, np.ndarray]
) -> float:
    """The one gain (linear light) with which the surface as filmed comes closest to training frames, least squares after the sRGB curve; 1 without any."""
    filmed, seen = [], []
    for sample in (int(sample) for sample in train):
        index = int(capture.time_index[sample])
        if index not in frames:
            continue
        drive = drives_of(package, np.array([sample]))
        surface = surface_of(package, state, drive, sample, cutout)
        good = regions_of(capture, sample, cutout)["face"] & (surface.alpha > 0.999)
        filmed.append(static.picture(surface, drive)[good][::7])
        seen.append(frames[index][good][::7].astype(np.float32) / 255)
    if not sum(len(part) for part in filmed):
        return 1.0
    colours, target = np.concatenate(filmed), np.concatenate(seen)
    error = lambda gain: float(((encode(colours * np.float32(gain)) - target) ** 2).mean())  # noqa: E731
    centre, reach = 1.0, 0.5
    for _ in range(5):
        gains = centre + reach * np.linspace(-1, 1, 9)
        centre, reach = float(gains[int(np.argmin([error(gain) for gain in gains]))]), reach / 4
    return centre


def _mask(package: AvatarPackage, mask: np.ndarray, shares: list[float]) -> dict[str, Any] | None:
    """How much the dynamic texture may paint; None when the package has no mask."""
    if package.texture.mask is None:
        return None
    return {"skin_area_percent": number(mask_area_percent(package.mesh, mask)), "face_pixels_percent": number(100 * np.mean(shares)) if shares else None}


def flow_ceiling(picture: np.ndarray, seen: np.ndarray, face: np.ndarray) -> np.ndarray:
    """What the same texture could reach with perfect geometry and smooth changes of light: an oracle, not a result.

    The picture is moved onto the seen frame by dense optical flow (Kroeger et al., "Fast optical flow using dense inverse search", ECCV
    2016, OpenCV's medium preset) and multiplied by a gain smoothed over an eighth of the cut-out, both read from the seen frame itself.
    """
    grey = lambda values: cv2.cvtColor(np.round(values * 255).astype(np.uint8), cv2.COLOR_RGB2GRAY)  # noqa: E731
    flow = cv2.DISOpticalFlow_create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM).calc(grey(seen), grey(picture), None)
    x, y = np.meshgrid(np.arange(SIZE_PX, dtype=np.float32), np.arange(SIZE_PX, dtype=np.float32))
    warped = cv2.remap(picture, x + flow[..., 0], y + flow[..., 1], cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    weight = face.astype(np.float32)[..., None]
    small = SIZE_PX // 4
    smooth = lambda values: cv2.GaussianBlur(cv2.resize(values, (small, small), interpolation=cv2.INTER_AREA), (0, 0), small / 16)  # noqa: E731
    gain = (smooth(seen * weight) + 1e-4) / (smooth(warped * weight) + 1e-4)
    return np.clip(warped * cv2.resize(np.clip(gain, 0.5, 2.0), (SIZE_PX, SIZE_PX), interpolation=cv2.INTER_LINEAR), 0, 1)


def thinned(samples: np.ndarray, limit: int) -> np.ndarray:
    """At most ``limit`` of the samples, evenly spaced."""
    return samples if len(samples) <= limit else samples[np.unique(np.round(np.linspace(0, len(samples) - 1, limit)).astype(int))]
