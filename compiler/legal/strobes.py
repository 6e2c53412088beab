"""Neurons that compare in every tick hold back until all of a step's bursts have arrived."""

from __future__ import annotations

from dataclasses import replace
from typing import ClassVar

import numpy as np

from compiler.legal.base import Ints
from compiler.legal.complement import bias_total, constant
from compiler.legal.target import Choices
from compiler.mapping.check_arithmetic import current_range
from neurochip.chip.spec import ChipSpec
from neurochip.errors import UnsupportedError
from neurochip.network.arithmetic import Arithmetic
from neurochip.network.crossbar import raw_weight
from neurochip.network.network import Network, Population
from neurochip.network.projections import Bias, BiasPlace, Projection
from neurochip.network.reference import leaked

MOST_STATES = 1 << 10
"""Sums of a step, and remainders of earlier ones, that a neuron is proven to forget."""

SPARE = 512
"""Raw units that the axons of a strobe may bring beyond twice what they must; see ``strobe_types``."""


class Strobes:
    """Makes neurons wait for their own tick of a step, when all has arrived, through always-on axons, the strobes.

    Without them a neuron fires as soon as the first spikes of its positive partial sum have arrived, whatever the
    negative one still brings. With one step, thresholds are raised by more than any part of the sum, and in the
    neurons' own tick a strobe lifts their membranes by as much. With several steps membranes are kept in between, and
    so a strobe ``drop`` takes that much off all membranes in the tick after each own tick, and ``lift`` brings it back
    in the next one: thresholds, resets and membranes are those of the network in every own tick, and in between no
    membrane comes near its threshold. A linear leak acts in every tick: on membranes that low it always has the same
    sign, and a strobe ``hold`` cancels it in the ticks between. Biases of such neurons come with the lift.

    Requires: sums in parts (``split-fan-in``). Ensures: a step's spikes and sums do not change.
    """

    name: ClassVar[str] = "strobes"

    def run(self, network: Network, chip: ChipSpec, choices: Choices) -> Network:
        """``network`` with strobes where neurons of a crossbar must wait; refuses membranes too narrow for them."""
        if not chip.limits.axon_types or not has_waits(network):
            return network
        if network.timesteps > 1:
            for population in network.populations:
                network = held_back(network, population)
            return network
        reading = [p for p in network.populations if p.home == "core" and p.neuron.kind == "lif" and hears(network, p)]
        lift = {p.name: even(largest_sum(network, p), chip) for p in reading}
        populations = tuple(
            replace(p, neuron=replace(p.neuron, threshold=p.neuron.threshold + lift.get(p.name, 0)))
            for p in network.populations
        )
        strobes = [strobe(p, lift[p.name]) for p in reading]
        return replace(network, populations=populations, projections=(*network.projections, *strobes))


def has_waits(network: Network) -> bool:
    """Whether there are ticks between a population's own ones: bursts, or loops, which may ask for them."""
    loops = any(s.steps_back for p in network.projections for s in p.sources)
    return network.interval > 1 or (loops and network.timesteps > 1)


