"""The ceiling: bare addition of weight rows on one core, without packets, neurons or counters.

For each position the int8 rows of its active inputs are added to an int32 row, four rows a pass. The simulator's speed
is given as a share of this kernel's, measured in the same run on the same machine.
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

MOST_POSITIONS = 1024
"""Positions beyond these repeat the same work; the rate needs only so many."""
MEASURE_SECONDS = 0.05


class RowAdds(NamedTuple):
    """Work of one layer in one step: active inputs a position, of n_in, each adding a row of n_out weights."""

    positions: int
    active: float
    n_in: int
    n_out: int


class Work(NamedTuple):
    """One layer in a run: the shape of its row additions, and how many accumulates it did in all."""

    shape: RowAdds
    operations: int


@njit(cache=True)
def add_rows(
    start: NDArray[np.int64], active: NDArray[np.int32], weight: NDArray[np.int8], out: NDArray[np.int32]
) -> None:
    """``out[p] += weight[i]`` for every active input i of position p; ``start`` (positions + 1,) splits ``active``."""
    n_out = out.shape[1]
    for p in range(len(out)):
        row, j, end = out[p], start[p], start[p + 1]
        while j + 4 <= end:
            a, b, c, d = weight[active[j]], weight[active[j + 1]], weight[active[j + 2]], weight[active[j + 3]]
            for k in range(n_out):
                row[k] += (np.int32(a[k]) + np.int32(b[k])) + (np.int32(c[k]) + np.int32(d[k]))
            j += 4
        while j < end:
            a = weight[active[j]]
            for k in range(n_out):
                row[k] += a[k]
            j += 1


def rate(shape: RowAdds, seed: int = 0) -> float:
    """Accumulates per second of ``add_rows`` on one core for this shape; the best of many calls."""
    rng = np.random.default_rng(seed)
    positions = min(shape.positions, MOST_POSITIONS)
    count = rng.poisson(shape.active, positions)
    start = np.concatenate([[0], np.cumsum(count)]).astype(np.int64)
    inputs = [np.sort(rng.integers(0, shape.n_in, n)) for n in count]
    active = np.concatenate([*inputs, np.zeros(0)]).astype(np.int32)
    weight = rng.integers(-127, 128, (shape.n_in, shape.n_out)).astype(np.int8)
    out = np.zeros((positions, shape.n_out), np.int32)
    add_rows(start, active, weight, out)
    best, begun = np.inf, time.perf_counter()
    while time.perf_counter() - begun < MEASURE_SECONDS:
        once = time.perf_counter()
        add_rows(start, active, weight, out)
        best = min(best, time.perf_counter() - once)
    return float(len(active)) * shape.n_out / best


def ceiling(layers: Iterable[Work]) -> float:
    """Accumulates per second of the bare kernel on one core, doing each layer's share of them in its own shape."""
    layers = [layer for layer in layers if layer.operations]
    rates = {shape: rate(shape) for shape in {layer.shape for layer in layers}}
    seconds = sum(layer.operations / max(rates[layer.shape], 1.0) for layer in layers)
    return sum(layer.operations for layer in layers) / seconds if seconds else 0.0
