"""Pairing clusters that talk, for multilevel placement."""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray

from compiler.mapping.kernels.anneal import Links


@njit(cache=True)
def pair(links: Links, movable: NDArray[np.int64]) -> NDArray[np.int32]:
    """Partner of every cluster, int32 (n_clusters,); -1 where not movable.

    Links pair their ends in falling order of weight over the product of what the two ends send and receive in all, so
    that hubs do not swallow what belongs together. Clusters left over pair with the next one left over in layer order;
    the last of an odd number is its own partner. Heavy-edge matching: Karypis and Kumar, SIAM J. Sci. Comput. 20(1),
    1998.
    """
    n = links.start.shape[0] - 1
    free = np.zeros(n, np.bool_)
    free[movable] = True
    total, most = np.zeros(n, np.float64), 0
    for cluster in range(n):
        for k in range(links.start[cluster], links.start[cluster + 1]):
            total[cluster] += links.weight[k]
            most += free[cluster] and free[links.target[k]] and cluster < links.target[k]
    near, far, rating = np.empty(most, np.int32), np.empty(most, np.int32), np.empty(most, np.float64)
    found = 0
    for cluster in movable:
        for k in range(links.start[cluster], links.start[cluster + 1]):
            other = np.int64(links.target[k])
            if free[other] and cluster < other:
                near[found], far[found] = cluster, other
                rating[found] = -links.weight[k] / (total[cluster] * total[other])
                found += 1
    partner = np.full(n, -1, np.int32)
    for k in np.argsort(rating, kind="mergesort"):
        if partner[near[k]] < 0 and partner[far[k]] < 0:
            partner[near[k]], partner[far[k]] = far[k], near[k]
    waiting = np.int64(-1)
    for cluster in movable:
        if partner[cluster] < 0:
            partner[cluster] = cluster
            if waiting >= 0:
                partner[cluster], partner[waiting] = waiting, cluster
                waiting = np.int64(-1)
            else:
                waiting = np.int64(cluster)
    return partner
