"""Parts of the search for places, each on a case small enough to know the answer."""

from __future__ import annotations

import numpy as np
import pytest

from compiler.mapping.homes import settled
from compiler.mapping.kernels.coarsen import pair
from compiler.mapping.pack import lower_bound
from compiler.mapping.partition import leaving, partition
from compiler.mapping.place import place
from compiler.mapping.refine import descended
from compiler.mapping.seating import pose
from compiler.mapping.tile import RESOURCES, Tiling
from compiler.mapping.traffic import Slots, Traffic
from neurochip.chip.load import load_chip
from neurochip.network.network import Neuron, Population


def mesh(columns: int, rows: int = 1) -> Slots:
    """One chip, a core at each router; so seats have the numbers of slots."""
    y, x = np.divmod(np.arange(columns * rows), columns)
    return Slots(x, y, columns, rows, 0.0)


def traffic(n: int, *edges: tuple[int, int, int]) -> Traffic:
    source, target, weight = np.array(edges).T
    return Traffic(n, source, target, weight)


def test_a_descent_moves_a_far_cluster_to_where_its_links_pull_it_at_once() -> None:
    problem = pose(traffic(2, (0, 1, 5)), mesh(20), {1: (2, 0)})
    (seat,) = descended(problem, np.array([19]), sweeps=1)
    assert abs(int(seat) - 2) <= 1


def test_a_descent_leaves_next_to_nothing_that_swaps_near_a_cluster_could_gain() -> None:
    # after a swap all that are linked to those who moved are looked at again
    cost, gain = 0, 0
    for seed in range(12):
        rng = np.random.default_rng(seed)
        ends = rng.integers(0, 60, (2, 150))
        problem = pose(Traffic(60, ends[0], ends[1], rng.integers(1, 9, 150)), mesh(8, 8), {})
        found = descended(problem, rng.permutation(64)[:60], sweeps=100)
        cost += problem.cost(found)
        gain += problem.cost(found) - problem.cost(descended(problem, found, sweeps=1))
    assert 0 <= gain < cost / 1000


def test_a_search_never_gives_up_a_start_that_is_better() -> None:
    # a chain along Hilbert's curve costs one hop an edge, which nothing betters; hurried anneals lose it
    chain = traffic(64, *((k, k + 1, 7) for k in range(63)))
    found = place(chain, mesh(8, 8), effort=3000.0)
    assert max(price for _, price in found.trail) > 63 * 7
    assert found.cost == 63 * 7


def test_the_lower_bound_counts_neurons_not_the_room_that_tiles_of_one_shape_leave() -> None:
    chip = load_chip("loihi")
    demand = {**dict.fromkeys(RESOURCES, 0), "neurons": 600}
    population = Population(name="p", height=1, width=1, channels=1024, neuron=Neuron(kind="lif"), origin="p")
    tiling = Tiling(population=population, shape=(1, 1, 600), demand=demand)
    assert tiling.n_tiles * demand["neurons"] > chip.limits.neurons == population.size
    assert lower_bound([tiling], chip) == 1


def test_clusters_that_belong_together_pair_before_a_hub_takes_one_of_them() -> None:
    # 0 talks to all, more than any two of the others to each other
    edges = [(0, 1, 3), (0, 2, 3), (0, 3, 3), (0, 4, 3), (1, 2, 2), (3, 4, 2)]
    problem = pose(traffic(5, *edges), mesh(5), {})
    assert pair(problem.links, problem.movable).tolist() == [0, 2, 1, 4, 3]


def test_a_processor_goes_to_those_its_clusters_serve_not_to_the_clusters_that_follow_it() -> None:
    # 2 sits beside processor 0 and talks to it most, but would follow it; what it works for, 3, is far to the right
    fixed = {0: (0, 0), 1: (11, 0)}
    problem = pose(traffic(4, (2, 0, 100), (2, 3, 10)), mesh(12), fixed)
    homes = settled(problem, np.array([1, 10]), fixed, [np.array([[0], [1]])])
    assert homes == {0: (11, 0), 1: (0, 0)}


def test_a_partition_may_fill_one_part_more_than_another_if_that_cuts_less() -> None:
    pytest.importorskip("mtkahypar")
    cliques = [range(6), range(6, 8)]
    edges = [(a, b, 5) for clique in cliques for a in clique for b in clique if a < b]
    cut = traffic(8, *edges, (0, 7, 1))
    part = partition(cut, 2, 6)
    assert leaving(cut, part) == 1
    assert sorted(np.bincount(part).tolist()) == [2, 6]
