"""The memory layout of the packet network model."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Int64Array = NDArray[np.int64]
Int32Array = NDArray[np.int32]
Records = NDArray[np.void]

# Arrays of records keep what is used together in one cache line. They also spare reference counts: Numba counts an
# array whose last use in a function lies in a branch, two atomic operations a call (all in all ten times slower). So
# the kernels take records out of arrays first and branch then.
CHANNEL = np.dtype(
    [
        # mostly the link's side, one cache line
        ("bids", "i8"),  # a bit for each router port that bids
        ("retry_time", "i8"),
        ("free_at", "i8"),  # when it may pass the next packet
        ("passed", "i8"),  # packets so far
        ("origin", "i4"),  # the router it leaves
        ("latency", "i4"),
        ("service", "i4"),
        ("tail", "i4"),
        ("count", "i4"),
        ("most", "i4"),
        ("credit", "i4"),
        ("state", "i2"),
        ("turn", "i2"),  # the port that is next in turn
        # the buffer: a ring of slots first..end - 1
        ("next_bid", "i8"),  # it gives up its next packet no sooner
        ("head", "i4"),
        ("first", "i4"),
        ("end", "i4"),
        ("wanted", "i4"),  # the channel its head bids for
        ("port", "i4"),  # the port by which it enters its router
        ("onward", "i4"),  # straight on from here, channel ids grow by this; 0 for local channels
        ("interval", "i4"),
        # a core's source queue: where its heap of flows starts, and flows in it
        ("queue", "i4"),
        ("queued", "i4"),
        ("here", "i4"),  # the region its link arbitrates in
        ("there", "i4"),  # the region of its buffer
        ("unused", "i4", (3,)),  # fills the second cache line
    ],
    align=True,
)

SLOT = np.dtype(
    [
        ("time", "i8"),  # of a packet: when it may bid; of an empty slot: when it may be won again
        ("flow", "i4"),
        ("k", "u4"),  # number of the packet in its flow
        ("turn", "i4"),  # the channel to take after going straight
        ("straight", "i2"),  # hops to go before turning
        ("then", "i2"),  # hops to go straight after turning
    ],
    align=True,
)

FLOW = np.dtype(
    [
        ("first", "i8"),
        ("next_time", "i8"),
        ("spacing", "i8"),
        ("count", "i8"),
        ("sent", "i8"),
        ("start", "i4"),  # the route: first channel, then as in SLOT, then the target's local channel
        ("turn", "i4"),
        ("straight", "i2"),
        ("then", "i2"),
        ("exit", "i4"),
        ("first_packet", "i8"),
        ("delivered", "i8"),
        ("latency_sum", "i8"),
        ("latency_max", "i8"),
    ],
    align=True,
)

TOTALS = np.dtype([(name, "i8") for name in ("delivered", "sum", "min", "max", "last", "inject", "eject")])


class State(NamedTuple):
    """A whole network in motion.

    Attributes:
        channels: CHANNEL records, (n_links + n_cores,).
        slots: SLOT records, all buffers one after the other.
        flows: FLOW records, (n_flows,).
        heap: int32, (n_flows,); core by core the flows with packets left, a binary heap by (next time, flow) each.
        ports: int32, (n_routers, 4 + cores_per_router); the channel that arrives at each port of a router, or -1.
            Ports 0 to 3 take the links that go east, west, south and north.
        wheel: int32, (regions, lists); the first event of each list, or -1. There are a power of two of lists, more
            than any delay and the lookahead have cycles together.
        after: int32; for each of the 2 (n_links + n_cores) events the one after it in its list.
        marks: int64, (regions, lists / 64); a bit for each list that is not empty.
        ahead: one cycle count: how far a region may run ahead of the others.
        totals: one TOTALS record; ``inject`` and ``eject`` are the latencies of local ports.
        bins: int64, histogram of latencies.
        delivered_at: int64, (n_packets,), or empty.
    """

    channels: Records
    slots: Records
    flows: Records
    heap: Int32Array
    ports: Int32Array
    wheel: Int32Array
    after: Int32Array
    marks: Int64Array
    ahead: int
    totals: Records
    bins: Int64Array
    delivered_at: Int64Array
