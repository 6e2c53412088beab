"""Kernel of the packet network model: every packet moves through routers in time order.

What a router does reaches another no sooner than the delay of the link between them, in either direction: a packet
takes the link's latency, a freed slot its credit's. So for a window of as many cycles a router runs alone, with all
that it can hear of already in its inputs and lanes: again and again it finds the first cycle at which the head of an
input and the lane it wants are both ready, and in that cycle every output that has bidders serves the next in turn.

The same holds for regions, which are chips if crossing from one to the next takes long: a region runs alone for as many
windows as its borders take, while its part of the network stays in the cache. A wheel says who wakes in which window.

All bids of a cycle are looked at before a packet moves, and every delay that follows from a move is at least one cycle.
So neither the order of routers nor that of regions can change a result.

On rings, packets could wait for each other in a circle. There every link has two virtual channels, and a packet that
has crossed the link which closes the ring takes the second one from there until it turns (Dally and Seitz 1987).
"""

from __future__ import annotations

from typing import Any

from numba import njit

from neurochip.noc.kernels.memory import (
    kind_at,
    link_at,
    load,
    load32,
    lowest_bit,
    place_at,
    prefetch,
    store,
    totals_at,
)
from neurochip.noc.kernels.records import CACHE_LINE, CORES, FREE, MASK, NEVER, NEXT, PLACE, Net, State
from neurochip.noc.kernels.routing import block_of, first_lane, lane_of, way_of
from neurochip.noc.kernels.sources import fill_inputs, inject
from neurochip.stamp import stamp

DRAINED, STUCK, TOO_LONG = range(3)
"""What `run` returns: all delivered; packets left that can never move; packets left after the last cycle allowed."""

PLACE_SIZE = PLACE.itemsize
EXACT = 2048
"""Latencies below this have a histogram bin each; beyond it bins are at most 1/1024 of the latency wide."""


@njit(nogil=True, forceinline=True)
def wake(net: Net, router: int, time: int) -> None:
    """Let ``router`` run at cycle ``time`` if it would not run before."""
    if time < load(net.soon, router):
        store(net.soon, router, time)
        if time < totals_at(net.totals, 0).end:  # so it is of the running region
            mark(net, router, time)
        else:
            region = load32(net.region_of, router)
            store(net.wakes, region, min(load(net.wakes, region), time))


@njit(nogil=True, forceinline=True)
def mark(net: Net, router: int, time: int) -> None:
    """Let ``router`` of the running region run in the window of cycle ``time``."""
    total = totals_at(net.totals, 0)
    number = router - total.router
    word = (time - total.start >> net.shift) * net.words + (number >> 6)
    store(net.wheel, word, load(net.wheel, word) | 1 << (number & 63))


@njit(nogil=True, forceinline=True)
def take(net: Net, block: int, router: int, port: int, now: int) -> None:
    """The head packet of input ``port`` leaves at cycle ``now``: its credit goes back, the next packet is head."""
    base = router * net.ports
    link = link_at(net.links, base + port)
    if port >= net.lanes:
        link.next_bid = now + net.inject_interval
        if link.tail:
            inject(net, base, port)
        else:
            store(block, MASK, load(block, MASK) & ~(1 << port))
        return
    kind = kind_at(net.kinds, link.kind)
    link.next_bid = now + net.interval
    left = kind.size - (link.sent - link.taken)
    if left <= kind.slack:
        credit = now + kind.credit
        place_at(net.places, link.head).time = credit
        if left == 0:
            sender = load32(block, NEXT + (port >> net.rings ^ 1))
            free_at = link_at(net.links, base + first_lane(net, port)).free_at
            free = max(free_at, credit)
            store(block_of(net, sender), FREE + port, free)
            wake(net, sender, free)
    link.taken += 1
    link.head = link.head + 1 if link.head + 1 < link.first + kind.size else link.first
    if link.sent == link.taken:
        store(block, MASK, load(block, MASK) & ~(1 << port))
        return
    packet = place_at(net.places, link.head)
    link.at = max(packet.time, link.next_bid)
    link.born, link.x, link.y, link.port, link.number = packet.born, packet.x, packet.y, packet.port, packet.number
    link.want = lane_of(net, base, port, packet.x, packet.y, packet.port)


