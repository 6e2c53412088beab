"""Packet mode on cases small enough to follow by hand, and its guarantees."""

from __future__ import annotations

import re

import numpy as np
import pytest

from neurochip.errors import SimulationError
from neurochip.noc import packet
from neurochip.noc.kernels import packet as kernel
from neurochip.noc.kernels.records import NEVER, State
from neurochip.noc.mesh import EAST, Mesh
from neurochip.noc.packet import Injections, simulate_tick
from neurochip.noc.timing import Timing

ROW = Mesh(columns=4, rows=1, cores_per_router=2)
PLAIN = Timing(x_latency=3, y_latency=3, inject_latency=1, eject_latency=2)


def random_flows(mesh: Mesh, seed: int, n: int = 3000) -> Injections:
    rng = np.random.default_rng(seed)
    ends = rng.integers(0, mesh.n_cores, (2, n))
    return Injections.of(ends[0], ends[1], rng.integers(0, 6, n), rng.integers(0, 4000, n), rng.integers(0, 40, n))


def test_a_burst_follows_its_first_packet_at_the_rate_of_the_slowest_link() -> None:
    two_chips = Mesh(columns=2, rows=1, chip_columns=2)
    timing = Timing(x_latency=3, chip_latency=10, chip_service=7)
    result = simulate_tick(two_chips, timing, Injections.of(0, 3, 4), record=True)
    assert result.delivered_at.tolist() == [19, 26, 33, 40]
    assert (result.drain, result.packets, result.packet_hops) == (40, 4, 12)


def test_inputs_take_turns_at_an_output() -> None:
    # both cores of router 0 send to router 1 at once: the link alternates between them
    result = simulate_tick(ROW, PLAIN, Injections.of([0, 1], [2, 3], 3), record=True)
    assert result.delivered_at.tolist() == [6, 8, 10, 7, 9, 11]


def test_a_core_accepts_packets_at_its_own_rate_and_the_jam_reaches_back() -> None:
    slow = Timing(x_latency=3, eject_service=50, buffer_packets=2)
    result = simulate_tick(Mesh(columns=4, rows=1), slow, Injections.of(0, 3, 10), record=True)
    assert np.diff(result.delivered_at).tolist() == [50] * 9
    assert result.link_packets.tolist() == [10, 10, 10, 0, 0, 0]


def test_a_packet_that_waits_blocks_the_one_behind_it() -> None:
    # the second packet's own way is free, but it stands behind the first, whose core is busy
    slow = Timing(x_latency=3, eject_service=100)
    flows = Injections.of([2, 0, 0], [2, 2, 3], 1, [0, 0, 1])
    result = simulate_tick(Mesh(columns=4, rows=1), slow, flows, record=True)
    assert result.delivered_at.tolist() == [0, 100, 101 + 3]


def test_flows_of_a_core_queue_by_time_then_by_flow() -> None:
    flows = Injections.of([0, 0, 0], [1, 1, 1], [2, 1, 2], [5, 0, 5], [0, 0, 1])
    result = simulate_tick(ROW, Timing(), flows, record=True)
    # injected at 0 (flow 1), 5 5 (flow 0), 5 6 (flow 2); one packet a cycle
    assert result.delivered_at.tolist() == [5, 6, 0, 7, 8]


def test_injections_far_apart_cost_nothing_and_arrive_on_time() -> None:
    flows = Injections.of([0, 6], [6, 0], 3, [0, 123_456], 1_000_003)
    result = simulate_tick(ROW, PLAIN, flows, record=True)
    assert result.delivered_at.tolist() == [12 + 1_000_003 * k for k in range(3)] + [
        123_468 + 1_000_003 * k for k in range(3)
    ]


def test_a_silent_tick_has_no_latency() -> None:
    result = simulate_tick(ROW, PLAIN, Injections.of([0, 1], [2, 3], 0))
    assert (result.drain, result.packets, result.packet_hops) == (0, 0, 0)
    assert result.latency == packet.LatencyStats(min=0, mean=0.0, p50=0, p99=0, max=0)
    empty = np.zeros(0, np.int64)
    assert simulate_tick(ROW, PLAIN, Injections.of(empty, empty, empty, empty, empty)).packets == 0


