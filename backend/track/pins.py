"""Pins: what a person says about the track. A vertex of the head lies at this point of this frame's picture."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ..errors import AvatarError
from ..rig.model import RigModel
from .energy import Observations, Shared, landmarks_in_camera, projected
from .landmark_model import LandmarkModel, point_model
from .photometric import with_points
from .state import FrameStates, Unknowns

WEIGHT = 1e5
"""Of a pin against a landmark's 1, squared percent of the eye distance: a few hundred landmarks and all pixels together give way."""
REACH_FRAMES = 6
"""How many frames away a pin no longer counts; its displacement and its weight fall off as half a cosine."""


@dataclasses.dataclass(frozen=True)
class Pin:
    """frame: time_index of the capture. x_px, y_px: in the full upright frame, pixel centres at +0.5. vertex_id: of the head's mesh."""

    frame: int
    x_px: float
    y_px: float
    vertex_id: int


@dataclasses.dataclass(frozen=True)
class PinPoints:
    """The pinned vertices as observations of F frames. model: K points. targets_px: (F, K, 2). weight: (F, K), 0 where nothing is said."""

    model: LandmarkModel
    targets_px: np.ndarray
    weight: np.ndarray

    def within(self, rows: slice) -> "PinPoints | None":
        """Of some frames; None where no pin reaches, so that frames without pins are solved by the same sums as if there were none at all."""
        return dataclasses.replace(self, targets_px=self.targets_px[rows], weight=self.weight[rows]) if self.weight[rows].any() else None

    def added_to(self, seen: Observations) -> Observations:
        """Observations of the same frames with those of the pins behind them. Not robust: a person is believed."""
        return with_points(seen, self.targets_px, np.sqrt(self.weight)[..., None, None] * np.eye(2))


def checked_pins(entries: Sequence[Any], frames: np.ndarray, rig: RigModel, size_hw: tuple[int, int]) -> tuple[Pin, ...]:
    """Pins from a request.

    Args:
        entries: objects with the fields of ``Pin``. frames: time_index of the frames that are tracked again. size_hw: of the clip's frames.

    Raises:
        AvatarError: ``bad_request``, naming the pin and what would be right.
    """
    pins = tuple(_checked(number, entry, frames, rig, size_hw) for number, entry in enumerate(entries))
    seen: set[tuple[int, int]] = set()
    for number, pin in enumerate(pins):
        if (pin.frame, pin.vertex_id) in seen:
            raise _bad_pin(number, "vertex_id", pin.vertex_id, f"one place for a vertex in frame {pin.frame}", "Remove one of the two pins.")
        seen.add((pin.frame, pin.vertex_id))
    return pins


def _checked(number: int, entry: Any, frames: np.ndarray, rig: RigModel, size_hw: tuple[int, int]) -> Pin:
    if not isinstance(entry, Mapping) or set(entry) != {field.name for field in dataclasses.fields(Pin)}:
        raise _bad_pin(number, "", entry, "an object with frame, x_px, y_px and vertex_id", "Set the pin again.")
    for name in ("frame", "vertex_id"):
        if not isinstance(entry[name], int) or isinstance(entry[name], bool):
            raise _bad_pin(number, name, entry[name], "a whole number", "Set the pin again.")
    for name, side in (("x_px", size_hw[1]), ("y_px", size_hw[0])):
        value = entry[name]
        is_number = isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
        if not is_number or not -side <= value <= 2 * side:
            raise _bad_pin(number, name, value, f"{-side} to {2 * side} (the picture and as much around it)", "Set the pin again.")
    if entry["frame"] not in frames:
        raise _bad_pin(number, "frame", entry["frame"], f"{frames[0]} to {frames[-1]}", "Widen the range, or remove the pin.")
    vertex = entry["vertex_id"]
    if not 0 <= vertex < rig.num_vertices or vertex not in rig.triangles:
        raise _bad_pin(number, "vertex_id", vertex, f"a vertex of a face, 0 to {rig.num_vertices - 1}", "Set the pin again on the avatar's own mesh.")
    return Pin(vertex_id=vertex, frame=entry["frame"], x_px=float(entry["x_px"]), y_px=float(entry["y_px"]))


def _bad_pin(number: int, name: str, value: Any, allowed: str, hint: str) -> AvatarError:
    field = f"pins[{number}].{name}" if name else f"pins[{number}]"
    return AvatarError("bad_request", f"{field} is {value!r}.", f"Allowed: {allowed}. {hint}", {"field": field, "value": repr(value), "allowed": allowed})


def pin_points(
    pins: Sequence[Pin], rig: RigModel, unknowns: Unknowns, shared: Shared, states: FrameStates, time_index: np.ndarray, parts: Sequence[slice],
    is_held: np.ndarray,
) -> PinPoints | None:
    """Pins as observations of all N frames of a clip; None without pins.

    A pin says how far the vertex was off in its frame. Frames nearby were off alike, because what misleads a detector lasts: they are told a
    falling share of that displacement with a falling weight. The share is 0 at the next pin of the same vertex, which knows better, and at a
    held frame, so that the ends of the range join on.

    Args:
        states: of all frames, before anything is tracked again. parts: the runs of frames that are solved together, held frames included.
        is_held: (N,) bool.
    """
    if not pins:
        return None
    vertices = sorted({pin.vertex_id for pin in pins})
    model = vertex_model(rig, np.array(vertices))
    before_px = projected(landmarks_in_camera(model, unknowns, shared, states), shared)
    row_of = {int(time): row for row, time in enumerate(time_index)}
    targets, weight = before_px.copy(), np.zeros(before_px.shape[:2])
    for column, vertex in enumerate(vertices):
        places = {row_of[pin.frame]: np.array([pin.x_px, pin.y_px]) for pin in pins if pin.vertex_id == vertex}
        for part in parts:
            inside = sorted(row for row in places if part.start <= row < part.stop)
            stops = [row for row in range(part.start, part.stop) if is_held[row]] + inside
            for row in inside:
                share = _share(row, part, stops)
                targets[part, column] += share[:, None] * (places[row] - before_px[row, column])
                weight[part, column] = np.maximum(weight[part, column], WEIGHT * share)
    return PinPoints(model, targets, weight)


def _share(row: int, part: slice, stops: Sequence[int]) -> np.ndarray:
    """(n,) of the frames of a part: 1 at ``row``, 0 from the next stop or the reach on."""
    away = np.arange(part.start, part.stop) - row
    before = min([REACH_FRAMES, *(row - stop for stop in stops if stop < row)])
    after = min([REACH_FRAMES, *(stop - row for stop in stops if stop > row)])
    reach = np.where(away < 0, before, after)
    return np.where(np.abs(away) < reach, 0.5 * (1 + np.cos(np.pi * away / reach)), 0.0)


def vertex_model(rig: RigModel, vertex_ids: np.ndarray) -> LandmarkModel:
    """Reduces a rig to some vertices of its faces."""
    triangles = rig.triangles
    chosen, corners = zip(*(np.argwhere(triangles == vertex)[0] for vertex in vertex_ids))
    return point_model(rig, np.array(chosen), np.eye(3)[list(corners)])
