"""Real clips: landmarks, lips, blinks, pictures, tremble and time, from one reconstruction per clip.

    python tools/benchmark_clips.py CLIP [CLIP ...] --out build/clips [--preset standard] [--fresh] [--compare] [--video]

Prints a Markdown table with one column per clip; blinks are pooled over all of them. ``--fresh`` ignores stages made earlier, so
that the times are of this machine, now. ``--compare`` makes a second avatar of each clip, tracked by the landmarks alone, and prints both side by side and what the
pixels changed. ``--video`` writes ``NAME.side_by_side.mp4`` (clip, overlay, model) beside each avatar.
"""

from __future__ import annotations

import argparse
import json
import shutil
import statistics
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))
LANDMARKS = "landmarks only"


def main() -> int:
    parser = argparse.ArgumentParser(description="Reconstruction figures on real clips.")
    parser.add_argument("clips", type=Path, nargs="+")
    parser.add_argument("--out", type=Path, default=ROOT / "build" / "clips")
    parser.add_argument("--preset", default="standard")
    parser.add_argument("--fresh", action="store_true")
    parser.add_argument("--compare", action="store_true", help="also track by the landmarks alone")
    parser.add_argument("--video", action="store_true", help="write a side-by-side video of every avatar")
    options = parser.parse_args()
    reports: dict[str, dict] = {}
    for clip in options.clips:
        package = options.out / f"{clip.stem}.avatar"
        if options.fresh:
            shutil.rmtree(options.out / f"{clip.stem}.work", ignore_errors=True)
        reconstruct = [sys.executable, str(ROOT / "tools" / "reconstruct_with.py"), str(clip.absolute()), "--preset", options.preset]
        subprocess.run([*reconstruct, "--out", str(package.absolute())], cwd=ROOT, check=True)
        made = {clip.stem: package}
        if options.compare:
            before = options.out / f"{clip.stem}.landmarks.avatar"
            other = ["--track", json.dumps({"use_photometric": False}), "--share", str(package.absolute())]
            subprocess.run([*reconstruct, "--out", str(before.absolute()), *other], cwd=ROOT, check=True)
            made = {f"{clip.stem}, {LANDMARKS}": before, clip.stem: package}
        for name, folder in made.items():
            reports[name] = report_of(folder)
            if options.video:
                write_video(folder, clip)
    text = table(reports)
    if options.compare:
        text += "\n\n" + "\n".join(change(clip.stem, reports) for clip in options.clips)
    (options.out / "clips.md").write_text(text + "\n", encoding="utf-8")
    (options.out / "clips.json").write_text(json.dumps(reports, indent=1) + "\n", encoding="utf-8")
    print(text)  # noqa: T201
    return 0


def report_of(package: Path) -> dict:
    index = json.loads((package / "avatar.json").read_text(encoding="utf-8"))
    return {**json.loads((package / "report.json").read_text(encoding="utf-8")), "clip_seconds": index["num_frames"] / index["fps"]}


def write_video(folder: Path, clip: Path) -> None:
    """The side-by-side video, from the package and the newest capture in its work folder that has its samples."""
    from backend.capture.model import read_capture
    from backend.evaluation.side_by_side import write_side_by_side
    from backend.output_folder import work_folder
    from backend.package.read import read_package

    captures = sorted(work_folder(folder.absolute()).glob("capture-*/capture.npz"), key=lambda path: path.stat().st_mtime)
    write_side_by_side(read_package(folder), read_capture(captures[-1]), clip, folder.with_suffix(".side_by_side.mp4"))


def change(stem: str, reports: dict[str, dict]) -> str:
    """What the pixels changed on one clip, in a line."""
    before, after = reports[f"{stem}, {LANDMARKS}"], reports[stem]
    parts = []
    for key, text in (("rmse", "photometric RMSE"), ("rmse_skin", "on skin"), ("rmse_covered", "covered pixels only")):
        old, new = ((report.get("photometric") or {}).get(key) for report in (before, after))
        if old and new:
            parts.append(f"{text} {100 * (new / old - 1):+.1f} %")
    points = after["landmarks"]["mean_percent"] - before["landmarks"]["mean_percent"]
    return f"{stem}: {', '.join(parts)}; landmark distance {points:+.3f} points."


