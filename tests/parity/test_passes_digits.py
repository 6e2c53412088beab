"""The passes on the shipped digits model: the same spikes up to quantise, the same answers after it."""

from pathlib import Path

import numpy as np

from compiler.importers import load_model
from compiler.passes import PASSES
from tests.spiking_graphs import target

DIGITS = Path(__file__).parents[2] / "examples" / "digits"


def test_a_trained_model_keeps_its_spikes_and_then_its_answers():
    graph = load_model(DIGITS / "spikformer.pt")
    x = np.load(DIGITS / "test_images.npz")["images"][:60]
    trained = graph.run(x, record="spikes")
    for each in PASSES[:-2]:
        graph = each.run(graph, target())
    lowered = graph.run(x, record="spikes")
    for name, spikes in trained.values.items():
        np.testing.assert_array_equal(lowered.values[name], spikes, err_msg=name)
    np.testing.assert_allclose(lowered.logits, trained.logits, rtol=1e-9)
    for bits in (8, 4):
        quantised = graph
        for each in PASSES[-2:]:
            quantised = each.run(quantised, target(bits))
        answers = quantised.run(x).logits.argmax(axis=1)
        assert (answers == trained.logits.argmax(axis=1)).mean() >= 0.95, bits
