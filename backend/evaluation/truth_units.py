"""Errors of expression controls against the true ones, by name: tied units together, and each for itself."""

from __future__ import annotations

from typing import Any

import numpy as np

from .performance import Performance
from .rounding import number

TIED = 0.8
"""Units whose displacement fields have a cosine of at least this size are one unit."""
ACTIVE = 0.1
"""A unit counts when the truth moves it at least this far from 0."""
_MOVED = 0.2
"""A unit moves a vertex when it moves it this share of its furthest vertex."""


def shared_controls(ours: Performance, exact: Performance) -> tuple[tuple[str, ...], np.ndarray, np.ndarray]:
    """Names both heads answer to, in the truth's order, and their columns in ours and in the truth."""
    names = tuple(name for name in exact.control_names if name in ours.control_names)
    columns = lambda one: np.array([one.control_names.index(name) for name in names], int)  # noqa: E731
    return names, columns(ours), columns(exact)


def expression_relative(ours: Performance, samples: np.ndarray, exact: Performance, frames: np.ndarray) -> float | None:
    """Error of the active units after tying redundant ones, relative to the all-zero answer (1 = no better than doing nothing).

    Only units both heads have by name. Those whose displacement fields (of the truth's head) point the same or the opposite way are
    summed with sign and size into one. The figure is the root of the mean squared error over root of the mean square of the truth,
    over active units and frames. None when the heads share no active unit.
    """
    names, of_ours, of_true = shared_controls(ours, exact)
    if not names:
        return None
    tie = tied_units(exact.head.expressions.numpy().astype(np.float64)[of_true])
    true = exact.controls[frames][:, of_true].astype(np.float64) @ tie
    error = ours.controls[samples][:, of_ours].astype(np.float64) @ tie - true
    active = np.abs(true).max(0) >= ACTIVE
    return number(np.sqrt((error[:, active] ** 2).mean() / (true[:, active] ** 2).mean())) if active.any() else None


def tied_units(fields: np.ndarray) -> np.ndarray:
    """(E, G): how much of each unit counts towards each group. Groups form around the largest unit not yet taken.

    Args:
        fields: (E, D), what each unit moves.
    """
    size = np.linalg.norm(fields, axis=1)
    cosine = (fields @ fields.T) / np.maximum(size[:, None] * size[None], 1e-18)
    free = size > 0
    columns = []
    while free.any():
        leader = int(np.argmax(np.where(free, size, -1)))
        members = free & (np.abs(cosine[leader]) >= TIED)
        members[leader] = True
        columns.append(np.where(members, np.sign(cosine[leader]) * size / size[leader], 0.0))
        free &= ~members
    return np.stack(columns, 1) if columns else np.zeros((len(fields), 0))


def unit_table(ours: Performance, samples: np.ndarray, exact: Performance, frames: np.ndarray) -> dict[str, dict[str, Any]]:
    """Each shared unit for itself, redundant ones untied.

    Returns:
        Name -> ``true_max``, ``true_rms``, ``error_rms`` of the control; ``relative`` (error over truth, None for units the truth leaves at
        rest); ``induced_mm``: how far the error moves the vertices that the unit moves, root mean square.
    """
    names, of_ours, of_true = shared_controls(ours, exact)
    table = {}
    for name, column, exact_column in zip(names, of_ours, of_true):
        true = exact.controls[frames, exact_column].astype(np.float64)
        error_rms = _rms(ours.controls[samples, column] - true)
        moved_m = np.linalg.norm(exact.head.expressions[exact_column].numpy().astype(np.float64).reshape(-1, 3), axis=1)
        furthest_m = float(moved_m.max(initial=0.0))
        reach_m = _rms(moved_m[moved_m >= _MOVED * furthest_m]) if furthest_m > 0 else 0.0
        is_active = np.abs(true).max(initial=0.0) >= ACTIVE
        table[name] = {
            "true_max": number(np.abs(true).max(initial=0.0)), "true_rms": number(_rms(true)), "error_rms": number(error_rms),
            "relative": number(error_rms / _rms(true)) if is_active else None, "induced_mm": number(1000 * reach_m * error_rms),
        }
    return table


def _rms(values: np.ndarray) -> float:
    return float(np.sqrt(np.mean(np.square(values, dtype=np.float64)))) if len(values) else 0.0
