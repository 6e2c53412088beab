"""Partitioning onto chips: the optional back end, what it is given, and its absence."""

from __future__ import annotations

import sys

import numpy as np
import pytest

from compiler.mapping.partition import leaving, partition, undirected
from compiler.mapping.traffic import Traffic
from neurochip.errors import CapacityError, MissingExtraError


def cliques(n: int, size: int) -> Traffic:
    """``n`` groups of ``size`` clusters that talk to each other a lot, and to the next group a little."""
    group = np.arange(n * size) // size
    i, j = np.nonzero(np.equal.outer(group, group))
    chain = np.arange((n - 1) * size)
    return Traffic(
        n * size, np.append(i, chain), np.append(j, chain + size), np.append(np.full(len(i), 10), np.ones(len(chain)))
    )


def test_a_missing_partitioner_is_an_error_that_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "mtkahypar", None)
    with pytest.raises(MissingExtraError, match="partition"):
        partition(cliques(2, 3), 2, 3)


def test_parts_that_are_too_small_are_refused() -> None:
    with pytest.raises(CapacityError, match="6 clusters do not fit 2 parts of 2"):
        partition(cliques(2, 3), 2, 2)


def test_edges_of_both_directions_are_summed_and_loops_left_out() -> None:
    traffic = Traffic(3, np.array([0, 1, 2, 2]), np.array([1, 0, 2, 0]), np.array([1, 2, 9, 4]))
    ends, weight = undirected(traffic)
    assert ends.tolist() == [[0, 1], [0, 2]]
    assert weight.tolist() == [3, 4]


def test_traffic_leaves_a_part_when_its_ends_differ() -> None:
    traffic = Traffic(3, np.array([0, 1, 2]), np.array([1, 2, 0]), np.array([1, 2, 4]))
    assert leaving(traffic, np.array([0, 0, 1])) == 6


def test_groups_that_talk_stay_together_in_parts_filled_to_the_last_place() -> None:
    pytest.importorskip("mtkahypar")
    traffic = cliques(4, 8)
    part = partition(traffic, 4, 8)
    assert np.bincount(part).tolist() == [8, 8, 8, 8]
    assert leaving(traffic, part) == 24
