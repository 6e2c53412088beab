"""Kernels of the analytic network model."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

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
    """Hop latency from coordinate 0, cycles: ``x`` (width,), ``y`` (height,); ``cores`` on each router."""

    x: Int64Array
    y: Int64Array
    cores: int


@njit(cache=True, nogil=True)
def accumulate_loads(flows: RouterFlows, width: int, height: int, link_load: Int64Array) -> int:
    """Write the packets over every link into ``link_load`` (n_links,).

    A flow covers one interval of links in its source's row and one in its target's column. Adding its packets where
    the interval starts and taking them away where it ends costs the same however long the path is; running sums
    over rows and columns then give the loads.

    Returns the packets that stay on their router, or -1 - i if flow i names no router or fewer than 0 packets.
    """
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
        against_x, against_y = int(tx < sx), int(ty < sy)
        in_row[against_x, sy, min(sx, tx)] += packets
        in_row[against_x, sy, max(sx, tx)] -= packets
        in_column[against_y, min(sy, ty), tx] += packets
        in_column[against_y, max(sy, ty), tx] -= packets
        local += packets if source == target else 0
    running_sums(in_row, in_column, link_load)
    return local


@njit(cache=True, nogil=True)
def running_sums(in_row: Int64Array, in_column: Int64Array, link_load: Int64Array) -> None:
    """Loads (n_links,) from where intervals start and end: ``in_row``, ``in_column`` (2, height, width)."""
    _, height, width = in_row.shape
    link = 0
    for direction in range(2):
        for y in range(height):
            load = 0
            for x in range(width - 1):
                load += in_row[direction, y, x]
                link_load[link] = load
                link += 1
    for direction in range(2):
        for y in range(height - 1):
            for x in range(width):
                link_load[link] = in_column[direction, y, x] + (link_load[link - width] if y else 0)
                link += 1


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
        along_x = abs(distances.x[from_router % width] - distances.x[to_router % width])
        along_y = abs(distances.y[from_router // width] - distances.y[to_router // width])
        longest = max(longest, along_x + along_y)
    return longest
