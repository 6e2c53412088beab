"""The network under construction, and what every lowering rule asks of it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace

import numpy as np

from compiler.ir.graph import Graph, Node
from compiler.lower.values import Grid, Spikes, Value
from neurochip.chip.spec import WeightFormat
from neurochip.errors import UnsupportedError
from neurochip.network.arithmetic import Arithmetic
from neurochip.network.network import InputSpec, Neuron, Population, ReadoutSpec
from neurochip.network.projections import MaxConv, Projection


@dataclass(slots=True)
class Lowering:
    """The network under construction. ``dendrites``: most compartments of a neuron; 0 = no dendrites that join.

    ``activation_bits``: of the values that always-on axons of graded cores carry; 0 = no such cores.
    """

    graph: Graph
    rules: Arithmetic
    weights: WeightFormat
    dendrites: int = 0
    activation_bits: int = 0
    values: dict[str, Value] = field(default_factory=dict)
    populations: dict[str, Population] = field(default_factory=dict)
    projections: list[Projection] = field(default_factory=list)
    input: InputSpec | None = None
    readout: ReadoutSpec | None = None

    def shifts(self) -> range:
        """Shifts that synaptic weights can have."""
        return range(self.weights.shift_low, self.weights.shift_high + 1)

    def connect(self, target: str, projections: Iterable[Projection], shift: int) -> None:
        """Add ``projections`` into ``target``.

        A current that several populations need (a membrane shortcut) is computed by each of them: its synapses are
        repeated under other names with the same weights, and only the first are counted as the model's arithmetic.
        """
        names = {p.name for p in self.projections}
        for p in projections:
            again = p.name in names
            name = f"{p.name}@{target}" if again else p.name
            self.projections.append(replace(p, name=name, target=target, shift=shift, counted=p.counted and not again))
            if isinstance(p, MaxConv):
                self._add_compartments(target, p)

    def _add_compartments(self, target: str, projection: MaxConv) -> None:
        """Compartments of ``target`` for maxima, as many as the chip's neurons can have."""
        source, population = self.populations[projection.sources[0].population], self.populations[target]
        rows, columns = projection.grids(source.height, source.width)[1]
        more = projection.compartments(rows * columns // population.positions)
        population = replace(population, compartments=population.compartments + more)
        self.populations[target] = population
        if population.compartments > self.dendrites:
            raise UnsupportedError(
                f"layer {target!r}: joins maxima of {projection.origin!r} in {population.compartments} compartments, a "
                f"neuron of this chip has at most {self.dendrites}; use smaller images, or pool spikes, not currents"
            )

    def spikes(self, node: Node) -> Spikes:
        """The inputs of ``node`` as one sum of spikes on shared axons."""
        parts = [self.values[name] for name in node.inputs]
        for name, part in zip(node.inputs, parts, strict=True):
            if not isinstance(part, Spikes):
                raise UnsupportedError(
                    f"node {node.name!r}: expected spikes, found real-valued {name!r}; put a neuron between them"
                )
        first = parts[0]
        assert isinstance(first, Spikes)
        sources: list[str] = []
        for part in parts:
            assert isinstance(part, Spikes)
            if part.grid != first.grid or not np.array_equal(part.index, first.index):
                raise UnsupportedError(f"node {node.name!r}: its inputs differ in layout and cannot share axons")
            sources.extend(part.sources)
        return Spikes(tuple(sources), first.grid, first.index)

    def add_population(
        self, name: str, grid: Grid, neuron: Neuron, origin: str, high: int = 1, signed: bool = False
    ) -> str:
        """Add a population and return its name."""
        self.populations[name] = Population(
            name=name,
            height=grid.height,
            width=grid.width,
            channels=grid.channels,
            neuron=neuron,
            origin=origin,
            high=high,
            signed=signed,
        )
        return name

    def interval(self, node: Node) -> tuple[int, int]:
        """Proven integer bounds of ``node``."""
        kind = self.graph.types[node.name]
        return int(kind.low), int(kind.high)
