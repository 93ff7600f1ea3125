"""Writes the tracked poses the renderer benchmarks stand on: backend/benchmarks/head_poses.json.

    python tools/benchmark_pose.py TRACK.npz [--frames 8]

TRACK must come from a synthetic clip (``python tools/benchmark_truth.py``): nobody's face may end up in the repository.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))


def main() -> int:
    from backend.track.model import read_track

    parser = argparse.ArgumentParser(description="Tracked poses for the renderer benchmarks.")
    parser.add_argument("track", type=Path)
    parser.add_argument("--frames", type=int, default=8)
    options = parser.parse_args()
    track = read_track(options.track)
    frames = np.linspace(0, track.num_samples - 1, options.frames).round().astype(int)
    rounded = lambda array: np.round(np.asarray(array, np.float64), 5).tolist()  # noqa: E731
    poses = {
        "identity": rounded(track.identity), "scale": round(track.scale, 5), "controls": rounded(track.controls[frames]),
        "joint_rotations": rounded(track.joint_rotations[frames]),
        "cam_from_root": rounded(np.linalg.inv(track.world_from_cam[frames]) @ track.world_from_root[frames]),
    }
    path = ROOT / "backend" / "benchmarks" / "head_poses.json"
    path.write_text("{\n" + ",\n".join(f"{json.dumps(key)}: {json.dumps(poses[key])}" for key in sorted(poses)) + "\n}\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
