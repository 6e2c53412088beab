"""What a graph value is while it is being lowered: spikes of populations, or a current still looking for its neurons.

Layout is tracked as data: ``index`` has the shape of the graph value and holds, for each element, the canonical id
(y * W + x) * C + c of the neuron it belongs to. Reshapes and transposes act on ``index`` alone, so any chain of them is
followed exactly and none needs a rule of its own.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from neurochip.network.projections import Projection, Source

Index = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Grid:
    """Geometry of a population: positions (height, width) times channels."""

    height: int
    width: int
    channels: int

    @property
    def positions(self) -> int:
        """Number of positions."""
        return self.height * self.width

    @property
    def size(self) -> int:
        """Number of neurons."""
        return self.positions * self.channels


@dataclass(frozen=True, slots=True, eq=False)
class Spikes:
    """A value carried by spikes: the sum of what ``sources`` emit (several after residual additions)."""

    sources: tuple[str, ...]
    grid: Grid
    index: Index

    def shared(self) -> tuple[Source, ...]:
        """The sources of a projection from this value; ``balance`` sets their delays."""
        return tuple(Source(name) for name in self.sources)


PENDING = ""
"""Target of a projection whose population is not known yet."""


@dataclass(frozen=True, slots=True, eq=False)
class Current:
    """A sum of weighted spikes that will charge one population: projections with a ``PENDING`` target and shift 0.

    Attributes:
        bias: (C,) whole numbers in the population's unit, or None.
        low, high: proven bounds of one step's integer sum, bias included.
        encoded: a part of the current is written by the host (first layer), not carried by spikes.
    """

    projections: tuple[Projection, ...]
    grid: Grid
    index: Index
    bias: NDArray[np.int64] | None
    low: int
    high: int
    encoded: bool = False


@dataclass(frozen=True, slots=True, eq=False)
class Levels:
    """The quantised analog input, still on the host; ``index`` is channel-last like a population's."""

    grid: Grid
    index: Index


@dataclass(frozen=True, slots=True, eq=False)
class Sums:
    """Sums of spikes of one value, waiting for synapses: ``index`` has one axis more, over the neurons summed."""

    sources: tuple[str, ...]
    grid: Grid
    index: Index


@dataclass(frozen=True, slots=True)
class Logits:
    """The model's result, or an addend of it; no op but their sum reads it."""


Value = Spikes | Current | Levels | Sums | Logits


def image_index(grid: Grid) -> Index:
    """Canonical ids in (C, H, W) order."""
    ids = np.arange(grid.size, dtype=np.int64).reshape(grid.height, grid.width, grid.channels)
    return np.moveaxis(ids, 2, 0)


def value_grid(shape: tuple[int, ...]) -> tuple[Grid, Index]:
    """Grid and index of a graph input of ``shape``: (C, H, W), (N, D) or (F,)."""
    if len(shape) == 3:
        grid = Grid(shape[1], shape[2], shape[0])
        return grid, image_index(grid)
    grid = Grid(1, shape[0], shape[1]) if len(shape) == 2 else Grid(1, 1, shape[0])
    return grid, np.arange(grid.size, dtype=np.int64).reshape(shape)
