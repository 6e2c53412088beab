"""Populations and projections by index, as expansions of attention need them: gates, senders of sums, synapses."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from compiler.legal.gates import Gate, gate_registers, weights_of
from compiler.lower.units import bias_digits
from neurochip.chip.spec import ChipSpec, WeightFormat
from neurochip.network.axes import shape_of
from neurochip.network.network import Coding as Transport
from neurochip.network.network import Neuron, NeuronKind, Population
from neurochip.network.projections import Bias, Einsum, Pool, Projection, Source


@dataclass(slots=True)
class Assembly:
    """What replaces the product population ``name``, sources first: ``populations`` and ``projections``.

    Attributes:
        target: the neurons behind, charged with ``(scale * product) << shift``. sizes: letter -> size of every axis.
    """

    name: str
    origin: str
    target: str
    shift: int
    chip: ChipSpec
    weights: WeightFormat
    timesteps: int
    sizes: dict[str, int]
    scale: int = 1
    populations: list[Population] = field(default_factory=list)
    projections: list[Projection] = field(default_factory=list)

    def gate(self, part: str, axes: str, threshold: int, low: int, high: int, reads: list[tuple[str, str, int]]) -> int:
        """Neurons that fire where the weighted sum of ``reads`` reaches ``threshold``; returns their shift."""
        gate = Gate(name=self.origin, threshold=threshold, low=low, high=high, timesteps=self.timesteps)
        neuron, shift = gate_registers(gate, self.chip.arithmetic, self.weights)
        self.add(part, axes, neuron, 1)
        self.connect(self.part(part), axes, shift, reads)
        return shift

    def summing(
        self, kind: NeuronKind, part: str, axes: str, most: int, reads: list[tuple[str, str, int]], mask: int = 0
    ) -> int:
        """A population that sends its sum of at most ``most``; returns its shift.

        ``mask``: weight of the last read, a mask: only what exceeds it passes.
        """
        shift = min(max(self.chip.arithmetic.threshold_shift, self.weights.shift_low), self.weights.shift_high)
        unit = 1 << shift
        if kind == "graded":
            payload = (1 << self.chip.activation_bits) - 1
            self.add(part, axes, Neuron(kind="graded", threshold=unit), min(most, payload))
        else:
            late = unit if self.chip.arithmetic.fires == "gt" else 0
            self.add(part, axes, Neuron(kind="burst", threshold=unit - late, reset="soft", threshold_offset=late), most)
        self.connect(self.part(part), axes, shift, reads)
        if mask:
            self.offset(part, np.full(shape_of(axes, self.sizes)[2], -mask), shift)
        return shift

    def offset(self, part: str, values: NDArray[np.int64], shift: int) -> None:
        """What the neurons of each channel receive in every step."""
        weight, shifts = bias_digits(values.astype(np.int64), shift, self.weights, self.origin)
        bias = Bias(
            name=f"{self.part(part)}.bias", sources=(), target=self.part(part), origin=self.origin, weight=weight,
            shifts=shifts,
        )  # fmt: skip
        self.projections.append(bias)

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


def one_to_one(synapses: Einsum) -> Pool:
    """The same connections between grids of equal axes."""
    return Pool(
        name=synapses.name, sources=synapses.sources, target=synapses.target, origin=synapses.origin,
        shift=synapses.shift, counted=synapses.counted, weight=synapses.weight,
    )  # fmt: skip
