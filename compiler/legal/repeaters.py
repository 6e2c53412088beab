"""Neurons that many cores read and that read much themselves: populations beside them that repeat their spikes."""

from __future__ import annotations

from compiler.legal.splitters import axons_by_reader, grouped, splittable, with_splitters
from compiler.lower.balance import balance
from compiler.mapping.tile import Tiling, fixed_tiling, readers_of, search, tile_network
from neurochip.chip.spec import ChipSpec
from neurochip.errors import CapacityError
from neurochip.network.network import Network, Population

WORTH = 0.9
"""A repeater is taken where it leaves at most this share of the cores, as it costs a tick and packets of its own."""

MANY = 0.25
"""Share of a core's output axons from which on a repeater is considered."""


SAVES = 0.75
"""Repeaters are put into a network that fits without them where it then takes at most this share of the cores."""

LARGE = 1024.0
"""Cores from which on that is looked at: each repeater lengthens an input by a tick."""


def repeated_if_cheaper(network: Network, chip: ChipSpec, bits: int) -> Network:
    """``network``, not balanced, or the same with repeaters where they spare a large one many cores."""
    if chip.limits.axon_types or chip.limits.fan_out_per_neuron is not None:
        return network
    try:
        plain = cores_of(network, chip, bits)
        if plain < LARGE:
            return network
        repeated = with_repeaters(network, chip, bits)
        return repeated if cores_of(repeated, chip, bits) <= SAVES * plain else network
    except CapacityError:  # told, or helped, where it is mapped
        return network


def cores_of(network: Network, chip: ChipSpec, bits: int) -> float:
    """Cores that the tiles of ``network`` fill, were they to pack well."""
    tilings = tile_network(balance(network, chip.max_delay), chip, bits).values()
    limits = chip.limits
    shares = (t.n_tiles * max(n / getattr(limits, name) for name, n in t.demand.items()) for t in tilings if t.demand)
    return float(sum(shares))


def with_repeaters(network: Network, chip: ChipSpec, bits: int) -> Network:
    """``network``, not balanced, with repeaters behind the neurons whose output axons would waste synapse memory.

    A core sends each neuron's spikes to each core that reads it by an output axon of its own, so a neuron read by many
    leaves room for few on its core, each with all the synapses it reads, and is itself read over from as many cores. A
    repeater takes the destinations over: one axon in, no weights, as many cores as the output axons ask for. The
    neurons then fill cores as their synapses allow, which multiplies through all layers before them.

    Ensures: spikes and sums do not change; a path through a repeater is a tick longer.
    Raises ``CapacityError`` for a neuron that fits no core either way.
    """
    if chip.limits.axon_types or chip.limits.fan_out_per_neuron is not None:
        return network
    timed = balance(network, chip.max_delay)
    for name, groups in repeated(timed, chip, bits).items():
        if name in network.by_name:
            known = {p.name for p in network.projections}
            network = with_splitters(network, name, [[p for p in group if p in known] for group in groups])
    return network


def repeated(network: Network, chip: ChipSpec, bits: int) -> dict[str, list[list[str]]]:
    """Populations that need repeaters -> names of the projections that each repeater feeds. Readers come first."""
    readers, tilings = readers_of(network), dict[str, Tiling]()
    found = {}
    for population in sorted(network.populations, key=lambda p: -p.depth):
        fixed = fixed_tiling(network, population)
        if fixed is not None:
            tilings[population.name] = fixed
            continue
        read = [p for p in readers[population.name] if p.target in tilings]
        try:
            direct = search(network, population, read, tilings, chip, bits)
        except CapacityError:
            if not splittable(population) or not read:
                raise
            direct = None
        if direct is not None and not (splittable(population) and many_axons(direct, chip)):
            tilings[population.name] = direct
            continue
        alone = search(network, population, [], tilings, chip, bits)
        groups = grouped(axons_by_reader(network, population, read, tilings), chip.limits.output_axons)
        if (
            direct is None
            or alone.score + price(network, population, groups, tilings, chip, bits) < WORTH * direct.score
        ):
            found[population.name], direct = groups, alone
        tilings[population.name] = direct
    return found


def many_axons(tiling: Tiling, chip: ChipSpec) -> bool:
    """Whether output axons are a good part of what a tile takes of its core."""
    return tiling.demand["output_axons"] > MANY * chip.limits.output_axons


def price(
    network: Network,
    population: Population,
    groups: list[list[str]],
    tilings: dict[str, Tiling],
    chip: ChipSpec,
    bits: int,
) -> float:
    """Cores that repeaters of ``population`` take, one for each of the ``groups`` of readers."""
    trial, total = with_splitters(network, population.name, groups), 0.0
    for repeater in (p for p in trial.populations if p.name not in network.by_name):
        read = [p for p in trial.projections if repeater.name in {s.population for s in p.sources}]
        total += search(trial, repeater, read, tilings, chip, bits).score
    return total
