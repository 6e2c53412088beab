"""Residual streams of spikes: which layers read which, and where counts of spikes save cores."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import cache

import networkx as nx
import numpy as np

from compiler.legal.spike_sums import Level, counting, with_counts
from compiler.mapping.tile import search, source_traffic
from neurochip.chip.spec import ChipSpec
from neurochip.errors import CapacityError
from neurochip.network.network import Network

KINDS = ("dense", "conv", "gather", "pool")
"""Projections to which it makes no difference when in a step the spikes arrive."""

LEAST = 8.0
"""Cores that counts must save."""


def chosen_counts(network: Network, chip: ChipSpec, bits: int) -> Iterator[tuple[tuple[Level, ...], tuple[int, ...]]]:
    """The levels of every stream of ``network``, and those with counts, where these seem to spare enough cores."""
    if chip.limits.axon_types or chip.limits.fan_out_per_neuron is not None:
        return
    for levels in streams_of(network):
        coding, _ = counting(sum(network.by_name[name].high for name in levels[-1].spikes), chip)
        if coding is None:
            continue
        try:
            saved, numbers = cheapest(network, levels, chip, bits)
        except CapacityError:  # told, or helped, where it is mapped
            continue
        if saved >= LEAST:
            yield levels, numbers


def streams_of(network: Network) -> Iterator[tuple[Level, ...]]:
    """Projections that read spikes of the same populations, grouped by these; each level reads all of the one before.

    Projections that fit in no such order stay as they are.
    """
    readers: dict[frozenset[str], list[str]] = {}
    shared: nx.Graph = nx.Graph()
    for projection in network.projections:
        names = frozenset(s.population for s in projection.sources)
        if len(names) < 2 or projection.kind not in KINDS or any(s.steps_back or s.types for s in projection.sources):
            continue
        if all(network.by_name[n].neuron.kind == "lif" and network.by_name[n].home == "core" for n in names):
            readers.setdefault(names, []).append(projection.name)
            nx.add_path(shared, [*sorted(names), names])
    order = {p.name: i for i, p in enumerate(network.populations)}
    for part in nx.connected_components(shared):
        levels: list[Level] = []
        for names in sorted((n for n in readers if n in part), key=lambda n: (len(n), sorted(order[s] for s in n))):
            if not levels or set(levels[-1].spikes) < names:
                levels.append(Level(readers=tuple(readers[names]), spikes=tuple(sorted(names, key=order.__getitem__))))
        if len(levels) > 1 or len(levels[0].readers) > 1:
            yield tuple(levels)


def cheapest(network: Network, levels: Sequence[Level], chip: ChipSpec, bits: int) -> tuple[float, tuple[int, ...]]:
    """Cores that counts save at most, in axons or compartments, and the levels that have them then.

    A level without a count reads the last one before it and the spikes since, each by axons to every core that reads.
    Where counts are payloads every level behind the first count has one, as payloads and spikes share no synapses.
    """
    source, limits = network.by_name[levels[0].spikes[0]], chip.limits
    reads = [axons_read(network, level, chip, bits) for level in levels]
    coding, compartments = counting(1, chip)
    own = 1 if compartments > 1 else 0
    end = len(levels)

    def direct(level: int, last: int) -> float:
        known = len(levels[last].spikes) if last >= 0 else 0
        return (len(levels[level].spikes) - known) * reads[level]

    @cache
    def best(last: int) -> tuple[float, tuple[int, ...]]:
        """Least axons from the level ``last`` on, which has a count (-1: none yet), and the later ones with counts."""
        options: list[tuple[float, tuple[int, ...]]] = []
        for following in range(last + 1, end + 1):
            between = range(max(last, 0), following)
            if coding == "graded" and last >= 0 and following > last + 1:
                break
            cost = sum(direct(level, last) for level in between if level != last)
            if last >= 0:
                sent = own + sum(reads[level] for level in between) + (following < end)
                cost += max(sent, compartments * limits.output_axons / limits.neurons)
            rest, chosen = best(following) if following < end else (0.0, ())
            if following < end:
                cost += len(levels[following].spikes) - (len(levels[last].spikes) if last >= 0 else 0)
                chosen = (following, *chosen)
            options.append((cost + rest, chosen))
        return min(options)

    cost, chosen = best(-1)
    plain = sum(direct(level, -1) for level in range(end))
    return (plain - cost) * source.size / limits.output_axons, chosen


def axons_read(network: Network, level: Level, chip: ChipSpec, bits: int) -> float:
    """Output axons that each neuron of one source of ``level`` needs, for tiles of the readers as alone they were.

    Raises ``CapacityError`` if a reader fits no core.
    """
    total = 0.0
    for projection in (p for p in network.projections if p.name in level.readers):
        one = replace(projection, sources=projection.sources[:1])
        incoming = tuple(one if p is projection else p for p in network.incoming[projection.target])
        target = network.by_name[projection.target]
        if target.home == "host":
            total += 1
            continue
        shape = search(replace(network, projections=incoming), target, [], {}, chip, bits).shape
        axes = tuple(np.array([length], np.int64) for length in shape)
        alone = replace(network, projections=(one,))
        total += float(source_traffic(alone, target, (axes[0], axes[1], axes[2]))[0])
    return total / network.by_name[level.spikes[0]].size


def with_chosen(network: Network, chosen: Sequence[tuple[Sequence[Level], Sequence[int]]], chip: ChipSpec) -> Network:
    """``network`` with all ``chosen`` counts."""
    for levels, numbers in chosen:
        network = with_counts(network, levels, numbers, chip)
    return network
