"""Kernel of the packet network model: every packet moves through routers in time order.

What a router does reaches another no sooner than the delay of the link between them, in either direction: a packet
takes the link's latency, a freed slot its credit's. So for as many cycles a router runs alone, with all that it can
hear of already in its inputs and lanes: again and again it finds the first cycle at which the head of an input and the
lane it wants are both ready, and in that cycle every output that has bidders serves the next in turn.

The same holds for regions, which are chips if crossing from one to the next takes long: a region runs alone for as
many cycles as its borders take, while its part of the network stays in the cache.

All bids of a cycle are looked at before a packet moves, and every delay that follows from a move is at least one cycle.
So neither the order of routers nor that of regions can change a result.

On rings, packets could wait for each other in a circle. There every link has two virtual channels, and a packet that
has crossed the link which closes the ring takes the second one from there until it turns (Dally and Seitz 1987).
"""

from __future__ import annotations

from typing import Any

from numba import njit

from neurochip.noc.kernels.memory import (
    flow_at,
    link_at,
    load,
    load8,
    load32,
    lowest_bit,
    packet_at,
    prefetch,
    store,
    store8,
    store32,
    totals_at,
)
from neurochip.noc.kernels.records import ALWAYS, CACHE_LINE, NEVER, PACKET, Net, Router, State

DRAINED, STUCK, TOO_LONG = range(3)
"""What `run` returns: all delivered; packets left that can never move; packets left after the last cycle allowed."""

PACKET_SIZE = PACKET.itemsize
EXACT = 2048
"""Latencies below this have a histogram bin each; beyond it bins are at most 1/1024 of the latency wide."""


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
def fill_inputs(state: State) -> None:
    """Put the first packet of every source queue at the head of its core's input."""
    net = net_of(state)
    for i in range(len(state.queued)):
        if state.queued[i]:
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


@njit(cache=True, nogil=True, inline="always")
def first_lane(net: Net, lane: int) -> int:
    """The first of the lanes that share an output with ``lane``."""
    return lane & ~(net.rings & int(lane < 8))


@njit(cache=True, nogil=True, inline="always")
def take(net: Net, router: Router, port: int, now: int) -> None:
    """Take the head packet out of input ``port`` at cycle ``now``; its credit goes back, the next packet may bid."""
    link = link_at(net.links, router.base + port)
    if link.sender < 0:
        link.next_bid = now + net.inject_interval
        if load32(net.queued, router.base + port):
            inject(net, router, port)
        else:
            store(router.at, port, NEVER)
        return
    link.next_bid = now + net.interval
    left = link.size - (link.sent - link.taken)
    if left <= link.slack or link.slack == ALWAYS:
        credit = now + link.credit
        store(net.credits, (router.base + port) * net.places + (link.taken & (net.places - 1)), credit)
        if left == 0:
            sender = router_at(net, link.sender)
            first = link_at(net.links, load32(sender.way, first_lane(net, link.lane)))
            free = max(first.free_at, credit)
            store(sender.free, link.lane, free)
            store(net.soon, link.sender, min(load(net.soon, link.sender), free))
    link.taken += 1
    if link.sent != link.taken:
        link.head = packet_at(net.packets, link.head).next
        packet = packet_at(net.packets, link.head)
        prefetch(net.packets, PACKET_SIZE * packet.next)
        ahead(net, router, port, packet, max(packet.time, link.next_bid))
    else:
        store(router.at, port, NEVER)


@njit(cache=True, nogil=True, inline="always")
def put(net: Net, way: int, record: int, now: int) -> int:
    """Send the packet in ``record`` over link ``way`` at cycle ``now``; returns when the link has a slot again."""
    link = link_at(net.links, way)
    packet = packet_at(net.packets, record)
    packet.time = now + link.latency
    step_x = (1 if packet.x > 0 else 0) - (1 if packet.x < 0 else 0)
    step_y = 0 if step_x else (1 if packet.y > 0 else 0) - (1 if packet.y < 0 else 0)
    packet.x -= step_x
    packet.y -= step_y
    if link.sent == link.taken:
        link.head = record
        router = router_at(net, link.router)
        time = max(packet.time, link.next_bid)
        ahead(net, router, way - router.base, packet, time)
        store(net.soon, link.router, min(load(net.soon, link.router), time))
    else:
        packet_at(net.packets, link.tail).next = record
    link.tail = record
    link.sent += 1
    left = link.size - (link.sent - link.taken)
    if left > link.slack and link.slack < ALWAYS:
        return 0
    place = (link.sent - link.size) & (net.places - 1)
    credit: int = load(net.credits, way * net.places + place) if left else NEVER
    return credit


