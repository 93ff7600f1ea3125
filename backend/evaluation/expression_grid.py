"""Expressions that the clip never showed: drawn side by side with every texture the avatar has, and checked for what must never happen."""

from __future__ import annotations

import dataclasses
from typing import Any

import cv2
import numpy as np

from ..avatars.instant import Camera, Drive
from ..capture.colour import srgb_encode
from ..geometry.cameras import intrinsics
from ..package.model import AvatarPackage
from .appearances import ALBEDO, DISTILLED, DYNAMIC, Appearance, appearances_of, read_mask
from .drawing import draw_surface, encode
from .packaged import textured_mesh_of
from .rounding import number

_BOTH = lambda stem, value: {f"{stem}Left": value, f"{stem}Right": value}  # noqa: E731
COMBINATIONS: dict[str, dict[str, float]] = {
    "neutral": {},
    "left eye shut, smile": {"eyeBlinkLeft": 1.0, **_BOTH("mouthSmile", 0.8)},
    "right eye shut, jaw open": {"eyeBlinkRight": 1.0, "jawOpen": 0.7},
    "both eyes shut, jaw open wide": {**_BOTH("eyeBlink", 1.0), "jawOpen": 1.0},
    "brows up, frown of the mouth": {"browInnerUp": 1.0, **_BOTH("browOuterUp", 1.0), **_BOTH("mouthFrown", 0.8)},
    "left brow up, right brow down": {"browOuterUpLeft": 1.0, "browDownRight": 1.0},
    "half a smile, half a frown": {"mouthSmileLeft": 1.0, "mouthFrownRight": 1.0},
    "funnel, eyes wide": {"mouthFunnel": 1.0, "jawOpen": 0.3, **_BOTH("eyeWide", 1.0)},
    "pucker, squint": {"mouthPucker": 1.0, **_BOTH("eyeSquint", 1.0)},
    "cheeks puffed, brows down": {"cheekPuff": 1.0, **_BOTH("browDown", 1.0)},
    "mouth to the left, jaw to the right": {"mouthLeft": 0.8, "jawRight": 0.8},
    "lips rolled in, left eye shut": {"mouthRollLower": 1.0, "mouthRollUpper": 1.0, "eyeBlinkLeft": 1.0},
    "sneer, jaw open": {**_BOTH("noseSneer", 1.0), "jawOpen": 0.5, **_BOTH("mouthUpperUp", 0.6)},
    "teeth shown, eyes shut": {**_BOTH("mouthUpperUp", 0.8), **_BOTH("mouthLowerDown", 0.8), "jawOpen": 0.15, **_BOTH("eyeBlink", 1.0)},
    "tongue out, brows up": {"tongueOut": 0.8, "jawOpen": 0.6, "browInnerUp": 0.8},
    "everything at half": {},
}
"""Names of sliders and where they stand; "everything at half" sets all of them."""
MIN_NEWNESS = 0.35
"""An expression counts as unseen when every training frame differs from it by so much in at least one slider."""
TOLERANCE = 0.04
"""How far (sRGB) a texel may leave the range it had on training frames before it counts as beyond what was seen."""
NUM_RANGE_FRAMES = 40


@dataclasses.dataclass(frozen=True)
class GridExpression:
    """name: in words. controls: (E,) float32 in the package's order. newness: largest slider difference to the most similar training frame."""

    name: str
    controls: np.ndarray
    newness: float

    @property
    def is_unseen(self) -> bool:
        return self.newness >= MIN_NEWNESS


def grid_expressions(package: AvatarPackage) -> list[GridExpression]:
    """The expressions of ``COMBINATIONS`` that the head has sliders for."""
    clip = package.animation
    names = clip.control_names
    low, high = np.array([[control.min, control.max] for control in package.controls], np.float32).T
    training = clip.controls[(clip.split == 0) & clip.is_tracked & ~clip.is_interpolated]
    found = []
    for name, values in COMBINATIONS.items():
        controls = np.zeros(len(names), np.float32) if name != "everything at half" else np.full(len(names), 0.5, np.float32)
        for control, value in values.items():
            if control in names:
                controls[names.index(control)] = value
        controls = np.clip(controls, low, high)
        newness = float(np.abs(training - controls).max(1).min()) if len(training) else 1.0
        if controls.any() or not values:
            found.append(GridExpression(name, controls, newness))
    return found


def draw_grid(package: AvatarPackage, cell_px: int = 256) -> tuple[np.ndarray, dict[str, Any]]:
    """Every expression with every texture, seen from the front in the clip's light.

    Args:
        package: an avatar. cell_px: side of one picture.

    Returns:
        (H, W, 3) uint8 sRGB: one column per expression (in two bands of rows), one row per texture; and the checks of ``check_textures``.
    """
    appearances = {name: one for name, one in appearances_of(package).items() if name in (ALBEDO, DYNAMIC, DISTILLED)} or appearances_of(package)
    expressions = grid_expressions(package)
    state, camera = textured_mesh_of(package), front_camera(package, cell_px)
    checks = check_textures(package, appearances, expressions)
    columns = []
    for expression in expressions:
        drive = rest_drive(package, expression.controls)
        surface = draw_surface(state, drive, camera)
        cells = [encode(one.picture(surface, drive) + (1 - surface.alpha[..., None]) * np.float32(0.015)) for one in appearances.values()]
        columns.append([_captioned(np.round(cell * 255).astype(np.uint8), f"{name}: {expression.name}", expression) for name, cell in zip(appearances, cells)])
    half = (len(columns) + 1) // 2
    blank = [np.full_like(columns[0][0], 34)] * len(appearances)
    bands = [columns[:half], columns[half:] + [blank] * (2 * half - len(columns))]
    rows = [np.concatenate([column[row] for column in band], 1) for band in bands for row in range(len(appearances))]
    return np.concatenate(rows, 0), checks


