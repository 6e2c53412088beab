"""Running sums of a residual stream: the populations that send them, their bounds, and what reads them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from compiler.legal.base import Ints
from compiler.legal.complement import bias_total
from compiler.lower.units import bias_digits
from neurochip.chip.spec import ChipSpec
from neurochip.network.crossbar import raw_weight
from neurochip.network.network import Coding, Network, Neuron, Population
from neurochip.network.projections import Bias, Pool, Projection, Source

SUM = ".sum"


@dataclass(frozen=True, slots=True)
class Level:
    """Neuron layers that read the same ``currents``, by their names before they were repeated."""

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


def sum_of(network: Network, levels: Sequence[Level], chip: ChipSpec, bits: int) -> Sum | None:
    """The population that sends the sum of the last of ``levels``; None if no register or spike holds that sum.

    The bounds are added up level by level, so that they hold whatever earlier sums it is made of.
    """
    low = high = 0
    known: set[str] = set()
    for level in levels:
        reader = network.by_name[level.readers[0]]
        new = [p for p in network.incoming[reader.name] if p.sources and original(p) not in known]
        reached = [reach(network, p, reader) for p in new]
        known.update(level.currents)
        low += min(0, int(np.sum([least for least, _ in reached], axis=0).min()))
        high += max(0, int(np.sum([most for _, most in reached], axis=0).max()))
    rules, weights = network.arithmetic, chip.weight_format(bits)
    top = (1 << (min(rules.current_bits, rules.membrane_bits) - 1)) - 1
    shifts = range(weights.shift_low, min(rules.threshold_shift, weights.shift_high) + 1)
    shift = max((s for s in shifts if max(high - low, 1) << s <= top), default=None)
    coding, compartments = sending(max(high - low, 1), chip)
    if shift is None or coding is None:
        return None
    reader = network.by_name[levels[-1].readers[0]]
    population = replace(
        reader, name=f"{reader.name}{SUM}", neuron=Neuron(kind="graded", threshold=1 << shift), high=max(high - low, 1),
        coding=coding, compartments=compartments,
    )  # fmt: skip
    return Sum(level=len(levels) - 1, population=population, offset=-low, shift=shift)


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
    weight = raw_weight(replace(projection, shift=0), target.channels).reshape(-1, target.channels)
    times = sum(network.by_name[s.population].high for s in projection.sources)
    if projection.kind == "gather":
        times *= source.positions // target.positions
    elif isinstance(projection, Pool):
        times *= projection.kernel[0] * projection.kernel[1]
    return np.minimum(weight, 0).sum(axis=0) * times, np.maximum(weight, 0).sum(axis=0) * times


def original(projection: Projection) -> str:
    """Name of a current before it was repeated for several targets (``compiler.lower.state``)."""
    return projection.name.removesuffix(f"@{projection.target}")


def with_sums(network: Network, levels: Sequence[Level], sums: Sequence[Sum], chip: ChipSpec, bits: int) -> Network:
    """``network`` with the populations ``sums``, and every level reading the last of them before or at its own."""
    at = {s.level: s for s in sums}
    last: Sum | None = None
    for number, level in enumerate(levels):
        made = at.get(number)
        if made is not None:
            network = inserted(network, made, level.readers, inputs(network, levels, made, last, chip, bits))
            last = made
        if last is None:
            continue
        for reader in level.readers:
            found = summed(network, network.by_name[reader], levels, last, chip, bits)
            kept = [p for p in network.projections if p.target != reader]
            network = replace(network, projections=(*kept, *found))
    return counted_once(network)


def inputs(
    network: Network, levels: Sequence[Level], made: Sum, last: Sum | None, chip: ChipSpec, bits: int
) -> tuple[Projection, ...]:
    """What the population of the sum ``made`` reads: the sum before it, the currents since, and its offset."""
    reader, population = network.by_name[levels[made.level].readers[0]], made.population
    old = set(levels[last.level].currents) if last is not None else set()
    found: list[Projection] = [
        replace(p, name=f"{original(p)}@{population.name}", target=population.name, shift=made.shift)
        for p in network.incoming[reader.name]
        if p.sources and original(p) not in old
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


def inserted(network: Network, made: Sum, readers: Sequence[str], projections: Sequence[Projection]) -> Network:
    """``network`` with the population of ``made`` right before the first of its ``readers``."""
    order = [p.name for p in network.populations]
    at = min(order.index(name) for name in readers)
    populations = (*network.populations[:at], made.population, *network.populations[at:])
    return replace(network, populations=populations, projections=(*network.projections, *projections))


def counted_once(network: Network) -> Network:
    """``network`` with each current counted as the model's arithmetic where it is computed first, and not again."""
    order = {p.name: i for i, p in enumerate(network.populations)}
    first: dict[str, str] = {}
    counted = {original(p) for p in network.projections if p.counted}
    for p in sorted(network.projections, key=lambda p: order[p.target]):
        first.setdefault(original(p), p.name)
    projections = tuple(
        replace(p, counted=True) if first[original(p)] == p.name and original(p) in counted
        else replace(p, counted=False) if p.counted else p
        for p in network.projections
    )  # fmt: skip
    return replace(network, projections=projections)
