"""Loads and time bounds on cases small enough to count by hand."""

from __future__ import annotations

import re

import numpy as np
import pytest

from neurochip.errors import SimulationError
from neurochip.noc.analytic import tick_loads, tick_time
from neurochip.noc.mesh import Mesh
from neurochip.noc.timing import Timing

TWO_CHIPS = Mesh(columns=2, rows=1, chip_columns=2, cores_per_router=2)
SLOW_BORDER = Timing(
    x_latency=3,
    chip_latency=20,
    link_service=2,
    chip_service=10,
    inject_latency=1,
    eject_latency=4,
    eject_service=5,
    inject_interval=2,
)


def test_loads_by_hand() -> None:
    loads = tick_loads(TWO_CHIPS, [0, 3, 1, 2], [3, 2, 1, 2], [5, 7, 11, 0])
    assert loads.link_load.tolist() == [5, 5, 5, 0, 0, 7]
    assert (loads.hops_x, loads.hops_y, loads.crossings, loads.local) == (22, 0, 5, 11)


def test_the_slow_link_bounds_the_tick() -> None:
    time = tick_time(TWO_CHIPS, SLOW_BORDER, [0], [7], [5])
    assert time.busiest_link == 1
    assert time.link == 1 + 4 * 10 + 23 + 4
    assert time.path == 1 + 3 + 23 + 3 + 4
    assert time.injection == 1 + 4 * 2 + 4
    assert time.ejection == 1 + 4 * 5 + 4
    assert time.cycles == time.link


def test_a_short_buffer_bounds_the_tick_by_its_round_trip() -> None:
    timing = Timing(x_latency=6, credit_latency=4, buffer_packets=2)
    assert tick_time(Mesh(columns=2, rows=1), timing, [0], [1], [7]).link == 3 * (6 + 4) + 6


def test_a_silent_tick_takes_no_time() -> None:
    time = tick_time(TWO_CHIPS, SLOW_BORDER, [0, 1], [7, 2], [0, 0])
    assert (time.cycles, time.busiest_link) == (0, -1)
    empty = np.zeros(0, np.int64)
    assert tick_time(TWO_CHIPS, SLOW_BORDER, empty, empty, empty).cycles == 0


def test_cores_of_one_router_need_no_link() -> None:
    time = tick_time(TWO_CHIPS, SLOW_BORDER, [0], [1], [3])
    assert (time.link, time.busiest_link, time.path) == (0, -1, 5)


@pytest.mark.parametrize(
    ("flow", "message"),
    [
        (([0], [4], [1]), "network flow 0: 1 packets from router 0 to 4, but this mesh has routers 0..3"),
        (([0, -1], [0, 0], [1, 1]), "network flow 1: 1 packets from router -1 to 0"),
        (([0], [1], [-2]), "network flow 0: -2 packets"),
    ],
)
def test_flows_outside_the_mesh_are_refused(flow: tuple, message: str) -> None:
    with pytest.raises(SimulationError, match=re.escape(message)):
        tick_loads(TWO_CHIPS, *flow)


def test_cores_outside_the_mesh_are_refused() -> None:
    with pytest.raises(SimulationError, match=re.escape("1 packets from core 0 to 8, but this mesh has cores 0..7")):
        tick_time(TWO_CHIPS, SLOW_BORDER, [0], [8], [1])
