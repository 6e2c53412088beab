"""Axon types of strobes: how always-on axons move membranes down and up again by the same amount."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cache

import numpy as np

from compiler.legal.base import Ints
from compiler.legal.complement import bias_total
from compiler.legal.strobes import SPARE
from neurochip.network.projections import Bias, Projection

FREE = 0
"""Stands for the value of a type that the neuron has left."""

TRIED = 64
"""Numbers of axons tried beyond the least, for amounts that both directions can bring."""


@dataclass(frozen=True, slots=True)
class Strobe:
    """Values and numbers of the axons of one neuron: ``lifts * up - drops * down`` is its bias, ``holds * hold`` the
    drift of its leak; all values positive.
    """

    up: int
    lifts: int
    down: int
    drops: int
    hold: int = 0
    holds: int = 0

    @property
    def axons(self) -> int:
        """Axons in all."""
        return self.lifts + self.drops + self.holds


def typed_strobes(strobes: Sequence[Bias], values: Ints, types: int, top: int) -> tuple[Ints, list[Projection]] | None:
    """``strobes`` (of places ``lift``, ``drop`` and ``hold``) on axons, and the type values then in use.

    Membranes may be moved further than asked for: by up to as much again and ``SPARE``. Values are those that the
    neurons' synapses use already, or those of types that they have left. None where there are no such sums.

    Args:
        values: (used types, C) raw values of the neurons' types. types: of a core. top: the largest value of a type.
    """
    total = {bias.place: bias_total(bias) for bias in strobes}
    values = np.concatenate([alike(values), np.zeros((types - len(values), values.shape[1]), np.int64)])
    lift, drop = total["lift"], -total["drop"]
    hold = -total.get("hold", np.zeros_like(lift))
    counts: dict[str, Ints] = {place: np.zeros_like(values) for place in total}
    for channel in range(values.shape[1]):
        column = values[:, channel]
        amounts = (int(drop[channel]), int(lift[channel] - drop[channel]), int(hold[channel]))
        found = fewest_axons(tuple(column[column != 0].tolist()), int((column == 0).sum()), *amounts, top)
        if found is None:
            return None
        wanted = {"lift": (found.up, found.lifts), "drop": (-found.down, found.drops)}
        if "hold" in total:
            wanted["hold"] = (int(np.sign(hold[channel])) * -found.hold, found.holds)
        for place, (value, count) in wanted.items():
            counts[place][type_of(column, value), channel] = count
    return values, [on_axons(bias, counts[bias.place], values) for bias in strobes]


def alike(values: Ints) -> Ints:
    """``values`` with each type that has one value wherever it is used given it everywhere: axons then serve all."""
    one = [row[row != 0][0] if len(set(row[row != 0].tolist())) == 1 else 0 for row in values]
    return np.where(values == 0, np.array(one, np.int64)[:, None], values)


def type_of(column: Ints, value: int) -> int:
    """The type whose value is ``value``; a free one gets it."""
    same = np.flatnonzero(column == value)
    if len(same):
        return int(same[0])
    free = int(np.flatnonzero(column == 0)[0])
    column[free] = value
    return free


@cache
def fewest_axons(used: tuple[int, ...], free: int, drop: int, bias: int, hold: int, top: int) -> Strobe | None:
    """The fewest axons for one neuron; None if its types allow no strobe.

    Args:
        used: values of its types; free: types it has left. drop: the least by which to lower its membrane. bias: what
            lifting brings beyond that. hold: drift in one tick, cancelled by axons of the other sign.
    """
    ups, downs = sorted(v for v in used if v > 0), sorted(-v for v in used if v < 0)
    best: Strobe | None = None
    for keep in holds_of(hold, ups if hold < 0 else downs, free, top):
        after = free - (keep[0] not in (0, *(ups if hold < 0 else downs)))
        held = [keep[0]] if keep[0] and after < free else []
        mine = (ups + held * (hold < 0), downs + held * (hold > 0))
        for up in (*mine[0], FREE):
            for down in (*mine[1], FREE):
                if (up == FREE) + (down == FREE) > after:
                    continue
                found = balanced(up, down, drop, bias, top)
                if found is not None and (best is None or found.axons + keep[1] < best.axons):
                    best = replace(found, hold=keep[0], holds=keep[1])
    return best


def holds_of(hold: int, same: Sequence[int], free: int, top: int) -> Iterator[tuple[int, int]]:
    """(value, axons) of one type that add up to the drift ``hold``."""
    size = abs(hold)
    if not size:
        yield 0, 0
        return
    yield from ((value, size // value) for value in same if size % value == 0)
    if free:
        count = next(n for n in range(-(-size // top), size + 1) if size % n == 0)
        yield size // count, count


def balanced(up: int, down: int, drop: int, bias: int, top: int) -> Strobe | None:
    """Axons of value ``up`` and ``-down`` (``FREE``: any) that lower by ``drop`` or more and bring ``bias``."""
    least = max(drop, 1, 1 - bias)
    step = down or up or 1
    first = -(-least // step) if down else -(-(least + bias) // step)
    best: Strobe | None = None
    for count in range(first, first + TRIED):
        lowered = count * down if down else count * step - bias
        if not least <= lowered <= 2 * drop + SPARE:
            continue
        lifts = whole(lowered + bias, up, top)
        drops = whole(lowered, down, top)
        if lifts and drops and (best is None or lifts + drops < best.axons):
            best = Strobe((lowered + bias) // lifts, lifts, lowered // drops, drops)
    return best


def whole(amount: int, value: int, top: int) -> int:
    """How many axons of ``value``, or of one value of at most ``top``, bring ``amount``; 0 if that is impossible."""
    if value:
        return amount // value if amount % value == 0 else 0
    least = -(-amount // top)
    return next((n for n in range(least, least + TRIED) if amount % n == 0), 0)


def on_axons(bias: Bias, counts: Ints, values: Ints) -> Bias:
    """``bias`` as one axon a digit: the n-th axon of a type reaches the neurons that need n or more of them."""
    types = [t for t in range(len(counts)) for _ in range(int(counts[t].max(initial=0)))]
    rank = [n for t in range(len(counts)) for n in range(int(counts[t].max(initial=0)))]
    weight = [np.where(counts[t] > n, values[t], 0) for t, n in zip(types, rank, strict=True)]
    rows = np.array(weight, np.int16).reshape(len(types), counts.shape[1])
    return replace(bias, weight=rows, shifts=(0,) * len(types), types=tuple(types))
