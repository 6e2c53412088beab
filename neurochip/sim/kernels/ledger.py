"""Books of several ticks at once: a layer's packets of all steps are booked in one pass over its boxes."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from neurochip.sim.kernels.fanout import Fanout

Counts = NDArray[np.int64]
BLOCK_BITS = 6
"""Cores of a block, as a power of two: blocks without bookings in a tick are closed at once."""


class Ledger(NamedTuple):
    """``kernels.ticks.Work`` of S ticks, tick n in slot n % S; step t is booked ``interval`` * t ticks after the first.

    All int64.

    ``ops`` (S, 5, B, n_cores); ``processor_ops``, ``active``, ``spikes``, ``sent`` (S, B, n_cores); ``longest`` (S, B).
    ``received`` (3 * (n_cores + 1), S * B) and ``spans`` (4 * height * width, S * B), column slot * B + input, have the
    slots of a place side by side if all steps of a population are booked together.
    ``until`` (blocks + 1,): last tick in which a block of cores may have something booked.
    """

    ops: Counts
    processor_ops: Counts
    active: Counts
    spikes: Counts
    sent: Counts
    longest: Counts
    received: Counts
    spans: Counts
    until: Counts


@njit(cache=True, nogil=True)
def scatter(
    values: NDArray[np.int32], cores: NDArray[np.int32], book: Counts, until: Counts, tick: int, interval: int
) -> None:
    """Add ``values`` (steps * inputs, n) to ``book`` (S, B, n_cores) of ``cores`` (n,), the first step in ``tick``."""
    slots, inputs, _ = book.shape
    last = tick + (len(values) // inputs - 1) * interval
    for i in range(len(cores)):
        block = cores[i] >> BLOCK_BITS
        until[block] = max(until[block], last)
    for lane in range(len(values)):
        row, sums = values[lane], book[(tick + lane // inputs * interval) % slots, lane % inputs]
        for i in range(len(cores)):
            sums[cores[i]] += row[i]


@njit(cache=True, nogil=True)
def book_steps(packets: NDArray[np.int32], fanout: Fanout, ledger: Ledger, tick: int) -> Counts:
    """Book packets (S * inputs, K) of each box, step t in tick ``tick + t``; as ``kernels.traffic.book_packets``.

    Returns totals of (packets, hops x, hops y, crossings, local, to processors).
    """
    slots, inputs, n_cores = ledger.sent.shape
    lanes = slots * inputs
    totals, now = np.zeros(6, np.int64), np.zeros(lanes, np.int64)
    slot, longest = np.empty(lanes, np.int64), np.zeros(lanes, np.int64)
    for lane in range(lanes):
        slot[lane] = (tick + lane // inputs) % slots
    last = tick + slots - 1
    for k in range(len(fanout.boxes)):
        every = np.int64(0)
        for lane in range(lanes):
            n = np.int64(packets[lane, k])
            now[slot[lane] * inputs + lane % inputs] = n
            every += n
            if n:
                longest[lane] = max(longest[lane], np.int64(fanout.longest[k]))
        if not every:
            continue
        core, routes = fanout.boxes[k, 6], np.int64(fanout.moves[k, 0])
        ledger.until[core >> BLOCK_BITS] = last
        for column in range(lanes):
            ledger.sent[column // inputs, column % inputs, core] += now[column] * routes
        for j in range(6):
            totals[j] += every * fanout.moves[k, j]
        for j in range(fanout.range_start[k], fanout.range_start[k + 1]):
            begin, end = fanout.ranges[j, 0], fanout.ranges[j, 1]
            _add(ledger.received[begin], now, 1)
            _add(ledger.received[end], now, -1)
            row = begin // (n_cores + 1) * (n_cores + 1)
            ledger.until[(begin - row) >> BLOCK_BITS] = last
            ledger.until[(end - row) >> BLOCK_BITS] = last
        for j in range(fanout.span_start[k], fanout.span_start[k + 1]):
            _add(ledger.spans[fanout.spans[j, 0]], now, fanout.spans[j, 1])
    for lane in range(lanes):
        place = ledger.longest[slot[lane]]
        place[lane % inputs] = max(place[lane % inputs], longest[lane])
    return totals


@njit(cache=True, nogil=True, inline="always")
def _add(sums: Counts, values: Counts, times: int) -> None:
    """``sums += times * values``, four at a time."""
    i = 0
    while i + 4 <= len(values):
        sums[i] += times * values[i]
        sums[i + 1] += times * values[i + 1]
        sums[i + 2] += times * values[i + 2]
        sums[i + 3] += times * values[i + 3]
        i += 4
    while i < len(values):
        sums[i] += times * values[i]
        i += 1
