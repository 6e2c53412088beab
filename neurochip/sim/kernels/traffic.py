"""Booking: per-position counts -> cores, routes -> packets, packets -> cores and moves."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from neurochip.sim.kernels.events import Events


class Books(NamedTuple):
    """What a tick's packets add up to, per input: all int64.

    ``sent``, ``received`` (B, n_cores); ``longest`` (B,) largest zero-load latency; ``in_row``, ``in_column``
    (B, 2, height, width): where the XY paths' intervals of links start and end, see ``neurochip.noc.kernels.loads``.
    """

    sent: NDArray[np.int64]
    received: NDArray[np.int64]
    longest: NDArray[np.int64]
    in_row: NDArray[np.int64]
    in_column: NDArray[np.int64]


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
            repeated = i > 0
            for k in range(7):
                repeated = repeated and routes[i, k] == routes[i - 1, k]
            if repeated:  # the same part of a tile goes to several cores, which stand one after the other
                out[item, i] = out[item, i - 1]
                continue
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
def cut_routes(
    tiles: NDArray[np.int32], ports: NDArray[np.int32], routes: NDArray[np.int32], width: int, out: NDArray[np.int32]
) -> None:
    """``out`` (n, 7) for ``route_packets``: where the source tile of each route and its port meet.

    Columns as in ``neurochip.program.image``; ``width``: neurons of one position on one core of the source.
    """
    for i in range(len(routes)):
        tile, port = tiles[routes[i, 0]], ports[routes[i, 1]]
        for axis in range(3):
            out[i, 2 * axis] = max(tile[2 + 2 * axis], port[2 + 2 * axis])
            out[i, 2 * axis + 1] = min(tile[3 + 2 * axis], port[3 + 2 * axis])
        whole = out[i, 4] == tile[6] and out[i, 5] == tile[7]
        out[i, 6] = tile[6] // width if whole else -1


@njit(cache=True, nogil=True)
def route_moves(
    source: NDArray[np.int64],
    target: NDArray[np.int64],
    cores: NDArray[np.int64],
    chip: tuple[int, int],
    out: NDArray[np.int64],
) -> None:
    """``out`` (n, 8) for ``book_routes``; ``cores`` (n_cores, 5): x, y, is a processor, latency to x, latency to y.

    ``chip``: routers of one chip along x and y. The latency of a route is the difference of its ends' latencies.
    """
    columns, rows = chip
    for i in range(len(source)):
        here, there = cores[source[i]], cores[target[i]]
        out[i, 0] = source[i]
        out[i, 1] = target[i]
        out[i, 2] = abs(here[0] - there[0])
        out[i, 3] = abs(here[1] - there[1])
        out[i, 4] = abs(here[0] // columns - there[0] // columns) + abs(here[1] // rows - there[1] // rows)
        out[i, 5] = here[0] == there[0] and here[1] == there[1]
        out[i, 6] = there[2]
        out[i, 7] = abs(here[3] - there[3]) + abs(here[4] - there[4])


@njit(cache=True, nogil=True)
def book_routes(
    packets: NDArray[np.int64], moves: NDArray[np.int64], cores: NDArray[np.int64], books: Books
) -> NDArray[np.int64]:
    """Book packets (B, n_routes) on cores and links; ``moves`` and ``cores`` as in ``route_moves``.

    Returns totals of (packets, hops x, hops y, crossings, local, to processors).
    """
    totals = np.zeros(6, np.int64)
    for item in range(len(packets)):
        for i in range(len(moves)):
            n = packets[item, i]
            if n:
                here, there = cores[moves[i, 0]], cores[moves[i, 1]]
                books.sent[item, moves[i, 0]] += n
                books.received[item, moves[i, 1]] += n
                totals[0] += n
                for k in range(5):
                    totals[k + 1] += n * moves[i, k + 2]
                books.longest[item] = max(books.longest[item], moves[i, 7])
                back = int(there[0] < here[0])
                books.in_row[item, back, here[1], min(here[0], there[0])] += n
                books.in_row[item, back, here[1], max(here[0], there[0])] -= n
                back = int(there[1] < here[1])
                books.in_column[item, back, min(here[1], there[1]), there[0]] += n
                books.in_column[item, back, max(here[1], there[1]), there[0]] -= n
    return totals
