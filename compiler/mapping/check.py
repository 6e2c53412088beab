"""The independent checker of mapped programs: everything is recomputed from the network and the chip's limits.

It shares no code with tiling, packing, emission or placement, and does not believe any table it can recompute. Whole
columns at a time, so that 10**4 cores and 10**6 routes take seconds.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from compiler.mapping.check_arithmetic import arithmetic_problems
from compiler.mapping.check_cores import core_problems
from compiler.mapping.check_crossbar import crossbar_problems
from compiler.mapping.check_index import index_shortfall
from compiler.mapping.check_modes import mode_problems
from compiler.mapping.check_routes import route_problems
from neurochip.errors import ProgramError
from neurochip.network.network import Network
from neurochip.network.projections import Conv, Einsum, Gated, Gather, Matrix, MaxConv, Pool, Product, Projection
from neurochip.program.image import Program, Table, uses_axons
from neurochip.program.validate import population_grids, validate_program

Ints = NDArray[np.int64]
_SHOWN = 20
_AXES = (("y0", "y1"), ("x0", "x1"), ("c0", "c1"))


def check_program(program: Program, *, arithmetic: bool = True) -> None:
    """Check that ``program`` computes its network on its chip.

    Checked: tiles partition every population; every tile has each of its synapses, behind a port that covers what it
    listens to; every axon of every port is fed by exactly one route, at the right delay; cores, processors and chips
    are where the chip has them; every resource, recounted, equals ``use`` and is within the limits. With ``arithmetic``
    also: weights, shifts, thresholds and delays are values the chip can hold, and no accumulator can wrap.

    Raises:
        ProgramError: listing the violations. A program that the compiler made must never raise it.
    """
    validate_program(program)
    found = list(mapping_problems(program))
    if arithmetic:
        found += arithmetic_problems(program)
    if found:
        more = f"\n  - and {len(found) - _SHOWN} more" if len(found) > _SHOWN else ""
        lines = "".join(f"\n  - {line}" for line in found[:_SHOWN])
        raise ProgramError(
            f"program {program.origin.model!r} breaks rules of mapping to {program.chip.name!r}:{lines}{more}\n"
            "compile the model again; if a fresh program says this, it is a bug of the compiler: please report it"
        )


def mapping_problems(program: Program) -> Iterator[str]:
    """Every rule about tiles, blocks, routes, cores and resources that a well-formed ``program`` breaks."""
    yield from _partition(program)
    yield from _blocks(program)
    yield from route_problems(program)
    yield from core_problems(program)
    yield from crossbar_problems(program)
    yield from mode_problems(program)


def _partition(program: Program) -> Iterator[str]:
    """Every neuron is in exactly one tile."""
    grids = population_grids(program)
    order = np.argsort(program.tiles["population"], kind="stable")
    starts = np.searchsorted(program.tiles["population"][order], np.arange(len(grids) + 1))
    for index, population in enumerate(program.network.populations):
        rows = order[starts[index] : starts[index + 1]]
        count, corners = _cover(program.tiles[rows], grids[index])
        wrong = np.argwhere(count != 1)
        if len(wrong):
            y, x, c = (int(edges[i]) for edges, i in zip(corners, wrong[0], strict=True))
            neuron = f"neuron (y {y}, x {x}, channel {c})"
            yield f"population {population.name!r}: {neuron} is in {int(count[tuple(wrong[0])])} tiles, expected 1"


def _cover(boxes: Table, grid: Ints) -> tuple[Ints, list[Ints]]:
    """How many boxes cover each cell of the grid that the boxes' own edges cut, and the edges' coordinates."""
    edges = [np.unique(np.concatenate([boxes[a], boxes[b], [0, grid[i]]])) for i, (a, b) in enumerate(_AXES)]
    steps = np.zeros([len(e) for e in edges], np.int64)
    places = [[np.searchsorted(edges[i], boxes[end]) for end in axis] for i, axis in enumerate(_AXES)]
    for corner in range(8):
        ends = [corner >> axis & 1 for axis in range(3)]
        np.add.at(steps, tuple(places[i][end] for i, end in enumerate(ends)), 1 - 2 * (sum(ends) % 2))
    return steps.cumsum(0).cumsum(1).cumsum(2)[:-1, :-1, :-1], edges


def _blocks(program: Program) -> Iterator[str]:
    """Every (projection, tile of its target) has one synapse block, whose port covers all that the tile listens to."""
    network, synapses = program.network, program.synapses
    index = {p.name: i for i, p in enumerate(network.populations)}
    pairs = synapses["projection"].astype(np.int64) * len(program.tiles) + synapses["tile"]
    for number, projection in enumerate(network.projections):
        tiles = np.flatnonzero(program.tiles["population"] == index[projection.target])
        mine = np.flatnonzero(synapses["projection"] == number)
        held = np.bincount(synapses["tile"][mine], minlength=len(program.tiles))[tiles]
        for tile in tiles[held != 1][:1]:
            count = int((pairs == number * len(program.tiles) + tile).sum())
            yield f"projection {projection.name!r}: tile {tile} has {count} synapse blocks for it, expected 1"
        if uses_axons(projection):
            yield from _reach(program, projection, mine)


def _reach(program: Program, projection: Projection, rows: Ints) -> Iterator[str]:
    tiles = program.tiles[program.synapses["tile"][rows]]
    ports = program.ports[program.synapses["port"][rows]]
    if isinstance(projection, Einsum):
        short = index_shortfall(projection, tiles, ports)
    else:
        short = _window_shortfall(program.network, projection, tiles, ports)
    for row in rows[short][:1]:
        tile, port = program.synapses["tile"][row], program.synapses["port"][row]
        more = f" (and {int(short.sum()) - 1} more tiles)" if short.sum() > 1 else ""
        yield f"projection {projection.name!r}: port {port} does not cover all that tile {tile} listens to{more}"


def _window_shortfall(network: Network, projection: Projection, tiles: Table, ports: Table) -> NDArray[np.bool_]:
    """Rows whose port does not hold the windows that the tile of the same row listens to."""
    short = np.zeros(len(tiles), bool)
    for (low, top), (first, last) in zip(_AXES, receptive_fields(network, projection), strict=True):
        begin, end = _over(np.minimum, first, tiles[low], tiles[top]), _over(np.maximum, last, tiles[low], tiles[top])
        short |= (begin < end) & ((ports[low] > begin) | (ports[top] < end))
    return short


def receptive_fields(network: Network, projection: Projection) -> list[tuple[Ints, Ints]]:
    """Per axis (y, x, channel): the first and one past the last source index that each target index listens to.

    An index that listens to nothing has first = size and last = 0.
    """
    target = network.by_name[projection.target]
    source = network.by_name[projection.sources[0].population]
    sizes = ((source.height, target.height), (source.width, target.width))
    if isinstance(projection, Conv | Pool):
        kernel = projection.weight.shape[:2] if isinstance(projection, Conv) else projection.kernel
        skipped = (projection.rows[0], 0) if isinstance(projection, Conv) and projection.rows is not None else (0, 0)
        fields = [
            _taps(n, outputs, kernel[axis], projection.stride[axis], projection.padding[axis] - skipped[axis])
            for axis, (n, outputs) in enumerate(sizes)
        ]
    elif isinstance(projection, MaxConv):
        fields = [_maxima_taps(projection, axis, n, outputs) for axis, (n, outputs) in enumerate(sizes)]
    elif isinstance(projection, Gather):
        fields = [
            (np.arange(outputs) * (n // outputs), (np.arange(outputs) + 1) * (n // outputs)) for n, outputs in sizes
        ]
    elif isinstance(projection, Product | Matrix):
        fields = [_constant(outputs, n) for n, outputs in sizes]
    else:
        fields = [(np.arange(outputs), np.arange(outputs) + 1) for _, outputs in sizes]
    return [*fields, _channels(projection, source.channels, target.channels)]


def _taps(size: int, outputs: int, kernel: int, stride: int, padding: int) -> tuple[Ints, Ints]:
    read = np.arange(outputs)[:, None] * stride - padding + np.arange(kernel)
    inside = (read >= 0) & (read < size)
    return np.where(inside, read, size).min(axis=1), np.where(inside, read + 1, 0).max(axis=1)


def _maxima_taps(projection: MaxConv, axis: int, size: int, outputs: int) -> tuple[Ints, Ints]:
    """As ``_taps``, over the blocks of maxima, their windows, and the convolution at each position of a window."""
    stride, kernel = projection.stride[axis], projection.weight.shape[axis]
    conv = (size + 2 * projection.padding[axis] - kernel) // stride + 1
    span, step, around = projection.pool_kernel[axis], projection.pool_stride[axis], projection.pool_padding[axis]
    maxima = (conv + 2 * around - span) // step + 1
    at = np.arange(maxima)[:, None] * step - around + np.arange(span)
    first, last = _taps(size, conv, kernel, stride, projection.padding[axis])
    inside = (at >= 0) & (at < conv)
    begin = np.where(inside, first[np.clip(at, 0, conv - 1)], size).min(axis=1)
    end = np.where(inside, last[np.clip(at, 0, conv - 1)], 0).max(axis=1)
    return begin.reshape(outputs, -1).min(axis=1), end.reshape(outputs, -1).max(axis=1)


def _constant(outputs: int, size: int) -> tuple[Ints, Ints]:
    return np.zeros(outputs, np.int64), np.full(outputs, size, np.int64)


def _channels(projection: Projection, n_in: int, n_out: int) -> tuple[Ints, Ints]:
    if isinstance(projection, Pool):
        return np.arange(n_out), np.arange(n_out) + 1
    groups = 1
    if isinstance(projection, Conv | MaxConv):
        groups = projection.groups
    elif isinstance(projection, Product | Gated):
        groups = projection.heads
    group, offset = np.arange(n_out) // (n_out // groups), 0
    if isinstance(projection, Conv) and projection.channels is not None:
        offset, n_in = projection.channels[0], projection.channels[1] - projection.channels[0]
    return offset + group * (n_in // groups), offset + (group + 1) * (n_in // groups)


def _over(function: np.ufunc, values: Ints, starts: Ints, stops: Ints) -> Ints:
    """``function.reduce(values[start:stop])`` for every (start, stop), none of them empty."""
    bounds = np.stack([starts, stops], axis=1).ravel().astype(np.intp)
    reduced: Ints = function.reduceat(np.append(values, values[-1]), bounds)[::2]
    return reduced
