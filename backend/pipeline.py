"""From a clip to an avatar package: the stages, in order, each computed once and used again.

    rig -> capture -> track -> texture -> avatar -> distil -> background -> package -> report -> the folder the user asked for

Every stage is a pure function of its inputs and its settings. Results lie in the work folder beside the output
(``NAME.work/<stage>-<hash>/``); the output itself appears complete, by one rename, as the last act.
"""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import importlib.metadata
import os
import platform
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from . import __version__
from .avatar_stage import compute_avatar, trained_folder
from .capture.background import write_background
from .capture.build import capture_clip
from .capture.embed import load_rig_with_landmarks
from .capture.model import Capture, read_capture, write_capture
from .config import CaptureConfig, ReconstructConfig, TrackConfig, to_dict
from .distil_stage import compute_distilled
from .errors import AvatarError
from .evaluate import evaluate_package
from .output_folder import avatar_name, check_writable, publish, recover, work_folder
from .package.model import REPORT_FILE, SHEET_FILE
from .package.write import check_output, write_package
from .reporter import Reporter
from .resources import cache_folder, measured_peak_memory, num_cores, num_threads
from .rig.load import code_sha256
from .rig.model import RigModel
from .stage_cache import StageCache, StageResult
from .stage_progress import StageProgress
from .storage import file_sha256, read_json, write_json
from .texture.model import read_texture, write_texture
from .texture.unwrap import unwrap_texture
from .track.fit import track_clip
from .track.model import Track, read_track, write_track

CAPTURE_FILE, TRACK_FILE, BACKGROUND_FILE, JOB_FILE = "capture.npz", "track.npz", "background.mp4", "job.json"
PACKAGE_FOLDER, EVIDENCE_FOLDER = "package", "evidence"
WORKSHOP_FOLDER = "avatar.unfinished"
"""In the work folder: checkpoint and preview of a dynamic texture that is still learning."""

CODE = {
    "capture": ("capture", "geometry"),
    "track": ("track", "capture", "render", "rig", "geometry"),
    "texture": ("texture", "capture", "render", "rig", "geometry"),
    "avatar": ("avatars", "avatars/dynamic_texture", "objectives", "texture", "track", "capture", "render", "rig", "geometry", "avatar_stage.py"),
    "distil": ("avatars", "avatars/dynamic_texture", "texture", "track", "capture", "render", "rig", "geometry", "distil_stage.py"),
    "background": ("capture",),
    "package": ("package", "texture/light.py", "rig", "geometry"),
    "report": (
        "evaluation", "avatars", "avatars/textured_mesh", "avatars/dynamic_texture", "texture/light.py", "objectives", "package", "render", "geometry", "evaluate.py",
    ),
}
"""What each stage runs, inside this package. A result is used again only while this code is what computed it."""

WEIGHTS_S = {"rig": 2.0, "capture": 40.0, "track": 160.0, "texture": 50.0, "avatar": 420.0, "distil": 60.0, "background": 10.0, "package": 3.0, "report": 40.0}
"""Expected seconds per stage for a 20 s clip on two cores; only the ratios matter (progress bar)."""


def reconstruct(video: Path, out: Path, config: ReconstructConfig, reporter: Reporter, consent: bool, overwrite: bool = False) -> Path:
    """Turns a clip into an avatar package.

    Args:
        video: the clip.
        out: the folder to make, usually ``NAME.avatar``. It appears when everything is done.
        config: settings of all stages.
        reporter: hears progress; may cancel.
        consent: the user says that the person in the clip agreed. Recorded in the package.
        overwrite: ``out`` may exist if it is an avatar package; files in it that are not part of a package are kept.

    Returns:
        ``out``.

    Raises:
        AvatarError: nothing has been written to ``out`` then; finished stages stay in the work folder.
        Cancelled: likewise.
    """
    video, out = Path(video).absolute(), Path(out).absolute()
    check_video(video)
    check_device(config.device)
    check_writable(out)
    with StageCache(work_folder(out)) as cache:
        recover(out)
        check_output(out, overwrite)
        return _Run(video, out, config, StageProgress(reporter, WEIGHTS_S), consent, overwrite, cache).run()


