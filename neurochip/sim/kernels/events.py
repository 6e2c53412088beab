"""Spikes as event lists: making, merging and counting them.

Events of a population in one step are CSR by position, the positions of all inputs of a batch one after the other:
position p of input i is row i * P + p. A position's channels ascend per source; a channel repeats where several sources
share an axon, or a source replays a count.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray


class Events(NamedTuple):
    """Spikes of one population (or of several that share axons): start (B * P + 1,) int64, channel (n,) int32."""

    start: NDArray[np.int64]
    channel: NDArray[np.int32]


@njit(cache=True, nogil=True)
def merge(first: Events, second: Events) -> Events:
    """Events of two sources on shared axons: at each position those of the first, then those of the second."""
    start = first.start + second.start
    channel = np.empty(start[-1], np.int32)
    for p in range(len(start) - 1):
        j = start[p]
        for i in range(first.start[p], first.start[p + 1]):
            channel[j] = first.channel[i]
            j += 1
        for i in range(second.start[p], second.start[p + 1]):
            channel[j] = second.channel[i]
            j += 1
    return Events(start, channel)


@njit(cache=True, nogil=True)
def events_of(counts: NDArray[np.int64]) -> Events:
    """Events of dense counts (rows, C): channel c appears ``counts[p, c]`` times."""
    start = np.zeros(len(counts) + 1, np.int64)
    for p in range(len(counts)):
        start[p + 1] = start[p] + counts[p].sum()
    channel = np.empty(start[-1], np.int32)
    j = 0
    for p in range(counts.shape[0]):
        for c in range(counts.shape[1]):
            for _ in range(counts[p, c]):
                channel[j] = c
                j += 1
    return Events(start, channel)


@njit(cache=True, nogil=True)
def counts_of(events: Events, counts: NDArray[np.int32]) -> None:
    """Dense counts (rows, C) of events; ``counts`` is set."""
    counts[:] = 0
    for p in range(len(counts)):
        for j in range(events.start[p], events.start[p + 1]):
            counts[p, events.channel[j]] += 1


@njit(cache=True, nogil=True)
def slice_spikes(events: Events, slice_width: int, out: NDArray[np.int64]) -> None:
    """Spikes per (row, channel slice); ``out`` is set."""
    out[:] = 0
    for p in range(len(out)):
        for j in range(events.start[p], events.start[p + 1]):
            out[p, events.channel[j] // slice_width] += 1
