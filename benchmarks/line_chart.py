"""A line chart as SVG text, logarithmic or linear: no more than the pages of the benchmarks need."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from html import escape
from math import ceil, floor, log10

WIDTH, HEIGHT, LEFT, RIGHT, TOP, BOTTOM = 760, 420, 80, 220, 40, 50
COLOURS = ("#1f5fa8", "#c2410c", "#2f7d32", "#7b3fa0", "#8a6d00", "#0f766e", "#b0296b", "#555555", "#0891b2")

Points = Sequence[tuple[float, float]]


def line_chart(title: str, x_label: str, y_label: str, lines: Mapping[str, Points], *, percent: bool = False) -> str:
    """SVG of ``lines`` (name -> points); the names stand on the right.

    Both axes are logarithmic, numbers positive; with ``percent`` both are linear, and y goes from 0 to 100.
    """
    points = [point for line in lines.values() for point in line]
    scale: Callable[[float], float] = float if percent else log10
    x_low, x_high = scale(min(x for x, _ in points)), scale(max(x for x, _ in points))
    if percent:
        y_low, y_high, step = 0, 100, 20
    else:
        y_low, y_high, step = floor(log10(min(y for _, y in points))), ceil(log10(max(y for _, y in points))), 1
    x_span, y_span = max(x_high - x_low, 1e-9), max(y_high - y_low, 1)

    def at(height: float) -> float:
        return HEIGHT - BOTTOM - (height - y_low) / y_span * (HEIGHT - TOP - BOTTOM)

    def place(x: float, y: float) -> tuple[float, float]:
        return LEFT + (scale(x) - x_low) / x_span * (WIDTH - LEFT - RIGHT), at(scale(y))

    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" '
        'font-family="sans-serif" font-size="12">',
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="white"/>',
        f'<text x="{LEFT}" y="22" font-size="15">{escape(title)}</text>',
        f'<text x="{(LEFT + WIDTH - RIGHT) / 2}" y="{HEIGHT - 10}" text-anchor="middle">{escape(x_label)}</text>',
        f'<text x="16" y="{HEIGHT / 2}" transform="rotate(-90 16 {HEIGHT / 2})" text-anchor="middle">'
        f"{escape(y_label)}</text>",
    ]
    for mark in range(y_low, y_high + 1, step):
        y = at(mark)
        parts.append(f'<line x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y:.1f}" y2="{y:.1f}" stroke="#ddd"/>')
        parts.append(
            f'<text x="{LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{mark if percent else _power(mark)}</text>'
        )
    for value in sorted({x for x, _ in points}):
        x, _ = place(value, points[0][1])
        parts.append(f'<text x="{x:.1f}" y="{HEIGHT - BOTTOM + 16}" text-anchor="middle">{value:g}</text>')
    labels = _spread([place(*line[-1])[1] for line in lines.values()])
    for (name, line), label, colour in zip(lines.items(), labels, _colours(len(lines)), strict=True):
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y in (place(*point) for point in line))
        parts.append(f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2"/>')
        for x, y in (place(*point) for point in line):
            parts.append(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3" fill="{colour}"/>')
        parts.append(f'<text x="{WIDTH - RIGHT + 10}" y="{label + 4:.1f}" fill="{colour}">{escape(name)}</text>')
    return "\n".join([*parts, "</svg>", ""])


def _power(power: int) -> str:
    return f"{10**power:,}" if 0 <= power <= 5 else f"1e{power}"


def _colours(count: int) -> list[str]:
    return [COLOURS[i % len(COLOURS)] for i in range(count)]


def _spread(heights: list[float]) -> list[float]:
    """``heights`` moved apart so that labels of 14 pixels do not cover each other, in the same order."""
    order = sorted(range(len(heights)), key=heights.__getitem__)
    placed, last = list(heights), float("-inf")
    for i in order:
        placed[i] = last = max(heights[i], last + 14)
    over = max(0.0, last - (HEIGHT - BOTTOM))
    return [height - over for height in placed]
