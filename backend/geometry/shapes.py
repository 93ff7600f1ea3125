"""One helper that checks argument shapes at public functions."""

from __future__ import annotations

from typing import Any


def check_shape(name: str, array: Any, *wanted: int | None) -> None:
    """Raises ``ValueError`` naming the argument unless its trailing dimensions are ``wanted`` (None = any).

    Args:
        name: the argument's name, used in the message.
        array: anything with ``.shape``.
        wanted: trailing dimensions, e.g. ``None, 3`` for (..., N, 3).
    """
    shape = tuple(array.shape)
    tail = shape[len(shape) - len(wanted):]
    if len(shape) < len(wanted) or any(want is not None and want != got for want, got in zip(wanted, tail)):
        text = ", ".join("N" if want is None else str(want) for want in wanted)
        raise ValueError(f"{name} must have shape (..., {text}), got {shape}")
