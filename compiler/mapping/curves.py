"""Orders in which to visit the cells of a grid, so that what is near in the order is near on the grid."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]
_FINE = 4  # bits by which a grid is refined before its sides are stretched to a power of two


def hilbert(columns: int, rows: int) -> Ints:
    """Cells (``row * columns + column``) of a grid of any size along Hilbert's curve, starting at (0, 0).

    Both sides are stretched to one power of two and cells are ordered by where the curve passes their middle: a square
    of power-of-two sides gets the curve itself, others one with steps 1.1 to 1.3 routers long on average (measured up
    to sides of 2 to 1). int64 (rows * columns,).
    """
    bits = max(columns - 1, rows - 1, 1).bit_length()
    square = columns == rows == 1 << bits
    fine = bits if square else bits + _FINE
    side = 1 << fine
    x = (2 * np.arange(columns, dtype=np.int64) + 1) * side // (2 * columns)
    y = (2 * np.arange(rows, dtype=np.int64) + 1) * side // (2 * rows)
    where = hilbert_index(np.tile(x, rows), np.repeat(y, columns), fine)
    return np.argsort(where, kind="stable")


def chip_by_chip(columns: int, rows: int, chip_columns: int, chip_rows: int, left: int = 0, top: int = 0) -> Ints:
    """Cells along Hilbert's curve inside each chip, chips along Hilbert's curve: neighbours in the order share a chip.

    The grid's first cell is router (``left``, ``top``); chip borders lie at multiples of the chip's sides. With one
    chip this is ``hilbert``. int64 (rows * columns,).
    """
    x, y = np.tile(np.arange(columns), rows) + left, np.repeat(np.arange(rows), columns) + top
    chips = curve_rank(x // chip_columns - left // chip_columns, y // chip_rows - top // chip_rows)
    if chips.max(initial=0) == 0:
        return hilbert(columns, rows)
    return np.lexsort((curve_rank(x % chip_columns, y % chip_rows), chips))


def curve_rank(x: Ints, y: Ints) -> Ints:
    """How far along ``hilbert`` points are, on the smallest grid from (0, 0) that holds them: int64 (n_points,)."""
    columns, rows = int(x.max(initial=0)) + 1, int(y.max(initial=0)) + 1
    rank = np.empty(columns * rows, np.int64)
    rank[hilbert(columns, rows)] = np.arange(columns * rows)
    return np.asarray(rank[y * columns + x])


def hilbert_index(x: Ints, y: Ints, bits: int) -> Ints:
    """How far along Hilbert's curve on a ``2**bits`` square each point is. Source: Hilbert, Math. Ann. 38 (1891)."""
    x, y, where = x.copy(), y.copy(), np.zeros(len(x), np.int64)
    for level in range(bits - 1, -1, -1):
        right, upper = x >> level & 1, y >> level & 1
        where = where << 2 | (3 * right ^ upper)
        flip = (upper == 0) & (right == 1)
        mask = (1 << level) - 1
        x, y = np.where(flip, mask - (x & mask), x & mask), np.where(flip, mask - (y & mask), y & mask)
        x, y = np.where(upper == 0, y, x), np.where(upper == 0, x, y)
    return where


def bands(columns: int, rows: int, n_bands: int) -> Ints:
    """Cells row by row inside ``n_bands`` upright bands of nearly equal width: the first band down, the next one up.

    One band is row-major order. For a chain of fully connected layers of n clusters, bands of width sqrt(3 n) are best:
    a layer is then sqrt(n / 3) high, so steps between layers and within a layer's width cost the same.
    """
    edges = np.rint(np.linspace(0, columns, n_bands + 1)).astype(np.int64)
    grid = np.arange(rows * columns, dtype=np.int64).reshape(rows, columns)
    return np.concatenate(
        [(grid[:, a:b] if i % 2 == 0 else grid[::-1, a:b][:, ::-1]).ravel() for i, (a, b) in enumerate(pairwise(edges))]
    )


def band_counts(columns: int) -> list[int]:
    """Numbers of bands worth trying on a grid of ``columns``: each to 16, then 15 % more each, up to width 2."""
    counts, n = [1], 1
    while (n := max(n + 1, n * 115 // 100)) <= columns // 2:
        counts.append(n)
    return counts
