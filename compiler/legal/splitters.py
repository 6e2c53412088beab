"""Neurons that must reach more axons than the chip lets them: copies of the neurons, or populations that split."""

from __future__ import annotations

from dataclasses import replace
from typing import ClassVar

from compiler.legal.target import Choices
from compiler.lower.balance import balance, relay_neuron, repeat
from compiler.mapping.tile import (
    Tiling,
    axons_of,
    copies_needed,
    coverage,
    fixed_tiling,
    readers_of,
    search,
)
from neurochip.chip.spec import ChipSpec
from neurochip.errors import CapacityError, UnsupportedError
from neurochip.network.network import Network, Population
from neurochip.network.projections import Projection, Source

ROUNDS = 16
"""Splitters lengthen paths, which may ask for relays, which may ask for splitters; few rounds settle it."""


class Splitters:
    """Puts a splitter behind every population that cannot feed all its readers itself.

    Where a neuron has one destination, a core can hold it several times, with the same crosspoints; all copies fire
    together, and each has a destination of its own. The mapping does so (``Population.copies``) as long as that is
    cheaper than a splitter: neurons that repeat the population's spikes one tick later, many copies of each on a core,
    all of them driven by one axon. More copies than a core has neurons are spread over several splitters.

    Requires: axon types (``number-base``), which say how many axons a reader takes.
    Ensures: spikes and sums do not change; every population fits cores with the copies its readers ask for.
    """

    name: ClassVar[str] = "splitters"

    def run(self, network: Network, chip: ChipSpec, choices: Choices) -> Network:
        """Raises CapacityError for a population that fits no core, with or without splitters."""
        if chip.limits.fan_out_per_neuron is None:
            return network
        for _ in range(ROUNDS):
            timed = balance(network, chip.max_delay, exact=chip.limits.axon_types > 0)
            groups = split_readers(timed, chip, choices.weight_bits)
            known = {name: parts for name, parts in groups.items() if name in network.by_name}
            known = known or split_before_relays(network, timed, groups)
            if not known:
                return network
            for name, parts in known.items():
                network = with_splitters(network, name, parts)
        raise UnsupportedError(f"network {network.name!r}: splitters and relays ask for each other without end")


def split_readers(network: Network, chip: ChipSpec, bits: int) -> dict[str, list[list[str]]]:
    """Populations that need splitters -> names of the projections that each splitter feeds."""
    readers, tilings = readers_of(network), dict[str, Tiling]()
    found = {}
    for population in sorted(network.populations, key=lambda p: -p.depth):
        fixed = fixed_tiling(network, population)
        if fixed is not None:
            tilings[population.name] = fixed
            continue
        read = [p for p in readers[population.name] if p.target in tilings]
        copies = copies_needed(network, population, read, tilings, chip)
        direct = _fitting(network, population, read, tilings, chip, bits, copies)
        tiling = direct
        if copies > 1 and splittable(population):
            alone = search(network, population, [], tilings, chip, bits)
            if direct is None or direct.score > alone.score + splitter_score(population, copies, chip):
                needed = axons_by_reader(network, population, read, tilings)
                found[population.name] = fed_by_splitters(network, population, needed, chip)
                tiling = alone
        if tiling is None:  # says why
            tiling = search(network, population, read, tilings, chip, bits, copies)
        tilings[population.name] = tiling
    return found


def split_before_relays(
    network: Network, timed: Network, groups: dict[str, list[list[str]]]
) -> dict[str, list[list[str]]]:
    """Populations of ``network`` whose relays in ``timed`` need splitters -> names of the projections of each group.

    Relays come with the delays, after the splitters: one that reaches too much becomes several when its population
    gets a splitter for each group of its readers. ``groups`` as from ``split_readers``.
    """
    read = {p.name: p for p in timed.projections}
    found = {}
    for relay, parts in groups.items():
        root = relay
        while root not in network.by_name:
            root = timed.incoming[root][0].sources[0].population
        ends = [[name for each in part for name in ends_of(read[each], network, timed)] for part in parts]
        if len([part for part in ends if part]) > 1 and root not in found:
            found[root] = [part for part in ends if part]
    return found


