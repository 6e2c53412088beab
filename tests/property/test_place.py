"""Placement: every method seats every cluster once, says the true cost, and the search pays."""

from __future__ import annotations

from itertools import permutations
from unittest.mock import patch

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from compiler.mapping.coarsen import coarsen
from compiler.mapping.kernels import anneal as kernels
from compiler.mapping.linking import linked, merged
from compiler.mapping.place import METHODS, Slots, Traffic, compare, cost, place
from compiler.mapping.seating import Problem, pose
from neurochip.errors import CapacityError, InputError
from neurochip.noc.mesh import Mesh


def mesh(
    columns: int, rows: int, per_router: int = 1, chip: tuple[int, int] = (99, 99), crossing: float = 0.0
) -> Slots:
    number = np.arange(columns * rows * per_router) // per_router
    return Slots(number % columns, number // columns, chip[0], chip[1], crossing)


def random_traffic(seed: int, clusters: int) -> Traffic:
    rng = np.random.default_rng(seed)
    edges = int(rng.integers(1, 4 * clusters))
    ends = rng.integers(0, clusters, (2, edges))
    return Traffic(clusters, ends[0], ends[1], rng.integers(0, 50, edges))


def layers(width: int, kernel: int) -> Traffic:
    """``width`` layers of ``width`` clusters, each read by its ``kernel`` neighbours of the next layer."""
    i, j, k = (a.ravel() for a in np.indices((width - 1, width, kernel)))
    to = j + k - 1
    keep = (to >= 0) & (to < width)
    source, target = (i * width + j)[keep], ((i + 1) * width + to)[keep]
    return Traffic(width * width, source, target, np.ones(len(source), np.int64))


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10_000), st.sampled_from(METHODS))
def test_every_cluster_gets_a_slot_of_its_own_at_the_cost_stated(seed: int, method: str) -> None:
    traffic, slots = random_traffic(seed, 20), mesh(4, 3, per_router=2, chip=(2, 3), crossing=5.0)
    fixed = {3: (0, 0), 7: (3, 2)}
    found = place(traffic, slots, method, seed, fixed=fixed)
    seated = np.delete(found.slot, [3, 7])
    assert len(set(seated.tolist())) == 18
    assert seated.min() >= 0
    assert seated.max() < len(slots)
    assert found.slot[3] == found.slot[7] == -1
    assert found.cost == cost(traffic, slots, found.slot, fixed)


def sums_of(links: kernels.Links) -> dict[tuple[int, int], float]:
    """(cluster, neighbour) -> weight; each once."""
    owner = np.repeat(np.arange(len(links.start) - 1), np.diff(links.start).astype(int)).tolist()
    pairs = list(zip(owner, links.target.tolist(), strict=True))
    assert len(set(pairs)) == len(pairs)
    return dict(zip(pairs, links.weight.tolist(), strict=True))


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 10_000), st.booleans())
def test_links_hold_every_edge_at_both_ends_with_the_sum_of_its_weights(seed: int, whole: bool) -> None:
    traffic = random_traffic(seed, 9)
    if not whole:
        traffic = Traffic(9, traffic.source, traffic.target, traffic.weight / 4)
    links, scale = linked(traffic, np.arange(1, 9), 5.0)
    sums: dict[tuple[int, int], float] = {}
    for i, j, w in zip(traffic.source.tolist(), traffic.target.tolist(), traffic.weight.tolist(), strict=True):
        for pair in ((i, j), (j, i)) if i != j and w else ():
            sums[pair] = sums.get(pair, 0.0) + w
    found = sums_of(links)
    assert found.keys() == sums.keys()
    assert scale == 1 or not whole
    assert all(abs(found[pair] - scale * sums[pair]) <= 0.5 for pair in sums)


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 10_000), st.integers(1, 40))
def test_links_between_groups_do_not_depend_on_how_many_rows_are_merged_at_a_time(seed: int, at_once: int) -> None:
    links, _ = linked(random_traffic(seed, 12), np.arange(12), 5.0)
    group = np.random.default_rng(seed).permutation(np.arange(12) // 3)
    with patch("compiler.mapping.linking._AT_ONCE", at_once):
        few = merged(links, group)
    whole = merged(links, group)
    assert all(np.array_equal(one, other) for one, other in zip(few, whole, strict=True))
    sums: dict[tuple[int, int], float] = {}
    for (i, j), w in sums_of(links).items():
        if group[i] != group[j]:
            pair = (int(group[i]), int(group[j]))
            sums[pair] = sums.get(pair, 0) + w
    assert sums_of(whole) == sums


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 10_000))
def test_heavy_sums_of_links_shrink_alike(seed: int) -> None:
    traffic = random_traffic(seed, 9)
    heavy = Traffic(9, traffic.source, traffic.target, traffic.weight * (1 << 40))
    links, scale = linked(heavy, np.arange(9), 1.0)
    plain, _ = linked(traffic, np.arange(9), 1.0)
    assert (links.weight == np.rint(plain.weight * 2.0**40 * scale)).all()
    assert scale < 1 or not len(links.weight)


