"""Running sums of the spikes of a residual stream: the populations that count them, and what reads the counts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from neurochip.chip.spec import ChipSpec
from neurochip.network.network import Coding, Network, Neuron
from neurochip.network.projections import Pool, Projection, Source

COUNT = ".count"


@dataclass(frozen=True, slots=True, kw_only=True)
class Level:
    """Projections, by name, that read the spikes of the same populations ``spikes`` (SEW addition)."""

    readers: tuple[str, ...]
    spikes: tuple[str, ...]


def counting(high: int, chip: ChipSpec) -> tuple[Coding | None, int]:
    """How neurons of ``chip`` send counts up to ``high``, and their compartments; None if they cannot.

    As a payload, or as unit spikes: of neurons that reset softly, or else of a compartment that joins one which holds
    the count (``neurochip.network.Population.returns``). Binary digits are no choice: the exponent of a weight is that
    of a synapse list, so every reader would need all of its lists for each digit.
    """
    if high < 1 << chip.activation_bits and "graded" in chip.attention_methods:
        return "graded", 1
    if not chip.spikes.counts:
        return None, 0
    dendrites = chip.neuron.dendrites
    if chip.arithmetic.soft_reset:
        return "unary", 1
    adds = dendrites is not None and "add" in dendrites.joins and dendrites.compartments.value > 1
    return ("unary", 2) if adds else (None, 0)


def with_counts(network: Network, levels: Sequence[Level], chosen: Sequence[int], chip: ChipSpec) -> Network:
    """``network`` with counts at the ``chosen`` levels; every later level reads the last of them and what is newer."""
    last: tuple[str, Level] | None = None
    for number, level in enumerate(levels):
        if number in chosen:
            network, name = inserted(network, level, last, chip)
            last = name, level
        if last is not None:
            network = reading(network, level, *last)
    return network


def inserted(network: Network, level: Level, last: tuple[str, Level] | None, chip: ChipSpec) -> tuple[Network, str]:
    """``network`` with the population that counts the spikes of ``level``, right before its first reader; its name."""
    targets = {p.target for p in network.projections if p.name in level.readers}
    at, reader = next((i, p) for i, p in enumerate(network.populations) if p.name in targets)
    high = sum(network.by_name[name].high for name in level.spikes)
    coding, compartments = counting(high, chip)
    if coding is None:
        raise ValueError(f"chip {chip.name!r} cannot send counts of {high}")
    shift, name = network.arithmetic.threshold_shift, f"{reader.name}{COUNT}"
    while name in network.by_name:
        name += "2"
    population = replace(
        network.by_name[level.spikes[0]], name=name, neuron=Neuron(kind="graded", threshold=1 << shift),
        origin=reader.origin, high=high, coding=coding, compartments=compartments, home="core", copies=1,
    )  # fmt: skip
    new = tuple(Source(s) for s in level.spikes if last is None or s not in last[1].spikes)
    links = shared(new, last[0] if last is not None else None, coding)
    synapses = tuple(
        Pool(
            name=f"{name}.synapses{i or ''}", sources=sources, target=name, origin=population.origin, shift=shift,
        )
        for i, sources in enumerate(links)
    )  # fmt: skip
    populations = (*network.populations[:at], population, *network.populations[at:])
    return replace(network, populations=populations, projections=(*network.projections, *synapses)), name


def shared(new: tuple[Source, ...], last: str | None, coding: Coding) -> tuple[tuple[Source, ...], ...]:
    """The sources of each projection that brings the count ``last`` and ``new`` spikes: unit spikes share axons."""
    if last is None:
        return (new,)
    if coding == "unary":
        return ((Source(last), *new),)
    return (new, (Source(last),)) if new else ((Source(last),),)


def reading(network: Network, level: Level, name: str, known: Level) -> Network:
    """``network`` whose ``level`` reads the count ``name`` of the spikes of ``known``, and the others as they are."""
    new = tuple(Source(s) for s in level.spikes if s not in known.spikes)
    coding = network.by_name[name].coding

    def rewired(projection: Projection) -> tuple[Projection, ...]:
        if projection.name not in level.readers:
            return (projection,)
        first, *more = shared(new, name, coding)
        again = (replace(projection, name=f"{projection.name}.count", sources=sources) for sources in more)
        return replace(projection, sources=first), *again

    return replace(network, projections=tuple(q for p in network.projections for q in rewired(p)))