def ends_of(projection: Projection, network: Network, timed: Network) -> list[str]:
    """``projection``, or what reads the relay that it feeds: names of projections of ``network``."""
    if projection.target in network.by_name:
        return [projection.name]
    behind = (p for p in timed.projections if projection.target in {s.population for s in p.sources})
    return [name for p in behind for name in ends_of(p, network, timed)]


def _fitting(
    network: Network,
    population: Population,
    readers: list[Projection],
    tilings: dict[str, Tiling],
    chip: ChipSpec,
    bits: int,
    copies: int,
) -> Tiling | None:
    try:
        return search(network, population, readers, tilings, chip, bits, copies)
    except CapacityError:
        return None


def splittable(population: Population) -> bool:
    """Whether neurons that repeat single spikes can stand between ``population`` and its readers."""
    return population.neuron.kind == "lif" and population.high == 1 and not population.name.endswith(SPLIT)


def splitter_score(population: Population, copies: int, chip: ChipSpec) -> float:
    """Price of splitters in cores: their neurons, and the axons that the population feeds."""
    return population.size * copies / chip.limits.neurons + population.size / chip.limits.output_axons


def axons_by_reader(
    network: Network, population: Population, readers: list[Projection], tilings: dict[str, Tiling]
) -> dict[str, int]:
    """Readers, those of the earliest targets first, and the axons through which each listens to one neuron."""
    needed = {}
    for projection in sorted(readers, key=lambda p: (network.by_name[p.target].depth, p.name)):
        each = coverage(network, projection, population, tilings[projection.target])
        needed[projection.name] = axons_of(projection, population) * int(each[0].max() * each[1].max() * each[2].max())
    return needed


def grouped(needed: dict[str, int], limit: int) -> list[list[str]]:
    """Readers in their order, such that no group of several asks for more than ``limit`` axons."""
    groups: list[list[str]] = []
    room = 0
    for name, need in needed.items():
        if need > room or not groups:
            groups.append([])
            room = limit
        groups[-1].append(name)
        room -= need
    return groups


def fed_by_splitters(
    network: Network, population: Population, needed: dict[str, int], chip: ChipSpec
) -> list[list[str]]:
    """Readers such that no group asks for more copies than a core has neurons."""
    limit = chip.limits.neurons * (chip.limits.fan_out_per_neuron or 1)
    for name, need in needed.items():
        if need > limit:
            origin = next(p.origin for p in network.projections if p.name == name)
            raise CapacityError(
                f"layer {origin!r}: {need} axons listen to one neuron of {population.name!r}, "
                f"and a splitter of {chip.name!r} feeds {limit}; narrow the layer, or use fewer weight bits "
                "(--weight-bits)"
            )
    return grouped(needed, limit)


SPLIT = ".split"


def with_splitters(network: Network, name: str, groups: list[list[str]]) -> Network:
    """``network`` with a splitter of population ``name`` for each group of its readers."""
    population = network.by_name[name]
    taken = sum(p.name.startswith(f"{name}.") and p.name.endswith(SPLIT) for p in network.populations)
    splitters = [
        replace(
            population,
            name=f"{name}.{number + taken}{SPLIT}" if len(groups) + taken > 1 else f"{name}{SPLIT}",
            neuron=relay_neuron(network.arithmetic),
            compartments=1,
            depth=0,
        )
        for number in range(len(groups))
    ]
    instead = {reader: s.name for s, group in zip(splitters, groups, strict=True) for reader in group}
    links = [repeat(Source(name), splitter, network) for splitter in splitters]
    rewired = [_rewired(p, name, instead[p.name]) if p.name in instead else p for p in network.projections]
    at = network.populations.index(population) + 1
    populations = (*network.populations[:at], *splitters, *network.populations[at:])
    return replace(network, populations=populations, projections=(*rewired, *links))


def _rewired(projection: Projection, before: str, after: str) -> Projection:
    sources = tuple(replace(s, population=after) if s.population == before else s for s in projection.sources)
    return replace(projection, sources=sources)
