"""The event engine's inner loops. One file, because Numba's cache does not see edits of callees elsewhere.

Events of a population in one step are CSR by position: ``start`` (P + 1,) int64 and ``channel`` (n,) int32, channels in
ascending order per source; a channel may repeat where several sources share an axon. Boxes are rows of int32:
(y0, y1, x0, x1, c0, c1, py0, py1, px0, px1, pc0, pc1) = neurons that receive, and positions and channels of the source
that the core has axons for. Integer addition commutes, so no order of events can change a result.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray


class Events(NamedTuple):
    """Spikes of one population (or of several that share axons) in one step."""

    start: NDArray[np.int64]
    channel: NDArray[np.int32]


class Window(NamedTuple):
    """Geometry of a windowed projection: source grid, target width, kernel, stride and padding (rows, columns)."""

    height: int
    width: int
    out_width: int
    kernel_y: int
    kernel_x: int
    stride_y: int
    stride_x: int
    padding_y: int
    padding_x: int


class Synapses(NamedTuple):
    """Weights of a projection as rows to add, and where they are added.

    ``weight`` (kernel_y * kernel_x * C_in / groups, C_out); ``groups`` of channels.
    ``current`` (P_out, C_out) int32 sums; ``ops`` (P_out, n_slices) int64 accumulates done, per channel slice of
    ``slice_width`` neurons (one core holds one slice of a position).
    """

    weight: NDArray[np.int32]
    groups: int
    current: NDArray[np.int32]
    ops: NDArray[np.int64]
    slice_width: int


class Rules(NamedTuple):
    """One population's neuron update; see ``neurochip.network.arithmetic``."""

    keep: int
    decay_bits: int
    round_down: int
    threshold: int
    reset_by: int
    fires_ge: int
    readout: int
    current_bits: int
    current_wraps: int
    membrane_bits: int
    membrane_wraps: int
    shift: int


@njit(cache=True, nogil=True)
def add_rows(
    rows: NDArray[np.int32], count: int, weight: NDArray[np.int32], out: NDArray[np.int32], c0: int, c1: int
) -> None:
    """``out[c0:c1] += sum of weight[rows[j], c0:c1]``, four rows a pass."""
    j = 0
    while j + 4 <= count:
        a, b, c, d = weight[rows[j]], weight[rows[j + 1]], weight[rows[j + 2]], weight[rows[j + 3]]
        for k in range(c0, c1):
            out[k] += (np.int32(a[k]) + np.int32(b[k])) + (np.int32(c[k]) + np.int32(d[k]))
        j += 4
    while j < count:
        a = weight[rows[j]]
        for k in range(c0, c1):
            out[k] += np.int32(a[k])
        j += 1


@njit(cache=True, nogil=True)
def count_ops(ops: NDArray[np.int64], position: int, rows: int, c0: int, c1: int, slice_width: int) -> None:
    """Book ``rows`` accumulates for each neuron of [c0, c1) on the channel slices that hold them."""
    c = c0
    while c < c1:
        piece = c // slice_width
        end = min((piece + 1) * slice_width, c1)
        ops[position, piece] += rows * (end - c)
        c = end


