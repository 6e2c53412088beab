"""How fast routers and links are, in whole cycles, and the zero-load latency that follows from it."""

from __future__ import annotations

from dataclasses import dataclass, fields
from math import ceil
from typing import NamedTuple

import numpy as np

from neurochip.errors import ChipError
from neurochip.noc.mesh import EAST, LINE, WEST, Int64Array, Mesh, Ring

_MAY_BE_ZERO = ("inject_latency", "eject_latency", "chip_latency")
_LONGEST = 1 << 22
_TOLERANCE = 0.001


class LinkTimes(NamedTuple):
    """Timing of every link; all int64, (n_links,).

    ``buffers``: how many the link ends in, two where links close to rings; ``slots``: the size of each.
    """

    latency: Int64Array
    service: Int64Array
    credit: Int64Array
    slots: Int64Array
    buffers: Int64Array


@dataclass(frozen=True, slots=True, kw_only=True)
class Timing:
    """Delays of the network in cycles of ``cycle_ns``. A packet is one flit.

    An idle network delivers a packet after ``inject_latency + sum of hop latencies + eject_latency`` cycles: it may bid
    for its first output ``inject_latency`` after it was injected, may bid at the next router one hop latency after it
    won the output before, and is delivered ``eject_latency`` after it won its core's output.

    Attributes:
        cycle_ns: length of a cycle; only converts, never decides.
        x_latency, y_latency: one hop along x or y, link and router pipeline together.
        chip_latency: what a chip border adds to a hop.
        link_service, chip_service: an output accepts one packet in so many cycles.
        input_interval: an input buffer gives up one packet in so many cycles.
        inject_latency, inject_interval: from a core into its router; one packet in so many cycles.
        eject_latency, eject_service: from a router into a core; one packet in so many cycles.
        credit_latency, chip_credit_latency: from the moment a packet leaves a buffer until its slot may be won again.
        buffer_packets, chip_buffer_packets: packets that fit in the buffer at the end of a link, those on the
            link included.

    Raises:
        ChipError: if a field is not positive (``chip_latency`` and those of local ports may be zero) or beyond 2**22.
    """

    cycle_ns: float = 1.0
    x_latency: int = 1
    y_latency: int = 1
    chip_latency: int = 0
    link_service: int = 1
    chip_service: int = 1
    input_interval: int = 1
    inject_latency: int = 0
    inject_interval: int = 1
    eject_latency: int = 0
    eject_service: int = 1
    credit_latency: int = 1
    chip_credit_latency: int = 1
    buffer_packets: int = 8
    chip_buffer_packets: int = 8

    def __post_init__(self) -> None:
        if not self.cycle_ns > 0:
            raise ChipError(f"network timing: cycle_ns must be positive, not {self.cycle_ns}")
        for field in fields(self)[1:]:
            value, least = getattr(self, field.name), int(field.name not in _MAY_BE_ZERO)
            if not least <= value <= _LONGEST:
                raise ChipError(
                    f"network timing: {field.name} must be {least}..{_LONGEST} cycles, not {value}; "
                    f"choose a longer cycle than {self.cycle_ns} ns or correct the chip's figure"
                )

    @classmethod
    def from_ns(
        cls,
        *,
        hop_x_ns: float,
        hop_y_ns: float,
        link_service_ns: float,
        buffer_packets: int,
        chip_link_latency_ns: float,
        chip_link_service_ns: float,
        inject_ns: float = 0.0,
        eject_ns: float = 0.0,
        eject_service_ns: float | None = None,
        credit_ns: float | None = None,
    ) -> Timing:
        """Timing from a chip's figures in nanoseconds, each within 0.1 %; ``chip_link_latency_ns`` adds to the hop.

        What a chip does not publish follows from what it does: local ports and input buffers are as fast as a mesh
        link, and a credit returns as fast as a packet moves. ``buffer_packets`` may wait at a router; those that a link
        passes in a round trip of packet and credit come on top, so that every link can be kept busy. A figure of zero
        counts as a picosecond where time must pass.

        Raises:
            ChipError: if a figure is negative, or so much larger than the smallest that no cycle suits both.
        """
        credit = max(hop_x_ns, hop_y_ns) if credit_ns is None else credit_ns
        figures = {
            "x_latency": hop_x_ns,
            "y_latency": hop_y_ns,
            "chip_latency": chip_link_latency_ns,
            "link_service": link_service_ns,
            "chip_service": chip_link_service_ns,
            "input_interval": link_service_ns,
            "inject_latency": inject_ns,
            "inject_interval": link_service_ns,
            "eject_latency": eject_ns,
            "eject_service": link_service_ns if eject_service_ns is None else eject_service_ns,
            "credit_latency": credit,
            "chip_credit_latency": credit + chip_link_latency_ns,
        }
        for name, value in figures.items():
            if not value >= 0:
                raise ChipError(f"network timing: {name} must be at least 0 ns, not {value}")
        at_least = {name: 0.0 if name in _MAY_BE_ZERO else 0.001 for name in figures}
        figures = {name: max(value, at_least[name]) for name, value in figures.items()}
        cycle_ns = _common_cycle_ns([value for value in figures.values() if value])
        cycles = {name: round(value / cycle_ns) for name, value in figures.items()}
        round_trip = max(cycles["x_latency"], cycles["y_latency"]) + cycles["credit_latency"]
        chip_round_trip = round_trip + 2 * cycles["chip_latency"]
        return cls(
            cycle_ns=cycle_ns,
            buffer_packets=buffer_packets + ceil(round_trip / cycles["link_service"]),
            chip_buffer_packets=buffer_packets + ceil(chip_round_trip / cycles["chip_service"]),
            **cycles,
        )

    def links(self, mesh: Mesh) -> LinkTimes:
        """The timing of every link of ``mesh``."""
        ends = mesh.link_ends()
        along_x = (ends.direction == EAST) | (ends.direction == WEST)
        hop = np.where(along_x, self.x_latency, self.y_latency)
        return LinkTimes(
            latency=(hop + np.where(ends.crossing, self.chip_latency, 0)).astype(np.int64),
            service=np.where(ends.crossing, self.chip_service, self.link_service).astype(np.int64),
            credit=np.where(ends.crossing, self.chip_credit_latency, self.credit_latency).astype(np.int64),
            slots=np.where(ends.crossing, self.chip_buffer_packets, self.buffer_packets).astype(np.int64),
            buffers=np.full(mesh.n_links, mesh.virtual_channels, np.int64),
        )

    def distances(self, mesh: Mesh) -> tuple[Int64Array, Int64Array]:
        """Hop latency from coordinate 0, without going round, to every x, (width,), and y, (height,), in cycles.

        The hops between two routers take ``|X[tx] - X[sx]| + |Y[ty] - Y[sy]|`` cycles; along an axis where the packet
        goes round, the latency of the ring less that.
        """
        x, y = np.arange(mesh.width), np.arange(mesh.height)
        borders_x, borders_y = x // mesh.columns, y // mesh.rows
        return (
            x * self.x_latency + borders_x * self.chip_latency,
            y * self.y_latency + borders_y * self.chip_latency,
        )

    def rings(self, mesh: Mesh) -> tuple[Ring, Ring]:
        """The rings that x and y form; ``LINE`` where they do not wrap."""
        borders_x, borders_y = mesh.borders_round
        x = Ring(mesh.width, borders_x, mesh.width * self.x_latency + borders_x * self.chip_latency)
        y = Ring(mesh.height, borders_y, mesh.height * self.y_latency + borders_y * self.chip_latency)
        return (x if mesh.wrap_x else LINE, y if mesh.wrap_y else LINE)

    def zero_load_latency(self, mesh: Mesh, source_core: Int64Array, target_core: Int64Array) -> Int64Array:
        """Cycles from injection to delivery in an idle network; core ids of any broadcastable shapes."""
        along_x, along_y = self.distances(mesh)
        source, target = mesh.router_of(source_core), mesh.router_of(target_core)
        hops_x, hops_y = mesh.offsets(source, target)
        sx, sy = source % mesh.width, source // mesh.width
        tx, ty = target % mesh.width, target // mesh.width
        ring_x, ring_y = self.rings(mesh)
        direct_x, direct_y = np.abs(along_x[sx] - along_x[tx]), np.abs(along_y[sy] - along_y[ty])
        cycles_x = np.where(sx + hops_x == tx, direct_x, ring_x.latency - direct_x)
        cycles_y = np.where(sy + hops_y == ty, direct_y, ring_y.latency - direct_y)
        latency: Int64Array = self.inject_latency + cycles_x + cycles_y + self.eject_latency
        return latency


def _common_cycle_ns(figures: list[float]) -> float:
    """The longest fraction 1/n of the smallest figure that measures all (positive) figures within 0.1 %."""
    smallest = min(figures)
    for parts in range(1, ceil(0.5 / _TOLERANCE)):
        cycle = smallest / parts
        if all(abs(round(value / cycle) * cycle - value) <= _TOLERANCE * value for value in figures):
            return cycle
    return smallest * _TOLERANCE * 2
