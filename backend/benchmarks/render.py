"""All renderer benchmarks: collects the cases, times them, says which missed their reach."""

from __future__ import annotations

import dataclasses
import fnmatch
import importlib
from pathlib import Path
from typing import Any

import torch

from ..reporter import Reporter
from .case import Case
from .head_scene import HeadScene
from .timing import Timing, time_case
from .trainer_calls import untimed_calls

FORMAT_VERSION = 1


@dataclasses.dataclass(frozen=True)
class Measured:
    """A case and what it took. met: True or False where something was promised, else None."""

    case: Case
    timing: Timing

    @property
    def met(self) -> bool | None:
        ratio = self.timing.ratio
        if self.case.reach is None or ratio is None:
            return None
        return 1 / ratio >= self.case.reach if self.case.at_least else ratio <= self.case.reach


def bench_render(
    device: torch.device, prototypes_folder: Path | None, pattern: str, seconds: float, reporter: Reporter
) -> tuple[list[Measured], list[str]]:
    """Times every case whose name matches.

    Args:
        prototypes_folder: the measured prototypes, or None: their columns stay empty.
        pattern: shell pattern of case names, "*" for all. seconds: time for each case.

    Returns:
        What was measured, and the trainers' calls that no case makes (empty when all is well).
    """
    scene = HeadScene(device)
    made = [case for module in _case_modules() for case in importlib.import_module(f".{module}", __package__).cases(scene, prototypes_folder)]
    chosen = [case for case in made if fnmatch.fnmatch(case.name, pattern)]
    measured = []
    for number, case in enumerate(chosen):
        reporter.progress("bench", number, len(chosen), case.title)
        measured.append(Measured(case, time_case(case, device, seconds)))
    return measured, untimed_calls()


def result_of(measured: list[Measured], untimed: list[str], machine: dict[str, Any]) -> dict[str, Any]:
    """The whole run in JSON types; docs/performance.md describes the keys."""
    rows = []
    for line in measured:
        case, timing = line.case, line.timing
        row = {
            "name": case.name, "title": case.title, "ms": round(timing.run_ms, 3), "reference": case.reference_name or None,
            "reference_ms": None if timing.reference_ms is None else round(timing.reference_ms, 3),
            "ratio": None if timing.ratio is None else round(timing.ratio, 4), "reach": case.reach, "reach_is_speed_up": case.at_least, "met": line.met,
            "peak_mib": timing.peak_mib, "turns": timing.turns, "cost_of": case.cost_of or None, "curve": case.curve or None, "size": case.size,
        }
        rows.append(row)
    return {"format_version": FORMAT_VERSION, "machine": machine, "cases": rows, "untimed_trainer_calls": untimed}


def _case_modules() -> list[str]:
    return sorted(path.stem for path in Path(__file__).parent.glob("*_cases.py"))
