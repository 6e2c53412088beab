"""Crossbars: which crosspoints make up a weight, given the values of the lines that its source takes."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from neurochip.network.projections import Conv, Dense, Einsum, Gather, Pool, Projection

Ints = NDArray[np.int64]


def crosspoints(weight: Ints, rows: NDArray[np.integer]) -> NDArray[np.bool_]:
    """Which lines each weight uses: (lines, *weight.shape); ``rows`` (lines, C_out) holds the lines' values.

    A weight that one line has takes that line alone; a negative one takes the negative lines that fit, largest first,
    and if that is not enough the most negative line; what is left takes the largest positive lines that fit. Raises
    ``ValueError`` for a weight that this does not reach.
    """
    used = np.zeros((len(rows), *weight.shape), bool)
    rest = weight.astype(np.int64)
    for line, row in enumerate(rows):
        alone = (rest == row) & (rest != 0)
        used[line] |= alone
        rest = np.where(alone, 0, rest)
    for line in np.argsort(rows.min(axis=1), kind="stable"):
        take = (rest < 0) & (rows[line] < 0) & (rows[line] >= rest)
        used[line] |= take
        rest = np.where(take, rest - rows[line], rest)
    lowest = rows.argmin(axis=0)
    below = rest < 0
    for line, row in enumerate(rows):
        take = below & (lowest == line) & ~used[line]
        used[line] |= take
        rest = np.where(take, rest - row, rest)
    for line in np.argsort(-np.abs(rows).max(axis=1), kind="stable"):
        take = (rows[line] > 0) & (rest >= rows[line])
        used[line] |= take
        rest = np.where(take, rest - rows[line], rest)
    if rest.any():
        raise ValueError(f"weights {np.unique(weight[rest != 0])[:5].tolist()} are no sums of the base's values")
    return used


def raw_weight(projection: Projection, channels: int) -> Ints:
    """What a spike adds to each of the target's ``channels``, raw units, (..., C_out) int64."""
    if isinstance(projection, Dense | Conv | Gather):
        return projection.weight.astype(np.int64) << projection.shift
    if isinstance(projection, Pool | Einsum):
        return np.full((1, channels), projection.weight << projection.shift, np.int64)
    raise TypeError(f"projection {projection.name!r} of kind {projection.kind!r} has no weights for axon types")
