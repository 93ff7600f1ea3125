"""The helpers that check arguments at public functions: shape, dtype, finite values."""

from __future__ import annotations

from typing import Any

import torch

from ..errors import AvatarError


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


def check_dtype(name: str, tensor: torch.Tensor, *wanted: torch.dtype) -> None:
    """Raises ``TypeError`` naming the argument unless its dtype is one of ``wanted``."""
    if tensor.dtype not in wanted:
        raise TypeError(f"{name} must have dtype {' or '.join(str(dtype) for dtype in wanted)}, got {tensor.dtype}")


def check_finite(name: str, tensor: torch.Tensor) -> None:
    """Raises ``AvatarError`` (diverged) naming the argument and its first bad entry when a value is not finite."""
    is_finite = torch.isfinite(tensor)
    if not bool(is_finite.all()):
        index = [int(i) for i in (~is_finite).nonzero()[0]]
        raise AvatarError("diverged", f"{name} is not finite at {index}.", "", {"argument": name, "index": index})
