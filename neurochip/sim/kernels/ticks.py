"""The end of a tick: counts of every core and link become totals, and the time the slowest of them takes."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from neurochip.sim.kernels.traffic import Books

Counts = NDArray[np.int64]
BLOCK = 64
DENSE, CONV, SPARSE, MAC, LEARNING = range(5)
"""Rows of ``Work.ops``."""


class Work(NamedTuple):
    """What every core did in a tick, per input, int64 (B, n_cores).

    ``ops`` (5, B, n_cores): accumulates from dense, conv and sparse lists, multiply-accumulates, learning updates.
    """

    ops: Counts
    processor_ops: Counts
    active: Counts
    spikes: Counts
    books: Books


class CoreTimes(NamedTuple):
    """``ns`` of a dense, conv and sparse synaptic operation, an idle neuron, what an active one takes more, a spike,
    a packet in, a packet out, a processor's operation, a processor's packet, a multiply-accumulate, a learning update,
    an attention unit's operation, a unit's packet.

    ``neurons`` (n_cores,) int64; ``processor`` (n_cores,) uint8, 2 for attention units; ``router`` (n_cores,) int64:
    y * width + x.
    """

    ns: NDArray[np.float64]
    neurons: Counts
    processor: NDArray[np.uint8]
    router: Counts


class Idle(NamedTuple):
    """What closing a tick may pass over.

    ``until`` (blocks + 1,): last tick in which a block of ``BLOCK`` cores may have something booked, empty = any may;
    ``tick``: the tick at hand. ``ns`` (n_cores,), ``most`` (blocks,): what an idle core takes, and the slowest of each
    block.
    """

    until: Counts
    tick: int
    ns: NDArray[np.float64]
    most: NDArray[np.float64]


class CoreTotals(NamedTuple):
    """Sums over ticks and inputs.

    ``counts`` (10, n_cores) int64: ops dense, conv, sparse, of processors and units, active, spikes, packets in,
    packets out, multiply-accumulates, learning updates;
    ``busy_ns`` (n_cores,) float64; ``links`` (4 * height * width,) int64: packets over the link at each of
    ``Mesh.link_places``, 0 where there is none.
    """

    counts: Counts
    busy_ns: NDArray[np.float64]
    links: Counts


@njit(cache=True, nogil=True)
def enter(values: NDArray[np.int32], tiles: NDArray[np.int32], book: Counts, until: Counts, tick: int) -> None:
    """Add ``values`` (B, n) to ``book`` (B, n_cores) at the core of each tile (y0, y1, x0, x1, slice, core)."""
    for i in range(len(tiles)):
        core = tiles[i, 5]
        until[core // BLOCK] = tick
        for item in range(len(values)):
            book[item, core] += values[item, i]


@njit(cache=True, nogil=True)
def close_cores(
    work: Work,
    times: CoreTimes,
    totals: CoreTotals,
    idle: Idle,
    busiest: NDArray[np.float64],
    ends: Counts,
) -> None:
    """Add cores up; ``busiest`` (B,): longest time of a core, ns; ``ends`` (B, 2): most packets out of and into a core.

    Clears ``work`` but for ``books.spans``, where it enters the ends of the intervals of links along columns.
    """
    ns = times.ns
    n_inputs, n_cores = work.active.shape
    plane = work.books.spans.shape[1] // 4
    busy = np.zeros(n_cores)
    for item in range(n_inputs):
        ops, processor_ops, active, spikes = (
            work.ops[:, item],
            work.processor_ops[item],
            work.active[item],
            work.spikes[item],
        )
        sent, arrived, spans = work.books.sent[item], work.books.received[item], work.books.spans[item]
        most, most_in, most_out = 0.0, np.int64(0), np.int64(0)
        level = south = north = np.int64(0)
        for first in range(0, n_cores, BLOCK):
            last, quiet = min(first + BLOCK, n_cores), not (level or south or north)
            if len(idle.until) and quiet and idle.until[first // BLOCK] < idle.tick:
                for c in range(first, last):
                    busy[c] += idle.ns[c]
                most = max(most, idle.most[first // BLOCK])
                continue
            for c in range(first, last):
                level, south = level + arrived[c], south + arrived[n_cores + 1 + c]
                north += arrived[2 * n_cores + 2 + c]
                received = level + south + north
                if south:
                    spans[2 * plane + times.router[c]] -= south
                if north:
                    spans[3 * plane + times.router[c]] += north
                dense, conv, sparse, out = ops[0, c], ops[1, c], ops[2, c], sent[c]
                rare = ops[3, c] | ops[4, c] | processor_ops[c]
                if not (dense | conv | sparse | out | received | active[c] | spikes[c] | rare):
                    took = 0.0 if times.processor[c] else times.neurons[c] * ns[3]
                    busy[c] += took
                    most = max(most, took)
                    continue
                took = (
                    dense * ns[0]
                    + conv * ns[1]
                    + sparse * ns[2]
                    + times.neurons[c] * ns[3]
                    + active[c] * ns[4]
                    + spikes[c] * ns[5]
                    + received * ns[6]
                    + out * ns[7]
                    + ops[3, c] * ns[10]
                    + ops[4, c] * ns[11]
                )
                if times.processor[c]:
                    kind = 8 if times.processor[c] == 1 else 12
                    took = processor_ops[c] * ns[kind] + (received + out) * ns[kind + 1]
                busy[c] += took
                most, most_in, most_out = max(most, took), max(most_in, received), max(most_out, out)
                totals.counts[0, c] += dense
                totals.counts[1, c] += conv
                totals.counts[2, c] += sparse
                totals.counts[3, c] += processor_ops[c]
                totals.counts[4, c] += active[c]
                totals.counts[5, c] += spikes[c]
                totals.counts[6, c] += received
                totals.counts[7, c] += out
                totals.counts[8, c] += ops[3, c]
                totals.counts[9, c] += ops[4, c]
            ops[:, first:last] = 0
            processor_ops[first:last] = 0
            active[first:last] = 0
            spikes[first:last] = 0
            sent[first:last] = 0
            for row in range(3):
                arrived[row * (n_cores + 1) + first : row * (n_cores + 1) + last] = 0
        for row in range(3):
            arrived[row * (n_cores + 1) + n_cores] = 0
        busiest[item], ends[item, 0], ends[item, 1] = most, most_out, most_in
    totals.busy_ns[:] += busy


@njit(cache=True, nogil=True)
def close_links(spans: Counts, mesh: tuple[int, int], kinds: NDArray[np.uint8], links: Counts, most: Counts) -> None:
    """Add the loads of all links to ``links``; ``most`` (B, kinds): largest load of each kind of link.

    ``spans`` (B, 4 * height * width) as in ``Books``, cleared; ``kinds`` (4 * height * width,), at the places of
    ``Mesh.link_places``: links of a kind take equal times.
    """
    height, width = mesh
    above = np.empty(width, np.int64)
    for item in range(len(spans)):
        starts = spans[item]
        most[item] = 0
        link = 0
        for _ in range(2 * height):
            load = np.int64(0)
            for _ in range(width):
                load += starts[link]
                links[link] += load
                most[item, kinds[link]] = max(most[item, kinds[link]], load)
                link += 1
        for _ in range(2):
            above[:] = 0
            for _ in range(height):
                for x in range(width):
                    above[x] += starts[link]
                    links[link] += above[x]
                    most[item, kinds[link]] = max(most[item, kinds[link]], above[x])
                    link += 1
        starts[:] = 0
