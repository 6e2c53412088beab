"""Curves through the mesh, the published graphs and their known costs, and placement's edge cases."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.placement import GRAPHS, Layered, board, mesh, traffic_of
from compiler.mapping.curves import band_counts, bands, chip_by_chip, hilbert
from compiler.mapping.place import METHODS, Slots, Traffic, compare, cost, place
from neurochip.errors import InputError

SIZES = [(1, 1), (2, 2), (8, 8), (5, 3), (1, 7), (12, 4), (6, 9)]


@pytest.mark.parametrize(("columns", "rows"), SIZES)
def test_curves_visit_every_router_once(columns: int, rows: int) -> None:
    for curve in [hilbert(columns, rows), *(bands(columns, rows, n) for n in band_counts(columns))]:
        assert sorted(curve.tolist()) == list(range(columns * rows))


@pytest.mark.parametrize(("left", "top"), [(0, 0), (8, 4), (3, 2)])
def test_curve_chip_by_chip_finishes_a_chip_before_the_next(left: int, top: int) -> None:
    cells = chip_by_chip(20, 9, 8, 4, left, top)
    assert sorted(cells.tolist()) == list(range(180))
    y, x = np.divmod(cells, 20)
    chip = (y + top) // 4 * 100 + (x + left) // 8
    assert np.count_nonzero(np.diff(chip)) == len(np.unique(chip)) - 1


def test_hilbert_curve_steps_to_a_neighbour_on_power_of_two_squares() -> None:
    for side in (2, 4, 16):
        y, x = np.divmod(hilbert(side, side), side)
        assert (np.abs(np.diff(x)) + np.abs(np.diff(y)) == 1).all()


def test_hilbert_curve_takes_short_steps_on_other_grids() -> None:
    for columns, rows in ((20, 20), (24, 12), (48, 48), (100, 60)):
        y, x = np.divmod(hilbert(columns, rows), columns)
        steps = np.abs(np.diff(x)) + np.abs(np.diff(y))
        assert steps.max() <= 4
        assert steps.mean() < 1.3


# Source: authors' code run on unit weights, see benchmarks/placement.py: edges, row-major, Hilbert.
KNOWN = {
    "conv32": (3_660, 9_000, 31_184),
    "conv64": (15_500, 38_440, 158_856),
    "dense32": (30_720, 358_080, 226_688),
    "dense64": (253_952, 5_670_272, 2_698_240),
}


@pytest.mark.parametrize("name", KNOWN)
def test_layered_graphs_have_the_published_edges_and_costs(name: str) -> None:
    graph = next(g for g in GRAPHS if g.name == name)
    traffic, slots = traffic_of(graph), mesh(graph.side)
    costs = compare(traffic, slots, 1)
    assert (len(traffic.source), costs["row-major"], costs["hilbert"]) == KNOWN[name]
    assert costs["random"] == pytest.approx(len(traffic.source) * 2 * graph.side / 3, rel=0.02)


def test_bands_of_three_layer_heights_suit_dense_layers() -> None:
    traffic, slots = traffic_of(Layered(name="", side=16, width=16, kernel=0)), mesh(16)
    found = place(traffic, slots, "force-directed")
    assert found.cost < 0.95 * compare(traffic, slots)["hilbert"]


def test_trail_starts_with_the_curves_and_ends_with_the_cost() -> None:
    found = place(traffic_of(Layered(name="", side=8, width=8, kernel=3)), mesh(8), effort=1e4)
    names = [name for name, _ in found.trail]
    assert names[:4] == ["row-major start", "hilbert start", "upright bands", "level bands"]
    assert names[-1] == "anneal"
    assert found.trail[-1][1] == found.cost
    assert found.cost <= min(price for _, price in found.trail)


def test_more_effort_is_spent_and_seeds_differ() -> None:
    traffic, slots = traffic_of(Layered(name="", side=12, width=12, kernel=0)), mesh(12)
    quick, long, other = (place(traffic, slots, "anneal", s, effort=e) for s, e in ((0, 1e4), (0, 4e6), (1, 1e4)))
    assert long.cost < quick.cost
    assert len(long.trail) > len(quick.trail)
    assert not np.array_equal(quick.slot, other.slot)


def test_dear_borders_keep_two_groups_on_two_chips() -> None:
    side = np.arange(8) // 4
    i, j = np.nonzero(np.equal.outer(side, side))
    shuffled = np.random.default_rng(0).permutation(8)
    traffic = Traffic(8, shuffled[i], shuffled[j], np.ones(len(i)))
    slots = Slots(np.arange(8) % 4, np.arange(8) // 4, 2, 2, 100.0)
    assert place(traffic, slots).cost < 100


def test_board_has_four_cores_a_router_chip_by_chip() -> None:
    slots = board(4, 2, 1.0)
    assert len(slots) == 64
    assert set(zip(slots.x[:16].tolist(), slots.y[:16].tolist(), strict=True)) == {(0, 0), (1, 0), (0, 1), (1, 1)}


@pytest.mark.parametrize("method", METHODS)
def test_nothing_to_place_is_no_error(method: str) -> None:
    nobody = np.zeros(0, np.int32)
    assert place(Traffic(0, nobody, nobody, nobody), mesh(2), method).slot.shape == (0,)
    alone = place(
        Traffic(2, np.array([0]), np.array([1]), np.array([5])), mesh(3), method, fixed={0: (2, 2), 1: (0, 1)}
    )
    assert (alone.slot.tolist(), alone.cost) == ([-1, -1], 15.0)
    loops = Traffic(3, np.arange(3), np.arange(3), np.ones(3))
    assert place(loops, mesh(2), method).cost == 0.0


def test_huge_and_tiny_weights_keep_their_ratio() -> None:
    weight = np.array([1e-12, 1e12, 2e12])
    traffic = Traffic(4, np.array([0, 1, 2]), np.array([1, 2, 3]), weight)
    found = place(traffic, Slots(np.arange(4), np.zeros(4, np.int64), 4, 1, 0.5))
    assert found.cost == pytest.approx(3e12)


def test_wrong_arguments_are_refused() -> None:
    one, two = np.zeros(1, np.int64), np.zeros(2, np.int64)
    with pytest.raises(InputError, match="source, target and weight must be vectors of one length"):
        Traffic(3, one, two, one)
    with pytest.raises(InputError, match=r"target must be clusters 0..2, found 3..3"):
        Traffic(3, one, one + 3, one)
    with pytest.raises(InputError, match="crossing_cost must be finite and not negative, not -1"):
        Slots(one, one, 1, 1, -1.0)
    with pytest.raises(InputError, match="a chip has at least one router, not 0 x 1"):
        Slots(one, one, 0, 1, 0.0)
    with pytest.raises(InputError, match="a ring along y must be whole chips of 2 routers that hold y = 0, not 3"):
        Slots(one, one, 1, 2, 0.0, 0, 3)
    traffic = Traffic(1, one, one, one)
    with pytest.raises(InputError, match=r"fixed must name clusters 0..0 at x, y >= 0, found cluster 4"):
        place(traffic, mesh(2), fixed={4: (0, 0)})
    with pytest.raises(InputError, match="unknown effort 'much'; choose one of auto, quick, medium, high or a number"):
        place(traffic, mesh(2), effort="much")
    with pytest.raises(InputError, match="effort must not be negative, found -1"):
        place(traffic, mesh(2), effort=-1.0)


def test_cost_counts_each_border_once() -> None:
    slots = Slots(np.array([0, 5]), np.array([0, 3]), 2, 2, 10.0)
    traffic = Traffic(2, np.array([0]), np.array([1]), np.array([2]))
    assert cost(traffic, slots, [0, 1]) == 2 * (5 + 3 + 10 * (2 + 1))
