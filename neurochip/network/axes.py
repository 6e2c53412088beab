"""Axes of an ``Einsum``: letters <-> rows, columns and channels of a grid, and what every target index reads."""

from __future__ import annotations

from math import prod

import numpy as np
from numpy.typing import NDArray

from neurochip.network.projections import Einsum

Ints = NDArray[np.int64]


def shape_of(groups: str, sizes: dict[str, int]) -> tuple[int, ...]:
    """(rows, columns, channels) that the axes ``groups`` span, for instance ``"n,s,hc"``."""
    return tuple(prod(sizes[letter] for letter in group) for group in groups.split(","))


def strides_of(groups: str, sizes: dict[str, int]) -> dict[str, int]:
    """Letter -> distance in neuron ids (row * columns + column) * channels + channel of neighbours along its axis."""
    strides, step = {}, 1
    for letter in reversed(groups.replace(",", "")):
        strides[letter] = step
        step *= sizes[letter]
    return strides


def letter_values(group: str, sizes: dict[str, int]) -> dict[str, Ints]:
    """Letter -> its value at every index of ``group``, (product of its sizes,)."""
    values, step = {}, 1
    index = np.arange(prod(sizes[letter] for letter in group))
    for letter in reversed(group):
        values[letter] = index // step % sizes[letter]
        step *= sizes[letter]
    return values


def source_offsets(projection: Einsum) -> tuple[Ints, Ints, Ints, Ints]:
    """Neuron ids that target (row, column, channel) reads: ``rows[y] + columns[x] + channels[c] + own``.

    ``rows``, ``columns``, ``channels`` have one entry for each target index; ``own`` one for each of ``fan_in``.
    """
    sizes = projection.size_of
    source, target = projection.axes
    stride = strides_of(source, sizes)
    alone = "".join(letter for letter in source.replace(",", "") if letter not in target)

    def offsets(group: str) -> Ints:
        """Sum over the letters of ``group`` of their values times the source's strides."""
        total = np.zeros(prod(sizes[letter] for letter in group), np.int64)
        for letter, values in letter_values(group, sizes).items():
            total += stride.get(letter, 0) * values
        return total

    rows, columns, channels = map(offsets, target.split(","))
    return rows, columns, channels, offsets(alone)