def test_statistics_are_those_of_the_packets() -> None:
    mesh = Mesh(columns=5, rows=4, chip_columns=2, cores_per_router=3)
    jammed = Timing(x_latency=3, y_latency=4, chip_latency=9, chip_service=30, buffer_packets=3)
    flows = random_flows(mesh, seed=1)
    result = simulate_tick(mesh, jammed, flows, record=True)
    born = np.concatenate(
        [f + s * np.arange(c) for f, s, c in zip(flows.first, flows.spacing, flows.count, strict=True)]
    )
    latency = result.delivered_at - born
    assert latency.max() > 2 * kernel.EXACT, "the case must reach the histogram's wide bins"
    assert (result.latency.min, result.latency.max) == (latency.min(), latency.max())
    assert result.latency.mean == pytest.approx(latency.mean())
    for percent, found in ((50, result.latency.p50), (99, result.latency.p99)):
        exact = np.quantile(latency, percent / 100, method="inverted_cdf")
        assert exact * 0.999 <= found <= exact
    assert result.delivered.tolist() == np.bincount(flows.target, flows.count, mesh.n_cores).tolist()
    assert result.drain == result.delivered_at.max()


def test_results_do_not_depend_on_the_order_of_sources() -> None:
    mesh = Mesh(columns=4, rows=4, cores_per_router=2)
    flows = random_flows(mesh, seed=2)
    order = np.argsort(-flows.source, kind="stable")
    turned = Injections(**{name: getattr(flows, name)[order] for name in Injections.__slots__})
    one, two, other = (simulate_tick(mesh, PLAIN, f, record=True) for f in (flows, flows, turned))
    assert one.latency == two.latency == other.latency
    assert one.link_packets.tolist() == other.link_packets.tolist()
    parts = np.split(one.delivered_at, np.cumsum(flows.count)[:-1])
    assert np.concatenate([parts[flow] for flow in order]).tolist() == other.delivered_at.tolist()


def test_an_overrun_of_the_last_cycle_is_an_error() -> None:
    message = "network: cycle 100 has passed, but 6 of 10 packets are not delivered; packets wait in the buffers of"
    slow = Timing(eject_service=30)
    with pytest.raises(SimulationError, match=re.escape(message)):
        simulate_tick(ROW, slow, Injections.of(0, 2, 10), last_cycle=100)


def test_a_network_that_cannot_move_is_detected(monkeypatch: pytest.MonkeyPatch) -> None:
    honest = packet.new_state

    def with_lost_credits(*arguments: object) -> State:
        state = honest(*arguments)
        state.routers["free"][1, EAST] = NEVER
        return state

    monkeypatch.setattr(packet, "new_state", with_lost_credits)
    with pytest.raises(SimulationError, match="no packet can move any more, but 5 of 7 packets are not delivered"):
        simulate_tick(ROW, PLAIN, Injections.of([0, 2], [2, 6], [2, 5]))


def test_packets_on_a_ring_cannot_wait_for_each_other_in_a_circle() -> None:
    # every router fills the buffer to its east with packets that go half round; one slot each
    ring = Mesh(columns=6, rows=1, wrap_x=True)
    source = np.arange(6)
    tight = Timing(x_latency=2, buffer_packets=1)
    result = simulate_tick(ring, tight, Injections.of(source, (source + 3) % 6, 50))
    assert (result.packets, result.packet_hops) == (300, 900)
    assert result.link_packets[:6].sum() == result.link_packets[6:12].sum() == 450


def test_misrouted_packets_are_detected(monkeypatch: pytest.MonkeyPatch) -> None:
    honest = packet.new_state

    def with_swapped_core(*arguments: object) -> State:
        state = honest(*arguments)
        state.flows["port"][0] += 1
        return state

    monkeypatch.setattr(packet, "new_state", with_swapped_core)
    with pytest.raises(SimulationError, match="misrouted; core 2 got 0 instead of 3; this is a bug"):
        simulate_tick(ROW, PLAIN, Injections.of(0, 2, 3))


@pytest.mark.parametrize(
    "wrong", [{"source": 8}, {"target": -1}, {"count": -1}, {"first": -5}, {"spacing": -1}, {"count": 1 << 32}]
)
def test_malformed_flows_are_refused(wrong: dict[str, int]) -> None:
    flow = {"source": [0, 1], "target": [1, 1], "count": [1, 1], "first": [0, 0], "spacing": [0, 0]}
    (name,) = wrong
    flow[name] = [flow[name][0], wrong[name]]
    message = r"network flow 1: .* cores are 0..7, counts 0..2\*\*32 - 1, times at least 0"
    with pytest.raises(SimulationError, match=message):
        simulate_tick(ROW, PLAIN, Injections.of(**flow))


def test_more_inputs_than_a_word_has_bits_are_refused() -> None:
    crowded = Mesh(columns=3, rows=1, cores_per_router=57, wrap_x=True)
    with pytest.raises(SimulationError, match=r"at most 64 inputs a router, not 65: .* and 57 for cores; use analytic"):
        simulate_tick(crowded, Timing(), Injections.of(0, 1))
