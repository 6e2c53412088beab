"""A graph saved as NIR and read back runs equally, whatever the graph."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

pytest.importorskip("h5py")

from compiler.exporters import save_nir
from compiler.importers.nir_reader import read_nir
from compiler.ir.verify import verify
from tests.graphs import random_graph, random_input

seeds = st.integers(0, 2**32 - 1)


@settings(deadline=None, max_examples=30)
@given(seeds)
def test_a_graph_survives_nir_with_equal_runs(tmp_path_factory, seed):
    graph = random_graph(seed)
    path = tmp_path_factory.mktemp("nir") / "x.nir"
    save_nir(graph, path)
    back = verify(read_nir(path))
    assert back.timesteps == graph.timesteps
    x = random_input(graph, seed)
    first, second = graph.run(x), back.run(x)
    for before, after in zip(graph.outputs, back.outputs, strict=True):
        a, b = first.outputs[before], second.outputs[after]
        np.testing.assert_allclose(b, a, rtol=1e-9, atol=1e-9 * max(1.0, float(np.abs(a).max())))
    for name, counts in first.spikes.items():
        np.testing.assert_array_equal(second.spikes[name], counts)
