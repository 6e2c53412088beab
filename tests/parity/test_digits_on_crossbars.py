"""The single-step digits transformers with 4-bit weights on 256 x 256 crossbars, down to a chip laid out literally."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import neurochip
from compiler.pipeline import run_passes
from tests.crossbar_oracle import check_on_chip

DIGITS = Path(__file__).parents[2] / "examples" / "digits"
IMAGES = 16


@pytest.mark.parametrize("name", ["meta", "qk"])
def test_a_digits_transformer_runs_exactly_on_crossbars(name: str) -> None:
    graph, chip = neurochip.load_model(DIGITS / f"{name}.pt"), neurochip.load_chip("truenorth")
    with np.load(DIGITS / "test_images.npz") as file:
        images = file[file.files[0]][:IMAGES]
    program = neurochip.compile(graph, chip)
    assert program.origin.weight_bits == 4
    assert program.n_cores < 400
    result = neurochip.simulate(program, images, check=True)
    assert result.exact
    (logits,) = run_passes(graph, chip, 4).run({graph.inputs[0].name: images}).outputs.values()
    np.testing.assert_allclose(result.logits, np.asarray(logits).reshape(result.logits.shape), rtol=1e-9, atol=1e-9)
    assert check_on_chip(program, images[:1]) > 200
