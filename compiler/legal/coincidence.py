"""Builds an expansion of spiking attention (``expansions``): AND neurons, digits of counts, masked counts."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from compiler.legal.assembly import Assembly
from compiler.legal.expansions import Expansion, Shape
from neurochip.network.axes import shape_of
from neurochip.network.projections import Conv, Source

QUERY, KEY, VALUE, OUT = "a,b,hc", "s,t,hc", "s,t,he", "a,b,he"
AXES: dict[str, tuple[str, str, str]] = {
    "tokens": ("ab,st,hc", "ab,st,h", "ab,st,he"),
    "channels": ("st,e,hc", ",e,hc", "ab,e,hc"),
    "direct": ("ab,st,hce", "", ""),
}
"""Order -> axes of pairs, counts and masked counts: tokens n = (a, b) and m = (s, t), head h, channels c and e."""


def sizes_of(shape: Shape, terms: int) -> dict[str, int]:
    """Letter -> size of every axis of an expansion whose counts reach ``terms``."""
    tokens = {"a": shape.height, "b": shape.width, "s": shape.height, "t": shape.width}
    return {**tokens, "h": shape.heads, "c": shape.depth, "e": shape.depth, "j": terms}


@dataclass(slots=True, kw_only=True)
class Builder(Assembly):
    """The neurons of ``plan``; ``q``, ``k``, ``v``: populations."""

    q: str
    k: str
    v: str
    plan: Expansion

    def build(self) -> None:
        """Fill ``populations`` and ``projections``. Raises ``UnsupportedError`` for gates the chip cannot make."""
        pairs, counts, masked = AXES[self.plan.order]
        read = {"tokens": ((self.q, QUERY), (self.k, KEY)), "channels": ((self.k, KEY), (self.v, VALUE))}
        sources = read.get(self.plan.order, ((self.q, QUERY), (self.k, KEY), (self.v, VALUE)))
        self.gate("pairs", pairs, len(sources), 0, len(sources), [(name, axes, 1) for name, axes in sources])
        if self.plan.order == "direct":
            self.out("pairs", pairs, 1)
            return
        mask = (self.v, VALUE) if self.plan.order == "tokens" else (self.q, QUERY)
        if self.plan.coding in ("digits", "levels"):
            if self.plan.coding == "digits":
                self.digits_in_turn(pairs, counts)
            else:
                self.digits_at_once(pairs, counts)
            for j in range(self.plan.digits):
                self.gate(f"masked{j}", masked, 2, 0, 2, [(self.part(f"digit{j}"), counts, 1), (*mask, 1)])
                self.out(f"masked{j}", masked, 1 << j)
        elif self.plan.coding == "burst":
            most = self.plan.terms
            self.summing("burst", "masked", masked, most, [(self.part("pairs"), pairs, 1), (*mask, most)], most)
            self.out("masked", masked, 1)
        else:
            most = self.plan.terms
            self.summing("graded", "counts", counts, most, [(self.part("pairs"), pairs, 1)])
            top = next(p.high for p in self.populations if p.name == self.part("counts"))
            self.summing("graded", "masked", masked, most, [(self.part("counts"), counts, 1), (*mask, top)], top)
            self.out("masked", masked, 1)

    def digits_in_turn(self, pairs: str, counts: str) -> None:
        """Digits of the counts, highest first, each taking its value off the lower ones."""
        for j in reversed(range(self.plan.digits)):
            most = min(self.plan.terms, (2 << j) - 1)  # what is left of a count below the higher digits
            higher = [(self.part(f"digit{i}"), counts, -(1 << i)) for i in range(j + 1, self.plan.digits)]
            self.gate(f"digit{j}", counts, 1 << j, 0, most, [(self.part("pairs"), pairs, 1), *higher])

    def digits_at_once(self, pairs: str, counts: str) -> None:
        """Digits of the counts from neurons for 1, 2, ... ``terms``: digit i changes at every multiple of 2^i."""
        terms, levels = self.plan.terms, f"{counts}j"
        shift = self.gate("levels", levels, 1, 1 - terms, terms, [(self.part("pairs"), pairs, 1)])
        groups = shape_of(counts, self.sizes)[2]
        self.offset("levels", np.tile(-np.arange(terms), groups), shift)
        for i in range(self.plan.digits):
            weight = np.zeros(terms, np.int8)
            weight[(1 << i) - 1 :: 1 << i] = 1
            weight[(2 << i) - 1 :: 2 << i] = -1
            at = self.gate(f"digit{i}", counts, 1, 0, 1, [])
            conv = Conv(
                name=f"{self.part(f'digit{i}')}.levels", sources=(Source(self.part("levels")),),
                target=self.part(f"digit{i}"), origin=self.origin, shift=at, counted=False, groups=groups,
                weight=np.repeat(weight[:, None], groups, axis=1)[None, None],
            )  # fmt: skip
            self.projections.append(conv)

    def out(self, part: str, axes: str, value: int) -> None:
        """What the attention neurons receive from ``part``."""
        self.connect(self.target, OUT, self.shift, [(self.part(part), axes, value * self.scale)], counted=True)