@settings(max_examples=10, deadline=None)
@given(st.integers(0, 10_000))
def test_search_is_never_worse_than_the_placements_without_one(seed: int) -> None:
    traffic, slots = random_traffic(seed, 24), mesh(6, 4, chip=(3, 4), crossing=3.0)
    plain = compare(traffic, slots, seed)
    assert place(traffic, slots, "anneal", seed).cost <= min(plain.values())


@settings(max_examples=6, deadline=None)
@given(st.integers(0, 1_000))
def test_annealing_finds_the_best_of_all_placements_of_six_clusters(seed: int) -> None:
    traffic, slots = random_traffic(seed, 6), mesh(3, 2)
    best = min(cost(traffic, slots, np.array(order)) for order in permutations(range(6)))
    assert place(traffic, slots, "anneal", seed).cost <= 1.05 * best


def slots_of(problem: Problem, state: kernels.State) -> np.ndarray:
    """The caller's slot of every cluster in ``state``."""
    slot = np.full(len(state.seat), -1)
    slot[problem.movable] = problem.slot[state.seat[problem.movable]]
    return slot


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10_000), st.sampled_from([0.0, 3.0, 2.625]), st.booleans())
def test_price_of_every_swap_is_the_difference_of_the_costs(seed: int, crossing: float, whole: bool) -> None:
    rng = np.random.default_rng(seed)
    traffic, slots, fixed = random_traffic(seed, 20), mesh(4, 3, 2, (2, 3), crossing), {3: (0, 0), 7: (5, 4)}
    if not whole:
        traffic = Traffic(20, traffic.source, traffic.target, traffic.weight * rng.random(len(traffic.weight)))
    problem = pose(traffic, slots, fixed)
    state = problem.state(rng.permutation(len(slots))[: len(problem.movable)])
    for cluster, seat in zip(rng.choice(problem.movable, 30), rng.integers(0, len(slots), 30), strict=True):
        if state.occupant[seat] == cluster:
            continue
        before = cost(traffic, slots, slots_of(problem, state), fixed)
        change = kernels.swap_cost(problem.links, problem.mesh, state, cluster, seat) * problem.unit
        kernels.swap(problem.mesh, state, cluster, seat)
        after = cost(traffic, slots, slots_of(problem, state), fixed)
        assert change == after - before if whole else change == pytest.approx(after - before, rel=1e-6, abs=1e-6)
        assert state.occupant[state.seat[problem.movable]].tolist() == problem.movable.tolist()


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10_000), st.integers(1, 40))
def test_annealing_and_descent_report_exactly_the_change_they_make(seed: int, moves: int) -> None:
    traffic, slots, fixed = random_traffic(seed, 20), mesh(4, 3, 2, (2, 3), 5.0), {3: (0, 0), 7: (3, 2)}
    problem = pose(traffic, slots, fixed)
    state = problem.state(np.arange(18))
    before = cost(traffic, slots, slots_of(problem, state), fixed)
    schedule = kernels.Schedule(np.array([200.0, 5.0]), np.array([3, 1]), moves, 7)
    change = kernels.anneal(problem.links, problem.mesh, state, schedule, np.uint64(seed + 1))
    between = cost(traffic, slots, slots_of(problem, state), fixed)
    assert change == between - before
    gain = kernels.descend(problem.links, problem.mesh, state, 5)
    assert gain == cost(traffic, slots, slots_of(problem, state), fixed) - between <= 0
    assert kernels.total_cost(problem.links, state.point) == problem.cost(state.seat[problem.movable])


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10_000), st.integers(2, 60), st.integers(0, 9), st.booleans())
def test_coarse_placements_refine_to_a_seat_of_its_own_for_every_cluster(
    seed: int, clusters: int, spare: int, in_order: bool
) -> None:
    slots = mesh(-(-(clusters + spare) // 3), 3)
    problem = pose(random_traffic(seed, clusters), slots, {0: (1, 1)})
    coarse = coarsen(problem, in_order)
    assert len(coarse.problem.curve) == -(-len(slots) // 4)
    assert coarse.size.max() <= 4
    assert sorted(coarse.member) == problem.movable.tolist()
    anywhere = np.random.default_rng(seed).permutation(len(coarse.problem.curve))[: len(coarse.size)]
    seats = coarse.refined(problem, anywhere)
    assert len(set(seats.tolist())) == len(problem.movable)
    assert seats.min() >= 0
    assert seats.max() < len(slots)


def test_same_seed_gives_the_same_placement() -> None:
    traffic, slots = layers(8, 3), mesh(8, 8)
    first, second = (place(traffic, slots, "anneal", 5) for _ in range(2))
    assert np.array_equal(first.slot, second.slot)


def test_layered_network_beats_hilbert_by_far() -> None:
    traffic, slots = layers(16, 3), mesh(16, 16)
    plain = compare(traffic, slots, 0)
    assert place(traffic, slots, "anneal", 0).cost < 0.6 * plain["hilbert"] < 0.6 * plain["random"]


def test_cost_by_hand_prices_hops_and_borders() -> None:
    slots = mesh(4, 1, chip=(2, 1), crossing=10.0)
    traffic = Traffic(3, np.array([0, 1]), np.array([1, 2]), np.array([2, 3]))
    assert cost(traffic, slots, [0, 1, 3]) == 2 * 1 + 3 * (2 + 10)


def test_too_many_clusters_and_unknown_methods_are_refused() -> None:
    traffic = random_traffic(0, 9)
    with pytest.raises(
        CapacityError, match="9 clusters need a core, the chips in use have 4: 5 too few; use more chips"
    ):
        place(traffic, mesh(2, 2))
    with pytest.raises(InputError, match="unknown method 'best'; choose one of row-major, random, hilbert"):
        place(traffic, mesh(3, 3), "best")
    with pytest.raises(InputError, match="every weight must be finite and not negative"):
        Traffic(2, np.array([0]), np.array([1]), np.array([-1]))


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 10_000), st.integers(2, 5))
def test_groups_that_trade_places_keep_to_their_places_and_the_cost_is_that_of_where_they_are(
    seed: int, groups: int
) -> None:
    left = np.random.default_rng(seed).integers(0, 2 * groups, groups)
    traffic, slots = random_traffic(seed, 12), mesh(2 * groups + 2, 3)
    trading = np.arange(2 * groups).reshape(groups, 2)
    fixed = {int(c): (int(left[c // 2]) + int(c) % 2, 1) for c in trading.ravel()}
    found = place(traffic, slots, fixed=fixed, trading=[trading], effort=3e4)
    places = [tuple(found.fixed[int(c)] for c in group) for group in trading]
    assert sorted(places) == sorted(tuple(fixed[int(c)] for c in group) for group in trading)
    assert found.cost == cost(traffic, slots, found.slot, found.fixed)


def test_a_processor_goes_to_the_chip_where_its_traffic_is() -> None:
    """Clusters 2.. talk to the host at the far right and to processor 0, which starts at the far left."""
    slots = mesh(30, 2)
    clusters = np.arange(3, 9)
    traffic = Traffic(9, np.repeat(clusters, 2), np.tile([0, 2], 6), np.tile([3, 100], 6))
    fixed = {0: (0, 0), 1: (28, 0), 2: (29, 1)}
    found = place(traffic, slots, fixed=fixed, trading=[np.array([[0], [1]])], effort=3e4)
    assert found.fixed[0] == (28, 0)
    assert found.fixed[1] == (0, 0)
    assert found.cost < place(traffic, slots, fixed=fixed, effort=3e4).cost


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10_000), st.booleans(), st.booleans(), st.sampled_from((0.0, 1.5, 24.0)))
def test_on_a_torus_cost_and_kernels_agree_with_the_routers_of_the_network(
    seed: int, wrap_x: bool, wrap_y: bool, crossing: float
) -> None:
    rng = np.random.default_rng(seed)
    columns, rows = (int(n) for n in rng.integers(1, 4, 2))
    across, down = (int(n) for n in rng.integers(3, 6, 2))
    torus = Mesh(columns=columns, rows=rows, chip_columns=across, chip_rows=down, wrap_x=wrap_x, wrap_y=wrap_y)
    router = rng.permutation(torus.n_routers)
    x, y = router % torus.width, router // torus.width
    slots = Slots(x, y, columns, rows, crossing, torus.width * wrap_x, torus.height * wrap_y)
    n = len(router) - 1
    traffic = random_traffic(seed, n)
    slot_of = rng.permutation(len(router))[:n]
    ends = router[slot_of[traffic.source]], router[slot_of[traffic.target]]
    expected = float((traffic.weight * (torus.hops(*ends) + crossing * torus.crossings(*ends))).sum())
    assert cost(traffic, slots, slot_of) == expected
    problem = pose(traffic, slots, {})
    seat_of = np.argsort(problem.slot)
    state = problem.state(seat_of[slot_of])
    assert problem.cost(seat_of[slot_of]) * problem.unit == expected
    schedule = kernels.Schedule(np.full(3, 50.0 * problem.hop), np.full(3, 2), 40, 10)
    change = kernels.anneal(problem.links, problem.mesh, state, schedule, np.uint64(seed + 1))
    change += kernels.descend(problem.links, problem.mesh, state, 3)
    after = cost(traffic, slots, slots_of(problem, state))
    assert after == pytest.approx(expected + change * problem.unit, rel=1e-12)
    assert place(traffic, slots, effort=2e4).cost <= compare(traffic, slots)["row-major"]


def test_two_ends_of_a_ring_are_neighbours() -> None:
    """A ring of clusters on a torus of one row costs one hop a link; on a line the last link goes all the way back."""
    number = np.arange(12)
    traffic = Traffic(12, number, (number + 1) % 12, np.ones(12, np.int64))
    line, ring = Slots(number, 0 * number, 1, 1, 0.0), Slots(number, 0 * number, 1, 1, 0.0, 12)
    assert cost(traffic, line, number) == 22
    assert cost(traffic, ring, number) == 12
    assert place(traffic, ring, effort=1e5).cost == 12
