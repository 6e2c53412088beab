"""Synapses that multiply: weights times payloads, event by event or, on a matrix unit, whole windows at once."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from neurochip.network.projections import Gather
from neurochip.sim.arrivals import multiply_counts
from neurochip.sim.kernels import dense
from neurochip.sim.kernels.indexed import add_indexed
from neurochip.sim.kernels.payloads import add_payload
from neurochip.sim.kernels.synapses import Synapses, Tasks
from neurochip.sim.schedule import ProjectionPlan

Counts = NDArray[np.int64]

BYTE = 255
"""Largest payload that a matrix product of bytes takes."""


def deliver_payloads(payload: NDArray[np.int32], plan: ProjectionPlan, synapses: Synapses, tasks: Tasks) -> int:
    """Add what ``payload`` (B, P, C) brings through one projection to ``synapses.current``, and count operations.

    There is a multiply-accumulate for each payload that is not zero and each synapse that it reaches; with
    ``plan.fan_in`` so many for every neuron, zeros and padding included, as a matrix unit does. Returns the operations
    of the model's arithmetic: those, or where payloads count spikes (``plan.tally``) an accumulate for each spike.
    """
    before = synapses.ops.copy() if plan.fan_in or plan.tally else synapses.ops
    if plan.offsets is not None:
        add_indexed(payload.ravel(), plan.offsets, synapses, tasks)
    elif plan.kernel is add_payload:
        add_payload(payload, plan.window, synapses, tasks)
    elif len(plan.panels) > 0 and payload.min(initial=0) >= 0 and payload.max(initial=0) <= BYTE:
        add_multiplied(payload, plan, synapses)
    else:
        add_weighed(payload, plan, synapses)
    done = tallied(payload, plan, synapses) if plan.tally and plan.offsets is None else None
    if plan.fan_in:
        channels = np.full((1, synapses.current.shape[1]), plan.fan_in, np.int64)
        synapses.ops[:] = before + by_slice(channels, synapses.slice_width)
    return int(synapses.ops.sum() - before.sum()) if done is None else done


def add_multiplied(payload: NDArray[np.int32], plan: ProjectionPlan, synapses: Synapses) -> None:
    """As ``deliver_payloads`` where a matrix product of bytes suits the projection (``sim.arrivals.multiply``)."""
    p, height, width = plan.padding, plan.window.height, plan.window.width
    grid = payload.reshape(-1, height, width, payload.shape[2])
    counts = np.zeros((len(grid), height + 2 * p[0], width + 2 * p[1], payload.shape[2]), np.uint8)
    counts[:, p[0] : p[0] + height, p[1] : p[1] + width] = grid
    sent = np.count_nonzero(grid, axis=3).astype(np.int64)
    multiply_counts(counts, sent, plan, synapses.slice_width, synapses.current, synapses.ops)


def tallied(payload: NDArray[np.int32], plan: ProjectionPlan, synapses: Synapses) -> int:
    """Spikes that ``payload`` counts times the synapses that each reaches."""
    part = getattr(plan.projection, "channels", None) or (0, payload.shape[2])
    spikes = payload[:, :, slice(*part)].sum(axis=2, dtype=np.int64).reshape(-1, plan.window.height, plan.window.width)
    targets = synapses.current.shape[1] // plan.groups
    reached = np.zeros((len(synapses.current), 1), np.int64)
    dense.count_dense_ops(spikes, plan.window, targets, targets, reached)
    return int(reached.sum())


def add_weighed(payload: NDArray[np.int32], plan: ProjectionPlan, synapses: Synapses) -> None:
    """As ``deliver_payloads`` for synapses with weights of their own: one float64 product for each group of channels.

    Every partial sum stays far below 2**53, so the integers are exact.
    """
    window, weight, groups = plan.window, plan.weight, plan.groups
    if isinstance(plan.projection, Gather):  # all positions of a block have the same weights
        weight = np.tile(weight, (window.kernel_y * window.kernel_x, 1))
    rows = windows(payload.reshape(-1, window.height, window.width, payload.shape[2]), window)
    inputs, outputs = rows.shape[2] // groups, weight.shape[1] // groups
    reached = np.empty((len(rows), weight.shape[1]), np.int64)
    for group in range(groups):
        read = rows[:, :, group * inputs : (group + 1) * inputs].reshape(len(rows), -1)
        into = slice(group * outputs, (group + 1) * outputs)
        sums = read.astype(np.float64) @ weight[:, into].astype(np.float64)
        synapses.current[:, into] += np.rint(sums).astype(np.int32)
        reached[:, into] = (read != 0).sum(axis=1)[:, None]
    synapses.ops[:] += by_slice(reached, synapses.slice_width)


def windows(x: NDArray[np.int32], window: Any) -> NDArray[np.int32]:
    """(B * P_out, kernel_y * kernel_x, C): what each position of the target reads of ``x`` (B, H, W, C)."""
    first, last = -window.padding_y, (window.out_height - 1) * window.stride_y - window.padding_y + window.kernel_y
    rows = np.pad(
        x[:, max(0, first) : max(0, last)], ((0, 0), (max(0, -first), max(0, last - x.shape[1])), (0, 0), (0, 0))
    )
    around = ((0, 0), (0, 0), (window.padding_x, window.padding_x), (0, 0))
    kernel = (window.kernel_y, window.kernel_x)
    view = np.lib.stride_tricks.sliding_window_view(np.pad(rows, around), kernel, axis=(1, 2))
    view = view[:, :: window.stride_y, :: window.stride_x].transpose(0, 1, 2, 4, 5, 3)
    return np.ascontiguousarray(view).reshape(-1, window.kernel_y * window.kernel_x, x.shape[3])


def by_slice(per_channel: Counts, width: int) -> Counts:
    """(rows, slices): sums of ``per_channel`` (rows, C) over slices of ``width`` channels."""
    counts: Counts = np.add.reduceat(per_channel, np.arange(0, per_channel.shape[1], width), axis=1)
    return counts
