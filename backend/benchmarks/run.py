"""The command ``bench render``: runs the cases, writes the files, fails when a promise is not kept."""

from __future__ import annotations

import os
import platform
from pathlib import Path
from typing import Any

import torch

from ..errors import AvatarError
from ..reporter import Reporter
from ..resources import num_cores, num_threads
from ..storage import replacing, write_json
from .render import bench_render, result_of
from .report import plot_curves, table


def run_render(device: str, prototypes: Path | None, pattern: str, seconds: float, out: Path | None, reporter: Reporter) -> dict[str, Any]:
    """Times the renderers' cases.

    Args:
        prototypes: folder of the prototypes; None = ``shared/prototypes`` beside the checkout (``AVATAR_SHARED`` names another).
        out: folder for ``render.json``, ``render.md`` and ``curves.svg``; None writes nothing.

    Raises:
        AvatarError: ``environment`` when the device is missing; ``bad_request`` when no case has such a name;
            ``internal`` when a trainer makes a call that no case times.
    """
    if device not in ("cpu", "cuda"):
        raise AvatarError("bad_request", f"The device is {device!r}.", "Allowed: cpu, cuda.", {"field": "device"})
    if device == "cuda" and not torch.cuda.is_available():
        raise AvatarError("environment", "torch sees no CUDA device.", "Use --device cpu.")
    load_before = round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else None
    torch.set_num_threads(num_threads())
    measured, untimed = bench_render(torch.device(device), _prototypes(prototypes), pattern, seconds, reporter)
    if not measured:
        raise AvatarError("bad_request", f"No case is called {pattern!r}.", "Leave --only out to time all of them.", {"field": "only"})
    machine = {
        "device": torch.cuda.get_device_name() if device == "cuda" else f"{platform.machine()} CPU", "cores": num_cores(), "threads": num_threads(),
        "python": platform.python_version(), "torch": torch.__version__, "load_before": load_before,
    }
    result = result_of(measured, untimed, machine)
    if out is not None:
        out.mkdir(parents=True, exist_ok=True)
        write_json(out / "render.json", result)
        with replacing(out / "render.md") as temporary:
            temporary.write_text(table(result), encoding="utf-8")
        plot_curves(result, out / "curves.svg")
    if untimed:
        raise AvatarError("internal", "Trainers make renderer calls that no benchmark case makes: " + ", ".join(untimed) + ".", "Add them to backend/benchmarks.")
    return result


def _prototypes(named: Path | None) -> Path | None:
    shared = os.environ.get("AVATAR_SHARED")
    folder = named or (Path(shared) if shared else Path(__file__).resolve().parents[3] / "shared") / "prototypes"
    return folder if folder.is_dir() else None
