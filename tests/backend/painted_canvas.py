"""A painter with known answers in place of a trained network: five patches, each moved by the controls of its own block."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import numpy as np

from backend.avatars.dynamic_texture.blocks import BLOCK_NAMES
from backend.avatars.dynamic_texture.canvas import Patch
from backend.avatars.dynamic_texture.teacher import Crop, Teacher, mask_crops

CONTROLS = (
    "eyeBlinkLeft", "eyeSquintLeft", "eyeBlinkRight", "eyeSquintRight", "jawOpen", "mouthClose", "mouthSmileLeft", "mouthSmileRight", "mouthPucker",
    "browDownLeft", "browInnerUp", "cheekPuff",
)  # fmt: skip
INPUTS = (*CONTROLS, "eye_left.x", "eye_left.y", "eye_left.z", "eye_right.x", "eye_right.y", "eye_right.z", "orientation.x", "orientation.y", "orientation.z")
OWN = {0: ("eyeBlinkLeft", "eyeSquintLeft"), 1: ("eyeBlinkRight", "eyeSquintRight"), 2: ("jawOpen", "mouthSmileLeft", "mouthPucker"), 3: ("browInnerUp",), 4: ("cheekPuff",)}
SIDE = 64
RECTS = ((0, 0, 24, 24), (24, 0, 48, 24), (0, 24, 40, 60), (48, 0, 64, 16), (40, 24, 64, 60))
UV_RECTS = ((0.0, 0.6, 0.3, 0.9), (0.4, 0.6, 0.7, 0.9), (0.1, 0.1, 0.5, 0.4), (0.2, 0.92, 0.6, 1.0), (0.6, 0.1, 0.95, 0.5))


@dataclasses.dataclass(frozen=True)
class PaintedCanvas:
    """teacher: what is distilled. offsets: (n, X) inputs -> (n, C, C, 3) linear, the whole canvas. mask: (C, C) M."""

    teacher: Teacher
    patches: tuple[Patch, ...]
    offsets: Callable[[np.ndarray], np.ndarray]
    mask: np.ndarray


def painted_canvas(is_linear: bool) -> PaintedCanvas:
    """Offsets are sums of pictures times the block's controls, bent by a hinge at 0.5 unless ``is_linear``. Orientation brightens everything."""
    random = np.random.default_rng(3)
    patches = tuple(Patch(block, uv, px) for block, (uv, px) in enumerate(zip(UV_RECTS, RECTS)))
    mask = np.zeros((SIDE, SIDE), np.float32)
    pictures = {}
    for patch in patches:
        x0, y0, x1, y1 = patch.canvas_rect_px
        mask[y0 + 3 : y1 - 3, x0 + 3 : x1 - 3] = 1
        pictures[patch.block] = random.normal(0, 0.03, (2 * len(OWN[patch.block]), y1 - y0, x1 - x0, 3))

    def offsets(inputs: np.ndarray) -> np.ndarray:
        result = np.zeros((len(inputs), SIDE, SIDE, 3)) + 0.05 * inputs[:, INPUTS.index("orientation.y"), None, None, None]
        for patch in patches:
            x0, y0, x1, y1 = patch.canvas_rect_px
            values = np.stack([inputs[:, INPUTS.index(name)] for name in OWN[patch.block]], 1).astype(np.float64)
            bent = np.zeros_like(values) if is_linear else np.maximum(values - 0.5, 0) * 3
            result[:, y0:y1, x0:x1] += 0.01 + np.tensordot(np.concatenate([values, bent], 1), pictures[patch.block], 1)
        return result.astype(np.float32)

    inside = [(slice(y0, y1), slice(x0, x1)) for x0, y0, x1, y1 in RECTS]
    crops = mask_crops(patches, [mask[where] > 0 for where in inside])
    at_crop = lambda image, crop: image[..., inside[crop.patch][0], inside[crop.patch][1], :][..., crop.rows, crop.cols, :][..., crop.keep, :]  # noqa: E731
    kept = lambda inputs: np.concatenate([at_crop(offsets(inputs), crop) for crop in crops], 1)  # noqa: E731
    metric = np.concatenate([at_crop(np.repeat(mask[..., None], 3, 2), crop) for crop in crops])
    limits = np.array([[0.0, 1.0] if "." not in name else [-np.inf, np.inf] for name in INPUTS])
    return PaintedCanvas(Teacher(kept, metric, crops, INPUTS, limits, np.zeros(len(INPUTS)), 256), patches, offsets, mask)


def training_inputs(num: int = 100) -> np.ndarray:
    """(num, X) smooth motion in which everything moves together, as in a clip."""
    time = np.arange(num)[:, None] / 25
    values = 0.5 + 0.5 * np.sin(time * (1 + np.arange(len(INPUTS)) % 5 * 0.37) + np.arange(len(INPUTS)))
    values[:, len(CONTROLS) :] = 0.3 * (values[:, len(CONTROLS) :] - 0.5)
    return values.astype(np.float32)


def on_canvas(crops: tuple[Crop, ...], tiles: list[np.ndarray]) -> np.ndarray:
    """(C, C, 3): tiles put back where they came from."""
    image = np.zeros((SIDE, SIDE, 3), np.float32)
    for tile, crop in zip(tiles, crops):
        x0, y0, x1, y1 = RECTS[crop.patch]
        image[y0:y1, x0:x1][crop.rows, crop.cols] = tile
    return image


assert len(BLOCK_NAMES) == len(RECTS)
