"""Runs the tracker for the benchmarks: in a process of its own, stages kept, the truth out of reach.

    python tools/tracker_runs.py CLIP --work FOLDER --settings JSON

The child prints one line of JSON: where the capture and the track lie. It is started by ``tracked``; nobody needs to call it.
Settings: ``track`` (fields of TrackConfig), ``focal_px`` and ``focal_sigma_log`` (what the tracker believes of the focal length; 0 = as the
capture says), ``lift_gate`` (estimate the focal length however little the head turns).
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

CAPTURE, TRACK = "capture.npz", "track.npz"
GIVEN_SIGMA_LOG = 1e-4
"""Uncertainty of a focal length that is given."""


@dataclasses.dataclass(frozen=True)
class Run:
    """One run of the tracker. capture, track: files. seconds: of the tracking, when it was computed. settings: as asked."""

    capture: Path
    track: Path
    seconds: float
    settings: dict[str, Any]


def tracked(clip: Path, work: Path, settings: dict[str, Any], truth: Path | None = None) -> Run:
    """Captures and tracks a clip, or finds both done.

    Args:
        work: folder of finished stages; a reconstruction of the same clip may share it.
        settings: see the module. truth: moved away while the child runs.
    """
    command = [sys.executable, __file__, str(clip.absolute()), "--work", str(work.absolute()), "--settings", json.dumps(settings, sort_keys=True)]
    with out_of_reach(truth):
        done = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True)
    found = json.loads(done.stdout.strip().splitlines()[-1])
    return Run(Path(found["capture"]), Path(found["track"]), float(found["seconds"]), settings)


@contextlib.contextmanager
def out_of_reach(truth: Path | None) -> Iterator[None]:
    """The truth file lies elsewhere, under another name; a run that was killed before is repaired first."""
    if truth is None:
        yield
        return
    hidden = hiding_place(truth)
    restore(truth)
    os.replace(truth, hidden)
    try:
        yield
    finally:
        os.replace(hidden, truth)


def hiding_place(truth: Path) -> Path:
    return truth.parent.parent / f".truth_{truth.parent.name}.npz"


def restore(truth: Path) -> None:
    """Puts a truth back that a killed run left hidden."""
    if hiding_place(truth).exists() and truth.parent.exists() and not truth.exists():
        os.replace(hiding_place(truth), truth)


def errors_of(run: Run, truth: Path, rig: Any, truth_rig: Any | None) -> dict[str, Any]:
    """The report's ``truth`` object of a run, with its landmark distances, signals and jitter beside it under ``clip``."""
    from backend.capture.model import read_capture
    from backend.evaluation.jitter import measure_jitter
    from backend.evaluation.performance import performance_from_track
    from backend.evaluation.signals import measure_signals
    from backend.evaluation.truth import measure_truth
    from backend.synth.truth import read_truth
    from backend.track.model import read_track

    capture, track = read_capture(run.capture), read_track(run.track)
    raw = performance_from_track(rig, track)
    smooth = track.replace(controls=track.controls_smooth, joint_rotations=track.joint_rotations_smooth, world_from_root=track.world_from_root_smooth)
    errors = measure_truth(raw, read_truth(truth), rig, capture.landmarks_px, capture.focal_prior_px, truth_rig)
    clip = {
        **measure_signals(raw, capture.landmarks_px, capture.is_test),
        "jitter": measure_jitter(raw, performance_from_track(rig, smooth), capture.landmarks_px, capture.split),
        "focal_px": float(track.px_from_cam[0, 0]), "focal_sigma_log": float(track.focal_sigma_log), "focal_source": track.focal_source, "seconds": run.seconds,
        "num_frames": track.num_samples,
    }
    return {**errors, "clip": clip}


def main() -> int:
    """The child: no truth, no evaluation."""
    from backend.capture.build import capture_clip
    from backend.capture.embed import load_rig_with_landmarks
    from backend.capture.model import read_capture, write_capture
    from backend.config import CaptureConfig, TrackConfig, from_dict, to_dict
    from backend.pipeline import code_version, content_hash, track_settings
    from backend.reporter import Reporter
    from backend.resources import cache_folder
    from backend.stage_cache import StageCache
    from backend.storage import file_sha256
    from backend.track.fit import track_clip
    from backend.track.model import write_track

    parser = argparse.ArgumentParser(description="One run of the tracker.")
    parser.add_argument("clip", type=Path)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--settings", required=True)
    options = parser.parse_args()
    settings = json.loads(options.settings)
    config, capture_config = from_dict(TrackConfig, settings.get("track", {})), CaptureConfig()
    extra = {key: value for key, value in settings.items() if key != "track" and value}
    rig = load_rig_with_landmarks(settings.get("rig", "anny"), cache_folder())
    with StageCache(options.work) as cache:

        def capture_stage(folder: Path) -> int:
            capture = capture_clip(options.clip, capture_config, Reporter())
            write_capture(folder / CAPTURE, capture.replace(source_path=options.clip.name))
            return capture.num_samples

        def track_stage(folder: Path) -> int:
            capture = read_capture(captured.folder / CAPTURE).replace(source_path=str(options.clip.absolute()))
            if extra.get("focal_px"):
                capture = capture.replace(focal_prior_px=float(extra["focal_px"]), focal_source="user")
            if extra.get("focal_sigma_log"):
                capture = capture.replace(focal_sigma_log=float(extra["focal_sigma_log"]))
            if extra.get("lift_gate"):
                lift_gate()
            track = track_clip(capture, rig, config, Reporter())
            write_track(folder / TRACK, track)
            return track.num_samples

        captured = cache.run("capture", code_version=code_version("capture"), inputs={"video": file_sha256(options.clip)}, config=to_dict(capture_config), compute=capture_stage)
        inputs = {"capture": captured.content_sha256, "rig": content_hash(rig)}
        result = cache.run("track", code_version=code_version("track"), inputs=inputs, config={**track_settings(config), **extra}, compute=track_stage)
    print(json.dumps({"capture": str(captured.folder / CAPTURE), "track": str(result.folder / TRACK), "seconds": result.seconds}))  # noqa: T201
    return 0


def lift_gate() -> None:
    """Lets the focal length be estimated whatever the head does, so that a curve can show why the tracker does not."""
    import importlib

    for name in ("fit", "clip_fit"):
        with contextlib.suppress(ImportError):
            module = importlib.import_module(f"backend.track.{name}")
            if hasattr(module, "FOCAL_YAW_RANGE_DEG"):
                module.FOCAL_YAW_RANGE_DEG = 0.0
                return
    raise SystemExit("FOCAL_YAW_RANGE_DEG is no longer where tools/tracker_runs.py looks for it")


if __name__ == "__main__":
    raise SystemExit(main())