def check_video(video: Path) -> None:
    """Raises ``bad_input`` when there is no such file. Whether it is a video shows when it is read."""
    if not video.exists():
        raise AvatarError("bad_input", f"There is no file {video}.", "Check the name of the clip.", {"path": str(video)})
    if not video.is_file():
        raise AvatarError("bad_input", f"{video} is not a file.", "Choose one video file.", {"path": str(video)})
    try:
        with open(video, "rb") as handle:
            is_empty = not handle.read(1)
    except OSError as error:
        raise AvatarError("bad_input", f"{video} cannot be read: {error.strerror or error}.", "Check its permissions.", {"path": str(video)}) from error
    if is_empty:
        raise AvatarError("bad_input", f"{video} is empty.", "The copy from the phone may have failed; copy it again.", {"path": str(video)})


def check_device(device: str) -> None:
    """Raises ``environment`` when a CUDA device was asked for and there is none."""
    if device != "cuda":
        return
    try:
        import torch
    except ImportError as error:
        raise AvatarError("environment", f"PyTorch cannot be imported: {error}.", "Run 'make setup' again.", {}) from error
    if not torch.cuda.is_available():
        raise AvatarError(
            "environment", "No CUDA device is available.", "Use --device auto or cpu, or install a driver and a CUDA build of PyTorch.", {"device": device}
        )


