"""Which kernels draw: numba on the CPU, Warp on CUDA, plain torch on every other device.

Warp's kernels also run on its CPU backend, and torch's everywhere. ``forced_kernels`` sends CPU tensors through them, so that
every path is tested on a machine without a graphics card.
"""

from __future__ import annotations

import contextlib
import contextvars
from collections.abc import Iterator
from typing import Any

import torch

from ..errors import AvatarError

KERNELS = ("numba", "warp", "torch")

_forced: contextvars.ContextVar[str | None] = contextvars.ContextVar("forced_kernels", default=None)


def kernels_for(**tensors: torch.Tensor | None) -> str:
    """The kernels for these arguments: "numba", "warp" or "torch".

    Args:
        tensors: the tensors of one call by the names of its parameters; None is left out.

    Raises:
        ValueError: they do not lie on one device; names the argument, the wanted device and the one got.
    """
    given = {name: tensor for name, tensor in tensors.items() if tensor is not None}
    first = next(iter(given))
    device = given[first].device
    for name, tensor in given.items():
        if tensor.device != device:
            raise ValueError(f"{name} must be on {device} like {first}, got {tensor.device}")
    forced = _forced.get()
    if forced is not None and (device.type == "cpu" or forced == "torch"):
        return forced
    return {"cpu": "numba", "cuda": "warp"}.get(device.type, "torch")


@contextlib.contextmanager
def forced_kernels(name: str | None) -> Iterator[None]:
    """Inside the block CPU tensors use these kernels ("torch": tensors of any device do); None = the usual choice."""
    if name is not None and name not in KERNELS:
        raise ValueError(f"kernels must be one of {KERNELS}, got {name!r}")
    token = _forced.set(name)
    try:
        yield
    finally:
        _forced.reset(token)


def warp_module() -> Any:
    """NVIDIA Warp, started quietly.

    Raises:
        AvatarError: ``environment`` when it is not installed.
    """
    try:
        import warp
    except ImportError as error:
        raise AvatarError("environment", "Rendering on an NVIDIA card needs the package warp-lang.", "Install it, or choose the device 'cpu'.") from error
    warp.config.log_level = 30  # warnings; the default greets with a list of devices
    warp.init()
    return warp
