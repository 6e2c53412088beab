"""Relays that too many neurons read: their population gets splitters, each with relays of its own."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from compiler.legal import LEGAL
from compiler.lower.balance import balance
from compiler.mapping.check import check_program
from compiler.mapping.map import map_network
from neurochip.network.network import Network, Neuron
from tests.crossbar_chips import crossbar_chip
from tests.crossbar_networks import FOUR_BITS, READOUT, SPIKES, dense, head, lif, network
from tests.crossbar_oracle import check_on_chip
from tests.property.test_simulator import ORIGIN

PARTS = replace(ORIGIN, profile="truenorth_parts", weight_bits=4)


def shortcuts(seed: int, readers: int, length: int) -> Network:
    """``in`` is read by the first of a chain and, ``length`` layers later, by many layers at once."""
    rng = np.random.default_rng(seed)
    chain = [f"c{i}" for i in range(length)]
    late = [f"r{i}" for i in range(readers)]
    populations: dict[str, tuple[int, Neuron]] = {"in": SPIKES}
    populations |= dict.fromkeys((*chain, *late), (2, lif(2))) | {"head": READOUT}

    def weight() -> list[list[int]]:
        return rng.integers(-7, 8, (2, 2)).tolist()

    layers = [dense(name, weight(), before) for before, name in zip(("in", *chain), chain, strict=False)]
    layers += [dense(name, weight(), "in", chain[-1]) for name in late]
    net = network(populations, *layers, head(*late))
    return replace(net, populations=(*net.populations[:-1], replace(net.populations[-1], home="host")))


@given(st.integers(0, 1000), st.integers(4, 9), st.integers(4, 7))
@settings(max_examples=6, deadline=None)
def test_relays_with_too_many_readers_are_split_and_every_spike_stays(seed: int, readers: int, length: int) -> None:
    before = shortcuts(seed, readers, length)
    chip, net = crossbar_chip(neurons=12, axons=64, max_delay=2), before
    for item in LEGAL:
        net = item.run(net, chip, FOUR_BITS)
    program = map_network(balance(net, chip.max_delay, exact=True), chip, PARTS, ())
    check_program(program)
    x = np.random.default_rng(seed).integers(0, 2, (1, 3, 2, 1, 2)).astype(float)
    found, expected = program.network.run(x), before.run(x)
    for name, spikes in expected.spikes.items():
        np.testing.assert_array_equal(found.spikes[name], spikes)
    np.testing.assert_array_equal(found.readout, expected.readout)
    check_on_chip(program, x)
