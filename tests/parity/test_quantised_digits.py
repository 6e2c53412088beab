"""The quantised graph and the integer network of the shipped digits model are the same computation."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from compiler.importers import load_model
from compiler.lower.balance import balance
from compiler.lower.lower import lower_graph
from compiler.pipeline import run_passes
from neurochip.chip.load import load_chip

DIGITS = Path(__file__).parents[2] / "examples" / "digits"


def test_network_equals_quantised_graph_on_digits_spike_for_spike() -> None:
    chip = load_chip("loihi")
    images = np.load(DIGITS / "test_images.npz")["images"][:24]
    quantised = run_passes(load_model(DIGITS / "spikformer.pt"), chip, 8)
    network = balance(lower_graph(quantised, chip, 8), chip.max_delay)
    graph_run, network_run = quantised.run(images), network.run(images)
    for name, counts in graph_run.spikes.items():
        assert np.array_equal(counts.T, network_run.spikes[name].sum(axis=(2, 3))), name
    np.testing.assert_allclose(network_run.logits, graph_run.logits, rtol=1e-12, atol=1e-12)
    assert network_run.wraps == network_run.clips == 0
