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

LINK = np.dtype(
    [
        ("at", "i8"),  # when the packet at the head of its buffer may bid
        ("next_bid", "i8"),  # its buffer gives up its next packet no sooner
        ("free_at", "i8"),  # when its output may pass the next packet (of an output's first lane)
        ("born", "i8"),  # of the head: as in PLACE
        ("sent", "u4"),  # packets that entered it
        ("taken", "u4"),  # packets that left its buffer
        ("number", "u4"),  # of the head
        ("first", "i4"),  # where its ring of places is in ``State.places``; of a core: where its heap starts
        ("head", "i4"),  # the place of the head, which is empty, as the head is here
        ("tail", "i4"),  # the place for the next packet that comes; of a core: flows in its heap
        ("x", "i2"),  # of the head
        ("y", "i2"),
        ("port", "u1"),
        ("kind", "u1"),  # its KIND
        ("want", "u1"),  # the lane for which the head bids
        ("turn", "u1"),  # the input that is next in turn (of an output's first lane)
    ]
)
"""A link with its buffer, or a core's source queue and the way into that core: a cache line."""

KIND = np.dtype(
    [
        ("latency", "i8"),
        ("service", "i8"),
        ("credit", "i8"),  # cycles from the moment a packet leaves the buffer until its slot may be won again
        ("size", "i8"),  # packets that fit in its buffer, those on the link included
        ("slack", "i8"),  # with more slots left, the credit that the next packet needs is surely back
        ("closes", "i8"),  # 1 if it closes a ring
    ]
)
"""What links have in common: those along x, along y, either between chips, each again where it closes a ring; and the
ways into cores."""

PLACE = np.dtype(
    [
        ("time", "i8"),  # when it may bid for its next link; of an empty place: when it may be sent to again
        ("born", "i8"),  # when it was injected
        ("x", "i2"),  # hops left to go east, or west if negative
        ("y", "i2"),  # then south, or north
        ("port", "i4"),  # then into this core of the router
        ("number", "u4"),  # its place in ``State.delivered_at``
    ],
    align=True,
)
"""A place of a buffer, with a packet that waits behind another or is on its way, or empty.

While many places are left, nobody needs to know when an empty one may be sent to, and its time is any time past.
"""

FLOW = np.dtype(
    [
        ("spacing", "i8"),
        ("sent", "u4"),
        ("x", "i2"),  # as in PLACE
        ("y", "i2"),
        ("port", "i4"),
    ],
    align=True,
)

WAITING = np.dtype([("time", "i8"), ("flow", "i4"), ("left", "u4")], align=True)
"""A flow in a core's heap: when its next packet is injected, its number, packets not injected yet."""

TOTALS = np.dtype(
    [
        ("delivered", "i8"),
        ("sum", "i8"),  # of latencies; then the least, the largest, and the cycle of the last delivery
        ("min", "i8"),
        ("max", "i8"),
        ("last", "i8"),
        ("inject", "i8"),  # latencies of local ports
        ("eject", "i8"),
        ("start", "i8"),  # the cycles from start to end - 1 are running
        ("end", "i8"),
        ("router", "i8"),  # the first of the running region
    ]
)

SLOTS = 64
"""Most windows that a region runs ahead."""

MASK, CORES, NEXT, FREE = 0, 1, 4, 4
"""Places in a router's block, in units of the integers that are there; see ``router_dtype``."""


def router_dtype(ports: int) -> np.dtype[np.void]:
    """A router's block, whole cache lines, what packets on their way need in the first.

    ``mask``: bits of the inputs that hold a packet; ``cores``: before which none that a core sends may bid; ``next``:
    the routers to the east, west, south and north, or -1; for each lane ``free``: when it may pass the next packet,
    ``NEVER`` while its buffer is full.
    """
    size = 8 * (FREE + ports)
    return np.dtype(
        {
            "names": ["mask", "cores", "next", "free"],
            "formats": ["i8", "i8", ("i4", (4,)), ("i8", (ports,))],
            "offsets": [8 * MASK, 8 * CORES, 4 * NEXT, 8 * FREE],
            "itemsize": -(-size // CACHE_LINE) * CACHE_LINE,
        }
    )


class State(NamedTuple):
    """A whole network in motion.

    A router has P inputs, one for each lane of the links that come in (by direction of travel) and one for each core,
    and as many lanes that go out. A lane is one of the V virtual channels of an output: V is 1, or 2 where links close
    to rings. Lane p leads to input p of the next router, or into a core. Input p of router r has number ``r * P + p``.

    Routers are in an order in which those of a region follow each other.

    Attributes:
        routers: records of ``router_dtype(P)``, (n_routers,).
        soon: int64, (n_routers,); nothing can happen in a router before.
        links: LINK records, (n_routers * P,), by the input they end in; a core's is its source queue and the way in.
        kinds: KIND records.
        places: PLACE records, of each link a ring of as many as its buffer holds.
        flows: FLOW records, (n_flows,).
        heap: WAITING records, (n_flows,); core by core the flows with packets left, a binary heap by (time, flow) each.
        first_packet: int64, (n_flows,); the place of each flow's first packet in ``delivered_at``.
        wheel: int64, (SLOTS, words): of each window that the running region is yet to run, a bit for each of its
            routers that wakes in it.
        regions: int64, (n_regions + 1,); where each region's routers start.
        wakes: int64, (n_regions,); nothing can happen in a region before.
        awake: int32, (n_regions + 1,); the regions that run now.
        region_of: int32, (n_routers,).
        sizes: int64, (2,): packets in all; windows that a region runs ahead.
        totals: one TOTALS record.
        bins: int64, histogram of latencies.
        delivered_at: int64, (n_packets,), or empty.
    """

    routers: Records
    soon: Int64Array
    links: Records
    kinds: Records
    places: Records
    flows: Records
    heap: Records
    first_packet: Int64Array
    wheel: Int64Array
    regions: Int64Array
    wakes: Int64Array
    awake: Int32Array
    region_of: Int32Array
    sizes: Int64Array
    totals: Records
    bins: Int64Array
    delivered_at: Int64Array


class Net(NamedTuple):
    """Addresses of the arrays of a ``State``, and its sizes."""

    routers: int
    soon: int
    links: int
    kinds: int
    places: int
    flows: int
    heap: int
    first_packet: int
    wheel: int
    wakes: int
    region_of: int
    bins: int
    delivered_at: int
    totals: int
    recorded: int  # whether delivery times are kept
    ports: int  # inputs of a router
    rings: int  # 1 if links close to rings and have two lanes each, else 0
    lanes: int  # of links, at a router; further ones lead into cores
    block: int  # bytes of a router
    shift: int  # a window is 1 << shift cycles
    words: int  # of a window of the wheel
    interval: int  # cycles from a packet that a link's buffer gives up to the next
    inject_interval: int  # the same of a core
