"""What the event engine keeps: the arrays of each population while a batch runs, and the sums over inputs."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from neurochip.network.network import Network
from neurochip.sim.kernels.events import Events, counts_of
from neurochip.sim.schedule import PopulationPlan, Schedule
from neurochip.sim.trace import LayerCounts, PopulationCounts

Counts = NDArray[np.int64]
Constant = NDArray[np.int32] | NDArray[np.int64]
Observer = Callable[[int, dict[str, NDArray[np.int32]], Counts], None]
"""Called after each input with (input number, population -> (T, P, C) spike counts, (O,) readout)."""


@dataclass(slots=True, eq=False)
class Emission:
    """What one population sent in one tick: events, or integer payloads (B, P, C) of a product or graded neurons.

    ``burst``: all spikes, or the whole payload, of the step (rows, C), of which this is what leaves in the first tick.
    ``ahead``: in every tick of a payload that travels as unit spikes, the spikes of the whole for each neuron: a matrix
    product takes all of them in with the first, as only a reader's own tick looks at its sums. ``following``: of the
    first such tick, what leaves in the next ones.
    """

    events: Events
    payload: NDArray[np.int32] | None = None
    burst: NDArray[np.integer] | None = None
    ahead: float | None = None
    following: tuple[Events, ...] = ()


class Sent(NamedTuple):
    """What a population sent in a tick, ``since`` ticks after its update for ``step``."""

    plan: PopulationPlan
    step: int
    since: int
    emission: Emission


@dataclass(slots=True, eq=False)
class Buffers:
    """Arrays of one population that live through a batch; rows = inputs x positions.

    ``membrane``, ``current`` (rows, C) int32, one current per projection; ``ops`` (rows, n_slices) int64;
    ``constant`` (rows or 1, C): raw current of bias axons and the encoder at the step at hand. ``emitted``: what it
    sent, by tick, as long as somebody may read it: ``kept`` ticks.
    """

    kept: int
    membrane: NDArray[np.int32]
    currents: list[NDArray[np.int32]]
    ops: Counts
    constant: Constant
    emitted: dict[int, Emission] = field(default_factory=dict)

    def emit(self, tick: int, emission: Emission) -> None:
        """Keep what is sent in ``tick``, and drop what is too old for a later one."""
        for old in [sent for sent in self.emitted if sent < tick - self.kept]:
            del self.emitted[old]
        self.emitted[tick] = emission


@dataclass(slots=True, eq=False)
class Totals:
    """Sums over inputs; becomes the Trace."""

    populations: dict[str, PopulationCounts]
    projections: dict[str, LayerCounts]
    tick_ns: list[NDArray[np.float64]] = field(default_factory=list)
    wraps: int = 0
    clips: int = 0
    host_macs: int = 0
    host_ops: int = 0
    host_writes: int = 0
    saturations: int = 0


def recorded(
    plans: tuple[PopulationPlan, ...], history: dict[str, list[Emission]], network: Network, item: int
) -> Iterator[tuple[str, NDArray[np.int32]]]:
    """Dense (T, P, C) counts of every population but the readout, for one input of a batch."""
    for plan in plans:
        population = plan.population
        if population.neuron.kind == "readout":
            continue
        counts = np.zeros((network.timesteps, population.positions, population.channels), np.int32)
        for step, emission in enumerate(history[population.name]):
            if emission.burst is not None:
                counts[step] = emission.burst[item * population.positions : (item + 1) * population.positions]
            elif emission.payload is not None:
                counts[step] = emission.payload[item]
            else:
                rows = slice(item * population.positions, (item + 1) * population.positions + 1)
                counts_of(Events(emission.events.start[rows], emission.events.channel), counts[step])
        yield population.name, counts


def new_buffers(schedule: Schedule, size: int) -> list[Buffers]:
    """Buffers of all populations, by number, at rest, for ``size`` inputs."""
    reads = [read for bundle in schedule.bundles for read in bundle]
    reads += [read for plan in schedule.populations for read in plan.product_sources]
    kept = {plan.number: plan.population.duration for plan in schedule.populations}
    for source, delay in reads:
        kept[source] = max(kept[source], delay)
    plans = sorted(schedule.populations, key=lambda plan: plan.number)
    return [_buffers(plan, size, kept[plan.number]) for plan in plans]


def _buffers(plan: PopulationPlan, size: int, kept: int) -> Buffers:
    population = plan.population
    rows, neurons = population.positions * size, population.neuron.kind in ("lif", "readout", "burst", "graded")
    state = (rows, population.channels) if neurons else (0, 0)
    return Buffers(
        kept=kept,
        membrane=np.zeros(state, np.int32),
        currents=[np.zeros(state, np.int32) for _ in plan.incoming or (None,)],
        ops=np.zeros((rows, plan.n_slices), np.int64),
        constant=fitted(plan, np.zeros((1, population.channels), np.int64)),
    )


def fitted(plan: PopulationPlan, constant: Counts) -> Constant:
    """``constant`` in the width of the population's update kernel."""
    return constant.astype(np.int32) if plan.rules.safe else constant
