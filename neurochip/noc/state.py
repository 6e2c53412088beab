"""A network at rest with packets to inject: what the packet kernel starts from."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from neurochip.noc.kernels.packet import EXACT
from neurochip.noc.kernels.records import (
    CACHE_LINE,
    FLOW,
    KIND,
    LINK,
    NEVER,
    PLACE,
    SLOTS,
    TOTALS,
    WAITING,
    Net,
    Records,
    State,
    router_dtype,
)
from neurochip.noc.mesh import SOUTH, Int64Array, Mesh
from neurochip.noc.timing import Timing

OCTAVES = 32
LEAST_WINDOWS = 4
"""Windows that chips must be apart to be worth running one by one."""
_LONG = 1 << 20


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
        region_of: (n_routers,) the region of each router.
        place: (n_routers,) the place of each router, region by region.
        shift, windows: a router may run ahead of its neighbours by ``1 << shift`` cycles, a window, and regions of each
            other by so many windows.
    """

    mesh: Mesh
    channels: int
    inputs: int
    region_of: Int64Array
    place: Int64Array
    shift: int
    windows: int

    @classmethod
    def of(cls, mesh: Mesh, timing: Timing) -> Ports:
        """Regions are chips if it takes long enough to hear of each other, else there is one, which never waits."""
        times, crossing = timing.links(mesh), mesh.link_ends().crossing
        delay = np.minimum(times.latency, times.credit)
        shift, apart = _log2(delay[~crossing]), int(delay[crossing].min(initial=_LONG))
        windows = min(apart >> shift, SLOTS)
        region_of = _chips(mesh)
        if windows < LEAST_WINDOWS:
            region_of, shift, windows = np.zeros(mesh.n_routers, np.int64), _log2(delay), SLOTS
        place = np.empty(mesh.n_routers, np.int64)
        place[np.argsort(region_of, kind="stable")] = np.arange(mesh.n_routers)
        return cls(
            mesh=mesh,
            channels=mesh.virtual_channels,
            inputs=4 * mesh.virtual_channels + mesh.cores_per_router,
            region_of=region_of,
            place=place,
            shift=shift,
            windows=windows,
        )

    def cores(self, core: Int64Array) -> Int64Array:
        """The input, and the lane, of each core id."""
        slot = core % self.mesh.cores_per_router
        return self.place[core // self.mesh.cores_per_router] * self.inputs + 4 * self.channels + slot

    def links(self) -> Int64Array:
        """The inputs where links arrive, (n_links, channels), by link id."""
        ends = self.mesh.link_ends()
        port = ends.direction[:, None] * self.channels + np.arange(self.channels)
        return self.place[ends.target][:, None] * self.inputs + port


def _log2(delay: Int64Array) -> int:
    """Binary logarithm, rounded down, of the shortest delay."""
    return int(delay.min(initial=_LONG)).bit_length() - 1


def _chips(mesh: Mesh) -> Int64Array:
    """The chip of each router."""
    x, y = np.arange(mesh.n_routers) % mesh.width, np.arange(mesh.n_routers) // mesh.width
    return np.asarray(y // mesh.rows * mesh.chip_columns + x // mesh.columns)


def new_state(ports: Ports, timing: Timing, injections: Injections, record: bool) -> State:
    """A network at rest with all packets of ``injections``, valid for its mesh, in their source queues."""
    mesh = ports.mesh
    kinds = _kinds(timing, ports)
    links, n_places = _links(ports, kinds)
    routers = _routers(ports)
    totals = np.zeros(1, TOTALS)
    totals["min"], totals["inject"], totals["eject"] = NEVER, timing.inject_latency, timing.eject_latency
    at = ports.cores(injections.source)
    queued = np.bincount(at[injections.count > 0], minlength=len(links))
    links["tail"] += queued
    links["first"] += np.where(queued, np.cumsum(queued) - queued, 0)
    regions = np.concatenate([[0], np.cumsum(np.bincount(ports.region_of))])
    return State(
        routers=routers,
        soon=np.full(mesh.n_routers, NEVER, np.int64),
        links=links,
        kinds=kinds,
        places=_aligned(n_places, PLACE),
        flows=_flows(mesh, injections),
        heap=_heap(injections, at),
        first_packet=injections.first_packets(),
        wheel=np.zeros((SLOTS, -(-int(np.diff(regions).max()) // 64)), np.int64),
        regions=regions,
        wakes=np.full(len(regions) - 1, NEVER, np.int64),
        awake=np.zeros(len(regions), np.int32),
        region_of=np.sort(ports.region_of).astype(np.int32),
        sizes=np.array([injections.count.sum(), ports.windows], np.int64),
        totals=totals,
        bins=np.zeros(EXACT + OCTAVES * EXACT // 2, np.int64),
        delivered_at=np.zeros(int(injections.count.sum()) if record else 0, np.int64),
    )


def net_of(state: State, ports: Ports, timing: Timing) -> Net:
    """The addresses of ``state``, valid while it lives."""
    names = [name for name in Net._fields if name in State._fields]
    return Net(
        **{name: getattr(state, name).ctypes.data for name in names},
        recorded=int(len(state.delivered_at) > 0),
        ports=ports.inputs,
        rings=ports.channels - 1,
        lanes=4 * ports.channels,
        block=state.routers.dtype.itemsize,
        shift=ports.shift,
        words=state.wheel.shape[1],
        interval=timing.input_interval,
        inject_interval=timing.inject_interval,
    )


def _kinds(timing: Timing, ports: Ports) -> Records:
    """The kinds of links, in KIND's order."""
    t, kinds = timing, np.zeros(9, KIND)
    hops, border = np.array([t.x_latency, t.y_latency]), t.chip_latency
    for name, of_links, of_cores in (
        ("latency", [*hops, *(hops + border)], t.eject_latency),
        ("service", [t.link_service, t.link_service, t.chip_service, t.chip_service], t.eject_service),
        ("credit", [t.credit_latency, t.credit_latency, t.chip_credit_latency, t.chip_credit_latency], 0),
        ("size", [t.buffer_packets, t.buffer_packets, t.chip_buffer_packets, t.chip_buffer_packets], 1),
    ):
        kinds[name] = [*of_links, *of_links, of_cores]
    kinds["closes"][4:8] = 1
    # while a credit returns, or one end of a link is ahead of the other, so many packets can be sent or taken
    ahead = [1 << ports.shift] * 2 + [ports.windows << ports.shift] * 2
    kinds["slack"] = (kinds["credit"] + [*ahead, *ahead, 0]) // np.minimum(kinds["service"], t.input_interval) + 2
    return kinds


def _links(ports: Ports, kinds: Records) -> tuple[Records, int]:
    """The idle links of all routers, by the input they end in; and how many packets their buffers hold."""
    mesh = ports.mesh
    ends, arriving = mesh.link_ends(), ports.links()
    links = _aligned(mesh.n_routers * ports.inputs, LINK)
    closes = mesh.hops(ends.source, ends.target) != _apart(mesh, ends.source, ends.target)
    links["kind"] = len(kinds) - 1
    links["kind"][arriving] = (4 * closes + 2 * ends.crossing + (ends.direction >= SOUTH))[:, None]
    sizes = kinds["size"][links["kind"][arriving]]
    links["first"][arriving] = np.cumsum(sizes).reshape(sizes.shape) - sizes
    for name in ("head", "tail"):
        links[name][arriving] = links["first"][arriving]
    return links, int(sizes.sum())


def _routers(ports: Ports) -> Records:
    """The idle blocks of all routers."""
    routers, ends = _aligned(ports.mesh.n_routers, router_dtype(ports.inputs)), ports.mesh.link_ends()
    routers["next"] = -1
    routers["next"][ports.place[ends.source], ends.direction] = ports.place[ends.target]
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
    flows["spacing"] = injections.spacing
    return flows


def _heap(injections: Injections, at: Int64Array) -> Records:
    """Flows with packets in the order of the inputs ``at`` of their cores, and times: each core's part is a heap."""
    some = np.flatnonzero(injections.count)
    order = some[np.lexsort((injections.first[some], at[some]))]
    heap = np.zeros(len(order), WAITING)
    heap["time"], heap["flow"], heap["left"] = injections.first[order], order, injections.count[order]
    return heap


def _aligned(size: int, dtype: np.dtype[np.void]) -> Records:
    """Zeroed records that start on a cache line."""
    raw = np.zeros(size * dtype.itemsize + CACHE_LINE, np.uint8)
    start = -raw.ctypes.data % CACHE_LINE
    return raw[start : start + size * dtype.itemsize].view(dtype)
