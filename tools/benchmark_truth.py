"""Synthetic clips with known truth: how far off the tracker is, beside doing nothing.

    python tools/benchmark_truth.py [--out build/truth] [--seeds 1 2 3] [--seconds 5] [--size 384] [--renderer cycles] [--preset standard]
                                    [--rig ict:PATH] [--performance chair] [--given] [--compare]

For each seed: film a synthetic person, take the truth file away, track, bring it back, measure. Prints mean and standard deviation over
the seeds, the zero-effort answer (mean head, neutral face, posed by perspective-n-point) and the factor between them.

``--rig`` films another head model than the one that is tracked. ``--given`` tells the tracker the clip's focal length, and its scale when
the filmed model is the tracked one (another model has another scale; the rows "size given" hold for both). ``--compare`` tracks by the
landmarks alone as well and says which wins. Clips and stages made earlier are used again. Everything is written to ``truth*.json`` and ``.md``.
"""

from __future__ import annotations

import argparse
import json
import statistics
from typing import Any

from synthetic_clips import Clip, add_options, clips_of, rigs_of
from tracker_runs import GIVEN_SIGMA_LOG, errors_of, tracked

ROWS = (
    ("face_vertex_mm", "face vertices after one rigid motion per clip, mm"),
    ("face_surface_mm", "face to tracked surface after one rigid motion per clip, mm"),
    ("identity_mm", "neutral face after rigid alignment, mm"),
    ("identity_scaled_mm", "neutral face after rigid alignment with scale, mm"),
    ("expression_relative", "active expression units, error over the error of 0"),
    ("lip_lid_mm", "lips and lids moved by the controls, mm"),
    ("lip_gap_mm", "lip gap, mm"),
    ("lid_gap_mm", "lid gap, mm"),
    ("rotation_deg", "head rotation after one rotation per clip, deg"),
    ("depth_mm", "depth after removing the clip's mean, mm"),
    ("depth_absolute_mm", "depth as tracked, mm"),
    ("translation_mm", "position as tracked, mm"),
    ("depth_sized_mm", "depth, size given, mm"),
    ("translation_sized_mm", "position, size given, mm"),
    ("size_percent", "size of the head, %"),
    ("focal_percent", "focal length, %"),
)
LANDMARKS, PHOTOMETRIC = "landmarks only", "with photometric"
NUM_UNITS = 60
SAME = 0.005


def main() -> int:
    parser = argparse.ArgumentParser(description="Tracking error on synthetic clips with known truth.")
    add_options(parser)
    parser.add_argument("--preset", default="standard")
    parser.add_argument("--given", action="store_true", help="give the tracker the focal length and the scale")
    parser.add_argument("--compare", action="store_true", help="landmarks only beside photometric")
    options = parser.parse_args()
    clips = clips_of(options)
    variants = {LANDMARKS: {"use_photometric": False}, PHOTOMETRIC: {"use_photometric": True}} if options.compare else {"ours": {}}
    rig, truth_rig = rigs_of(options)
    results: dict[str, list[dict]] = {name: [] for name in variants}
    for clip in clips:
        for name, changes in variants.items():
            run = tracked(clip.video, clip.work, settings_of(options, clip, changes), clip.truth)
            results[name].append(errors_of(run, clip.truth, rig, truth_rig))
    text = "\n\n".join([heading(options), aggregate(results), per_clip([clip.name for clip in clips], results), units(results)])
    stem = "_".join(["truth", *([options.rig.partition(":")[0]] if options.rig != "anny" else []), *([options.performance] if options.performance != "talk" else []),
                     *(["given"] if options.given else []), *(["compare"] if options.compare else [])])  # fmt: skip
    options.out.mkdir(parents=True, exist_ok=True)
    (options.out / f"{stem}.json").write_text(json.dumps({"seeds": options.seeds, "clips": [clip.name for clip in clips], "results": results}, indent=1) + "\n", encoding="utf-8")
    (options.out / f"{stem}.md").write_text(text + "\n", encoding="utf-8")
    print(text)  # noqa: T201
    return 0


def settings_of(options: argparse.Namespace, clip: Clip, changes: dict[str, Any]) -> dict[str, Any]:
    """Settings of one run. Reads the truth only for what ``--given`` gives."""
    from backend.config import preset_config, to_dict

    track = {**to_dict(preset_config(options.preset).track), **changes}
    if not options.given:
        return {"track": track}
    from backend.synth.truth import read_truth

    truth = read_truth(clip.truth)
    if options.rig == "anny":
        track["scale"] = float(truth.scale)
    return {"track": track, "focal_px": float(truth.px_from_cam[0, 0]), "focal_sigma_log": GIVEN_SIGMA_LOG}


