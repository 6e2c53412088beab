"""Synaptic events on crossbars: crosspoints that are set on an axon that carries a spike."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from neurochip.network.crossbar import crosspoints, raw_weight
from neurochip.network.network import Population
from neurochip.network.projections import Conv, Dense, Einsum, Gather, Pool, Projection
from neurochip.network.reference import projected
from neurochip.sim.kernels.events import Events, counts_of

Counts = NDArray[np.int64]


@dataclass(frozen=True, slots=True, eq=False)
class Crosspoints:
    """A projection whose weights are how many crosspoints a spike of each source meets at each target neuron."""

    projection: Projection
    source: Population
    target: Population
    slice_width: int

    def events(self, spikes: Events) -> Counts:
        """Synaptic events that ``spikes`` of the source cause, (rows of the target, channel slices)."""
        source, target = self.source, self.target
        counts = np.zeros((len(spikes.start) - 1, source.channels), np.int32)
        counts_of(spikes, counts)
        grid = counts.reshape(-1, source.height, source.width, source.channels).astype(np.int64)
        met = projected(self.projection, target, {source.name: grid}, grid)
        rows = np.broadcast_to(met, (len(grid), target.height, target.width, target.channels))
        starts = np.arange(0, target.channels, self.slice_width)
        return np.asarray(np.add.reduceat(rows.reshape(-1, target.channels), starts, axis=1) * target.copies)


def crosspoints_of(projection: Projection, source: Population, target: Population, width: int) -> Crosspoints | None:
    """How to count the synaptic events of ``projection``; None if it is no projection of a crossbar."""
    if projection.base is None or target.home == "host":
        return None
    used = crosspoints(raw_weight(projection, target.channels), projection.base).sum(axis=0)
    plain = replace(projection, sources=(replace(projection.sources[0], population=source.name),), shift=0)
    if isinstance(plain, Dense | Conv | Gather):
        return Crosspoints(replace(plain, weight=used.astype(np.int8)), source, target, width)
    if isinstance(plain, Pool | Einsum):
        return Crosspoints(replace(plain, weight=int(used.max())), source, target, width)
    raise TypeError(f"projection {projection.name!r} of kind {projection.kind!r} has no crosspoints")
