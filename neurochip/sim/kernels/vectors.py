"""Networks of vectors, all ticks of one input in one call: grids of one position, leaks by halves, hard resets.

Does what the engine does tick by tick with the kernels of the other files, for networks so small that calling those
would take longer than their work.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from neurochip.sim.kernels.fanout import Fanout
from neurochip.sim.kernels.synapses import add_rows
from neurochip.sim.kernels.ticks import CoreTimes, CoreTotals, Idle, Work, close_cores, close_links
from neurochip.sim.kernels.traffic import book_packets
from neurochip.stamp import stamp

Int32 = NDArray[np.int32]
Counts = NDArray[np.int64]
SOURCE, LIF, READOUT = range(3)

(KIND, CHANNELS, STATE, DEPTH, HALVINGS, SHIFT, TOP, LEVEL, FIRST_BOX, LAST_BOX) = range(10)
"""Columns of ``Vectors.populations``: its kind, size, first neuron, depth, its update rule, its rows of ``fanout``."""
(TARGET, LIST, WEIGHT, ONE_TO_ONE, FIRST_SOURCE, LAST_SOURCE, FIRST_BLOCK, LAST_BLOCK) = range(8)
"""Columns of ``Vectors.projections``: its target, list, first weight (its value if one to one), rows of tables."""


class Vectors(NamedTuple):
    """A network and its tables, all populations one after the other.

    ``populations`` (n, 10), ``projections`` (m, 8) int64: see the columns above; projections of a target adjoin.
    ``sources`` (k, 2) int64: population and delay; ``blocks`` (j, 3): core, channels [c0, c1) of synapse blocks;
    ``tiles`` (i, 4): population, core, channels; ``weights``: rows of int8 or int16; ``delays``: longest delay + 1.
    ``fanout``: of all populations, boxes with channels in the place of pieces.
    """

    populations: Counts
    projections: Counts
    sources: Counts
    blocks: Counts
    tiles: Counts
    weights: NDArray[np.int8 | np.int16]
    delays: int
    fanout: Fanout


class Board(NamedTuple):
    """The chip: see ``kernels.ticks``."""

    work: Work
    times: CoreTimes
    totals: CoreTotals
    idle: Idle
    mesh: tuple[int, int]
    kinds: NDArray[np.uint8]


class Found(NamedTuple):
    """Sums over all ticks. int64: ``spikes`` (n, T); ``active`` (n,); ``moves`` (n, 6) as ``book_packets`` returns;
    ``ops`` (m,); ``clips`` (1,). Of each tick: ``busiest`` (ticks,) float64 ns; ``ends`` (ticks, 2), ``longest``
    (ticks,), ``loads`` (ticks, kinds) int64, see ``close_cores`` and ``close_links``. ``membrane`` (neurons,) int32."""

    spikes: Counts
    active: Counts
    moves: Counts
    ops: Counts
    clips: Counts
    busiest: NDArray[np.float64]
    ends: Counts
    longest: Counts
    loads: Counts
    membrane: Int32


@njit(cache=True, nogil=True)
def fire(
    population: Counts, current: Int32, membrane: Int32, fired: Int32, touched: NDArray[np.uint8]
) -> tuple[int, np.int32]:
    """One step of a population, as ``kernels.neurons.update_safe``; returns spikes, listed in ``fired``, and clips."""
    halvings, shift = np.int32(population[HALVINGS]), np.int32(population[SHIFT])
    top, level = np.int32(population[TOP]), np.int32(population[LEVEL])
    over = np.int32(0)
    for c in range(len(current)):
        u = np.int32(current[c] << shift)
        before = membrane[c]
        sign = np.int32(before >> np.int32(31))
        kept = np.int32(np.int32(np.int32(np.int32(before ^ sign) - sign) >> halvings) ^ sign) - sign
        full = np.int32(kept + u)
        v = min(max(full, np.int32(-top)), top)
        over += np.int32(v != full)
        touched[c] = (u | before) != 0
        membrane[c] = v
        current[c] = 0
    count = 0
    for c in range(len(current)):
        fired[count] = c
        count += membrane[c] > level
    for j in range(count):
        membrane[fired[j]] = 0
    return count, over


@njit(nogil=True)
def _send(fanout: Fanout, population: Counts, below: Int32, work: Work, moves: Counts) -> None:
    """Book the packets of one population, of whose spikes ``below[c]`` are on channels below c."""
    first, last = population[FIRST_BOX], population[LAST_BOX]
    boxes = fanout.boxes[first:last]
    packets = np.empty((1, len(boxes)), np.int64)
    for k in range(len(boxes)):
        packets[0, k] = below[boxes[k, 5]] - below[boxes[k, 4]]
    own = Fanout(
        boxes,
        fanout.moves[first:last],
        fanout.longest[first:last],
        fanout.range_start[first : last + 1],
        fanout.ranges,
        fanout.span_start[first : last + 1],
        fanout.spans,
    )
    moves += book_packets(packets, own, work.books)


class Sent(NamedTuple):
    """What each population sent in the last ticks: channels int32 (n, delays, most), how many int64 (n, delays)."""

    channels: Int32
    counts: Counts


@njit(nogil=True)
def _replay(frame: Int32, fired: Int32) -> int:
    """List every count of ``frame`` (C,) in ``fired``; how many there are."""
    n = 0
    for c in range(len(frame)):
        for _ in range(frame[c]):
            fired[n] = c
            n += 1
    return n


@njit(nogil=True)
def _deliver(
    vectors: Vectors, sent: Sent, number: int, tick: int, current: Int32, part: NDArray[np.int16], work: Work
) -> int:
    """Add to ``current`` what arrives through projection ``number``; book and return its accumulates."""
    projection, size, arrived, ops = vectors.projections[number], len(current), 0, 0
    lists = work.ops[projection[LIST], 0]
    for s in range(projection[FIRST_SOURCE], projection[LAST_SOURCE]):
        source, slot = vectors.sources[s, 0], (tick - vectors.sources[s, 1]) % vectors.delays
        rows = sent.channels[source, slot, : sent.counts[source, slot]]
        arrived += len(rows)
        if projection[ONE_TO_ONE]:
            for j in range(len(rows)):
                current[rows[j]] += np.int32(projection[WEIGHT])
                ops += 1
                for b in range(projection[FIRST_BLOCK], projection[LAST_BLOCK]):
                    lists[vectors.blocks[b, 0]] += vectors.blocks[b, 1] <= rows[j] < vectors.blocks[b, 2]
        else:
            length = vectors.populations[source, CHANNELS] * size
            weights = vectors.weights[projection[WEIGHT] : projection[WEIGHT] + length]
            add_rows(rows, weights.reshape((-1, size)), current, part)
    if projection[ONE_TO_ONE]:
        return ops
    for b in range(projection[FIRST_BLOCK], projection[LAST_BLOCK]):
        lists[vectors.blocks[b, 0]] += arrived * (vectors.blocks[b, 2] - vectors.blocks[b, 1])
    return arrived * size


@njit(nogil=True)
def _book_cores(vectors: Vectors, number: int, touched: NDArray[np.uint8], below: Int32, work: Work) -> int:
    """Book on its cores which neurons of population ``number`` were active and spiked; how many were active."""
    active = 0
    for i in range(len(vectors.tiles)):
        if vectors.tiles[i, 0] == number:
            core, c0, c1 = vectors.tiles[i, 1], vectors.tiles[i, 2], vectors.tiles[i, 3]
            busy = 0
            for c in range(c0, c1):
                busy += int(touched[c])
            work.active[0, core] += busy
            active += busy
            if vectors.populations[number, KIND] == LIF:
                work.spikes[0, core] += below[c1] - below[c0]
    return active


@njit(nogil=True)
def _count_below(fired: Int32, below: Int32) -> None:
    """``below[c]`` becomes how many of the channels ``fired`` are below c."""
    below[:] = 0
    for j in range(len(fired)):
        below[fired[j] + 1] += 1
    for c in range(len(below) - 1):
        below[c + 1] += below[c]


def _compiled(_stamp: int) -> Any:
    """The kernel, which closes over the stamp of those it calls."""

    @njit(cache=True, nogil=True)
    def run(vectors: Vectors, frames: Int32, board: Board, found: Found) -> None:
        """All ticks of one input, ``frames`` (T, C): counts replayed by the source population."""
        if _stamp < 0:
            return
        steps, work = len(frames), board.work
        most = np.int64(1)
        for p in range(len(vectors.populations)):
            most = max(most, vectors.populations[p, CHANNELS])
        for t in range(steps):
            most = max(most, np.int64(frames[t].sum()))
        shape = (len(vectors.populations), vectors.delays)
        sent = Sent(np.zeros((shape[0], shape[1], most + 1), np.int32), np.zeros(shape, np.int64))
        current, below = np.zeros(most, np.int32), np.zeros(most + 1, np.int32)
        touched, part = np.zeros(most, np.uint8), np.zeros(most, np.int16)
        for tick in range(len(found.busiest)):
            first = 0
            for p in range(len(vectors.populations)):
                population = vectors.populations[p]
                step, size, slot = tick - population[DEPTH], population[CHANNELS], tick % vectors.delays
                mine = first
                while first < len(vectors.projections) and vectors.projections[first, TARGET] == p:
                    first += 1
                fired = sent.channels[p, slot]
                sent.counts[p, slot] = 0
                if step < 0 or step >= steps:
                    continue
                if population[KIND] == SOURCE:
                    n = _replay(frames[step], fired)
                else:
                    for i in range(mine, first):
                        found.ops[i] += _deliver(vectors, sent, i, tick, current[:size], part, work)
                    membrane = found.membrane[population[STATE] : population[STATE] + size]
                    n, clips = fire(population, current[:size], membrane, fired, touched)
                    found.clips[0] += clips
                sent.counts[p, slot] = n
                found.spikes[p, step] += n
                _count_below(fired[:n], below[: size + 1])
                if population[KIND] != SOURCE:
                    found.active[p] += _book_cores(vectors, p, touched, below, work)
                _send(vectors.fanout, population, below, work, found.moves[p])
            now = slice(tick, tick + 1)
            close_cores(work, board.times, board.totals, board.idle, found.busiest[now], found.ends[now])
            close_links(work.books.spans, board.mesh, board.kinds, board.totals.links, found.loads[now])
            found.longest[tick] = work.books.longest[0]
            work.books.longest[0] = 0

    return run


run_input = _compiled(stamp(__file__, "synapses", "ticks", "traffic", "fanout"))
