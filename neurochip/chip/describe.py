"""A chip description as rows for tables: every figure with value, unit, source and status."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from pydantic import BaseModel

from neurochip.chip.profiles import figures, value_text
from neurochip.chip.quantity import Figure
from neurochip.chip.spec import ChipSpec
from neurochip.network.arithmetic import Arithmetic

_TOLD_ELSEWHERE = frozenset(
    ("schema_", "name", "title", "description", "not_modelled", "sources", "profiles", "default_profile", "attention")
)
_CITATION = frozenset(("sources", "status", "note"))


@dataclass(frozen=True, slots=True, kw_only=True)
class FigureRow:
    """One figure: dotted ``key``, ``value`` with unit as text, ``source`` key, ``status`` and ``note``."""

    key: str
    value: str
    source: str
    status: str
    note: str


def describe(spec: ChipSpec) -> tuple[FigureRow, ...]:
    """Every figure of ``spec`` in file order, then the times that follow from its matrix unit."""
    rows = (
        FigureRow(
            key=".".join(path),
            value=value_text(figure),
            source=figure.source,
            status=figure.status,
            note=figure.note,
        )
        for path, figure in figures(spec)
    )
    return (*rows, *_on_array(spec))


def _on_array(spec: ChipSpec) -> Iterator[FigureRow]:
    """Latencies that the file leaves to the lanes and the clock of its ``mac_array``."""
    array = spec.mac_array
    if array is None or array.mac_ns is None:
        return
    for name, profile in spec.profiles.items():
        for event in (event for event, cost in profile.costs.items() if cost.latency is None):
            yield FigureRow(
                key=f"profiles.{name}.costs.{event}.latency",
                value=f"{array.mac_ns:.3g} ns",
                source=array.lanes.source,
                status="D",
                note=f"{value_text(array.lanes)} at {value_text(array.clock)}",
            )


def kinds(spec: ChipSpec) -> tuple[tuple[str, str], ...]:
    """What a chip is rather than how much of it: every named kind and yes or no of its file, as (dotted key, text)."""
    return tuple(_kinds(spec, ()))


def _kinds(part: object, path: tuple[str, ...]) -> Iterator[tuple[str, str]]:
    if part is None or isinstance(part, Figure | Arithmetic):
        return
    if isinstance(part, BaseModel):
        hidden = _CITATION if path else _TOLD_ELSEWHERE
        for name in type(part).model_fields:
            if name not in hidden:
                yield from _kinds(getattr(part, name), (*path, name))
    elif isinstance(part, tuple):
        yield ".".join(path), ", ".join(map(str, part))
    elif part != "":
        yield ".".join(path), ("yes" if part else "no") if isinstance(part, bool) else str(part)
