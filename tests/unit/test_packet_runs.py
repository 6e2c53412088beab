"""Packet mode in the simulator: what cores send and when, whose packets they are, and how long a tick then lasts."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

from compiler.mapping.map import map_network
from neurochip.noc.analytic import tick_time
from neurochip.noc.mesh import Mesh
from neurochip.noc.packet import simulate_tick
from neurochip.noc.timing import Timing
from neurochip.program.image import NEURON_CORE, PROCESSOR
from neurochip.sim import clock as clocks
from neurochip.sim.clock import Board, Clock, PacketTick
from neurochip.sim.engine import run_program
from neurochip.sim.packets import Drained, Flows, PacketRuns, spread
from neurochip.sim.schedule import make_schedule
from tests.hand_programs import image_network, naive_program, spike_network
from tests.property.test_simulator import ORIGIN
from tests.small_chips import small_chip
from tests.strategies import random_network
from tests.unit.test_multicast_trees import closed

MESH = Mesh(columns=3, rows=2, cores_per_router=2)
TIMING = Timing(x_latency=3, y_latency=5, eject_service=2)


def flows(source: list[int], target: list[int], packets: list[list[int]]) -> Flows:
    return Flows(np.array(source), np.array(target), np.array(packets))


def test_a_core_spreads_each_flow_over_its_time_and_flows_take_turns() -> None:
    sending = np.array([12, 8, 0, 0])
    sent = spread(np.array([1, 0, 0]), np.array([3, 2, 3]), np.array([4, 3, 2]), sending)
    assert sent.source.tolist() == [0, 0, 1]
    assert sent.target.tolist() == [2, 3, 3]
    assert sent.count.tolist() == [3, 2, 4]
    assert sent.spacing.tolist() == [4, 6, 2]
    assert sent.first.tolist() == [0, 3, 0]  # the second of two flows starts half its spacing later


def test_a_core_that_sends_in_no_time_sends_at_once() -> None:
    sent = spread(np.array([0, 0]), np.array([1, 2]), np.array([5, 1]), np.zeros(3, np.int64))
    assert (sent.first.tolist(), sent.spacing.tolist()) == ([0, 0], [0, 0])


def test_every_input_has_its_own_packets_and_a_silent_one_takes_no_time() -> None:
    together = [flows([0, 4], [7, 1], [[5, 1], [0, 0], [2, 9]]), flows([3], [3], [[0], [0], [4]])]
    sending = np.random.default_rng(0).integers(0, 40, (3, MESH.n_cores))
    found = {}
    for threads in (1, 3):
        runs = PacketRuns(MESH, TIMING, threads)
        found[threads] = runs.start(together, sending).result()
        runs.close()
    assert found[1] == found[3]
    assert found[1][1] == Drained(0, 0.0, 0)
    source, target = np.array([0, 4, 3]), np.array([7, 1, 3])
    for number, packets in ((0, [5, 1, 0]), (2, [2, 9, 4])):
        alone = simulate_tick(MESH, TIMING, spread(source, target, np.array(packets), sending[number]))
        assert found[1][number] == Drained(sum(packets), alone.latency.mean, alone.drain)


@pytest.fixture
def watched(monkeypatch: pytest.MonkeyPatch) -> dict[str, list]:
    """What packet mode starts, and what it waits for at the end."""
    seen: dict[str, list] = {"started": [], "pending": []}
    start, settle = PacketRuns.start, Clock.settle

    def starting(runs: PacketRuns, sent: list[Flows], sending: np.ndarray) -> object:
        seen["started"].append((list(sent), sending.copy()))
        return start(runs, sent, sending)

    def settling(clock: Clock) -> None:
        seen["pending"] += clock.pending
        seen["clock"] = [clock]
        settle(clock)

    monkeypatch.setattr(PacketRuns, "start", starting)
    monkeypatch.setattr(Clock, "settle", settling)
    return seen


@pytest.mark.parametrize("seed", range(6))
def test_the_bound_of_every_tick_is_that_of_its_packets_alone(seed: int, watched: dict[str, list]) -> None:
    """The bookings' bound, from sums by box, against the analytic network given every flow of the tick."""
    network, x = random_network(seed)
    chip = small_chip(arithmetic=network.arithmetic)
    run_program(map_network(network, chip, ORIGIN, ()), x, noc="packet")
    (clock,) = watched["clock"]
    mesh, timing = clock.board.mesh, clock.board.timing
    assert len(watched["started"]) == len(watched["pending"]) > 0
    for (sent, _), pending in zip(watched["started"], watched["pending"], strict=True):
        source, target = (np.concatenate([getattr(f, end) for f in sent]) for end in ("source", "target"))
        for number, packets in enumerate(np.concatenate([f.packets for f in sent], axis=1)):
            assert tick_time(mesh, timing, source, target, packets).cycles == pending.bound[number]


def small_clock() -> Clock:
    program = naive_program(image_network())
    cores = program.cores.copy()
    cores["slot"][cores["kind"] == PROCESSOR] = program.chip.cores_per_router  # beside the neuro-cores
    program = replace(program, cores=cores)
    return Clock.of(Board.of(program, make_schedule(program).populations), "packet")


