"""A benchmark run as a table for people and as pictures of how cost grows."""

from __future__ import annotations

from pathlib import Path
from typing import Any


def table(result: dict[str, Any]) -> str:
    """A Markdown table of all cases that are not points of a curve."""
    base = {row["name"]: row["ms"] for row in result["cases"]}
    lines = ["| case | ms | reference, ms | ratio | reach | peak MiB |", "|---|---|---|---|---|---|"]
    for row in result["cases"]:
        if row["curve"] and row["reach"] is None and row["cost_of"] is None:
            continue
        reference = "" if row["reference_ms"] is None else f"{row['reference']} {row['reference_ms']:.2f}"
        ratio = "" if row["ratio"] is None else f"{1 / row['ratio']:.0f}× faster" if row["reach_is_speed_up"] else f"{row['ratio']:.2f}"
        reach = "" if row["reach"] is None else f"{'≥' if row['reach_is_speed_up'] else '≤'} {row['reach']:g} {'met' if row['met'] else 'MISSED'}" if row["met"] is not None else f"{row['reach']:g}"
        if row["cost_of"] in base:
            ratio = f"{row['ms'] / base[row['cost_of']]:.2f} of {row['cost_of']}"
        peak = "" if row["peak_mib"] is None else f"{row['peak_mib']:.0f}"
        lines.append(f"| {row['title']} | {row['ms']:.2f} | {reference} | {ratio} | {reach} | {peak} |")
    return "\n".join(lines) + "\n"


def slopes(result: dict[str, Any]) -> dict[str, float]:
    """For each curve the exponent p of cost ~ size^p over its upper half (1 = linear), by least squares in logarithms."""
    import numpy as np

    found = {}
    for curve, points in _curves(result).items():
        upper = points[len(points) // 2 - (len(points) < 4) :]
        if len(upper) >= 2:
            sizes, times = np.log([size for size, _ in upper]), np.log([ms for _, ms in upper])
            found[curve] = round(float(np.polyfit(sizes, times, 1)[0]), 2)
    return found


def plot_curves(result: dict[str, Any], path: Path) -> None:
    """Draws every curve on logarithmic axes, with a dotted line of slope one through its last point."""
    import matplotlib

    matplotlib.use("svg")
    matplotlib.rcParams["svg.hashsalt"] = "curves"
    from matplotlib import pyplot

    curves = _curves(result)
    figure, axes = pyplot.subplots(1, max(1, len(curves)), figsize=(3.4 * max(1, len(curves)), 3.2), squeeze=False)
    for axis, (curve, points) in zip(axes[0], sorted(curves.items())):
        sizes, times = [size for size, _ in points], [ms for _, ms in points]
        axis.loglog(sizes, times, "o-", color="#2a6f97")
        axis.loglog(sizes, [times[-1] * size / sizes[-1] for size in sizes], ":", color="#888888")
        axis.set_title(curve, fontsize=9)
        axis.set_ylabel("ms")
        axis.grid(True, which="both", alpha=0.2)
    figure.tight_layout()
    figure.savefig(path, metadata={"Date": None})
    pyplot.close(figure)


def _curves(result: dict[str, Any]) -> dict[str, list[tuple[int, float]]]:
    curves: dict[str, list[tuple[int, float]]] = {}
    for row in result["cases"]:
        if row["curve"] and row["size"]:
            curves.setdefault(row["curve"], []).append((row["size"], row["ms"]))
    return {curve: sorted(points) for curve, points in curves.items() if len(points) > 1}
