"""Set-up of booking: the route table of a population, run once over its rows, becomes sums by source box.

Packets on a route are the spikes inside one box of the source, and all that is booked is linear in them. Routes of one
box follow each other in the table, so their effects are added up before any input arrives: totals, consecutive target
cores as ranges, and the ends of the intervals of links that XY paths cover (see ``neurochip.noc.kernels.loads``).
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from neurochip.noc.kernels.rings import borders, latency, offset
from neurochip.noc.mesh import LINE, Ring

Int32 = NDArray[np.int32]


class RouteTable(NamedTuple):
    """Rows of the program's tables as int32, in its column order: ``tiles``, ``ports``, and the ``routes`` to add up.

    ``cores`` (n_cores, 5) int64: x, y, is a processor, latency to x, latency to y (``Timing.distances``).
    ``chip``: routers of one chip along x and y; ``mesh``: routers along y and x; ``rings``: what x and y form.
    """

    tiles: Int32
    ports: Int32
    routes: Int32
    cores: NDArray[np.int64]
    chip: tuple[int, int]
    mesh: tuple[int, int]
    rings: tuple[Ring, Ring] = (LINE, LINE)


class Fanout(NamedTuple):
    """Where the spikes of each box of a population go; all int32.

    ``boxes`` (K, 7): y0, y1, x0, x1, first and last + 1 channel piece, source core.
    ``moves`` (K, 6): routes, hops x, hops y, chip crossings, routes within a router, routes to processors.
    ``longest`` (K,): largest zero-load hop latency of its routes, cycles.
    ``range_start`` (K + 1,), ``ranges`` (n, 2): begin and end of runs of target cores, as indices into three rows of
    n_cores + 1 cores: targets in the source's row of routers, south of it, north of it.
    ``span_start`` (K + 1,), ``spans`` (m, 2): index into (4, height, width) counts, and what one packet adds there: an
    interval of links begins or ends. Planes: east, west, south, north; the column ends follow from the ranges.
    An interval that goes round a ring begins a second time, at coordinate 0.
    """

    boxes: Int32
    moves: Int32
    longest: Int32
    range_start: Int32
    ranges: Int32
    span_start: Int32
    spans: Int32


@njit(cache=True, nogil=True)
def channel_cuts(table: RouteTable, cuts: NDArray[np.uint8]) -> None:
    """Mark in ``cuts`` (C + 1,) every channel at which what a port takes of a source tile begins or ends."""
    for i in range(len(table.routes)):
        tile, port = table.tiles[table.routes[i, 0]], table.ports[table.routes[i, 1]]
        cuts[max(tile[6], port[6])] = 1
        cuts[min(tile[7], port[7])] = 1


@njit(cache=True, nogil=True)
def add_up_routes(table: RouteTable, piece: Int32, out: Fanout) -> tuple[int, int, int]:
    """Fill ``out``, whose arrays have room for two rows a route (spans: seven); returns boxes, ranges and spans.

    ``piece`` (C + 1,): channel piece that begins at each cut. Boxes and ranges are run lengths of the table; a box has
    one span for all its targets in a column.
    """
    columns, rows = table.chip
    ring_x, ring_y = table.rings
    height, width = table.mesh
    plane, n_cores = height * width, len(table.cores) + 1
    box = np.zeros(7, np.int32)
    k, n_ranges, n_spans = -1, 0, 0
    before = -1
    latest = np.full((6, width), -1, np.int64)  # span of each kind and column; of this box if not before its first
    row = np.zeros(4, np.int64)  # packets that leave the source east and west, and those of them that go round
    row_at = 0
    for i in range(len(table.routes)):
        tile, port = table.tiles[table.routes[i, 0]], table.ports[table.routes[i, 1]]
        for axis in range(3):
            box[2 * axis] = max(tile[2 + 2 * axis], port[2 + 2 * axis])
            box[2 * axis + 1] = min(tile[3 + 2 * axis], port[3 + 2 * axis])
        box[4], box[5], box[6] = piece[box[4]], piece[box[5]], tile[1]
        here, there = table.cores[tile[1]], table.cores[port[0]]
        fresh = table.routes[i, 0] != before
        for j in range(6):
            fresh = fresh or box[j] != out.boxes[k, j]
        if fresh:
            n_spans = _leave(out, n_spans, row, row_at, width, plane)
            before, k = table.routes[i, 0], k + 1
            row_at = here[1] * width + here[0]
            out.boxes[k] = box
            out.moves[k] = 0
            out.longest[k] = 0
            out.range_start[k], out.span_start[k] = n_ranges, n_spans
        out.moves[k, 0] += 1
        hops_x, hops_y = offset(here[0], there[0], ring_x), offset(here[1], there[1], ring_y)
        out.moves[k, 1] += abs(hops_x)
        out.moves[k, 2] += abs(hops_y)
        out.moves[k, 3] += borders(here[0], hops_x, columns, ring_x) + borders(here[1], hops_y, rows, ring_y)
        out.moves[k, 4] += here[0] == there[0] and here[1] == there[1]
        out.moves[k, 5] += there[2]
        cycles_x = latency(hops_x, (here[0], here[3]), (there[0], there[3]), ring_x)
        cycles_y = latency(hops_y, (here[1], here[4]), (there[1], there[4]), ring_y)
        out.longest[k] = max(out.longest[k], cycles_x + cycles_y)
        target = port[0] + n_cores * (1 if hops_y > 0 else 2 if hops_y < 0 else 0)
        if n_ranges > out.range_start[k] and out.ranges[n_ranges - 1, 1] == target:
            out.ranges[n_ranges - 1, 1] = target + 1
        else:
            out.ranges[n_ranges, 0], out.ranges[n_ranges, 1] = target, target + 1
            n_ranges += 1
        if hops_x:
            against = hops_x < 0
            row[int(against)] += 1
            row[2 + int(against)] += here[0] + hops_x != there[0]
            index = against * plane + here[1] * width + there[0]
            n_spans = _adjust(out, k, n_spans, latest[int(against)], there[0], index, 1 if against else -1)
        if hops_y:
            against = hops_y < 0
            index = (2 + against) * plane + here[1] * width + there[0]
            n_spans = _adjust(out, k, n_spans, latest[2 + against], there[0], index, -1 if against else 1)
            if here[1] + hops_y != there[1]:
                index = (2 + against) * plane + there[0]
                n_spans = _adjust(out, k, n_spans, latest[4 + against], there[0], index, 1)
    n_spans = _leave(out, n_spans, row, row_at, width, plane)
    out.range_start[k + 1], out.span_start[k + 1] = n_ranges, n_spans
    return k + 1, n_ranges, n_spans


@njit(cache=True, nogil=True)
def _leave(out: Fanout, at: int, row: NDArray[np.int64], source: int, width: int, plane: int) -> int:
    """Write where packets enter the row of router ``source``, and clear ``row``; returns where the next span goes."""
    for against in range(2):
        if row[against]:
            out.spans[at, 0] = against * plane + source
            out.spans[at, 1] = -row[against] if against else row[against]
            at += 1
        if row[2 + against]:
            out.spans[at, 0] = against * plane + source // width * width
            out.spans[at, 1] = row[2 + against]
            at += 1
    row[:] = 0
    return at


@njit(cache=True, nogil=True, inline="always")
def _adjust(
    out: Fanout, box: int, n_spans: int, latest: NDArray[np.int64], column: int, index: int, change: int
) -> int:
    """Add ``change`` to the span of ``box`` at ``index``, a new one if ``latest`` has none of this box in ``column``;
    returns how many spans there are.
    """
    if latest[column] < out.span_start[box]:
        latest[column] = n_spans
        out.spans[n_spans, 0], out.spans[n_spans, 1] = index, 0
        n_spans += 1
    out.spans[latest[column], 1] += change
    return n_spans
