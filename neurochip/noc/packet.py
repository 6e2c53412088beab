"""Network time packet by packet: finite buffers, back-pressure, round-robin arbitration."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from neurochip.errors import SimulationError
from neurochip.noc.kernels import packet as kernel
from neurochip.noc.kernels.records import CHANNEL, FLOW, SLOT, TOTALS, Int32Array, Records, State
from neurochip.noc.mesh import EAST, NORTH, SOUTH, WEST, Int64Array, Mesh
from neurochip.noc.timing import Timing

_LAST_CYCLE = 1 << 42
_OCTAVES = 32
LEAST_AHEAD = 256
"""Cycles that chips must be apart to be worth running one by one."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Injections:
    """What the cores send in one tick: flow f is ``count[f]`` packets from core ``source[f]`` to core ``target[f]``,
    injected at cycles ``first[f] + k * spacing[f]``.

    Every core has a source queue without limit, ordered by injection time, then by flow. All arrays: int64, (n_flows,).
    """

    source: Int64Array
    target: Int64Array
    count: Int64Array
    first: Int64Array
    spacing: Int64Array

    @classmethod
    def of(
        cls,
        source: ArrayLike,
        target: ArrayLike,
        count: ArrayLike = 1,
        first: ArrayLike = 0,
        spacing: ArrayLike = 0,
    ) -> Injections:
        """Injections from anything that broadcasts to (n_flows,) integers."""
        columns = np.broadcast_arrays(*np.atleast_1d(source, target, count, first, spacing))
        return cls(**dict(zip(cls.__slots__, (np.ascontiguousarray(c, np.int64) for c in columns), strict=True)))


@dataclass(frozen=True, slots=True, kw_only=True)
class LatencyStats:
    """Cycles from injection to delivery, source queueing included; all zero if no packet was sent.

    ``p50`` and ``p99`` are exact below 2048 cycles and at most 0.1 % too low above.
    """

    min: int
    mean: float
    p50: int
    p99: int
    max: int


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class PacketResult:
    """What happened to the packets of one tick.

    Attributes:
        drain: the cycle of the last delivery; 0 if no packet was sent.
        packets, packet_hops: packets delivered, and links they went over.
        latency: over all packets.
        flow_latency_mean, flow_latency_max: per flow, (n_flows,); float64 and int64 cycles; 0 for empty flows.
        link_packets: packets over each link, int64, (n_links,); times the link's service time it is its busy time.
        max_occupancy: most packets that held a slot of each link's buffer at once (in it or on the link), (n_links,).
            Between chips the sender may count a slot as taken that was freed less than a link's latency ago, or not yet
            count one that is about to be freed.
        delivered: packets delivered to each core, int64, (n_cores,).
        delivered_at: cycle of each packet's delivery, int64, in the order of flows and within a flow of injection;
            empty unless asked for.
    """

    drain: int
    packets: int
    packet_hops: int
    latency: LatencyStats
    flow_latency_mean: np.ndarray
    flow_latency_max: Int64Array
    link_packets: Int64Array
    max_occupancy: Int64Array
    delivered: Int64Array
    delivered_at: Int64Array


def simulate_tick(
    mesh: Mesh, timing: Timing, injections: Injections, *, record: bool = False, last_cycle: int = _LAST_CYCLE
) -> PacketResult:
    """Deliver every packet of a tick over an empty network.

    Each router has an input buffer per arriving link and serves each output round robin over its inputs; a packet
    moves when its output is free and the next buffer has a slot whose credit has returned. Cores accept packets at the
    rate of ``timing.eject_service`` without end. Results do not depend on the order of flows that differ in source.

    Args:
        record: also return every packet's delivery time.
        last_cycle: give up if packets are left after this cycle.

    Raises:
        SimulationError: if the mesh wraps, a flow is malformed, packets can no longer move, ``last_cycle`` passes, or
            (a bug) the packets delivered are not those injected.
    """
    refuse_rings(mesh)
    _check(mesh, injections)
    state = new_state(mesh, timing, injections, record)
    outcome = kernel.run(state, last_cycle)
    total = int(injections.count.sum())
    if outcome != kernel.DRAINED:
        left = total - int(state.totals["delivered"][0])
        why = "no packet can move any more" if outcome == kernel.STUCK else f"cycle {last_cycle} has passed"
        full = int((state.channels["count"][: mesh.n_links] > 0).sum())
        raise SimulationError(
            f"network: {why}, but {left} of {total} packets are not delivered; packets wait in the buffers of {full} "
            f"of {mesh.n_links} links; allow more cycles, or report a bug if none can move"
        )
    _verify_conservation(mesh, injections, state)
    return _result(mesh, state)


