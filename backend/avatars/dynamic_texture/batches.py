"""One step's pictures: the network's canvas looked up at the known places of some frames, mixed, shaded and put into their pictures."""

from __future__ import annotations

import dataclasses

import numpy as np
import torch

from ...capture.colour import srgb_encode
from ...render.shading import srgb_from_linear
from ...render.textures import sample
from .canvas import Canvas
from .painting import canvas_lookup, composed
from .training_frames import TrainingFrame


@dataclasses.dataclass(frozen=True)
class FrameLookup:
    """A training frame and where its n changeable pixels read the canvas: k look-ups.

    place: (k,) int64 into the n. uv: (k, 2) float32 of the canvas, v up. share: (k, 1) float32. encoded: (n, 3) float32, sRGB code of the static albedo.
    """

    frame: TrainingFrame
    place: torch.Tensor
    uv: torch.Tensor
    share: torch.Tensor
    encoded: np.ndarray


def frame_lookup(frame: TrainingFrame, canvas: Canvas, windows: np.ndarray) -> FrameLookup:
    """Computes it; the canvas does not change while the network learns."""
    lookup = canvas_lookup(canvas, windows, frame.uv)
    uv = np.stack([lookup.px[:, 0] / canvas.size_px, 1 - lookup.px[:, 1] / canvas.size_px], -1).astype(np.float32)
    encoded = srgb_encode(frame.static.astype(np.float32)).astype(np.float16)
    return FrameLookup(frame, torch.from_numpy(lookup.place.astype(np.int64)), torch.from_numpy(uv), torch.from_numpy(lookup.weight)[:, None], encoded)


@dataclasses.dataclass(frozen=True)
class Batch:
    """Pictures (B, 3, R, R) sRGB in [0, 1]. weight: (B, 1, R, R): certain face that the texture can change."""

    picture: torch.Tensor
    target: torch.Tensor
    weight: torch.Tensor


def batch_pictures(lookups: list[FrameLookup], offsets: torch.Tensor, amount: float = 1.0) -> Batch:
    """Draws B frames.

    Args:
        lookups: B frames of one picture size. offsets: (B, 3, h, w), painted canvases, sRGB units.
        amount: 0 = the static texture.

    Returns:
        Pictures, differentiable in ``offsets``.
    """
    longest = max(len(lookup.uv) for lookup in lookups)
    uv, covered = torch.full((len(lookups), longest, 2), 0.5), torch.zeros(len(lookups), longest, dtype=torch.bool)
    for row, lookup in enumerate(lookups):
        uv[row, : len(lookup.uv)], covered[row, : len(lookup.uv)] = lookup.uv, True
    looked_up = sample(offsets.permute(0, 2, 3, 1), uv, is_covered=covered)
    pictures, targets, weights = [], [], []
    for row, lookup in enumerate(lookups):
        frame = lookup.frame
        side = int(round(len(frame.target) ** 0.5))
        count = len(frame.pixels)
        offset = torch.zeros(count, 3).index_add(0, lookup.place, looked_up[row, : len(lookup.uv)] * lookup.share)
        mask = amount * torch.from_numpy(frame.mask.astype(np.float32))[:, None]
        albedo = composed(torch.from_numpy(frame.static.astype(np.float32)), mask, offset, torch.from_numpy(lookup.encoded.astype(np.float32)))
        code = srgb_from_linear(albedo * torch.from_numpy(frame.shade.astype(np.float32)))
        pixels = torch.from_numpy(frame.pixels.astype(np.int64))
        pictures.append((torch.from_numpy(frame.base).float() / 255).index_copy(0, pixels, code).reshape(side, side, 3))
        targets.append((torch.from_numpy(frame.target).float() / 255).reshape(side, side, 3))
        is_free = torch.zeros(side * side).index_fill(0, pixels, 1.0)
        weights.append((torch.from_numpy(frame.weight).float() / 255 * is_free).reshape(1, side, side))
    return Batch(torch.stack(pictures).permute(0, 3, 1, 2), torch.stack(targets).permute(0, 3, 1, 2), torch.stack(weights))
