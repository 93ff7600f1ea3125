"""The contact sheet: input, avatar, overlay, error on test frames, and close-ups of mouth and eyes."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

from ..capture.colour import srgb_decode
from ..capture.model import Capture
from ..package.model import AvatarPackage
from ..storage import replacing
from .close_ups import ASPECT, close_ups, strip_names
from .drawing import encode
from .images import Shot
from .packaged import performance_of
from .signals import landmark_points, lip_gaps, seen_lid_aperture

CELL_PX = 300
_LABEL_PX, _HEADER_PX = 110, 46
_INK, _PAPER = (235, 235, 235), (34, 34, 34)
NUM_COLUMNS = 6
_CLOSE_UPS, _GAP_PX = ("mouth", "eyes"), 10


def choose_sheet_samples(package: AvatarPackage, capture: Capture) -> list[tuple[int, str]]:
    """Up to six test samples, in order of time, each with the reason it was chosen: widest mouth, most closed eyes, the furthest
    turned head, the rest evenly spaced. Without a test block, all tracked samples serve.
    """
    performance = performance_of(package)
    usable = capture.has_face & performance.is_tracked
    pool = np.flatnonzero(usable & capture.is_test)
    pool = pool if len(pool) else np.flatnonzero(usable)
    if not len(pool):
        return []
    _, gap_mm = lip_gaps(performance, landmark_points(performance), capture.landmarks_px)
    lids = seen_lid_aperture(capture.landmarks_px)
    toward = performance.cam_from_root[:, 0, 2]
    reasons: dict[int, str] = {}
    for values, text in ((np.nan_to_num(gap_mm, nan=-1e9), "widest mouth"), (-np.nan_to_num(lids, nan=1e9), "eyes most closed"), (np.abs(toward), "most turned")):
        best = int(pool[np.argmax(values[pool])])
        reasons[best] = f"{reasons[best]}, {text}" if best in reasons else text
    # The rest: always the sample furthest in time from those already there.
    while len(reasons) < min(NUM_COLUMNS, len(pool)):
        distance = np.abs(pool[:, None] - np.array(sorted(reasons))[None]).min(1)
        reasons[int(pool[np.argmax(distance)])] = ""
    return sorted(reasons.items())


def draw_sheet(shots: list[Shot], reasons: dict[int, str], capture: Capture) -> np.ndarray:
    """(H, W, 3) uint8 sRGB, one column per shot, rows input | avatar | overlay | error, then strips of mouth and eyes: static, dynamic, clip."""
    rows = ("input", "avatar", "overlay", "error x4")
    names = strip_names(shots)
    strip_px, strips_top = round(CELL_PX / ASPECT), _HEADER_PX + len(rows) * CELL_PX
    sheet = np.full((strips_top + len(_CLOSE_UPS) * (len(names) * strip_px + _GAP_PX), _LABEL_PX + max(len(shots), 1) * CELL_PX, 3), _PAPER, np.uint8)
    for row, name in enumerate(rows):
        _write(sheet, name, 10, _HEADER_PX + row * CELL_PX + CELL_PX // 2, 0.6)
    for row, region in enumerate(_CLOSE_UPS):
        for place, name in enumerate(names):
            _write(sheet, f"{region}: {name}", 6, strips_top + row * (len(names) * strip_px + _GAP_PX) + _GAP_PX + place * strip_px + strip_px // 2, 0.38)
    box = _head_box(shots)
    for column, shot in enumerate(shots):
        left = _LABEL_PX + column * CELL_PX
        kind = "test" if capture.is_test[shot.sample] else "train"
        _write(sheet, f"{capture.time_s[shot.sample]:.2f} s, frame {capture.time_index[shot.sample]} ({kind})", left + 6, 18, 0.45)
        quality = f"face {shot.psnr_face_db:.1f} dB" if np.isfinite(shot.psnr_face_db) else ""
        _write(sheet, "  ".join(text for text in (quality, reasons.get(shot.sample, "")) if text), left + 6, 38, 0.45)
        for row, picture in enumerate(_pictures(shot)):
            cell = cv2.resize(np.ascontiguousarray(picture[box]), (CELL_PX - 4, CELL_PX - 4), interpolation=cv2.INTER_AREA)
            top = _HEADER_PX + row * CELL_PX + 2
            sheet[top : top + CELL_PX - 4, left + 2 : left + CELL_PX - 2] = np.round(np.clip(cell, 0, 1) * 255)
        for row, region in enumerate(_CLOSE_UPS):
            for place, strip in enumerate(close_ups(shot, region, names, CELL_PX - 4)):
                top = strips_top + row * (len(names) * strip_px + _GAP_PX) + _GAP_PX + place * strip_px
                strip = np.round(np.clip(strip, 0, 1) * 255)[: strip_px - 1]
                sheet[top : top + len(strip), left + 2 : left + CELL_PX - 2] = strip
    return sheet


def write_sheet(path: Path, sheet: np.ndarray) -> None:
    """Writes the sheet as PNG; equal pictures give equal bytes."""
    is_good, data = cv2.imencode(".png", np.ascontiguousarray(sheet[..., ::-1]))
    if not is_good:
        raise ValueError("the contact sheet could not be encoded")
    with replacing(path) as temporary:
        temporary.write_bytes(data.tobytes())


def _head_box(shots: list[Shot]) -> tuple[slice, slice]:
    """The square around all heads, with a margin, inside the cut-out."""
    any_head = np.any([shot.regions["head"] for shot in shots], axis=0) if shots else np.ones((2, 2), bool)
    if not any_head.any():
        return slice(None), slice(None)
    rows, cols = np.flatnonzero(any_head.any(1)), np.flatnonzero(any_head.any(0))
    size = len(any_head)
    side = min(size, int(1.2 * max(np.ptp(rows), np.ptp(cols))) + 8)
    top, left = (int(np.clip((values[0] + values[-1]) // 2 - side // 2, 0, size - side)) for values in (rows, cols))
    return slice(top, top + side), slice(left, left + side)


def _pictures(shot: Shot) -> tuple[np.ndarray, ...]:
    alpha = shot.alpha[..., None]
    avatar = encode(shot.premultiplied + (1 - alpha) * 0.015)
    overlay = encode(shot.premultiplied + (1 - alpha) * srgb_decode(shot.seen).astype(np.float32))
    contour = shot.regions["face"].astype(np.uint8)
    border = (cv2.dilate(contour, np.ones((3, 3), np.uint8)) != contour)[..., None]
    error = np.abs(shot.compared - shot.seen).mean(-1) * 4
    heat = cv2.applyColorMap(np.round(np.clip(error, 0, 1) * 255).astype(np.uint8), cv2.COLORMAP_INFERNO)[..., ::-1] / np.float32(255)
    head = shot.regions["head"][..., None]
    heat = np.where(head, heat, 0.25 * heat)
    return shot.seen, avatar, overlay, np.where(border, 0.8, heat).astype(np.float32)


def _write(sheet: np.ndarray, text: str, x: int, y: int, size: float) -> None:
    cv2.putText(sheet, text, (x, y), cv2.FONT_HERSHEY_SIMPLEX, size, _INK, 1, cv2.LINE_AA)
