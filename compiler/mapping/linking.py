"""Links in kernel form from traffic, or from finer links; no list of edges exists beside them."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from compiler.mapping.kernels.anneal import Links
from compiler.mapping.kernels.links import fill, fill_groups, merge, tally, tally_groups
from compiler.mapping.traffic import Flows, Ints

_WEIGHT_LIMIT, _COST_LIMIT = 2.0**31 - 1, 2.0**61
_PART = 1 << 20  # weights looked at at a time
_AT_ONCE = 1 << 24  # ends of finer edges merged at a time: 128 MB

Amounts = NDArray[np.int32 | np.float64]


def linked(traffic: Flows, movable: Ints, diameter: float) -> tuple[Links, float]:
    """Both directions of every edge that a move can change; and kernel weight per unit of weight.

    The scale is 1 if all weights are whole and no sum can overflow with edges up to ``diameter`` long.
    """
    n, whole = traffic.n_clusters, True
    free = np.zeros(n, bool)
    free[movable] = True
    degree, total = np.zeros(n, np.int64), np.zeros(n)
    for part in traffic.parts():
        tally(*part, free, degree, total)
        whole = whole and part.weight.dtype.kind in "iu"
    first = _ends(degree)
    neighbour, amount = np.empty(first[-1], np.uint32), np.empty(first[-1], _amounts(whole, total))
    at = first[:-1].copy()
    for part in traffic.parts():
        fill(*part, free, at, neighbour, amount)
    start = np.zeros(n + 1, np.int64)
    merge(first, neighbour, amount, start, 0, 0)
    return _scaled(start, neighbour, amount, diameter)


def merged(links: Links, group: Ints) -> Links:
    """Links between groups. Weights shrink if a sum would not fit int32; only ratios matter on the way to a start."""
    n_groups, group = int(group.max(initial=-1)) + 1, group.astype(np.int32)
    degree, total = np.zeros(n_groups, np.int64), np.zeros(n_groups)
    tally_groups(links, group, degree, total)
    neighbour, amount = np.empty(0, np.uint32), np.empty(0, _amounts(True, total))
    start, used = np.zeros(n_groups + 1, np.int64), 0
    for begin, end in _blocks(degree):
        first = used + _ends(degree[begin:end])
        for array in (neighbour, amount):
            array.resize(int(first[-1]), refcheck=False)
        fill_groups(links, group, begin, end, first[:-1].copy(), neighbour, amount)
        used = merge(first, neighbour, amount, start, begin, used)
    return _scaled(start, neighbour, amount, 1.0)[0]


def _blocks(degree: Ints) -> Iterator[tuple[int, int]]:
    """Ranges of rows of at most ``_AT_ONCE`` entries, or of one row."""
    begin, before = 0, _ends(degree)
    while begin < len(degree):
        end = max(begin + 1, int(np.searchsorted(before, before[begin] + _AT_ONCE, "right")) - 1)
        yield begin, end
        begin = end


def _ends(degree: Ints) -> Ints:
    """Where each row begins, and where the last one ends."""
    return np.concatenate([[0], np.cumsum(degree)]).astype(np.int64)


def _amounts(whole: bool, total: NDArray[np.float64]) -> type[np.int32 | np.float64]:
    """In what weights add up: int32 where they are ``whole`` and those of no cluster, ``total``, exceed it."""
    return np.int32 if whole and total.max(initial=0.0) <= _WEIGHT_LIMIT else np.float64


def _scaled(start: Ints, neighbour: NDArray[np.uint32], amount: Amounts, diameter: float) -> tuple[Links, float]:
    """Links of the first ``start[-1]`` entries, which lose the rest; and kernel weight per unit."""
    for array in (neighbour, amount):
        array.resize(int(start[-1]), refcheck=False)
    largest = float(amount.max(initial=1))
    parts = np.array_split(amount, 1 + len(amount) // _PART)
    whole = amount.dtype == np.int32 or all(bool((part == np.rint(part)).all()) for part in parts)
    scale = min(_WEIGHT_LIMIT / largest, _COST_LIMIT / max(float(amount.sum(dtype=np.float64)) * diameter, 1.0))
    scale = 1.0 if whole and scale >= 1.0 else scale
    if amount.dtype == np.int32 and scale == 1.0:
        return Links(start.astype(np.uint64), neighbour, amount.view(np.int32)), scale
    weight = amount.astype(np.float64, copy=False)
    weight *= scale  # in place: millions of edges
    return Links(start.astype(np.uint64), neighbour, np.rint(weight, out=weight).astype(np.int32)), scale
