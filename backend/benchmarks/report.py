"""A benchmark run as a table for people and as pictures of how cost grows."""

from __future__ import annotations

from pathlib import Path
from typing import Any


def table(result: dict[str, Any]) -> str:
    """A Markdown table of all cases that are not points of a curve."""
    base = {row["name"]: row["ms"] for row in result["cases"]}
    lines = ["| case | ms | reference, ms | ratio | reach | peak MiB |", "|---|---|---|---|---|---|"]
    for row in result["cases"]:
        if row["curve"] and row["reach"] is None and row["cost_of"] is None and row["reference"] is None:
            continue
        reference = "" if row["reference_ms"] is None else f"{row['reference']} {row['reference_ms']:.2f}"
        ratio = "" if row["ratio"] is None else f"{1 / row['ratio']:.0f}× faster" if row["reach_is_speed_up"] else f"{row['ratio']:.2f}"
        reach = "" if row["reach"] is None else f"{'≥' if row['reach_is_speed_up'] else '≤'} {row['reach']:g} {'met' if row['met'] else 'MISSED'}" if row["met"] is not None else f"{row['reach']:g}"
        if row["cost_of"] in base:
            ratio = f"{row['ms'] / base[row['cost_of']]:.2f} of {row['cost_of']}"
        peak = "" if row["peak_mib"] is None else f"{row['peak_mib']:.0f}"
        lines.append(f"| {row['title']} | {row['ms']:.2f} | {reference} | {ratio} | {reach} | {peak} |")
    return "\n".join(lines) + "\n"


def straight_lines(result: dict[str, Any]) -> dict[str, dict[str, float]]:
    """For each curve the line cost = fixed_ms + ms_per_unit * size and its coefficient of determination ``r2`` (1 = exactly linear).

    Least squares of the relative error, so that the small sizes count as much as the large ones.
    """
    import numpy as np

    found = {}
    for curve, points in _curves(result).items():
        sizes, times = (np.array(values, dtype=float) for values in zip(*points))
        rows = np.stack([np.ones_like(sizes), sizes], 1) / times[:, None]
        (fixed, slope), *_ = np.linalg.lstsq(rows, np.ones_like(times), rcond=None)
        off = times - fixed - slope * sizes
        spread = float(((times - times.mean()) ** 2).sum())
        found[curve] = {"fixed_ms": round(float(fixed), 3), "ms_per_unit": float(f"{slope:.3g}"), "r2": round(1 - float((off**2).sum()) / max(spread, 1e-12), 4)}
    return found


def plot_curves(result: dict[str, Any], path: Path) -> None:
    """Draws every curve with the straight line fitted to it, four to a row."""
    import matplotlib

    matplotlib.use("svg")
    matplotlib.rcParams["svg.hashsalt"] = "curves"
    from matplotlib import pyplot

    curves, lines = _curves(result), straight_lines(result)
    columns = min(4, max(1, len(curves)))
    num_rows = -(-max(1, len(curves)) // columns)
    figure, axes = pyplot.subplots(num_rows, columns, figsize=(3.2 * columns, 2.8 * num_rows), squeeze=False)
    for axis in axes.flat[len(curves) :]:
        axis.set_visible(False)
    for axis, (curve, points) in zip(axes.flat, sorted(curves.items())):
        sizes, times = [size for size, _ in points], [ms for _, ms in points]
        line = lines[curve]
        axis.plot(sizes, times, "o", color="#2a6f97")
        axis.plot([0, sizes[-1]], [line["fixed_ms"], line["fixed_ms"] + line["ms_per_unit"] * sizes[-1]], ":", color="#888888")
        axis.set_title(f"{curve}, r² {line['r2']:.3f}", fontsize=8)
        axis.set_ylabel("ms", fontsize=8)
        axis.tick_params(labelsize=7)
        axis.set_xlim(left=0)
        axis.set_ylim(bottom=0)
        axis.grid(True, alpha=0.2)
    figure.tight_layout()
    figure.savefig(path, metadata={"Date": None})
    pyplot.close(figure)


def _curves(result: dict[str, Any]) -> dict[str, list[tuple[int, float]]]:
    curves: dict[str, list[tuple[int, float]]] = {}
    for row in result["cases"]:
        if row["curve"] and row["size"]:
            curves.setdefault(row["curve"], []).append((row["size"], row["ms"]))
    return {curve: sorted(points) for curve, points in curves.items() if len(points) > 1}
