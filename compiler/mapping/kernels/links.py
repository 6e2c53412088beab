"""Rows of neighbours from a list of edges, in linear time."""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray


@njit(cache=True)
def gather_rows(
    source: NDArray[np.int64], target: NDArray[np.int64], weight: NDArray[np.float64], n_clusters: int
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64]]:
    """(start, neighbour, weight) in CSR form of the edges source -> target: loops left out, equal edges summed.

    Neighbours stand in the order in which they first occur. Sums of whole weights below 2^53 are exact.
    """
    first = np.zeros(n_clusters + 1, np.int64)
    for k in range(len(source)):
        if source[k] != target[k]:
            first[source[k] + 1] += 1
    first = np.cumsum(first)
    edge, free = np.empty(first[n_clusters], np.int64), first[:-1].copy()
    for k in range(len(source)):
        if source[k] != target[k]:
            edge[free[source[k]]] = k
            free[source[k]] += 1
    start = np.zeros(n_clusters + 1, np.int64)
    neighbour, total = np.empty(len(edge), np.int64), np.empty(len(edge), np.float64)
    place, used = np.full(n_clusters, -1, np.int64), np.int64(0)
    for cluster in range(n_clusters):
        start[cluster] = used
        for i in range(first[cluster], first[cluster + 1]):
            other = target[edge[i]]
            if place[other] < start[cluster]:
                place[other] = used
                neighbour[used], total[used] = other, 0.0
                used += 1
            total[place[other]] += weight[edge[i]]
    start[n_clusters] = used
    return start, neighbour[:used].copy(), total[:used].copy()
