"""Times a case and its reference by turns in one process, so that what else the machine does hits both alike."""

from __future__ import annotations

import contextlib
import ctypes
import dataclasses
import gc
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import torch

from ..resources import MIB, measured_peak_memory
from .case import Case

_WARM_UP = 2
_LEAST_TURNS = 7
_MOST_TURNS = 60


@dataclasses.dataclass(frozen=True)
class Timing:
    """Medians over ``turns``. ratio: median of run / reference turn by turn; None without a reference.

    peak_mib: the largest memory in use during one run beyond what was in use before it (resident memory on the CPU, allocated on CUDA).
    """

    name: str
    run_ms: float
    reference_ms: float | None
    ratio: float | None
    turns: int
    peak_mib: float | None


def time_case(case: Case, device: torch.device, seconds: float) -> Timing:
    """Runs ``case`` and its reference alternately for about ``seconds``, at least 7 turns, after 2 turns that do not count."""
    for _ in range(_WARM_UP):
        case.run()
        if case.reference is not None:
            case.reference()
    runs: list[float] = []
    references: list[float] = []
    gc.collect()
    is_enabled = gc.isenabled()
    gc.disable()
    start = time.perf_counter()
    try:
        while len(runs) < _LEAST_TURNS or (time.perf_counter() - start < seconds and len(runs) < _MOST_TURNS):
            # Who goes first alternates: the second finds warmer caches.
            order = [(case.run, runs), (case.reference, references)]
            for call, kept in order if len(runs) % 2 else reversed(order):
                if call is not None:
                    kept.append(_elapsed_ms(call, device))
    finally:
        if is_enabled:
            gc.enable()
    return Timing(
        case.name, statistics.median(runs), statistics.median(references) if references else None,
        statistics.median(run / reference for run, reference in zip(runs, references)) if references else None, len(runs), _peak_mib(case.run, device),
    )


def _elapsed_ms(call: Callable[[], object], device: torch.device) -> float:
    _wait(device)
    start = time.perf_counter()
    call()
    _wait(device)
    return (time.perf_counter() - start) * 1e3


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def _peak_mib(call: Callable[[], object], device: torch.device) -> float | None:
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device)
        call()
        _wait(device)
        return round((torch.cuda.max_memory_allocated(device) - before) / MIB, 1)
    _return_free_memory()
    before_mib = _resident_mib()
    with measured_peak_memory() as peak:
        call()
    return None if peak.mib is None or before_mib is None else round(max(0.0, peak.mib - before_mib), 1)


def _return_free_memory() -> None:
    """Gives what the C library keeps for later back to the system; else a second run would seem to need no memory. glibc only."""
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).malloc_trim(0)


def _resident_mib() -> float | None:
    try:
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith("VmRSS:"):
                return int(line.split()[1]) / 1024
    except (OSError, ValueError, IndexError):
        pass
    return None
