"""The smallest networks: one population fed by spikes."""

from __future__ import annotations

import numpy as np

from neurochip.network.arithmetic import Arithmetic
from neurochip.network.network import InputSpec, Network, Neuron, Population, ReadoutSpec
from neurochip.network.projections import Dense, Source


def one_population(neuron: Neuron, rules: Arithmetic, channels: int = 7) -> tuple[Network, Population]:
    """Spikes -> ``channels`` neurons one to one (weight 1) -> a readout that counts them; (network, the population)."""
    unit = np.eye(channels, dtype=np.int8)
    first = Population(name="input", height=1, width=1, channels=channels, neuron=Neuron(kind="source"), origin="input")
    middle = Population(name="cells", height=1, width=1, channels=channels, neuron=neuron, origin="cells", depth=1)
    last = Population(
        name="out", height=1, width=1, channels=channels, neuron=Neuron(kind="readout"), origin="out", depth=2
    )
    network = Network(
        name="small",
        timesteps=4,
        populations=(first, middle, last),
        projections=(
            Dense(name="in", sources=(Source("input", 1),), target="cells", origin="cells", weight=unit),
            Dense(name="on", sources=(Source("cells", 1),), target="out", origin="out", weight=unit),
        ),
        input=InputSpec(shape=(channels,), kind="spikes", scale=1.0, low=0, high=1),
        readout=ReadoutSpec(population="out", scale=1.0, divisor=1, bias=(0.0,) * channels),
        arithmetic=rules,
    )
    return network, middle
