"""What the user of the benchmarks chose, and what every benchmark gives back."""

from __future__ import annotations

import subprocess
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.table import Row

ROOT = Path(__file__).parents[1]
DIGITS = ROOT / "examples" / "digits"
CHIP = "loihi"


class BenchmarkError(Exception):
    """A benchmark cannot run as asked; the text says what to change."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Options of a run.

    Attributes:
        quick: small workloads, under two minutes in all.
        cache: folder for models and programs that are made once.
        models: full-size models to measure, names of ``benchmarks.models.MODELS`` with their steps, such as
            ``spikformer-8-512@4``.
        torch_python: a Python with PyTorch and SpikingJelly 2, to run the same models beside ours.
        sanafe_python: a Python with SANA-FE, to run the integrate-and-fire network beside ours.
        booksim: BookSim2's program, to run beside the packet network; None = its stored curves.
        packet_noc: move every packet of full-size models, too.
        check: compare one image of every full-size model with the integer reference.
    """

    quick: bool
    cache: Path
    models: tuple[str, ...] = ()
    torch_python: Path | None = None
    sanafe_python: Path | None = None
    booksim: Path | None = None
    packet_noc: bool = True
    check: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Results:
    """Tables to print (title -> rows) and everything measured, as plain values."""

    tables: dict[str, list[Row]]
    details: dict[str, Any] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {"tables": {title: [dict(row) for row in rows] for title, rows in self.tables.items()}, **self.details}


def last_words(done: subprocess.CompletedProcess[str]) -> str:
    """Why a program that failed says it did: the last line of its errors, or the signal that ended it."""
    if done.returncode < 0:
        return f"ended by signal {-done.returncode}{' (out of memory?)' if done.returncode == -9 else ''}"
    lines = done.stderr.strip().splitlines()
    return lines[-1] if lines else f"exit code {done.returncode}"
