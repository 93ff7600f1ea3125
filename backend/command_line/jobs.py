"""The commands that run a job: options -> the same functions that the worker calls -> an answer for a person."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any

from ..reporter import Reporter
from ..worker_jobs import run_job


@dataclasses.dataclass(frozen=True)
class CommandJob:
    """run: options and reporter -> result in JSON types. show: writes the result for a person."""

    run: Callable[[dict[str, Any], Reporter], dict[str, Any]]
    show: Callable[[IO[str], dict[str, Any]], None]


def _reconstruct(options: dict[str, Any], reporter: Reporter) -> dict[str, Any]:
    if not options["consent"]:
        reporter.log("No --consent: the package will say that nobody confirmed the person's agreement.")
    return run_job("reconstruct", {**options, "video": str(options["video"]), "out": str(options["out"])}, reporter)


def _show_reconstruct(stream: IO[str], result: dict[str, Any]) -> None:
    from ..storage import read_json
    from .terminal import show_figures

    folder = Path(result["folder"])
    show_figures(stream, read_json(folder / "report.json"))
    print(f"{folder}", file=stream)  # noqa: T201


def _synth(options: dict[str, Any], reporter: Reporter) -> dict[str, Any]:
    same = ("seconds", "seed", "renderer", "fps", "performance", "face_share", "light_seed")
    names = {**{name: name for name in same}, "size": "size_hw", "dynamic_texture": "use_dynamic_texture"}
    config = {names[key]: options[key] for key in names if options[key] is not None}
    return run_job("synth", {"out": str(options["out"]), "rig": options["rig"], "config": config}, reporter)


def _show_synth(stream: IO[str], result: dict[str, Any]) -> None:
    print(result["clip"], file=stream)  # noqa: T201


def _evaluate(options: dict[str, Any], reporter: Reporter) -> dict[str, Any]:
    paths = {name: str(options[name]) for name in ("video", "truth") if options[name] is not None}
    return run_job("evaluate", {"folder": str(options["package"]), "truth_rig": options["truth_rig"], **paths}, reporter)


def _show_evaluate(stream: IO[str], result: dict[str, Any]) -> None:
    from ..storage import read_json
    from .terminal import show_figures

    show_figures(stream, read_json(Path(result["report"])))
    print(result["report"], file=stream)  # noqa: T201


def _track_again(options: dict[str, Any], reporter: Reporter) -> dict[str, Any]:
    first, last = options["frames"]
    video = {} if options["video"] is None else {"video": str(options["video"])}
    settings = {"folder": str(options["package"]), "frame_start": first, "frame_end": last, "pins": options["pin"], "out": str(options["out"])}
    return run_job("track_again", {**settings, **video, "config": dict(options["set"])}, reporter)


def _show_track_again(stream: IO[str], result: dict[str, Any]) -> None:
    print(f"{result['num_frames']} frames", file=stream)  # noqa: T201
    print(result["patch"], file=stream)  # noqa: T201


def _bake_textures(options: dict[str, Any], reporter: Reporter) -> dict[str, Any]:
    paths = {name: str(options[key]) for name, key in (("folder", "package"), ("frames", "frames"), ("out", "out"))}
    return run_job("bake_textures", {**paths, **{name: options[name] for name in ("file_format", "dynamic", "overwrite")}}, reporter)


def _show_bake_textures(stream: IO[str], result: dict[str, Any]) -> None:
    print(f"{result['num_frames']} textures", file=stream)  # noqa: T201
    print(Path(result["folder"]) / result["pattern"], file=stream)  # noqa: T201


def _probe(options: dict[str, Any], reporter: Reporter) -> dict[str, Any]:
    return run_job("probe", {"warm": options["warm"]}, reporter)


def _show_probe(stream: IO[str], result: dict[str, Any]) -> None:
    from .terminal import show_probe

    show_probe(stream, result)


def _bench(options: dict[str, Any], reporter: Reporter) -> dict[str, Any]:
    from ..benchmarks.run import run_render

    return run_render(options["device"], options["prototypes"], options["only"], options["seconds"], options["out"], reporter)


def _show_bench(stream: IO[str], result: dict[str, Any]) -> None:
    from ..benchmarks.report import straight_lines, table

    print(table(result), file=stream)  # noqa: T201
    for curve, line in sorted(straight_lines(result).items()):
        print(f"{curve}: {line['fixed_ms']:.2f} ms + {line['ms_per_unit']:.3g} ms each, r² {line['r2']}", file=stream)  # noqa: T201
    machine = result["machine"]
    print(f"{machine['device']}, {machine['threads']} threads, load before {machine['load_before']}", file=stream)  # noqa: T201


JOBS = {
    "reconstruct": CommandJob(_reconstruct, _show_reconstruct),
    "synth": CommandJob(_synth, _show_synth),
    "evaluate": CommandJob(_evaluate, _show_evaluate),
    "track_again": CommandJob(_track_again, _show_track_again),
    "bake_textures": CommandJob(_bake_textures, _show_bake_textures),
    "probe": CommandJob(_probe, _show_probe),
    "bench": CommandJob(_bench, _show_bench),
}
