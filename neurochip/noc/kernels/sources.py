"""Kernels of the cores' source queues: each core's next packet, in the order of time; `packet` compiles them in."""

from __future__ import annotations

from numba import njit

from neurochip.noc.kernels.memory import flow_at, link_at, load, load32, store, totals_at, waiting_at
from neurochip.noc.kernels.records import CORES, MASK, NEVER, WAITING, Int64Array, Net
from neurochip.noc.kernels.routing import block_of, lane_of

WAITING_SIZE = WAITING.itemsize


@njit(nogil=True)
def sift_down(heap: int, size: int, i: int) -> None:
    """Restore the heap of ``size`` flows at the address ``heap``, ordered by (time, flow), below position ``i``."""
    top = waiting_at(heap, i)
    time, flow, left = top.time, top.flow, top.left
    sinking = True
    while sinking and 2 * i + 1 < size:
        child = 2 * i + 1
        least = waiting_at(heap, child)
        if child + 1 < size:
            other = waiting_at(heap, child + 1)
            if other.time < least.time or (other.time == least.time and other.flow < least.flow):
                child += 1
                least = other
        sinking = least.time < time or (least.time == time and least.flow < flow)
        if sinking:
            parent = waiting_at(heap, i)
            parent.time, parent.flow, parent.left = least.time, least.flow, least.left
            i = child
    place = waiting_at(heap, i)
    place.time, place.flow, place.left = time, flow, left


@njit(nogil=True)
def inject(net: Net, base: int, port: int) -> None:
    """Put the next packet of a core's source queue, which is not empty, at the head of its input ``port``."""
    link = link_at(net.links, base + port)
    heap = net.heap + WAITING_SIZE * link.first
    top = waiting_at(heap, 0)
    flow = flow_at(net.flows, top.flow)
    link.born = top.time
    link.x, link.y, link.port = flow.x, flow.y, flow.port
    if net.recorded:
        link.number = load(net.first_packet, top.flow) + flow.sent
    flow.sent += 1
    link.at = max(top.time + totals_at(net.totals, 0).inject, link.next_bid)
    link.want = lane_of(net, base, port, flow.x, flow.y, flow.port)
    top.left -= 1
    top.time += flow.spacing
    if top.left == 0:
        link.tail -= 1
        last = waiting_at(heap, link.tail)
        top.time, top.flow, top.left = last.time, last.flow, last.left
    sift_down(heap, link.tail, 0)


@njit(nogil=True)
def fill_inputs(net: Net, wakes: Int64Array, n_routers: int) -> None:
    """Put the first packet of every source queue at the head of its core's input."""
    for router in range(n_routers):
        block, base, soon = block_of(net, router), router * net.ports, NEVER
        for port in range(net.lanes, net.ports):
            link = link_at(net.links, base + port)
            if link.tail:
                store(block, MASK, load(block, MASK) | 1 << port)
                inject(net, base, port)
                soon = min(soon, link.at)
        store(block, CORES, soon)
        store(net.soon, router, soon)
        region = load32(net.region_of, router)
        wakes[region] = min(wakes[region], soon)
