"""Real clips: landmarks, lips, blinks, pictures and time, from one run of the command line per clip.

    python tools/benchmark_clips.py CLIP [CLIP ...] --out build/clips [--preset standard] [--fresh]

Prints a Markdown table with one column per clip; blinks are pooled over all of them. ``--fresh`` ignores stages made earlier, so
that the times are of this machine, now.
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


def main() -> int:
    parser = argparse.ArgumentParser(description="Reconstruction figures on real clips.")
    parser.add_argument("clips", type=Path, nargs="+")
    parser.add_argument("--out", type=Path, default=ROOT / "build" / "clips")
    parser.add_argument("--preset", default="standard")
    parser.add_argument("--fresh", action="store_true")
    options = parser.parse_args()
    reports = {}
    for clip in options.clips:
        package = options.out / f"{clip.stem}.avatar"
        if options.fresh:
            shutil.rmtree(options.out / f"{clip.stem}.work", ignore_errors=True)
        command = [sys.executable, "-m", "backend", "reconstruct", str(clip.absolute()), "--out", str(package.absolute()), "--preset", options.preset]
        subprocess.run([*command, "--overwrite", "--consent"], cwd=ROOT, check=True)
        index = json.loads((package / "avatar.json").read_text(encoding="utf-8"))
        reports[clip.stem] = {**json.loads((package / "report.json").read_text(encoding="utf-8")), "clip_seconds": index["num_frames"] / index["fps"]}
    print(table(reports))  # noqa: T201
    return 0


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
    for column in ("driven", "static", "neighbour_average", "flow_ceiling"):
        row(f"face PSNR, test block, {column.replace('_', ' ')}, dB", lambda r, c=column: number((r["image"].get(c) or {}).get("psnr_face_db"), 1))
    row("SSIM, driven", lambda r: number(r["image"]["driven"]["ssim_face"], 3))
    for stage in ("capture", "track", "texture", "background", "report"):
        row(f"{stage}: s, ms per frame", lambda r, s=stage: cost(r["stages"][s]))
    row("capture + track, times the clip's length", lambda r: number(sum(r["stages"][s]["seconds"] for s in ("capture", "track")) / r["clip_seconds"], 1))
    head = ["| | " + " | ".join(reports) + " |", "|---|" + "---|" * len(reports)]
    return "\n".join([*head, *(f"| {text} | {' | '.join(values)} |" for text, values in rows), "", pooled_blinks(list(reports.values()))])


def cost(stage: dict) -> str:
    each = f", {1000 * stage['seconds'] / stage['frames']:.0f}" if stage.get("frames") else ""
    return f"{stage['seconds']:.1f}{each}"


def pooled_blinks(reports: list[dict]) -> str:
    true, missed, false = (sum(report["signals"][key] for report in reports) for key in ("blink_true", "blink_missed", "blink_false"))
    found = true - missed
    apertures = [blink["model_aperture_percent"] for report in reports for blink in report["signals"]["blinks"] if blink["model_aperture_percent"] is not None]
    score = 2 * found / (2 * found + missed + false) if true else float("nan")
    return f"blinks pooled: {true}, F1 {score:.3f}, model lid aperture at blinks: median {statistics.median(apertures):.0f} %, mean {statistics.mean(apertures):.0f} % of open"


if __name__ == "__main__":
    raise SystemExit(main())