@dataclasses.dataclass
class _Run:
    """One call of ``reconstruct``: the stages' inputs and outputs by name."""

    video: Path
    out: Path
    config: ReconstructConfig
    progress: StageProgress
    consent: bool
    overwrite: bool
    cache: StageCache
    stages: dict[str, dict[str, Any]] = dataclasses.field(default_factory=dict)

    def run(self) -> Path:
        config, clip = self.config, {"video": file_sha256(self.video)}
        rig, rig_sha256 = self._load_rig()
        captured = self._stage("capture", clip, to_dict(config.capture), self._write_capture)
        self._write_job(clip["video"])
        capture = self._read_capture(captured)
        fitted = {"capture": captured.content_sha256, "rig": rig_sha256}
        tracked = self._stage("track", fitted, track_settings(config.track), lambda folder: self._write_track(folder, capture, rig))
        track = read_track(tracked.folder / TRACK_FILE)
        seen = {**clip, **fitted, "track": tracked.content_sha256}
        textured = self._stage("texture", seen, to_dict(config.texture), lambda folder: self._write_texture(folder, capture, track, rig))
        dynamic = self._dynamic_texture({**seen, "texture": textured.content_sha256}, capture, track, rig, textured)
        shown = {**to_dict(config.package), "num_frames": capture.num_samples, "fps": capture.fps}
        backed = self._stage("background", clip, shown, lambda folder: self._write_background(folder, capture))
        whole = {**fitted, "track": tracked.content_sha256, "texture": textured.content_sha256, "background": backed.content_sha256}
        if dynamic is not None:
            whole["distil"] = dynamic.content_sha256
        labels = {"name": avatar_name(self.out), "consent": self.consent, "file_name": self.video.name}

        def write(folder: Path) -> int:
            texture = read_texture(textured.folder)
            write_package(
                folder / PACKAGE_FOLDER, name=labels["name"], rig=rig, track=track, capture=capture, texture=texture.srgb, seen=texture.seen,
                background_mp4=backed.folder / BACKGROUND_FILE, consent=self.consent, texture_info=texture.info, mask=texture.mask, light=texture.light,
                unwrapped=texture.unwrapped, dynamic=None if dynamic is None else dynamic.folder,
            )
            return track.num_samples

        packed = self._stage("package", whole, labels, write)
        package = packed.folder / PACKAGE_FOLDER
        judged = {**clip, "capture": captured.content_sha256, "package": packed.content_sha256}
        reported = self._stage("report", judged, {}, lambda folder: self._write_report(folder, package, capture))
        provenance = self._provenance(clip["video"], capture, track, rig)
        publish([package, reported.folder / EVIDENCE_FOLDER], self.out, self.overwrite, lambda folder: self._finish_report(folder, provenance))
        self.progress.artifact(self.out)
        return self.out

    def _stage(self, name: str, inputs: dict[str, str], settings: dict[str, Any], compute: Callable[[Path], int | None]) -> StageResult:
        self.progress.begin(name)
        result = self.cache.run(name, code_version=code_version(name), inputs=inputs, config=settings, compute=compute)
        self.stages[name] = result.to_report()
        self.progress.end(name, result.was_reused)
        return result

    def _dynamic_texture(self, inputs: dict[str, str], capture: Capture, track: Track, rig: RigModel, textured: StageResult) -> StageResult | None:
        """The stages "avatar" and "distil"; None when the first is switched off or had nothing to learn from.

        Checkpoint and preview lie beside the stages until the network is trained.
        """
        config = self.config.dynamic_texture
        if not config.enabled:
            self._skip("avatar", "distil")
            return None
        workshop = self.cache.work / WORKSHOP_FOLDER

        def compute(folder: Path) -> int:
            return compute_avatar(folder, capture, track, rig, read_texture(textured.folder), config, self.config.seed, self.progress, workshop)

        settings = {key: value for key, value in to_dict(config).items() if key != "num_components"}
        learnt = self._stage("avatar", inputs, {**settings, "seed": self.config.seed}, compute)
        shutil.rmtree(workshop, ignore_errors=True)
        trained = trained_folder(learnt.folder)
        if trained is None:
            self._skip("distil")
            return None

        def distil(folder: Path) -> int:
            return compute_distilled(folder, trained, capture, track, rig, read_texture(textured.folder), config.num_components, self.config.seed, self.progress)

        return self._stage("distil", {**inputs, "avatar": learnt.content_sha256}, {"num_components": config.num_components, "seed": self.config.seed}, distil)

    def _skip(self, *names: str) -> None:
        for name in names:
            self.progress.begin(name)
            self.progress.end(name, was_reused=True)

    def _load_rig(self) -> tuple[RigModel, str]:
        """The head model and the hash of its content. It has a cache of its own, shared by all clips of this machine."""
        self.progress.begin("rig")
        started = time.monotonic()
        with measured_peak_memory() as peak:
            rig = load_rig_with_landmarks(self.config.rig, cache_folder())
        self.stages["rig"] = {"seconds": round(time.monotonic() - started, 3), "frames": None, "peak_memory_mib": peak.mib}
        self.progress.end("rig", was_reused=False)
        return rig, content_hash(rig)

    def _write_capture(self, folder: Path) -> int:
        return compute_capture(self.video, self.config.capture, folder, self.progress)

    def _read_capture(self, result: StageResult) -> Capture:
        capture = read_capture(result.folder / CAPTURE_FILE).replace(source_path=str(self.video))
        for note in capture.notes:
            self.progress.log(note)
        for check in capture.clip_check:
            if check["verdict"] != "ok":
                self.progress.log(f"Clip check: {check['item']}: {check['advice']}")
        return capture

    def _write_track(self, folder: Path, capture: Capture, rig: RigModel) -> int:
        track = track_clip(capture, rig, self.config.track, self.progress)
        write_track(folder / TRACK_FILE, track)
        return track.num_samples

    def _write_texture(self, folder: Path, capture: Capture, track: Track, rig: RigModel) -> int:
        write_texture(folder, unwrap_texture(capture, track, rig, self.config.texture, self.progress))
        return min(self.config.texture.num_frames, int(capture.is_train.sum()))

    def _write_background(self, folder: Path, capture: Capture) -> int:
        side_px = self.config.package.background_height_px
        written = write_background(self.video, folder / BACKGROUND_FILE, side_px, self.progress, num_frames=capture.num_samples, fps=capture.fps)
        return int(written["num_frames"])

    def _write_report(self, folder: Path, package: Path, capture: Capture) -> int:
        # The evidence lies beside the package's hashed files, so it is made in a copy and taken out of it.
        copy = folder / "copy"
        shutil.copytree(package, copy)
        evaluate_package(copy, self.video, capture=capture, reporter=self.progress)
        (folder / EVIDENCE_FOLDER).mkdir()
        for name in (REPORT_FILE, SHEET_FILE):
            os.rename(copy / name, folder / EVIDENCE_FOLDER / name)
        shutil.rmtree(copy)
        return capture.num_samples

    def _finish_report(self, folder: Path, provenance: dict[str, Any]) -> None:
        """Adds to the report what is no part of the evaluation: timings and where everything came from."""
        report = read_json(folder / REPORT_FILE)
        report["stages"] = self.stages
        report["provenance"] = {**(report.get("provenance") or {}), **provenance}
        write_json(folder / REPORT_FILE, report)

    def _write_job(self, video_sha256: str) -> None:
        """Remembers where the clip is, for ``evaluate``; the package itself holds no path of this machine."""
        write_json(self.cache.work / JOB_FILE, {"format_version": 1, "video": str(self.video), "video_sha256": video_sha256, "config": to_dict(self.config)})

    def _provenance(self, video_sha256: str, capture: Capture, track: Track, rig: RigModel) -> dict[str, Any]:
        return {
            "clip_sha256": video_sha256,
            "clip_file_name": self.video.name,
            "rig": {"name": rig.name, "source": rig.source},
            "licences": list(rig.licences),
            "config": to_dict(self.config),
            "code_versions": {name: code_version(name) for name in CODE},
            "versions": versions(),
            "device": "cpu",
            "device_requested": self.config.device,
            "threads": num_threads(),
            "cores": num_cores(),
            "focal_source": track.focal_source,
            "scale_source": track.scale_source,
            "split_sha256": capture.split_sha256,
            "consent": self.consent,
        }


