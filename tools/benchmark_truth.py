"""Synthetic Cycles clips with known truth: how far off a reconstruction is, beside doing nothing.

    python tools/benchmark_truth.py --out build/truth [--seeds 1 2 3] [--seconds 5] [--size 384] [--renderer cycles] [--preset standard]

For each seed: film a synthetic person, take the truth file away, reconstruct, bring it back, evaluate. Prints mean and standard
deviation over the seeds, the zero-effort answer (mean head, neutral face, posed by perspective-n-point) and the factor between
them, and writes all reports' figures to ``truth.json``. Clips and stages made earlier are used again.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
ROWS = (
    ("face_vertex_mm", "face vertices after one rigid motion per clip, mm"),
    ("identity_mm", "neutral face after rigid alignment, mm"),
    ("expression_relative", "active expression units, error over the error of 0"),
    ("lip_lid_mm", "lip and lid vertices moved by the controls, mm"),
    ("rotation_deg", "head rotation after one rotation per clip, deg"),
    ("depth_mm", "depth after removing the clip's mean, mm"),
    ("focal_percent", "focal length, %"),
)


def main() -> int:
    parser = argparse.ArgumentParser(description="Reconstruction error on synthetic clips with known truth.")
    parser.add_argument("--out", type=Path, default=ROOT / "build" / "truth")
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--seconds", type=float, default=5.0)
    parser.add_argument("--size", type=int, default=384)
    parser.add_argument("--renderer", default="cycles")
    parser.add_argument("--preset", default="standard")
    options = parser.parse_args()
    reports = [one_seed(options, seed) for seed in options.seeds]
    options.out.mkdir(parents=True, exist_ok=True)
    (options.out / "truth.json").write_text(json.dumps({"seeds": options.seeds, "truth": [report["truth"] for report in reports]}, indent=2) + "\n")
    print(table([report["truth"] for report in reports]))  # noqa: T201
    return 0


def one_seed(options: argparse.Namespace, seed: int) -> dict:
    """The report of one synthetic clip; the truth file is out of reach while the clip is reconstructed."""
    clip_folder = options.out / f"{options.renderer}_{options.seconds:g}s_{options.size}px_seed{seed}"
    hidden, truth = options.out / f".truth_{clip_folder.name}.npz", clip_folder / "truth.npz"
    if hidden.exists() and clip_folder.exists():
        os.replace(hidden, truth)
    if not truth.exists():
        backend("synth", "--out", clip_folder, "--seconds", options.seconds, "--size", options.size, "--seed", seed, "--renderer", options.renderer)
    package = options.out / f"{clip_folder.name}.avatar"
    os.replace(truth, hidden)
    try:
        backend("reconstruct", clip_folder / "clip.mp4", "--out", package, "--preset", options.preset, "--consent", "--overwrite")
    finally:
        os.replace(hidden, truth)
    backend("evaluate", package, "--video", clip_folder / "clip.mp4", "--truth", truth)
    return json.loads((package / "report.json").read_text(encoding="utf-8"))


def backend(*arguments: object) -> None:
    subprocess.run([sys.executable, "-m", "backend", *map(str, arguments)], cwd=ROOT, check=True)


def table(truths: list[dict]) -> str:
    """A Markdown table of mean ± standard deviation over the clips."""
    lines = [f"| {len(truths)} clips | ours | zero effort | factor |", "|---|---|---|---|"]
    for key, text in ROWS:
        ours = [truth[key] for truth in truths if truth.get(key) is not None]
        none = [truth["zero_effort"][key] for truth in truths if truth["zero_effort"].get(key) is not None]
        if not ours:
            continue
        factor = f"{statistics.mean(none) / statistics.mean(ours):.1f}" if none and statistics.mean(ours) > 0 else "–"
        lines.append(f"| {text} | {spread(ours)} | {spread(none)} | {factor} |")
    return "\n".join(lines)


def spread(values: list[float]) -> str:
    if not values:
        return "–"
    return f"{statistics.mean(values):.3g} ± {statistics.stdev(values) if len(values) > 1 else 0:.2g}"


if __name__ == "__main__":
    raise SystemExit(main())
