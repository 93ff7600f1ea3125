"""Pins: "this point of the head is here in the picture". Plain JSON text on the rig. Standard library only, so panels may use it."""

from __future__ import annotations

import dataclasses
import json
import math

PINS = "video_avatar_pins"
"""Custom property of the armature object: a JSON list of objects with the fields of ``Pin``."""


@dataclasses.dataclass(frozen=True)
class Pin:
    """frame: number of the picture in the clip (its ``time_index``). vertex_id: of the head mesh.
    x_px, y_px: pixels of the whole upright picture from its upper left corner, pixel centres at +0.5."""

    frame: int
    vertex_id: int
    x_px: float
    y_px: float


def read_pins(text: str) -> list[Pin]:
    """The pins in a text; what is no pin is left out, because artists may edit custom properties by hand."""
    try:
        entries = json.loads(text) if text else []
    except ValueError:
        return []
    found = []
    for entry in entries if isinstance(entries, list) else []:
        try:
            pin = Pin(int(entry["frame"]), int(entry["vertex_id"]), float(entry["x_px"]), float(entry["y_px"]))
        except (TypeError, KeyError, ValueError):
            continue
        if pin.vertex_id >= 0 and math.isfinite(pin.x_px) and math.isfinite(pin.y_px):
            found.append(pin)
    return found


def write_pins(pins: list[Pin]) -> str:
    """The text of ``read_pins``."""
    return json.dumps([dataclasses.asdict(pin) for pin in pins])


def with_pin(pins: list[Pin], new: Pin) -> list[Pin]:
    """Adds a pin; the same point in the same picture has one place only, so it replaces what was said before. Sorted."""
    others = [pin for pin in pins if (pin.frame, pin.vertex_id) != (new.frame, new.vertex_id)]
    return sorted([*others, new], key=lambda pin: (pin.frame, pin.vertex_id))
