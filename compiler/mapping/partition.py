"""Clusters -> chips by a general partitioner, Mt-KaHyPar (extra ``partition``): a yardstick for chip crossings.

A packet goes to one core, so every edge of the traffic is a net of two pins, and the connectivity objective, the sum of
weight * (parts met - 1), is the traffic that leaves its part. It does not know how far apart the parts will lie, which
``place`` does. Source of the method: Gottesbueren et al., ACM Trans. Algorithms 20(1), 2024.
"""

from __future__ import annotations

import numpy as np

from compiler.mapping.traffic import Ints, Traffic
from neurochip.errors import CapacityError, MissingExtraError


def partition(traffic: Traffic, n_parts: int, capacity: int, seed: int = 0, threads: int = 1) -> Ints:
    """The part of each cluster, int64 (n_clusters,): at most ``capacity`` clusters in each of ``n_parts``.

    Weights are rounded to integers. One thread and one seed give one result.

    Raises:
        MissingExtraError: Mt-KaHyPar is not installed.
        CapacityError: more clusters than all parts hold together.
    """
    n = traffic.n_clusters
    if n > n_parts * capacity:
        raise CapacityError(f"partition: {n} clusters do not fit {n_parts} parts of {capacity}")
    try:
        import mtkahypar
    except ImportError:
        raise MissingExtraError("partitioning", "partition") from None
    if n_parts < 2 or n == 0:
        return np.zeros(n, np.int64)
    ends, weight = undirected(traffic)
    library = mtkahypar.initialize(threads)
    context = library.context_from_preset(mtkahypar.PresetType.DETERMINISTIC)
    context.set_partitioning_parameters(n_parts, 0.0, mtkahypar.Objective.KM1)
    context.set_individual_target_block_weights([capacity] * n_parts)
    context.logging = False
    mtkahypar.set_seed(seed)
    graph = library.create_graph(context, n, len(ends), [(a, b) for a, b in ends.tolist()], [1] * n, weight.tolist())
    return np.array(graph.partition(context).get_partition(), np.int64)


def undirected(traffic: Traffic) -> tuple[Ints, Ints]:
    """Edges (n_edges, 2), the smaller cluster first, each pair once, and their whole weights; loops left out."""
    source, target = traffic.source.astype(np.int64), traffic.target.astype(np.int64)
    key = np.minimum(source, target) * traffic.n_clusters + np.maximum(source, target)
    pairs, which = np.unique(key[source != target], return_inverse=True)
    weight = np.bincount(which, weights=traffic.weight[source != target], minlength=len(pairs))
    return np.stack(np.divmod(pairs, max(traffic.n_clusters, 1)), axis=1), np.rint(weight).astype(np.int64)


def leaving(traffic: Traffic, part: Ints) -> float:
    """Traffic between clusters of different parts."""
    return float(traffic.weight[part[traffic.source] != part[traffic.target]].sum())
