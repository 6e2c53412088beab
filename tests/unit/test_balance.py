"""Depths, delays and relays."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from compiler.lower.balance import balance
from neurochip.errors import UnsupportedError
from neurochip.network.network import Network
from neurochip.network.projections import Source
from neurochip.network.validate import validate_network
from tests.strategies import random_network


def unbalanced(network: Network) -> Network:
    """The same network as lowering leaves it: no depths, every delay 1."""
    projections = tuple(replace(p, sources=tuple(Source(s.population) for s in p.sources)) for p in network.projections)
    return replace(
        network, populations=tuple(replace(p, depth=0) for p in network.populations), projections=projections
    )


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 5_000), st.integers(1, 7))
def test_relays_keep_every_spike_whatever_the_longest_delay(seed: int, longest: int) -> None:
    network, x = random_network(seed)
    plain = unbalanced(network)
    if any(p.high > 1 for p in network.populations):
        # A payload may have to wait longer than a delay can, and relays carry single spikes.
        longest = max(longest, network.ticks)
    balanced = balance(plain, longest)
    validate_network(balanced)
    delays = [s.delay for p in balanced.projections for s in p.sources]
    assert not delays or max(delays) <= longest
    before, after = network.run(x), balanced.run(x)
    for name, spikes in before.spikes.items():
        assert np.array_equal(spikes, after.spikes[name]), name
    assert np.array_equal(before.readout, after.readout)


def test_a_loop_within_one_step_is_refused_and_named() -> None:
    network = unbalanced(random_network(0)[0])
    loop = next(p for p in network.projections if p.sources)
    back = replace(loop, name="back", sources=(Source(loop.target),), target=loop.sources[0].population)
    with pytest.raises(UnsupportedError, match=r"recurrent connection .*: a step would need its own result"):
        balance(replace(network, projections=(*network.projections, back)), 7)
