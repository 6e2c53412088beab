"""Products of spikes with weighted sums of spikes, by events: the matrix of a head, then the rows that z gates."""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray

from neurochip.sim.kernels.events import Events
from neurochip.sim.kernels.synapses import Window


@njit(cache=True, nogil=True)
def weigh(
    x: Events,
    window: Window,
    weight: NDArray[np.int8 | np.int16],
    bias: NDArray[np.int32],
    low: int,
    matrix: NDArray[np.int64],
) -> NDArray[np.int64]:
    """``matrix`` (B, M, d) = the convolution of x in the channels low .. low + d - 1, M = its positions.

    ``weight`` (kernel_y * kernel_x * C_in, C_out). Returns (B, 2): accumulates, and those of weights that are not 0.
    """
    n_inputs, positions, depth = matrix.shape
    n_in = len(weight) // (window.kernel_y * window.kernel_x)
    counts = np.zeros((n_inputs, 2), np.int64)
    for item in range(n_inputs):
        for m in range(positions):
            for i in range(depth):
                matrix[item, m, i] = bias[low + i]
        for y in range(window.height):
            for a in range(window.kernel_y):
                row = y + window.padding_y - a
                if row < 0 or row % window.stride_y or row // window.stride_y >= window.out_height:
                    continue
                for u in range(window.width):
                    for b in range(window.kernel_x):
                        column = u + window.padding_x - b
                        if column < 0 or column % window.stride_x or column // window.stride_x >= window.out_width:
                            continue
                        out = matrix[item, row // window.stride_y * window.out_width + column // window.stride_x]
                        p = (item * window.height + y) * window.width + u
                        for j in range(x.start[p], x.start[p + 1]):
                            added = weight[(a * window.kernel_x + b) * n_in + x.channel[j], low : low + depth]
                            for i in range(depth):
                                out[i] += added[i]
                                counts[item, 1] += added[i] != 0
                            counts[item, 0] += depth
    return counts


@njit(cache=True, nogil=True)
def gate(z: Events, rows: NDArray[np.int64], first: int, low: int, payload: NDArray[np.int32]) -> NDArray[np.int64]:
    """``payload[:, :, low : low + n] = z rows`` of one head: z's channels from ``first`` on add up ``rows`` (B, K, n).

    Returns (B, 2): accumulates, and those of elements that are not 0.
    """
    n_inputs, read, made = rows.shape
    n_positions = payload.shape[1]
    counts = np.zeros((n_inputs, 2), np.int64)
    for item in range(n_inputs):
        filled = np.zeros(read, np.int64)
        for k in range(read):
            for i in range(made):
                filled[k] += rows[item, k, i] != 0
        for p in range(n_positions):
            out = payload[item, p, low : low + made]
            source = item * n_positions + p
            for j in range(z.start[source], z.start[source + 1]):
                k = z.channel[j] - first
                if 0 <= k < read:
                    for i in range(made):
                        out[i] += rows[item, k, i]
                    counts[item, 0] += made
                    counts[item, 1] += filled[k]
    return counts
