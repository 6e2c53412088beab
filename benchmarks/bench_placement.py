"""Placement of cores on layered graphs, beside published methods (``benchmarks/placement.py`` says which)."""

from __future__ import annotations

from benchmarks import placement
from benchmarks.settings import Results, Settings


def run(settings: Settings) -> Results:
    """A second a graph if quick; otherwise a minute a graph, and a million clusters."""
    placement.warm_up()
    return Results(tables=placement.tables(settings.quick))
