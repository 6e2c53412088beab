"""Small networks: when all grids are one position, every tick of an input runs in one compiled call."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from neurochip.network.projections import Weights
from neurochip.program.image import Program
from neurochip.sim.clock import LISTS, Board, Clock
from neurochip.sim.kernels import vectors as kernel
from neurochip.sim.kernels.fanout import Fanout
from neurochip.sim.kernels.synapses import add_blocks, add_channelwise, add_pointwise, add_windows
from neurochip.sim.kernels.vectors import Found, Vectors
from neurochip.sim.schedule import PopulationPlan, ProjectionPlan, Schedule
from neurochip.sim.state import Totals

Counts = NDArray[np.int64]
KINDS = ("source", "lif", "readout")
ROW_KERNELS = (add_windows, add_pointwise, add_blocks)


def vectors_of(schedule: Schedule, board: Board) -> Vectors | None:
    """The network as ``kernels.vectors`` wants it; None if it has what those kernels leave out."""
    network = schedule.program.network
    plans = sorted(schedule.populations, key=lambda plan: plan.number)
    if any(p.coding == "graded" for p in network.populations):
        return None
    if network.interval != 1 or not all(_plain(plan, schedule.program) for plan in plans):
        return None
    projections = incoming(schedule)
    if not all(_whole(plan, projection, schedule) for plan, projection in projections):
        return None
    weights: list[Weights] = [np.zeros(0, np.int8)]
    rows = []
    sources: list[tuple[int, int]] = []
    blocks: list[tuple[int, int, int]] = []
    at = 0
    for plan, projection in projections:
        bundle = schedule.bundles[projection.bundle]
        alone = projection.kernel is add_channelwise
        own = _channels(plan, projection.tiles)
        weight = int(projection.weight[0, 0]) if alone else at
        rows.append([
            plan.number, LISTS.index(projection.lists), weight, alone,
            len(sources), len(sources) + len(bundle), len(blocks), len(blocks) + len(own),
        ])  # fmt: skip
        sources += bundle
        blocks += own
        if not alone:
            weights.append(projection.weight.ravel())
            at += projection.weight.size
    tiles = [(plan.number, *tile) for plan in plans for tile in _channels(plan, plan.tiles)]
    populations, fanout = _populations(plans, board)
    return Vectors(
        populations=populations,
        projections=_table(rows, 8),
        sources=_table(sources, 2),
        blocks=_table(blocks, 3),
        tiles=_table(tiles, 4),
        weights=np.concatenate(weights),
        delays=1 + max((delay for _, delay in sources), default=1),
        fanout=fanout,
    )


def run_vectors(vectors: Vectors, clock: Clock, totals: Totals, schedule: Schedule, levels: Counts) -> Counts:
    """Simulate the inputs ``levels`` (T or 1, B, 1, 1, C), one after the other; readout membranes (B, O)."""
    network, board = schedule.program.network, clock.board
    clock.start(1)
    chip = kernel.Board(
        clock.work, board.core_times, clock.totals, board.idle, (board.mesh.height, board.mesh.width), board.link_kinds
    )
    frames = np.broadcast_to(levels, (network.timesteps, *levels.shape[1:])).astype(np.int32)
    last = [p.name for p in network.populations].index(network.readout.population)
    begin, size = int(vectors.populations[last, kernel.STATE]), int(vectors.populations[last, kernel.CHANNELS])
    readouts = []
    for item in range(levels.shape[1]):
        found = _nothing(vectors, clock, network.timesteps, network.ticks)
        kernel.run_input(vectors, np.ascontiguousarray(frames[:, item, 0, 0]), chip, found)
        readouts.append(found.membrane[begin : begin + size].astype(np.int64))
        totals.tick_ns.append(clock.durations(found.busiest, clock.bound(found.loads, found.ends, found.longest))[None])
        totals.clips += int(found.clips[0])
        for i, p in enumerate(network.populations):
            counts = totals.populations[p.name]
            counts.spikes += found.spikes[i]
            counts.active += int(found.active[i])
            clock.count_moves(found.moves[i], counts)
        for (_, projection), ops in zip(incoming(schedule), found.ops, strict=True):
            totals.projections[projection.projection.name].add(int(ops))
    return np.stack(readouts)


def _nothing(vectors: Vectors, clock: Clock, steps: int, ticks: int) -> Found:
    n, neurons = len(vectors.populations), int(vectors.populations[:, kernel.CHANNELS].sum())
    return Found(
        spikes=np.zeros((n, steps), np.int64),
        active=np.zeros(n, np.int64),
        moves=np.zeros((n, 6), np.int64),
        ops=np.zeros(len(vectors.projections), np.int64),
        clips=np.zeros(1, np.int64),
        busiest=np.zeros(ticks),
        ends=np.zeros((ticks, 2), np.int64),
        longest=np.zeros(ticks, np.int64),
        loads=np.zeros((ticks, len(clock.board.kind_times.service)), np.int64),
        membrane=np.zeros(neurons, np.int32),
    )


def incoming(schedule: Schedule) -> list[tuple[PopulationPlan, ProjectionPlan]]:
    """Projections that carry spikes, those of a target adjoining."""
    plans = sorted(schedule.populations, key=lambda plan: plan.number)
    return [(plan, projection) for plan in plans for projection in plan.incoming]


def _plain(plan: PopulationPlan, program: Program) -> bool:
    """Whether a population is a vector of plain neurons that fit ``kernels.neurons.update_safe``."""
    p = plan.population
    usual = p.copies == 1 and p.home == "core" and getattr(p, "compartments", 1) == 1
    simple = not plan.biases and plan.encoder is None and plan.product is None
    source = p.neuron.kind == "source"
    return p.positions == 1 and p.neuron.kind in KINDS and simple and (source or (usual and bool(plan.rules.safe)))


def _whole(plan: PopulationPlan, projection: ProjectionPlan, schedule: Schedule) -> bool:
    """Whether every neuron receives every spike it should through whole rows, or its own channel's."""
    special = projection.crosspoints is not None or getattr(projection, "offsets", None) is not None
    if special or projection.extra_shift or projection.kernel not in (add_channelwise, *ROW_KERNELS):
        return False
    source = schedule.program.network.populations[schedule.bundles[projection.bundle][0][0]]
    c0, c1, low, high = projection.boxes[:, 4], projection.boxes[:, 5], projection.boxes[:, 10], projection.boxes[:, 11]
    if (c1 - c0).sum() != plan.population.channels:
        return False
    if projection.kernel is add_channelwise:
        return projection.weight.shape == (1, 1) and bool(((low <= c0) & (high >= c1)).all())
    shape = (source.channels, plan.population.channels)
    return projection.weight.shape == shape and bool(((low == 0) & (high == source.channels)).all())


