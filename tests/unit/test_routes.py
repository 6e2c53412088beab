"""Routes that follow from tiles and ports are those that loops over every tile and port find."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from compiler.mapping.check_routes import route_problems
from neurochip.errors import ProgramError
from neurochip.program.image import PORTS, TILES, Program
from neurochip.program.routes import Cells, Routing, cells_of
from neurochip.program.validate import validate_program
from tests.hand_programs import image_network, naive_program, naive_routes, spike_network
from tests.strategies import random_network

SHAPES = [{}, {"rows": 1, "channels": 3}, {"rows": 9, "channels": 99}, {"channels": 2, "tiles_per_core": 3}]
BOX = ("y0", "y1", "x0", "x1", "c0", "c1")


@pytest.fixture(scope="module")
def program() -> Program:
    return naive_program(image_network())


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("network", [image_network(), spike_network()], ids=lambda n: n.name)
def test_routes_are_those_of_plain_loops(network, shape) -> None:
    program = naive_program(network, **shape)
    assert sorted(program.routes.tolist()) == sorted(naive_routes(program))
    assert program.routing.n_routes == len(program.routes)


@pytest.mark.parametrize("seed", range(15))
def test_routes_of_random_networks_are_those_of_plain_loops(seed: int) -> None:
    network, _ = random_network(seed)
    rng = np.random.default_rng(seed)
    program = naive_program(network, rows=int(rng.integers(1, 4)), channels=int(rng.integers(1, 5)))
    assert sorted(program.routes.tolist()) == sorted(naive_routes(program))
    assert not list(route_problems(program))


def test_routes_do_not_depend_on_the_order_of_tiles(program: Program) -> None:
    order = np.random.default_rng(0).permutation(len(program.tiles))
    mixed = replace(program, tiles=program.tiles[order])
    assert sorted(mixed.routes.tolist()) == sorted(naive_routes(mixed))


def test_routes_of_one_tile_to_equal_boxes_of_a_bundle_stand_together(program: Program) -> None:
    for number in range(len(program.network.populations)):
        routes = program.routing.routes_from(number)
        ports = program.ports[routes[:, 1]]
        keys = np.stack([ports["bundle"], routes[:, 0], *(ports[name] for name in BOX)], axis=1)
        changes = 1 + (keys[1:] != keys[:-1]).any(axis=1).sum() if len(keys) else 0
        assert changes == len(np.unique(keys, axis=0))


@pytest.mark.parametrize("most", [1, 7, 1000])
def test_parts_of_a_fan_are_its_routes_in_order_and_no_tile_is_in_two(program: Program, most: int) -> None:
    for number in range(len(program.network.populations)):
        for fan in program.routing.fans(number):
            parts = list(fan.parts(most))
            assert np.array_equal(np.concatenate([part.routes() for part in parts]), fan.routes())
            tiles = [set(part.tile.tolist()) for part in parts]
            assert sum(map(len, tiles)) == len(set().union(*tiles))
            assert all(part.readers[part.tile < part.tile[-1]].sum() < most for part in parts)


def test_an_empty_port_hears_nothing(program: Program) -> None:
    for where in ((0, 0), (1, 1), (6, 6)):
        port = np.zeros(1, PORTS)
        port["y0"], port["y1"] = where
        port["x1"], port["c1"] = 1, 1
        more = replace(program, ports=np.append(program.ports, port))
        assert sorted(more.routes.tolist()) == sorted(naive_routes(program))


def boxes(*rows: tuple[int, ...]) -> np.ndarray:
    table = np.zeros(len(rows), TILES)
    for column, name in enumerate(BOX):
        table[name] = [row[column] for row in rows]
    return table


def test_cuts_need_not_be_equal() -> None:
    rows = [(y0, y1, 0, 5, c0, c1) for y0, y1 in ((0, 3), (3, 4)) for c0, c1 in ((0, 1), (1, 6), (6, 8))]
    found = cells_of(boxes(*rows), np.arange(6), "p")
    assert [edges.tolist() for edges in found.edges] == [[0, 3, 4], [0, 5], [0, 1, 6, 8]]
    assert found.tile.tolist() == list(range(6))


@pytest.mark.parametrize(
    "rows",
    [
        [(0, 2, 0, 2, 0, 1), (2, 4, 0, 1, 0, 1), (2, 4, 1, 2, 0, 1)],  # a partition, but no cuts
        [(0, 2, 0, 2, 0, 1), (0, 2, 0, 2, 0, 1)],
        [(0, 2, 0, 2, 0, 1), (3, 4, 0, 2, 0, 1)],
        [(1, 2, 0, 2, 0, 1)],
    ],
    ids=["bricks", "twice", "gap", "late"],
)
def test_tiles_that_are_no_cells_are_refused(rows) -> None:
    with pytest.raises(ProgramError, match="tiles of population 'p': expected the cells that cuts of its rows"):
        cells_of(boxes(*rows), np.arange(len(rows)), "p")


def test_more_routes_than_memory_holds_are_refused(program: Program, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("neurochip.program.validate.MAX_ROUTES", 20)
    with pytest.raises(ProgramError, match=r"\d+ routes leave them, at most 20 may"):
        validate_program(program)


def with_routing(program: Program, routing: Routing) -> Program:
    """``program`` with routes that do not follow from its tables."""
    wrong = replace(program)
    wrong.__dict__["routing"] = routing
    return wrong


def test_the_checker_finds_a_tile_in_the_place_of_another(program: Program) -> None:
    routing = program.routing
    for number, cells in enumerate(routing.cells):
        if not routing.listening[number]:
            continue
        tile = cells.tile.copy()
        tile[-1] = tile[0] if len(tile) > 1 else (tile[0] + 1) % len(program.tiles)
        wrong = list(routing.cells)
        wrong[number] = Cells(cells.edges, tile)
        assert list(route_problems(with_routing(program, replace(routing, cells=tuple(wrong)))))


def test_the_checker_finds_a_cell_that_ends_too_early(program: Program) -> None:
    routing = program.routing
    number = max(range(len(routing.cells)), key=routing.count)
    y, x, c = routing.cells[number].edges
    wrong = list(routing.cells)
    wrong[number] = Cells((np.append(y[:-2], y[-1]), x, c), routing.cells[number].tile)
    assert list(route_problems(with_routing(program, replace(routing, cells=tuple(wrong)))))


def test_the_checker_finds_ports_in_wrong_groups(program: Program) -> None:
    routing = program.routing
    for bundle, groups in enumerate(routing.groups):
        lost = groups._replace(ports=groups.ports[1:], start=np.maximum(groups.start - 1, 0))
        other = groups._replace(ports=(groups.ports + 1) % len(program.ports))
        smaller = groups._replace(boxes=groups.boxes - (np.arange(6) == 1))
        for spoilt in (lost, other, smaller):
            wrong = list(routing.groups)
            wrong[bundle] = spoilt
            assert list(route_problems(with_routing(program, replace(routing, groups=tuple(wrong)))))


def test_the_checker_finds_a_bundle_that_hears_nothing_or_too_late(program: Program) -> None:
    routing = program.routing
    number = next(i for i, pairs in enumerate(routing.listening) if pairs)
    (bundle, delay), *others = routing.listening[number]
    for pairs in (others, [(bundle, delay + 1), *others]):
        wrong = list(routing.listening)
        wrong[number] = tuple(pairs)
        found = list(route_problems(with_routing(program, replace(routing, listening=tuple(wrong)))))
        assert any("are not those of the bundles" in line for line in found)


def test_delays_beyond_16_bits_are_refused() -> None:
    network = spike_network(sizes=(4, 3))
    first, last = network.populations
    (dense,) = network.projections
    slow = replace(dense, sources=(replace(dense.sources[0], delay=70_000),))
    late = replace(network, populations=(first, replace(last, depth=70_000)), projections=(slow,))
    with pytest.raises(ProgramError, match="a delay of 70000 ticks"):
        validate_program(naive_program(late))
