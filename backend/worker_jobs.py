"""The job kinds of the worker: settings in, plain result out.

Heavy modules are imported by the job that needs them, so that the worker answers at once and a broken
installation is an ordinary error.
"""

from __future__ import annotations

import dataclasses
import os
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from .errors import CODES, AvatarError
from .reporter import Reporter


def run_job(kind: str, settings: Mapping[str, Any], reporter: Reporter) -> dict[str, Any]:
    """Runs one job to its end.

    Args:
        kind: one of ``protocol.JOB_KINDS``.
        settings: fields of the kind's request class below; strict.
        reporter: hears progress; may cancel.

    Returns:
        The result, JSON types only.

    Raises:
        AvatarError: ``bad_request`` for unknown, missing or ill-typed settings; whatever the job raises.
        Cancelled: the job was asked to stop.
    """
    request_class, function = JOBS[kind]
    return function(read_request(request_class, settings), reporter)


def read_request(cls: type[Any], settings: Mapping[str, Any]) -> Any:
    """Settings as a request object; the first problem raises ``bad_request`` with the field's name."""
    fields = {field.name: field for field in dataclasses.fields(cls)}
    for name in settings:
        if name not in fields:
            raise _bad_setting(name, settings[name], f"one of the settings {', '.join(fields)}")
    values = {}
    for name, field in fields.items():
        if name not in settings:
            if field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING:
                raise AvatarError("bad_request", f"{name} is missing.", f"Give {name}.", {"field": name})
            continue
        value = settings[name]
        wanted = {"str": str, "bool": bool, "int": int, "float": (int, float), "dict[str, Any]": dict, "list[Any]": list}[str(field.type)]
        if not isinstance(value, wanted) or (isinstance(value, bool) and field.type != "bool"):
            raise _bad_setting(name, value, f"a value of type {field.type}")
        values[name] = value
    return cls(**values)


def _bad_setting(name: str, value: Any, allowed: str) -> AvatarError:
    return AvatarError("bad_request", f"{name} is {value!r}.", f"Allowed: {allowed}.", {"field": name, "value": value, "allowed": allowed})


@dataclasses.dataclass(frozen=True)
class ProbeRequest:
    """What this machine offers."""

    warm: bool = False
    """Compile the renderers for this machine as well."""


def _probe(request: ProbeRequest, reporter: Reporter) -> dict[str, Any]:
    from .probe import probe

    found = dict(probe())
    if request.warm:
        from .render.warm import warm_kernels

        found["warmed"] = warm_kernels(reporter)
    return found


@dataclasses.dataclass(frozen=True)
class DummyRequest:
    """A job that computes nothing, so that both ends of the wire can be tested without torch."""

    steps: int = 10
    """Number of progress reports, 0 or more."""
    step_s: float = 0.05
    """Pause after each, seconds."""
    noise: bool = False
    """Print to stdout from Python and at descriptor level at every step."""
    is_stubborn: bool = False
    """Never look whether the job was cancelled."""
    error_code: str = ""
    """After the steps raise this error; ``crash`` kills the process instead, ``exception`` raises a plain one."""
    artifact: str = ""
    """A path to report after the steps."""


def _dummy(request: DummyRequest, reporter: Reporter) -> dict[str, Any]:
    if request.error_code not in ("", "crash", "exception", *CODES):
        raise _bad_setting("error_code", request.error_code, ", ".join(CODES))
    reporter.log(f"{request.steps} steps of {request.step_s} s")
    for step in range(request.steps):
        if request.noise:
            sys.stdout.write('{"type":"done","id":"forged"}\n')
            sys.stdout.flush()
            os.write(1, b"noise below Python\n")
        if not request.is_stubborn:
            reporter.progress("dummy", step, request.steps, "steps")
        time.sleep(request.step_s)
    if not request.is_stubborn:
        reporter.progress("dummy", request.steps, request.steps, "steps")
    if request.error_code == "crash":
        os.abort()
    if request.error_code == "exception":
        raise RuntimeError("the dummy job was asked to fail")
    if request.error_code:
        raise AvatarError(request.error_code, "The dummy job was asked to fail.", "Ask it not to.", {"steps": request.steps})
    if request.artifact:
        reporter.artifact(Path(request.artifact))
    return {"steps": request.steps}


@dataclasses.dataclass(frozen=True)
class ReconstructRequest:
    """From a clip to an avatar package; the settings an artist has. Defaults equal those of the command line."""

    video: str
    """Path of the clip."""
    out: str
    """Folder to make, ``NAME.avatar``."""
    preset: str = "standard"
    """draft, standard or high."""
    rig: str = "anny"
    """anny, flame:FILE or ict:PATH."""
    device: str = "auto"
    """auto, cpu or cuda."""
    consent: bool = False
    """The person in the clip agreed."""
    overwrite: bool = False
    """``out`` may exist."""


