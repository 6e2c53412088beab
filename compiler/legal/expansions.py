"""Ways to spread spiking attention over ordinary neurons, and what each costs in neurons, before any is made.

Per head, with N tokens of d channels, y = q (k^T v) is computed through ANDs in one of two orders:

- ``tokens``: (q k^T) v. Pairs (n, m, c) = q[n, c] & k[m, c]; counts (n, m), each 0..d; masked (n, m, e) by v[m, e].
- ``channels``: q (k^T v). Pairs (m, c, e) = k[m, c] & v[m, e]; counts (c, e), each 0..N; masked (n, c, e) by q[n, c].
- ``direct``: triples (n, m, c, e) of q, k and v, which the attention neurons add up: for one token or channel.

A count is an integer, a spike is a bit, so the count is masked in one of four codings:

- ``digits``: the binary digits of the count, one neuron each; the highest is 1 if the count reaches its value, and
  then takes that value off the lower ones. Digits masked one by one reach the attention neuron with weights 2^j.
- ``levels``: the same digits, all at once, from one neuron for each value the count may reach: more neurons, but none
  waits for another, which matters where delays are short.
- ``burst``: no counts; the masked neuron itself adds the pairs up, if its mask is 1, and sends the sum as a burst.
- ``graded``: the count, and the masked count, each travel as the payload of one spike.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil
from typing import Literal

Order = Literal["tokens", "channels", "direct"]
Coding = Literal["digits", "levels", "burst", "graded"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    """One attention layer: ``tokens`` N on a grid (height, width), ``heads`` of ``depth`` d channels each."""

    height: int
    width: int
    heads: int
    depth: int

    @property
    def tokens(self) -> int:
        """N."""
        return self.height * self.width


@dataclass(frozen=True, slots=True, kw_only=True)
class Expansion:
    """An order and a coding for one layer; sizes in neurons. ``terms``: the largest count."""

    shape: Shape
    order: Order
    coding: Coding
    max_delay: int

    @property
    def terms(self) -> int:
        """Largest count."""
        return self.shape.depth if self.order == "tokens" else self.shape.tokens

    @property
    def digits(self) -> int:
        """Binary digits of a count; 1 where counts are not split into digits."""
        return self.terms.bit_length() if self.coding in ("digits", "levels") and self.order != "direct" else 1

    @property
    def pairs(self) -> int:
        """AND neurons of the first product."""
        s = self.shape
        across = s.tokens * s.tokens if self.order != "channels" else s.tokens * s.depth
        return across * s.heads * s.depth * (s.depth if self.order == "direct" else 1)

    @property
    def counts(self) -> int:
        """Neurons that hold counts or their digits."""
        s = self.shape
        if self.order == "direct" or self.coding == "burst":
            return 0
        each = self.digits + (self.terms if self.coding == "levels" else 0)
        return s.heads * (s.tokens**2 if self.order == "tokens" else s.depth**2) * each

    @property
    def masked(self) -> int:
        """AND neurons of the second product."""
        return 0 if self.order == "direct" else self.pairs * self.digits

    @property
    def relays(self) -> int:
        """Neurons that only hold spikes back, because digits follow one another and the chip's delays are short."""
        if self.coding != "digits" or self.order == "direct":
            return 0
        hops = [ceil((j + 1) / self.max_delay) - 1 for j in range(self.digits)]
        return self.pairs * (hops[-1] + sum(hops))

    @property
    def neurons(self) -> int:
        """All neurons beside those of q, k, v and the attention neurons."""
        return self.pairs + self.counts + self.masked + self.relays

    @property
    def interval(self) -> int:
        """Ticks a step takes at least."""
        return self.terms + 1 if self.coding == "burst" and self.order != "direct" else 1

    def __str__(self) -> str:
        parts = f"{self.pairs:,} pairs, {self.counts:,} counts, {self.masked:,} masked"
        relays = f", {self.relays:,} relays" if self.relays else ""
        return f"order {self.order}, {self.coding}: {self.neurons:,} neurons ({parts}{relays})"


def expansions(shape: Shape, codings: tuple[Coding, ...], max_delay: int) -> list[Expansion]:
    """Every expansion of a layer, the one with the fewest neurons first; ties: fewer ticks."""
    orders: tuple[Order, ...] = ("tokens", "channels", "direct")
    found = [
        Expansion(shape=shape, order=order, coding=coding, max_delay=max_delay)
        for order in orders
        for coding in codings[: 1 if order == "direct" else None]
    ]
    return sorted(found, key=lambda e: (e.neurons, e.interval, e.order))


def naive_neurons(shape: Shape) -> int:
    """Exact expansion into ANDs of single spikes: N N d pairs, then one AND for each pair and column of v."""
    return shape.heads * shape.tokens**2 * (shape.depth + shape.depth**2)


def matrix_product_neurons(shape: Shape) -> int:
    """h w d coincidence and h d sum neurons for each of the two products (h x w) (w x d), as HiAER-Spike's tool makes.

    Its sums fire one spike whatever they count, so the second product sees whether a count is zero, not the count.
    Source: ``_matrix_mul_cri`` of Integrated-Systems-Neuroengineering/hs_api, converter.
    """
    tokens, depth = shape.tokens, shape.depth
    first, second = tokens * depth * tokens + tokens**2, tokens * tokens * depth + tokens * depth
    return shape.heads * (first + second)
