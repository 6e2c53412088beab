"""Rows of neighbours from a list of edges, in linear time."""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray


@njit(cache=True)
def gather_rows(
    source: NDArray[np.int32], target: NDArray[np.int32], weight: NDArray[np.float64], n_clusters: int
) -> tuple[NDArray[np.int64], NDArray[np.uint32], NDArray[np.float64]]:
    """(start, neighbour, weight) in CSR form, each edge in the rows of both its ends; loops left out, equal summed.

    Neighbours stand in the order in which they first occur. Sums of whole weights below 2^53 are exact.
    """
    first = np.zeros(n_clusters + 1, np.int64)
    for k in range(len(source)):
        if source[k] != target[k]:
            first[source[k] + 1] += 1
            first[target[k] + 1] += 1
    first = np.cumsum(first)
    edge, free = np.empty(first[n_clusters], np.uint32), first[:-1].copy()
    for k in range(len(source)):
        if source[k] != target[k]:
            for end in (source[k], target[k]):
                edge[free[end]] = k
                free[end] += 1
    start = np.zeros(n_clusters + 1, np.int64)
    neighbour, total = np.empty(len(edge), np.uint32), np.empty(len(edge), np.float64)
    place, used = np.full(n_clusters, -1, np.int64), np.int64(0)
    for cluster in range(n_clusters):
        start[cluster] = used
        for i in range(first[cluster], first[cluster + 1]):
            k = edge[i]
            other = target[k] if source[k] == cluster else source[k]
            if place[other] < start[cluster]:
                place[other] = used
                neighbour[used], total[used] = other, 0.0
                used += 1
            total[place[other]] += weight[k]
    start[n_clusters] = used
    return start, neighbour[:used].copy(), total[:used].copy()