def table(reports: dict[str, dict]) -> str:
    """Markdown."""
    rows: list[tuple[str, list[str]]] = []

    def row(text: str, value) -> None:
        rows.append((text, [value(report) for report in reports.values()]))

    def number(value: float | None, digits: int = 2) -> str:
        return "–" if value is None else f"{value:.{digits}f}"

    row("mean landmark distance, all / test frames, %", lambda r: f"{number(r['landmarks']['mean_percent'])} / {number(r['landmarks']['test_percent'])}")
    row("lip gap, r / slope", lambda r: f"{number(r['signals']['lip_gap_correlation'], 3)} / {number(r['signals']['lip_gap_slope'], 3)}")
    row("blinks in the clip, missed, false", lambda r: " / ".join(str(r["signals"][key]) for key in ("blink_true", "blink_missed", "blink_false")))
    row("lid aperture at blinks, median, % of open", lambda r: number(r["signals"]["lid_aperture_at_blink_percent"], 0))
    row("blink F1", lambda r: number(r["signals"]["blink_f1"], 3))
    for key, text in (("rmse", "face"), ("rmse_skin", "skin"), ("rmse_covered", "covered face")):
        row(f"photometric RMSE, {text}, test block, of 255", lambda r, k=key: number(scaled((r.get("photometric") or {}).get(k), 255), 2))
    for key, text, digits in (("rotation_deg", "rotation, deg", 3), ("position_mm", "position, mm", 3), ("expression", "expression", 4)):
        for ending, kind in (("", "above 6 Hz"), ("_second_difference", "second difference")):
            row(f"tremble at rest, {text}, {kind}: raw / smoothed", lambda r, k=key + ending, d=digits: " / ".join(number(jitter(r, which, k), d) for which in ("raw", "smooth")))
    row("frames at rest", lambda r: str(r["jitter"]["num_still_frames"]))
    for column in ("driven", "static", "frozen", "neighbour_average", "flow_ceiling"):
        row(f"face PSNR, test block, {column.replace('_', ' ')}, dB", lambda r, c=column: number((r["image"].get(c) or {}).get("psnr_face_db"), 1))
    row("SSIM, driven", lambda r: number(r["image"]["driven"]["ssim_face"], 3))
    for stage in ("capture", "track", "texture", "background", "report"):
        row(f"{stage}: s, ms per frame", lambda r, s=stage: cost(r["stages"][s]))
    row("capture + track, times the clip's length", lambda r: number(sum(r["stages"][s]["seconds"] for s in ("capture", "track")) / r["clip_seconds"], 1))
    head = ["| | " + " | ".join(reports) + " |", "|---|" + "---|" * len(reports)]
    pools = {"": [report for name, report in reports.items() if not name.endswith(LANDMARKS)], f", {LANDMARKS}": [report for name, report in reports.items() if name.endswith(LANDMARKS)]}
    pooled = [pooled_blinks(name, members) for name, members in pools.items() if members]
    return "\n".join([*head, *(f"| {text} | {' | '.join(values)} |" for text, values in rows), "", *pooled])


def scaled(value: float | None, factor: float) -> float | None:
    return None if value is None else factor * value


def jitter(report: dict, which: str, key: str) -> float | None:
    return (report["jitter"][which] or {}).get(key)


def cost(stage: dict) -> str:
    each = f", {1000 * stage['seconds'] / stage['frames']:.0f}" if stage.get("frames") else ""
    return f"{stage['seconds']:.1f}{each}"


def pooled_blinks(name: str, reports: list[dict]) -> str:
    true, missed, false = (sum(report["signals"][key] for report in reports) for key in ("blink_true", "blink_missed", "blink_false"))
    found = true - missed
    apertures = [blink["model_aperture_percent"] for report in reports for blink in report["signals"]["blinks"] if blink["model_aperture_percent"] is not None]
    score = 2 * found / (2 * found + missed + false) if true else float("nan")
    return f"blinks pooled{name}: {true}, F1 {score:.3f}, model lid aperture at blinks: median {statistics.median(apertures):.0f} %, mean {statistics.mean(apertures):.0f} % of open"


if __name__ == "__main__":
    raise SystemExit(main())
