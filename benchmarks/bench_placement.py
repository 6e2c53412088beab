"""Placement costs and seconds beside published methods (``placement.py``)."""

from __future__ import annotations

from benchmarks import placement
from benchmarks.settings import Results, Settings


def run(settings: Settings) -> Results:
    """All tables; the minute-long searches and the million clusters only in full runs."""
    return Results(tables=placement.tables(settings.quick))
