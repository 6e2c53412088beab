"""Connections by index: every target neuron adds up the source neurons at its own offsets."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from neurochip.sim.kernels.synapses import Synapses, Tasks

Ints = NDArray[np.int64]


class Offsets(NamedTuple):
    """Target (y, x, c) reads source neurons ``rows[y] + columns[x] + channels[c] + own``; ``size`` of the source.

    ``graded``: 1 = a payload is one operation, 0 = every spike of a count is one.
    """

    rows: Ints
    columns: Ints
    channels: Ints
    own: Ints
    size: int
    graded: int


@njit(cache=True, nogil=True)
def add_indexed(values: NDArray[np.int32], offsets: Offsets, synapses: Synapses, tasks: Tasks) -> None:
    """Add ``weight * values`` along ``offsets``; ``values`` (B * size,): spikes or payloads of every source neuron.

    Only targets inside the boxes of ``tasks`` receive: a core adds what its own synapses hold.
    """
    weight = np.int32(synapses.weight[0, 0])
    height, width = len(offsets.rows), len(offsets.columns)
    for task in range(tasks.first, tasks.last):
        item = task // len(tasks.boxes)
        y0, y1, x0, x1, c0, c1 = tasks.boxes[task % len(tasks.boxes)][:6]
        for y in range(y0, y1):
            for x in range(x0, x1):
                base = item * offsets.size + offsets.rows[y] + offsets.columns[x]
                out = (item * height + y) * width + x
                for c in range(c0, c1):
                    first, total, ops = base + offsets.channels[c], np.int32(0), np.int64(0)
                    for own in offsets.own:
                        value = values[first + own]
                        if value:
                            total += value
                            ops += 1 if offsets.graded else value
                    if ops:
                        synapses.current[out, c] += total * weight
                        synapses.ops[out, c // synapses.slice_width] += ops
