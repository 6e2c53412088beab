"""Kernels of the analytic network model."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from neurochip.noc.kernels.rings import latency, offset
from neurochip.noc.mesh import Ring

Int64Array = NDArray[np.int64]


class RouterFlows(NamedTuple):
    """Packets from router to router in one tick; three int64 arrays of shape (n_flows,)."""

    source: Int64Array
    target: Int64Array
    packets: Int64Array


class CoreFlows(NamedTuple):
    """Packets from core to core in one tick; three int64 arrays of shape (n_flows,)."""

    source: Int64Array
    target: Int64Array
    packets: Int64Array


class Distances(NamedTuple):
    """Hop latency from coordinate 0, cycles: ``x`` (width,), ``y`` (height,); what rings they form; ``cores`` on each
    router.
    """

    x: Int64Array
    y: Int64Array
    ring_x: Ring
    ring_y: Ring
    cores: int


@njit(cache=True, nogil=True)
def accumulate_loads(flows: RouterFlows, rings: tuple[Ring, Ring], loads: Int64Array) -> int:
    """Write the packets over every link into ``loads`` (4, height, width), see ``Mesh.link_places``.

    A flow covers one interval of links in its source's row and one in its target's column. Adding its packets where
    the interval starts and taking them away where it ends costs the same however long the path is; running sums
    over rows and columns then give the loads. An interval that goes round starts again at coordinate 0.

    Returns the packets that stay on their router, or -1 - i if flow i names no router or fewer than 0 packets.
    """
    _, height, width = loads.shape
    in_row = np.zeros((2, height, width), np.int64)
    in_column = np.zeros((2, height, width), np.int64)
    x_of = np.arange(width * height) % width
    y_of = np.arange(width * height) // width
    local = 0
    for i in range(len(flows.packets)):
        source, target, packets = flows.source[i], flows.target[i], flows.packets[i]
        if source < 0 or target < 0 or source >= len(x_of) or target >= len(x_of) or packets < 0:
            return -1 - i
        sx, sy, tx, ty = x_of[source], y_of[source], x_of[target], y_of[target]
        hops_x, hops_y = offset(sx, tx, rings[0]), offset(sy, ty, rings[1])
        against_x, against_y = int(hops_x < 0), int(hops_y < 0)
        in_row[against_x, sy, tx if against_x else sx] += packets
        in_row[against_x, sy, sx if against_x else tx] -= packets
        in_row[against_x, sy, 0] += packets if sx + hops_x != tx else 0
        in_column[against_y, ty if against_y else sy, tx] += packets
        in_column[against_y, sy if against_y else ty, tx] -= packets
        in_column[against_y, 0, tx] += packets if sy + hops_y != ty else 0
        local += packets if source == target else 0
    running_sums(in_row, in_column, loads)
    return local


@njit(cache=True, nogil=True)
def running_sums(in_row: Int64Array, in_column: Int64Array, loads: Int64Array) -> None:
    """Loads (4, height, width) from where intervals start and end: ``in_row``, ``in_column`` (2, height, width).

    A place without a link has a load of 0.
    """
    _, height, width = in_row.shape
    for direction in range(2):
        for y in range(height):
            load = 0
            for x in range(width):
                load += in_row[direction, y, x]
                loads[direction, y, x] = load
    for direction in range(2):
        for y in range(height):
            for x in range(width):
                before = loads[2 + direction, y - 1, x] if y else 0
                loads[2 + direction, y, x] = in_column[direction, y, x] + before


@njit(cache=True, nogil=True)
def measure_flows(flows: CoreFlows, distances: Distances, sent: Int64Array, received: Int64Array) -> int:
    """Add each flow's packets to ``sent`` and ``received`` (n_cores,); returns the longest hop latency of a flow.

    Flows without packets have no latency. Returns -1 if no packet was sent, -2 - i if flow i names no core.
    """
    width = len(distances.x)
    longest = -1
    for i in range(len(flows.packets)):
        source, target, packets = flows.source[i], flows.target[i], flows.packets[i]
        if source < 0 or target < 0 or source >= len(sent) or target >= len(sent) or packets < 0:
            return -2 - i
        if packets == 0:
            continue
        sent[source] += packets
        received[target] += packets
        from_router, to_router = source // distances.cores, target // distances.cores
        sx, sy, tx, ty = from_router % width, from_router // width, to_router % width, to_router // width
        hops_x, hops_y = offset(sx, tx, distances.ring_x), offset(sy, ty, distances.ring_y)
        along_x = latency(hops_x, (sx, distances.x[sx]), (tx, distances.x[tx]), distances.ring_x)
        along_y = latency(hops_y, (sy, distances.y[sy]), (ty, distances.y[ty]), distances.ring_y)
        longest = max(longest, along_x + along_y)
    return longest