def compute_capture(video: Path, config: CaptureConfig, folder: Path, reporter: Reporter) -> int:
    """The stage "capture": writes ``capture.npz`` into ``folder``. Returns the number of frames."""
    capture = capture_clip(video, config, reporter)
    # The place of the clip is no part of the result: the same clip elsewhere is the same capture.
    write_capture(folder / CAPTURE_FILE, capture.replace(source_path=video.name))
    return capture.num_samples


def track_settings(config: TrackConfig) -> dict[str, Any]:
    """The settings a track depends on: not how many processes computed it."""
    return {name: value for name, value in to_dict(config).items() if name != "num_workers"}


@functools.cache
def code_version(stage: str) -> str:
    """16 hexadecimal digits that change with the code a stage runs."""
    here = Path(__file__).parent
    return code_sha256(*(here / part for part in CODE[stage]))[:16]


def versions() -> dict[str, str | None]:
    """Versions of what the figures depend on; None where a package is not installed."""
    found: dict[str, str | None] = {"video_avatar": __version__, "python": platform.python_version(), "system": f"{platform.system()} {platform.machine()}"}
    for name in ("torch", "numpy", "scipy", "numba", "mediapipe", "opencv-python-headless", "av", "anny"):
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            found[name] = None
    return found


def content_hash(value: Any) -> str:
    """SHA-256 of a value made of dataclasses, mappings, sequences, arrays and plain values."""
    digest = hashlib.sha256()

    def add(item: Any) -> None:
        if dataclasses.is_dataclass(item):
            add({field.name: getattr(item, field.name) for field in dataclasses.fields(item)})
        elif isinstance(item, dict):
            digest.update(f"dict{len(item)}".encode())
            for key in sorted(item):
                add(key)
                add(item[key])
        elif isinstance(item, list | tuple):
            digest.update(f"list{len(item)}".encode())
            for part in item:
                add(part)
        elif isinstance(item, np.ndarray):
            digest.update(f"array{item.dtype.str}{item.shape}".encode())
            digest.update(np.ascontiguousarray(item).tobytes())
        else:
            digest.update(f"{type(item).__name__}{item!r};".encode())

    add(value)
    return digest.hexdigest()
