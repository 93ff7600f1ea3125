"""What the tracker owes to the landmark detector: the same synthetic clips, tracked from detected and from exact landmarks.

    python tools/benchmark_detector.py build/truth [--seeds 1 2 3]

Needs the clips and work folders that ``tools/benchmark_truth.py`` made in that folder. "Exact" landmarks are the true head's points,
projected by the true camera; nothing else of the truth is given, unless "+ K" says that the focal length is, too.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from backend.capture.embed import load_rig_with_landmarks  # noqa: E402
from backend.capture.model import read_capture  # noqa: E402
from backend.config import TrackConfig  # noqa: E402
from backend.evaluation.performance import Performance, performance_from_track  # noqa: E402
from backend.evaluation.signals import landmark_points, measure_signals, to_camera, to_pixels  # noqa: E402
from backend.evaluation.truth import measure_truth  # noqa: E402
from backend.reporter import Reporter  # noqa: E402
from backend.synth.truth import read_truth, truth_head  # noqa: E402
from backend.track.fit import track_clip  # noqa: E402

KEYS = ("face_vertex_mm", "identity_mm", "identity_scaled_mm", "expression_relative", "lip_lid_mm", "rotation_deg", "depth_mm")


def main() -> int:
    parser = argparse.ArgumentParser(description="Detected against exact landmarks.")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    options = parser.parse_args()
    rig = load_rig_with_landmarks("anny")
    rows: dict[str, list[dict]] = {"detected": [], "exact": [], "exact + K": []}
    for seed in options.seeds:
        clip = next(path for path in sorted(options.folder.glob(f"*_seed{seed}")) if path.is_dir())
        captures = sorted(clip.parent.glob(f"{clip.name}.work/capture-*/capture.npz"), key=lambda path: path.stat().st_mtime)
        capture, truth = read_capture(captures[-1]), read_truth(clip / "truth.npz")
        exact = Performance(
            truth_head(truth, rig), rig.triangles, rig.mediapipe478, rig.regions, truth.control_names, truth.controls, truth.joint_rotations,
            truth.cam_from_root, truth.px_from_cam, truth.time_s, np.arange(truth.num_frames), np.ones(truth.num_frames, bool),
        )
        off = measure_signals(exact, capture.landmarks_px, capture.is_test)["landmarks"]["mean_percent"]
        print(f"seed {seed}: the detector is {off:.2f} % of the eye distance off the true points")  # noqa: T201
        known = capture.replace(landmarks_px=to_pixels(exact, to_camera(exact, landmark_points(exact))).astype(np.float32))
        for name, given in (("detected", capture), ("exact", known), ("exact + K", known.replace(focal_prior_px=float(truth.px_from_cam[0, 0])))):
            track = track_clip(given, rig, TrackConfig(use_photometric=False), Reporter())
            rows[name].append(measure_truth(performance_from_track(rig, track), truth, rig, given.landmarks_px, given.focal_prior_px))
    print("\n".join(["", f"| landmarks | {' | '.join(KEYS)} |", "|---|" + "---|" * len(KEYS)]))  # noqa: T201
    for name, found in rows.items():
        print(f"| {name} | {' | '.join(f'{np.mean([one[key] for one in found]):.2f}' for key in KEYS)} |")  # noqa: T201
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
