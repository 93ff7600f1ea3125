"""What a person at a terminal sees: one bar for the whole job, notes above it, a short answer at the end."""

from __future__ import annotations

import time
from pathlib import Path
from typing import IO, Any

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from ..errors import AvatarError
from ..reporter import Reporter


def time_left(seconds: float | None) -> str:
    """``about 2 min left``; empty while unknown."""
    if seconds is None:
        return ""
    if seconds < 55:
        return f"about {max(5, round(seconds / 5) * 5):.0f} s left"
    return f"about {seconds / 60:.0f} min left" if seconds < 5400 else f"about {seconds / 3600:.1f} h left"


class TerminalReporter(Reporter):
    """Shows progress on ``stream``: a moving bar on a terminal, one line per stage elsewhere. A context manager."""

    def __init__(self, stream: IO[str]) -> None:
        super().__init__()
        self._console = Console(file=stream, highlight=False)
        self._bar = Progress(
            TextColumn("[bold]{task.description:<10}"), BarColumn(bar_width=30), TextColumn("{task.percentage:>3.0f} %"),
            TextColumn("{task.fields[detail]}"), TimeElapsedColumn(), TextColumn("{task.fields[left]}"),
            console=self._console, transient=True, disable=not self._console.is_terminal,
        )
        self._task = self._bar.add_task("", total=1.0, detail="", left="")
        self._has_overall = False
        self._stage, self._stage_started_s = "", 0.0

    def __enter__(self) -> TerminalReporter:
        self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.stop()
        self._end_stage()

    def overall(self, share: float, remaining_s: float | None) -> None:
        self._has_overall = True
        self._bar.update(self._task, completed=share, left=time_left(remaining_s))

    def progress(self, stage: str, done: float, total: float, unit: str = "") -> None:
        self.check()
        if stage != self._stage:
            self._end_stage()
            self._stage, self._stage_started_s = stage, time.monotonic()
        detail = f"{done:.0f}/{total:.0f} {escape(unit)}" if unit and total > 0 else ""
        self._bar.update(self._task, description=escape(stage), detail=detail)
        if not self._has_overall and total > 0:
            self._bar.update(self._task, completed=done / total)

    def log(self, text: str) -> None:
        self._console.print(escape(text), soft_wrap=True)

    def _end_stage(self) -> None:
        if self._stage:
            self._console.print(f"{escape(self._stage):<10} {time.monotonic() - self._stage_started_s:7.1f} s", style="dim")
            self._stage = ""


def show_error(stream: IO[str], error: AvatarError, log_path: Path | None) -> None:
    """Message, hint, and for a bug the log file."""
    console = Console(file=stream, highlight=False)
    console.print(f"[bold red]error[/] {escape(error.message)}", soft_wrap=True)
    if error.hint:
        console.print(f"      {escape(error.hint)}", soft_wrap=True)
    if error.code == "internal" and log_path:
        console.print(f"      The log: {escape(str(log_path))}", soft_wrap=True)


def show_figures(stream: IO[str], report: dict[str, Any]) -> None:
    """The figures of a report that say most, one line each; unknown ones are left out."""
    rows = [
        ("landmark distance, all frames", _at(report, "landmarks", "mean_percent"), "% of outer-eye distance"),
        ("landmark distance, test frames", _at(report, "landmarks", "test_percent"), "% of outer-eye distance"),
        ("lip gap, correlation", _at(report, "signals", "lip_gap_correlation"), ""),
        ("lip gap, slope", _at(report, "signals", "lip_gap_slope"), ""),
        ("blinks, F1", _at(report, "signals", "blink_f1"), ""),
        ("face, test block (driven)", _at(report, "image", "driven", "psnr_face_db"), "dB"),
        ("face shape against truth", _at(report, "truth", "face_vertex_mm"), "mm"),
        ("rotation against truth", _at(report, "truth", "rotation_deg"), "degrees"),
    ]
    table = Table.grid(padding=(0, 2))
    for name, value, unit in rows:
        if isinstance(value, int | float):
            table.add_row(name, f"{value:.3f}", unit)
    Console(file=stream, highlight=False).print(table)


def show_probe(stream: IO[str], found: dict[str, Any]) -> None:
    """What ``probe`` found, as a table, then what is missing with its remedy."""
    console = Console(file=stream, highlight=False)
    table = Table.grid(padding=(0, 2))
    for section in ("machine", "device", "versions", "rig_models", "folders"):
        for name, value in found[section].items():
            table.add_row(name, escape(", ".join(map(str, value)) if isinstance(value, list) else "missing" if value is None else str(value)))
    console.print(table)
    for item in found["missing"]:
        console.print(f"[bold yellow]missing[/] {escape(item['what'])}: {escape(item['why'])}\n        {escape(item['how'])}", soft_wrap=True)
    if not found["missing"]:
        console.print("Nothing is missing.")


def _at(report: dict[str, Any], *keys: str) -> Any:
    value: Any = report
    for key in keys:
        value = value.get(key) if isinstance(value, dict) else None
    return value
