"""Rows of neighbours from edges, in linear time: count, fill, then merge equal neighbours in place.

A row holds the other ends of a cluster's edges, in the order of the edges, loops left out.
"""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray

from compiler.mapping.kernels.anneal import Links

Ints = NDArray[np.int64]
Int32 = NDArray[np.int32]
Neighbours = NDArray[np.uint32]
Numbers = NDArray[np.integer] | NDArray[np.floating]


@njit(cache=True)
def tally(
    source: Int32, target: Int32, weight: Numbers, free: NDArray[np.bool_], degree: Ints, total: NDArray[np.float64]
) -> None:
    """Add to each cluster's ``degree`` its edges that have weight and a ``free`` end, to ``total`` their weights."""
    for k in range(len(source)):
        if source[k] != target[k] and weight[k] > 0 and (free[source[k]] or free[target[k]]):
            for end in (source[k], target[k]):
                degree[end] += 1
                total[end] += weight[k]


@njit(cache=True)
def fill(
    source: Int32, target: Int32, weight: Numbers, free: NDArray[np.bool_], at: Ints, neighbour: Neighbours,
    amount: Numbers,
) -> None:  # fmt: skip
    """Write the edges that ``tally`` counts into the rows of both ends; ``at``: where each row goes on."""
    for k in range(len(source)):
        if source[k] != target[k] and weight[k] > 0 and (free[source[k]] or free[target[k]]):
            for end, other in ((source[k], target[k]), (target[k], source[k])):
                neighbour[at[end]], amount[at[end]] = other, weight[k]
                at[end] += 1


@njit(cache=True)
def tally_groups(links: Links, group: Int32, degree: Ints, total: NDArray[np.float64]) -> None:
    """``tally`` of the edges of ``links`` between groups of clusters."""
    for cluster in range(len(group)):
        for k in range(links.start[cluster], links.start[cluster + 1]):
            other = np.int64(links.target[k])
            if cluster < other and group[cluster] != group[other]:
                for end in (group[cluster], group[other]):
                    degree[end] += 1
                    total[end] += links.weight[k]


@njit(cache=True)
def fill_groups(
    links: Links, group: Int32, begin: int, end: int, at: Ints, neighbour: Neighbours, amount: Numbers
) -> None:
    """``fill`` for the rows of groups begin .. end; ``at[0]`` is of group ``begin``."""
    for cluster in range(len(group)):
        near = group[cluster]
        for k in range(links.start[cluster], links.start[cluster + 1]):
            other = np.int64(links.target[k])
            if cluster < other and near != group[other]:
                far = group[other]
                if begin <= near < end:
                    neighbour[at[near - begin]], amount[at[near - begin]] = far, links.weight[k]
                    at[near - begin] += 1
                if begin <= far < end:
                    neighbour[at[far - begin]], amount[at[far - begin]] = near, links.weight[k]
                    at[far - begin] += 1


@njit(cache=True)
def merge(first: Ints, neighbour: Neighbours, amount: Numbers, start: Ints, begin: int, used: int) -> int:
    """Add up what goes to equal neighbours, row by row, and close the gaps; in place.

    Rows begin .. begin + len(first) - 1 lie at ``first`` and move down to ``used``; writes their ``start`` and where
    the last one ends, which it returns. Neighbours stand in the order in which they first occur.
    """
    place = np.full(len(start), -1, np.int64)
    for row in range(len(first) - 1):
        start[begin + row] = used
        from_here = used
        for i in range(first[row], first[row + 1]):
            other = neighbour[i]
            if place[other] < from_here:
                place[other] = used
                neighbour[used], amount[used] = other, amount[i]
                used += 1
            else:
                amount[place[other]] += amount[i]
    start[begin + len(first) - 1] = used
    return used