def refuse_rings(mesh: Mesh) -> None:
    """Raises ``SimulationError`` if ``mesh`` wraps."""
    if mesh.wrap_x or mesh.wrap_y:
        raise SimulationError(
            "noc packet: the links of this mesh close to rings, where packets that wait for each other in a circle can "
            "never move again, and packet mode has no virtual channels that would prevent it; use analytic"
        )


def _check(mesh: Mesh, injections: Injections) -> None:
    i = injections
    cores_exist = (i.source >= 0) & (i.source < mesh.n_cores) & (i.target >= 0) & (i.target < mesh.n_cores)
    bounded = (i.count >= 0) & (i.count < 1 << 32) & (i.first >= 0) & (i.spacing >= 0)
    wrong = ~(cores_exist & bounded)
    if wrong.any():
        f = int(wrong.argmax())
        raise SimulationError(
            f"network flow {f}: {i.count[f]} packets from core {i.source[f]} to {i.target[f]}, first at cycle "
            f"{i.first[f]} and then every {i.spacing[f]}; cores are 0..{mesh.n_cores - 1}, counts 0..2**32 - 1, "
            f"times at least 0"
        )
    if mesh.width > 1 << 15 or mesh.height > 1 << 15:
        raise SimulationError(f"network: {mesh.width} x {mesh.height} routers; packet mode takes up to 2**15 a side")


