"""Tiling: cut every population into equal boxes of positions and channels that each fit a core.

Shapes are searched over all splits of rows, columns and channels: fewest cores first (small tiles may share one),
then the axon traffic that a split causes at its sources. Consumers are cut before their sources, because how often a
consumer repeats a source decides how many output axons a neuron of the source needs.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from compiler.mapping.axes import read_sizes, times_read
from compiler.mapping.demand import (
    Ints,
    Window,
    corrections,
    input_axons,
    source_channels,
    source_of,
    synapse_words,
    windows,
)
from compiler.mapping.narrower import narrower
from neurochip.chip.spec import ChipSpec
from neurochip.errors import CapacityError
from neurochip.network.network import Network, Population
from neurochip.network.projections import Einsum, Projection
from neurochip.program.image import uses_axons

TILE_PRICE = 0.01
"""Cores that one more tile is worth: crumbs pack well on paper, and cost table rows and repeated weights."""

ROUTE_PRICE = 2e-4
"""Cores that one more route is worth: a port fed by many slivers of its source costs table rows."""

MOST_ROUNDS = 6
"""Rounds of tiling in which the populations of a loop settle."""

RESOURCES = ("neurons", "input_axons", "output_axons", "synapse_words")


@dataclass(frozen=True, slots=True, kw_only=True)
class Tiling:
    """The boxes of one population: tile (i, j, k) holds rows i*th.., columns j*tw.., channels k*tc...

    Attributes:
        shape: (th, tw, tc); counts: number of tiles along each axis.
        demand: resource -> units taken by the largest tile; a bound, as sharing of axons on a core only lowers it.
        copies: how often a core holds each neuron, so that it reaches all its destinations.
        score: price of the shape in cores, with what it asks of its sources.
    """

    population: Population
    shape: tuple[int, int, int]
    demand: dict[str, int]
    copies: int = 1
    score: float = 0.0

    @property
    def counts(self) -> tuple[int, int, int]:
        """Tiles along y, x and channels."""
        p = self.population
        th, tw, tc = self.shape
        return -(-p.height // th), -(-p.width // tw), -(-p.channels // tc)

    @property
    def n_tiles(self) -> int:
        """Tiles in all."""
        a, b, c = self.counts
        return a * b * c

    def boxes(self) -> NDArray[np.int64]:
        """(n_tiles, 6): y0, y1, x0, x1, c0, c1 in row-major order, channels last."""
        p, (th, tw, tc) = self.population, self.shape
        i, j, k = (a.ravel() for a in np.indices(self.counts))
        return np.stack(
            [i * th, np.minimum((i + 1) * th, p.height), j * tw, np.minimum((j + 1) * tw, p.width),
             k * tc, np.minimum((k + 1) * tc, p.channels)], axis=1,
        )  # fmt: skip


def tile_network(network: Network, chip: ChipSpec, bits: int) -> dict[str, Tiling]:
    """A tiling for every population that lives on neuro-cores; products and sources are left to ``emit``.

    Raises ``CapacityError`` when not even a single neuron of a population fits a core.
    """
    readers = readers_of(network)
    tilings = tile_once(network, readers, {}, chip, bits)
    if not any(s.steps_back for p in network.projections for s in p.sources):
        return tilings
    for _ in range(MOST_ROUNDS):
        before, tilings = tilings, tile_once(network, readers, tilings, chip, bits)
        if all(tilings[name].shape == tiling.shape for name, tiling in before.items()):
            break
    return tilings


def tile_once(
    network: Network, readers: dict[str, list[Projection]], before: dict[str, Tiling], chip: ChipSpec, bits: int
) -> dict[str, Tiling]:
    """A tiling of every population, readers first; a reader in a loop is as it was ``before``, unknown at first."""
    tilings = dict(before)
    for population in sorted(network.populations, key=lambda p: -p.depth):
        found = fixed_tiling(network, population)
        if found is None:
            known = [p for p in readers[population.name] if p.target in tilings]
            copies = copies_needed(network, population, known, tilings, chip)
            found = search(network, population, known, tilings, chip, bits, copies)
        tilings[population.name] = found
    return tilings


def readers_of(network: Network) -> dict[str, list[Projection]]:
    """Projections that read each population."""
    readers: dict[str, list[Projection]] = {p.name: [] for p in network.populations}
    for projection in network.projections:
        for name in dict.fromkeys(source.population for source in projection.sources):
            readers[name].append(projection)
    return readers


def fixed_tiling(network: Network, population: Population) -> Tiling | None:
    """The tiling of a population that is not on neuro-cores."""
    if population.neuron.kind == "product":
        return head_tiling(network, population)
    if population.neuron.kind == "source" or population.home == "host":
        whole = (population.height, population.width, population.channels)
        return Tiling(population=population, shape=whole, demand={})
    return None


def head_tiling(network: Network, population: Population) -> Tiling:
    """One tile a head: attention products are computed head by head on a processor or attention unit."""
    heads = max(getattr(projection, "heads", 1) for projection in network.incoming[population.name])
    return Tiling(
        population=population, shape=(population.height, population.width, population.channels // heads), demand={}
    )


def search(
    network: Network,
    population: Population,
    readers: list[Projection],
    tilings: dict[str, Tiling],
    chip: ChipSpec,
    bits: int,
    copies: int = 1,
) -> Tiling:
    """The best tile shape of one population of which a core holds every neuron ``copies`` times."""
    th, tw, tc = candidates(population)
    demand = demands(network, population, readers, tilings, chip, bits, (th, tw, tc))
    demand["neurons"] = demand["neurons"] * copies
    limits = {name: getattr(chip.limits, name) for name in RESOURCES}
    fits = np.all([demand[name] <= limits[name] for name in RESOURCES], axis=0)
    fan_in, read = chip.limits.fan_in_per_neuron, int(demand["input_axons"].min())
    if fan_in is not None and read > fan_in:
        raise CapacityError(
            f"layer {population.origin!r} ({population.name}): one neuron reads {read} axons, one of {chip.name!r} "
            f"can read {fan_in}; reduce the fan-in (smaller kernel, fewer inputs)"
        )
    if not fits.any():
        told = narrower(network, population, chip, bits)
        raise CapacityError(_does_not_fit(population, {n: int(demand[n].min()) for n in RESOURCES}, limits, chip, told))
    tiles = -(-population.height // th) * -(-population.width // tw) * -(-population.channels // tc)
    share = np.max([demand[name] / limits[name] for name in RESOURCES], axis=0)
    cores = tiles / np.floor(1 / np.clip(share, 1e-9, 1))
    traffic = source_traffic(network, population, (th, tw, tc))
    routes = route_count(network, population, readers, tilings, (th, tw, tc))
    score = cores + traffic / limits["output_axons"] + TILE_PRICE * tiles + ROUTE_PRICE * routes
    score = np.where(fits, score, np.inf)
    best = int(np.lexsort((traffic, np.round(score, 9)))[0])
    return Tiling(
        population=population,
        shape=(int(th[best]), int(tw[best]), int(tc[best])),
        demand={name: int(demand[name][best]) for name in RESOURCES},
        copies=copies,
        score=float(score[best]),
    )


def copies_needed(
    network: Network, population: Population, readers: list[Projection], tilings: dict[str, Tiling], chip: ChipSpec
) -> int:
    """How many copies of each neuron reach all axons that the neuron of most readers feeds, the shape of its own tiles
    whatever it is.
    """
    fan_out = chip.limits.fan_out_per_neuron
    if fan_out is None:
        return 1
    reached = np.zeros((population.height, population.width, population.channels), np.int64)
    for projection in readers:
        rows, columns, channels = coverage(network, projection, population, tilings[projection.target])
        axons = axons_of(projection, population)
        reached += axons * rows[:, None, None] * columns[None, :, None] * channels
    return max(1, -(-int(reached.max()) // fan_out))


def axons_of(projection: Projection, source: Population) -> int:
    """Axons that one neuron of ``source`` takes on each core that reads it through ``projection``."""
    return max(1, source.digits) * sum(s.lines for s in projection.sources if s.population == source.name)


def candidates(population: Population) -> tuple[Ints, Ints, Ints]:
    """All (th, tw, tc) worth trying: sizes that split an axis into 1, 2, 3, ... nearly equal parts.

    Each position of a readout is a tile of its own: what one core adds up alone decides how long the last ticks last.
    """
    apart = population.neuron.kind == "readout"

    def sizes(length: int) -> Ints:
        return np.unique(-(-length // np.arange(1, length + 1)))

    rows, columns = (np.ones(1, int) if apart else sizes(n) for n in (population.height, population.width))
    grids = np.meshgrid(rows, columns, sizes(population.channels), indexing="ij")
    th, tw, tc = (g.ravel().astype(np.int64) for g in grids)
    return th, tw, tc


def demands(
    network: Network,
    population: Population,
    readers: list[Projection],
    tilings: dict[str, Tiling],
    chip: ChipSpec,
    bits: int,
    shape: tuple[Ints, Ints, Ints],
) -> dict[str, Ints]:
    """Resource -> units a tile of each candidate shape takes."""
    th, tw, tc = shape
    axons, words = np.zeros_like(th), np.zeros_like(th)
    for projection in network.incoming[population.name]:
        source = source_of(network, projection)
        axons = axons + input_axons(projection, source, population, th, tw, tc, chip)
        words = words + synapse_words(projection, source, population, th, tw, tc, chip, bits)
    own, listed = corrections(population, tc, chip, bits)
    axons, words, outputs = axons + own * th * tw, words + listed, own * th * tw * tc
    for projection in readers:
        rows, columns, channels = coverage(network, projection, population, tilings[projection.target])
        times = axons_of(projection, population)
        outputs = outputs + times * worst_block(rows, th) * worst_block(columns, tw) * worst_block(channels, tc)
    return {
        "neurons": th * tw * tc * population.compartments,
        "input_axons": axons,
        "output_axons": outputs,
        "synapse_words": words,
    }


def coverage(network: Network, projection: Projection, source: Population, target: Tiling) -> tuple[Ints, Ints, Ints]:
    """How many target tiles read each row, each column and each channel of ``source``."""
    if isinstance(projection, Einsum):
        return times_read(projection, target.boxes())
    rows, columns = windows(projection, source, target.population)
    th, tw, tc = target.shape
    y0, y1 = blocks(target.population.height, th)
    x0, x1 = blocks(target.population.width, tw)
    c0, c1 = blocks(target.population.channels, tc)
    return (
        count_readers(*rows.inputs(y0, y1), source.height),
        count_readers(*columns.inputs(x0, x1), source.width),
        count_readers(*source_channels(projection, source, target.population, c0, c1), source.channels),
    )


def blocks(size: int, length: int) -> tuple[Ints, Ints]:
    """Starts and ends of the blocks of ``length`` that cover 0..size-1."""
    start = np.arange(0, size, length, dtype=np.int64)
    return start, np.minimum(start + length, size)


def count_readers(begin: Ints, end: Ints, size: int) -> Ints:
    """How many of the ranges [begin, end) contain each of 0..size-1."""
    steps = np.zeros(size + 1, np.int64)
    np.add.at(steps, begin, 1)
    np.add.at(steps, end, -1)
    return np.cumsum(steps)[:size]


def worst_block(weights: Ints, length: Ints) -> Ints:
    """Largest sum of ``weights`` over the blocks [0, length), [length, 2 length), ..., for each ``length``."""
    size = len(weights)
    if (weights == weights[0]).all():
        return np.asarray(weights[0] * np.minimum(length, size))
    sums = np.concatenate([[0], np.cumsum(weights)])
    lengths, which = np.unique(length, return_inverse=True)
    parts = (blocks(size, int(n)) for n in lengths)
    return np.array([(sums[stop] - sums[start]).max() for start, stop in parts], np.int64)[which]


def route_count(
    network: Network,
    population: Population,
    readers: list[Projection],
    tilings: dict[str, Tiling],
    shape: tuple[Ints, Ints, Ints],
) -> NDArray[np.float64]:
    """Routes from the tiles of each candidate shape: expected number of tiles that the ports of all readers meet."""
    th, tw, tc = shape
    total = np.zeros(len(th))
    for projection in readers:
        reader = tilings[projection.target]
        spans = read_span(projection, population, reader)
        sizes = (population.height, population.width, population.channels)
        met = [
            np.minimum((span + tile - 1) / tile, np.ceil(size / tile))
            for span, tile, size in zip(spans, (th, tw, tc), sizes, strict=True)
        ]
        total += reader.n_tiles * met[0] * met[1] * met[2]
    return total


def read_span(projection: Projection, source: Population, reader: Tiling) -> tuple[Ints, Ints, Ints]:
    """Rows, columns and channels of ``source`` that the first tile of ``reader`` listens to, (1,) each."""
    th, tw, tc = (np.array([length], np.int64) for length in reader.shape)
    if isinstance(projection, Einsum):
        return read_sizes(projection, (th, tw, tc))
    rows, columns = windows(projection, source, reader.population)
    low, high = source_channels(projection, source, reader.population, np.zeros_like(tc), tc)
    return rows.span(th), columns.span(tw), high - low


def source_traffic(network: Network, population: Population, shape: tuple[Ints, Ints, Ints]) -> NDArray[np.float64]:
    """Source neurons times the tiles each must reach: output axons that a shape asks of its sources."""
    th, tw, tc = shape
    total = np.zeros(len(th))
    for projection in network.incoming[population.name]:
        source = source_of(network, projection)
        if source is None or not uses_axons(projection):
            continue
        if isinstance(projection, Einsum):
            boxes = -(-population.height // th) * -(-population.width // tw) * -(-population.channels // tc)
            total += boxes * np.prod(read_sizes(projection, shape), axis=0)
            continue
        rows, columns = windows(projection, source, population)
        read = read_total(rows, th, population.height) * read_total(columns, tw, population.width)
        lines = max(1, source.digits) * sum(s.lines for s in projection.sources)
        total += lines * read * channel_total(projection, source, population, tc)
    return total


def read_total(window: Window, length: Ints, size: int) -> NDArray[np.float64]:
    """Inputs along one axis read by all blocks of ``length`` outputs together."""
    lengths, which = np.unique(length, return_inverse=True)
    ranges = (window.inputs(*blocks(size, int(n))) for n in lengths)
    return np.array([float((end - begin).sum()) for begin, end in ranges])[which]


def channel_total(projection: Projection, source: Population, target: Population, length: Ints) -> NDArray[np.float64]:
    """Source channels read by all blocks of ``length`` target channels together."""
    lengths, which = np.unique(length, return_inverse=True)
    ranges = (source_channels(projection, source, target, *blocks(target.channels, int(n))) for n in lengths)
    return np.array([float((end - begin).sum()) for begin, end in ranges])[which]


def _does_not_fit(
    population: Population, least: dict[str, int], limits: dict[str, int], chip: ChipSpec, narrower: str
) -> str:
    over = {name: least[name] for name in RESOURCES if least[name] > limits[name]}
    advice = {
        "input_axons": "reduce the fan-in (smaller kernel, fewer inputs)",
        "synapse_words": narrower,
        "output_axons": "reduce the number of layers that read it, or choose a chip with more output axons",
        "neurons": "choose another chip",
    }
    if not over:
        return (
            f"layer {population.origin!r} ({population.name}): no tile satisfies all limits of a core of {chip.name!r} "
            f"at once (smallest demands {least}, limits {limits}); use fewer --weight-bits or another chip"
        )
    name, need = max(over.items(), key=lambda item: item[1] / limits[item[0]])
    return (
        f"layer {population.origin!r} ({population.name}): one neuron needs {need} {name.replace('_', ' ')}, "
        f"a core of {chip.name!r} has {limits[name]} ({need / limits[name]:.2f} times too many); {advice[name]}"
    )
