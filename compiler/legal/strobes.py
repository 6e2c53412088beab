"""Neurons that compare in every tick hold back until all of a step's bursts have arrived."""

from __future__ import annotations

from dataclasses import replace
from typing import ClassVar

import numpy as np

from compiler.legal.complement import constant
from compiler.legal.target import Choices
from neurochip.chip.spec import ChipSpec
from neurochip.network.crossbar import raw_weight
from neurochip.network.network import Network, Population
from neurochip.network.projections import Bias, Projection


class Strobes:
    """Raises the thresholds of neurons that read bursts by more than any part of a step's sum, and in the neurons' own
    tick, when all has arrived, lifts their membranes by as much through an always-on axon, the strobe.

    Without it a neuron fires as soon as the first spikes of its positive partial sum have arrived, whatever the
    negative one still brings. For networks of one step, whose membranes may keep what the strobe brought.

    Requires: sums in parts (``split-fan-in``). Ensures: a step's spikes and sums do not change.
    """

    name: ClassVar[str] = "strobes"

    def run(self, network: Network, chip: ChipSpec, choices: Choices) -> Network:
        """``network`` with strobes where neurons of a crossbar read bursts."""
        if not chip.limits.axon_types or network.interval == 1 or network.timesteps > 1:
            return network
        reading = [p for p in network.populations if p.home == "core" and p.neuron.kind == "lif" and hears(network, p)]
        lift = {p.name: even(largest_sum(network, p), chip) for p in reading}
        populations = tuple(
            replace(p, neuron=replace(p.neuron, threshold=p.neuron.threshold + lift.get(p.name, 0)))
            for p in network.populations
        )
        strobes = [strobe(p, lift[p.name]) for p in reading]
        return replace(network, populations=populations, projections=(*network.projections, *strobes))


def even(lift: int, chip: ChipSpec) -> int:
    """``lift`` or a little more, as some axons of one type bring it."""
    top = (1 << (chip.limits.axon_type_bits - 1)) - 1
    axons = max(1, -(-lift // top))
    return axons * -(-lift // axons)


def hears(network: Network, population: Population) -> bool:
    """Whether ``population`` reads a burst."""
    sources = (s.population for p in network.incoming[population.name] for s in p.sources)
    return any(network.by_name[name].neuron.kind == "burst" for name in sources)


def largest_sum(network: Network, population: Population) -> int:
    """More than any neuron's membrane can hold before its own tick, raw units; biases in thresholds included."""
    total = np.zeros(population.channels, np.int64)
    for p in network.incoming[population.name]:
        if isinstance(p, Bias):
            shifts = np.array(p.shifts, np.int64)[:, None]
            total += (p.weight.astype(np.int64) << shifts).sum(axis=0) if p.place == "threshold" else 0
        elif p.sources:
            total += most(network, p, population)
    return max(0, int(total.max()) - population.neuron.threshold + (1 << network.arithmetic.threshold_shift))


def most(
    network: Network, projection: Projection, target: Population
) -> np.ndarray[tuple[int, ...], np.dtype[np.int64]]:
    """Largest current that ``projection`` brings in one step, (C_out,) raw units."""
    source = network.by_name[projection.sources[0].population]
    up = np.maximum(raw_weight(projection, target.channels), 0).reshape(-1, target.channels)
    if projection.kind in ("pool", "einsum"):
        times = getattr(projection, "fan_in", 0) or int(np.prod(getattr(projection, "kernel", (1,))))
        return np.asarray(up.max(axis=0) * times * source.high)
    times = source.positions // target.positions if projection.kind == "gather" else 1
    return np.asarray(up.sum(axis=0) * times * source.high)


def strobe(population: Population, lift: int) -> Bias:
    """The always-on axon that lifts the membranes of ``population`` in its own tick."""
    channels = population.channels
    bias = Bias(
        name=f"{population.name}.strobe", sources=(), target=population.name, origin=population.origin,
        weight=np.zeros((1, channels), np.int16), shifts=(0,),
    )  # fmt: skip
    return constant(bias, np.full(channels, lift, np.int64))
