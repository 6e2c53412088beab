"""A network at rest with packets to inject: what the packet kernel starts from."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from neurochip.noc.kernels.packet import EXACT, fill_inputs
from neurochip.noc.kernels.records import (
    ALWAYS,
    CACHE_LINE,
    FLOW,
    LINK,
    NEVER,
    PACKET,
    TOTALS,
    Records,
    State,
    router_dtype,
)
from neurochip.noc.mesh import Int64Array, Mesh
from neurochip.noc.timing import Timing

OCTAVES = 32
LEAST_LEAD = 256
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

    def first_packets(self) -> Int64Array:
        """The place of each flow's first packet if packets are numbered flow by flow, (n_flows,)."""
        return np.asarray(np.cumsum(self.count) - self.count)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Ports:
    """Where a mesh's routers, links and cores are in a ``State``; router ids are those of the mesh.

    Attributes:
        channels: virtual channels of each link.
        inputs: inputs of a router, and lanes.
        regions: (n_regions + 1,) where each region's routers start.
        place: (n_routers,) the place of each router, region by region.
        lead: how far regions may run ahead of each other, cycles.
    """

    mesh: Mesh
    channels: int
    inputs: int
    regions: Int64Array
    place: Int64Array
    lead: int

    @classmethod
    def of(cls, mesh: Mesh, timing: Timing) -> Ports:
        """Regions are chips if it takes long enough to hear of each other, else there is one, which never waits."""
        times, crossing = timing.links(mesh), mesh.link_ends().crossing
        lead = int(min(times.latency[crossing].min(), times.credit[crossing].min())) if crossing.any() else 0
        chip = np.arange(mesh.n_routers) // mesh.width // mesh.rows * mesh.chip_columns
        chip += np.arange(mesh.n_routers) % mesh.width // mesh.columns
        if lead < LEAST_LEAD:
            chip[:], lead = 0, 1 << 20
        place = np.empty(mesh.n_routers, np.int64)
        place[np.argsort(chip, kind="stable")] = np.arange(mesh.n_routers)
        return cls(
            mesh=mesh,
            channels=mesh.virtual_channels,
            inputs=4 * mesh.virtual_channels + mesh.cores_per_router,
            regions=np.concatenate([[0], np.cumsum(np.bincount(chip))]),
            place=place,
            lead=lead,
        )

    def cores(self, core: Int64Array) -> Int64Array:
        """The input, and the lane, of each core id."""
        slot = core % self.mesh.cores_per_router
        return self.place[core // self.mesh.cores_per_router] * self.inputs + 4 * self.channels + slot

    def links(self) -> tuple[Int64Array, Int64Array]:
        """The lanes that links leave by and the inputs where they arrive, both (n_links, channels), by link id."""
        ends = self.mesh.link_ends()
        port = ends.direction[:, None] * self.channels + np.arange(self.channels)
        return (
            self.place[ends.source][:, None] * self.inputs + port,
            self.place[ends.target][:, None] * self.inputs + port,
        )


def new_state(ports: Ports, timing: Timing, injections: Injections, record: bool) -> State:
    """A network at rest with all packets of ``injections``, valid for its mesh, in their source queues."""
    mesh = ports.mesh
    links = _links(ports, timing)
    routers = _routers(ports)
    totals = np.zeros(1, TOTALS)
    totals["min"], totals["inject"], totals["eject"] = NEVER, timing.inject_latency, timing.eject_latency
    places = 1 << (int(links["size"].max()) - 1).bit_length()
    sizes = [ports.inputs, ports.channels, places, routers.dtype.itemsize, _window(ports, timing), ports.lead]
    sizes += [timing.input_interval, timing.inject_interval]
    # all flows with packets in the order of their cores and times: each core's part of it is a heap
    some, at = np.flatnonzero(injections.count), ports.cores(injections.source)
    waiting = some[np.lexsort((injections.first[some], at[some]))].astype(np.int32)
    queued = np.bincount(at[some], minlength=len(links))
    state = State(
        routers=routers,
        soon=np.full(mesh.n_routers, NEVER, np.int64),
        links=links,
        packets=_packets(min(int(links["size"].sum()), int(injections.count.sum()))),
        unused=np.zeros(1, np.int64),
        credits=np.zeros(len(links) * places, np.int64),
        flows=_flows(mesh, injections),
        heap=waiting,
        queue=(np.cumsum(queued) - queued).astype(np.int32),
        queued=queued.astype(np.int32),
        first_packet=injections.first_packets(),
        sizes=np.array(sizes, np.int64),
        regions=ports.regions,
        totals=totals,
        bins=np.zeros(EXACT + OCTAVES * EXACT // 2, np.int64),
        delivered_at=np.zeros(int(injections.count.sum()) if record else 0, np.int64),
    )
    fill_inputs(state)
    return state


def _window(ports: Ports, timing: Timing) -> int:
    """How far a router may run ahead of its neighbours in a region: the shortest delay of a link between them."""
    ends, times = ports.mesh.link_ends(), timing.links(ports.mesh)
    within = ~ends.crossing if len(ports.regions) > 2 else np.ones(ports.mesh.n_links, np.bool_)
    delays = np.concatenate([times.latency[within], times.credit[within]])
    return int(delays.min(initial=ports.lead))


def _links(ports: Ports, timing: Timing) -> Records:
    """The idle links of all routers, by the input they end in."""
    mesh = ports.mesh
    ends, times = mesh.link_ends(), timing.links(mesh)
    lane, arriving = ports.links()
    cores = ports.cores(np.arange(mesh.n_cores))
    links = _aligned(mesh.n_routers * ports.inputs, LINK)
    links["sender"] = links["router"] = -1
    links["sender"][arriving], links["router"][arriving] = ports.place[ends.source][:, None], arriving // ports.inputs
    links["lane"][arriving] = lane % ports.inputs
    for name, of_links, of_cores in (
        ("latency", times.latency, timing.eject_latency),
        ("service", times.service, timing.eject_service),
        ("credit", times.credit, 0),
        ("size", times.slots, 1),
        ("closes", mesh.hops(ends.source, ends.target) != _apart(mesh, ends.source, ends.target), 0),
    ):
        links[name][arriving], links[name][cores] = np.asarray(of_links)[:, None], of_cores
    # while a credit returns, or one end of a link is ahead of the other, so many packets can be sent or taken
    lead = np.where(ends.crossing & (len(ports.regions) > 2), ports.lead, _window(ports, timing))
    meanwhile = (times.credit + lead) // np.minimum(times.service, timing.input_interval) + 2
    links["slack"][arriving] = np.minimum(meanwhile, ALWAYS)[:, None]
    return links


def _routers(ports: Ports) -> Records:
    """The idle blocks of all routers."""
    routers = _aligned(ports.mesh.n_routers, router_dtype(ports.inputs))
    routers["at"] = NEVER
    routers["free"] = NEVER
    lane, arriving = ports.links()
    cores = ports.cores(np.arange(ports.mesh.n_cores))
    for leaving, number in ((lane, arriving), (cores, cores)):
        routers["way"][leaving // ports.inputs, leaving % ports.inputs] = number
        routers["free"][leaving // ports.inputs, leaving % ports.inputs] = 0
    return routers


def _apart(mesh: Mesh, source: Int64Array, target: Int64Array) -> Int64Array:
    """Routers between two, not going round."""
    width = mesh.width
    return np.asarray(np.abs(source % width - target % width) + np.abs(source // width - target // width))


def _flows(mesh: Mesh, injections: Injections) -> Records:
    """The flows with the hops they have to go."""
    flows = np.zeros(len(injections.count), FLOW)
    flows["x"], flows["y"] = mesh.offsets(mesh.router_of(injections.source), mesh.router_of(injections.target))
    flows["port"] = injections.target % mesh.cores_per_router
    flows["next_time"], flows["spacing"], flows["left"] = injections.first, injections.spacing, injections.count
    return flows


def _packets(size: int) -> Records:
    """``size`` packets, none in use, and one that never is."""
    packets = _aligned(size + 1, PACKET)
    packets["next"] = np.arange(1, size + 2)
    return packets


def _aligned(size: int, dtype: np.dtype[np.void]) -> Records:
    """Zeroed records that start on a cache line."""
    raw = np.zeros(size * dtype.itemsize + CACHE_LINE, np.uint8)
    start = -raw.ctypes.data % CACHE_LINE
    return raw[start : start + size * dtype.itemsize].view(dtype)
