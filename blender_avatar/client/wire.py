"""The message format, shared with the worker."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from backend import protocol
else:
    from ..backend_link import backend_module

    protocol = backend_module("protocol")

__all__ = ["protocol"]
