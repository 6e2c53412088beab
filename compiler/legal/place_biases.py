"""Biases in thresholds, where every neuron has its own and no membrane outlives a step."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import ClassVar

import numpy as np

from compiler.legal.base import Ints
from compiler.legal.target import Choices
from neurochip.chip.spec import ChipSpec
from neurochip.network.arithmetic import Arithmetic
from neurochip.network.crossbar import raw_weight
from neurochip.network.network import Network, Neuron, Population
from neurochip.network.projections import Bias, Conv, Dense, Einsum, Gather, Pool, Projection

PART = 1 << 14
"""Biases that leave 16 bits are stored as two digits, of which the lower is below this."""


class PlaceBiases:
    """Takes biases off the neurons' thresholds, with T = 1: ``x + b >= theta`` is ``x >= theta - b``.

    A neuron whose bias alone makes it fire keeps the smallest threshold that silence does not reach, so that it
    stays silent before and after its own tick; what is left of its bias comes through always-on axons. Of that, no more
    is kept than makes the neuron fire whatever arrives, and it is rounded up to a multiple of the neuron's weights,
    which no sum of them can tell from it.
    """

    name: ClassVar[str] = "place-biases"

    def run(self, network: Network, chip: ChipSpec, choices: Choices) -> Network:
        """``network`` with biases in thresholds, if the chip's neurons have one each and T = 1."""
        fitting = chip.bias_places[0] == "threshold" and chip.neuron.per_neuron_threshold and network.timesteps == 1
        if not fitting:
            return network
        return replace(network, projections=tuple(part for p in network.projections for part in placed(network, p)))


def placed(network: Network, projection: Projection) -> Iterator[Projection]:
    """A bias of firing neurons on a core, in two parts; anything else as it is."""
    population = network.by_name[projection.target]
    mine = isinstance(projection, Bias) and projection.place == "axon" and population.home == "core"
    if not mine or population.neuron.kind != "lif":
        yield projection
        return
    assert isinstance(projection, Bias)
    rules, total = network.arithmetic, bias_total(projection)
    least, most = threshold_range(population.neuron, rules)
    unit = 1 << rules.threshold_shift
    folded = np.clip(total, population.neuron.threshold - most, population.neuron.threshold - least) // unit * unit
    rest = np.minimum(total - folded, np.maximum(least - lowest_current(network, population), 0))
    factor = common_factor(network, population)
    rest = -(-rest // factor) * factor if least == unit else rest
    low = folded % PART
    digits = np.stack([low, (folded - low) // PART]) if np.abs(folded).max() >= PART else folded[None]
    shifts = (0, PART.bit_length() - 1)[: len(digits)]
    yield replace(projection, weight=digits.astype(np.int16), shifts=shifts, place="threshold")
    if rest.any():
        yield axon_bias(projection, rest)


def bias_total(bias: Bias) -> Ints:
    """What ``bias`` adds to each channel, raw units, (C_out,) int64."""
    shifts = np.array(bias.shifts, np.int64)[:, None]
    total: Ints = (bias.weight.astype(np.int64) << shifts).sum(axis=0)
    return total


def threshold_range(neuron: Neuron, rules: Arithmetic) -> tuple[int, int]:
    """Smallest threshold that a silent neuron stays below, and the chip's largest; raw units."""
    unit = 1 << rules.threshold_shift
    return (unit if rules.fires == "ge" else 0), ((1 << rules.threshold_bits) - 1) * unit


def axon_bias(bias: Bias, rest: Ints) -> Bias:
    """The part of ``bias`` that needs axons, in digits of 15 bits."""
    low = rest % PART
    digits = np.stack([low, rest // PART]) if rest.max() >= PART else rest[None]
    shifts = (0, PART.bit_length() - 1)[: len(digits)]
    return replace(bias, name=f"{bias.name}.axons", weight=digits.astype(np.int16), shifts=shifts)


def common_factor(network: Network, population: Population) -> Ints:
    """Greatest common divisor of what each channel can receive, raw units, (C_out,) int64; 1 where nothing arrives."""
    found = np.zeros(population.channels, np.int64)
    for p in network.incoming[population.name]:
        if p.sources:
            weight = raw_weight(p, population.channels).reshape(-1, population.channels)
            found = np.gcd(found, np.gcd.reduce(weight, axis=0))
    return np.maximum(found, 1)


def lowest_current(network: Network, population: Population) -> Ints:
    """A bound from below of what arrives in one step, raw units, (C_out,) int64, biases left out."""
    total = np.zeros(population.channels, np.int64)
    for p in network.incoming[population.name]:
        if not isinstance(p, Dense | Conv | Gather | Pool | Einsum):
            continue
        high = sum(network.by_name[s.population].high for s in p.sources)
        if isinstance(p, Pool | Einsum):
            taps = p.fan_in if isinstance(p, Einsum) else p.kernel[0] * p.kernel[1]
            total += min(p.weight, 0) * taps * high << p.shift
            continue
        times = network.by_name[p.sources[0].population].positions // population.positions
        down = np.minimum(p.weight.astype(np.int64), 0).reshape(-1, population.channels).sum(axis=0)
        total += down * (times if isinstance(p, Gather) else 1) * high << p.shift
    return total