def even(lift: int, chip: ChipSpec) -> int:
    """``lift`` or a little more, as some axons of one type bring it."""
    top = (1 << (chip.limits.axon_type_bits - 1)) - 1
    axons = max(1, -(-lift // top))
    return axons * -(-lift // axons)


def hears(network: Network, population: Population) -> bool:
    """Whether ``population`` reads a burst."""
    return bool(bursts_into(network, population))


def bursts_into(network: Network, population: Population) -> list[Projection]:
    """The projections that bring bursts to ``population``."""
    return [
        p
        for p in network.incoming[population.name]
        if any(network.by_name[s.population].neuron.kind == "burst" for s in p.sources)
    ]


def largest_sum(network: Network, population: Population) -> int:
    """More than any neuron's membrane can hold before its own tick, raw units; biases in thresholds included."""
    total = np.zeros(population.channels, np.int64)
    for p in network.incoming[population.name]:
        if isinstance(p, Bias):
            total += bias_total(p) if p.place == "threshold" else 0
        elif p.sources:
            total += most(network, p, population)
    return max(0, int(total.max()) - population.neuron.threshold + (1 << network.arithmetic.threshold_shift))


def most(network: Network, projection: Projection, target: Population) -> Ints:
    """Largest current that ``projection`` brings in one step, (C_out,) raw units."""
    source = network.by_name[projection.sources[0].population]
    up = np.maximum(raw_weight(projection, target.channels), 0).reshape(-1, target.channels)
    if projection.kind in ("pool", "einsum"):
        times = getattr(projection, "fan_in", 0) or int(np.prod(getattr(projection, "kernel", (1,))))
        return np.asarray(up.max(axis=0) * times * source.high)
    times = source.positions // target.positions if projection.kind == "gather" else 1
    return np.asarray(up.sum(axis=0) * times * source.high)


def strobe(population: Population, lift: int, place: BiasPlace = "axon") -> Bias:
    """The always-on axons that move the membranes of ``population`` by ``lift``."""
    channels, suffix = population.channels, "strobe" if place == "axon" else place
    bias = Bias(
        name=f"{population.name}.{suffix}", sources=(), target=population.name, origin=population.origin,
        weight=np.zeros((1, channels), np.int16), shifts=(0,), place=place,
    )  # fmt: skip
    return constant(bias, np.full(channels, lift, np.int64))


def held_back(network: Network, population: Population) -> Network:
    """``network`` with the strobes that ``population`` needs over several steps, in the place of its biases.

    Raises ``UnsupportedError`` where the membrane does not hold what it would be lowered to, or the leak in the ticks
    between cannot be cancelled.
    """
    if not must_wait(network, population):
        return network
    drop, drift = lowered_by(network, population), drift_of(population, network.arithmetic)
    incoming = network.incoming[population.name]
    biases = [p for p in incoming if isinstance(p, Bias) and p.place == "axon"]
    total = sum((bias_total(p) for p in biases), np.zeros(population.channels, np.int64))
    strobes = [constant(strobe(population, 0, "lift"), total + drop), strobe(population, -drop, "drop")]
    if drift:
        strobes.append(strobe(population, -drift, "hold"))
    kept = tuple(p for p in network.projections if p not in biases)
    return replace(network, projections=(*kept, *strobes))


def must_wait(network: Network, population: Population) -> bool:
    """Whether the ticks between the own ticks of ``population`` matter: bursts come, it leaks, or what a soft reset
    leaves would make it fire again.
    """
    neuron = population.neuron
    if population.home != "core" or neuron.kind != "lif":
        return False
    if any(network.by_name[s.population].high > 1 for p in bursts_into(network, population) for s in p.sources):
        return True
    again = neuron.reset == "soft" and step_range(network, population)[1] > neuron.threshold
    return again or (neuron.decay > 0 and not forgets(network, population))


def lowered_by(network: Network, population: Population) -> int:
    """How far membranes must lie below what they hold so that none fires between two own ticks, raw units."""
    rules, neuron, steps = network.arithmetic, population.neuron, network.timesteps
    low, high = step_range(network, population)
    top = neuron.threshold if rules.fires == "gt" else neuron.threshold - 1
    left = top + steps * max(0, high - neuron.threshold) if neuron.reset == "soft" else top
    early = sum((most(network, p, population) for p in bursts_into(network, population)), np.zeros(1, np.int64))
    drop = left + int(early.max()) + (1 if neuron.decay else -top)
    floor = (1 << (rules.membrane_bits - 1)) - 1
    deepest = steps * (max(0, -low) + neuron.decay) + 2 * drop + SPARE
    if deepest > floor:
        raise UnsupportedError(
            f"layer {population.origin!r} ({population.name}): waiting for a step's bursts, its neurons' membranes can "
            f"reach -{deepest}, and membranes of {rules.membrane_bits} bits end at -{floor}; use fewer --weight-bits, "
            "or T = 1"
        )
    return drop


def step_range(network: Network, population: Population) -> tuple[int, int]:
    """Least and largest current of any neuron of ``population`` in one step, raw units."""
    low = high = np.zeros(population.channels, np.int64)
    for p in network.incoming[population.name]:
        least, largest = current_range(network, p)
        low, high = low + least, high + largest
    return int(low.min()), int(high.max())


def drift_of(population: Population, rules: Arithmetic) -> int:
    """What the leak adds in one tick to a membrane far below zero, raw units."""
    decay = population.neuron.decay
    if not decay:
        return 0
    if rules.leak != "linear":
        raise UnsupportedError(
            f"layer {population.origin!r} ({population.name}): its {rules.leak} leak acts in every tick of a step, and "
            "takes a share of the membrane that no axon can give back; use T = 1, or neurons without leak"
        )
    return -decay if rules.linear_leak == "down" else decay


def forgets(network: Network, population: Population) -> bool:
    """Whether ``population`` fires by each step's sum alone, and ticks without input change nothing.

    Proven: every sum is tried on every remainder that earlier sums, and ticks without any, can leave.
    """
    rules, neuron = network.arithmetic, population.neuron
    low, high = step_range(network, population)
    unit = unit_of(network, population)
    if neuron.reset == "soft" or (high - low) // unit > MOST_STATES:
        return False
    sums = np.union1d(np.arange(low, high + 1, unit), np.zeros(1, np.int64))
    left: Ints = np.zeros(1, np.int64)
    while len(left) <= MOST_STATES:
        after = rules.leak_order == "after"
        states = left[:, None]
        full = leaked(states + sums, neuron.decay, rules) if after else leaked(states, neuron.decay, rules) + sums
        fires = full > neuron.threshold if rules.fires == "gt" else full >= neuron.threshold
        if (fires != fires[np.flatnonzero(left == 0)]).any() or fires[:, sums == 0].any():
            return False
        grown = np.union1d(left, full[~fires])
        if len(grown) == len(left):
            return True
        left = grown
    return False


def unit_of(network: Network, population: Population) -> int:
    """Greatest common divisor of all that can reach ``population``, raw units."""
    values = [np.ones(0, np.int64)]
    for p in network.incoming[population.name]:
        values.append(bias_total(p) if isinstance(p, Bias) else raw_weight(p, population.channels).ravel())
    return max(1, int(np.gcd.reduce(np.concatenate(values))))
