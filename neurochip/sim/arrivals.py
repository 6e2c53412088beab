"""Spikes that arrive in a tick through one bundle of axons, in the form a projection wants them."""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import zip_longest

import numpy as np
from numpy.typing import NDArray

from neurochip.network.network import Network, Population
from neurochip.network.projections import Dense
from neurochip.sim.kernels import dense
from neurochip.sim.kernels.events import Events, events_by_slice, merge
from neurochip.sim.kernels.synapses import Synapses, Tasks, Window
from neurochip.sim.schedule import ProjectionPlan
from neurochip.sim.state import Emission

Padding = tuple[int, int]


@dataclass(slots=True, eq=False)
class Arrival:
    """Events of the sources of a bundle, ``parts``, all of the shape of ``source``; forms are made on demand.

    ``events``: all of them as one list; ``counts``: padding -> (B, height + 2 py, width + 2 px, C) uint8.
    ``wholes``: for each part None, or of a payload that travels as unit spikes (``Emission.ahead``) all of them, (rows,
    C), in its first tick, and nothing, (0, C), in later ones. ``ahead``: spikes for each neuron of that payload.
    """

    source: Population
    parts: tuple[Events, ...]
    wholes: tuple[NDArray[np.integer] | None, ...] = ()
    ahead: float | None = None
    events: Events | None = None
    counts: dict[Padding, NDArray[np.uint8]] = field(default_factory=dict)

    @property
    def density(self) -> float:
        """Events for each neuron of one source; of a payload in unit spikes the same in each of its ticks."""
        if self.ahead is not None:
            return self.ahead
        rows = len(self.parts[0].start) - 1
        return sum(len(part.channel) for part in self.parts) / max(rows * self.source.channels, 1)

    @property
    def known(self) -> bool:
        """Whether matrix products have taken all of it in already."""
        return self.ahead is not None and all(whole is not None and not len(whole) for whole in self.wholes)

    def at_once(self, projection: ProjectionPlan) -> bool:
        """Whether ``projection`` is delivered neither from a list nor from counts of these events."""
        if self.ahead is None:
            return False
        return self.known if projection.suits(self.ahead) else projection.one_to_one

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
            inside = counts[:, padding[0] : high - padding[0], padding[1] : wide - padding[1]]
            for part, whole in zip_longest(self.parts, self.wholes):
                if whole is None:
                    dense.add_counts(part, padding, counts)
                elif len(whole):
                    inside += whole.reshape(inside.shape).astype(np.uint8)
            self.counts[padding] = counts
        return self.counts[padding]


def arrival_of(network: Network, sources: tuple[tuple[int, int], ...], emissions: list[Emission]) -> Arrival:
    """What arrives of ``sources`` (population number, delay): ``emissions`` of some of them.

    Only one source can be ahead: each must be so in all of its ticks or in none, whatever else arrives.
    """
    populations = [network.populations[number] for number, _ in sources]
    parts = tuple(one.events for one in emissions)
    ahead = [one.ahead for one in emissions if one.ahead is not None]
    if not ahead or sum(p.coding == "unary" for p in populations) > 1:
        return Arrival(populations[0], parts)
    nothing = np.zeros((0, populations[0].channels), np.int32)
    wholes = tuple(None if e.ahead is None else nothing if e.burst is None else e.burst for e in emissions)
    return Arrival(populations[0], parts, wholes, ahead[0])


def multiply(
    arrival: Arrival, projection: ProjectionPlan, slice_width: int, current: NDArray[np.int32], ops: NDArray[np.int64]
) -> None:
    """Deliver ``arrival`` by a matrix product; ``current`` (B * P, C) and ``ops`` (B * P, n_slices) grow."""
    if arrival.known:
        dense.count_dense_ops(arrival.per_position, projection.window, slice_width, current.shape[1], ops)
        return
    counts = arrival.as_counts(projection.padding)
    multiply_counts(counts, arrival.per_position, projection, slice_width, current, ops)


def add_ahead(arrival: Arrival, projection: ProjectionPlan, synapses: Synapses, tasks: Tasks) -> None:
    """Deliver ``arrival`` one to one: of a payload in unit spikes all with the first."""
    weight = np.int32(projection.weight[0, 0])
    for part, whole in zip(arrival.parts, arrival.wholes, strict=True):
        if whole is None:
            projection.kernel(part, projection.window, synapses, tasks)
            continue
        if len(whole):
            synapses.current[:] += weight * whole
        synapses.ops[:] += events_by_slice(part, synapses.slice_width, synapses.ops.shape[1])


def multiply_counts(
    counts: NDArray[np.uint8],
    events: NDArray[np.int64],
    projection: ProjectionPlan,
    slice_width: int,
    current: NDArray[np.int32],
    ops: NDArray[np.int64],
) -> None:
    """``multiply`` of ``counts`` with zeros around, of which there are ``events`` (B, height, width) to book."""
    window, inputs = projection.window, len(counts)
    dense.count_dense_ops(events, window, slice_width, current.shape[1], ops)
    if isinstance(projection.projection, Dense):  # all positions in one row: whole tiles of the kernel
        counts = counts.reshape(1, 1, -1, counts.shape[3])
        window, inputs = Window(1, len(current), 1, len(current), 1, 1, 1, 1, 0, 0), 1
    sums = current.reshape(inputs, -1, current.shape[1])
    dense.multiply(counts, window, projection.panels, (0, 1, 0, window.out_height), sums)


def merge_all(parts: tuple[Events, ...]) -> Events:
    """Events of several sources on shared axons: at each position those of the first, then those of the next."""
    starts = np.stack([part.start for part in parts])
    events: Events = merge(starts, np.concatenate([part.channel for part in parts]))
    return events
