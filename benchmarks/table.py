"""Results as tables on a terminal or in a log."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

Row = Mapping[str, object]


WIDEST = 100
"""Characters of a cell that are printed; JSON and pages have all of them."""


def print_table(title: str, rows: Sequence[Row]) -> None:
    """Print ``rows`` under ``title``; the columns are the keys of all rows in order of appearance.

    Columns with numbers are aligned to the right, all others to the left.
    """
    heads = list(dict.fromkeys(key for row in rows for key in row))
    right = {head: any(isinstance(row.get(head), int | float) for row in rows) for head in heads}
    cells = [[_short(text(row.get(head))) for head in heads] for row in rows]
    widths = [max(map(len, column)) for column in zip(heads, *cells, strict=True)]
    print(f"\n{title}")
    for line in (heads, *cells):
        aligned = (
            cell.rjust(width) if i and right[head] else cell.ljust(width)
            for i, (head, cell, width) in enumerate(zip(heads, line, widths, strict=True))
        )
        print("  " + "  ".join(aligned).rstrip(), flush=True)


def _short(cell: str) -> str:
    return cell if len(cell) <= WIDEST else f"{cell[: WIDEST - 3]}..."


def text(value: object) -> str:
    """A value with at most four significant digits; None and NaN as a dash, a mapping as its entries."""
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, float):
        return f"{value:,.0f}" if abs(value) >= 10_000 else f"{value:.4g}"
    if isinstance(value, Mapping):
        return ", ".join(f"{key} {entry}" for key, entry in value.items())
    if isinstance(value, list | tuple):
        return ", ".join(map(text, value))
    return str(value)
