"""The shipped digits model with another leak than its own: how many images it still reads, and that the chip agrees."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from compiler.importers import load_model
from compiler.lower.lower import lower_graph
from compiler.pipeline import Options, compile_graph, refuse_unknown, run_passes
from neurochip.chip.load import load_chip
from neurochip.chip.spec import ChipSpec
from neurochip.errors import UnsupportedError

DIGITS = Path(__file__).parents[2] / "examples" / "digits"


def chip_with(leak: str) -> ChipSpec:
    """Loihi with neurons that leak otherwise."""
    data = json.loads(load_chip("loihi").to_json())
    data["neuron"]["arithmetic"]["leak"] = leak
    return ChipSpec.model_validate(data)


@pytest.mark.parametrize(("leak", "least"), [("linear", 0.9), ("none", 0.5)])
def test_digits_with_another_leak_are_still_read_and_the_network_equals_the_graph(leak: str, least: float) -> None:
    chip = chip_with(leak)
    images, labels = np.load(DIGITS / "test_images.npz")["images"][::3], np.load(DIGITS / "test_labels.npy")[::3]
    quantised = run_passes(load_model(DIGITS / "spikformer.pt"), chip, 8, None, ("leak",))
    logits = next(iter(quantised.run(images).outputs.values()))
    accuracy = (logits.reshape(len(images), -1).argmax(axis=1) == labels).mean()
    assert accuracy > least
    network = lower_graph(quantised, chip, 8)
    np.testing.assert_allclose(network.run(images[:24]).logits, logits.reshape(len(images), -1)[:24], rtol=1e-12)


def test_without_being_asked_the_leak_is_refused_with_the_remedies() -> None:
    with pytest.raises(UnsupportedError, match=r"its leak is exponential .*use T = 1.*--approximate leak"):
        run_passes(load_model(DIGITS / "spikformer.pt"), chip_with("linear"), 8)


def test_what_cannot_be_approximated_is_refused() -> None:
    with pytest.raises(UnsupportedError, match="--approximate weights: expected one of leak"):
        refuse_unknown(("weights",))
    graph, options = load_model(DIGITS / "spikformer.pt"), Options(approximate=("everything",))
    with pytest.raises(UnsupportedError, match="--approximate everything"):
        compile_graph(graph, load_chip("loihi"), options)