def heading(options: argparse.Namespace) -> str:
    filmed = options.rig.partition(":")[0]
    given = "focal length given" + (" and scale" if filmed == "anny" else "") if options.given else "focal length and scale estimated"
    return f"{len(options.seeds)} clips, filmed head {filmed}, tracked head anny, {options.performance}, {options.renderer}, {options.size} px, {options.seconds:g} s; {given}."


def aggregate(results: dict[str, list[dict]]) -> str:
    """Mean ± standard deviation over the clips; with two variants the factor of the first over the second and on how many clips the second is better."""
    names = list(results)
    first, last = results[names[0]], results[names[-1]]
    is_pair = len(names) == 2
    head = ["", *names, *(["factor", "better on"] if is_pair else []), "zero effort", "zero effort / ours"]
    lines = [f"| {' | '.join(head)} |", "|" + "---|" * len(head)]
    for key, text in ROWS:
        columns = [[result.get(key) for result in results[name]] for name in names]
        if any(value is None for column in columns for value in column):
            continue
        idle = [result["zero_effort"][key] for result in last if result["zero_effort"].get(key) is not None]
        cells = [text, *(spread(column) for column in columns)]
        if is_pair:
            cells += [ratio(columns[0], columns[1]), f"{sum(new < old for old, new in zip(*columns))} of {len(first)}"]
        cells += [spread(idle), ratio(idle, columns[-1])]
        lines.append(f"| {' | '.join(cells)} |")
    if is_pair:
        lines += ["", verdict(results)]
    return "\n".join(lines)


def verdict(results: dict[str, list[dict]]) -> str:
    """Which variant wins on every row, by the means; less than ``SAME`` apart is a draw."""
    before, after = results.values()
    mean = lambda found, key: statistics.mean(result[key] for result in found)  # noqa: E731
    rows = [(key, text) for key, text in ROWS if all(result.get(key) is not None for result in [*before, *after])]
    same = sum(abs(mean(after, key) - mean(before, key)) <= SAME * mean(before, key) for key, _ in rows)
    lost = [text for key, text in rows if mean(after, key) - mean(before, key) > SAME * mean(before, key)]
    words = f"The photometric tracker is better on {len(rows) - len(lost) - same} of {len(rows)} rows, equal on {same}"
    return words + (f", worse on: {'; '.join(lost)}." if lost else ".")


def per_clip(clips: list[str], results: dict[str, list[dict]]) -> str:
    """One row per clip and variant."""
    keys = ("face_vertex_mm", "identity_mm", "expression_relative", "lip_lid_mm", "lip_gap_mm", "lid_gap_mm", "rotation_deg", "depth_mm", "depth_sized_mm", "focal_percent")
    lines = [f"| clip | | {' | '.join(keys)} | landmarks % | blink F1 | s per frame |", "|" + "---|" * (len(keys) + 5)]
    for index, clip in enumerate(clips):
        for name, found in results.items():
            result, beside = found[index], found[index]["clip"]
            cells = [show(result[key]) for key in keys]
            cells += [show(beside["landmarks"]["mean_percent"]), show(beside["signals"]["blink_f1"]), show(beside["seconds"] / max(beside["num_frames"], 1))]
            lines.append(f"| {clip} | {name} | {' | '.join(cells)} |")
    return "\n".join(lines)


def units(results: dict[str, list[dict]]) -> str:
    """Every expression unit, mean over the clips in which the truth uses it: error of the control, and what it moves in mm."""
    names = list(results)
    known = {unit: entry for result in results[names[0]] for unit, entry in result["units"].items()}
    head = ["unit", "clips", "true rms", *(f"error, {name}" for name in names), *(f"moves, mm, {name}" for name in names)]
    lines = [f"| {' | '.join(head)} |", "|" + "---|" * len(head)]
    rows = []
    for unit in known:
        active = [index for index, result in enumerate(results[names[0]]) if result["units"].get(unit, {}).get("relative") is not None]
        if not active:
            continue
        mean = lambda name, key, unit=unit, active=active: statistics.mean(results[name][index]["units"][unit][key] for index in active)  # noqa: E731
        cells = [unit, str(len(active)), show(mean(names[0], "true_rms")), *(show(mean(name, "error_rms")) for name in names), *(show(mean(name, "induced_mm")) for name in names)]
        rows.append((-mean(names[-1], "induced_mm"), f"| {' | '.join(cells)} |"))
    return "\n".join([*lines, *(row for _, row in sorted(rows)[:NUM_UNITS])])


def ratio(above: list[float], below: list[float]) -> str:
    return f"{statistics.mean(above) / statistics.mean(below):.2f}" if above and below and statistics.mean(below) > 0 else "–"


def spread(values: list[float]) -> str:
    if not values:
        return "–"
    return f"{statistics.mean(values):.3g} ± {statistics.stdev(values) if len(values) > 1 else 0:.2g}"


def show(value: float | None) -> str:
    return "–" if value is None else f"{value:.3g}"


if __name__ == "__main__":
    raise SystemExit(main())
