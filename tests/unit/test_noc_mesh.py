"""Mesh numbering and timing figures."""

from __future__ import annotations

import re

import numpy as np
import pytest

from neurochip.errors import ChipError
from neurochip.noc.mesh import EAST, NORTH, SOUTH, WEST, Mesh
from neurochip.noc.timing import Timing

LOIHI = {
    "hop_x_ns": 4.1,
    "hop_y_ns": 6.5,
    "link_service_ns": 0.2907,
    "buffer_packets": 16,
    "chip_link_latency_ns": 100.0,
    "chip_link_service_ns": 2.907,
}


def test_links_are_numbered_east_west_south_north_without_gaps() -> None:
    mesh = Mesh(columns=3, rows=2)
    ends = mesh.link_ends()
    assert mesh.n_links == len(ends.source) == 4 + 4 + 3 + 3
    assert mesh.link_blocks == (0, 4, 8, 11)
    assert ends.source.tolist() == [0, 1, 3, 4, 1, 2, 4, 5, 0, 1, 2, 3, 4, 5]
    assert ends.target.tolist() == [1, 2, 4, 5, 0, 1, 3, 4, 3, 4, 5, 0, 1, 2]
    assert ends.direction.tolist() == [EAST] * 4 + [WEST] * 4 + [SOUTH] * 3 + [NORTH] * 3


def test_paths_go_along_x_first() -> None:
    mesh = Mesh(columns=3, rows=2)
    assert mesh.links_of((0, 0), (2, 1)).tolist() == [0, 1, 10]
    assert mesh.links_of((2, 1), (0, 0)).tolist() == [7, 6, 11]
    assert mesh.links_of((1, 1), (1, 1)).tolist() == []


def test_packets_go_round_a_torus_only_where_that_is_shorter() -> None:
    mesh = Mesh(columns=2, rows=1, chip_columns=2, wrap_x=True)
    assert mesh.n_links == 8
    assert mesh.link_ends().source.tolist() == [0, 1, 2, 3, 1, 2, 3, 0]
    assert mesh.link_ends().crossing.tolist() == [False, True] * 4
    assert mesh.links_of((0, 0), (3, 0)).tolist() == [7]
    assert mesh.links_of((3, 0), (0, 0)).tolist() == [3]
    assert mesh.links_of((3, 0), (1, 0)).tolist() == [6, 5]  # as far either way


def test_chips_side_by_side_are_one_mesh_with_marked_borders() -> None:
    mesh = Mesh(columns=2, rows=3, chip_columns=3, chip_rows=2, cores_per_router=4)
    assert (mesh.width, mesh.height, mesh.n_routers, mesh.n_cores) == (6, 6, 36, 144)
    ends = mesh.link_ends()
    for source, target, crossing in zip(ends.source, ends.target, ends.crossing, strict=True):
        borders_x = {(source % 6, target % 6), (target % 6, source % 6)} & {(1, 2), (3, 4)}
        borders_y = {(source // 6, target // 6), (target // 6, source // 6)} & {(2, 3)}
        assert crossing == bool(borders_x or borders_y)
    assert mesh.crossings(np.array([0]), np.array([35])).tolist() == [3]
    assert mesh.router_of(np.array([0, 3, 4, 143])).tolist() == [0, 0, 1, 35]


def test_a_mesh_without_routers_is_refused() -> None:
    with pytest.raises(ChipError, match="mesh: rows must be at least 1, not 0"):
        Mesh(columns=3, rows=0)
    with pytest.raises(ChipError, match="mesh: at most 60 cores can share a router, not 61"):
        Mesh(columns=1, rows=1, cores_per_router=61)
    with pytest.raises(ChipError, match="mesh: y can wrap only if at least 3 routers lie along it, not 2"):
        Mesh(columns=3, rows=2, wrap_y=True)


def test_cycles_measure_a_chips_nanoseconds_within_a_thousandth() -> None:
    timing = Timing.from_ns(**LOIHI)
    expected = {
        "x_latency": 4.1,
        "y_latency": 6.5,
        "chip_latency": 100.0,
        "link_service": 0.2907,
        "chip_service": 2.907,
        "credit_latency": 6.5,
        "chip_credit_latency": 106.5,
    }
    for name, ns in expected.items():
        assert getattr(timing, name) * timing.cycle_ns == pytest.approx(ns, rel=1e-3)
    assert timing.buffer_packets - 16 == np.ceil(13 / 0.2907)
    assert timing.chip_buffer_packets - 16 == np.ceil(213 / 2.907)


def test_whole_nanoseconds_are_exact_and_ports_follow_the_links() -> None:
    timing = Timing.from_ns(**{**LOIHI, "hop_x_ns": 4, "hop_y_ns": 6, "link_service_ns": 2, "chip_link_service_ns": 20})
    assert timing.cycle_ns == 2.0
    assert (timing.x_latency, timing.y_latency, timing.link_service, timing.chip_latency) == (2, 3, 1, 50)
    assert (timing.input_interval, timing.inject_interval, timing.eject_service, timing.credit_latency) == (1, 1, 1, 3)
    assert (timing.inject_latency, timing.eject_latency) == (0, 0)


def test_unpublished_hop_times_do_not_stop_the_network() -> None:
    timing = Timing.from_ns(**{**LOIHI, "hop_x_ns": 0.0, "hop_y_ns": 0.0, "chip_link_latency_ns": 0.0})
    assert timing.x_latency * timing.cycle_ns == pytest.approx(0.001)
    assert (timing.x_latency, timing.chip_latency) == (timing.y_latency, 0)


def test_a_chip_border_adds_to_the_hop() -> None:
    mesh = Mesh(columns=2, rows=2, chip_columns=2, chip_rows=2)
    timing = Timing(x_latency=3, y_latency=5, chip_latency=100, inject_latency=7, eject_latency=11)
    assert timing.zero_load_latency(mesh, np.array(0), np.array(15)) == 7 + 9 + 15 + 200 + 11
    latency = timing.links(mesh).latency
    path = mesh.links_of((0, 0), (3, 3))
    assert latency[path].tolist() == [3, 103, 3, 5, 105, 5]


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"link_service": 0}, "link_service must be 1..4194304 cycles, not 0"),
        ({"inject_latency": -1}, "inject_latency must be 0..4194304 cycles, not -1"),
        ({"cycle_ns": 0.0}, "cycle_ns must be positive, not 0.0"),
        ({"x_latency": 1 << 23}, "choose a longer cycle than 1.0 ns or correct the chip's figure"),
    ],
)
def test_impossible_timing_is_refused(wrong: dict, message: str) -> None:
    with pytest.raises(ChipError, match=re.escape(message)):
        Timing(**wrong)


def test_negative_nanoseconds_are_refused() -> None:
    with pytest.raises(ChipError, match=r"network timing: y_latency must be at least 0 ns, not -6\.5"):
        Timing.from_ns(**{**LOIHI, "hop_y_ns": -6.5})
