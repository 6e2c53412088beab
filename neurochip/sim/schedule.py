"""Program -> schedule: the tables regrouped into what each population does in its tick, once, before any input."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from neurochip.errors import ProgramError
from neurochip.network.counts import counting_populations, counts_spikes
from neurochip.network.network import Network, Population
from neurochip.network.projections import (
    Bias,
    Conv,
    Dense,
    Einsum,
    Encoder,
    Gated,
    Gather,
    Matrix,
    MaxConv,
    Pool,
    Product,
    Projection,
    Weights,
    narrowest,
)
from neurochip.program.image import PROCESSOR, Program, Table
from neurochip.sim.crossbar import Crosspoints, crosspoints_of
from neurochip.sim.kernels import synapses as kernels
from neurochip.sim.kernels.indexed import Offsets, add_indexed
from neurochip.sim.kernels.neurons import Rules
from neurochip.sim.kernels.payloads import add_payload
from neurochip.sim.kernels.synapses import Window
from neurochip.sim.offsets import offsets_of
from neurochip.sim.panels import panels_of
from neurochip.sim.rules import update_rules
from neurochip.sim.weighted import WeightedPlan, weighted_plan
from neurochip.sim.whole_products import whole_products

Kernel = Callable[..., Any]
DENSE_FROM = 0.2
"""Spikes per source neuron from which a matrix product beats the addition of rows: ratio of the kernels' rates."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ProjectionPlan:
    """One projection: which kernel adds which rows in which boxes, and which core each accumulate belongs to.

    Attributes:
        weight: rows of int8 or int16, see ``kernels.synapses``.
        extra_shift: what its sums are shifted beyond the population's.
        boxes: (n, 12) int32, see ``kernels.synapses``; neighbouring channel slices of equal positions are one box.
        tiles: (n, 6) int32 (y0, y1, x0, x1, slice, core) of every synapse block.
        lists: ``dense``, ``conv``, ``sparse`` or ``mac``: which synaptic cost applies.
        crosspoints: on a crossbar, what counts as a synaptic event. offsets: of connections by index.
        graded: its sources send payloads, one packet each. tally: these count spikes. fan_in: where a matrix unit
            multiplies whole windows of them, the multiply-accumulates of a neuron; else 0.
        panels: the weights for ``kernels.dense.multiply``, empty if it does not suit.
    """

    projection: Projection
    bundle: int
    kernel: Kernel
    window: Window | kernels.Maxima
    weight: Weights
    groups: int
    extra_shift: int
    boxes: NDArray[np.int32]
    tiles: NDArray[np.int32]
    lists: str
    panels: NDArray[np.int8]
    crosspoints: Crosspoints | None = None
    offsets: Offsets | None = None
    graded: bool = False
    tally: bool = False
    fan_in: int = 0

    @property
    def payload(self) -> bool:
        """Whether its sources send integers, not spikes."""
        return self.kernel is add_payload or self.graded

    @property
    def one_to_one(self) -> bool:
        """Whether it brings the spikes of each neuron to one other, by one weight."""
        pool = isinstance(self.projection, Pool) and self.projection.kernel == (1, 1)
        return pool and self.kernel is kernels.add_channelwise and self.crosspoints is None

    @property
    def padding(self) -> tuple[int, int]:
        """Positions around the source grid that windows reach."""
        return self.window.padding_y, self.window.padding_x

    def suits(self, density: float) -> bool:
        """Whether ``kernels.dense`` is the quicker way to add so many spikes a neuron of the source."""
        return density > DENSE_FROM and len(self.panels) > 0


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class PopulationPlan:
    """One population: its update rules, tiles and incoming projections.

    Attributes:
        slice_width: neurons of one position on one core.
        weighted: how a product with weighted sums is computed.
        tiles: (n, 6) int32 (y0, y1, x0, x1, slice, core).
        whole_products: on a matrix unit, the operations of one head in one step, part by part; else empty.
        bias_ops: cores of the population, and the accumulates one bias axon causes on each in one step.
    """

    population: Population
    number: int
    rules: Rules
    slice_width: int
    tiles: NDArray[np.int32]
    incoming: tuple[ProjectionPlan, ...]
    biases: tuple[Bias, ...]
    encoder: Encoder | None
    product: Product | None
    product_sources: tuple[tuple[int, int], ...]
    weighted: WeightedPlan | None
    whole_products: tuple[int, ...]
    bias_ops: tuple[NDArray[np.int64], NDArray[np.int64]]

    @property
    def cost(self) -> int:
        """About how long a step takes, in additions."""
        return self.population.positions * (8 * self.population.channels + sum(p.weight.size for p in self.incoming))

    @property
    def n_slices(self) -> int:
        """Channel slices of one position."""
        return -(-self.population.channels // self.slice_width)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Schedule:
    """Everything the engine needs, in depth order."""

    program: Program
    populations: tuple[PopulationPlan, ...]
    bundles: tuple[tuple[tuple[int, int], ...], ...]
    """Per bundle: (population number, delay) of each source."""
    listeners: tuple[tuple[tuple[int, int], ...], ...]
    """Per population number: (delay, number) of each population that reads it by axons."""


def make_schedule(program: Program) -> Schedule:
    """Regroup the tables of ``program``. Raises ``ProgramError`` if they leave a neuron without a tile."""
    network = program.network
    number = {p.name: i for i, p in enumerate(network.populations)}
    order = sorted(range(len(network.populations)), key=lambda i: (network.populations[i].depth, i))
    counting = counting_populations(network)
    tiles_of = _grouped(program.tiles["population"], len(network.populations))
    blocks_of = _grouped(program.synapses["projection"], len(network.projections))
    plans = tuple(_plan_population(program, i, tiles_of[i], blocks_of, counting) for i in order)
    bundles = tuple(tuple((number[s.population], s.delay) for s in bundle) for bundle in program.bundles)
    readers: list[set[tuple[int, int]]] = [set() for _ in network.populations]
    for number_of, projection in ((plan.number, p) for plan in plans for p in plan.incoming):
        for source, delay in bundles[projection.bundle]:
            readers[source].add((delay, number_of))
    listeners = tuple(tuple(sorted(each)) for each in readers)
    return Schedule(program=program, populations=plans, bundles=bundles, listeners=listeners)


def _grouped(keys: NDArray[np.int32], groups: int) -> list[NDArray[np.int64]]:
    """Row numbers of each key 0..groups-1."""
    order = np.argsort(keys, kind="stable")
    return np.split(order, np.searchsorted(keys[order], np.arange(1, groups)))


def _plan_population(
    program: Program,
    number: int,
    tiles: NDArray[np.int64],
    blocks_of: list[NDArray[np.int64]],
    counting: frozenset[str],
) -> PopulationPlan:
    network = program.network
    number_of = {p.name: i for i, p in enumerate(network.populations)}
    population = network.populations[number]
    own = program.tiles[tiles]
    sizes = (own["y1"] - own["y0"]) * (own["x1"] - own["x0"]) * (own["c1"] - own["c0"])
    if sizes.sum() != population.size:
        raise ProgramError(
            f"population {population.name!r}: its tiles hold {sizes.sum()} neurons, expected {population.size}; "
            "compile the model again"
        )
    width = int((own["c1"] - own["c0"]).max())
    incoming, biases, encoder, product = [], [], None, None
    shift = _common_shift(network, population)
    for i, projection in enumerate(network.projections):
        if projection.target != population.name:
            continue
        if isinstance(projection, Bias):
            biases.append(projection)
        elif isinstance(projection, Encoder):
            encoder = projection
        elif isinstance(projection, Product):
            product = projection
        elif isinstance(projection, Matrix | Gated):
            continue  # see ``weighted_plan``
        else:
            planned = _plan_projection(program, projection, population, blocks_of[i], shift, width)
            incoming.append(replace(planned, tally=planned.graded and counts_spikes(projection, counting)))
    return PopulationPlan(
        population=population,
        number=number,
        rules=update_rules(network, population, shift),
        slice_width=width,
        tiles=_tile_rows(own, width),
        incoming=tuple(sorted(incoming, key=lambda plan: plan.extra_shift)),
        biases=tuple(biases),
        encoder=encoder,
        product=product,
        product_sources=operands_of(network, population, number_of),
        weighted=weighted_plan(network, population),
        whole_products=whole_products(network, population) if on_matrix_unit(program, own) else (),
        bias_ops=_bias_ops(own),
    )


def on_matrix_unit(program: Program, tiles: Table) -> bool:
    """Whether ``tiles`` are products on processors that have one."""
    return program.chip.processors_multiply and bool((program.cores["kind"][tiles["core"]] == PROCESSOR).all())


def operands_of(network: Network, target: Population, number_of: dict[str, int]) -> tuple[tuple[int, int], ...]:
    """(population number, ticks since it ran the step at hand) of each operand of a product: q, k, v, or x, z."""
    parts = [p for p in network.incoming[target.name] if isinstance(p, Product | Matrix | Gated)]
    parts.sort(key=lambda p: isinstance(p, Gated))
    return tuple((number_of[s.population], network.span(s, target.name)) for p in parts for s in p.sources)


def _bias_ops(tiles: Table) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Distinct cores of ``tiles``, and neurons on each."""
    cores, where = np.unique(tiles["core"], return_inverse=True)
    sizes = (tiles["y1"] - tiles["y0"]) * (tiles["x1"] - tiles["x0"]) * (tiles["c1"] - tiles["c0"])
    return cores.astype(np.int64), np.bincount(where, weights=sizes).astype(np.int64)


def _common_shift(network: Network, population: Population) -> int:
    """Smallest shift of the projections that carry spikes into ``population``."""
    shifts = [p.shift for p in network.incoming[population.name] if not isinstance(p, Bias | Encoder)]
    return min(shifts, default=0)


def _plan_projection(
    program: Program, projection: Projection, target: Population, blocks: NDArray[np.int64], shift: int, width: int
) -> ProjectionPlan:
    network = program.network
    source = network.by_name[projection.sources[0].population]
    table = program.synapses[blocks]
    tiles, ports = program.tiles[table["tile"]], program.ports[table["port"]]
    kernel, weight, window, groups, lists = _geometry(projection, source, target)
    try:
        rows = np.ascontiguousarray(narrowest(weight))
    except ValueError as error:
        raise ProgramError(f"projection {projection.name!r}: {error}; recompile") from None
    boxes = _merged_boxes(tiles, ports, channelwise=kernel in (kernels.add_channelwise, add_payload))
    if (
        kernel is kernels.add_windows
        and isinstance(projection, Dense)
        and (boxes[:, 11] - boxes[:, 10]).min() == source.channels
    ):
        kernel = kernels.add_pointwise
    graded = source.coding == "graded"
    return ProjectionPlan(
        projection=projection,
        bundle=program.bundles.index(projection.sources),
        kernel=kernel,
        window=window,
        weight=rows,
        groups=groups,
        extra_shift=projection.shift - shift,
        boxes=boxes,
        tiles=_tile_rows(tiles, width),
        lists="mac" if graded else lists,
        panels=panels_of(network, projection, boxes, window, rows),
        crosspoints=crosspoints_of(projection, source, target, width),
        offsets=offsets_of(projection, source),
        graded=graded,
        fan_in=_fan_in(projection, len(weight), source, target) if graded and program.chip.mac_array else 0,
    )


def _fan_in(projection: Projection, rows: int, source: Population, target: Population) -> int:
    """Synapses of one neuron, ``rows`` of weights or those that a kind without rows stands for."""
    if isinstance(projection, Einsum | Pool):
        return projection.fan_in if isinstance(projection, Einsum) else 1
    return rows * (source.positions // target.positions if isinstance(projection, Gather) else 1)


def _geometry(
    projection: Projection, source: Population, target: Population
) -> tuple[Kernel, NDArray[np.integer[Any]], Window | kernels.Maxima, int, str]:
    """(kernel, weight rows, window, groups, list kind) of one projection."""

    def window(kernel: tuple[int, int], stride: tuple[int, int], padding: tuple[int, int]) -> Window:
        return Window(source.height, source.width, target.height, target.width, *kernel, *stride, *padding)

    point, payload = window((1, 1), (1, 1), (0, 0)), source.coding == "graded"
    if isinstance(projection, Einsum) or (isinstance(projection, Pool) and payload):
        return add_indexed, np.full((1, 1), projection.weight, np.int16), point, 1, "sparse"
    if isinstance(projection, Dense):
        return kernels.add_windows, projection.weight, point, 1, "dense"
    if isinstance(projection, Gather):
        block = (source.height // target.height, source.width // target.width)
        return kernels.add_blocks, projection.weight, window(block, block, (0, 0)), 1, "dense"
    if isinstance(projection, Pool):
        area = projection.kernel[0] * projection.kernel[1]
        weight = np.full((area, 1), projection.weight, np.int32)
        bits = source.neuron.kind == "product" or source.coding == "digits"
        kernel = add_payload if bits else kernels.add_channelwise
        return kernel, weight, window(projection.kernel, projection.stride, projection.padding), 1, "sparse"
    if isinstance(projection, MaxConv):
        conv, pooled = projection.grids(source.height, source.width)
        kh, kw, per_group, n_out = projection.weight.shape
        block = (pooled[0] // target.height, pooled[1] // target.width)
        maxima = kernels.Maxima(
            *window((kh, kw), projection.stride, projection.padding), *conv, *block, *projection.pool_kernel,
            *projection.pool_stride, *projection.pool_padding,
        )  # fmt: skip
        rows_of = projection.weight.reshape(kh * kw * per_group, n_out)
        return kernels.add_maxima, rows_of, maxima, projection.groups, "conv"
    if isinstance(projection, Conv):
        taps = projection.weight
        if projection.channels is not None:
            first, last = projection.channels
            taps = np.pad(taps, ((0, 0), (0, 0), (first, source.channels - last), (0, 0)))
        kh, kw, per_group, n_out = taps.shape
        rows = taps.reshape(kh * kw * per_group, n_out)
        kernel = kernels.add_channelwise if per_group == 1 and projection.groups == n_out else kernels.add_windows
        return kernel, rows, window((kh, kw), projection.stride, projection.lead), projection.groups, "conv"
    raise ProgramError(f"projection {projection.name!r}: no kernel for kind {projection.kind!r}")


def _merged_boxes(tiles: Table, ports: Table, channelwise: bool) -> NDArray[np.int32]:
    """Boxes of the synapse blocks; blocks that differ only in neighbouring target channels become one.

    ``channelwise``: channel c listens to channel c alone, so the ports of merged blocks join as well.
    """
    names = ("y0", "y1", "x0", "x1", "c0", "c1")
    rows = np.stack([*(tiles[n] for n in names), *(ports[n] for n in names)], axis=1).astype(np.int32)
    if channelwise and np.array_equal(rows[:, 4:6], rows[:, 10:12]):
        rows[:, 10:12] = 0  # joined again below
    key = rows[:, [0, 1, 2, 3, 6, 7, 8, 9, 10, 11, 4, 5]]
    key = key[np.lexsort(key.T[::-1])]
    same = np.all(key[1:, :10] == key[:-1, :10], axis=1) & (key[1:, 10] == key[:-1, 11])
    first = np.flatnonzero(np.concatenate([[True], ~same]))
    merged = key[first].copy()
    merged[:, 11] = key[np.concatenate([first[1:], [len(key)]]) - 1, 11]
    if channelwise and not merged[:, 8:10].any():
        merged[:, 8:10] = merged[:, 10:12]
    return np.ascontiguousarray(merged[:, [0, 1, 2, 3, 10, 11, 4, 5, 6, 7, 8, 9]])


def _tile_rows(tiles: Table, width: int) -> NDArray[np.int32]:
    return np.stack(
        [tiles["y0"], tiles["y1"], tiles["x0"], tiles["x1"], tiles["c0"] // width, tiles["core"]], axis=1
    ).astype(np.int32)


def as_rows(table: Table) -> NDArray[np.int32]:
    """A program table as (rows, columns) int32."""
    return np.ascontiguousarray(table).view(np.int32).reshape(len(table), len(table.dtype.names or ()))
