"""The README's matrix of digits models and chips says what compiling and simulating them gives today."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

import neurochip
from benchmarks.bench_chips import MODELS
from benchmarks.chips_page import BEGIN, END, reason
from neurochip.chip.load import shipped_chips
from neurochip.errors import NeurochipError

ROOT = Path(__file__).parents[2]
DIGITS = ROOT / "examples" / "digits"


def matrix() -> dict[tuple[str, str], str]:
    """(chip, model) -> the cell of the README."""
    text = (ROOT / "README.md").read_text(encoding="utf-8").partition(BEGIN)[2].partition(END)[0]
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in text.strip().splitlines()[2:]]
    return {(row[0].strip("`"), model): cell for row in rows for model, cell in zip(MODELS, row[1:], strict=True)}


def test_matrix_has_every_shipped_chip() -> None:
    assert {chip for chip, _ in matrix()} == set(shipped_chips())


@pytest.mark.parametrize(("chip", "model"), sorted(matrix()))
def test_cell_of_the_matrix_is_true(chip: str, model: str) -> None:
    cell, path = matrix()[chip, model], DIGITS / f"{model}.pt"
    if cell.startswith("refused"):
        with pytest.raises(NeurochipError) as refusal:
            neurochip.compile(path, chip)
        assert cell == f"refused: {reason(str(refusal.value))}"
        return
    program = neurochip.compile(path, chip, placement="hilbert")
    found = re.match(r"exact, (\d+) cores, (\d+) ticks, ", cell)
    assert found is not None
    assert (program.n_cores, program.network.ticks) == (int(found[1]), int(found[2]))
    images = np.load(DIGITS / "test_images.npz")["images"]
    assert neurochip.simulate(program, images, limit=2, check=True).exact
