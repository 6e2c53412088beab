"""The memory layout of the packet network model."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Int64Array = NDArray[np.int64]
Int32Array = NDArray[np.int32]
Records = NDArray[np.void]

# Large boards exceed the processor's second-level cache, and a chip's share is only in it for as long as the chip runs
# ahead. So what a move reads lies in few cache lines: a router's block, a record for each link with its buffer.
NEVER = 1 << 62
CACHE_LINE = 64
ALWAYS = 255
"""A link's ``slack`` if its credits need a look with any number of slots left."""

LINK = np.dtype(
    [
        ("free_at", "i8"),  # when its output may pass the next packet (of an output's first lane)
        ("next_bid", "i8"),  # its buffer gives up its next packet no sooner
        ("sent", "u4"),  # packets that entered it
        ("taken", "u4"),  # packets that left its buffer
        ("size", "i4"),  # packets that fit in its buffer, those on the link included
        ("head", "i4"),  # the first packet in the buffer or on the link, and the last one
        ("tail", "i4"),
        ("latency", "i4"),
        ("service", "i4"),
        ("credit", "i4"),  # cycles from the moment a packet leaves the buffer until its slot may be won again
        ("router", "i4"),  # where the link ends; -1: in a core
        ("sender", "i4"),  # where it starts; -1: the buffer is a core's source queue
        ("lane", "u1"),  # the lane of the sender that it is
        ("turn", "u1"),  # the input that is next in turn (of an output's first lane)
        ("closes", "u1"),  # 1 if it closes a ring
        ("slack", "u1"),  # with more slots left, the credit that the next packet needs is surely back; see ALWAYS
    ],
    align=True,
)

PACKET = np.dtype(
    [
        ("time", "i8"),  # when it may bid for its next link
        ("born", "i8"),  # when it was injected
        ("x", "i2"),  # hops left to go east, or west if negative
        ("y", "i2"),  # then south, or north
        ("port", "i4"),  # then into this core of the router
        ("next", "i4"),  # the packet behind it, or the next unused record
        ("number", "u4"),  # its place in ``State.delivered_at``
    ],
    align=True,
)

FLOW = np.dtype(
    [
        ("next_time", "i8"),
        ("spacing", "i8"),
        ("left", "u4"),  # packets not injected yet
        ("sent", "u4"),
        ("x", "i2"),  # as in PACKET
        ("y", "i2"),
        ("port", "i4"),
    ],
    align=True,
)

TOTALS = np.dtype([(name, "i8") for name in ("delivered", "sum", "min", "max", "last", "inject", "eject", "unused")])


def router_dtype(ports: int) -> np.dtype[np.void]:
    """A router's block, whole cache lines: for each input ``at``, when the packet at its head may bid, ``NEVER`` if
    there is none, and ``want``, the lane for which it bids; for each lane ``free``, when it may pass the next packet,
    ``NEVER`` while its buffer is full, and ``way``, its LINK record.
    """
    fields = [("at", "i8", (ports,)), ("free", "i8", (ports,)), ("way", "i4", (ports,)), ("want", "u1", (ports,))]
    size = -(-sum(np.dtype(kind).itemsize * ports for _, kind, _ in fields) // CACHE_LINE) * CACHE_LINE
    names, kinds, offsets, at = [], [], [], 0
    for name, kind, shape in fields:
        names.append(name)
        kinds.append((kind, shape))
        offsets.append(at)
        at += np.dtype(kind).itemsize * ports
    return np.dtype({"names": names, "formats": kinds, "offsets": offsets, "itemsize": size})


class State(NamedTuple):
    """A whole network in motion.

    A router has P inputs, one for each lane of the links that come in (by direction of travel) and one for each core,
    and as many lanes that go out. A lane is one of the V virtual channels of an output: V is 1, or 2 where links close
    to rings. Routers are in an order in which those of a region follow each other. Input p of router r has number
    ``r * P + p``.

    Attributes:
        routers: records of ``router_dtype(P)``, (n_routers,).
        soon: int64, (n_routers,); nothing can happen in a router before.
        links: LINK records, (n_routers * P,), by the input they end in; a core's is its source queue and the way in.
        packets: PACKET records, as many as the network holds at most. unused: int64, (1,); the first one not in use.
        credits: int64, (n_routers * P * places,): of each link a ring, when the slot that its n-th packet left may be
            won again; kept only while few slots are left. A ring has a power of two of places.
        flows: FLOW records, (n_flows,).
        heap: int32, (n_flows,); core by core the flows with packets left, a binary heap by (next time, flow) each.
        queue, queued: int32, (n_routers * P,); where a core's part of the heap starts, and its flows in it.
        first_packet: int64, (n_flows,); the place of each flow's first packet in ``delivered_at``.
        sizes: int64, (8,): P; V; places of a ring of credits; bytes of a router's block; how far a router, and how far
            a region may run ahead of the others, cycles; cycles from a packet that a link's buffer, and one that a core
            gives up to the next.
        regions: int64, (n_regions + 1,); where each region's routers start.
        totals: one TOTALS record; ``inject`` and ``eject`` are the latencies of local ports.
        bins: int64, histogram of latencies.
        delivered_at: int64, (n_packets,), or empty.
    """

    routers: Records
    soon: Int64Array
    links: Records
    packets: Records
    unused: Int64Array
    credits: Int64Array
    flows: Records
    heap: Int32Array
    queue: Int32Array
    queued: Int32Array
    first_packet: Int64Array
    sizes: Int64Array
    regions: Int64Array
    totals: Records
    bins: Int64Array
    delivered_at: Int64Array


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