@njit(cache=True, nogil=True)
def add_windows(events: Events, window: Window, synapses: Synapses, boxes: NDArray[np.int32]) -> None:
    """Dense and convolutional projections, output-stationary: gather the rows of a window, add them to one position."""
    kernel = window.kernel_y * window.kernel_x
    groups, n_out = synapses.groups, synapses.weight.shape[1]
    per_group = synapses.weight.shape[0] // kernel
    out_group = n_out // groups
    rows = np.empty(0, np.int32)
    for b in range(len(boxes)):
        y0, y1, x0, x1, c0, c1, py0, py1, px0, px1, pc0, pc1 = boxes[b]
        for y in range(y0, y1):
            for x in range(x0, x1):
                top, left = y * window.stride_y - window.padding_y, x * window.stride_x - window.padding_x
                out = y * window.out_width + x
                for g in range(c0 // out_group, (c1 - 1) // out_group + 1):
                    low, high = max(pc0, g * per_group), min(pc1, (g + 1) * per_group)
                    count = 0
                    for dy in range(max(0, py0 - top), min(window.kernel_y, py1 - top)):
                        for dx in range(max(0, px0 - left), min(window.kernel_x, px1 - left)):
                            source = (top + dy) * window.width + left + dx
                            base = (dy * window.kernel_x + dx) * per_group - g * per_group
                            begin, end = events.start[source], events.start[source + 1]
                            if count + end - begin > len(rows):
                                grown = np.empty(2 * (count + end - begin) + 64, np.int32)
                                grown[:count] = rows[:count]
                                rows = grown
                            for j in range(begin, end):
                                channel = events.channel[j]
                                rows[count] = base + channel
                                count += low <= channel < high
                    first, last = max(c0, g * out_group), min(c1, (g + 1) * out_group)
                    add_rows(rows, count, synapses.weight, synapses.current[out], first, last)
                    count_ops(synapses.ops, out, count, first, last, synapses.slice_width)


@njit(cache=True, nogil=True)
def add_pointwise(events: Events, window: Window, synapses: Synapses, boxes: NDArray[np.int32]) -> None:
    """Token-wise dense projections whose ports carry every channel: the event list is the row list."""
    for b in range(len(boxes)):
        y0, y1, x0, x1, c0, c1, py0, py1, px0, px1, _, _ = boxes[b]
        for y in range(max(y0, py0), min(y1, py1)):
            for x in range(max(x0, px0), min(x1, px1)):
                p = y * window.width + x
                begin, end = events.start[p], events.start[p + 1]
                add_rows(events.channel[begin:end], end - begin, synapses.weight, synapses.current[p], c0, c1)
                count_ops(synapses.ops, p, end - begin, c0, c1, synapses.slice_width)


@njit(cache=True, nogil=True)
def add_blocks(events: Events, window: Window, synapses: Synapses, boxes: NDArray[np.int32]) -> None:
    """Gather projections: every position of a block adds its rows to one position; kernel = stride = block."""
    for b in range(len(boxes)):
        y0, y1, x0, x1, c0, c1, py0, py1, px0, px1, pc0, pc1 = boxes[b]
        for sy in range(max(y0 * window.stride_y, py0), min(y1 * window.stride_y, py1)):
            for sx in range(max(x0 * window.stride_x, px0), min(x1 * window.stride_x, px1)):
                out = sy // window.stride_y * window.out_width + sx // window.stride_x
                source = sy * window.width + sx
                begin, end = events.start[source], events.start[source + 1]
                rows = np.empty(end - begin, np.int32)
                count = 0
                for j in range(begin, end):
                    rows[count] = events.channel[j]
                    count += pc0 <= events.channel[j] < pc1
                add_rows(rows, count, synapses.weight, synapses.current[out], c0, c1)
                count_ops(synapses.ops, out, count, c0, c1, synapses.slice_width)


@njit(cache=True, nogil=True)
def add_channelwise(events: Events, window: Window, synapses: Synapses, boxes: NDArray[np.int32]) -> None:
    """Pools, relays and depthwise convolutions: an event reaches its own channel; weight (kernel, C) or (kernel, 1)."""
    shared = synapses.weight.shape[1] == 1
    for b in range(len(boxes)):
        y0, y1, x0, x1, c0, c1, py0, py1, px0, px1, pc0, pc1 = boxes[b]
        low, high = max(c0, pc0), min(c1, pc1)
        for y in range(y0, y1):
            for x in range(x0, x1):
                top, left = y * window.stride_y - window.padding_y, x * window.stride_x - window.padding_x
                out = y * window.out_width + x
                for dy in range(max(0, py0 - top), min(window.kernel_y, py1 - top)):
                    for dx in range(max(0, px0 - left), min(window.kernel_x, px1 - left)):
                        source = (top + dy) * window.width + left + dx
                        tap = dy * window.kernel_x + dx
                        for j in range(events.start[source], events.start[source + 1]):
                            c = events.channel[j]
                            if low <= c < high:
                                synapses.current[out, c] += synapses.weight[tap, 0 if shared else c]
                                synapses.ops[out, c // synapses.slice_width] += 1


@njit(cache=True, nogil=True)
def add_payload(payload: NDArray[np.int32], window: Window, synapses: Synapses, boxes: NDArray[np.int32]) -> None:
    """One-to-one projection of integer payloads sent as binary digits: one accumulate per digit that is set."""
    weight = synapses.weight[0, 0]
    for b in range(len(boxes)):
        y0, y1, x0, x1, c0, c1, py0, py1, px0, px1, pc0, pc1 = boxes[b]
        for y in range(max(y0, py0), min(y1, py1)):
            for x in range(max(x0, px0), min(x1, px1)):
                p = y * window.width + x
                for c in range(max(c0, pc0), min(c1, pc1)):
                    value = payload[p, c]
                    if value:
                        synapses.current[p, c] += value * weight
                        synapses.ops[p, c // synapses.slice_width] += digits(value)


@njit(cache=True, nogil=True)
def digits(value: int) -> int:
    """Number of ones in the binary form of ``value`` >= 0."""
    count = 0
    while value:
        value &= value - 1
        count += 1
    return count


@njit(cache=True, nogil=True)
def attend(q: Events, k: Events, v: Events, head: int, depth: int, payload: NDArray[np.int32]) -> tuple[int, int, int]:
    """``payload[:, head] = q (k^T v)`` of one head of ``depth`` channels, by events.

    Returns (accumulates done, effective accumulates with both operands non-zero, coincidences of k and v).
    """
    low, high = head * depth, (head + 1) * depth
    outer = np.zeros((depth, depth), np.int32)
    coincidences = 0
    for p in range(len(payload)):
        for i in range(k.start[p], k.start[p + 1]):
            if low <= k.channel[i] < high:
                row = outer[k.channel[i] - low]
                for j in range(v.start[p], v.start[p + 1]):
                    if low <= v.channel[j] < high:
                        row[v.channel[j] - low] += 1
                        coincidences += 1
    filled = np.zeros(depth, np.int64)
    for i in range(depth):
        for j in range(depth):
            filled[i] += outer[i, j] != 0
    done = effective = coincidences
    for p in range(len(payload)):
        for j in range(low, high):
            payload[p, j] = 0
        for i in range(q.start[p], q.start[p + 1]):
            if low <= q.channel[i] < high:
                row = outer[q.channel[i] - low]
                for j in range(depth):
                    payload[p, low + j] += row[j]
                done += depth
                effective += filled[q.channel[i] - low]
    return done, effective, coincidences


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
    """Events of dense counts (P, C): channel c appears ``counts[p, c]`` times."""
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
    """Dense counts (P, C) of events, in place."""
    counts[:] = 0
    for p in range(len(counts)):
        for j in range(events.start[p], events.start[p + 1]):
            counts[p, events.channel[j]] += 1


@njit(cache=True, nogil=True)
def update(
    current: NDArray[np.int32],
    constant: NDArray[np.int64],
    membrane: NDArray[np.int32],
    rules: Rules,
    active: NDArray[np.int64],
    slice_width: int,
) -> tuple[Events, int, int]:
    """One step of a population: leak, integrate, fire, reset; clears ``current``.

    ``constant`` (P or 1, C) is added to ``current << shift``; ``active`` (P, n_slices) is set to the neurons that had input or
    charge. Returns (spikes, wrapped currents, clipped membranes).
    """
    n_positions, n_channels = current.shape
    start = np.zeros(n_positions + 1, np.int64)
    channel = np.empty(n_positions * n_channels, np.int32)
    top_u, top_v = np.int64(1) << (rules.current_bits - 1), np.int64(1) << (rules.membrane_bits - 1)
    count = wraps = clips = 0
    shared = len(constant) == 1
    for p in range(n_positions):
        extra = constant[0 if shared else p]
        for c in range(n_channels):
            full = (np.int64(current[p, c]) << rules.shift) + extra[c]
            u = (
                ((full + top_u) & (2 * top_u - 1)) - top_u
                if rules.current_wraps
                else min(max(full, 1 - top_u), top_u - 1)
            )
            wraps += u != full
            before = np.int64(membrane[p, c])
            if rules.round_down or before >= 0:
                kept = (before * rules.keep) >> rules.decay_bits
            else:
                kept = -((-before * rules.keep) >> rules.decay_bits)
            full = kept + u
            v = (
                ((full + top_v) & (2 * top_v - 1)) - top_v
                if rules.membrane_wraps
                else min(max(full, 1 - top_v), top_v - 1)
            )
            clips += v != full
            active[p, c // slice_width] += u != 0 or before != 0
            fired = (v > rules.threshold or (rules.fires_ge and v == rules.threshold)) and not rules.readout
            if fired:
                channel[count] = c
                count += 1
                v = v - rules.reset_by if rules.reset_by else np.int64(0)
            membrane[p, c] = v
            current[p, c] = 0
        start[p + 1] = count
    return Events(start, channel[:count].copy()), wraps, clips


@njit(cache=True, nogil=True)
def slice_spikes(events: Events, slice_width: int, out: NDArray[np.int64]) -> None:
    """Spikes per (position, channel slice); ``out`` is set."""
    out[:] = 0
    for p in range(len(out)):
        for j in range(events.start[p], events.start[p + 1]):
            out[p, events.channel[j] // slice_width] += 1


@njit(cache=True, nogil=True)
def slice_digits(payload: NDArray[np.int32], slice_width: int, out: NDArray[np.int64]) -> None:
    """Packets per (position, channel slice) of payloads sent as binary digits; ``out`` is set."""
    out[:] = 0
    for p in range(len(out)):
        for c in range(payload.shape[1]):
            if payload[p, c]:
                out[p, c // slice_width] += digits(payload[p, c])


@njit(cache=True, nogil=True)
def tile_sums(per_slice: NDArray[np.int64], tiles: NDArray[np.int32], width: int, out: NDArray[np.int64]) -> None:
    """Add ``per_slice`` (P, n_slices) up over each tile (y0, y1, x0, x1, slice, core) into ``out[core]``."""
    for i in range(len(tiles)):
        y0, y1, x0, x1, piece, core = tiles[i]
        total = np.int64(0)
        for y in range(y0, y1):
            for x in range(x0, x1):
                total += per_slice[y * width + x, piece]
        out[core] += total


@njit(cache=True, nogil=True)
def route_packets(
    per_slice: NDArray[np.int64], events: Events, routes: NDArray[np.int32], width: int, out: NDArray[np.int64]
) -> None:
    """Packets on each route (y0, y1, x0, x1, c0, c1, slice or -1): spikes of the source tile that the port listens to."""
    for i in range(len(routes)):
        y0, y1, x0, x1, c0, c1, piece = routes[i]
        total = np.int64(0)
        for y in range(y0, y1):
            for x in range(x0, x1):
                p = y * width + x
                if piece >= 0:
                    total += per_slice[p, piece]
                else:
                    for j in range(events.start[p], events.start[p + 1]):
                        total += c0 <= events.channel[j] < c1
        out[i] = total
