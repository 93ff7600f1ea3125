"""Stand-ins for the slow stages, so that the pipeline itself can be tested in seconds: each writes something that depends on
its inputs and settings, and counts how often it ran. The package, its files and everything on disk are real.
"""

from __future__ import annotations

import dataclasses
import json
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from procedural_rig import procedural_rig
from synthetic_take import checker_texture, synthetic_take

from backend import pipeline
from backend.config import preset_config
from backend.reporter import Reporter
from backend.storage import file_sha256, write_json
from backend.texture.light import even_light
from backend.texture.model import StaticTexture


@dataclasses.dataclass
class QuickStages:
    """runs: how often each stage ran. step_s: pause before each of three progress reports of a stage."""

    step_s: float = 0.0
    runs: Counter[str] = dataclasses.field(default_factory=Counter)

    def __post_init__(self) -> None:
        self._rig = procedural_rig(12, 16)

    def install(self, set_attribute: Callable[[Any, str, Any], None]) -> None:
        for name in ("load_rig_with_landmarks", "capture_clip", "track_clip", "unwrap_texture", "write_background", "evaluate_package"):
            set_attribute(pipeline, name, getattr(self, name))

    def _work(self, name: str, reporter: Any) -> None:
        self.runs[name] += 1
        for step in range(3):
            reporter.progress(f"inside {name}", step, 3, "steps")
            time.sleep(self.step_s)

    def load_rig_with_landmarks(self, spec: str, cache_folder: Path) -> Any:
        return self._rig.replace(source=spec)

    def capture_clip(self, path: Path, config: Any, reporter: Any) -> Any:
        self._work("capture", reporter)
        capture, _ = synthetic_take(self._rig)
        return capture.replace(source_path=str(path), source_sha256=file_sha256(path), focal_prior_px=100.0 + config.focal_px, notes=("a note",))

    def track_clip(self, capture: Any, rig: Any, config: Any, reporter: Any) -> Any:
        self._work("track", reporter)
        _, track = synthetic_take(self._rig)
        return track.replace(scale_sigma=0.01 * config.num_key_frames + 0.001 * capture.focal_prior_px)

    def unwrap_texture(self, capture: Any, track: Any, rig: Any, config: Any, reporter: Any) -> Any:
        self._work("texture", reporter)
        assert Path(capture.source_path).is_file(), "the texture stage reads the clip"
        srgb, seen = checker_texture(config.size_px)
        srgb[0, 0] = config.num_frames % 256
        return StaticTexture(srgb, (srgb / 255.0).astype(np.float32), seen, 255 - srgb, 255 - seen, even_light(), {"delit": False})

    def write_background(self, source: Path, target: Path, max_side_px: int, reporter: Any, num_frames: int, fps: float) -> dict[str, Any]:
        self._work("background", reporter)
        target.write_bytes(b"not really a video %d" % max_side_px)
        return {"num_frames": 12, "fps": 25.0, "size_hw": (1, 1)}

    def evaluate_package(self, folder: Path, video: Path, *, capture: Any = None, reporter: Any = None, **_: Any) -> dict[str, Any]:
        self._work("report", reporter)
        report = {"landmarks": {"mean_percent": 1.0}, "stages": None, "provenance": None}
        write_json(folder / "report.json", report)
        (folder / "contact_sheet.png").write_bytes(b"sheet " + file_sha256(folder / "avatar.json").encode())
        return report


def package_hashes(folder: Path) -> dict[str, str]:
    """File -> hash of everything in a package; of the report without what depends on when and where it ran."""
    hashes = {path.relative_to(folder).as_posix(): file_sha256(path) for path in sorted(folder.rglob("*")) if path.is_file()}
    if "report.json" in hashes:
        report = json.loads((folder / "report.json").read_text())
        for volatile in ("stages", "provenance"):
            report.pop(volatile, None)
        hashes["report.json"] = json.dumps(report, sort_keys=True)
    return hashes


def main() -> None:
    """Runs one reconstruction with slow stand-ins; for tests that kill it. Arguments: clip, out, pause per step in seconds."""
    QuickStages(float(sys.argv[3])).install(setattr)
    pipeline.reconstruct(Path(sys.argv[1]), Path(sys.argv[2]), preset_config("draft"), Reporter(), consent=True)


if __name__ == "__main__":
    main()
