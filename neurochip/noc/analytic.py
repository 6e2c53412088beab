"""Network time from loads alone: packets over every link, and a bound on how soon a tick's packets can arrive."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from neurochip.errors import SimulationError
from neurochip.noc.kernels.loads import CoreFlows, Distances, RouterFlows, accumulate_loads, measure_flows
from neurochip.noc.mesh import Int64Array, Mesh, Ring
from neurochip.noc.timing import LinkTimes, Timing


class TickLoads(NamedTuple):
    """Traffic of one tick. Every count is in packets.

    Attributes:
        link_load: int64, (n_links,).
        hops_x, hops_y: link traversals along x and along y, those over chip borders included.
        crossings: the traversals of these that go over a chip border.
        local: packets between cores of one router, which use no link.
    """

    link_load: Int64Array
    hops_x: int
    hops_y: int
    crossings: int
    local: int


@dataclass(frozen=True, slots=True, kw_only=True)
class TickTime:
    """Lower bounds on the drain time of a tick, in cycles; the largest of them holds.

    Attributes:
        link: ``max over links (inject + (load - 1) * interval + hop latency + eject)``, where ``interval`` is the
            largest of the link's service time, the input buffer's interval, and, for the packets beyond one buffer
            full, the buffer's round trip ``(hop latency + credit latency) / slots``.
        path: the longest zero-load latency of any packet.
        injection, ejection: ``inject + (packets - 1) * interval + eject`` of the busiest core's port.
        busiest_link: a link with the bound ``link``, -1 if no link carries a packet.
    """

    link: int
    path: int
    injection: int
    ejection: int
    busiest_link: int

    @property
    def cycles(self) -> int:
        """The bound itself: no packet network of this timing drains sooner."""
        return max(self.link, self.path, self.injection, self.ejection)


def tick_loads(mesh: Mesh, src_router: ArrayLike, dst_router: ArrayLike, packets: ArrayLike) -> TickLoads:
    """Send ``packets[i]`` from router ``src_router[i]`` to ``dst_router[i]`` along XY paths.

    Takes integer arrays of shape (n_flows,); a million flows take some ten milliseconds, however long the paths.

    Raises:
        SimulationError: if a flow names a router the mesh lacks, or a negative number of packets.
    """
    flows = RouterFlows(_integers(src_router), _integers(dst_router), _integers(packets))
    loads = np.zeros((4, mesh.height, mesh.width), np.int64)
    rings = Ring(mesh.width * mesh.wrap_x, 0, 0), Ring(mesh.height * mesh.wrap_y, 0, 0)
    local = accumulate_loads(flows, rings, loads)
    if local < 0:
        raise _no_such_flow(flows, -1 - local, "router", mesh.n_routers)
    link_load = loads.ravel()[mesh.link_places]
    x_links = mesh.link_blocks[2]
    return TickLoads(
        link_load=link_load,
        hops_x=int(link_load[:x_links].sum()),
        hops_y=int(link_load[x_links:].sum()),
        crossings=int(link_load[mesh.link_ends().crossing].sum()),
        local=int(local),
    )


def tick_time(
    mesh: Mesh,
    timing: Timing,
    src_core: ArrayLike,
    dst_core: ArrayLike,
    packets: ArrayLike,
    loads: TickLoads | None = None,
) -> TickTime:
    """Bound the time to deliver ``packets[i]`` from core ``src_core[i]`` to core ``dst_core[i]``, all sent at cycle 0.

    ``loads`` are the loads of the same flows, if known. The bound is what `packet.simulate_tick` can at best reach:
    it knows how busy each link and port is, but not who waits for whom.

    Raises:
        SimulationError: as `tick_loads`.
    """
    flows = CoreFlows(_integers(src_core), _integers(dst_core), _integers(packets))
    sent, received = np.zeros(mesh.n_cores, np.int64), np.zeros(mesh.n_cores, np.int64)
    distances = Distances(*timing.distances(mesh), *timing.rings(mesh), mesh.cores_per_router)
    longest = measure_flows(flows, distances, sent, received)
    if longest < -1:
        raise _no_such_flow(flows, -2 - longest, "core", mesh.n_cores)
    if loads is None:
        loads = tick_loads(mesh, mesh.router_of(flows.source), mesh.router_of(flows.target), flows.packets)
    if longest < 0:
        return TickTime(link=0, path=0, injection=0, ejection=0, busiest_link=-1)
    ends = timing.inject_latency + timing.eject_latency
    bound = link_bounds(timing, timing.links(mesh), loads.link_load)
    busiest = int(bound.argmax()) if bound.any() else -1
    return TickTime(
        link=int(bound[busiest]) if busiest >= 0 else 0,
        path=ends + int(longest),
        injection=ends + (int(sent.max()) - 1) * timing.inject_interval,
        ejection=ends + (int(received.max()) - 1) * timing.eject_service,
        busiest_link=busiest,
    )


def link_bounds(timing: Timing, times: LinkTimes, link_load: Int64Array) -> Int64Array:
    """The time before which the last packet over each link cannot be delivered; cycles, 0 if unused.

    ``times`` = ``timing.links(mesh)``; ``link_load``: (n_links,), or (inputs, n_links) for several ticks at once.
    """
    after_first = np.maximum(link_load - 1, 0)
    in_one_buffer = np.maximum(-(-link_load // times.buffers) - 1, 0)
    busy = np.maximum(after_first * times.service, in_one_buffer * timing.input_interval)
    round_trips = in_one_buffer // times.slots * (times.latency + times.credit)
    bound = timing.inject_latency + np.maximum(busy, round_trips) + times.latency + timing.eject_latency
    return np.where(link_load > 0, bound, 0)


def _no_such_flow(flows: RouterFlows | CoreFlows, i: int, place: str, places: int) -> SimulationError:
    return SimulationError(
        f"network flow {i}: {flows.packets[i]} packets from {place} {flows.source[i]} to {flows.target[i]}, "
        f"but this mesh has {place}s 0..{places - 1} and packets cannot be negative"
    )


def _integers(values: ArrayLike) -> Int64Array:
    return np.ascontiguousarray(values, dtype=np.int64)
