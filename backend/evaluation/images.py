"""Pictures of the avatar against pictures of the clip, on frames it never learned from (docs/evaluation.md)."""

from __future__ import annotations

import dataclasses
import functools
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from ..avatars.instant import Camera, Drive
from ..avatars.textured_mesh import render
from ..capture.model import Capture
from ..objectives.image_metrics import psnr_db, ssim_map
from ..package.model import AvatarPackage
from ..reporter import Reporter
from .crops import SIZE_PX, Cutout, boundary_ring, cut_frames, cutout_of, regions_of
from .packaged import drives_of, frozen_drives_of, textured_mesh_of
from .rounding import number

MAX_TEST_FRAMES = 100
"""Test frames that are looked at, evenly spaced, when the block is longer."""
MAX_INTERPOLATED_FRAMES = 25
REGIONS = ("face", "eyes", "mouth", "head", "ring")


@dataclasses.dataclass(frozen=True)
class Shot:
    """One evaluated frame at 512 pixels. seen: (512, 512, 3) float32 sRGB. compared: the same of the avatar, over what errs most where it
    has no surface. premultiplied: (512, 512, 3) float32, the avatar alone, linear. alpha: (512, 512) float32.

    regions: name -> mask. sample: index into the capture. psnr_face_db: of this frame.
    """

    sample: int
    seen: np.ndarray
    compared: np.ndarray
    premultiplied: np.ndarray
    alpha: np.ndarray
    regions: dict[str, np.ndarray]
    psnr_face_db: float


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
    test = _thinned(np.flatnonzero(capture.is_test & usable), MAX_TEST_FRAMES)
    interpolated = _thinned(np.flatnonzero(capture.is_interpolated & capture.is_train & usable), MAX_INTERPOLATED_FRAMES)
    index_of = capture.time_index
    neighbours = [int(index_of[s]) + step for s in test for step in (-1, 1)]
    cutout = cutout_of(capture)
    frames = cut_frames(video, cutout, [*index_of[test], *index_of[interpolated], *index_of[sheet_samples], *neighbours], reporter)
    state = textured_mesh_of(package)
    columns = {name: _Column() for name in ("driven", "static", "neighbour_average", "flow_ceiling", "interpolated")}
    shots: dict[int, Shot] = {}
    work = sorted({*(int(s) for s in test), *(int(s) for s in interpolated), *sheet_samples})
    for done, sample in enumerate(work):
        index = int(index_of[sample])
        if index not in frames:
            continue
        seen = frames[index].astype(np.float32) / 255
        driven, premultiplied, alpha = _drawn(package, state, drives_of(package, np.array([sample])), sample, cutout, seen)
        regions = regions_of(capture, sample, cutout)
        regions["ring"] = boundary_ring(regions["head"], alpha)
        if sample in interpolated:
            columns["interpolated"].add(driven, seen, regions)
        if capture.is_test[sample] and sample in test:
            columns["driven"].add(driven, seen, regions)
            frozen, _, _ = _drawn(package, state, frozen_drives_of(package, np.array([sample])), sample, cutout, seen)
            columns["static"].add(frozen, seen, regions)
            columns["flow_ceiling"].add(flow_ceiling(driven, seen, regions["face"]), seen, regions)
            if index - 1 in frames and index + 1 in frames:
                average = 0.5 * (frames[index - 1].astype(np.float32) + frames[index + 1].astype(np.float32)) / 255
                columns["neighbour_average"].add(average, seen, regions)
        if sample in sheet_samples:
            shots[sample] = Shot(sample, seen, driven, premultiplied, alpha, regions, psnr_db(driven, seen, regions["face"]))
        reporter.progress("report", 0.3 + 0.65 * (done + 1) / len(work), 1.0)
    image: dict[str, Any] = {name: column.summary() for name, column in columns.items()}
    image["fitted"] = None
    image["cutout"] = {"left_px": cutout.left_px, "top_px": cutout.top_px, "side_px": cutout.side_px, "size_px": SIZE_PX}
    return image, [shots[sample] for sample in sheet_samples if sample in shots]


class _Column:
    """Collects one column of the table, frame by frame."""

    def __init__(self) -> None:
        self.psnr: dict[str, list[float]] = {name: [] for name in REGIONS}
        self.ssim: dict[str, list[float]] = {name: [] for name in REGIONS}

    def add(self, picture: np.ndarray, seen: np.ndarray, regions: dict[str, np.ndarray]) -> None:
        similarity = ssim_map(picture, seen, regions["head"])
        for name in REGIONS:
            mask = regions[name]
            if mask.any():
                self.psnr[name].append(min(psnr_db(picture, seen, mask), 100.0))
                self.ssim[name].append(float(similarity[mask].mean()))

    def summary(self) -> dict[str, Any]:
        mean = lambda values: number(np.mean(values)) if values else None  # noqa: E731
        return {
            "psnr_face_db": mean(self.psnr["face"]), "ssim_face": mean(self.ssim["face"]), "lpips_face": None, "num_frames": len(self.psnr["face"]),
            "regions": {name: {"psnr_db": mean(self.psnr[name]), "ssim": mean(self.ssim[name])} for name in REGIONS},
        }


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


def _drawn(package: AvatarPackage, state: Any, drive: Drive, sample: int, cutout: Cutout, seen: np.ndarray) -> tuple[np.ndarray, ...]:
    """The avatar in the cut-out: sRGB (512, 512, 3) float32, as wrong as black or white can be where it has no surface; linear and
    premultiplied; alpha."""
    clip = package.animation
    camera = Camera((cutout.cutout_from_px @ clip.px_from_cam)[None], clip.world_from_cam[sample][None], (SIZE_PX, SIZE_PX))
    rendered = render(state, drive, camera, want=("colour", "alpha"))
    alpha = rendered.alpha[0].numpy()[..., None]
    worst = (seen < 0.5).astype(np.float32)
    premultiplied = rendered.colour[0].numpy()
    return encode(premultiplied + (1 - alpha) * worst), premultiplied, alpha[..., 0]


def encode(linear: np.ndarray) -> np.ndarray:
    """Linear light to sRGB, float32, by table (4096 steps of square-root light: error below 1/2000)."""
    codes = np.sqrt(np.clip(linear, 0, 1)) * np.float32(4095)
    return _table()[np.round(codes).astype(np.int32)]


@functools.cache
def _table() -> np.ndarray:
    linear = (np.arange(4096) / 4095) ** 2
    return np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055).astype(np.float32)


def _thinned(samples: np.ndarray, limit: int) -> np.ndarray:
    return samples if len(samples) <= limit else samples[np.unique(np.round(np.linspace(0, len(samples) - 1, limit)).astype(int))]