@njit(cache=True, nogil=True, inline="always")
def deliver(net: Net, record: int, now: int) -> None:
    """Count the packet in ``record``, which won its core's port at cycle ``now``; the record is unused then."""
    total, packet = totals_at(net.totals, 0), packet_at(net.packets, record)
    time = now + total.eject
    latency = time - packet.born
    octave, place = 0, latency
    while place >= EXACT:
        place >>= 1
        octave += 1
    place += octave * (EXACT // 2)
    store(net.bins, place, load(net.bins, place) + 1)
    total.delivered += 1
    total.sum += latency
    total.min = min(total.min, latency)
    total.max = max(total.max, latency)
    total.last = max(total.last, time)
    if net.recorded:
        store(net.delivered_at, packet.number, time)
    packet.next = load(net.unused, 0)
    store(net.unused, 0, record)


@njit(cache=True, nogil=True, inline="always")
def move(net: Net, router: Router, port: int, lane: int, now: int) -> None:
    """Move the head packet of input ``port`` over ``lane`` at cycle ``now``."""
    record = link_at(net.links, router.base + port).head
    # the buffer lets it go first: its place in the line of the next one overwrites that in this one's
    take(net, router, port, now)
    way = load32(router.way, lane)
    link = link_at(net.links, way)
    first = first_lane(net, lane)
    free_at = now + link.service
    link_at(net.links, load32(router.way, first)).free_at = free_at
    credit = 0
    if lane < 4 << net.rings:
        credit = put(net, way, record, now)
    else:
        link.sent += 1
        deliver(net, record, now)
    if net.rings and lane < 8:
        store(router.free, first, max(load(router.free, first), free_at))
        store(router.free, first + 1, max(load(router.free, first + 1), free_at))
    store(router.free, lane, max(free_at, credit))


@njit(cache=True, nogil=True)
def advance(net: Net, number: int, end: int) -> None:
    """Run router ``number`` alone up to cycle ``end``, which it does not take part in."""
    router = router_at(net, number)
    while True:
        now: int = NEVER
        for port in range(net.ports):
            now = min(now, max(load(router.at, port), load(router.free, load8(router.want, port))))
        if now >= end:
            store(net.soon, number, now)
            return
        bids = 0
        for port in range(net.ports):
            ready = max(load(router.at, port), load(router.free, load8(router.want, port))) == now
            bids |= int(ready) << port
        while bids:
            port = lowest_bit(bids)
            first = first_lane(net, load8(router.want, port))
            if bids & (bids - 1) == 0:
                rivals = bids
            else:
                rivals = 0
                others = bids
                while others:
                    other = lowest_bit(others)
                    others &= others - 1
                    rivals |= int(first_lane(net, load8(router.want, other)) == first) << other
            bids &= ~rivals
            output = link_at(net.links, load32(router.way, first))
            in_turn = rivals & (-1 << output.turn)
            port = lowest_bit(in_turn if in_turn else rivals)
            output.turn = port + 1 if port + 1 < net.ports else 0
            move(net, router, port, load8(router.want, port), now)


@njit(cache=True, nogil=True)
def run(state: State, last_cycle: int) -> int:
    """Move packets until all are delivered; see the module's docstring for how. Returns DRAINED, STUCK or TOO_LONG."""
    net, regions = net_of(state), state.regions
    window, lead = state.sizes[4], state.sizes[5]
    n_regions = len(regions) - 1
    to_deliver = 0
    for flow in range(len(state.flows)):
        to_deliver += int(state.flows[flow].left) + int(state.flows[flow].sent)
    while state.totals[0].delivered < to_deliver:
        start = soonest(net, 0, regions[n_regions])
        if start > last_cycle:
            return STUCK if start == NEVER else TOO_LONG
        end = min(start + lead, last_cycle + 1)
        for region in range(n_regions):
            for stage in range(3):
                coming = min(region + 2 - stage, n_regions - 1)
                bring_near(net, (regions[coming], regions[coming + 1]), end, stage)
            run_region(net, (regions[region], regions[region + 1]), end, window)
    return DRAINED


@njit(cache=True, nogil=True)
def bring_near(net: Net, routers: tuple[int, int], end: int, stage: int) -> None:
    """Load what ``routers`` first..end - 1 will work on before cycle ``end`` into the cache, without waiting.

    In three stages, as each reads what the one before has loaded: blocks, links, packets.
    """
    for number in range(routers[0], routers[1]):
        if load(net.soon, number) < end:
            router = router_at(net, number)
            if stage == 0:
                for line in range(0, net.block, CACHE_LINE):
                    prefetch(router.at, line)
            else:
                for port in range(net.ports):
                    if load(router.at, port) < end:
                        i = router.base + port
                        if stage == 1:
                            prefetch(net.links, CACHE_LINE * i)
                            prefetch(net.links, CACHE_LINE * load32(router.way, load8(router.want, port)))
                        else:
                            prefetch(net.packets, PACKET_SIZE * link_at(net.links, i).head)


@njit(cache=True, nogil=True)
def run_region(net: Net, routers: tuple[int, int], end: int, window: int) -> None:
    """Run a region, ``routers`` first..end - 1, alone up to cycle ``end``, in steps of ``window``."""
    now = soonest(net, routers[0], routers[1])
    while now < end:
        until = min(now + window, end)
        for router in range(routers[0], routers[1]):
            if load(net.soon, router) < until:
                advance(net, router, until)
        now = soonest(net, routers[0], routers[1])


@njit(cache=True, nogil=True, inline="always")
def soonest(net: Net, first: int, end: int) -> int:
    """The first cycle in which something may happen in routers ``first`` to ``end - 1``; NEVER if nothing can."""
    cycle: int = NEVER
    for router in range(first, end):
        cycle = min(cycle, load(net.soon, router))
    return cycle
