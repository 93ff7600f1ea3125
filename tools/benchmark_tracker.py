"""What each part of the tracker is worth: ablations on clips with known truth, and depth error against the strength of the focal prior.

    python tools/benchmark_tracker.py [--seeds 1 2 3] [--seconds 5] [--size 320] [--performance talk] [--given] [--no-ablations] [--no-focal]

Clips as in ``benchmark_truth.py``; made earlier, they are used again, and so is every run of the tracker. Writes ``tracker*.json``, ``.md`` and
``focal_prior*.svg`` into ``--out``.
"""

from __future__ import annotations

import argparse
import json
import statistics
from pathlib import Path
from typing import Any

from benchmark_truth import settings_of, show, spread
from curve_svg import Curve, draw_curves
from synthetic_clips import Clip, add_options, clips_of, rigs_of
from tracker_runs import errors_of, tracked

ABLATIONS: dict[str, dict[str, Any]] = {
    "full": {},
    "without photometric": {"use_photometric": False},
    "without silhouette": {"use_silhouette": False},
    "without temporal": {"use_temporal": False},
    "without gaze": {"use_gaze": False},
}
ROWS = (
    ("face_vertex_mm", "face vertices, mm"), ("face_surface_mm", "face to surface, mm"), ("identity_mm", "neutral face, mm"),
    ("expression_relative", "expression, of the zero answer"), ("lip_lid_mm", "lips and lids, mm"), ("lip_gap_mm", "lip gap, mm"),
    ("lid_gap_mm", "lid gap, mm"), ("rotation_deg", "rotation, deg"), ("depth_mm", "depth less its mean, mm"), ("depth_sized_mm", "depth, size given, mm"),
    ("gaze_units", "eyeLook units, rms error"), ("outline_percent", "outline landmarks, %"), ("landmarks_percent", "landmarks, %"),
    ("rotation_tremble_deg", "tremble of the rotation, deg"), ("position_tremble_mm", "tremble of the position, mm"), ("expression_tremble", "tremble of the expression"),
    ("seconds_per_frame", "s per frame"),
)  # fmt: skip
FOCAL_SIGMAS = (0.02, 0.05, 0.1, 0.2, 0.35, 0.7)
"""Prior uncertainty of log f along the curve; 0.35 is what a clip without metadata gets."""


def main() -> int:
    parser = argparse.ArgumentParser(description="Ablations of the tracker and the focal prior's curve.")
    add_options(parser)
    parser.add_argument("--preset", default="standard")
    parser.add_argument("--given", action="store_true", help="ablations with focal length and scale given")
    parser.add_argument("--no-ablations", action="store_true")
    parser.add_argument("--no-focal", action="store_true")
    options = parser.parse_args()
    clips = clips_of(options)
    rigs = rigs_of(options)
    stem = "_".join(["tracker", *([options.rig.partition(":")[0]] if options.rig != "anny" else []), *([options.performance] if options.performance != "talk" else []),
                     *(["given"] if options.given else [])])  # fmt: skip
    found: dict[str, Any] = {"clips": [clip.name for clip in clips]}
    texts = []
    if not options.no_ablations:
        found["ablations"] = {name: [summary(run(options, clip, changes, rigs)) for clip in clips] for name, changes in ABLATIONS.items()}
        texts.append(ablation_table(found["ablations"]))
    if not options.no_focal:
        found["focal_prior"] = focal_curve(options, clips, rigs)
        texts.append(focal_table(found["focal_prior"]))
        draw_focal(options.out / f"focal_prior{stem.removeprefix('tracker')}.svg", found["focal_prior"])
    options.out.mkdir(parents=True, exist_ok=True)
    (options.out / f"{stem}.json").write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    (options.out / f"{stem}.md").write_text("\n\n".join(texts) + "\n", encoding="utf-8")
    print("\n\n".join(texts))  # noqa: T201
    return 0