@njit(nogil=True, forceinline=True)
def move(net: Net, block: int, router: int, port: int, now: int) -> None:
    """Move the head packet of input ``port`` over the lane it wants at cycle ``now``."""
    base = router * net.ports
    link = link_at(net.links, base + port)
    lane, born, x, y, core, number = int(link.want), link.born, link.x, link.y, link.port, link.number
    take(net, block, router, port, now)
    first = first_lane(net, lane)
    output = link_at(net.links, way_of(net, block, base, first))
    output.turn = port + 1 if port + 1 < net.ports else 0
    free_at = now + kind_at(net.kinds, output.kind).service
    output.free_at = free_at
    if lane >= net.lanes:
        output.sent += 1
        store(block, FREE + lane, free_at)
        deliver(net, born, number, now)
        return
    if net.rings:
        store(block, FREE + first, max(load(block, FREE + first), free_at))
        store(block, FREE + first + 1, max(load(block, FREE + first + 1), free_at))
    step_x = int(x > 0) - int(x < 0)
    step_y = 0 if step_x else int(y > 0) - int(y < 0)
    after = load32(block, NEXT + (lane >> net.rings))
    put(net, after, lane, (born, x - step_x, y - step_y, core, number), now)
    store(block, FREE + lane, max(free_at, credit_for(net, after, lane)))


@njit(nogil=True, forceinline=True)
def put(net: Net, router: int, lane: int, packet: tuple[int, int, int, int, int], now: int) -> None:
    """Send ``packet``, its fields from ``born`` on, over ``lane`` to ``router`` at cycle ``now``."""
    base, block = router * net.ports, block_of(net, router)
    link = link_at(net.links, base + lane)
    kind = kind_at(net.kinds, link.kind)
    born, x, y, core, number = packet
    time = now + kind.latency
    if link.sent == link.taken:
        link.at = max(time, link.next_bid)
        link.born, link.x, link.y, link.port, link.number = born, x, y, core, number
        link.want = lane_of(net, base, lane, x, y, core)
        store(block, MASK, load(block, MASK) | 1 << lane)
        wake(net, router, link.at)
    else:
        place = place_at(net.places, link.tail)
        place.time, place.born, place.x, place.y, place.port, place.number = time, born, x, y, core, number
    link.tail = link.tail + 1 if link.tail + 1 < link.first + kind.size else link.first
    link.sent += 1


@njit(nogil=True, forceinline=True)
def credit_for(net: Net, router: int, lane: int) -> int:
    """When the next packet may be sent over ``lane`` to ``router`` for all that its buffer knows; 0 if at once."""
    link = link_at(net.links, router * net.ports + lane)
    kind = kind_at(net.kinds, link.kind)
    left = kind.size - (link.sent - link.taken)
    if left > kind.slack:
        return 0
    credit: int = place_at(net.places, link.tail).time if left else NEVER
    return credit


@njit(nogil=True, forceinline=True)
def deliver(net: Net, born: int, number: int, now: int) -> None:
    """Count a packet, injected at cycle ``born``, which won its core's port at cycle ``now``."""
    total = totals_at(net.totals, 0)
    time = now + total.eject
    latency = time - born
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
        store(net.delivered_at, number, time)


@njit(nogil=True, forceinline=True)
def advance(net: Net, router: int, end: int) -> None:
    """Run ``router`` alone up to cycle ``end``, which it does not take part in."""
    block, base = block_of(net, router), router * net.ports
    of_links = (1 << net.lanes) - 1
    while True:
        now: int = NEVER
        bids = 0
        heads = load(block, MASK)
        others = heads & of_links
        while others:
            port = lowest_bit(others)
            others &= others - 1
            link = link_at(net.links, base + port)
            ready = max(link.at, load(block, FREE + link.want))
            bids = 1 << port if ready < now else bids | int(ready == now) << port
            now = min(now, ready)
        later = cores = load(block, CORES)
        if cores < end:
            later, cores, others = NEVER, NEVER, heads & ~of_links
            while others:
                port = lowest_bit(others)
                others &= others - 1
                link = link_at(net.links, base + port)
                cores = min(cores, link.at)
                ready = max(link.at, load(block, FREE + link.want))
                bids = 1 << port if ready < now else bids | int(ready == now) << port
                now = min(now, ready)
            store(block, CORES, cores)
        if now >= end:
            soon = min(now, later)
            store(net.soon, router, soon)
            if soon < totals_at(net.totals, 0).end:
                mark(net, router, soon)
            return
        if bids & (bids - 1) == 0:
            move(net, block, router, lowest_bit(bids), now)
        else:
            arbitrate(net, block, router, bids, now)


