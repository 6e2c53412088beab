"""Builds an expansion of spiking attention (``expansions``): AND neurons, digits of counts, masked counts."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from compiler.legal.expansions import Expansion
from compiler.legal.gates import Gate, gate_registers, weights_of
from compiler.lower.units import bias_digits
from neurochip.chip.spec import ChipSpec, WeightFormat
from neurochip.network.axes import shape_of
from neurochip.network.network import Coding as Transport
from neurochip.network.network import Neuron, NeuronKind, Population
from neurochip.network.projections import Bias, Conv, Einsum, Pool, Projection, Source

QUERY, KEY, VALUE, OUT = "a,b,hc", "s,t,hc", "s,t,he", "a,b,he"
AXES: dict[str, tuple[str, str, str]] = {
    "tokens": ("ab,st,hc", "ab,st,h", "ab,st,he"),
    "channels": ("st,e,hc", ",e,hc", "ab,e,hc"),
    "direct": ("ab,st,hce", "", ""),
}
"""Order -> axes of pairs, counts and masked counts: tokens n = (a, b) and m = (s, t), head h, channels c and e."""


@dataclass(slots=True)
class Builder:
    """Populations and projections that replace the product population ``name``, sources first.

    Attributes:
        q, k, v: populations. target: the attention neurons, charged with ``(scale * product) << shift``.
    """

    name: str
    origin: str
    q: str
    k: str
    v: str
    target: str
    shift: int
    plan: Expansion
    chip: ChipSpec
    weights: WeightFormat
    timesteps: int
    scale: int = 1
    populations: list[Population] = field(default_factory=list)
    projections: list[Projection] = field(default_factory=list)

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
            self.summing("burst", "masked", masked, [(self.part("pairs"), pairs, 1), (*mask, self.plan.terms)])
            self.out("masked", masked, 1)
        else:
            self.summing("graded", "counts", counts, [(self.part("pairs"), pairs, 1)])
            top = next(p.high for p in self.populations if p.name == self.part("counts"))
            self.summing("graded", "masked", masked, [(self.part("counts"), counts, 1), (*mask, top)])
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

    def gate(self, part: str, axes: str, threshold: int, low: int, high: int, reads: list[tuple[str, str, int]]) -> int:
        """Neurons that fire where the weighted sum of ``reads`` reaches ``threshold``; returns their shift."""
        gate = Gate(name=self.origin, threshold=threshold, low=low, high=high, timesteps=self.timesteps)
        neuron, shift = gate_registers(gate, self.chip.arithmetic, self.weights)
        self.add(part, axes, neuron, 1)
        self.connect(self.part(part), axes, shift, reads)
        return shift

    def summing(self, kind: NeuronKind, part: str, axes: str, reads: list[tuple[str, str, int]]) -> None:
        """A population that sends its sum; a last read of weight M lets only what exceeds M pass: a mask."""
        shift = min(max(self.chip.arithmetic.threshold_shift, self.weights.shift_low), self.weights.shift_high)
        unit = 1 << shift
        most = self.plan.terms
        if kind == "graded":
            payload = (1 << self.chip.activation_bits) - 1
            self.add(part, axes, Neuron(kind="graded", threshold=unit), min(most, payload))
        else:
            late = unit if self.chip.arithmetic.fires == "gt" else 0
            self.add(part, axes, Neuron(kind="burst", threshold=unit - late, reset="soft", threshold_offset=late), most)
        self.connect(self.part(part), axes, shift, reads)
        if len(reads) > 1:
            self.offset(part, np.full(shape_of(axes, self.sizes)[2], -reads[-1][2]), shift)

    def offset(self, part: str, values: NDArray[np.int64], shift: int) -> None:
        """What the neurons of each channel receive in every step."""
        weight, shifts = bias_digits(values.astype(np.int64), shift, self.weights, self.origin)
        bias = Bias(
            name=f"{self.part(part)}.bias", sources=(), target=self.part(part), origin=self.origin, weight=weight,
            shifts=shifts,
        )  # fmt: skip
        self.projections.append(bias)

    def out(self, part: str, axes: str, value: int) -> None:
        """What the attention neurons receive from ``part``."""
        self.connect(self.target, OUT, self.shift, [(self.part(part), axes, value * self.scale)], counted=True)

    def add(self, part: str, axes: str, neuron: Neuron, high: int) -> None:
        """A population on the grid of ``axes``."""
        height, width, channels = shape_of(axes, self.sizes)
        coding: Transport = "graded" if neuron.kind == "graded" else "spikes"
        population = Population(
            name=self.part(part), height=height, width=width, channels=channels, neuron=neuron, origin=self.origin,
            high=high, coding=coding,
        )  # fmt: skip
        self.populations.append(population)

    def connect(
        self, target: str, axes: str, shift: int, reads: list[tuple[str, str, int]], *, counted: bool = False
    ) -> None:
        """Synapses of value ``value << shift`` from every (population, its axes, value) of ``reads``.

        One-to-one where both ends have the same axes, else by index.
        """
        for source, source_axes, value in reads:
            used = set(source_axes + axes)
            sizes = tuple((letter, size) for letter, size in self.sizes.items() if letter in used)
            for number, (weight, at) in enumerate(weights_of(value, shift, self.weights)):
                name = f"{target}.{source.removeprefix(self.name + '.')}{'+' * number}"
                made = Einsum(
                    name=name, sources=(Source(source),), target=target, origin=self.origin, shift=at, counted=counted,
                    axes=(source_axes, axes), sizes=sizes, weight=weight,
                )  # fmt: skip
                self.projections.append(one_to_one(made) if source_axes == axes else made)

    def part(self, name: str) -> str:
        """Full name of a population made here."""
        return f"{self.name}.{name}"

    @property
    def sizes(self) -> dict[str, int]:
        """Letter -> size."""
        s = self.plan.shape
        tokens = {"a": s.height, "b": s.width, "s": s.height, "t": s.width}
        return {**tokens, "h": s.heads, "c": s.depth, "e": s.depth, "j": self.plan.terms}


def one_to_one(synapses: Einsum) -> Pool:
    """The same connections between grids of equal axes."""
    return Pool(
        name=synapses.name, sources=synapses.sources, target=synapses.target, origin=synapses.origin,
        shift=synapses.shift, counted=synapses.counted, weight=synapses.weight,
    )  # fmt: skip
