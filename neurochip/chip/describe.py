"""A chip description as rows for tables: every figure with value, unit, source and status."""

from __future__ import annotations

from dataclasses import dataclass

from neurochip.chip.profiles import figures, value_text
from neurochip.chip.spec import ChipSpec


@dataclass(frozen=True, slots=True, kw_only=True)
class FigureRow:
    """One figure: dotted ``key``, ``value`` with unit as text, ``source`` key, ``status`` and ``note``."""

    key: str
    value: str
    source: str
    status: str
    note: str


def describe(spec: ChipSpec) -> tuple[FigureRow, ...]:
    """Every figure of ``spec`` in file order."""
    return tuple(
        FigureRow(
            key=".".join(path),
            value=value_text(figure),
            source=figure.source,
            status=figure.status,
            note=figure.note,
        )
        for path, figure in figures(spec)
    )
