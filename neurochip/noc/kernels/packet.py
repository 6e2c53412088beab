"""Kernel of the packet network model: every packet moves through routers in time order.

A channel is a link and the buffer at its end. Channel c < n_links is link c; channel n_links + core is a core's local
port, whose "link" leads into the core and whose buffer is the head of the core's source queue. So a packet goes from
buffer to buffer, and leaves when it wins the link of its target's local channel.

Each channel has at most two events ahead: the head of its buffer may bid (event 2 c), and its link, waiting with
bidders, may try again (event 2 c + 1). Events wait in a wheel of lists, one list a cycle; injections of later laps
stay on theirs.

Regions are chips, if crossing from one to the next takes long. What happens in a region reaches another no sooner than
the delay of the links between them, in either direction, so each runs alone for as many cycles, while its part of the
network stays in the cache. What a region sees of a link that leaves it may be from any time of that interval; all that
follows from it is the same (``bid`` says where care is needed).

A cycle has three phases: all its events are taken in, every link that has a bidder picks one, the winners move. A move
changes nothing that another link's choice in the same cycle reads, since every delay that follows is at least one
cycle. So the order within a cycle cannot change a result.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from llvmlite import ir  # type: ignore[import-untyped]
from numba import njit, types
from numba.core import cgutils
from numba.extending import intrinsic

from neurochip.noc.kernels.records import Int32Array, Int64Array, Records, State

DRAINED, STUCK, TOO_LONG = range(3)
"""What `run` returns: all delivered; packets left that can never move; packets left after the last cycle allowed."""

NEVER = 1 << 62
EXACT = 2048
"""Latencies below this have a histogram bin each; beyond it bins are at most 1/1024 of the latency wide."""

IDLE, BIDDEN, WAITING, FULL = range(4)
"""States of a link: no bidder; in this cycle's arbitration; to try again at a known time, or once its buffer frees."""


