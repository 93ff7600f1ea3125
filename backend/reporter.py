"""How stages tell what they are doing, and learn that they should stop. Standard library only."""

from __future__ import annotations

from pathlib import Path

from .errors import Cancelled


class Reporter:
    """Silent reporter, and the interface of every other one.

    Stages call ``progress`` at least every second or so: that call is also where a cancelled job ends.
    """

    def __init__(self) -> None:
        self._is_cancelled = False

    def cancel(self) -> None:
        """Asks the job to stop at its next ``progress`` or ``check``. Callable from any thread."""
        self._is_cancelled = True

    def check(self) -> None:
        """Raises ``Cancelled`` when the job was asked to stop."""
        if self._is_cancelled:
            raise Cancelled()

    def progress(self, stage: str, done: float, total: float, unit: str = "") -> None:
        """Says that ``done`` of ``total`` units of ``stage`` are finished."""
        self.check()

    def overall(self, share: float, remaining_s: float | None) -> None:
        """Says which share [0, 1] of the whole job is done and how many seconds are left (None: not known yet)."""

    def log(self, text: str) -> None:
        """One line for a person."""

    def artifact(self, path: Path) -> None:
        """A file worth looking at exists now."""
