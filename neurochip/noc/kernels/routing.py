"""Kernels that say which way packets go from a router; `packet` compiles them into its own."""

from __future__ import annotations

from numba import njit

from neurochip.noc.kernels.memory import kind_at, link_at, load32
from neurochip.noc.kernels.records import NEXT, Net


@njit(nogil=True, forceinline=True)
def block_of(net: Net, router: int) -> int:
    """Where the block of ``router`` is."""
    return net.routers + router * net.block


@njit(nogil=True, forceinline=True)
def lane_of(net: Net, base: int, port: int, x: int, y: int, core: int) -> int:
    """The lane for which a packet bids at the head of input ``port`` of a router whose first input is ``base``.

    It goes ``x`` hops first, then ``y``, then into its ``core``.
    """
    along_x = 1 if x < 0 else 0
    along_y = 3 if y < 0 else 2
    direction = along_x if x else along_y if y else 4 + core
    if not net.rings:
        return direction
    if direction >= 4:
        return 4 + direction
    straight = port < 8 and port >> 2 == direction >> 1
    after = load32(block_of(net, base // net.ports), NEXT + direction)
    closes = kind_at(net.kinds, link_at(net.links, after * net.ports + 2 * direction).kind).closes
    return 2 * direction + ((port & 1 if straight else 0) | closes)


@njit(nogil=True, forceinline=True)
def first_lane(net: Net, lane: int) -> int:
    """The first of the lanes that share an output with ``lane``."""
    return lane & ~(net.rings & int(lane < 8))


@njit(nogil=True, forceinline=True)
def way_of(net: Net, block: int, base: int, lane: int) -> int:
    """The input where ``lane`` ends: the same one of the next router, or of its own for the way into a core."""
    if lane >= net.lanes:
        return base + lane
    return load32(block, NEXT + (lane >> net.rings)) * net.ports + lane