def test_cores_send_while_they_update_neurons_and_processors_while_they_compute() -> None:
    clock = small_clock()
    clock.start(2)
    work, kind = clock.work, clock.board.program.cores["kind"]
    neuro, processor = (int(np.flatnonzero(kind == k)[0]) for k in (NEURON_CORE, PROCESSOR))
    work.active[1, neuro], work.spikes[1, neuro], work.books.sent[1, neuro] = 11, 7, 5
    work.processor_ops[1, processor], work.books.sent[1, processor] = 1000, 3
    board = clock.board
    ns = board.core_times.ns
    neurons = board.program.use["neurons"][neuro]
    expected = {neuro: neurons * ns[3] + 11 * ns[4] + 7 * ns[5] + 5 * ns[7], processor: 1000 * ns[8] + 3 * ns[9]}
    assert min(expected.values()) > board.timing.cycle_ns
    cycles = clock.sending(work)
    assert cycles.shape == (2, board.mesh.n_cores)
    for core, time in expected.items():
        assert cycles[1, board.noc_core[core]] == int(time / board.timing.cycle_ns)
        assert cycles[0, board.noc_core[core]] == int(
            (neurons * ns[3] if core == neuro else 0) / board.timing.cycle_ns
        ), "the other input's core did no more than update idle neurons"


def test_statistics_weigh_latency_by_packets_and_ticks_by_their_length() -> None:
    clock = small_clock()
    assert clock.statistics() == {}
    clock.packet_ticks = [PacketTick(1, 10.0, 20, 100.0, 50.0), PacketTick(3, 20.0, 60, 300.0, 300.0)]
    cycle = clock.board.timing.cycle_ns
    assert clock.statistics() == pytest.approx(
        {
            "packet_latency_mean_ns": 17.5 * cycle,
            "drain_mean_ns": 40 * cycle,
            "drain_max_ns": 60 * cycle,
            "analytic_over_packet": 350 / 400,
        }
    )


def test_a_tick_lasts_as_long_as_its_slowest_core_or_its_last_packet(watched: dict[str, list]) -> None:
    program = naive_program(spike_network())
    x = (np.random.default_rng(1).random((program.network.timesteps, 3, *program.network.input.shape)) < 0.5).astype(
        int
    )
    trace = run_program(program, x, noc="packet")
    (clock,) = watched["clock"]
    found = [[tick.drain for tick in pending.run.result()] for pending in watched["pending"]]
    assert np.max(found) > 0
    for drains, pending in zip(found, watched["pending"], strict=True):
        network = np.array(drains) * clock.board.timing.cycle_ns
        assert np.array_equal(pending.out, np.maximum(pending.busiest, network) + clock.board.barrier_ns)
    assert trace.noc["drain_max_ns"] == np.max(found) * clock.board.timing.cycle_ns


def test_a_fixed_tick_that_is_too_short_is_counted_as_an_overrun() -> None:
    clock = small_clock()
    chip = clock.board.program.chip
    time = chip.time.model_copy(update={"kind": "fixed", "tick": SimpleNamespace(base=500.0)})
    program = replace(clock.board.program, chip=chip.model_copy(update={"time": time}))
    board = replace(clock.board, program=program, barrier_ns=0.0)
    clock = Clock(board=board, totals=clock.totals)
    drain = np.array([0, int(700 / board.timing.cycle_ns)])
    lasted = clock.durations(np.array([100.0, 100.0]), drain)
    assert lasted.tolist() == [500.0, drain[1] * board.timing.cycle_ns]
    assert clock.moves.overruns == 1


@pytest.mark.parametrize(("last", "wraps"), [(4, False), (5, True)])
def test_a_torus_closes_only_if_some_core_is_further_than_half_way_round(
    last: int, wraps: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = naive_program(spike_network())
    cores = program.cores.copy()
    cores["x"], cores["y"] = 0, 0
    cores["x"][0] = last
    chip = program.chip
    monkeypatch.setattr(type(chip), "ring_routers", property(lambda _: (8, 8)))
    mesh = clocks.program_mesh(replace(program, cores=cores))
    assert (mesh.wrap_x, mesh.wrap_y) == (wraps, False)


def test_links_of_a_ring_along_y_are_booked_as_packets_take_them() -> None:
    program = naive_program(spike_network(), small_chip(columns=2, rows=3), 1, 2)
    x = np.ones((program.network.timesteps, 2, *program.network.input.shape))
    torus = closed(program)
    mesh = clocks.program_mesh(torus)
    assert mesh.wrap_y
    assert not mesh.wrap_x
    booked = run_program(torus, x)
    ends = mesh.link_ends()
    closes = np.abs(ends.target - ends.source) == mesh.width * (mesh.height - 1)
    assert booked.links[closes].any(), "over the links that close the ring"
    assert booked.hops_y < run_program(program, x).hops_y
    assert np.array_equal(run_program(torus, x, noc="packet").links, booked.links)


@pytest.mark.parametrize("seed", range(4))
def test_boxes_know_their_longest_route_and_those_that_stay_on_a_router(seed: int) -> None:
    network, _ = random_network(seed)
    program = map_network(network, small_chip(arithmetic=network.arithmetic), ORIGIN, ())
    board = Board.of(program, make_schedule(program).populations)
    mesh, timing = board.mesh, board.timing
    ends = timing.inject_latency + timing.eject_latency
    for booking in board.bookings.values():
        routes, fanout = booking.routes, booking.fanout
        if not len(routes):
            continue
        source = board.noc_core[program.tiles["core"][routes[:, 0]]]
        target = board.noc_core[program.ports["core"][routes[:, 1]]]
        first = np.cumsum(fanout.moves[:, 0]) - fanout.moves[:, 0]
        hops = timing.zero_load_latency(mesh, source, target) - ends
        assert np.array_equal(fanout.longest, np.maximum.reduceat(hops, first))
        stays = (mesh.router_of(source) == mesh.router_of(target)).astype(int)
        assert np.array_equal(fanout.moves[:, 4], np.add.reduceat(stays, first))
