"""Booking: per-position counts -> cores, routes -> packets, packets -> cores and moves."""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray

from neurochip.sim.kernels.events import Events


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
def route_packets(
    per_slice: NDArray[np.int64],
    events: Events,
    routes: NDArray[np.int32],
    grid: tuple[int, int],
    out: NDArray[np.int64],
) -> None:
    """Packets (B, n_routes) on each route (y0, y1, x0, x1, c0, c1, slice or -1): spikes that the port listens to."""
    height, width = grid
    for item in range(len(out)):
        for i in range(len(routes)):
            y0, y1, x0, x1, c0, c1, piece = routes[i]
            total = np.int64(0)
            for y in range(y0, y1):
                for x in range(x0, x1):
                    p = (item * height + y) * width + x
                    if piece >= 0:
                        total += per_slice[p, piece]
                    else:
                        for j in range(events.start[p], events.start[p + 1]):
                            total += c0 <= events.channel[j] < c1
            out[item, i] = total


@njit(cache=True, nogil=True)
def book_routes(
    packets: NDArray[np.int64],
    moves: NDArray[np.int64],
    sent: NDArray[np.int64],
    received: NDArray[np.int64],
    longest: NDArray[np.int64],
) -> NDArray[np.int64]:
    """Book packets (B, n_routes) on their cores; ``moves`` rows: source, target, hops x, hops y, crossings, local,
    to a processor, zero-load latency.

    ``sent``, ``received`` (B, n_cores) grow; ``longest`` (B,) is the largest latency so far. Returns totals of
    (packets, hops x, hops y, crossings, local, to processors).
    """
    totals = np.zeros(6, np.int64)
    for item in range(len(packets)):
        for i in range(len(moves)):
            n = packets[item, i]
            if n:
                sent[item, moves[i, 0]] += n
                received[item, moves[i, 1]] += n
                totals[0] += n
                for k in range(5):
                    totals[k + 1] += n * moves[i, k + 2]
                longest[item] = max(longest[item], moves[i, 7])
    return totals
