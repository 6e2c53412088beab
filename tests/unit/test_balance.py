"""Depths, delays and relays."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from compiler.lower.balance import balance
from neurochip.errors import UnsupportedError
from neurochip.network.network import Network, Neuron
from neurochip.network.projections import Pool, Source
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


def test_payloads_are_relayed_where_a_packet_carries_them() -> None:
    """A graded sum that two readers need, one of them three ticks later, with a longest delay of one."""
    networks = (random_network(seed) for seed in range(99))
    network, x = next(n for n in networks if all(p.high == 1 for p in n[0].populations))
    source = next(p for p in network.populations if p.neuron.kind == "lif")
    order = network.populations.index(source) + 1
    total = replace(source, name="total", neuron=Neuron(kind="graded", threshold=1 << 6), coding="graded", high=3)
    last = replace(source, name="last", neuron=Neuron(kind="lif", threshold=2 << 6))
    middle = replace(last, name="middle")

    def link(a: str, b: str) -> Pool:
        return Pool(name=f"{a}-{b}", sources=(Source(a),), target=b, origin=b, shift=6, weight=2)

    plain = unbalanced(network)
    links = (link(source.name, "total"), link("total", "middle"), link("middle", "last"), link("total", "last"))
    changed = replace(
        plain,
        populations=(*plain.populations[:order], total, middle, last, *plain.populations[order:]),
        projections=(*plain.projections, *links),
    )
    balanced = balance(changed, 1)
    validate_network(balanced)
    assert balanced.by_name["total.relay1"].coding == "graded"
    before, after = changed.run(x), balanced.run(x)
    assert np.array_equal(before.spikes["last"], after.spikes["last"])
    assert np.array_equal(before.spikes["total"], after.spikes["total.relay1"])
    assert before.spikes["total"].max() > 1
