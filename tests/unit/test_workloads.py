"""The benchmark network is what its docstring promises: legal, and 10 to 20 % active in every layer."""

from __future__ import annotations

import numpy as np

from benchmarks.workloads import if_mlp, if_mlp_input
from neurochip.network.validate import validate_network


def test_if_mlp_fires_at_10_to_20_percent_in_every_layer_and_never_overflows() -> None:
    network = if_mlp(0)
    validate_network(network)
    run = network.run(if_mlp_input(0))
    rates = {name: spikes.mean() for name, spikes in run.spikes.items()}
    assert set(rates) == {"input", "layer1", "layer2", "layer3"}
    assert all(0.10 < rate < 0.20 for rate in rates.values()), rates
    assert (run.wraps, run.clips) == (0, 0)
    assert np.array_equal(run.readout, run.spikes["layer3"].sum(axis=(1, 2)))
