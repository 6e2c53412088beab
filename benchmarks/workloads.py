"""Networks and inputs that benchmarks measure, apart from the code that times them. NumPy only."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from neurochip.network.arithmetic import Arithmetic
from neurochip.network.network import InputSpec, Network, Neuron, Population, ReadoutSpec
from neurochip.network.projections import Dense, Pool, Projection, Source

SIZES = (1024, 1024, 1024, 10)
RATES = (0.10, 0.20)  # spikes per input and step, drawn for each input
TIMESTEPS = 100
WEIGHT_MEAN, WEIGHT_SPREAD = 6.0, 20.0  # a positive mean keeps every membrane climbing: no silent neurons
TARGET_RATE = 0.15


def if_mlp(seed: int) -> Network:
    """A 1024-1024-1024-10 network of integrate-and-fire neurons: int8 weights, 10 to 20 % rates, T = 100.

    The input population replays spikes (``if_mlp_input``); a readout counts the spikes of the ten output neurons, and
    its links are not synapses of the model (``counted`` is False). Registers obey Loihi's rules: weights and thresholds
    are shifted left by 6. One input costs about 32 M synaptic operations.
    """
    rng = np.random.default_rng(seed)
    shift = Arithmetic().threshold_shift
    populations = [_population("input", SIZES[0], 0, Neuron(kind="source"))]
    projections: list[Projection] = []
    for depth, (before, size) in enumerate(pairwise(SIZES), start=1):
        weight = np.clip(np.rint(rng.normal(WEIGHT_MEAN, WEIGHT_SPREAD, (before, size))), -127, 127).astype(np.int8)
        source, name = populations[-1].name, f"layer{depth}"
        neuron = Neuron(kind="lif", threshold=_threshold(weight) << shift)
        populations.append(_population(name, size, depth, neuron))
        projections.append(
            Dense(
                name=f"{name}.synapses", sources=(Source(source),), target=name, origin=name, shift=shift, weight=weight
            )
        )
    last = populations[-1]
    populations.append(_population("counts", last.size, last.depth + 1, Neuron(kind="readout")))
    projections.append(Pool(name="counts.links", sources=(Source(last.name),), target="counts", origin="counts"))
    return Network(
        name="if-mlp",
        timesteps=TIMESTEPS,
        populations=tuple(populations),
        projections=tuple(projections),
        input=InputSpec(shape=(SIZES[0],), kind="spikes", scale=1.0, low=0, high=1),
        readout=ReadoutSpec(population="counts", scale=1.0, divisor=TIMESTEPS, bias=(0.0,) * last.size),
        arithmetic=Arithmetic(),
    )


def if_mlp_input(seed: int, inputs: int = 1) -> NDArray[np.uint8]:
    """Bernoulli spikes (T, inputs, 1024) for ``if_mlp``, each input neuron at its own rate of 10 to 20 %."""
    rng = np.random.default_rng(seed)
    rates = rng.uniform(*RATES, SIZES[0])
    return (rng.random((TIMESTEPS, inputs, SIZES[0])) < rates).astype(np.uint8)


def _population(name: str, size: int, depth: int, neuron: Neuron) -> Population:
    return Population(name=name, height=1, width=1, channels=size, neuron=neuron, origin=name, depth=depth)


def _threshold(weight: NDArray[np.int8]) -> int:
    """Threshold, in units of the weights, at which inputs of the target rate make neurons fire at the target rate.

    A membrane climbs by ``drift`` a step and overshoots by half a step on average before its hard reset to 0, so it
    fires every ``threshold / drift + 1/2`` steps.
    """
    drift = float(weight.mean()) * len(weight) * TARGET_RATE
    return round(drift * (1 / TARGET_RATE - 0.5))
