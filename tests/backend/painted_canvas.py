"""A painter with known answers in place of a trained network: five patches, each moved by the controls of its own block."""

from __future__ import annotations

import numpy as np

from backend.avatars.dynamic_texture.blocks import BLOCK_NAMES
from backend.avatars.dynamic_texture.distil import CanvasPatch, ExactCanvas

CONTROLS = (
    "eyeBlinkLeft", "eyeSquintLeft", "eyeBlinkRight", "eyeSquintRight", "jawOpen", "mouthClose", "mouthSmileLeft", "mouthSmileRight", "mouthPucker",
    "browDownLeft", "browInnerUp", "cheekPuff",
)  # fmt: skip
INPUTS = (*CONTROLS, "eye_left.x", "eye_left.y", "eye_left.z", "eye_right.x", "eye_right.y", "eye_right.z", "orientation.x", "orientation.y", "orientation.z")
OWN = {0: ("eyeBlinkLeft", "eyeSquintLeft"), 1: ("eyeBlinkRight", "eyeSquintRight"), 2: ("jawOpen", "mouthSmileLeft", "mouthPucker"), 3: ("browInnerUp",), 4: ("cheekPuff",)}
SIDE = 64
RECTS = ((0, 0, 24, 24), (24, 0, 48, 24), (0, 24, 40, 60), (48, 0, 64, 16), (40, 24, 64, 60))
UV_RECTS = ((0.0, 0.6, 0.3, 0.9), (0.4, 0.6, 0.7, 0.9), (0.1, 0.1, 0.5, 0.4), (0.2, 0.92, 0.6, 1.0), (0.6, 0.1, 0.95, 0.5))


def painted_canvas(is_linear: bool) -> ExactCanvas:
    """Offsets are sums of pictures times the block's controls, bent by a hinge at 0.5 unless ``is_linear``. Orientation brightens everything."""
    random = np.random.default_rng(3)
    static = random.uniform(0.2, 0.5, (SIDE, SIDE, 3)).astype(np.float32)
    patches = tuple(CanvasPatch(block, uv, px) for block, (uv, px) in enumerate(zip(UV_RECTS, RECTS)))
    window, mask = np.zeros((SIDE, SIDE), np.float32), np.zeros((SIDE, SIDE), np.float32)
    pictures = {}
    for patch in patches:
        x0, y0, x1, y1 = patch.canvas_rect_px
        window[y0:y1, x0:x1] = 1
        mask[y0 + 3 : y1 - 3, x0 + 3 : x1 - 3] = 1
        pictures[patch.block] = random.normal(0, 0.03, (2 * len(OWN[patch.block]), y1 - y0, x1 - x0, 3))

    def paint(inputs: np.ndarray) -> np.ndarray:
        result = np.tile(static, (len(inputs), 1, 1, 1)) + 0.05 * inputs[:, INPUTS.index("orientation.y"), None, None, None]
        for patch in patches:
            x0, y0, x1, y1 = patch.canvas_rect_px
            values = np.stack([inputs[:, INPUTS.index(name)] for name in OWN[patch.block]], 1).astype(np.float64)
            bent = np.zeros_like(values) if is_linear else np.maximum(values - 0.5, 0) * 3
            result[:, y0:y1, x0:x1] += 0.01 + np.tensordot(np.concatenate([values, bent], 1), pictures[patch.block], 1)
        return result.astype(np.float32)

    limits = np.array([[0.0, 1.0] if "." not in name else [-np.inf, np.inf] for name in INPUTS])
    return ExactCanvas(paint, INPUTS, limits, np.zeros(len(INPUTS)), patches, window, static, mask, 256)


def training_inputs(num: int = 100) -> np.ndarray:
    """(num, X) smooth motion in which everything moves together, as in a clip."""
    time = np.arange(num)[:, None] / 25
    values = 0.5 + 0.5 * np.sin(time * (1 + np.arange(len(INPUTS)) % 5 * 0.37) + np.arange(len(INPUTS)))
    values[:, len(CONTROLS) :] = 0.3 * (values[:, len(CONTROLS) :] - 0.5)
    return values.astype(np.float32)


def on_canvas(exact: ExactCanvas, tiles: list[np.ndarray], rects: np.ndarray) -> np.ndarray:
    """(C, C, 3): crops of patches put back where they came from."""
    image = np.zeros((SIDE, SIDE, 3), np.float32)
    for tile, rect in zip(tiles, rects):
        patch = next(one for one in exact.patches if one.uv_rect[0] - 1e-6 <= rect[0] and rect[2] <= one.uv_rect[2] + 1e-6 and one.uv_rect[1] - 1e-6 <= rect[1] and rect[3] <= one.uv_rect[3] + 1e-6)
        x0, y0, x1, _ = patch.canvas_rect_px
        u0, _, u1, v1 = patch.uv_rect
        left = x0 + round((rect[0] - u0) / (u1 - u0) * (x1 - x0))
        top = y0 + round((v1 - rect[3]) / (v1 - patch.uv_rect[1]) * (patch.canvas_rect_px[3] - y0))
        image[top : top + tile.shape[0], left : left + tile.shape[1]] = tile
    return image


assert len(BLOCK_NAMES) == len(RECTS)