@njit(nogil=True, forceinline=True)
def arbitrate(net: Net, block: int, router: int, bids: int, now: int) -> None:
    """Of the heads of inputs ``bids``, which could all move at cycle ``now``, move the next in turn at each output."""
    base = router * net.ports
    while bids:
        first = first_lane(net, link_at(net.links, base + lowest_bit(bids)).want)
        rivals, others = 0, bids
        while others:
            other = lowest_bit(others)
            others &= others - 1
            rivals |= int(first_lane(net, link_at(net.links, base + other).want) == first) << other
        bids &= ~rivals
        in_turn = rivals & (-1 << link_at(net.links, way_of(net, block, base, first)).turn)
        move(net, block, router, lowest_bit(in_turn if in_turn else rivals), now)


@njit(nogil=True, forceinline=True)
def run_region(net: Net, first: int, after: int, windows: int) -> None:
    """Run the routers ``first`` to ``after - 1`` alone, window by window."""
    total = totals_at(net.totals, 0)
    for router in range(first, after):
        if load(net.soon, router) < total.end:
            mark(net, router, load(net.soon, router))
    for window in range(windows):
        end = min(total.start + (window + 1 << net.shift), total.end)
        for word in range(net.words):
            bits = load(net.wheel, window * net.words + word)
            store(net.wheel, window * net.words + word, 0)
            while bits:
                router = first + 64 * word + lowest_bit(bits)
                bits &= bits - 1
                if load(net.soon, router) < end:
                    advance(net, router, end)


@njit(nogil=True, forceinline=True)
def soonest(net: Net, first: int, after: int) -> int:
    """The first cycle in which something may happen in routers ``first`` to ``after - 1``; NEVER if nothing can."""
    cycle: int = NEVER
    for router in range(first, after):
        cycle = min(cycle, load(net.soon, router))
    return cycle


@njit(nogil=True, forceinline=True)
def bring_near(net: Net, first: int, after: int, stage: int) -> None:
    """Load what the routers ``first`` to ``after - 1`` will work on into the cache, without waiting.

    In three stages, as each reads what the one before has loaded: blocks; links; places, and the links that are next.
    """
    end = totals_at(net.totals, 0).end
    for router in range(first, after):
        if load(net.soon, router) < end:
            block, base = block_of(net, router), router * net.ports
            if stage == 0:
                for line in range(0, net.block, CACHE_LINE):
                    prefetch(block, line)
            else:
                heads = load(block, MASK)
                if load(block, CORES) >= end:
                    heads &= (1 << net.lanes) - 1
                while heads:
                    link = link_at(net.links, base + lowest_bit(heads))
                    if stage == 1:
                        prefetch(net.links, CACHE_LINE * (base + lowest_bit(heads)))
                    elif link.at < end:
                        prefetch(net.places, PLACE_SIZE * link.head)
                        prefetch(net.links, CACHE_LINE * way_of(net, block, base, link.want))
                    heads &= heads - 1


def _compiled(_stamp: int) -> Any:
    """The kernel, which closes over the stamp of those it calls."""

    @njit(cache=True, nogil=True)
    def run(net: Net, state: State, last_cycle: int) -> int:
        """Move all packets of ``state``, at the addresses ``net``, from their source queues until they are delivered.

        See the module's docstring for how. Returns DRAINED, STUCK or TOO_LONG.
        """
        if _stamp < 0:
            return STUCK
        regions, wakes, total = state.regions, state.wakes, state.totals[0]
        packets, windows = state.sizes
        fill_inputs(net, wakes, len(state.soon))
        while total.delivered < packets:
            total.start = wakes.min()
            if total.start > last_cycle:
                return STUCK if total.start == NEVER else TOO_LONG
            total.end = min(total.start + (windows << net.shift), last_cycle + 1)
            awake = 0
            for region in range(len(wakes)):
                state.awake[awake] = region
                awake += int(wakes[region] < total.end)
            for i in range(-2, awake):
                for stage in range(min(3, awake - i)):
                    if i + stage >= 0:
                        coming = state.awake[i + stage]
                        bring_near(net, regions[coming], regions[coming + 1], 2 - stage)
                if i >= 0:
                    region = state.awake[i]
                    total.router = regions[region]
                    run_region(net, regions[region], regions[region + 1], windows)
                    wakes[region] = soonest(net, regions[region], regions[region + 1])
        return DRAINED

    return run


run = _compiled(stamp(__file__, "memory", "records", "routing", "sources"))
