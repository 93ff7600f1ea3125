"""One bar for many stages: the share of the whole job that is done, and the time left. Standard library only."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from pathlib import Path

from .reporter import Reporter


class StageProgress(Reporter):
    """Passes on what the running stage says, under the pipeline's name for it, and adds the overall picture.

    Args:
        inner: the front door's reporter.
        weights: stage name -> expected seconds, in the order of the stages. Only their ratios matter.
        clock: seconds, monotonic; for tests.
    """

    def __init__(self, inner: Reporter, weights: Mapping[str, float], clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__()
        self._inner = inner
        self._weights = dict(weights)
        self._clock = clock
        self._started_s = clock()
        self._stage = ""
        self._finished = 0.0
        self._reused = 0.0

    def cancel(self) -> None:
        self._inner.cancel()

    def check(self) -> None:
        self._inner.check()

    def log(self, text: str) -> None:
        self._inner.log(text)

    def artifact(self, path: Path) -> None:
        self._inner.artifact(path)

    def begin(self, stage: str) -> None:
        """The named stage starts."""
        self._stage = stage
        self.progress(stage, 0, 1)

    def end(self, stage: str, was_reused: bool) -> None:
        """The named stage is done."""
        self._finished += self._weights[stage]
        self._reused += self._weights[stage] if was_reused else 0.0
        self._stage = ""
        self._inner.progress(stage, 1, 1, "")
        self._inner.overall(*self._overall(0.0))

    def progress(self, stage: str, done: float, total: float, unit: str = "") -> None:
        share = min(max(done / total, 0.0), 1.0) if total > 0 else 0.0
        self._inner.overall(*self._overall(share * self._weights.get(self._stage, 0.0)))
        self._inner.progress(self._stage or stage, done, total, unit)

    def _overall(self, running: float) -> tuple[float, float | None]:
        """Share done in [0, 1] and seconds left (None until there is something to judge by)."""
        whole = sum(self._weights.values())
        computed = self._finished - self._reused + running
        left = whole - self._finished - running
        elapsed_s = self._clock() - self._started_s
        remaining_s = left * elapsed_s / computed if computed > 0.02 * whole and elapsed_s > 1 else None
        return min(1.0, (self._finished + running) / whole), remaining_s
