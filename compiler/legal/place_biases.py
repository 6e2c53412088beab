"""Biases in thresholds, where every neuron has its own and no membrane outlives a step."""

from __future__ import annotations

from dataclasses import replace
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from compiler.legal.base import Ints
from compiler.legal.complement import bias_total, complement, constant
from compiler.legal.fan_in import needs, together
from compiler.legal.target import Choices
from neurochip.chip.spec import ChipSpec
from neurochip.network.arithmetic import Arithmetic
from neurochip.network.crossbar import raw_weight
from neurochip.network.network import Network, Neuron, Population
from neurochip.network.projections import Bias, Conv, Dense, Einsum, Encoder, Gather, Pool, Projection


class PlaceBiases:
    """Puts biases where the chip file prefers them (``neuron.bias``): in registers, in thresholds, or on axons.

    ``register``: a bias that fits the register, whose neuron adds it in each of its steps.

    ``threshold``, with T = 1: taken off the neurons' thresholds, as ``x + b >= theta`` is ``x >= theta - b``.

    A neuron whose bias alone makes it fire keeps the smallest threshold that silence does not reach, so that it
    stays silent before and after its own tick; what is left of its bias comes through always-on axons. Of that, no more
    is kept than makes the neuron fire whatever arrives, and it is rounded up to a multiple of the neuron's weights,
    which no sum of them can tell from it. Where a core has no room for those axons, such neurons fire for the opposite
    of what the model's fire for, and their readers subtract from a constant (``complement``).

    Ensures: spikes and sums do not change, but for the channels that ``Population.inverted`` names.
    """

    name: ClassVar[str] = "place-biases"

    def run(self, network: Network, chip: ChipSpec, choices: Choices) -> Network:
        """``network`` with its biases in registers or thresholds, as far as the chip has room for them."""
        if chip.bias_places[0] == "register":
            rules = chip.arithmetic
            return replace(network, projections=tuple(in_register(network, p, rules) for p in network.projections))
        fitting = chip.bias_places[0] == "threshold" and chip.neuron.per_neuron_threshold and network.timesteps == 1
        if not fitting:
            return network
        for name in [p.name for p in network.populations if p.home == "core" and p.neuron.kind == "lif"]:
            placed = with_thresholds(network, name)
            if axons_left(placed, name) and not fits(placed, name, chip, choices):
                silent = complement(network, network.by_name[name], fires_in_silence(network, name))
                placed = placed if silent is None else with_thresholds(silent, name)
            network = placed
        return network


def in_register(network: Network, projection: Projection, rules: Arithmetic) -> Projection:
    """A bias of neurons on a core that fits their registers, in them; anything else as it is."""
    if not isinstance(projection, Bias) or network.by_name[projection.target].home == "host":
        return projection
    others = [p for p in network.incoming[projection.target] if isinstance(p, Encoder | Bias)]
    total, top = bias_total(projection), 1 << max(rules.bias_bits - 1, 0)
    if len(others) > 1 or (total < -top).any() or (total >= top).any():
        return projection
    return replace(constant(projection, total), place="register")


def axons_left(network: Network, name: str) -> bool:
    """Whether population ``name`` needs always-on axons."""
    return any(isinstance(p, Bias) and p.place == "axon" for p in network.incoming[name])


def fits(network: Network, name: str, chip: ChipSpec, choices: Choices) -> bool:
    """Whether a core has the axons and synapses of one neuron of population ``name``."""
    found = needs(network, network.by_name[name], chip, choices.weight_bits)
    return together(list(found.values())).fit(chip)


def fires_in_silence(network: Network, name: str) -> NDArray[np.bool_]:
    """(C,): channels of population ``name`` that their bias alone makes fire."""
    population = network.by_name[name]
    least, _ = threshold_range(population.neuron, network.arithmetic)
    return population.neuron.threshold - bias_of(network, name) < least


def with_thresholds(network: Network, name: str) -> Network:
    """``network`` with the biases of population ``name`` in two parts: taken off thresholds, and on axons."""
    population = network.by_name[name]
    biases = [p for p in network.incoming[name] if isinstance(p, Bias)]
    if not biases:
        return network
    rules, total = network.arithmetic, bias_of(network, name)
    least, most = threshold_range(population.neuron, rules)
    unit = 1 << rules.threshold_shift
    folded = np.clip(total, population.neuron.threshold - most, population.neuron.threshold - least) // unit * unit
    rest = np.minimum(total - folded, np.maximum(least - lowest_current(network, population), 0))
    factor = common_factor(network, population)
    rest = -(-rest // factor) * factor if least == unit else rest
    parts = [replace(constant(biases[0], folded), place="threshold")]
    if rest.any():
        parts.append(replace(constant(biases[0], rest), name=f"{biases[0].name}.axons"))
    kept = [part for p in network.projections for part in (parts if p is biases[0] else [p]) if p not in biases[1:]]
    return replace(network, projections=tuple(kept))


def bias_of(network: Network, name: str) -> Ints:
    """All that biases add to each channel of population ``name``, raw units, (C_out,) int64."""
    found = [bias_total(p) for p in network.incoming[name] if isinstance(p, Bias)]
    return np.asarray(sum(found, np.zeros(network.by_name[name].channels, np.int64)))


def threshold_range(neuron: Neuron, rules: Arithmetic) -> tuple[int, int]:
    """Smallest threshold that a silent neuron stays below, and the chip's largest; raw units."""
    unit = 1 << rules.threshold_shift
    return (unit if rules.fires == "ge" else 0), ((1 << rules.threshold_bits) - 1) * unit


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
