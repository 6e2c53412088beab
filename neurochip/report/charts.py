"""Geometry of the tick chart: how long each tick lasts and which layers are at work in it."""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil, floor, log10

import numpy as np
from numpy.typing import NDArray

from neurochip.report.report import Report
from neurochip.report.units import quantity

WIDTH, BARS_HEIGHT, ROW_HEIGHT, LEFT, AXIS = 1040, 150, 16, 62, 24
_MOST_BARS = 320
_LETTER = 6.4
"""Pixels of an average letter at the size of the chart's labels."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TickBar:
    """Mean duration of ticks ``first`` to ``last`` as a bar; ``high`` and ``low`` are the spread over inputs."""

    x: float
    y: float
    width: float
    height: float
    high: float
    low: float
    label: str


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkRow:
    """The ticks in which one layer computes; ``anchor`` tells on which side of ``label_x`` its name stands."""

    x: float
    y: float
    width: float
    name: str
    kind: str
    label_x: float
    anchor: str
    inside: bool
    label: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Mark:
    """One labelled line of an axis."""

    at: float
    label: str


@dataclass(frozen=True, slots=True, kw_only=True)
class TickChart:
    """Bars above, one row per layer below; both share the tick axis."""

    width: int
    height: int
    bars_bottom: float
    rows_top: float
    bars: tuple[TickBar, ...]
    rows: tuple[WorkRow, ...]
    times: tuple[Mark, ...]
    ticks: tuple[Mark, ...]
    ticks_per_bar: int


def tick_chart(report: Report) -> TickChart:
    """The timeline of one input: mean, smallest and largest duration of every tick over the inputs."""
    network, tick_ns = report.program.network, report.trace.tick_ns
    n_ticks = tick_ns.shape[1]
    group = ceil(n_ticks / _MOST_BARS)
    scale = (WIDTH - LEFT - 8) / n_ticks
    edges = np.arange(0, n_ticks, group)
    sizes = np.diff(np.append(edges, n_ticks))
    spans = np.add.reduceat(tick_ns, edges, axis=1) / sizes
    top = nice_top(float(spans.max(initial=0.0)))
    times = tuple(
        Mark(at=_height(top * i / 4, top), label=quantity(top * i / 4 * 1e-9, "s") if i else "0") for i in range(5)
    )
    rows_top = 12 + BARS_HEIGHT + AXIS + 8
    lasting = (network.timesteps - 1) * network.interval + 1
    rows = tuple(
        _work_row(
            layer.name,
            layer.kind,
            layer.depth,
            lasting,
            scale,
            rows_top + i * ROW_HEIGHT,
        )
        for i, layer in enumerate(sorted(report.layers, key=lambda r: r.depth))
    )
    return TickChart(
        width=WIDTH,
        height=rows_top + len(rows) * ROW_HEIGHT + 6,
        bars_bottom=12 + BARS_HEIGHT,
        rows_top=rows_top,
        bars=_bars(spans, edges, sizes, scale, top),
        rows=rows,
        times=times,
        ticks=tuple(Mark(at=LEFT + (t + 0.5) * scale, label=str(t)) for t in tick_labels(n_ticks)),
        ticks_per_bar=group,
    )


def _bars(
    spans: NDArray[np.float64], edges: NDArray[np.int64], sizes: NDArray[np.int64], scale: float, top: float
) -> tuple[TickBar, ...]:
    found = []
    columns = zip(spans.mean(axis=0), spans.min(axis=0), spans.max(axis=0), edges, sizes, strict=True)
    for mean, low, high, first, size in columns:
        which = f"tick {first}" if size == 1 else f"ticks {first} to {first + size - 1}, each"
        y, gap = _height(float(mean), top), min(2.0, 0.15 * scale * size)
        label = f"{which}: {quantity(mean * 1e-9, 's')}, {quantity(low * 1e-9, 's')} to {quantity(high * 1e-9, 's')}"
        found.append(
            TickBar(
                x=round(LEFT + float(first) * scale + gap / 2, 2),
                y=y,
                width=round(float(size) * scale - gap, 2),
                height=round(12 + BARS_HEIGHT - y, 2),
                high=_height(float(high), top),
                low=_height(float(low), top),
                label=label,
            )
        )
    return tuple(found)


def _work_row(name: str, kind: str, depth: int, steps: int, scale: float, y: float) -> WorkRow:
    """A row whose name stands to the right of the bar if there is room, else to the left, else in it."""
    x, width, needed = LEFT + depth * scale, steps * scale, len(name) * _LETTER + 10
    right, left = x + width + needed <= WIDTH, x - needed >= LEFT
    inside = not right and not left
    anchor, label_x = ("start", x + width + 4) if right else ("end", x - 4) if left else ("start", x + 6)
    return WorkRow(
        x=round(x, 2),
        y=y,
        width=round(width, 2),
        name=name,
        kind=kind,
        label_x=round(label_x, 2),
        anchor=anchor,
        inside=inside,
        label=f"{name} ({kind}): ticks {depth} to {depth + steps - 1}",
    )


def nice_top(value: float) -> float:
    """The end of an axis that holds ``value`` and whose quarters are round numbers."""
    if value <= 0:
        return 1.0
    power = 10.0 ** floor(log10(value))
    return next((m * power for m in (1, 1.2, 1.6, 2, 2.4, 3, 4, 6, 8) if m * power >= value), 10 * power)


def tick_labels(n_ticks: int) -> tuple[int, ...]:
    """Ticks to label: all of a short run, else at most about 25 in round distances."""
    step = next(s for e in range(9) for m in (1, 2, 5) if n_ticks / (s := m * 10**e) <= 25)
    return tuple(range(0, n_ticks, step))


def _height(value: float, top: float) -> float:
    """Vertical place of a duration."""
    return round(12 + BARS_HEIGHT * (1 - value / top), 2)
