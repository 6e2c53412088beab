"""Pairing clusters that talk, for multilevel placement."""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray

from compiler.mapping.kernels.anneal import Links


@njit(cache=True)
def pair(links: Links, movable: NDArray[np.int64]) -> NDArray[np.int32]:
    """Partner of every cluster, int32 (n_clusters,): its heaviest neighbour that is still single; -1 where not movable.

    Those left over pair with the next one left over in layer order; the last of an odd number is its own partner.
    Heavy-edge matching: Karypis and Kumar, SIAM J. Sci. Comput. 20(1), 1998.
    """
    partner = np.full(links.start.shape[0] - 1, -1, np.int32)
    single = np.zeros(partner.shape[0], np.bool_)
    single[movable] = True
    for cluster in movable:
        if not single[cluster]:
            continue
        best, heaviest = np.int64(-1), np.int32(0)
        for k in range(links.start[cluster], links.start[cluster + 1]):
            if links.weight[k] > heaviest and single[links.target[k]]:
                best, heaviest = np.int64(links.target[k]), links.weight[k]
        if best >= 0:
            partner[cluster], partner[best] = best, cluster
            single[cluster] = single[best] = False
    waiting = np.int64(-1)
    for cluster in movable:
        if single[cluster]:
            partner[cluster] = cluster
            if waiting >= 0:
                partner[cluster], partner[waiting] = waiting, cluster
                waiting = np.int64(-1)
            else:
                waiting = np.int64(cluster)
    return partner
