"""Results as tables on a terminal or in a log."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

Row = Mapping[str, object]


def print_table(title: str, rows: Sequence[Row]) -> None:
    """Print ``rows`` under ``title``; the columns are the keys of all rows in order of appearance."""
    heads = list(dict.fromkeys(key for row in rows for key in row))
    cells = [[text(row.get(head)) for head in heads] for row in rows]
    widths = [max(map(len, column)) for column in zip(heads, *cells, strict=True)]
    print(f"\n{title}")
    for line in (heads, *cells):
        first, *rest = (
            cell.ljust(width) if i == 0 else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(line, widths, strict=True))
        )
        print("  " + "  ".join([first, *rest]).rstrip(), flush=True)


def text(value: object) -> str:
    """A value with at most four significant digits; None and NaN as a dash."""
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return "-"
    if isinstance(value, int) and not isinstance(value, bool):
        return f"{value:,}"
    if isinstance(value, float):
        return f"{value:,.0f}" if abs(value) >= 10_000 else f"{value:.4g}"
    return str(value)
