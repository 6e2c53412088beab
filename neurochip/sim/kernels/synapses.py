"""Delivering spikes: add the weight rows of active channels to currents, and book every accumulate on its core.

Boxes are rows of int32 (y0, y1, x0, x1, c0, c1, py0, py1, px0, px1, pc0, pc1): neurons that receive, and positions and
channels of the source that the core has axons for. A task is one box of one input: task = input * n_boxes + box; tasks
write to disjoint currents, so threads may share a projection. Integer addition commutes: order changes no result.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from neurochip.sim.kernels.events import Events

FLUSH = 256
"""Rows of int8 that an int16 sum can hold: 256 * 127 < 2**15 (the compiler keeps weights within +-127)."""


class Window(NamedTuple):
    """Geometry of a projection: source and target grids, kernel, stride and padding (rows, columns)."""

    height: int
    width: int
    out_height: int
    out_width: int
    kernel_y: int
    kernel_x: int
    stride_y: int
    stride_x: int
    padding_y: int
    padding_x: int


class Maxima(NamedTuple):
    """Geometry of maxima of a convolution: its ``Window``, its own grid, blocks of maxima, and windows of maxima."""

    height: int
    width: int
    out_height: int
    out_width: int
    kernel_y: int
    kernel_x: int
    stride_y: int
    stride_x: int
    padding_y: int
    padding_x: int
    conv_height: int
    conv_width: int
    block_y: int
    block_x: int
    pool_kernel_y: int
    pool_kernel_x: int
    pool_stride_y: int
    pool_stride_x: int
    pool_padding_y: int
    pool_padding_x: int


class Synapses(NamedTuple):
    """Weights of a projection as rows to add, and where they are added. Kernels are compiled for either width.

    ``weight`` (kernel_y * kernel_x * C_in / groups, C_out) int8 or int16; ``groups`` of channels.
    ``current`` (B * P_out, C_out) int32 sums; ``ops`` (B * P_out, n_slices) int64 accumulates done, per channel slice
    of ``slice_width`` neurons (one core holds one slice of a position).
    """

    weight: NDArray[np.int8 | np.int16]
    groups: int
    current: NDArray[np.int32]
    ops: NDArray[np.int64]
    slice_width: int


class Tasks(NamedTuple):
    """Boxes and the range [first, last) of tasks to do."""

    boxes: NDArray[np.int32]
    first: int
    last: int


@njit(cache=True, nogil=True)
def add_rows(
    rows: NDArray[np.int32], weight: NDArray[np.int8 | np.int16], out: NDArray[np.int32], part: NDArray[np.int16]
) -> None:
    """``out += sum of weight[rows[j]]``: int16 sums of up to ``FLUSH`` rows of int8, eight a pass, then into ``out``.

    ``part``: scratch as long as ``out``. ``weight`` is cut to the columns of ``out``. Rows of int16 are added to
    ``out`` at once.
    """
    if weight.itemsize > 1:
        add_words(rows, weight, out)
        return
    n, j, end = len(out), 0, len(rows)
    while j < end:
        stop = min(end, j + FLUSH)
        part[:n] = 0
        while j + 8 <= stop:
            a, b, c, d = weight[rows[j]], weight[rows[j + 1]], weight[rows[j + 2]], weight[rows[j + 3]]
            e, f, g, h = weight[rows[j + 4]], weight[rows[j + 5]], weight[rows[j + 6]], weight[rows[j + 7]]
            for k in range(n):
                s = np.int16(np.int16(np.int16(a[k]) + np.int16(b[k])) + np.int16(np.int16(c[k]) + np.int16(d[k])))
                t = np.int16(np.int16(np.int16(e[k]) + np.int16(f[k])) + np.int16(np.int16(g[k]) + np.int16(h[k])))
                part[k] = np.int16(part[k] + np.int16(s + t))
            j += 8
        while j < stop:
            a = weight[rows[j]]
            for k in range(n):
                part[k] = np.int16(part[k] + np.int16(a[k]))
            j += 1
        for k in range(n):
            out[k] += part[k]


@njit(cache=True, nogil=True)
def add_words(rows: NDArray[np.int32], weight: NDArray[np.int16], out: NDArray[np.int32]) -> None:
    """``out += sum of weight[rows[j]]``, four rows of int16 a pass; the compiler proves that ``out`` never wraps."""
    n, j, end = len(out), 0, len(rows)
    while j + 4 <= end:
        a, b, c, d = weight[rows[j]], weight[rows[j + 1]], weight[rows[j + 2]], weight[rows[j + 3]]
        for k in range(n):
            s, t = np.int32(a[k]) + np.int32(b[k]), np.int32(c[k]) + np.int32(d[k])
            out[k] += np.int32(s + t)
        j += 4
    while j < end:
        a = weight[rows[j]]
        for k in range(n):
            out[k] += np.int32(a[k])
        j += 1


@njit(cache=True, nogil=True)
def count_ops(ops: NDArray[np.int64], rows: int, c0: int, c1: int, slice_width: int) -> None:
    """Book ``rows`` accumulates for each neuron of [c0, c1) on the channel slices that hold them."""
    c = c0
    while c < c1:
        piece = c // slice_width
        end = min((piece + 1) * slice_width, c1)
        ops[piece] += rows * (end - c)
        c = end


@njit(cache=True, nogil=True)
def add_windows(events: Events, window: Window, synapses: Synapses, tasks: Tasks) -> None:
    """Convolutions, output-stationary: gather the rows of a window, add them to one position."""
    n_out = synapses.weight.shape[1]
    per_group = synapses.weight.shape[0] // (window.kernel_y * window.kernel_x)
    out_group = n_out // synapses.groups
    rows, scratch = np.empty(64, np.int32), np.empty(n_out, np.int16)
    for task in range(tasks.first, tasks.last):
        item = task // len(tasks.boxes)
        y0, y1, x0, x1, c0, c1, py0, py1, px0, px1, pc0, pc1 = tasks.boxes[task % len(tasks.boxes)]
        offset = item * window.height * window.width
        for y in range(y0, y1):
            for x in range(x0, x1):
                top, left = y * window.stride_y - window.padding_y, x * window.stride_x - window.padding_x
                out = (item * window.out_height + y) * window.out_width + x
                for g in range(c0 // out_group, (c1 - 1) // out_group + 1):
                    low, high = max(pc0, g * per_group), min(pc1, (g + 1) * per_group)
                    count = 0
                    for dy in range(max(0, py0 - top), min(window.kernel_y, py1 - top)):
                        for dx in range(max(0, px0 - left), min(window.kernel_x, px1 - left)):
                            source = offset + (top + dy) * window.width + left + dx
                            base = (dy * window.kernel_x + dx) * per_group - g * per_group
                            begin, end = events.start[source], events.start[source + 1]
                            if count + end - begin > len(rows):
                                grown = np.empty(2 * (count + end - begin), np.int32)
                                grown[:count] = rows[:count]
                                rows = grown
                            for j in range(begin, end):
                                channel = events.channel[j]
                                rows[count] = base + channel
                                count += low <= channel < high
                    first, last = max(c0, g * out_group), min(c1, (g + 1) * out_group)
                    add_rows(rows[:count], synapses.weight[:, first:last], synapses.current[out, first:last], scratch)
                    count_ops(synapses.ops[out], count, first, last, synapses.slice_width)


@njit(cache=True, nogil=True)
def add_pointwise(events: Events, window: Window, synapses: Synapses, tasks: Tasks) -> None:
    """Token-wise dense projections whose ports carry every channel: the event list is the row list."""
    scratch = np.empty(synapses.weight.shape[1], np.int16)
    for task in range(tasks.first, tasks.last):
        item = task // len(tasks.boxes)
        y0, y1, x0, x1, c0, c1, py0, py1, px0, px1, _, _ = tasks.boxes[task % len(tasks.boxes)]
        weight = synapses.weight[:, c0:c1]
        for y in range(max(y0, py0), min(y1, py1)):
            for x in range(max(x0, px0), min(x1, px1)):
                p = (item * window.height + y) * window.width + x
                rows = events.channel[events.start[p] : events.start[p + 1]]
                add_rows(rows, weight, synapses.current[p, c0:c1], scratch)
                count_ops(synapses.ops[p], len(rows), c0, c1, synapses.slice_width)


@njit(cache=True, nogil=True)
def add_blocks(events: Events, window: Window, synapses: Synapses, tasks: Tasks) -> None:
    """Gather projections: every position of a block adds its rows to one position; kernel = stride = block."""
    scratch = np.empty(synapses.weight.shape[1], np.int16)
    for task in range(tasks.first, tasks.last):
        item = task // len(tasks.boxes)
        y0, y1, x0, x1, c0, c1, py0, py1, px0, px1, pc0, pc1 = tasks.boxes[task % len(tasks.boxes)]
        weight = synapses.weight[:, c0:c1]
        for sy in range(max(y0 * window.stride_y, py0), min(y1 * window.stride_y, py1)):
            for sx in range(max(x0 * window.stride_x, px0), min(x1 * window.stride_x, px1)):
                out = (item * window.out_height + sy // window.stride_y) * window.out_width + sx // window.stride_x
                source = (item * window.height + sy) * window.width + sx
                begin, end = events.start[source], events.start[source + 1]
                rows = np.empty(end - begin, np.int32)
                count = 0
                for j in range(begin, end):
                    rows[count] = events.channel[j]
                    count += pc0 <= events.channel[j] < pc1
                add_rows(rows[:count], weight, synapses.current[out, c0:c1], scratch)
                count_ops(synapses.ops[out], count, c0, c1, synapses.slice_width)


@njit(cache=True, nogil=True)
def add_channelwise(events: Events, window: Window, synapses: Synapses, tasks: Tasks) -> None:
    """Pools, relays and depthwise convolutions: an event reaches its own channel; weight (kernel, C) or (kernel, 1)."""
    shared = synapses.weight.shape[1] == 1
    for task in range(tasks.first, tasks.last):
        item = task // len(tasks.boxes)
        y0, y1, x0, x1, c0, c1, py0, py1, px0, px1, pc0, pc1 = tasks.boxes[task % len(tasks.boxes)]
        low, high = max(c0, pc0), min(c1, pc1)
        for y in range(y0, y1):
            for x in range(x0, x1):
                top, left = y * window.stride_y - window.padding_y, x * window.stride_x - window.padding_x
                out = (item * window.out_height + y) * window.out_width + x
                for dy in range(max(0, py0 - top), min(window.kernel_y, py1 - top)):
                    for dx in range(max(0, px0 - left), min(window.kernel_x, px1 - left)):
                        source = (item * window.height + top + dy) * window.width + left + dx
                        weight = synapses.weight[dy * window.kernel_x + dx]
                        for j in range(events.start[source], events.start[source + 1]):
                            c = events.channel[j]
                            if low <= c < high:
                                synapses.current[out, c] += weight[0 if shared else c]
                                synapses.ops[out, c // synapses.slice_width] += 1


@njit(cache=True, nogil=True)
def add_maxima(events: Events, window: Maxima, synapses: Synapses, tasks: Tasks) -> None:
    """Maxima of a convolution: each position of a window is a compartment with synapses of its own."""
    scratch = np.empty(synapses.weight.shape[1], np.int16)
    for task in range(tasks.first, tasks.last):
        item = task // len(tasks.boxes)
        box = tasks.boxes[task % len(tasks.boxes)]
        c0, c1 = box[4], box[5]
        for y in range(box[0], box[1]):
            for x in range(box[2], box[3]):
                out = (item * window.out_height + y) * window.out_width + x
                for m in range(window.block_y * window.block_x):
                    top = (y * window.block_y + m // window.block_x) * window.pool_stride_y - window.pool_padding_y
                    left = (x * window.block_x + m % window.block_x) * window.pool_stride_x - window.pool_padding_x
                    largest = np.full(c1 - c0, -(1 << 31), np.int32)
                    for cy in range(max(0, top), min(window.conv_height, top + window.pool_kernel_y)):
                        for cx in range(max(0, left), min(window.conv_width, left + window.pool_kernel_x)):
                            leaf = np.zeros(c1 - c0, np.int32)
                            add_leaf(events, window, synapses, (item, cy, cx), box, leaf, synapses.ops[out], scratch)
                            for k in range(c1 - c0):
                                largest[k] = max(largest[k], leaf[k])
                    for k in range(c1 - c0):
                        synapses.current[out, c0 + k] += largest[k]


@njit(cache=True, nogil=True)
def add_leaf(
    events: Events,
    window: Maxima,
    synapses: Synapses,
    at: tuple[int, int, int],
    box: NDArray[np.int32],
    leaf: NDArray[np.int32],
    ops: NDArray[np.int64],
    scratch: NDArray[np.int16],
) -> None:
    """The convolution at input, row and column ``at``, channels of ``box``, added to ``leaf``; ``ops`` books it."""
    item, cy, cx = at
    c0, c1, pc0, pc1 = box[4], box[5], box[10], box[11]
    per_group = synapses.weight.shape[0] // (window.kernel_y * window.kernel_x)
    out_group = synapses.weight.shape[1] // synapses.groups
    top, left = cy * window.stride_y - window.padding_y, cx * window.stride_x - window.padding_x
    for g in range(c0 // out_group, (c1 - 1) // out_group + 1):
        low, high = max(pc0, g * per_group), min(pc1, (g + 1) * per_group)
        first, last = max(c0, g * out_group), min(c1, (g + 1) * out_group)
        for dy in range(max(0, box[6] - top), min(window.kernel_y, box[7] - top)):
            for dx in range(max(0, box[8] - left), min(window.kernel_x, box[9] - left)):
                source = (item * window.height + top + dy) * window.width + left + dx
                base = (dy * window.kernel_x + dx) * per_group - g * per_group
                begin, end = events.start[source], events.start[source + 1]
                rows, count = np.empty(end - begin, np.int32), 0
                for j in range(begin, end):
                    rows[count] = base + events.channel[j]
                    count += low <= events.channel[j] < high
                part = leaf[first - c0 : last - c0]
                add_rows(rows[:count], synapses.weight[:, first:last], part, scratch)
                count_ops(ops, count, first, last, synapses.slice_width)


@njit(cache=True, nogil=True)
def add_block_rows(
    events: Events,
    window: Window,
    weight: NDArray[np.int8 | np.int16],
    groups: int,
    place: tuple[int, int, int, int],
    current: NDArray[np.int32],
) -> None:
    """Whole windows of all channels: ``current`` (T, n, at least C_out) += the rows of active inputs.

    ``events``: row (step * inputs + input) * P_in + position. ``place``: input, inputs, first and last + 1 row of the
    targets, which are the n of ``current``. ``weight`` has rows for each tap of the kernel; ``groups`` 0: for one only.
    """
    item, inputs, y0, y1 = place
    n_out = weight.shape[1]
    per_tap = len(weight) // (window.kernel_y * window.kernel_x) if groups else 0
    per_group = per_tap if groups else len(weight)
    out_group = n_out // max(groups, 1)
    rows, scratch = np.empty(64, np.int32), np.empty(n_out, np.int16)
    for t in range(len(current)):
        offset = (t * inputs + item) * window.height * window.width
        for n in range((y1 - y0) * window.out_width):
            top = (y0 + n // window.out_width) * window.stride_y - window.padding_y
            left = n % window.out_width * window.stride_x - window.padding_x
            for g in range(max(groups, 1)):
                low, high = g * per_group, (g + 1) * per_group
                count = 0
                for dy in range(max(0, -top), min(window.kernel_y, window.height - top)):
                    for dx in range(max(0, -left), min(window.kernel_x, window.width - left)):
                        source = offset + (top + dy) * window.width + left + dx
                        base = (dy * window.kernel_x + dx) * per_tap - low
                        begin, end = events.start[source], events.start[source + 1]
                        if count + end - begin > len(rows):
                            grown = np.empty(2 * (count + end - begin), np.int32)
                            grown[:count] = rows[:count]
                            rows = grown
                        for j in range(begin, end):
                            channel = events.channel[j]
                            rows[count] = base + channel
                            count += low <= channel < high
                first, last = g * out_group, (g + 1) * out_group
                add_rows(rows[:count], weight[:, first:last], current[t, n, first:last], scratch)
