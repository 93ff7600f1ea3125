"""Curves as a picture: plain SVG, both axes logarithmic, no dependency."""

from __future__ import annotations

import dataclasses
import html
import math

WIDTH, HEIGHT, LEFT, RIGHT, TOP, BOTTOM = 720, 420, 70, 210, 40, 50
COLOURS = ("#1b6ca8", "#c8553d", "#3c8d40", "#8e44ad", "#b8860b", "#16808a")


@dataclasses.dataclass(frozen=True)
class Curve:
    """One line. x and y: positive values, equally many."""

    name: str
    x: list[float]
    y: list[float]


def draw_curves(title: str, x_label: str, y_label: str, curves: list[Curve]) -> str:
    """An SVG document; the same curves give the same text."""
    x_all, y_all = [value for curve in curves for value in curve.x], [value for curve in curves for value in curve.y]
    if not x_all or min(*x_all, *y_all) <= 0:
        raise ValueError("curves must have points, all positive")
    x_span, y_span = _span(x_all), _span(y_all)
    across = lambda value: LEFT + (WIDTH - LEFT - RIGHT) * _share(value, x_span)  # noqa: E731
    up = lambda value: HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * _share(value, y_span)  # noqa: E731
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" font-family="sans-serif" font-size="12">',
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="white"/>', f'<text x="{LEFT}" y="22" font-size="15">{html.escape(title)}</text>',
    ]
    for value in _ticks(y_span):
        parts.append(f'<path d="M{LEFT} {up(value):.1f}H{WIDTH - RIGHT}" stroke="#ddd"/><text x="{LEFT - 6}" y="{up(value) + 4:.1f}" text-anchor="end">{value:g}</text>')
    for value in sorted(set(x_all)):
        parts.append(f'<path d="M{across(value):.1f} {TOP}V{HEIGHT - BOTTOM}" stroke="#eee"/><text x="{across(value):.1f}" y="{HEIGHT - BOTTOM + 16}" text-anchor="middle">{value:g}</text>')
    for number, curve in enumerate(curves):
        colour = COLOURS[number % len(COLOURS)]
        places = [(across(x), up(y)) for x, y in zip(curve.x, curve.y)]
        parts.append(f'<polyline points="{" ".join(f"{x:.1f},{y:.1f}" for x, y in places)}" fill="none" stroke="{colour}" stroke-width="2"/>')
        parts += [f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3" fill="{colour}"/>' for x, y in places]
        parts.append(f'<text x="{WIDTH - RIGHT + 12}" y="{TOP + 14 + 18 * number}" fill="{colour}">{html.escape(curve.name)}</text>')
    parts.append(f'<text x="{(LEFT + WIDTH - RIGHT) / 2}" y="{HEIGHT - 12}" text-anchor="middle">{html.escape(x_label)}</text>')
    parts.append(f'<text x="16" y="{(TOP + HEIGHT - BOTTOM) / 2}" transform="rotate(-90 16 {(TOP + HEIGHT - BOTTOM) / 2})" text-anchor="middle">{html.escape(y_label)}</text></svg>')
    return "\n".join(parts) + "\n"


def _span(values: list[float]) -> tuple[float, float]:
    low, high = math.log(min(values)), math.log(max(values))
    margin = max(0.05 * (high - low), 0.1)
    return low - margin, high + margin


def _share(value: float, span: tuple[float, float]) -> float:
    return (math.log(value) - span[0]) / (span[1] - span[0])


def _ticks(span: tuple[float, float]) -> list[float]:
    low, high = math.exp(span[0]), math.exp(span[1])
    decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    return [step * 10.0**decade for decade in decades for step in (1, 2, 5) if low <= step * 10.0**decade <= high]