def _reconstruct(request: ReconstructRequest, reporter: Reporter) -> dict[str, Any]:
    from .config import preset_config

    config = preset_config(request.preset, rig=request.rig, device=request.device)  # before torch is loaded for nothing
    from .pipeline import reconstruct

    folder = reconstruct(Path(request.video), Path(request.out), config, reporter, consent=request.consent, overwrite=request.overwrite)
    return {"folder": str(folder)}


@dataclasses.dataclass(frozen=True)
class SynthRequest:
    """A synthetic clip with known truth. Fields left at their default take the generator's own default."""

    out: str
    """Folder to make."""
    rig: str = "anny"
    """anny, flame:FILE or ict:PATH."""
    config: dict[str, Any] = dataclasses.field(default_factory=dict)
    """Fields of ``SynthConfig``."""


def _synth(request: SynthRequest, reporter: Reporter) -> dict[str, Any]:
    from .capture.embed import load_rig_with_landmarks
    from .config import from_dict
    from .synth.build import write_clip
    from .synth.config import SynthConfig

    values = {key: tuple(value) if isinstance(value, list) else value for key, value in request.config.items()}  # JSON has no tuples
    config = from_dict(SynthConfig, values, "config.")
    rig = load_rig_with_landmarks(request.rig)
    return {"folder": request.out, "clip": str(write_clip(Path(request.out), rig, config, reporter))}


@dataclasses.dataclass(frozen=True)
class EvaluateRequest:
    """Measures a package against its clip again."""

    folder: str
    """The avatar package."""
    video: str = ""
    """The clip it was made from; empty = look where it was."""
    truth: str = ""
    """``truth.npz`` of a synthetic clip; empty = the one beside the clip, if there is one."""
    truth_rig: str = ""
    """Head model that clip was made with: anny, flame:FILE or ict:PATH; empty = the avatar's own."""


def _evaluate(request: EvaluateRequest, reporter: Reporter) -> dict[str, Any]:
    from .reevaluate import reevaluate

    video, truth = (Path(path) if path else None for path in (request.video, request.truth))
    reevaluate(Path(request.folder), video, truth, reporter, request.truth_rig)
    return {"report": str(Path(request.folder) / "report.json")}


@dataclasses.dataclass(frozen=True)
class TrackAgainRequest:
    """Tracks a range of an avatar's clip again, with pins or other settings; writes a patch and leaves the package alone."""

    folder: str
    """The avatar package."""
    frame_start: int
    """First frame, number in the clip (``time_index``)."""
    frame_end: int
    """Last frame, inclusive."""
    out: str
    """The patch to write, ``.npz`` (docs/formats/track-patch.md)."""
    video: str = ""
    """The clip it was made from; empty = look where it was."""
    pins: list[Any] = dataclasses.field(default_factory=list)
    """Objects with ``frame``, ``x_px``, ``y_px`` (full upright frame, centres at +0.5) and ``vertex_id``."""
    config: dict[str, Any] = dataclasses.field(default_factory=dict)
    """Fields of ``TrackConfig`` that differ from those of the clip's own track."""


def _track_again(request: TrackAgainRequest, reporter: Reporter) -> dict[str, Any]:
    from .track_again import track_package_again

    video, out = Path(request.video) if request.video else None, Path(request.out).absolute()
    patch = track_package_again(Path(request.folder), video, request.frame_start, request.frame_end, request.pins, out, request.config, reporter)
    return {"patch": str(out), "num_frames": len(patch.time_index)}


@dataclasses.dataclass(frozen=True)
class BakeTexturesRequest:
    """Full textures of an avatar, one picture per frame, by its exact network."""

    folder: str
    """The avatar package."""
    frames: str
    """What poses the texture, ``.npz`` (docs/formats/texture-frames.md)."""
    out: str
    """Folder to make: numbered pictures and ``frames.json``."""
    file_format: str = "png"
    """png (8 bit sRGB) or exr (half float, linear)."""
    dynamic: float = 1.0
    """0 = the static texture, 1 = all of the dynamic one."""
    overwrite: bool = False
    """``out`` may be a folder that was baked before."""


def _bake_textures(request: BakeTexturesRequest, reporter: Reporter) -> dict[str, Any]:
    from .bake_textures import bake_textures

    return bake_textures(Path(request.folder), Path(request.frames), Path(request.out), request.file_format, request.dynamic, request.overwrite, reporter)


JOBS: Mapping[str, tuple[type[Any], Callable[[Any, Reporter], dict[str, Any]]]] = {
    "probe": (ProbeRequest, _probe),
    "dummy": (DummyRequest, _dummy),
    "reconstruct": (ReconstructRequest, _reconstruct),
    "synth": (SynthRequest, _synth),
    "evaluate": (EvaluateRequest, _evaluate),
    "track_again": (TrackAgainRequest, _track_again),
    "bake_textures": (BakeTexturesRequest, _bake_textures),
}
