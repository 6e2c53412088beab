"""Residual streams of currents: which layers read which, and where a running sum saves cores."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cache
from itertools import pairwise
from math import inf

import networkx as nx

from compiler.legal.stream_sums import Level, Sum, inputs, original, sum_of, summed
from compiler.mapping.tile import search
from neurochip.chip.spec import ChipSpec
from neurochip.errors import CapacityError
from neurochip.network.network import Network, Population
from neurochip.network.projections import Projection

WORTH = 0.75
"""Sums are taken where a stream then costs at most this share of its cores: digits take ticks and packets."""

LEAST = 8.0
"""Cores that sums must save."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """A stream and its sums, those of the earliest layers first; ``before`` and ``after``: cores without and with."""

    levels: tuple[Level, ...]
    sums: tuple[Sum, ...]
    before: float
    after: float


def planned(network: Network, chip: ChipSpec, bits: int) -> tuple[Plan, ...]:
    """Plans for the streams of ``network`` whose sums pay; none where neurons of ``chip`` cannot send sums."""
    if not can_send(chip):
        return ()
    wide = (s for s in streams_of(network) if repeats(s) or too_large(network, s, chip, bits))
    plans = (cheapest(network, levels, chip, bits) for levels in wide)
    return tuple(p for p in plans if p.sums and p.after <= WORTH * p.before and p.before - p.after >= LEAST)


def can_send(chip: ChipSpec) -> bool:
    """Whether neurons can send sums: as payloads, or as digits from compartments that add."""
    dendrites = chip.neuron.dendrites
    adds = dendrites is not None and "add" in dendrites.joins
    return not chip.limits.axon_types and (adds or "graded" in chip.attention_methods)


def streams_of(network: Network) -> Iterator[tuple[Level, ...]]:
    """The levels of every stream: neuron layers grouped by the currents they read, each level all of the one before.

    Where a level has several new currents there are levels without layers between, so that sums may stand there.
    """
    read = {p.name: currents_of(network, p) for p in network.populations if p.neuron.kind == "lif" and p.home == "core"}
    times = Counter(current for currents in read.values() for current in currents)
    shared: nx.Graph = nx.Graph()
    for name, currents in read.items():
        shared.add_edges_from((("layer", name), ("current", current)) for current in currents if times[current] > 1)
    shared.add_nodes_from(("layer", name) for name, currents in read.items() if len(currents) > 1)
    for part in nx.connected_components(shared):
        mine = [name for name in read if ("layer", name) in part]
        levels: list[Level] = []
        for name in sorted(mine, key=lambda n: len(read[n])):
            if levels and set(levels[-1].currents) == set(read[name]):
                levels[-1] = replace(levels[-1], readers=(*levels[-1].readers, name))
            else:
                levels.append(Level(readers=(name,), currents=tuple(read[name])))
        nested = all(set(a.currents) < set(b.currents) for a, b in pairwise(levels))
        if nested and all(plain(network, reader) for level in levels for reader in level.readers):
            yield tuple(between(levels))


def between(levels: list[Level]) -> Iterator[Level]:
    """``levels``, and before each those that lack some of its new currents, from the last on."""
    known: tuple[str, ...] = ()
    for level in levels:
        new = [current for current in level.currents if current not in known]
        for count in range(1, len(new)):
            yield Level(readers=(), currents=(*known, *new[:count]))
        yield level
        known = level.currents


def currents_of(network: Network, population: Population) -> dict[str, Projection]:
    """Currents that reach ``population`` by axons: by their names before they were repeated."""
    return {original(p): p for p in network.incoming[population.name] if p.sources}


def plain(network: Network, name: str) -> bool:
    """Whether a layer reads sums of weighted spikes of the same step, and nothing else by axons."""
    incoming = [p for p in network.incoming[name] if p.sources]
    kinds = all(p.kind in ("dense", "conv", "gather", "pool") for p in incoming)
    return kinds and not any(s.steps_back or s.types for p in incoming for s in p.sources)


def repeats(levels: tuple[Level, ...]) -> bool:
    """Whether several layers read the stream."""
    return sum(len(level.readers) for level in levels) > 1


def too_large(network: Network, levels: tuple[Level, ...], chip: ChipSpec, bits: int) -> bool:
    """Whether no core holds what the last layer of a stream reads."""
    (name,) = levels[-1].readers
    return cores(network, network.by_name[name], network.incoming[name], chip, bits) == inf


def cheapest(network: Network, levels: tuple[Level, ...], chip: ChipSpec, bits: int) -> Plan:
    """The sums with which a stream takes fewest cores, over all choices of levels to sum up at.

    A level reads the last sum before it and the currents since; at a level with a sum, that alone.
    """
    sums = [sum_of(network, levels, i, chip, bits) for i in range(len(levels))]

    everyone = replace(network, populations=(*network.populations, *(s.population for s in sums if s is not None)))

    def before(last: int) -> Sum | None:
        return sums[last] if last >= 0 else None

    @cache
    def layers(level: int, last: int) -> float:
        found = 0.0
        for name in levels[level].readers:
            reader = network.by_name[name]
            read = summed(network, reader, levels, made, chip, bits) if (made := before(last)) else ()
            found += cores(everyone, reader, read or network.incoming[name], chip, bits)
        return found

    @cache
    def best(level: int, last: int) -> tuple[float, tuple[int, ...]]:
        """Least cores of the levels from ``level`` on behind the sum of the level ``last``, and the sums they have."""
        if level == len(levels):
            return 0.0, ()
        rest, chosen = best(level + 1, last)
        options = [(layers(level, last) + rest, chosen)]
        made = sums[level]
        if made is not None and (level + 1 < len(levels) or len(levels[level].readers) > 1):
            rest, chosen = best(level + 1, level)
            read = inputs(network, levels, made, before(last), chip, bits)
            alone = cores(everyone, made.population, read, chip, bits)
            options.append((alone + layers(level, level) + rest, (level, *chosen)))
        return min(options)

    after, chosen = best(0, -1)
    return Plan(
        levels=levels,
        sums=tuple(s for i in chosen if (s := sums[i]) is not None),
        before=sum(layers(level, -1) for level in range(len(levels))),
        after=after,
    )


def cores(network: Network, population: Population, read: Sequence[Projection], chip: ChipSpec, bits: int) -> float:
    """Price of ``population`` reading ``read``: cores of its best tiles, and what they take of its sources' axons."""
    try:
        return search(replace(network, projections=tuple(read)), population, [], {}, chip, bits).score
    except CapacityError:
        return inf
