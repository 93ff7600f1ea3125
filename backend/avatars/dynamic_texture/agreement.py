"""How well the distilled texture does the exact network's work, and what is lost when the view no longer counts."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np

from ...capture.colour import srgb_encode
from ...reporter import Reporter
from .blocks import BLOCK_NAMES, MOUTH
from .combinations import combined_inputs
from .eigen import EigenTexture
from .eigen_render import EigenPainter
from .exact import ExactTexture
from .painting import TexturePainter
from .teacher import Teacher

MEASURED_PX = 512
"""Side of the textures that are compared."""
MAX_FRAMES, NUM_UNSEEN, NUM_VIEWS = 60, 60, 40
_LARGEST_DB = 99.0
_HARD_MASK = 0.05


def agreement(
    exact: ExactTexture, eigen: EigenTexture, teacher: Teacher, static: np.ndarray, mask: np.ndarray, windows: np.ndarray, training: np.ndarray,
    test: np.ndarray, seed: int, reporter: Reporter,
) -> dict[str, Any]:
    """PSNR of whole textures, in sRGB code values over the texels that may change, weighted by the mask.

    Args:
        exact, eigen, teacher: the network, what it became, and what was asked. static: (S, S, 3) linear. mask: (S, S), M.
        windows: (B, S, S) of the blocks, for the figures by region. training: (n, X) raw inputs of training frames.
        test: (m, X) of test frames; only their poses are used, nothing of their pictures. seed: of the combinations, another than distillation's.

    Returns:
        ``test_frames`` and ``unseen_combinations``: dB between exact (orientation at its constant) and distilled, by region, beside ``static``:
        dB between exact and the static texture. ``view``: dB between the exact texture of training views and the exact texture at
        the constant orientation, over the orientations of the clip, and ``distilled_at_true_view``: the same against the distilled texture.
    """
    side = min(MEASURED_PX, len(static))
    small = cv2.resize(static, (side, side), interpolation=cv2.INTER_AREA)
    small_mask = cv2.resize(mask, (side, side), interpolation=cv2.INTER_AREA)
    eyes, mouth = windows[:MOUTH].sum(0), windows[MOUTH]
    regions = {"all": np.ones((side, side), np.float32), **{name: cv2.resize(window, (side, side), interpolation=cv2.INTER_AREA) for name, window in (("mouth", mouth), ("eyes", eyes))}}
    painter, distilled = TexturePainter(small, small_mask, exact.canvas, exact.windows), EigenPainter(eigen, small, small_mask)
    columns = eigen.columns(exact.space.names)
    weights = {name: (small_mask * region * (small_mask > _HARD_MASK)).astype(np.float64) for name, region in regions.items()}
    reporter.check()

    def still(inputs: np.ndarray) -> np.ndarray:
        held = inputs.astype(np.float32).copy()
        held[:, -3:] = teacher.still[-3:]
        return held

    def paint(inputs: np.ndarray) -> np.ndarray:
        return srgb_encode(painter.paint(exact.offsets(inputs[None]))[0])

    def paint_eigen(inputs: np.ndarray) -> np.ndarray:
        return srgb_encode(distilled.texture(inputs[columns]))

    def against(rows: np.ndarray, name: str) -> dict[str, Any]:
        pairs: dict[str, list[dict[str, float]]] = {"distilled": [], "static": []}
        code = srgb_encode(small)
        for index, row in enumerate(rows):
            reporter.progress("agreement", index, len(rows), name)
            wanted = paint(row)
            pairs["distilled"].append(_decibels(paint_eigen(row), wanted, weights))
            pairs["static"].append(_decibels(code, wanted, weights))
        return {**_mean(pairs["distilled"]), "static": _mean(pairs["static"]), "num": len(rows)}

    unseen = combined_inputs(training, exact.space.names, teacher.input_limits, teacher.still, NUM_UNSEEN, seed)
    found: dict[str, Any] = {"unseen_combinations": against(unseen, "combinations")}
    if len(test):
        found["test_frames"] = against(still(test[_spread(len(test), MAX_FRAMES)]), "test frames")
    turned = training[_spread(len(training), NUM_VIEWS)]
    views: list[dict[str, float]] = []
    views_distilled: list[dict[str, float]] = []
    for index, row in enumerate(turned):
        reporter.progress("agreement", index, len(turned), "views")
        wanted = paint(row)
        views.append(_decibels(paint(still(row[None])[0]), wanted, weights))
        views_distilled.append(_decibels(paint_eigen(row), wanted, weights))
    found["view"] = {**_mean(views), "distilled_at_true_view": _mean(views_distilled), "num": len(turned)}
    return found


def _decibels(got: np.ndarray, wanted: np.ndarray, weights: dict[str, np.ndarray]) -> dict[str, float]:
    squared = ((got - wanted) ** 2).mean(-1)
    result = {}
    for name, weight in weights.items():
        total = float(weight.sum())
        error = float((squared * weight).sum()) / total if total > 0 else 0.0
        result[name] = min(_LARGEST_DB, -10 * np.log10(max(error, 1e-12)))
    return result


def _mean(rows: list[dict[str, float]]) -> dict[str, float]:
    return {name: round(float(np.mean([row[name] for row in rows])), 2) for name in rows[0]} if rows else {}


def _spread(num: int, limit: int) -> np.ndarray:
    return np.unique(np.linspace(0, num - 1, min(num, limit)).round().astype(int))


assert BLOCK_NAMES[:MOUTH] == ("eye_left", "eye_right")
