"""The random networks that other property tests rely on are legal, alive and cover every kind of projection."""

from __future__ import annotations

from collections import Counter

import numpy as np

from neurochip.network.projections import PROJECTIONS, Product
from neurochip.network.validate import validate_network
from tests.strategies import random_arithmetic, random_network

SEEDS = range(60)


def test_random_networks_are_well_formed() -> None:
    for seed in SEEDS:
        network, _ = random_network(seed, max_delay=4)
        validate_network(network)
        assert all(1 <= s.delay <= 4 for p in network.projections for s in p.sources)


def test_random_networks_cover_every_projection_residuals_and_delays() -> None:
    projections = [p for seed in SEEDS for p in random_network(seed, rare=True)[0].projections]
    assert set(Counter(type(p) for p in projections)) == set(PROJECTIONS)
    assert any(len(p.sources) > 1 for p in projections if not isinstance(p, Product))
    assert any(s.delay > 1 for p in projections for s in p.sources)
    assert {p.groups > 1 for p in projections if p.kind == "conv"} == {False, True}


def test_random_networks_spike_within_their_declared_counts() -> None:
    rates = []
    for seed in SEEDS:
        network, x = random_network(seed)
        spikes = network.run(x).spikes
        for population in network.populations:
            if population.name in spikes:
                assert 0 <= spikes[population.name].min() <= spikes[population.name].max() <= population.high
                rates.append(spikes[population.name].mean())
    assert np.mean(np.array(rates) > 0) > 0.7


def test_narrow_arithmetic_makes_currents_wrap_and_membranes_clip() -> None:
    runs = []
    for seed in SEEDS:
        network, x = random_network(seed, arithmetic=random_arithmetic(seed))
        runs.append(network.run(x))
    assert any(r.wraps for r in runs)
    assert any(r.clips for r in runs)


def test_a_seed_always_gives_the_same_network_and_input() -> None:
    (first, x), (second, y) = random_network(7), random_network(7)
    assert np.array_equal(x, y)
    assert np.array_equal(first.run(x).readout, second.run(y).readout)
    assert repr(first.populations) == repr(second.populations)
