"""Spiking attention: products of spikes, and their integer payloads sent as binary digits."""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray

from neurochip.sim.kernels.events import Events
from neurochip.sim.kernels.synapses import Synapses, Tasks, Window


@njit(cache=True, nogil=True)
def digits(value: int) -> int:
    """Number of ones in the binary form of ``value``, whatever its sign."""
    count, value = 0, abs(value)
    while value:
        value &= value - 1
        count += 1
    return count


@njit(cache=True, nogil=True)
def attend(
    q: Events, k: Events, v: Events, head: int, depth: int, limit: int, payload: NDArray[np.int32]
) -> NDArray[np.int64]:
    """``payload[:, :, head] = q min(k^T v, limit)`` of one head of ``depth`` channels, by events.

    ``payload`` (B, P, C); ``limit`` 0 = none. Returns (B, 5): accumulates done, those of them with both operands
    non-zero, coincidences of k and v, elements of ``k^T v`` that are not zero, and elements beyond the limit.
    """
    low, high = head * depth, (head + 1) * depth
    n_inputs, n_positions, _ = payload.shape
    counts = np.zeros((n_inputs, 5), np.int64)
    for item in range(n_inputs):
        outer = np.zeros((depth, depth), np.int32)
        for p in range(item * n_positions, (item + 1) * n_positions):
            for i in range(k.start[p], k.start[p + 1]):
                if low <= k.channel[i] < high:
                    row = outer[k.channel[i] - low]
                    for j in range(v.start[p], v.start[p + 1]):
                        if low <= v.channel[j] < high:
                            row[v.channel[j] - low] += 1
                            counts[item, 2] += 1
        filled = np.zeros(depth, np.int64)
        for i in range(depth):
            for j in range(depth):
                filled[i] += outer[i, j] != 0
                if limit and outer[i, j] > limit:
                    outer[i, j] = limit
                    counts[item, 4] += 1
        counts[item, 3] = filled.sum()
        counts[item, 0] = counts[item, 1] = counts[item, 2]
        for p in range(n_positions):
            out = payload[item, p, low:high]
            out[:] = 0
            source = item * n_positions + p
            for i in range(q.start[source], q.start[source + 1]):
                if low <= q.channel[i] < high:
                    row = outer[q.channel[i] - low]
                    for j in range(depth):
                        out[j] += row[j]
                    counts[item, 0] += depth
                    counts[item, 1] += filled[q.channel[i] - low]
    return counts


@njit(cache=True, nogil=True)
def add_payload(payload: NDArray[np.int32], window: Window, synapses: Synapses, tasks: Tasks) -> None:
    """One-to-one projection of payloads (B, P, C): one accumulate per binary digit that is set."""
    weight = np.int32(synapses.weight[0, 0])
    for task in range(tasks.first, tasks.last):
        item = task // len(tasks.boxes)
        y0, y1, x0, x1, c0, c1, py0, py1, px0, px1, pc0, pc1 = tasks.boxes[task % len(tasks.boxes)]
        for y in range(max(y0, py0), min(y1, py1)):
            for x in range(max(x0, px0), min(x1, px1)):
                p = y * window.width + x
                out = item * window.height * window.width + p
                for c in range(max(c0, pc0), min(c1, pc1)):
                    value = payload[item, p, c]
                    if value:
                        synapses.current[out, c] += value * weight
                        synapses.ops[out, c // synapses.slice_width] += digits(value)
