"""Multicast trees: as ``kernels.fanout``, where one packet serves all targets of a box and passes each link once."""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray

from neurochip.noc.kernels.rings import borders, latency, offset
from neurochip.sim.kernels.fanout import Fanout, RouteTable

Int32 = NDArray[np.int32]


@njit(cache=True, nogil=True)
def cut_boxes(table: RouteTable, out: Int32) -> None:
    """Per route: source tile and the part of it that the port takes (y0, y1, x0, x1, c0, c1), into ``out`` (n, 7)."""
    for i in range(len(table.routes)):
        tile, port = table.tiles[table.routes[i, 0]], table.ports[table.routes[i, 1]]
        out[i, 0] = table.routes[i, 0]
        for axis in range(3):
            out[i, 1 + 2 * axis] = max(tile[2 + 2 * axis], port[2 + 2 * axis])
            out[i, 2 + 2 * axis] = min(tile[3 + 2 * axis], port[3 + 2 * axis])


@njit(cache=True, nogil=True)
def add_up_trees(table: RouteTable, cuts: Int32, piece: Int32, out: Fanout) -> tuple[int, int, int]:
    """Fill ``out`` with one tree for each box; returns boxes, ranges and spans.

    ``cuts`` (n, 7) as of ``cut_boxes``, equal rows next to each other. A tree runs along the source's row to the
    farthest column on either side, and from that row along each target's column to the farthest target: the union of
    the XY paths. Arms that go round a ring never meet, as no path is longer than half of it. All targets are ranges of
    the first kind, as the ends of column intervals are written here.
    """
    columns, rows = table.chip
    ring_x, ring_y = table.rings
    height, width = table.mesh
    plane = height * width
    south, north = np.zeros(width, np.int64), np.zeros(width, np.int64)
    k = n_ranges = n_spans = 0
    i, n = 0, len(table.routes)
    while i < n:
        end = i + 1
        while end < n and np.all(cuts[end] == cuts[i]):
            end += 1
        source = table.tiles[table.routes[i, 0]][1]
        here = table.cores[source]
        sx, sy = here[0], here[1]
        for axis in range(4):
            out.boxes[k, axis] = cuts[i, 1 + axis]
        out.boxes[k, 4], out.boxes[k, 5], out.boxes[k, 6] = piece[cuts[i, 5]], piece[cuts[i, 6]], source
        out.moves[k], out.longest[k] = 0, 0
        out.moves[k, 0] = 1
        out.range_start[k], out.span_start[k] = n_ranges, n_spans
        east = west = 0
        south[:], north[:] = 0, 0
        for j in range(i, end):
            core = table.ports[table.routes[j, 1]][0]
            there = table.cores[core]
            tx, ty = there[0], there[1]
            hops_x, hops_y = offset(sx, tx, ring_x), offset(sy, ty, ring_y)
            east, west = max(east, hops_x), max(west, -hops_x)
            south[tx], north[tx] = max(south[tx], hops_y), max(north[tx], -hops_y)
            out.moves[k, 4] += tx == sx and ty == sy
            out.moves[k, 5] += there[2]
            cycles_x = latency(hops_x, (sx, here[3]), (tx, there[3]), ring_x)
            cycles_y = latency(hops_y, (sy, here[4]), (ty, there[4]), ring_y)
            out.longest[k] = max(out.longest[k], cycles_x + cycles_y)
            if n_ranges > out.range_start[k] and out.ranges[n_ranges - 1, 1] == core:
                out.ranges[n_ranges - 1, 1] = core + 1
            else:
                out.ranges[n_ranges, 0], out.ranges[n_ranges, 1] = core, core + 1
                n_ranges += 1
        out.moves[k, 1] = east + west
        out.moves[k, 3] = borders(sx, east, columns, ring_x) + borders(sx, -west, columns, ring_x)
        row = sy * width
        n_spans = _arm(out, n_spans, (row, 1, width), sx, sx + east)
        n_spans = _arm(out, n_spans, (plane + row, 1, width), sx - west, sx)
        for unrolled in range(sx - west, sx + east + 1):
            x = unrolled % width
            out.moves[k, 2] += south[x] + north[x]
            out.moves[k, 3] += borders(sy, south[x], rows, ring_y) + borders(sy, -north[x], rows, ring_y)
            n_spans = _arm(out, n_spans, (2 * plane + x, width, height), sy, sy + south[x])
            n_spans = _arm(out, n_spans, (3 * plane + x, width, height), sy - north[x], sy)
        k, i = k + 1, end
        out.range_start[k], out.span_start[k] = n_ranges, n_spans
    return k, n_ranges, n_spans


@njit(cache=True, nogil=True)
def _arm(out: Fanout, at: int, line: tuple[int, int, int], begin: int, end: int) -> int:
    """Write the links between coordinates ``begin`` and ``end`` of a line of routers; returns where the next span goes.

    ``line``: index of coordinate 0, step from one to the next, and how many there are; what is beyond goes round.
    """
    zero, step, size = line
    if begin == end:
        return at
    out.spans[at, 0], out.spans[at, 1] = zero + begin % size * step, 1
    at += 1
    if begin < 0 or end > size:
        out.spans[at, 0], out.spans[at, 1] = zero, 1
        at += 1
    if end != size:
        out.spans[at, 0], out.spans[at, 1] = zero + end % size * step, -1
        at += 1
    return at
