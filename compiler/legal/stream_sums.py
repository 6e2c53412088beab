"""Running sums of a residual stream: the populations that send them, their bounds, and what reads them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from compiler.legal.base import Ints
from compiler.legal.complement import bias_total
from compiler.lower.units import bias_digits
from neurochip.chip.spec import ChipSpec
from neurochip.network.crossbar import raw_weight
from neurochip.network.network import Coding, Network, Neuron, Population
from neurochip.network.projections import Bias, Conv, Dense, Gather, Pool, Projection, Source

SUM = ".sum"


@dataclass(frozen=True, slots=True)
class Level:
    """Neuron layers that read the same ``currents``, by their names before they were repeated; maybe none."""

    readers: tuple[str, ...]
    currents: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Sum:
    """A population that sends the sum of all currents of a level.

    Attributes:
        level: the level's number. offset: what is added, in the sum's unit, so that it is never negative; a digit of
            the payload is worth ``1 << shift`` raw units in the population itself.
    """

    level: int
    population: Population
    offset: int
    shift: int


def sum_of(network: Network, levels: Sequence[Level], number: int, chip: ChipSpec, bits: int) -> Sum | None:
    """The population that sends the sum of a level; None if no register or spike of ``chip`` holds that sum."""
    reader = next_reader(network, levels, number)
    low = high = np.zeros(reader.channels, np.int64)
    for p in new_currents(network, levels, number, -1):
        least, most = reach(network, p, reader)
        low, high = low + least, high + most
    offset = max(0, -int(low.min()))
    largest = max(1, int(high.max()) + offset)
    rules, weights = network.arithmetic, chip.weight_format(bits)
    top = (1 << (min(rules.current_bits, rules.membrane_bits) - 1)) - 1
    shifts = range(weights.shift_low, min(rules.threshold_shift, weights.shift_high) + 1)
    shift = max((s for s in shifts if largest << s <= top), default=None)
    coding, compartments = sending(largest, chip)
    if shift is None or coding is None:
        return None
    name = f"{reader.name}{SUM}" if levels[number].readers else f"{reader.name}.{number}{SUM}"
    population = replace(
        reader, name=name, neuron=Neuron(kind="graded", threshold=1 << shift), high=largest, coding=coding,
        compartments=compartments,
    )  # fmt: skip
    return Sum(level=number, population=population, offset=offset, shift=shift)


def next_reader(network: Network, levels: Sequence[Level], number: int) -> Population:
    """The first layer that reads a level or a later one."""
    return network.by_name[next(name for level in levels[number:] for name in level.readers)]


def new_currents(network: Network, levels: Sequence[Level], number: int, last: int) -> list[Projection]:
    """The currents of a level that the level ``last`` has not (-1: all), as the last layer receives them."""
    new = set(levels[number].currents) - (set(levels[last].currents) if last >= 0 else set())
    reader = levels[-1].readers[0]
    return [p for p in network.incoming[reader] if p.sources and original(p) in new]


def sending(high: int, chip: ChipSpec) -> tuple[Coding | None, int]:
    """How ``chip`` sends integers up to ``high``, and the compartments of a neuron that does; None if it cannot."""
    if high < 1 << chip.activation_bits and "graded" in chip.attention_methods:
        return "graded", 1
    dendrites = chip.neuron.dendrites
    compartments = 1 + high.bit_length()
    adds = dendrites is not None and "add" in dendrites.joins and compartments <= dendrites.compartments.value
    return ("digits", compartments) if adds else (None, 0)


def reach(network: Network, projection: Projection, target: Population) -> tuple[Ints, Ints]:
    """Least and largest current of ``projection`` in one step, in units of its weights, (C_out,) each."""
    source = network.by_name[projection.sources[0].population]
    weight: NDArray[np.integer]
    if isinstance(projection, Dense | Conv | Gather):
        weight = projection.weight.reshape(-1, target.channels)  # millions of int8, not made wider
    else:
        weight = raw_weight(replace(projection, shift=0), target.channels)
    times = sum(network.by_name[s.population].high for s in projection.sources)
    if projection.kind == "gather":
        times *= source.positions // target.positions
    elif isinstance(projection, Pool):
        times *= projection.kernel[0] * projection.kernel[1]
    least, most = (part.sum(axis=0, dtype=np.int64) for part in (np.minimum(weight, 0), np.maximum(weight, 0)))
    return least * times, most * times


def original(projection: Projection) -> str:
    """Name of a current before it was repeated for several targets (``compiler.lower.state``)."""
    return projection.name.removesuffix(f"@{projection.target}")


def with_sums(network: Network, levels: Sequence[Level], sums: Sequence[Sum], chip: ChipSpec, bits: int) -> Network:
    """``network`` with the populations ``sums``, and every level reading the last of them before or at its own."""
    whole = network
    at = {s.level: s for s in sums}
    last: Sum | None = None
    for number, level in enumerate(levels):
        made = at.get(number)
        if made is not None:
            before = next_reader(whole, levels, number).name
            network = inserted(network, made, before, inputs(whole, levels, made, last, chip, bits))
            last = made
        if last is None:
            continue
        for reader in level.readers:
            found = summed(network, network.by_name[reader], levels, last, chip, bits)
            kept = [p for p in network.projections if p.target != reader]
            network = replace(network, projections=(*kept, *found))
    return counted_once(network, {original(p) for p in whole.projections if p.counted})


def inputs(
    network: Network, levels: Sequence[Level], made: Sum, last: Sum | None, chip: ChipSpec, bits: int
) -> tuple[Projection, ...]:
    """What the population of the sum ``made`` reads: the sum before it, the currents since, and its offset."""
    population = made.population
    found: list[Projection] = [
        replace(p, name=f"{original(p)}@{population.name}", target=population.name, shift=made.shift)
        for p in new_currents(network, levels, made.level, last.level if last is not None else -1)
    ]
    offset = made.offset
    if last is not None:
        found.append(link(last, population, made.shift))
        offset -= last.offset
    return (*found, *always(np.full(population.channels, offset), made.shift, population, chip, bits))


def summed(
    network: Network, reader: Population, levels: Sequence[Level], last: Sum, chip: ChipSpec, bits: int
) -> tuple[Projection, ...]:
    """What a layer reads behind the sum ``last``: that, the currents since, and a bias that takes the offset off."""
    incoming, old = network.incoming[reader.name], set(levels[last.level].currents)
    kept = [p for p in incoming if not isinstance(p, Bias) and original(p) not in old]
    shift = next(p.shift for p in incoming if p.sources)
    bias = np.zeros(reader.channels, np.int64)
    for p in incoming:
        if isinstance(p, Bias):
            bias = bias + bias_total(p)
    bias -= last.offset << shift
    return (*kept, link(last, reader, shift), *always(bias >> shift, shift, reader, chip, bits))


def link(made: Sum, target: Population, shift: int) -> Pool:
    """Synapses from a sum to ``target``, one to one."""
    return Pool(
        name=f"{made.population.name}@{target.name}", sources=(Source(made.population.name),), target=target.name,
        origin=target.origin, shift=shift,
    )  # fmt: skip


def always(value: Ints, shift: int, target: Population, chip: ChipSpec, bits: int) -> tuple[Bias, ...]:
    """``value << shift`` in every step, by always-on axons."""
    if not value.any():
        return ()
    weight, shifts = bias_digits(value, shift, chip.weight_format(bits), target.name)
    return (
        Bias(
            name=f"{target.name}.bias", sources=(), target=target.name, origin=target.origin, weight=weight,
            shifts=shifts,
        ),
    )  # fmt: skip


def inserted(network: Network, made: Sum, before: str, projections: Sequence[Projection]) -> Network:
    """``network`` with the population of ``made`` right before another."""
    at = [p.name for p in network.populations].index(before)
    populations = (*network.populations[:at], made.population, *network.populations[at:])
    return replace(network, populations=populations, projections=(*network.projections, *projections))


def counted_once(network: Network, counted: set[str]) -> Network:
    """``network`` with each ``counted`` current the model's arithmetic where it is computed first, and not again."""
    order = {p.name: i for i, p in enumerate(network.populations)}
    first: dict[str, str] = {}
    for p in sorted(network.projections, key=lambda p: order[p.target]):
        first.setdefault(original(p), p.name)
    projections = tuple(
        replace(p, counted=True) if first[original(p)] == p.name and original(p) in counted
        else replace(p, counted=False) if p.counted else p
        for p in network.projections
    )  # fmt: skip
    return replace(network, projections=projections)
