"""Which box of its source a tile reads through an ``Einsum``, for tiles and for candidate tile shapes.

An axis (a letter) of the target that lies in a tile's box spans a range. What the tile reads is the box around these
ranges in the source's grid, and the whole of the axes that only the source has.
"""

from __future__ import annotations

from math import prod

import numpy as np
from numpy.typing import NDArray

from neurochip.network.axes import shape_of
from neurochip.network.projections import Einsum

Ints = NDArray[np.int64]
Range = tuple[Ints, Ints]


def read_box(projection: Einsum, bounds: tuple[Range, Range, Range]) -> tuple[Range, Range, Range]:
    """Source rows, columns and channels [begin, end) that target boxes with these ``bounds`` read."""
    sizes = projection.size_of
    source, target = projection.axes
    ranges: dict[str, Range] = {}
    for group, (low, high) in zip(target.split(","), bounds, strict=True):
        ranges |= letter_ranges(group, sizes, low, high)
    count = len(bounds[0][0])
    rows, columns, channels = (_around(group, sizes, ranges, count) for group in source.split(","))
    return rows, columns, channels


def letter_ranges(group: str, sizes: dict[str, int], low: Ints, high: Ints) -> dict[str, Range]:
    """Letter -> [begin, end) within the index range [low, high) of ``group``; all of it where a carry wraps it."""
    found: dict[str, Range] = {}
    step = 1
    for letter in reversed(group):
        size = sizes[letter]
        whole = low // (step * size) != (high - 1) // (step * size)
        begin = np.where(whole, 0, low // step % size)
        found[letter] = begin, np.where(whole, size, (high - 1) // step % size + 1)
        step *= size
    return found


def _around(group: str, sizes: dict[str, int], ranges: dict[str, Range], count: int) -> Range:
    """Smallest index range of ``group`` that holds all combinations of its letters' ranges."""
    low, last, step = np.zeros(count, np.int64), np.zeros(count, np.int64), 1
    for letter in reversed(group):
        begin, end = ranges.get(letter, (np.int64(0), np.int64(sizes[letter])))
        low, last, step = low + begin * step, last + (end - 1) * step, step * sizes[letter]
    return low, last + 1


def widest(projection: Einsum, shape: tuple[Ints, Ints, Ints]) -> dict[str, Ints]:
    """Letter of the target -> most values that a tile of each candidate ``shape`` spans."""
    sizes = projection.size_of
    found: dict[str, Ints] = {}
    for group, lengths in zip(projection.axes[1].split(","), shape, strict=True):
        total = prod(sizes[letter] for letter in group)
        extents: dict[int, dict[str, int]] = {}
        for length in np.unique(lengths).tolist():
            low = np.arange(0, total, length, dtype=np.int64)
            ranges = letter_ranges(group, sizes, low, np.minimum(low + length, total))
            extents[length] = {letter: int((end - begin).max()) for letter, (begin, end) in ranges.items()}
        for letter in group:
            found[letter] = np.array([extents[length][letter] for length in lengths.tolist()], np.int64)
    return found


def read_sizes(projection: Einsum, shape: tuple[Ints, Ints, Ints]) -> tuple[Ints, Ints, Ints]:
    """Most source rows, columns and channels that a tile of each candidate ``shape`` reads."""
    sizes, extents = projection.size_of, widest(projection, shape)
    parts = []
    for group in projection.axes[0].split(","):
        length, step = np.ones_like(shape[0]), 1
        for letter in reversed(group):
            length, step = length + (extents.get(letter, sizes[letter]) - 1) * step, step * sizes[letter]
        parts.append(length)
    return parts[0], parts[1], parts[2]


def reached(projection: Einsum, lengths: tuple[Ints, Ints, Ints]) -> Ints:
    """Synapses of one source neuron in tiles of so many rows, columns and channels: the target indices that share it.

    Along each group: all indices of the tile, but at most the values of the axes that only the target has.
    """
    sizes, source = projection.size_of, projection.axes[0]
    total = np.ones_like(lengths[0])
    for group, length in zip(projection.axes[1].split(","), lengths, strict=True):
        total = total * np.minimum(length, prod(sizes[letter] for letter in group if letter not in source))
    return total


def times_read(projection: Einsum, boxes: Ints) -> tuple[Ints, Ints, Ints]:
    """How many of the target ``boxes`` (n, 6) read each source row; and ones for columns and channels.

    The product of the three is at least the number of boxes that read a neuron, and equal to it where a row's
    neurons are all read as often.
    """
    y, x, c = ((boxes[:, i], boxes[:, i + 1]) for i in (0, 2, 4))
    read = read_box(projection, (y, x, c))
    sizes = shape_of(projection.axes[0], projection.size_of)
    edges = [np.unique(np.concatenate([low, high, [0, size]])) for (low, high), size in zip(read, sizes, strict=True)]
    steps = np.zeros([len(e) for e in edges], np.int64)
    places = [[np.searchsorted(e, end) for end in ends] for e, ends in zip(edges, read, strict=True)]
    for corner in range(8):
        ends = [corner >> axis & 1 for axis in range(3)]
        np.add.at(steps, tuple(places[axis][end] for axis, end in enumerate(ends)), 1 - 2 * (sum(ends) % 2))
    counts = steps.cumsum(0).cumsum(1).cumsum(2)[:-1, :-1, :-1]
    rows = np.repeat(counts.max(axis=(1, 2)), np.diff(edges[0]))
    return rows, np.ones(sizes[1], np.int64), np.ones(sizes[2], np.int64)
