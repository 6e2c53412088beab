"""Booking: counts of spikes by position -> boxes -> cores, moves and links; see ``kernels.fanout``."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from neurochip.sim.kernels.events import Events
from neurochip.sim.kernels.fanout import Fanout

Pieces = NDArray[np.int32]
Sums = NDArray[np.int32]


class Books(NamedTuple):
    """What a tick's packets add up to, per input: all int64.

    ``sent`` (B, n_cores); ``received`` (B, 3 * (n_cores + 1)): where ranges of receiving cores begin and end;
    ``longest`` (B,) largest zero-load latency; ``spans`` (B, 4 * height * width): where the XY paths' intervals of
    links begin and end. ``kernels.fanout.Fanout`` says how the two are laid out.
    """

    sent: NDArray[np.int64]
    received: NDArray[np.int64]
    longest: NDArray[np.int64]
    spans: NDArray[np.int64]


@njit(cache=True, nogil=True)
def tile_sums(
    per_slice: NDArray[np.int64], tiles: NDArray[np.int32], grid: tuple[int, int], out: NDArray[np.int64]
) -> None:
    """Add ``per_slice`` (B * P, n_slices) up over each tile (y0, y1, x0, x1, slice, core) into ``out`` (B, n_cores)."""
    height, width = grid
    for item in range(len(out)):
        for i in range(len(tiles)):
            y0, y1, x0, x1, piece, core = tiles[i]
            total = np.int64(0)
            for y in range(y0, y1):
                for x in range(x0, x1):
                    total += per_slice[(item * height + y) * width + x, piece]
            out[item, core] += total


@njit(cache=True, nogil=True)
def spike_sums(events: Events, piece: Pieces, sums: Sums) -> None:
    """Running sums of spikes over rows, columns and channel pieces: any box then costs eight of them (Crow 1984).

    ``sums`` (B, height + 1, width + 1, pieces + 1), zeros; entry [b, y, x, s] becomes the spikes of positions above y
    and left of x in pieces below s. ``piece`` (C,): piece of each channel.
    """
    n_inputs, high, wide, _ = sums.shape
    p = 0
    for item in range(n_inputs):
        for y in range(1, high):
            for x in range(1, wide):
                row = sums[item, y, x]
                for j in range(events.start[p], events.start[p + 1]):
                    row[piece[events.channel[j]] + 1] += 1
                p += 1
    sum_areas(sums)


@njit(cache=True, nogil=True)
def digit_sums(payload: Pieces, piece: Pieces, sums: Sums) -> None:
    """``spike_sums`` of payloads (B, P, C) int32 sent as binary digits, one packet for each one."""
    n_inputs, high, wide, _ = sums.shape
    for item in range(n_inputs):
        for y in range(1, high):
            for x in range(1, wide):
                row, values = sums[item, y, x], payload[item, (y - 1) * (wide - 1) + x - 1]
                for c in range(len(values)):
                    value = abs(values[c])
                    while value:
                        value &= value - 1
                        row[piece[c] + 1] += 1
    sum_areas(sums)


@njit(cache=True, nogil=True)
def sum_areas(sums: Sums) -> None:
    """Turn counts into running sums."""
    n_inputs, high, wide, pieces = sums.shape
    for item in range(n_inputs):
        for y in range(1, high):
            for x in range(1, wide):
                row, left = sums[item, y, x], sums[item, y, x - 1]
                above, corner = sums[item, y - 1, x], sums[item, y - 1, x - 1]
                total = np.int32(0)
                for s in range(1, pieces):
                    total += row[s]
                    row[s] = total + left[s] + above[s] - corner[s]


@njit(cache=True, nogil=True)
def box_spikes(sums: Sums, boxes: NDArray[np.int32], out: NDArray[np.int64]) -> None:
    """Spikes (B, K) in each box (y0, y1, x0, x1, piece, last piece + 1, ...), from running sums."""
    for item in range(len(out)):
        area = sums[item]
        for k in range(len(boxes)):
            y0, y1, x0, x1, low, high, _ = boxes[k]
            a, b, c, d = area[y1, x1], area[y0, x1], area[y1, x0], area[y0, x0]
            out[item, k] = (a[high] - b[high] - c[high] + d[high]) - (a[low] - b[low] - c[low] + d[low])


@njit(cache=True, nogil=True)
def core_spikes(sums: Sums, boxes: NDArray[np.int32], out: NDArray[np.int64]) -> None:
    """Add the spikes in each box to ``out`` (B, n_cores) at its core, the last column."""
    for item in range(len(out)):
        area = sums[item]
        for k in range(len(boxes)):
            y0, y1, x0, x1, low, high, core = boxes[k]
            a, b, c, d = area[y1, x1], area[y0, x1], area[y1, x0], area[y0, x0]
            out[item, core] += (a[high] - b[high] - c[high] + d[high]) - (a[low] - b[low] - c[low] + d[low])


@njit(cache=True, nogil=True)
def book_packets(packets: NDArray[np.int64], fanout: Fanout, books: Books) -> NDArray[np.int64]:
    """Book packets (B, K) of each box on cores and links.

    Returns totals of (packets, hops x, hops y, crossings, local, to processors).
    """
    totals = np.zeros(6, np.int64)
    for item in range(len(packets)):
        sent, received, spans = books.sent[item], books.received[item], books.spans[item]
        longest = books.longest[item]
        for k in range(len(fanout.boxes)):
            n = packets[item, k]
            if n:
                sent[fanout.boxes[k, 6]] += n * fanout.moves[k, 0]
                for j in range(6):
                    totals[j] += n * fanout.moves[k, j]
                longest = max(longest, np.int64(fanout.longest[k]))
                for j in range(fanout.range_start[k], fanout.range_start[k + 1]):
                    received[fanout.ranges[j, 0]] += n
                    received[fanout.ranges[j, 1]] -= n
                for j in range(fanout.span_start[k], fanout.span_start[k + 1]):
                    spans[fanout.spans[j, 0]] += n * fanout.spans[j, 1]
        books.longest[item] = longest
    return totals
