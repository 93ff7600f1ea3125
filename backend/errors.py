"""Typed errors: what went wrong, in words for a person, with a remedy.

Standard library only, so that the add-on may load this file inside Blender.
"""

from __future__ import annotations

from typing import Any

CODES = (
    "bad_request",
    "bad_input",
    "asset_missing",
    "environment",
    "out_of_memory",
    "diverged",
    "protocol",
    "internal",
)


class AvatarError(Exception):
    """Anything the user should be told about.

    Args:
        code: one of ``CODES``; decides how a front door shows the error.
        message: one sentence saying what went wrong, naming the file, field or frame.
        hint: one sentence saying what to do about it; may be empty.
        detail: machine-readable extras (JSON types only), for example ``{"field": "preset"}``.
    """

    def __init__(self, code: str, message: str, hint: str = "", detail: dict[str, Any] | None = None):
        if code not in CODES:
            raise ValueError(f"unknown error code {code!r}")
        super().__init__(message)
        self.code = code
        self.message = message
        self.hint = hint
        self.detail = dict(detail or {})

    def __str__(self) -> str:
        return f"{self.message} {self.hint}".strip()

    def to_dict(self) -> dict[str, Any]:
        """The error as it travels on the wire and into logs."""
        return {"code": self.code, "message": self.message, "hint": self.hint, "detail": self.detail}


class Cancelled(Exception):
    """The user stopped the job. A state, not an error: front doors report ``cancelled``."""