@intrinsic
def lowest_bit(_context: Any, bits: Any) -> Any:
    """The position of the lowest set bit of an int64 that is not zero."""

    def generate(_compiler: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        return builder.cttz(arguments[0], cgutils.true_bit)

    return types.int64(types.int64), generate


@intrinsic
def prefetch(_context: Any, record: Any) -> Any:
    """Bring the cache line at the start of a record near without waiting: big meshes exceed the second-level cache."""

    def generate(compiler: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        i32 = cgutils.int32_t
        kind = ir.FunctionType(ir.VoidType(), [cgutils.voidptr_t, i32, i32, i32])
        function = cgutils.get_or_insert_function(builder.module, kind, "llvm.prefetch.p0i8")
        write_keep_data = [ir.Constant(i32, number) for number in (1, 3, 1)]
        builder.call(function, [builder.bitcast(arguments[0], cgutils.voidptr_t), *write_keep_data])
        return compiler.get_dummy_value()

    return types.none(record), generate


@njit(cache=True, nogil=True)
def sift_down(heap: Int32Array, flows: Records, start: int, size: int, i: int) -> None:
    """Restore the heap ``heap[start : start + size]``, ordered by (next time, flow), below position ``i``."""
    moving = heap[start + i]
    time = flows[moving].next_time
    sinking = True
    while sinking and 2 * i + 1 < size:
        child = 2 * i + 1
        least = heap[start + child]
        other = heap[start + min(child + 1, size - 1)]
        if (flows[other].next_time, other) < (flows[least].next_time, least):
            child += 1
            least = other
        sinking = (flows[least].next_time, least) < (time, moving)
        if sinking:
            heap[start + i] = least
            i = child
    heap[start + i] = moving


@njit(cache=True, nogil=True)
def fill_sources(state: State, source: Int64Array) -> None:
    """Queue each flow that has packets at the local channel of its core ``source``, (n_flows,)."""
    channels, flows, heap = state.channels, state.flows, state.heap
    n_links = len(channels) - len(state.ports) * (state.ports.shape[1] - 4)
    for flow in range(len(flows)):
        if flows[flow].count:
            channels[n_links + source[flow]].queued += 1
    place = 0
    for c in range(n_links, len(channels)):
        channels[c].queue = place
        place += channels[c].queued
        channels[c].queued = 0
    for flow in range(len(flows)):
        if flows[flow].count:
            channel = channels[n_links + source[flow]]
            heap[channel.queue + channel.queued] = flow
            channel.queued += 1
    for c in range(n_links, len(channels)):
        for i in range(channels[c].queued // 2 - 1, -1, -1):
            sift_down(heap, flows, channels[c].queue, channels[c].queued, i)


class Wheel(NamedTuple):
    """Events to come, see ``State``; ``since``: a cycle up to which every region has got."""

    first: Int32Array
    after: Int32Array
    marks: Int64Array
    since: Int64Array


@njit(cache=True, nogil=True, inline="always")
def enlist(wheel: Wheel, region: int, event: int, time: int) -> None:
    """Put ``event`` on the list of cycle ``time``."""
    place = time & (wheel.first.shape[1] - 1)
    wheel.after[event] = wheel.first[region, place]
    wheel.first[region, place] = event
    wheel.marks[region, place >> 6] |= np.int64(1) << (place & 63)


@njit(cache=True, nogil=True, inline="always")
def retry(channels: Records, wheel: Wheel, c: int, time: int) -> None:
    """Let link ``c`` arbitrate again at a later ``time``."""
    channel = channels[c]
    channel.state = WAITING
    channel.retry_time = time
    enlist(wheel, channel.here, 2 * c + 1, time)


@njit(cache=True, nogil=True, inline="always")
def bid(channels: Records, slots: Records, wheel: Wheel, c: int, now: int) -> None:
    """Let the packet that became head of buffer ``c`` bid as soon as it may for the next channel of its route.

    If that link cannot arbitrate before, the bid may as well lie there already. A full buffer in another region, or one
    looked at from there, may have freed a slot in cycles that are not known here yet, but none before ``wheel.since``.
    """
    channel = channels[c]
    slot = slots[channel.head]
    channel.wanted = c + channel.onward if slot.straight > 0 else slot.turn
    time = max(channel.next_bid, slot.time)
    link = channels[channel.wanted]
    certain = now if link.there == channel.there and channel.here == channel.there else wheel.since[0]
    if (link.state == WAITING and time <= link.retry_time) or (link.state == FULL and time <= certain + link.credit):
        link.bids |= np.int64(1) << channel.port
    else:
        enlist(wheel, channel.there, 2 * c, time)


@njit(cache=True, nogil=True)
def inject(slots: Records, flows: Records, heap: Int32Array, channel: Any, latency: int) -> None:
    """Put the next packet of a local channel's source queue, which is not empty, into its slot."""
    f = heap[channel.queue]
    flow, slot = flows[f], slots[channel.head]
    slot.time = flow.next_time + latency
    slot.flow = f
    slot.k = flow.sent
    slot.turn = flow.start
    slot.straight = -1
    flow.sent += 1
    flow.next_time += flow.spacing
    if flow.sent == flow.count:
        channel.queued -= 1
        heap[channel.queue] = heap[channel.queue + channel.queued]
    sift_down(heap, flows, channel.queue, channel.queued, 0)


@njit(cache=True, nogil=True, inline="always")
def free_time(channels: Records, slots: Records, c: int) -> int:
    """When link ``c`` may pass its next packet; NEVER while all slots of its buffer are taken."""
    channel = channels[c]
    slot = slots[channel.tail]
    if channel.count == channel.end - channel.first:
        return NEVER
    return max(channel.free_at, slot.time if channel.onward else 0)


@njit(cache=True, nogil=True, inline="always")
def grant(channels: Records, slots: Records, ports: Int32Array, c: int, now: int) -> int:
    """Give link ``c`` to the bidder next in turn and return its channel, or -1 if the link is not free."""
    if free_time(channels, slots, c) > now:
        return -1
    channel = channels[c]
    in_turn = channel.bids & (np.int64(-1) << channel.turn)
    port = lowest_bit(in_turn if in_turn else channel.bids)
    channel.bids &= ~(np.int64(1) << port)
    channel.turn = port + 1 if port + 1 < ports.shape[1] else 0
    channel.free_at = now + channel.service
    channel.passed += 1
    return ports[channel.origin, port]


@njit(cache=True, nogil=True, inline="always")
def send(channels: Records, slots: Records, flows: Records, wheel: Wheel, c: int, where: tuple[int, int]) -> None:
    """Move the packet in slot ``where[0]`` over link ``c`` into its buffer's next slot, at cycle ``where[1]``."""
    channel = channels[c]
    slot, old = slots[channel.tail], slots[where[0]]
    flow = flows[old.flow]
    slot.time = where[1] + channel.latency
    slot.flow = old.flow
    slot.k = old.k
    if old.straight > 0:
        slot.turn = old.turn
        slot.straight = old.straight - 1
        slot.then = old.then
    elif old.straight == 0:
        slot.turn = flow.exit
        slot.straight = old.then
        slot.then = 0
    else:
        slot.turn = flow.turn
        slot.straight = flow.straight
        slot.then = flow.then
    channel.tail = channel.tail + 1 if channel.tail + 1 < channel.end else channel.first
    channel.count += 1
    channel.most = max(channel.most, channel.count)
    if channel.count == 1:
        bid(channels, slots, wheel, c, where[1])


@njit(cache=True, nogil=True, inline="always")
def release(channels: Records, slots: Records, wheel: Wheel, c: int, now: int) -> None:
    """Free the head slot of buffer ``c``, return its credit, and let the next packet bid."""
    channel = channels[c]
    slots[channel.head].time = now + channel.credit
    channel.head = channel.head + 1 if channel.head + 1 < channel.end else channel.first
    channel.count -= 1
    channel.next_bid = now + channel.interval
    if channel.state == FULL:
        retry(channels, wheel, c, now + channel.credit)
    if channel.count:
        bid(channels, slots, wheel, c, now)


@njit(cache=True, nogil=True, inline="always")
def wait(channels: Records, slots: Records, wheel: Wheel, c: int) -> None:
    """After arbitration for link ``c``: arrange when its remaining bidders are served."""
    channel = channels[c]
    time = free_time(channels, slots, c)
    if channel.bids == 0:
        channel.state = IDLE
    elif time == NEVER:
        channel.state = FULL
    else:
        retry(channels, wheel, c, time)


@njit(cache=True, nogil=True, inline="always")
def deliver(
    slots: Records, flows: Records, totals: Records, bins: Int64Array, delivered_at: Int64Array, where: tuple[int, int]
) -> None:
    """Count the packet in slot ``where[0]``, which won its target's local channel at cycle ``where[1]``."""
    slot, total = slots[where[0]], totals[0]
    flow = flows[slot.flow]
    time = where[1] + total.eject
    latency = time - (flow.first + slot.k * flow.spacing)
    octave, place = 0, latency
    while place >= EXACT:
        place >>= 1
        octave += 1
    bins[place + octave * (EXACT // 2)] += 1
    flow.delivered += 1
    flow.latency_sum += latency
    flow.latency_max = max(flow.latency_max, latency)
    total.delivered += 1
    total.sum += latency
    total.min = min(total.min, latency)
    total.max = max(total.max, latency)
    total.last = max(total.last, time)
    if len(delivered_at):
        delivered_at[flow.first_packet + slot.k] = time


@njit(cache=True, nogil=True, inline="always")
def take_in(channels: Records, slots: Records, wheel: Wheel, bidden: Int32Array, where: tuple[int, int]) -> int:
    """First phase of a cycle, ``where`` = (region, now): collect bids; returns how many links arbitrate, ``bidden``."""
    region, now = where
    place = now & (wheel.first.shape[1] - 1)
    following = wheel.first[region, place]
    wheel.first[region, place] = -1
    wheel.marks[region, place >> 6] &= ~(np.int64(1) << (place & 63))
    n_bidden = 0
    while following >= 0:
        event = following
        following = wheel.after[event]
        c = event >> 1
        if event & 1 == 0:
            channel = channels[c]
            if channel.onward == 0 and max(channel.next_bid, slots[channel.head].time) > now:
                enlist(wheel, region, event, now)
                continue
            c = channel.wanted
            channels[c].bids |= np.int64(1) << channel.port
            if channels[c].state != IDLE:
                continue
        channels[c].state = BIDDEN
        bidden[n_bidden] = c
        prefetch(slots[channels[c].tail])
        n_bidden += 1
    return n_bidden


@njit(cache=True, nogil=True, inline="always")
def next_cycle(marks: Int64Array, now: int) -> int:
    """The next cycle whose list is not empty, ``marks`` (lists / 64,) being those of a region; NEVER if none is."""
    lists = 64 * len(marks)
    place = (now + 1) & (lists - 1)
    word = place >> 6
    bits = marks[word] & (np.int64(-1) << (place & 63))
    for _ in range(len(marks) + 1):
        if bits:
            return now + 1 + (((word << 6) + lowest_bit(bits) - place) & (lists - 1))
        word = (word + 1) & (len(marks) - 1)
        bits = marks[word]
    return NEVER


@njit(cache=True, nogil=True)
def run(state: State, last_cycle: int) -> int:
    """Move packets until all are delivered; see the module's docstring for how. Returns DRAINED, STUCK or TOO_LONG."""
    channels, slots, flows, heap, ports, first, after, marks, ahead, totals, _, _ = state
    wheel = Wheel(first, after, marks, np.full(1, -1, np.int64))
    n_links = len(channels) - len(ports) * (ports.shape[1] - 4)
    regions = len(first)
    bidden = np.empty((3, len(channels)), np.int32)
    due = np.empty(regions, np.int64)
    to_deliver = 0
    for flow in range(len(flows)):
        to_deliver += flows[flow].count
    for c in range(n_links, len(channels)):
        if channels[c].queued:
            inject(slots, flows, heap, channels[c], totals[0].inject)
            bid(channels, slots, wheel, c, -1)
    now = -1
    while totals[0].delivered < to_deliver:
        soonest: int = NEVER
        for region in range(regions):
            due[region] = next_cycle(marks[region], now)
            if due[region] < soonest:
                soonest = due[region]
        if soonest > last_cycle:
            return STUCK if soonest == NEVER else TOO_LONG
        wheel.since[0] = soonest
        end = min(soonest + ahead, last_cycle + 1)
        for region in range(regions):
            if due[region] < end:
                run_region(state, wheel, bidden, (region, due[region], end))
        now = end - 1
    return DRAINED


@njit(cache=True, nogil=True)
def run_region(state: State, wheel: Wheel, scratch: Int32Array, where: tuple[int, int, int]) -> None:
    """Run a region alone, ``where`` = (region, first cycle with an event, cycle to stop before)."""
    channels, slots, flows, heap, ports, _, _, marks, _, totals, bins, delivered_at = state
    n_links = len(channels) - len(ports) * (ports.shape[1] - 4)
    latency = totals[0].inject
    bidden, winners, heads = scratch
    region, now, end = where
    while now < end:
        n_bidden = take_in(channels, slots, wheel, bidden, (region, now))
        for k in range(n_bidden):
            winners[k] = grant(channels, slots, ports, bidden[k], now)
            if winners[k] >= 0:
                prefetch(channels[winners[k]])
        for k in range(n_bidden):
            if winners[k] >= 0:
                heads[k] = channels[winners[k]].head
                prefetch(slots[heads[k]])
        for k in range(n_bidden):
            c, winner = bidden[k], winners[k]
            if winner >= 0:
                if c < n_links:
                    send(channels, slots, flows, wheel, c, (heads[k], now))
                else:
                    deliver(slots, flows, totals, bins, delivered_at, (heads[k], now))
                if winner < n_links:
                    release(channels, slots, wheel, winner, now)
                else:
                    channels[winner].next_bid = now + channels[winner].interval
                    if channels[winner].queued:
                        inject(slots, flows, heap, channels[winner], latency)
                        bid(channels, slots, wheel, winner, now)
            wait(channels, slots, wheel, c)
        now = next_cycle(marks[region], now)
