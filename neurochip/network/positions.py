"""The integer reference at chosen positions: what a projection adds there, from spikes that are known already.

Written apart from ``neurochip.network.reference``, which computes whole populations: a tap at a time on gathered rows.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from neurochip.network.network import Network, Population
from neurochip.network.projections import (
    Bias,
    Conv,
    Dense,
    Einsum,
    Encoder,
    Gated,
    Gather,
    Matrix,
    MaxConv,
    Pool,
    Product,
    Projection,
)
from neurochip.network.reference import gated, matmul, matrix_beside, projected

Int = NDArray[np.int64]
Pair = tuple[int, int]
LOWEST = np.iinfo(np.int64).min


def current_at(
    network: Network,
    projection: Projection,
    target: Population,
    drawn: Int,
    spikes: Mapping[str, NDArray[np.integer]],
    step: int,
    frame: Int,
) -> Int:
    """What ``projection`` adds in ``step`` to the current of ``target`` at the positions ``drawn``: (n, C), raw units.

    Args:
        drawn: (n,) positions, y * width + x.
        spikes: population -> (T, P, C) counts that it emitted in every step.
        frame: (H, W, C) quantised input of the step.
    """
    ys, xs = np.divmod(drawn, target.width)
    if isinstance(projection, Bias):
        digits = [row.astype(np.int64) << s for row, s in zip(projection.weight, projection.shifts, strict=True)]
        return np.broadcast_to(np.sum(digits, axis=0), (len(drawn), target.channels))
    if isinstance(projection, Encoder):
        return _encoded(projection, frame, ys, xs) << projection.shift
    if isinstance(projection, Matrix):  # what its product reads
        return np.zeros((len(drawn), target.channels), np.int64)
    if isinstance(projection, Gated):
        matrix = matrix_beside(network, projection)
        names = (matrix.sources[0].population, projection.sources[0].population)
        sums = gated(projection, matrix, {name: _emitted(network, name, 0, spikes, step)[None] for name in names})
        return np.asarray(sums[0, ys, xs])
    grids = [_emitted(network, s.population, s.steps_back, spikes, step) for s in projection.sources]
    if isinstance(projection, Product | Einsum):  # over all positions whatever is asked for
        now = {s.population: grid[None] for s, grid in zip(projection.sources, grids, strict=True)}
        whole = projected(projection, target, now, frame[None])
        return np.asarray(np.broadcast_to(whole, (1, target.height, target.width, target.channels))[0, ys, xs])
    x: Int = np.sum(np.stack(grids), axis=0)
    return np.asarray(_weighted(projection, target, x, ys, xs) << projection.shift)


def _emitted(network: Network, name: str, back: int, spikes: Mapping[str, NDArray[np.integer]], step: int) -> Int:
    """(H, W, C) counts of population ``name`` in the step that is read; zeros before the first."""
    source = network.by_name[name]
    counts = spikes[name][step - back] if step >= back else np.zeros_like(spikes[name][0])
    grid: Int = counts.reshape(source.height, source.width, source.channels).astype(np.int64)
    return grid


def _weighted(projection: Projection, target: Population, x: Int, ys: Int, xs: Int) -> Int:
    if isinstance(projection, Dense):
        return matmul(x[ys, xs], projection.weight)
    if isinstance(projection, Conv):
        read = x if projection.channels is None else x[..., slice(*projection.channels)]
        weight = projection.whole_weight
        return conv_at(read, weight, projection.stride, projection.padding, projection.groups, ys, xs)
    if isinstance(projection, Gather):
        rows, columns = x.shape[0] // target.height, x.shape[1] // target.width
        blocks = [
            x[y * rows : (y + 1) * rows, c * columns : (c + 1) * columns].sum((0, 1))
            for y, c in zip(ys, xs, strict=True)
        ]
        return matmul(np.array(blocks), projection.weight)
    if isinstance(projection, Pool):
        ones = np.full((*projection.kernel, 1, x.shape[-1]), projection.weight)
        return conv_at(x, ones, projection.stride, projection.padding, x.shape[-1], ys, xs)
    if isinstance(projection, MaxConv):
        return _maxima_at(projection, target, x, ys, xs)
    raise TypeError(f"no reference for projection {projection.name!r} of kind {projection.kind!r}")


def conv_at(x: Int, weight: NDArray[np.integer], stride: Pair, padding: Pair, groups: int, ys: Int, xs: Int) -> Int:
    """(n, C_out): the convolution of (H, W, C_in) at rows ``ys`` and columns ``xs`` of its result."""
    kh, kw, per_group, outputs = weight.shape
    total = np.zeros((len(ys), outputs), np.int64)
    for dy in range(kh):
        for dx in range(kw):
            rows = rows_at(x, ys * stride[0] - padding[0] + dy, xs * stride[1] - padding[1] + dx, 0)
            tap = weight[dy, dx].astype(np.int64)
            if groups == 1:
                total += matmul(rows, tap)
                continue
            split = rows.reshape(len(rows), groups, per_group)
            each = tap.reshape(per_group, groups, outputs // groups)
            total += np.einsum("ngi,igo->ngo", split, each).reshape(len(rows), outputs)
    return total


def rows_at(x: Int, ys: Int, xs: Int, outside: int) -> Int:
    """(n, C): the channels of (H, W, C) at (ys, xs), or ``outside`` beyond the border."""
    height, width = x.shape[:2]
    inside = (ys >= 0) & (ys < height) & (xs >= 0) & (xs < width)
    rows = x[np.clip(ys, 0, height - 1), np.clip(xs, 0, width - 1)]
    return np.where(inside[:, None], rows, outside)


def _encoded(encoder: Encoder, frame: Int, ys: Int, xs: Int) -> Int:
    grid = encoder.conv_grid(*frame.shape[:2])
    best = np.full((len(ys), encoder.weight.shape[-1]), LOWEST)
    for dy in range(encoder.pool_kernel[0]):
        for dx in range(encoder.pool_kernel[1]):
            y = ys * encoder.pool_stride[0] - encoder.pool_padding[0] + dy
            x = xs * encoder.pool_stride[1] - encoder.pool_padding[1] + dx
            inside = (y >= 0) & (y < grid[0]) & (x >= 0) & (x < grid[1])
            value = conv_at(frame, encoder.weight, encoder.stride, encoder.padding, 1, y, x) + encoder.bias
            best = np.maximum(best, np.where(inside[:, None], value, LOWEST))
    return np.asarray((best * encoder.multiplier + (1 << (encoder.down - 1))) >> encoder.down)


def _maxima_at(projection: MaxConv, target: Population, x: Int, ys: Int, xs: Int) -> Int:
    """Sums over the block of each position of the maxima of a convolution."""
    grid, pooled = projection.grids(*x.shape[:2])
    rows, columns = pooled[0] // target.height, pooled[1] // target.width
    total = np.zeros((len(ys), projection.weight.shape[-1]), np.int64)
    for by in range(rows):
        for bx in range(columns):
            best = np.full_like(total, LOWEST)
            for dy in range(projection.pool_kernel[0]):
                for dx in range(projection.pool_kernel[1]):
                    y = (ys * rows + by) * projection.pool_stride[0] - projection.pool_padding[0] + dy
                    c = (xs * columns + bx) * projection.pool_stride[1] - projection.pool_padding[1] + dx
                    inside = (y >= 0) & (y < grid[0]) & (c >= 0) & (c < grid[1])
                    value = conv_at(
                        x, projection.weight, projection.stride, projection.padding, projection.groups, y, c
                    )
                    best = np.maximum(best, np.where(inside[:, None], value, LOWEST))
            total += best
    return total
