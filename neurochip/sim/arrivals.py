"""Spikes that arrive in a tick through one bundle of axons, in the form a projection wants them."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from neurochip.network.network import Population
from neurochip.network.projections import Dense
from neurochip.sim.kernels import dense
from neurochip.sim.kernels.events import Events, merge
from neurochip.sim.kernels.synapses import Window
from neurochip.sim.schedule import ProjectionPlan

Padding = tuple[int, int]


@dataclass(slots=True, eq=False)
class Arrival:
    """Events of the sources of a bundle, ``parts``, all of the shape of ``source``; forms are made on demand.

    ``events``: all of them as one list; ``counts``: padding -> (B, height + 2 py, width + 2 px, C) uint8.
    """

    source: Population
    parts: tuple[Events, ...]
    events: Events | None = None
    counts: dict[Padding, NDArray[np.uint8]] = field(default_factory=dict)

    @property
    def density(self) -> float:
        """Events for each neuron of one source."""
        rows = len(self.parts[0].start) - 1
        return sum(len(part.channel) for part in self.parts) / max(rows * self.source.channels, 1)

    @property
    def per_position(self) -> NDArray[np.int64]:
        """Events at each position, (B, height, width)."""
        total = np.sum([np.diff(part.start) for part in self.parts], axis=0)
        return np.asarray(total.reshape(-1, self.source.height, self.source.width), np.int64)

    def as_events(self) -> Events:
        """At each position the events of the first source, then those of the next."""
        if self.events is None:
            self.events = self.parts[0] if len(self.parts) == 1 else merge_all(self.parts)
        return self.events

    def as_counts(self, padding: Padding) -> NDArray[np.uint8]:
        """Events of each neuron, zeros around."""
        if padding not in self.counts:
            high, wide = self.source.height + 2 * padding[0], self.source.width + 2 * padding[1]
            inputs = (len(self.parts[0].start) - 1) // self.source.positions
            counts = np.zeros((inputs, high, wide, self.source.channels), np.uint8)
            for part in self.parts:
                dense.add_counts(part, padding, counts)
            self.counts[padding] = counts
        return self.counts[padding]


def multiply(
    arrival: Arrival, projection: ProjectionPlan, slice_width: int, current: NDArray[np.int32], ops: NDArray[np.int64]
) -> None:
    """Deliver ``arrival`` by a matrix product; ``current`` (B * P, C) and ``ops`` (B * P, n_slices) grow."""
    counts = arrival.as_counts(projection.padding)
    multiply_counts(counts, arrival.per_position, projection, slice_width, current, ops)


def multiply_counts(
    counts: NDArray[np.uint8],
    events: NDArray[np.int64],
    projection: ProjectionPlan,
    slice_width: int,
    current: NDArray[np.int32],
    ops: NDArray[np.int64],
) -> None:
    """``multiply`` of ``counts`` with zeros around, of which there are ``events`` (B, height, width) to book."""
    window = projection.window
    dense.count_dense_ops(events, window, slice_width, current.shape[1], ops)
    rows = len(counts) * window.out_height
    if isinstance(projection.projection, Dense):  # all positions in one row: whole tiles of the kernel
        counts = counts.reshape(1, 1, -1, counts.shape[3])
        window, rows = Window(1, len(current), 1, len(current), 1, 1, 1, 1, 0, 0), 1
    dense.multiply(counts, window, projection.panels, current, (0, rows))


def merge_all(parts: tuple[Events, ...]) -> Events:
    """Events of several sources on shared axons: at each position those of the first, then those of the next."""
    starts = np.stack([part.start for part in parts])
    events: Events = merge(starts, np.concatenate([part.channel for part in parts]))
    return events