def check_textures(package: AvatarPackage, appearances: dict[str, Appearance], expressions: list[GridExpression]) -> dict[str, Any]:
    """What must never happen, and how far the textures go beyond what the clip taught.

    Returns:
        ``num_unseen`` and ``num_expressions``; for each changing texture ``num_nonfinite`` and ``num_out_of_range`` values, ``num_changed_outside``: texels
        with mask 0 that differ from the static texture at all (all three must be 0), and ``beyond_seen_percent``: texels of the mask whose sRGB colour
        leaves the range it had on training frames by more than ``TOLERANCE``, mean over the unseen expressions.
    """
    mask = read_mask(package)
    outside, inside = mask == 0, mask > 0.5
    result: dict[str, Any] = {"num_unseen": sum(one.is_unseen for one in expressions), "num_expressions": len(expressions), "textures": {}}
    if ALBEDO not in appearances:
        return result
    static = appearances[ALBEDO].texture_of(rest_drive(package, expressions[0].controls), _front(package))
    for name in (DYNAMIC, DISTILLED):
        if name not in appearances:
            continue
        low, high = _seen_range(package, appearances[name], inside)
        counts = {"num_nonfinite": 0, "num_out_of_range": 0, "num_changed_outside": 0}
        beyond = []
        for expression in expressions:
            texture = appearances[name].texture_of(rest_drive(package, expression.controls), _front(package))
            counts["num_nonfinite"] += int((~np.isfinite(texture)).sum())
            counts["num_out_of_range"] += int(((texture < 0) | (texture > 1)).sum())
            counts["num_changed_outside"] += int((texture != static)[outside].any(-1).sum())
            if expression.is_unseen and inside.any():
                colour = srgb_encode(np.clip(texture[inside], 0, 1))
                beyond.append(float(((colour < low - TOLERANCE) | (colour > high + TOLERANCE)).any(-1).mean()))
        result["textures"][name] = {**counts, "beyond_seen_percent": number(100 * np.mean(beyond)) if beyond else None}
    return result


def _seen_range(package: AvatarPackage, appearance: Appearance, inside: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(k, 3) smallest and largest sRGB colour of each texel over training frames."""
    clip = package.animation
    train = np.flatnonzero((clip.split == 0) & clip.is_tracked & ~clip.is_interpolated)
    train = train[np.unique(np.round(np.linspace(0, len(train) - 1, min(NUM_RANGE_FRAMES, len(train)))).astype(int))] if len(train) else train
    low, high = np.full((int(inside.sum()), 3), np.inf), np.full((int(inside.sum()), 3), -np.inf)
    for sample in train:
        drive = Drive(clip.controls[[sample]], clip.joint_rotations[[sample]], clip.world_from_root[[sample]])
        colour = srgb_encode(np.clip(appearance.texture_of(drive, clip.world_from_cam[sample])[inside], 0, 1))
        low, high = np.minimum(low, colour), np.maximum(high, colour)
    return low, high


def rest_drive(package: AvatarPackage, controls: np.ndarray) -> Drive:
    """One instant with these controls, eyes ahead, the head upright at the world's origin."""
    return Drive(controls[None].astype(np.float32), np.zeros((1, len(package.mesh.joint_names), 3), np.float32), np.eye(4)[None])


def front_camera(package: AvatarPackage, size_px: int) -> Camera:
    """A camera that looks along world -Z at the face of a head at the origin, from as far as the clip's."""
    return Camera(_front_intrinsics(package, size_px)[None], _front(package)[None], (size_px, size_px))


def _front(package: AvatarPackage) -> np.ndarray:
    """(4, 4) world_from_cam."""
    clip = package.animation
    vertices = package.mesh.vertices
    face = vertices[package.mesh.regions["face"]] if "face" in package.mesh.regions else vertices
    centre = 0.5 * (face.max(0) + face.min(0)).astype(np.float64)
    distance_m = float(np.median(np.linalg.norm(clip.world_from_cam[:, :3, 3] - clip.world_from_root[:, :3, 3] - centre, axis=1)))
    world_from_cam = np.eye(4)
    world_from_cam[:3, :3] = np.diag([1.0, -1.0, -1.0])
    world_from_cam[:3, 3] = centre + [0, 0, max(distance_m, 0.3)]
    return world_from_cam


def _front_intrinsics(package: AvatarPackage, size_px: int) -> np.ndarray:
    vertices = package.mesh.vertices
    face = vertices[package.mesh.regions["face"]] if "face" in package.mesh.regions else vertices
    reach_m = 1.25 * float(np.ptp(face[:, :2], axis=0).max())
    distance_m = float(_front(package)[2, 3]) - float(face[:, 2].max())
    return intrinsics(size_px * distance_m / reach_m, (size_px / 2, size_px / 2))


def _captioned(cell: np.ndarray, text: str, expression: GridExpression) -> np.ndarray:
    bar = np.full((18, cell.shape[1], 3), 34, np.uint8)
    colour = (235, 235, 235) if expression.is_unseen else (150, 150, 150)
    cv2.putText(bar, text, (3, 13), cv2.FONT_HERSHEY_SIMPLEX, 0.33, colour, 1, cv2.LINE_AA)
    return np.concatenate([cell, bar], 0)
