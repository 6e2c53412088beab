"""Burst populations: a step's sum leaves as unit spikes, one a tick, over the ticks that follow."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from neurochip.network.arithmetic import Arithmetic
from neurochip.network.reference import bounded, burst
from neurochip.sim.kernels.events import Events, events_above, events_in_turn
from neurochip.sim.schedule import PopulationPlan
from neurochip.sim.state import Constant

Counts = NDArray[np.int64]


def charge(
    current: NDArray[np.int32], constant: Constant, plan: PopulationPlan, rules: Arithmetic
) -> tuple[Counts, Counts, int]:
    """A burst's own tick; clears ``current`` (rows, C).

    Returns (spikes each neuron will send, neurons with input by (row, slice), wrapped currents).
    """
    total = (current.astype(np.int64) << plan.rules.shift) + constant
    current[:] = 0
    kept, wraps = bounded(total, rules.current_bits, rules.current_overflow)
    return burst(plan.population.neuron, rules, kept), by_slice(kept != 0, plan.slice_width), wraps


def leaving(values: NDArray[np.integer], tick: int) -> Events:
    """What leaves ``tick`` ticks after the population's own: one spike of every neuron with more to send than that."""
    events: Events = events_above(values, tick)
    return events


def in_turn(values: NDArray[np.int32], ticks: int) -> tuple[Events, ...]:
    """What leaves in each of ``ticks`` ticks of ``values`` (rows, C): one spike of every neuron with more to send."""
    start, begin, channel = events_in_turn(values, ticks)
    return tuple(Events(start[i], channel[begin[i] : begin[i + 1]]) for i in range(ticks))


def by_slice(neurons: NDArray[np.bool_], width: int) -> Counts:
    """Neurons of each (row, slice of ``width`` channels)."""
    counts: Counts = np.add.reduceat(neurons.astype(np.int64), np.arange(0, neurons.shape[1], width), axis=1)
    return counts
