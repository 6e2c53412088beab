"""What the commands print: tables, progress and JSON; drawn on a terminal, plain text elsewhere."""

from __future__ import annotations

import json
import math
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

import click

from neurochip.atomic import reason, write_text
from neurochip.errors import NeurochipError

if TYPE_CHECKING:
    from rich.progress import Progress as Bars

Row = Mapping[str, object]
STANDARD_OUTPUT = "-"

json_option = click.option(
    "--json", "json_file", metavar="FILE", help="Write the same facts as JSON to FILE; - is standard output, alone."
)


class OutputError(NeurochipError):
    """A file that the user asked for cannot be written."""


def number_text(value: object) -> str:
    """A value as a table shows it: digits grouped, at most four significant digits after a point, None as a dash."""
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, float):
        if not math.isfinite(value):
            return str(value)
        return f"{value:,.0f}" if abs(value) >= 10_000 else f"{value:.4g}"
    return str(value)


def print_table(title: str, rows: Sequence[Row]) -> None:
    """Print ``rows`` (the keys of the first are the columns) under ``title``; nothing if there are none."""
    if not rows:
        return
    heads = list(rows[0])
    cells = [[number_text(row.get(head)) for head in heads] for row in rows]
    numeric = [all(isinstance(row.get(head), int | float | None) for row in rows) for head in heads]
    if sys.stdout.isatty():
        _print_rich(title, heads, cells, numeric)
        return
    widths = [max(map(len, column)) for column in zip(heads, *cells, strict=True)]
    click.echo(f"\n{title}")
    for line in (heads, *cells):
        parts = (c.rjust(w) if n else c.ljust(w) for c, w, n in zip(line, widths, numeric, strict=True))
        click.echo(f"  {'  '.join(parts)}".rstrip())


def _print_rich(title: str, heads: list[str], cells: list[list[str]], numeric: list[bool]) -> None:
    from rich.box import SIMPLE
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    table = Table(title=escape(title), box=SIMPLE, title_justify="left", title_style="bold")
    for head, right in zip(heads, numeric, strict=True):
        table.add_column(escape(head), justify="right" if right else "left", overflow="fold")
    for line in cells:
        table.add_row(*map(escape, line))
    Console().print(table)


def write_json(file: str, data: object) -> None:
    """Write ``data`` as JSON to ``file``, whole or not at all; ``-`` is standard output. NaN and infinity become null.

    Raises:
        OutputError: the file cannot be written; the old one is untouched.
    """
    text = json.dumps(_plain(data), indent=1, ensure_ascii=False, allow_nan=False)
    if file == STANDARD_OUTPUT:
        click.echo(text)
        return
    write_file(file, f"{text}\n")


def write_file(file: str, text: str) -> None:
    """Write ``text`` to ``file``, whole or not at all. Raises ``OutputError``; the old file is then untouched."""
    try:
        write_text(file, text)
    except OSError as error:
        raise OutputError(f"{file}: cannot write the file: {reason(error)}; {_ELSEWHERE}") from None


_ELSEWHERE = "free some space, or choose another place"


def refuse_unwritable(*files: str | None) -> None:
    """Find out before hours of work that a result has nowhere to go. Raises ``OutputError`` naming the file."""
    for file in files:
        if file is None or file == STANDARD_OUTPUT:
            continue
        path = Path(os.path.realpath(file))
        if path.is_dir():
            raise OutputError(f"{file}: expected a file to write to, found a folder; add a file name")
        if not path.parent.is_dir():
            raise OutputError(f"{file}: cannot write the file: there is no folder {path.parent}; create it first")
        if not os.access(path.parent if not path.exists() or path.is_file() else path, os.W_OK):
            raise OutputError(f"{file}: cannot write the file: permission denied; choose another place")


def _plain(value: Any) -> Any:
    """``value`` in the types of JSON: numpy scalars and arrays unwrapped, numbers that are not finite as null."""
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if hasattr(value, "tolist"):
        return _plain(value.tolist())
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value if value is None or isinstance(value, str | int | float | bool) else str(value)


class Progress:
    """Progress on standard error: a bar on a terminal, otherwise a line for every step worth telling.

    Use as a context manager; ``step`` names what was just finished of ``total`` steps, ``count`` reports (done, total)
    of many equal ones and tells every tenth of them.
    """

    def __init__(self, title: str, total: int | None = None) -> None:
        self._title, self._total, self._done = title, total, 0
        self._bars: Bars | None = None
        self._task: Any = None

    def __enter__(self) -> Progress:
        if sys.stderr.isatty():
            from rich.console import Console
            from rich.progress import Progress as Bars

            self._bars = Bars(console=Console(stderr=True), transient=True)
            self._task = self._bars.add_task(self._title, total=self._total)
            self._bars.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bars is not None:
            self._bars.stop()

    def step(self, name: str) -> None:
        """One step of the total, called ``name``, is done."""
        self._done += 1
        if self._bars is not None:
            self._bars.update(self._task, completed=self._done, description=f"{self._title}: {name}")
        else:
            of = f"/{self._total}" if self._total else ""
            click.echo(f"{self._title} {self._done}{of}: {name}", err=True)

    def count(self, done: int, total: int) -> None:
        """``done`` of ``total`` are done."""
        if self._bars is not None:
            self._bars.update(self._task, completed=done, total=total)
        elif done * 10 // total > (done - 1) * 10 // total:
            click.echo(f"{self._title} {done}/{total}", err=True)
