"""The network kernels against their oracles, on small random meshes, timings and traffic."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from neurochip.noc import state as at_rest
from neurochip.noc.analytic import tick_loads, tick_time
from neurochip.noc.mesh import Mesh
from neurochip.noc.packet import Injections, simulate_tick
from neurochip.noc.timing import Timing
from tests import noc_oracle

SIZES = st.integers(1, 4)
CYCLES = st.integers(1, 5)


@st.composite
def meshes(draw: st.DrawFn) -> Mesh:
    return Mesh(
        columns=draw(SIZES),
        rows=draw(SIZES),
        chip_columns=draw(st.integers(1, 2)),
        chip_rows=draw(st.integers(1, 2)),
        cores_per_router=draw(st.integers(1, 3)),
    )


@st.composite
def tori(draw: st.DrawFn) -> Mesh:
    """Meshes of up to 7 x 7 routers of which at least one axis wraps."""
    mesh = Mesh(
        columns=draw(st.integers(1, 3)),
        rows=draw(st.integers(1, 3)),
        chip_columns=draw(st.integers(1, 4)),
        chip_rows=draw(st.integers(1, 4)),
        cores_per_router=draw(st.integers(1, 3)),
    )
    assume(max(mesh.width, mesh.height) > 2)
    wrap_x = mesh.width > 2 and (mesh.height <= 2 or draw(st.booleans()))
    return replace(mesh, wrap_x=wrap_x, wrap_y=mesh.height > 2 and (not wrap_x or draw(st.booleans())))


@st.composite
def timings(draw: st.DrawFn) -> Timing:
    delays = (
        "x_latency y_latency link_service chip_service input_interval inject_interval eject_service "
        "credit_latency chip_credit_latency buffer_packets chip_buffer_packets"
    )
    ports = {name: draw(st.integers(0, 3)) for name in ("inject_latency", "eject_latency", "chip_latency")}
    return Timing(**{name: draw(CYCLES) for name in delays.split()}, **ports)


@st.composite
def injections(draw: st.DrawFn, mesh: Mesh) -> Injections:
    core = st.integers(0, mesh.n_cores - 1)
    # few targets, so that paths collide
    targets = st.sampled_from(draw(st.lists(core, min_size=1, max_size=3)))
    flow = st.tuples(core, targets, st.integers(0, 12), st.integers(0, 20), st.integers(0, 3))
    flows = draw(st.lists(flow, min_size=1, max_size=10))
    return Injections.of(*np.array(flows).T)


@settings(deadline=None, max_examples=60)
@given(st.data())
def test_kernel_delivers_each_packet_at_the_oracles_cycle(data: st.DataObject) -> None:
    mesh, timing = data.draw(st.one_of(meshes(), tori())), data.draw(timings())
    flows = data.draw(injections(mesh))
    result = simulate_tick(mesh, timing, flows, record=True)
    delivered_at, links = noc_oracle.simulate(mesh, timing, flows)
    assert result.delivered_at.tolist() == delivered_at
    assert result.link_packets.tolist() == [links[link] for link in range(mesh.n_links)]
    assert result.drain == max(delivered_at, default=0)


@settings(deadline=None, max_examples=60)
@given(st.data())
def test_analytic_counts_are_the_packet_counts_and_its_time_is_a_lower_bound(data: st.DataObject) -> None:
    mesh, timing = data.draw(st.one_of(meshes(), tori())), data.draw(timings())
    flows = data.draw(injections(mesh))
    packet = simulate_tick(mesh, timing, flows)
    loads = tick_loads(mesh, mesh.router_of(flows.source), mesh.router_of(flows.target), flows.count)
    assert loads.link_load.tolist() == packet.link_packets.tolist()
    assert loads.hops_x + loads.hops_y == packet.packet_hops
    bound = tick_time(mesh, timing, flows.source, flows.target, flows.count, loads)
    assert bound.cycles <= packet.drain


@settings(deadline=None, max_examples=60)
@given(st.data())
def test_loads_from_intervals_equal_loads_from_walking_every_path(data: st.DataObject) -> None:
    mesh = data.draw(st.one_of(meshes(), tori()))
    ends = mesh.link_ends()
    router = st.integers(0, mesh.n_routers - 1)
    flows = data.draw(st.lists(st.tuples(router, router, st.integers(0, 100)), min_size=1, max_size=30))
    loads = tick_loads(mesh, *np.array(flows).T)
    expected = np.zeros(mesh.n_links, np.int64)
    crossings = 0
    for source, target, packets in flows:
        path = noc_oracle.walk(mesh, source, target)
        for at, to in path:
            expected[noc_oracle.link_number(mesh, at, to)] += packets
            crossings += packets * noc_oracle.crosses(mesh, at, to)
        xy = [(router % mesh.width, router // mesh.width) for router in (source, target)]
        links = [noc_oracle.link_number(mesh, at, to) for at, to in path]
        assert mesh.links_of(*xy).tolist() == links
        assert list(zip(ends.source[links].tolist(), ends.target[links].tolist(), strict=True)) == path
        assert mesh.crossings(np.int64(source), np.int64(target)) == ends.crossing[links].sum()
        assert mesh.hops(np.int64(source), np.int64(target)) == len(path)
    assert loads.link_load.tolist() == expected.tolist()
    assert loads.crossings == crossings
    assert loads.hops_x + loads.hops_y == expected.sum()
    assert loads.local == sum(packets for source, target, packets in flows if source == target)


@settings(deadline=None, max_examples=60)
@given(st.data())
def test_one_packet_alone_takes_the_closed_form(data: st.DataObject) -> None:
    mesh, timing = data.draw(st.one_of(meshes(), tori())), data.draw(timings())
    core = st.integers(0, mesh.n_cores - 1)
    source, target, born = data.draw(core), data.draw(core), data.draw(st.integers(0, 10**6))
    result = simulate_tick(mesh, timing, Injections.of(source, target, 1, born))
    closed = int(timing.zero_load_latency(mesh, np.int64(source), np.int64(target)))
    path = noc_oracle.walk(mesh, source // mesh.cores_per_router, target // mesh.cores_per_router)
    hops = 0
    for at, to in path:
        along_x = at // mesh.width == to // mesh.width
        hops += timing.x_latency if along_x else timing.y_latency
        hops += timing.chip_latency if noc_oracle.crosses(mesh, at, to) else 0
    assert closed == timing.inject_latency + hops + timing.eject_latency
    assert result.latency.min == result.latency.max == result.latency.p50 == closed
    assert result.drain == born + closed


@st.composite
def far_timings(draw: st.DrawFn) -> Timing:
    """Chips so far apart that each runs ahead of the others; small buffers, so that senders wait for credits."""
    timing = draw(timings())
    slots = st.one_of(st.integers(1, 4), st.integers(50, 400))
    far = {name: draw(st.integers(256, 300)) for name in ("chip_latency", "chip_credit_latency")}
    return replace(timing, **far, chip_service=draw(st.integers(1, 90)), chip_buffer_packets=draw(slots))


@settings(deadline=None, max_examples=8)
@given(st.data())
def test_chips_that_run_ahead_deliver_at_the_oracles_cycles(data: st.DataObject) -> None:
    mesh, timing = data.draw(st.one_of(meshes(), tori())), data.draw(far_timings())
    flows = data.draw(injections(mesh))
    result = simulate_tick(mesh, timing, flows, record=True)
    assert result.delivered_at.tolist() == noc_oracle.simulate(mesh, timing, flows)[0]


@settings(deadline=None, max_examples=60)
@given(st.integers(0, 1_000_000), st.integers(2, 40), st.integers(0, 60), st.integers(1, 60))
def test_how_far_routers_run_alone_changes_no_packet(seed: int, latency: int, more: int, slots: int) -> None:
    rng = np.random.default_rng(seed)
    mesh = Mesh(columns=4, rows=4, cores_per_router=2, wrap_x=bool(seed % 2))
    timing = Timing(
        x_latency=latency,
        y_latency=latency + more,
        credit_latency=latency + more,
        link_service=1 + seed % 3,
        buffer_packets=slots,
        eject_service=int(rng.integers(1, 6)),
    )
    n = int(rng.integers(1, 80))
    source, target = rng.integers(0, mesh.n_cores, n), rng.integers(0, int(rng.choice([2, 6, mesh.n_cores])), n)
    flows = Injections.of(source, target, rng.integers(0, 80, n), rng.integers(0, 900, n), rng.integers(0, 9, n))
    far = simulate_tick(mesh, timing, flows, record=True)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(at_rest, "_log2", lambda *_: 0)
        step_by_step = simulate_tick(mesh, timing, flows, record=True)
    assert np.array_equal(far.delivered_at, step_by_step.delivered_at)


@settings(deadline=None, max_examples=60)
@given(st.integers(0, 1_000_000), far_timings())
def test_running_chip_by_chip_changes_no_packet(seed: int, timing: Timing) -> None:
    rng = np.random.default_rng(seed)
    mesh = Mesh(columns=2, rows=3, chip_columns=3, chip_rows=2, cores_per_router=2)
    n, hot = int(rng.integers(1, 200)), int(rng.choice([2, mesh.n_cores]))
    source, target = rng.integers(0, mesh.n_cores, n), rng.integers(0, hot, n)
    flows = Injections.of(source, target, rng.integers(0, 9, n), rng.integers(0, 2000, n), rng.integers(0, 40, n))
    apart = simulate_tick(mesh, timing, flows, record=True)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(at_rest, "LEAST_WINDOWS", 1 << 30)
        together = simulate_tick(mesh, timing, flows, record=True)
    assert np.array_equal(apart.delivered_at, together.delivered_at)
    assert (apart.drain, apart.latency) == (together.drain, together.latency)
    assert np.array_equal(apart.link_packets, together.link_packets)


@settings(deadline=None, max_examples=60)
@given(st.data())
def test_latency_on_a_torus_is_that_of_every_link_of_the_shorter_way(data: st.DataObject) -> None:
    mesh, timing = data.draw(tori()), data.draw(timings())
    core = st.integers(0, mesh.n_cores - 1)
    source, target = data.draw(core), data.draw(core)
    per_router = mesh.cores_per_router
    walked = noc_oracle.latency(mesh, timing, source // per_router, target // per_router)
    ends = timing.inject_latency + timing.eject_latency
    assert timing.zero_load_latency(mesh, np.int64(source), np.int64(target)) == ends + walked
    assert tick_time(mesh, timing, [source], [target], [1]).path == ends + walked
    path = mesh.links_of(
        *((core // per_router % mesh.width, core // per_router // mesh.width) for core in (source, target))
    )
    assert timing.links(mesh).latency[path].sum() == walked
