"""Mapped network -> program tables: tiles, ports (axon tables), synapse blocks and resources of every core."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from compiler.mapping.axes import Range, reached, read_box
from compiler.mapping.core_traffic import sent_neurons
from compiler.mapping.demand import (
    Ints,
    bias_axons,
    channel_groups,
    channels_read,
    corrections,
    has_gaps,
    list_words,
    payload_bits,
    repeated_lists,
    source_channels,
    source_of,
    taps,
    windows,
)
from compiler.mapping.tile import Tiling
from neurochip.chip.spec import ChipSpec
from neurochip.network.network import Network, Population
from neurochip.network.projections import (
    Bias,
    Conv,
    Einsum,
    Encoder,
    Gated,
    Matrix,
    MaxConv,
    Pool,
    Product,
    Projection,
    Source,
)
from neurochip.program.image import PORTS, SYNAPSES, TILES, USE, Table, uses_axons
from neurochip.program.routes import Routing, routing_of

BOX = ("y0", "y1", "x0", "x1", "c0", "c1")


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Tables:
    """Program tables before cores have a place: ``tiles.core`` and ``ports.core`` number cores from 0."""

    tiles: Table
    ports: Table
    synapses: Table
    use: Table
    routing: Routing


def emit_tables(
    network: Network, tilings: dict[str, Tiling], core_of: dict[str, Ints], n_cores: int, chip: ChipSpec, bits: int
) -> Tables:
    """All tables; ``core_of`` holds the core of every tile of each population."""
    tiles, first = tile_table(network, tilings, core_of)
    bundles = bundles_of(network)
    ports, synapses = port_table(network, tiles, first, bundles)
    routing = routing_of(tiles, ports, network, bundles)
    use = core_use(network, tiles, ports, synapses, routing, bundles, n_cores, chip, bits)
    return Tables(tiles=tiles, ports=ports, synapses=synapses, use=use, routing=routing)


def bundles_of(network: Network) -> tuple[tuple[Source, ...], ...]:
    """Distinct source tuples of the projections, in order of first use."""
    return tuple(dict.fromkeys(p.sources for p in network.projections if uses_axons(p)))


def tile_table(network: Network, tilings: dict[str, Tiling], core_of: dict[str, Ints]) -> tuple[Table, dict[str, int]]:
    """The tile table, populations in network order, and the first tile of each population."""
    parts, first, count = [], {}, 0
    for number, population in enumerate(network.populations):
        boxes = tilings[population.name].boxes()
        part = np.zeros(len(boxes), TILES)
        part["population"], part["core"] = number, core_of[population.name]
        for column, name in enumerate(BOX):
            part[name] = boxes[:, column]
        first[population.name], count = count, count + len(boxes)
        parts.append(part)
    return np.concatenate(parts), first


def port_table(
    network: Network, tiles: Table, first: dict[str, int], bundles: tuple[tuple[Source, ...], ...]
) -> tuple[Table, Table]:
    """Ports (equal ones of a core merged) and synapse blocks."""
    bundle_of = {bundle: i for i, bundle in enumerate(bundles)}
    rows, blocks = [], []
    for number, projection in enumerate(network.projections):
        target = network.by_name[projection.target]
        mine = np.arange(
            first[target.name], first[target.name] + (tiles["population"] == network.populations.index(target)).sum()
        )
        block = np.zeros(len(mine), SYNAPSES)
        block["projection"], block["tile"], block["port"] = number, mine, -1
        blocks.append(block)
        if not uses_axons(projection):
            continue
        source = source_of(network, projection)
        assert source is not None
        mine_tiles = tiles[mine]
        (y0, y1), (x0, x1), (c0, c1) = read_by(projection, source, target, mine_tiles)
        bundle = np.full(len(mine), bundle_of[projection.sources])
        rows.append(np.stack([mine_tiles["core"], bundle, y0, y1, x0, x1, c0, c1], axis=1).astype(np.int64))
    distinct, inverse = np.unique(np.concatenate(rows), axis=0, return_inverse=True)
    ports = np.zeros(len(distinct), PORTS)
    for column, name in enumerate(PORTS.names or ()):
        ports[name] = distinct[:, column]
    start = 0
    for block, projection in zip(blocks, network.projections, strict=True):
        if uses_axons(projection):
            block["port"] = inverse.ravel()[start : start + len(block)]
            start += len(block)
    return ports, np.concatenate(blocks)


def read_by(projection: Projection, source: Population, target: Population, tiles: Table) -> tuple[Range, Range, Range]:
    """Rows, columns and channels [begin, end) of ``source`` that each tile listens to."""
    rows, columns, channels = bounds_of(tiles)
    if isinstance(projection, Einsum):
        return read_box(projection, (rows, columns, channels))
    row_window, column_window = windows(projection, source, target)
    return (
        row_window.inputs(*rows),
        column_window.inputs(*columns),
        source_channels(projection, source, target, *channels),
    )


def bounds_of(tiles: Table) -> tuple[Range, Range, Range]:
    """[begin, end) of rows, columns and channels of each tile."""
    y0, y1, x0, x1, c0, c1 = (tiles[name].astype(np.int64) for name in BOX)
    return (y0, y1), (x0, x1), (c0, c1)


def core_use(
    network: Network,
    tiles: Table,
    ports: Table,
    synapses: Table,
    routing: Routing,
    bundles: tuple[tuple[Source, ...], ...],
    n_cores: int,
    chip: ChipSpec,
    bits: int,
) -> Table:
    """Resources of every core: shared ports and shared weight lists count once.

    ``routing`` may be that of other ports than ``ports``, of which ``synapses`` speaks.
    """
    use = np.zeros(n_cores, USE)
    positions = (tiles["y1"] - tiles["y0"]) * (tiles["x1"] - tiles["x0"])
    copies = np.array([p.copies * p.compartments for p in network.populations], np.int64)[tiles["population"]]
    add_at(use["neurons"], tiles["core"], positions * (tiles["c1"] - tiles["c0"]) * copies)
    learners = {p.sources for p in network.projections if isinstance(p, Product) and p.method == "plastic"}
    bundle_axons = np.array([bundle_width(network, b) * (1 + (b in learners)) for b in bundles], np.int64)
    heard = (ports["y1"] - ports["y0"]) * (ports["x1"] - ports["x0"])
    axons = heard * bundle_axons[ports["bundle"]]
    if not chip.weight_sharing:
        axons = axons * (ports["c1"] - ports["c0"])
    add_at(use["input_axons"], ports["core"], axons)
    for number, population in enumerate(network.populations):
        if population.returns:
            add_corrections(use, tiles[tiles["population"] == number], population, chip, bits)
        for fan in routing.fans(number):
            lines = max(1, population.digits) * bundles[fan.bundle][0].lines
            add_at(use["output_axons"], tiles["core"][fan.tile], lines * fan.readers * sent_neurons(tiles, fan))
    for number, projection in enumerate(network.projections):
        mine = synapses[synapses["projection"] == number]
        block = tiles[mine["tile"]]
        if isinstance(projection, Bias):
            spread = np.ones(len(mine), np.int64) if chip.limits.axon_types else positions[mine["tile"]]
            add_at(use["input_axons"], block["core"], bias_axons(projection) * spread)
        if isinstance(projection, Einsum):
            add_at(
                use["synapse_words"], block["core"], einsum_words(projection, block, ports[mine["port"]], chip, bits)
            )
            continue
        slices = np.stack([block["core"], block["c0"], block["c1"]], axis=1).astype(np.int64)
        copied = np.ones(len(mine), np.int64)
        if chip.weight_sharing:
            slices = np.unique(slices, axis=0)
            copied = copied[: len(slices)]
        elif uses_axons(projection):
            copied = heard[mine["port"]].astype(np.int64)
        words = block_words(network, projection, slices[:, 1], slices[:, 2], chip, bits)
        add_at(use["synapse_words"], slices[:, 0], words * copied)
    if chip.limits.axon_types:
        use["synapse_words"] = use["input_axons"]  # every axon has its row of crosspoints
    return use


def add_corrections(use: Table, tiles: Table, population: Population, chip: ChipSpec, bits: int) -> None:
    """Add what the ``tiles`` need to take what they send off their sums."""
    (y0, y1), (x0, x1), (c0, c1) = bounds_of(tiles)
    own, words = corrections(population, c1 - c0, chip, bits)
    positions = (y1 - y0) * (x1 - x0)
    add_at(use["input_axons"], tiles["core"], own * positions)
    add_at(use["output_axons"], tiles["core"], own * positions * (c1 - c0))
    add_at(use["synapse_words"], tiles["core"], words)


def einsum_words(projection: Einsum, tiles: Table, ports: Table, chip: ChipSpec, bits: int) -> Ints:
    """Synapse-memory words of each tile: a list for each channel it hears, of each position unless they share it."""
    lists = (ports["c1"] - ports["c0"]).astype(np.int64)
    if not chip.weight_sharing:
        lists = lists * (ports["y1"] - ports["y0"]) * (ports["x1"] - ports["x0"])
    rows, columns, channels = (end - begin for begin, end in bounds_of(tiles))
    return np.asarray(lists * list_words(reached(projection, (rows, columns, channels)), True, chip, bits))


def bundle_width(network: Network, bundle: tuple[Source, ...]) -> int:
    """Axons of one position (and channel, if positions do not share weights) of a port of ``bundle``."""
    return max(payload_bits(network.by_name[s.population]) * s.lines for s in bundle)


def block_words(network: Network, projection: Projection, c0: Ints, c1: Ints, chip: ChipSpec, bits: int) -> Ints:
    """Synapse-memory words of the blocks that feed target channels [c0, c1)."""
    c0, c1 = c0.astype(np.int64), c1.astype(np.int64)
    width = c1 - c0
    if isinstance(projection, Encoder | Matrix | Gated) or (
        isinstance(projection, Product) and projection.method != "plastic"
    ):
        return np.zeros_like(width)
    gaps = has_gaps(projection, chip, bits)
    if isinstance(projection, Bias):
        return np.asarray(bias_axons(projection) * list_words(width, gaps, chip, bits))
    source, target = source_of(network, projection), network.by_name[projection.target]
    assert source is not None
    if isinstance(projection, Pool):
        synapses = np.full_like(width, projection.kernel[0] * projection.kernel[1])
        return np.asarray(max(1, source.digits) * width * list_words(synapses, True, chip, bits))
    first, last = source_channels(projection, source, target, c0, c1)
    if isinstance(projection, Conv | MaxConv | Product):
        each = taps(projection) if isinstance(projection, Conv | MaxConv) else 1
        groups = channel_groups(projection, source, target)
        read = channels_read(projection, source)
        per_in, per_out = (read[1] - read[0]) // groups, target.channels // groups
        begin, end = c0 // per_out, (c1 - 1) // per_out
        one = list_words(each * np.where(begin == end, width, (begin + 1) * per_out - c0), True, chip, bits)
        inner = np.maximum(end - begin - 1, 0) * list_words(np.full_like(width, each * per_out), True, chip, bits)
        tail = np.where(begin == end, 0, list_words(each * (c1 - end * per_out), True, chip, bits))
        words = np.asarray(per_in * (one + inner + tail))
        repeated = repeated_lists(projection, target, chip)
        return np.minimum(words, per_in * repeated * list_words(width, gaps, chip, bits)) if repeated else words
    return np.asarray((last - first) * list_words(width, gaps, chip, bits))


def add_at(target: NDArray[np.int32], index: NDArray[np.integer], amount: NDArray[np.integer]) -> None:
    """``target[index] += amount`` with repeated indices."""
    target += np.bincount(index, weights=amount, minlength=len(target)).astype(target.dtype)