def _channels(plan: PopulationPlan, tiles: NDArray[np.int32]) -> list[tuple[int, int, int]]:
    """(core, first channel, last + 1) of tiles."""
    size, width = plan.population.channels, plan.slice_width
    return [(int(t[5]), int(t[4]) * width, min((int(t[4]) + 1) * width, size)) for t in tiles]


def _populations(plans: list[PopulationPlan], board: Board) -> tuple[Counts, Fanout]:
    """Their table, and the fan-out of all."""
    rows, parts = [], []
    state = boxes = spans = ranges = 0
    for plan in plans:
        rules, booking = plan.rules, board.bookings[plan.number]
        cuts = np.searchsorted(booking.piece, np.arange(booking.n_pieces + 1)).astype(np.int32)
        fanout = booking.fanout
        placed = fanout.boxes.copy()
        placed[:, 4], placed[:, 5] = cuts[placed[:, 4]], cuts[placed[:, 5]]
        parts.append(
            fanout._replace(
                boxes=placed, range_start=fanout.range_start[:-1] + ranges, span_start=fanout.span_start[:-1] + spans
            )
        )
        top = (1 << (rules.membrane_bits - 1)) - 1
        level = top if rules.readout else rules.threshold - (1 if rules.fires_ge else 0)
        kind = KINDS.index(plan.population.neuron.kind)
        rows.append([
            kind, plan.population.channels, state, plan.population.depth, rules.halvings, rules.shift, top, level,
            boxes, boxes + len(placed),
        ])  # fmt: skip
        state, boxes = state + plan.population.channels, boxes + len(placed)
        spans, ranges = spans + len(fanout.spans), ranges + len(fanout.ranges)
    joined = {name: np.concatenate([getattr(part, name) for part in parts]) for name in Fanout._fields}
    joined["range_start"] = np.append(joined["range_start"], np.int32(ranges))
    joined["span_start"] = np.append(joined["span_start"], np.int32(spans))
    return _table(rows, 10), Fanout(**joined)


def _table(rows: Iterable[Iterable[int]], columns: int) -> Counts:
    return np.array(list(rows), np.int64).reshape(-1, columns)
