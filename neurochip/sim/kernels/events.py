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
def merge(starts: NDArray[np.int64], channels: NDArray[np.int32]) -> Events:
    """Events of several sources on shared axons: at each position those of the first, then those of the next.

    ``starts`` (sources, rows + 1); ``channels``: the channels of all sources, one source after the other.
    """
    n_sources, n_rows = starts.shape[0], starts.shape[1] - 1
    start = np.zeros(n_rows + 1, np.int64)
    offset = np.zeros(n_sources, np.int64)
    for i in range(n_sources):
        start += starts[i]
        if i:
            offset[i] = offset[i - 1] + starts[i - 1, n_rows]
    channel = np.empty(start[-1], np.int32)
    for p in range(n_rows):
        j = start[p]
        for i in range(n_sources):
            for k in range(offset[i] + starts[i, p], offset[i] + starts[i, p + 1]):
                channel[j] = channels[k]
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
def events_above(counts: NDArray[np.integer], least: int) -> Events:
    """One event for every count (rows, C) above ``least``."""
    start = np.zeros(len(counts) + 1, np.int64)
    for p in range(counts.shape[0]):
        total = 0
        for c in range(counts.shape[1]):
            total += counts[p, c] > least
        start[p + 1] = start[p] + total
    channel = np.empty(start[-1], np.int32)
    j = 0
    for p in range(counts.shape[0]):
        for c in range(counts.shape[1]):
            if counts[p, c] > least:
                channel[j] = c
                j += 1
    return Events(start, channel)


@njit(cache=True, nogil=True)
def events_in_turn(
    counts: NDArray[np.int32], ticks: int
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int32]]:
    """Counts (rows, C) of at most ``ticks`` as unit events, one a tick while they last.

    Returns the ``start`` of the events of each tick, (ticks, rows + 1), where the channels of each tick begin among
    all, (ticks + 1,), and the channels.
    """
    rows, channels = counts.shape
    start = np.zeros((ticks, rows + 1), np.int64)
    for p in range(rows):
        equal = np.zeros(ticks + 1, np.int64)
        for c in range(channels):
            equal[counts[p, c]] += 1
        above = np.int64(0)
        for tick in range(ticks - 1, -1, -1):
            above += equal[tick + 1]
            start[tick, p + 1] = start[tick, p] + above
    begin = np.zeros(ticks + 1, np.int64)
    for tick in range(ticks):
        begin[tick + 1] = begin[tick] + start[tick, rows]
    channel = np.empty(begin[ticks], np.int32)
    for p in range(rows):
        at = begin[:ticks] + start[:, p]
        for c in range(channels):
            for tick in range(counts[p, c]):
                channel[at[tick]] = c
                at[tick] += 1
    return start, begin, channel


@njit(cache=True, nogil=True)
def events_by_slice(events: Events, width: int, n_slices: int) -> NDArray[np.int64]:
    """Events of each row in each slice of ``width`` channels, (rows, n_slices)."""
    counts = np.zeros((len(events.start) - 1, n_slices), np.int64)
    for p in range(len(counts)):
        for j in range(events.start[p], events.start[p + 1]):
            counts[p, events.channel[j] // width] += 1
    return counts


@njit(cache=True, nogil=True)
def counts_of(events: Events, counts: NDArray[np.int32]) -> None:
    """Dense counts (rows, C) of events; ``counts`` is set."""
    counts[:] = 0
    for p in range(len(counts)):
        for j in range(events.start[p], events.start[p + 1]):
            counts[p, events.channel[j]] += 1


@njit(cache=True, nogil=True)
def events_of_plane(plane: NDArray[np.uint8]) -> Events:
    """Events of counts in bytes (lanes, P, C): row lane * P + p, channel c appears as often as counted."""
    lanes, positions, n_channels = plane.shape
    start = np.zeros(lanes * positions + 1, np.int64)
    total, most = np.int64(0), np.uint8(0)
    for lane in range(lanes):
        for p in range(positions):
            row, here = plane[lane, p], np.int32(0)
            for c in range(n_channels):
                here += np.int32(row[c])
                most = max(most, row[c])
            total += here
            start[lane * positions + p + 1] = total
    channel = np.empty(total + 1, np.int32)
    j = 0
    for lane in range(lanes):
        for p in range(positions):
            row = plane[lane, p]
            for c in range(n_channels):
                channel[j] = c
                j += row[c] != 0
                if most > 1:
                    for _ in range(1, row[c]):
                        channel[j] = c
                        j += 1
    return Events(start, channel[:total])
