"""Weights of several bits on crossbars of single bits: axon types and number bases."""

from __future__ import annotations

from dataclasses import replace
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from compiler.legal.base import Base, Ints, possible_bases
from compiler.legal.complement import bias_total
from compiler.legal.strobe_types import on_axons, typed_strobes
from compiler.legal.target import Choices
from neurochip.chip.spec import ChipSpec
from neurochip.errors import UnsupportedError
from neurochip.network.crossbar import raw_weight
from neurochip.network.network import Network, Population
from neurochip.network.projections import STROBES, Bias, Conv, Einsum, Encoder, Gather, Pool, Product, Projection


class NumberBase:
    """Gives every projection on a crossbar its axon types and its ``base``.

    A source then takes several axons, its lines, on every core that reads it: one for each value of the base its
    projection uses. All projections into one population share the values of the types, neuron by neuron: a type's
    weight is a register of the neuron. Ternary weights take two lines, four-bit ones {1, 2, 4, -8} four. A bias on
    always-on axons becomes digits in the same values, or in a type that the neuron has left.

    Requires: one source a projection (``separate-axons``).
    Ensures: every projection with axons into a core has types and a base; weights, sums and spikes do not change.
    """

    name: ClassVar[str] = "number-base"

    def run(self, network: Network, chip: ChipSpec, choices: Choices) -> Network:
        """Raises UnsupportedError for weights that no base of the chip's types reaches."""
        if not chip.limits.axon_types:
            return network
        changed: dict[str, Projection] = {}
        for population in network.populations:
            for projection in typed(network, population, chip):
                changed[projection.name] = projection
        return replace(network, projections=tuple(changed.get(p.name, p) for p in network.projections))


def typed(network: Network, population: Population, chip: ChipSpec) -> list[Projection]:
    """The projections into ``population`` that use axons, with types and base; none for one that needs none."""
    incoming = [p for p in network.incoming[population.name] if not isinstance(p, Encoder | Product)]
    biases = [p for p in incoming if isinstance(p, Bias) and p.place == "axon"]
    strobes = [p for p in incoming if isinstance(p, Bias) and p.place in STROBES]
    synapses = [p for p in incoming if not isinstance(p, Bias)]
    if population.home == "host" or not (synapses or biases or strobes):
        return []
    totals = np.array([bias_total(p) for p in biases]) if biases else None
    bases = population_bases(network, population, synapses, chip, totals, spare=2 if strobes else 0)
    found: list[list[Projection]] = []
    for base in bases:
        try:
            axons = (held if strobes else typed_biases)(strobes or biases, base, population, chip)
        except UnsupportedError:
            if base is bases[-1] and not found:
                raise
        else:
            found.append([*(with_types(p, population, base) for p in synapses), *axons])
    return min(found, key=lambda typed: sum(axons_of(network, p) for p in typed))


def held(strobes: list[Bias], base: Base, population: Population, chip: ChipSpec) -> list[Projection]:
    """``strobes`` in values of ``base``, or of types it leaves; raises UnsupportedError if they are no sums of them."""
    limits = chip.limits
    made = typed_strobes(strobes, base.values, limits.axon_types, largest_value(chip))
    if made is None:
        raise UnsupportedError(
            f"layer {population.origin!r} ({population.name}): its neurons must wait for a step's bursts, and its "
            f"weights leave no types of {limits.axon_types} for the axons that hold them back; use fewer "
            "--weight-bits, or T = 1"
        )
    return made[1]


def axons_of(network: Network, projection: Projection) -> int:
    """Axons of a core that one neuron of the target takes for ``projection``."""
    if isinstance(projection, Bias):
        return len(projection.types)
    return fan_in(network, projection) * projection.sources[0].lines


def largest_value(chip: ChipSpec) -> int:
    """Largest value of an axon type."""
    return (1 << (chip.limits.axon_type_bits - 1)) - 1


