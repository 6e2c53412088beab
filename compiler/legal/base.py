"""Number bases: how weights of several bits lie on a binary crossbar whose axons have types.

A source takes several axons ("lines"), each of one type. A neuron adds, for every line that carries a spike and whose
crosspoint is set, its own weight for that line's type. Its weights are therefore sums of some of its lines' values.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import combinations, product
from math import prod

import numpy as np
from numpy.typing import NDArray

from neurochip.network.crossbar import crosspoints

Ints = NDArray[np.int64]
MAX_DIGIT = 16
"""Most lines of one type and digit that a base is searched for."""

MOST_VALUES = 8
"""Different weights of which a base of sums is searched for."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Base:
    """Values of the axon types of one population, and which lines make up its weights.

    Attributes:
        values: (types, C_out) raw weight of each channel's neurons for each type.
        lines: the type of every line that a projection with all kinds of weights needs.
    """

    values: Ints
    lines: tuple[int, ...]

    def lines_of(self, weight: Ints) -> tuple[int, ...]:
        """Types of the lines that a projection with ``weight`` (..., C_out) needs, at least one."""
        rows = self.values[list(self.lines)]
        used = crosspoints(weight, rows)
        needed = [bool(line.any()) for line in used]
        return tuple(t for t, use in zip(self.lines, needed, strict=True) if use) or self.lines[:1]


def possible_bases(
    weights: Sequence[tuple[Ints, int]], types: int, limit: int, biases: Ints | None = None, spare: int = 0
) -> list[Base]:
    """Bases for all projections into one population; may be none.

    Args:
        weights: of each projection, (..., C_out) raw weights and the number of its sources.
        types: axon types of a core. limit: largest magnitude of a type's weight.
        biases: (n, C_out) raw values that come through axons, too: one base leaves them a type, and the last one's
            values add up to them.
        spare: types that some of the bases leave, one of them as many as this.
    """
    columns = np.concatenate([w.reshape(-1, w.shape[-1]) for w, _ in weights]).astype(np.int64)
    made = [distinct_base(columns, types), sum_base(weights, types), digit_base(columns, types, limit)]
    if biases is not None:
        made += [digit_base(columns, types - 1, limit), digit_base(columns, types, limit, biases)]
    made += [digit_base(columns, types - left, limit) for left in range(1, spare + 1)]
    return [base for base in made if base is not None and np.abs(base.values).max(initial=0) <= limit]


def distinct_base(columns: Ints, types: int) -> Base | None:
    """One type for every value: where no neuron has more different weights than there are types."""
    values = [np.unique(column[column != 0]) for column in columns.T]
    needed = max(1, *(len(each) for each in values))
    if needed > types:
        return None
    table = np.zeros((needed, len(values)), np.int64)
    for channel, each in enumerate(values):
        up, down = each[each > 0], each[each < 0]
        table[: len(up), channel] = up
        table[needed - len(down) :, channel] = down
    return Base(values=table, lines=tuple(range(needed)))


def sum_base(weights: Sequence[tuple[Ints, int]], types: int) -> Base | None:
    """Some of the weights as values, all others as sums of them: where there are few different weights in all.

    Powers of two up to 16 on four types become {1, 2, 4, 8}, of which 16 takes two lines of 8.
    """
    wanted = [(np.unique(w[w != 0]).tolist(), count) for w, count in weights]
    every = sorted({value for values, _ in wanted for value in values})
    if not types < len(every) <= MOST_VALUES:
        return None
    best: tuple[int, tuple[int, ...], tuple[int, ...]] | None = None
    for chosen in combinations(every, types):
        sums = {value: fewest_lines(value, chosen) for value in every}
        if any(lines is None for lines in sums.values()):
            continue
        cost, lines = 0, [0] * types
        for values, count in wanted:
            used = [max((sums[v] or ())[t] for v in values) if values else 0 for t in range(types)]
            cost, lines = cost + count * sum(used), [max(pair) for pair in zip(lines, used, strict=True)]
        if best is None or cost < best[0]:
            best = cost, chosen, tuple(t for t, n in enumerate(lines) for _ in range(n))
    if best is None:
        return None
    channels = weights[0][0].shape[-1]
    return Base(values=np.repeat(np.array(best[1], np.int64)[:, None], channels, axis=1), lines=best[2])


@cache
def fewest_lines(value: int, values: tuple[int, ...]) -> tuple[int, ...] | None:
    """How many lines of each of ``values`` add up to ``value``, all of its sign, the largest first; None if none do."""
    rest, counts = value, [0] * len(values)
    for t in sorted(range(len(values)), key=lambda t: -abs(values[t])):
        if values[t] * rest > 0:
            counts[t] = rest // values[t]
            rest -= counts[t] * values[t]
    return None if rest or sum(counts) > MAX_DIGIT else tuple(counts)


def digit_base(columns: Ints, types: int, limit: int, biases: Ints | None = None) -> Base | None:
    """Positive digits and one negative value, {1, 2, 4, -8} for four bits, times each neuron's common factor.

    The factor is 1 where its multiples would exceed ``limit``. With ``biases`` (n, C_out), the factor is theirs, too,
    and neurons without negative weights keep a negative value.
    """
    divided = columns if biases is None else np.concatenate([columns, biases])
    factor = np.maximum(np.gcd.reduce(divided, axis=0), 1)
    while True:
        small = columns // factor
        low, high = int(small.min(initial=0)), int(small.max(initial=0))
        negative = low < 0 or (biases is not None and bool((biases < 0).any()))
        digits = digit_values(max(high, -low - 1, 1 if high > 0 or not negative else 0), types - negative)
        if digits is None:
            return None
        top = sum(value * count for value, count in digits)
        units = [value for value, _ in digits] + [-(top + 1)] * negative
        wide = (factor > 1) & (max(map(abs, units)) * factor > limit)
        if not wide.any():
            break
        factor = np.where(wide, 1, factor)
    lines = [t for t, (_, count) in enumerate(digits) for _ in range(count)] + [len(digits)] * negative
    return Base(values=np.array(units, np.int64)[:, None] * factor, lines=tuple(lines))


@cache
def digit_values(top: int, types: int) -> tuple[tuple[int, int], ...] | None:
    """Values and how many lines each has, so that 0..``top`` are sums of lines, with the fewest lines."""
    if top <= 0:
        return ()
    best: tuple[tuple[int, int], ...] | None = None
    for count in range(1, types + 1):
        for radices in product(range(2, MAX_DIGIT + 1), repeat=count):
            if prod(radices) <= top or (best and sum(radices) - count >= lines_in(best)):
                continue
            values = np.concatenate([[1], np.cumprod(radices[:-1])]).astype(int)
            best = tuple((int(v), r - 1) for v, r in zip(values, radices, strict=True))
    return best


def lines_in(digits: Iterable[tuple[int, int]]) -> int:
    """Lines of a base's digits."""
    return sum(count for _, count in digits)