def new_state(mesh: Mesh, timing: Timing, injections: Injections, record: bool) -> State:
    """A network at rest with all packets of ``injections``, valid for ``mesh``, in their source queues."""
    channels, ports = _network(mesh, timing)
    totals = np.zeros(1, TOTALS)
    totals["min"], totals["inject"], totals["eject"] = kernel.NEVER, timing.inject_latency, timing.eject_latency
    longest = max(int(channels[delay].max()) for delay in ("latency", "service", "interval", "credit"))
    regions, ahead = _regions(mesh, timing, channels)
    lists = max(1024, 1 << (longest + ahead * (regions > 1) + 1).bit_length())
    state = State(
        channels=channels,
        slots=_aligned(int(channels["end"][-1]), SLOT),
        flows=_flows(mesh, injections),
        heap=np.zeros(len(injections.count), np.int32),
        ports=ports,
        wheel=np.full((regions, lists), -1, np.int32),
        after=np.full(2 * len(channels), -1, np.int32),
        marks=np.zeros((regions, lists // 64), np.int64),
        ahead=ahead,
        totals=totals,
        bins=np.zeros(kernel.EXACT + _OCTAVES * kernel.EXACT // 2, np.int64),
        delivered_at=np.zeros(int(injections.count.sum()) if record else 0, np.int64),
    )
    kernel.fill_sources(state, injections.source)
    return state


def _regions(mesh: Mesh, timing: Timing, channels: Records) -> tuple[int, int]:
    """Say which region each channel belongs to; returns how many there are and how far they may run ahead.

    Regions are chips if it takes long enough to hear of each other, else there is one, which never waits.
    """
    times, ends = timing.links(mesh), mesh.link_ends()
    between = ends.crossing
    ahead = int(min(times.latency[between].min(), times.credit[between].min())) if between.any() else 0
    if ahead < LEAST_AHEAD:
        return 1, 1 << 20
    chip = np.arange(mesh.n_routers) // mesh.width // mesh.rows * mesh.chip_columns
    chip += np.arange(mesh.n_routers) % mesh.width // mesh.columns
    local = chip[mesh.router_of(np.arange(mesh.n_cores))]
    channels["here"] = np.concatenate([chip[ends.source], local])
    channels["there"] = np.concatenate([chip[ends.target], local])
    return mesh.chip_columns * mesh.chip_rows, ahead


def _aligned(size: int, dtype: np.dtype[np.void]) -> Records:
    """Zeroed records that start on a cache line."""
    raw = np.zeros(size * dtype.itemsize + 64, np.uint8)
    start = -raw.ctypes.data % 64
    return raw[start : start + size * dtype.itemsize].view(dtype)


def _flows(mesh: Mesh, injections: Injections) -> Records:
    """The flows with their XY routes: along x, then along y, then into the core."""
    leaving = _leaving(mesh)
    source, target = mesh.router_of(injections.source), mesh.router_of(injections.target)
    corner = source // mesh.width * mesh.width + target % mesh.width
    hops_x, hops_y = mesh.hops(source, corner), mesh.hops(corner, target)
    along_x = leaving[source, np.where(target % mesh.width > source % mesh.width, EAST, WEST)]
    along_y = leaving[corner, np.where(target > corner, SOUTH, NORTH)]
    exit_ = mesh.n_links + injections.target

    flows = np.zeros(len(injections.count), FLOW)
    flows["first"] = flows["next_time"] = injections.first
    flows["spacing"] = injections.spacing
    flows["count"] = injections.count
    flows["first_packet"] = np.cumsum(injections.count) - injections.count
    flows["exit"] = exit_
    to_core = np.where(hops_y > 0, along_y, exit_)
    flows["start"] = np.where(hops_x > 0, along_x, to_core)
    flows["turn"] = np.where(hops_x > 0, to_core, exit_)
    flows["straight"] = np.where(hops_x > 0, hops_x, np.maximum(hops_y, 1)) - 1
    flows["then"] = np.where(hops_x > 0, np.maximum(hops_y, 1) - 1, 0)
    return flows


def _leaving(mesh: Mesh) -> Int32Array:
    """The link that leaves each router in each direction, int32, (n_routers, 4), -1 at the rim."""
    ends = mesh.link_ends()
    leaving = np.full((mesh.n_routers, 4), -1, np.int32)
    leaving[ends.source, ends.direction] = np.arange(mesh.n_links)
    return leaving


def _network(mesh: Mesh, timing: Timing) -> tuple[Records, Int32Array]:
    """The idle channels of a mesh, and the channel at each port of its routers, -1 if none."""
    ends, times = mesh.link_ends(), timing.links(mesh)
    cores = np.arange(mesh.n_cores)
    local = mesh.router_of(cores)

    channels = _aligned(mesh.n_links + mesh.n_cores, CHANNEL)
    links, ports = channels[: mesh.n_links], channels[mesh.n_links :]
    links["latency"], links["service"], links["credit"] = times.latency, times.service, times.credit
    links["interval"], ports["interval"] = timing.input_interval, timing.inject_interval
    ports["latency"], ports["service"], ports["credit"] = timing.eject_latency, timing.eject_service, 1
    links["onward"] = np.array([1, -1, mesh.width, -mesh.width])[ends.direction]
    channels["origin"] = np.concatenate([ends.source, local])
    channels["port"] = np.concatenate([ends.direction, 4 + cores % mesh.cores_per_router])
    channels["end"] = np.cumsum(np.concatenate([times.slots, np.ones(mesh.n_cores, np.int64)]))
    channels["first"][1:] = channels["end"][:-1]
    channels["head"] = channels["tail"] = channels["first"]

    arriving = np.full((mesh.n_routers, 4 + mesh.cores_per_router), -1, np.int32)
    arriving[np.concatenate([ends.target, local]), channels["port"]] = np.arange(len(channels))
    return channels, arriving


def _verify_conservation(mesh: Mesh, injections: Injections, state: State) -> None:
    """Every flow complete, and every core's port passed what was addressed to it, no more and no less."""
    delivered = state.channels["passed"][mesh.n_links :]
    expected = np.zeros(mesh.n_cores, np.int64)
    np.add.at(expected, injections.target, injections.count)
    complete = np.array_equal(state.flows["delivered"], injections.count)
    if not complete or not np.array_equal(delivered, expected):
        core = int((delivered != expected).argmax())
        raise SimulationError(
            f"network: packets were lost, doubled or misrouted; core {core} got {delivered[core]} instead of "
            f"{expected[core]}; this is a bug, please report it with the flows"
        )


def _result(mesh: Mesh, state: State) -> PacketResult:
    delivered, summed, shortest, longest, last, *_ = (int(total) for total in state.totals[0])
    link_packets = state.channels["passed"][: mesh.n_links].copy()
    flows = state.flows
    return PacketResult(
        drain=last,
        packets=delivered,
        packet_hops=int(link_packets.sum()),
        latency=LatencyStats(
            min=shortest if delivered else 0,
            mean=summed / delivered if delivered else 0.0,
            p50=_quantile(state.bins, delivered, 50),
            p99=_quantile(state.bins, delivered, 99),
            max=longest,
        ),
        flow_latency_mean=flows["latency_sum"] / np.maximum(flows["delivered"], 1),
        flow_latency_max=flows["latency_max"].copy(),
        link_packets=link_packets,
        max_occupancy=state.channels["most"][: mesh.n_links].astype(np.int64),
        delivered=state.channels["passed"][mesh.n_links :].copy(),
        delivered_at=state.delivered_at,
    )


def _quantile(bins: Int64Array, total: int, percent: int) -> int:
    """The smallest latency (of its bin) that at least ``percent`` of all packets do not exceed."""
    if total == 0:
        return 0
    bin_ = int(np.searchsorted(np.cumsum(bins), -(-total * percent // 100)))
    octave = max(0, bin_ // (kernel.EXACT // 2) - 1)
    return (bin_ - octave * (kernel.EXACT // 2)) << octave