def population_bases(
    network: Network,
    population: Population,
    synapses: list[Projection],
    chip: ChipSpec,
    biases: Ints | None = None,
    spare: int = 0,
) -> list[Base]:
    """Bases of all ``synapses`` into ``population``; the last reaches ``biases`` (n, C), too, or leaves up to
    ``spare`` types.
    """
    if not synapses:
        return [Base(values=np.zeros((1, population.channels), np.int64), lines=(0,))]
    limits = chip.limits
    weights = [(raw_weight(p, population.channels), fan_in(network, p)) for p in synapses]
    bases = possible_bases(weights, limits.axon_types, largest_value(chip), biases, spare)
    if not bases:
        low, high = min(int(w.min()) for w, _ in weights), max(int(w.max()) for w, _ in weights)
        raise UnsupportedError(
            f"layer {population.origin!r} ({population.name}): weights of {low} to {high} in a neuron's unit are no "
            f"sums of {limits.axon_types} types of axons of {limits.axon_type_bits} bits; use fewer --weight-bits"
        )
    return bases


def fan_in(network: Network, projection: Projection) -> int:
    """Sources that one neuron of the target listens to."""
    if isinstance(projection, Pool):
        return projection.kernel[0] * projection.kernel[1]
    if isinstance(projection, Einsum):
        return projection.fan_in
    if isinstance(projection, Conv):
        return int(np.prod(projection.weight.shape[:3]))
    source, target = network.by_name[projection.sources[0].population], network.by_name[projection.target]
    return source.channels * (source.positions // target.positions if isinstance(projection, Gather) else 1)


def with_types(projection: Projection, population: Population, base: Base) -> Projection:
    """``projection`` with the lines that its weights use."""
    types = base.lines_of(raw_weight(projection, population.channels))
    sources = tuple(replace(source, types=types) for source in projection.sources)
    return replace(projection, sources=sources, base=base.values[list(types)].astype(np.int16))


def typed_biases(biases: list[Bias], base: Base, population: Population, chip: ChipSpec) -> list[Projection]:
    """All ``biases`` in values of ``base``; raises UnsupportedError if they are no sums of them."""
    values, done = base.values, list[Projection]()
    for bias in biases:
        values, axons = typed_bias(bias, values, population, chip)
        done.append(axons)
    return done


def typed_bias(bias: Bias, values: Ints, population: Population, chip: ChipSpec) -> tuple[Ints, Bias]:
    """Always-on axons in the neurons' own type values (or in types they have left), and the values then in use."""
    limits = chip.limits
    top = largest_value(chip)
    total = bias_total(bias)
    values = np.concatenate([values, np.zeros((limits.axon_types - len(values), values.shape[1]), np.int64)])
    counts = np.zeros_like(values)
    for channel in np.flatnonzero(total):
        amount, column = int(total[channel]), values[:, channel]
        free = np.flatnonzero(column == 0)
        if len(free):
            times = -(-abs(amount) // top)
            column[free[0]] = (abs(amount) // times) * (1 if amount > 0 else -1)
            counts[free[0], channel] = times
            amount -= times * int(column[free[0]])
        if amount:
            counts[:, channel] += digits_of(amount, column, population)
    return values, on_axons(bias, counts, values)


def digits_of(amount: int, column: NDArray[np.int64], population: Population) -> NDArray[np.int64]:
    """How many always-on axons of each type add up to ``amount``: largest values first, or negative beyond it first."""
    counts = np.zeros(len(column), np.int64)
    rest = amount
    if amount < 0 and column.min() < 0 and amount % column.min():
        lowest = int(column.argmin())
        counts[lowest] = -(amount // -column[lowest])
        rest -= int(counts[lowest] * column[lowest])
    for t in np.argsort(-np.abs(column), kind="stable"):
        if column[t] and (column[t] > 0) == (rest > 0):
            counts[t] = rest // column[t]
            rest -= int(counts[t] * column[t])
    if rest:
        raise UnsupportedError(
            f"layer {population.origin!r} ({population.name}): a bias of {amount} is no sum of a neuron's axon types "
            f"{column[column != 0].tolist()}; train without biases above the threshold, or use T = 1"
        )
    return counts