def run(options: argparse.Namespace, clip: Clip, changes: dict[str, Any], rigs: tuple[Any, Any], **extra: Any) -> dict[str, Any]:
    settings = {**settings_of(options, clip, changes), **extra}
    return errors_of(tracked(clip.video, clip.work, settings, clip.truth), clip.truth, *rigs)


def summary(errors: dict[str, Any]) -> dict[str, float | None]:
    """The rows of the table out of one run's errors."""
    clip, jitter = errors["clip"], errors["clip"]["jitter"]["raw"] or {}
    gaze = [unit["error_rms"] for name, unit in errors["units"].items() if name.startswith("eyeLook") and unit["relative"] is not None]
    beside = {
        "gaze_units": statistics.mean(gaze) if gaze else None, "landmarks_percent": clip["landmarks"]["mean_percent"],
        "outline_percent": clip["landmarks"]["groups"]["contour"], "rotation_tremble_deg": jitter.get("rotation_deg_second_difference"),
        "position_tremble_mm": jitter.get("position_mm_second_difference"), "expression_tremble": jitter.get("expression_second_difference"),
        "seconds_per_frame": clip["seconds"] / max(clip["num_frames"], 1),
    }
    return {key: beside[key] if key in beside else errors[key] for key, _ in ROWS}


def ablation_table(ablations: dict[str, list[dict[str, Any]]]) -> str:
    """Mean ± standard deviation over the clips, one column per variant."""
    lines = [f"| | {' | '.join(ablations)} |", "|---|" + "---|" * len(ablations)]
    for key, text in ROWS:
        cells = [spread([row[key] for row in rows if row[key] is not None]) for rows in ablations.values()]
        lines.append(f"| {text} | {' | '.join(cells)} |")
    return "\n".join(lines)


def focal_curve(options: argparse.Namespace, clips: list[Clip], rigs: tuple[Any, Any]) -> dict[str, list[dict[str, Any]]]:
    """For each clip and prior strength: errors of focal length and depth, the tracker's own rule about small turns lifted.

    The landmark tracker alone is run: the focal length is settled before the pixels are looked at.
    """
    options = argparse.Namespace(**{**vars(options), "given": False})
    curves: dict[str, list[dict[str, Any]]] = {}
    for clip in clips:
        points = []
        for sigma in FOCAL_SIGMAS:
            errors = run(options, clip, {"use_photometric": False}, rigs, focal_sigma_log=sigma, lift_gate=True)
            keys = ("focal_percent", "depth_mm", "depth_sized_mm", "translation_sized_mm")
            points.append({"sigma_log": sigma, "posterior_sigma_log": errors["clip"]["focal_sigma_log"], **{key: errors[key] for key in keys}})
        held = run(options, clip, {"use_photometric": False}, rigs)
        curves[clip.name] = [*points, {"sigma_log": None, "posterior_sigma_log": held["clip"]["focal_sigma_log"], **{key: held[key] for key in keys}}]
    return curves


def focal_table(curves: dict[str, list[dict[str, Any]]]) -> str:
    keys = ("focal_percent", "depth_mm", "depth_sized_mm", "posterior_sigma_log")
    lines = [f"| clip | prior σ(log f) | {' | '.join(keys)} |", "|" + "---|" * (len(keys) + 2)]
    for name, points in curves.items():
        for point in points:
            sigma = "as the tracker decides" if point["sigma_log"] is None else f"{point['sigma_log']:g}"
            lines.append(f"| {name} | {sigma} | {' | '.join(show(point[key]) for key in keys)} |")
    return "\n".join(lines)


def draw_focal(path: Path, curves: dict[str, list[dict[str, Any]]]) -> None:
    """Depth error against prior strength, one line per clip."""
    drawn = [
        Curve(name, [point["sigma_log"] for point in points if point["sigma_log"]], [point["depth_sized_mm"] for point in points if point["sigma_log"]])
        for name, points in curves.items()
    ]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(draw_curves("Depth error, size given, by strength of the focal prior", "prior σ of log f", "mm", drawn), encoding="utf-8")


if __name__ == "__main__":
    raise SystemExit(main())
