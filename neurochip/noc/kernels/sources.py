"""Kernel of the packet network model: addresses of what it works with, the source queues, and the way of a packet."""

from __future__ import annotations

from typing import Any, NamedTuple

from numba import njit

from neurochip.noc.kernels.memory import (
    flow_at,
    link_at,
    load,
    load32,
    packet_at,
    store,
    store8,
    store32,
    totals_at,
)
from neurochip.noc.kernels.records import Int64Array, State

NEVER = 1 << 62


class Net(NamedTuple):
    """Addresses of the arrays of a ``State``, and its sizes."""

    routers: int
    soon: int
    links: int
    packets: int
    unused: int
    credits: int
    flows: int
    heap: int
    queue: int
    queued: int
    first_packet: int
    bins: int
    delivered_at: int
    totals: int
    recorded: int  # whether delivery times are kept
    ports: int  # inputs of a router
    rings: int  # 1 if links close to rings and have two lanes each, else 0
    places: int  # of a ring of credits
    block: int  # bytes of a router
    interval: int  # of a link's buffer
    inject_interval: int


class Router(NamedTuple):
    """Addresses in a router's block, see ``router_dtype``, and the number of its first input."""

    at: int
    free: int
    way: int
    want: int
    base: int


@njit(cache=True, nogil=True)
def net_of(state: State) -> Net:
    """The addresses of ``state``, valid while it lives."""
    ports, channels, places, block, _, _, interval, inject_interval = state.sizes
    return Net(
        state.routers.ctypes.data,
        state.soon.ctypes.data,
        state.links.ctypes.data,
        state.packets.ctypes.data,
        state.unused.ctypes.data,
        state.credits.ctypes.data,
        state.flows.ctypes.data,
        state.heap.ctypes.data,
        state.queue.ctypes.data,
        state.queued.ctypes.data,
        state.first_packet.ctypes.data,
        state.bins.ctypes.data,
        state.delivered_at.ctypes.data,
        state.totals.ctypes.data,
        min(len(state.delivered_at), 1),
        ports,
        channels - 1,
        places,
        block,
        interval,
        inject_interval,
    )


@njit(cache=True, nogil=True, inline="always")
def router_at(net: Net, router: int) -> Router:
    """Where the block of ``router`` is."""
    block = net.routers + router * net.block
    return Router(block, block + 8 * net.ports, block + 16 * net.ports, block + 20 * net.ports, router * net.ports)


@njit(cache=True, nogil=True)
def sift_down(net: Net, start: int, size: int, i: int) -> None:
    """Restore the heap at ``start`` of ``size`` flows, ordered by (next time, flow), below position ``i``."""
    moving = load32(net.heap, start + i)
    time = flow_at(net.flows, moving).next_time
    sinking = True
    while sinking and 2 * i + 1 < size:
        child = 2 * i + 1
        least = load32(net.heap, start + child)
        earliest = flow_at(net.flows, least).next_time
        other = load32(net.heap, start + min(child + 1, size - 1))
        others = flow_at(net.flows, other).next_time
        if others < earliest or (others == earliest and other < least):
            child += 1
            least, earliest = other, others
        sinking = earliest < time or (earliest == time and least < moving)
        if sinking:
            store32(net.heap, start + i, least)
            i = child
    store32(net.heap, start + i, moving)


@njit(cache=True, nogil=True)
def fill_sources(state: State, source: Int64Array) -> None:
    """Queue each flow that has packets at the input ``source`` (n_flows,) of its core, and inject the first packets."""
    net, flows, heap, queue, queued = net_of(state), state.flows, state.heap, state.queue, state.queued
    for flow in range(len(flows)):
        if flows[flow].left:
            queued[source[flow]] += 1
    place = 0
    for i in range(len(queue)):
        queue[i] = place
        place += queued[i]
        queued[i] = 0
    for flow in range(len(flows)):
        if flows[flow].left:
            i = source[flow]
            heap[queue[i] + queued[i]] = flow
            queued[i] += 1
    for i in range(len(queue)):
        for place in range(queued[i] // 2 - 1, -1, -1):
            sift_down(net, queue[i], queued[i], place)
        if queued[i]:
            router = i // net.ports
            time = inject(net, router_at(net, router), i - router * net.ports)
            state.soon[router] = min(state.soon[router], time)


@njit(cache=True, nogil=True)
def inject(net: Net, router: Router, port: int) -> int:
    """Put the next packet of a core's source queue, which is not empty, at the head of input ``port``.

    Returns when it may bid.
    """
    i = router.base + port
    queue, queued = load32(net.queue, i), load32(net.queued, i)
    f = load32(net.heap, queue)
    flow = flow_at(net.flows, f)
    link = link_at(net.links, i)
    record = load(net.unused, 0)
    packet = packet_at(net.packets, record)
    store(net.unused, 0, packet.next)
    link.head = record
    packet.born = flow.next_time
    packet.x, packet.y, packet.port = flow.x, flow.y, flow.port
    if net.recorded:
        packet.number = load(net.first_packet, f) + flow.sent
    flow.sent += 1
    flow.left -= 1
    flow.next_time += flow.spacing
    if flow.left == 0:
        queued -= 1
        store32(net.queued, i, queued)
        store32(net.heap, queue, load32(net.heap, queue + queued))
    sift_down(net, queue, queued, 0)
    packet.time = packet.born + totals_at(net.totals, 0).inject
    time = max(packet.time, link.next_bid)
    ahead(net, router, port, packet, time)
    return time


@njit(cache=True, nogil=True, inline="always")
def ahead(net: Net, router: Router, port: int, packet: Any, time: int) -> None:
    """Let ``packet``, now at the head of input ``port``, bid from ``time`` for the next lane of its way.

    It goes along x first, then along y, then into its core.
    """
    along_x = 1 if packet.x < 0 else 0
    along_y = 3 if packet.y < 0 else 2
    direction = along_x if packet.x else along_y if packet.y else 4 + packet.port
    lane = direction
    if net.rings:
        lane = 4 + direction
        if direction < 4:
            straight = port < 8 and port >> 2 == direction >> 1
            closes = link_at(net.links, load32(router.way, 2 * direction)).closes
            lane = 2 * direction + ((port & 1 if straight else 0) | closes)
    store8(router.want, port, lane)
    store(router.at, port, time)
