"""One step's pictures: the network's canvas looked up at the known places of some frames, mixed, shaded and put into their pictures."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
import torch

from ...capture.colour import srgb_encode
from ...render.shading import srgb_from_linear
from ...render.textures import sample
from .canvas import Canvas
from .painting import canvas_lookup, composed, window_at
from .training_frames import TrainingFrame

_MARGIN_PX = 8
MIXED_GROUPS = (0, 1, 3)
"""Groups of ``combinations.mixing_groups`` that are taken from another frame now and then: left eye, right eye, mouth."""
STRANGERS = (("eye_right", "mouth"), ("eye_left", "mouth"), ("eye_left", "eye_right", "brows"))
"""For each of them the blocks that must look the same then."""


@dataclasses.dataclass(frozen=True)
class FrameLookup:
    """A training frame and where its n changeable pixels read the canvas: k look-ups.

    place: (k,) int64 into the n. uv: (k, 2) float32 of the canvas, v up. share: (k, 1) float32. encoded: (n, 3) float16, sRGB code of the static albedo.
    kept: (3, n) float16 in [0, 1], how much of a pixel the inputs of ``MIXED_GROUPS`` have no business with.
    """

    frame: TrainingFrame
    place: torch.Tensor
    uv: torch.Tensor
    share: torch.Tensor
    encoded: np.ndarray
    kept: np.ndarray


def frame_lookup(frame: TrainingFrame, canvas: Canvas, windows: np.ndarray) -> FrameLookup:
    """Computes it; the canvas does not change while the network learns."""
    lookup = canvas_lookup(canvas, windows, frame.uv)
    uv = np.stack([lookup.px[:, 0] / canvas.size_px, 1 - lookup.px[:, 1] / canvas.size_px], -1).astype(np.float32)
    encoded = srgb_encode(frame.static.astype(np.float32)).astype(np.float16)
    at_block = np.stack([window_at(window, frame.uv) for window in windows])
    kept = np.stack([at_block[[canvas.block_names.index(name) for name in names]].sum(0) for names in STRANGERS]).astype(np.float16)
    return FrameLookup(frame, torch.from_numpy(lookup.place.astype(np.int64)), torch.from_numpy(uv), torch.from_numpy(lookup.weight)[:, None], encoded, kept)


@dataclasses.dataclass(frozen=True)
class Batch:
    """Pictures (B, 3, h, w) sRGB in [0, 1], cropped to what can change. weight: (B, 1, h, w): certain face that the texture can change."""

    picture: torch.Tensor
    target: torch.Tensor
    weight: torch.Tensor


def batch_pictures(lookups: list[FrameLookup], offsets: torch.Tensor, amount: float = 1.0, mixed: Sequence[int] = ()) -> Batch:
    """Draws B frames.

    Args:
        lookups: B frames of one picture size. offsets: (B, 3, h, w), painted canvases, sRGB units.
        amount: 0 = the static texture.
        mixed: for each frame the row of ``MIXED_GROUPS`` that was taken from another frame, or -1: what it may change is not compared.

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
        side = _side(frame)
        pictures.append(_drawn(lookup, looked_up[row, : len(lookup.uv)], amount))
        targets.append((torch.from_numpy(frame.target).float() / 255).reshape(side, side, 3))
        free = np.zeros(side * side, np.float32)
        free[frame.pixels] = lookup.kept[mixed[row]] if len(mixed) and mixed[row] >= 0 else 1
        weights.append((torch.from_numpy(frame.weight).float() / 255 * torch.from_numpy(free)).reshape(1, side, side))
    return _cropped(torch.stack(pictures), torch.stack(targets), torch.stack(weights))


def _cropped(pictures: torch.Tensor, targets: torch.Tensor, weights: torch.Tensor) -> Batch:
    """Without the border that has no weight in any picture; channels in front."""
    counts = weights.amax((0, 1)) > 0
    rows, cols = counts.any(1).nonzero()[:, 0], counts.any(0).nonzero()[:, 0]
    span = lambda found, length: slice(max(int(found[0]) - _MARGIN_PX, 0), min(int(found[-1]) + 1 + _MARGIN_PX, length)) if len(found) else slice(0, length)  # noqa: E731
    rows, cols = span(rows, counts.shape[0]), span(cols, counts.shape[1])
    front = lambda values: values[:, rows, cols].permute(0, 3, 1, 2).contiguous()  # noqa: E731
    return Batch(front(pictures), front(targets), weights[:, :, rows, cols].contiguous())


def whole_picture(lookup: FrameLookup, offsets: torch.Tensor, amount: float = 1.0) -> torch.Tensor:
    """(R, R, 3) sRGB: one frame's picture from a painted canvas (1, 3, h, w)."""
    return _drawn(lookup, sample(offsets.permute(0, 2, 3, 1), lookup.uv[None])[0], amount)


def _drawn(lookup: FrameLookup, looked_up: torch.Tensor, amount: float) -> torch.Tensor:
    frame = lookup.frame
    offset = torch.zeros(len(frame.pixels), 3).index_add(0, lookup.place, looked_up * lookup.share)
    mask = amount * torch.from_numpy(frame.mask.astype(np.float32))[:, None]
    albedo = composed(torch.from_numpy(frame.static.astype(np.float32)), mask, offset, torch.from_numpy(lookup.encoded.astype(np.float32)))
    code = srgb_from_linear(albedo * torch.from_numpy(frame.shade.astype(np.float32)))
    picture = (torch.from_numpy(frame.base).float() / 255).index_copy(0, torch.from_numpy(frame.pixels.astype(np.int64)), code)
    return picture.reshape(_side(frame), _side(frame), 3)


def _side(frame: TrainingFrame) -> int:
    return int(round(len(frame.target) ** 0.5))
