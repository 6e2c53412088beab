"""The event engine: tick by tick, every population reads the spikes that arrive, updates, and sends packets.

Within a tick all populations read what earlier ticks emitted (every delay is at least one tick), so their order cannot
matter. Several inputs run side by side, each from rest, with counts and times of their own.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, fields
from functools import partial
from threading import Lock

import numpy as np
from numpy.typing import NDArray

from neurochip.errors import SimulationError
from neurochip.network.inputs import quantise_input
from neurochip.network.network import Network
from neurochip.network.projections import Bias, Encoder
from neurochip.network.reference import projected
from neurochip.program.image import Program
from neurochip.sim.clock import Clock, TickWork
from neurochip.sim.kernels import events as ev
from neurochip.sim.kernels import payloads, traffic
from neurochip.sim.kernels.events import Events
from neurochip.sim.kernels.neurons import update, update_safe
from neurochip.sim.kernels.synapses import Synapses, Tasks
from neurochip.sim.schedule import PopulationPlan, ProjectionPlan, Schedule, make_schedule
from neurochip.sim.trace import CoreCounts, LayerCounts, PopulationCounts, Trace
from neurochip.sim.workers import Workers

Counts = NDArray[np.int64]
Constant = NDArray[np.int32] | NDArray[np.int64]
Observer = Callable[[int, dict[str, NDArray[np.int32]], Counts], None]
"""Called after each input with (input number, population -> (T, P, C) spike counts, (O,) readout)."""

BATCH_NEURONS = 1 << 23
"""Inputs run side by side while they hold at most so many neurons, which bounds memory to some hundred MB."""
MAX_BATCH = 64


@dataclass(slots=True, eq=False)
class Emission:
    """What one population sent in one tick: events, or integer payloads (B, P, C) of a product."""

    events: Events
    payload: NDArray[np.int32] | None = None


@dataclass(slots=True, eq=False)
class Buffers:
    """Arrays of one population that live through a batch; rows = inputs x positions.

    ``membrane``, ``current`` (rows, C) int32, one current per projection; ``ops``, ``per_slice`` (rows, n_slices)
    int64; ``constant`` (rows or 1, C): raw current of bias axons and the encoder at the step at hand.
    """

    membrane: NDArray[np.int32]
    currents: list[NDArray[np.int32]]
    ops: Counts
    per_slice: Counts
    constant: Constant
    emitted: dict[int, Emission] = field(default_factory=dict)


@dataclass(slots=True, eq=False)
class Totals:
    """Sums over inputs; becomes the Trace."""

    cores: CoreCounts
    links: Counts
    populations: dict[str, PopulationCounts]
    projections: dict[str, LayerCounts]
    tick_ns: list[NDArray[np.float64]] = field(default_factory=list)
    packets: int = 0
    hops_x: int = 0
    hops_y: int = 0
    crossings: int = 0
    local: int = 0
    overruns: int = 0
    wraps: int = 0
    clips: int = 0
    host_macs: int = 0
    host_writes: int = 0


def run_program(
    program: Program,
    x: NDArray[np.generic],
    *,
    noc: str = "analytic",
    threads: int = 1,
    observe: Observer | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Trace:
    """Simulate ``program`` on the inputs ``x`` (B, *shape) or (T, B, *shape).

    Args:
        noc: ``analytic`` bounds each tick's network time from link loads; ``packet`` moves every packet.
        threads: populations that may be computed at the same time; results do not depend on it.
        observe: receives every spike of every neuron of each input (for ``--check``).
        progress: called with (inputs done, inputs in all).
    Raises:
        InputError: ``x`` is not what the program takes. SimulationError: unknown ``noc``, or a network deadlock.
    """
    started = time.perf_counter()
    network = program.network
    levels = quantise_input(network.input, x, network.timesteps)
    schedule = make_schedule(program)
    clock = Clock.of(program, noc, schedule.populations)
    totals = Totals(
        cores=CoreCounts.zeros(len(program.cores)),
        links=np.zeros(clock.mesh.n_links, np.int64),
        populations={
            p.name: PopulationCounts(spikes=np.zeros(network.timesteps, np.int64)) for p in network.populations
        },
        projections={p.name: LayerCounts() for p in network.projections},
    )
    inputs = levels.shape[1]
    ready = time.perf_counter()
    size = batch_size(network, inputs)
    readouts = []
    with Workers(threads) as workers:
        for first in range(0, inputs, size):
            batch = Batch(schedule, clock, totals, workers, levels[:, first : first + size], first, observe)
            readouts.append(batch.run())
            if progress is not None:
                progress(min(first + size, inputs), inputs)
    readout = np.concatenate(readouts)
    spec = network.readout
    return Trace(
        inputs=inputs,
        readout=readout,
        logits=readout * spec.scale / spec.divisor + np.asarray(spec.bias),
        tick_ns=np.concatenate(totals.tick_ns),
        setup_seconds=ready - started,
        wall_seconds=time.perf_counter() - ready,
        noc=clock.statistics(),
        **{f.name: getattr(totals, f.name) for f in fields(Totals) if f.name != "tick_ns"},
    )


def batch_size(network: Network, inputs: int) -> int:
    """How many inputs to run side by side."""
    neurons: int = sum(p.size for p in network.populations)
    fitting: int = min(inputs, MAX_BATCH, BATCH_NEURONS // neurons)
    return max(1, fitting)


@dataclass(slots=True, eq=False)
class Batch:
    """Some inputs running side by side, ``frames`` (T or 1, B, H, W, C); ``first`` is the number of the first one."""

    schedule: Schedule
    clock: Clock
    totals: Totals
    workers: Workers
    frames: Counts
    first: int
    observe: Observer | None
    buffers: list[Buffers] = field(init=False)
    bundles: dict[int, Events] = field(init=False, default_factory=dict)
    tick: int = field(init=False, default=0)
    books: Lock = field(init=False, default_factory=Lock)

    def __post_init__(self) -> None:
        self.buffers = [_new_buffers(p, self.size) for p in sorted(self.schedule.populations, key=lambda p: p.number)]

    @property
    def size(self) -> int:
        """Inputs in the batch."""
        return int(self.frames.shape[1])

    @property
    def network(self) -> Network:
        """The network that runs."""
        return self.schedule.program.network

    def run(self) -> Counts:
        """All ticks of the batch; returns readout membranes (B, O)."""
        plans, network = self.schedule.populations, self.network
        self._count_encoders()
        history: dict[str, list[Emission]] = {plan.population.name: [] for plan in plans}
        tick_ns = np.zeros((self.size, network.ticks))
        for self.tick in range(network.ticks):
            work = self.clock.new_work(self.size)
            self.bundles.clear()
            now = [plan for plan in plans if 0 <= self.tick - plan.population.depth < network.timesteps]
            self._collect(now)
            for plan, emission in zip(now, self.workers.map(partial(self._advance, work=work), now), strict=True):
                if self.observe is not None:
                    history[plan.population.name].append(emission)
            tick_ns[:, self.tick] = self.clock.finish(work, self.totals)
        self.totals.tick_ns.append(tick_ns)
        last = network.by_name[network.readout.population]
        membrane = self.buffers[network.populations.index(last)].membrane.astype(np.int64)
        readout: Counts = membrane.reshape(self.size, last.positions, last.channels).sum(axis=1)
        if self.observe is not None:
            for item in range(self.size):
                self.observe(self.first + item, dict(self._dense(history, item)), readout[item])
        return readout

    def _collect(self, plans: list[PopulationPlan]) -> None:
        """Merge the events of every bundle that arrives now."""
        wanted = {p.bundle for plan in plans for p in plan.incoming if p.kernel is not payloads.add_payload}
        bundles = sorted(wanted)
        self.bundles.update(zip(bundles, self.workers.map(self._arriving, bundles), strict=True))

    def _advance(self, plan: PopulationPlan, work: TickWork) -> Emission:
        """One population's tick: read, update, send. Populations share nothing but the books, which have a lock."""
        step = self.tick - plan.population.depth
        emission = self._step(plan, step, work)
        self._send(plan, step, emission, work)
        return emission

    def _step(self, plan: PopulationPlan, step: int, work: TickWork) -> Emission:
        """Gather what arrives, update."""
        population, buffers = plan.population, self.buffers[plan.number]
        if population.neuron.kind == "source":
            frame = self.frames[min(step, len(self.frames) - 1)]
            return Emission(ev.events_of(np.ascontiguousarray(frame.reshape(-1, population.channels))))
        if population.neuron.kind == "product":
            return self._product(plan, work)
        for number, projection in enumerate(plan.incoming):
            self._deliver(plan, projection, buffers.currents[number], work)
        self._prepare_constant(plan, step)
        current = buffers.currents[0]
        for projection, other in zip(plan.incoming[1:], buffers.currents[1:], strict=True):
            current += other << projection.extra_shift
            other[:] = 0
        if plan.incoming and plan.incoming[0].extra_shift:
            raise SimulationError(
                f"population {population.name!r}: expected its first projection to have the least shift"
            )
        active = buffers.ops
        active[:] = 0
        kernel = update_safe if plan.rules.safe else update
        events, wraps, clips = kernel(current, buffers.constant, buffers.membrane, plan.rules, active, plan.slice_width)
        with self.books:
            self.totals.wraps += wraps
            self.totals.clips += int(clips)
            self.totals.populations[population.name].active += int(active.sum())
            traffic.tile_sums(active, plan.tiles, (population.height, population.width), work.active)
            cores, ops = plan.bias_ops
            work.ops["dense"][:, cores] += ops
            if plan.bias is not None:
                self.totals.projections[plan.bias.name].ops += int(ops.sum()) * self.size
        return Emission(events)

    def _deliver(
        self, plan: PopulationPlan, projection: ProjectionPlan, current: NDArray[np.int32], work: TickWork
    ) -> None:
        """Add the spikes that arrive now through one projection."""
        buffers = self.buffers[plan.number]
        buffers.ops[:] = 0
        synapses = Synapses(projection.weight, projection.groups, current, buffers.ops, plan.slice_width)
        tasks = len(projection.boxes) * self.size
        if projection.kernel is payloads.add_payload:
            ((source, delay),) = self.schedule.bundles[projection.bundle]
            payload = self.buffers[source].emitted[self.tick - delay].payload
            if payload is None:
                raise SimulationError(f"projection {projection.projection.name!r}: expected payloads, found spikes")
            payloads.add_payload(payload, projection.window, synapses, Tasks(projection.boxes, 0, tasks))
        else:
            events = self.bundles[projection.bundle]
            projection.kernel(events, projection.window, synapses, Tasks(projection.boxes, 0, tasks))
        grid = (plan.population.height, plan.population.width)
        with self.books:
            self.totals.projections[projection.projection.name].ops += int(buffers.ops.sum())
            traffic.tile_sums(buffers.ops, projection.tiles, grid, work.ops[projection.lists])

    def _arriving(self, bundle: int) -> Events:
        """Events that reach a bundle's axons now."""
        if bundle not in self.bundles:
            parts = [
                self.buffers[source].emitted[self.tick - delay].events
                for source, delay in self.schedule.bundles[bundle]
                if self.tick - delay in self.buffers[source].emitted
            ]
            if len(parts) != len(self.schedule.bundles[bundle]):
                raise SimulationError(
                    f"bundle {bundle}: a source has nothing to deliver at tick {self.tick}; delays differ"
                )
            events = parts[0]
            for other in parts[1:]:
                events = ev.merge(events, other)
            self.bundles[bundle] = events
        return self.bundles[bundle]

    def _product(self, plan: PopulationPlan, work: TickWork) -> Emission:
        """Spiking attention on processors, one head a tile."""
        population, product = plan.population, plan.product
        assert product is not None
        q, k, v = (self.buffers[number].emitted[self.tick - delay].events for number, delay in plan.product_sources)
        payload = np.zeros((self.size, population.positions, population.channels), np.int32)
        totals = self.totals.projections[product.name]
        for row in plan.tiles:
            counts = payloads.attend(q, k, v, int(row[4]), population.channels // product.heads, payload)
            done, effective, coincidences = (int(n) for n in counts.sum(axis=0))
            with self.books:
                totals.ops += done
                totals.effective += effective
                totals.coincidences += coincidences
                work.processor_ops[:, row[5]] += counts[:, 0]
        rows = self.size * population.positions
        return Emission(Events(np.zeros(rows + 1, np.int64), np.zeros(0, np.int32)), payload)

    def _send(self, plan: PopulationPlan, step: int, emission: Emission, work: TickWork) -> None:
        """Count what a population emitted, and put its packets on their routes."""
        population, buffers = plan.population, self.buffers[plan.number]
        grid = (population.height, population.width)
        buffers.emitted[self.tick] = emission
        if emission.payload is not None:
            payloads.slice_digits(emission.payload, plan.slice_width, buffers.per_slice)
        else:
            ev.slice_spikes(emission.events, plan.slice_width, buffers.per_slice)
        counts = self.totals.populations[population.name]
        counts.spikes[step] += buffers.per_slice.sum()
        packets = np.zeros((self.size, len(plan.routes)), np.int64)
        if len(plan.routes):
            traffic.route_packets(buffers.per_slice, emission.events, plan.routes, grid, packets)
        with self.books:
            if population.neuron.kind == "lif":
                traffic.tile_sums(buffers.per_slice, plan.tiles, grid, work.spikes)
            if len(plan.routes):
                self.clock.send(plan, packets, work, counts)

    def _count_encoders(self) -> None:
        """Count the host's convolutions and the words it writes: registers set for each frame, cleared at the end."""
        frames = len(self.frames) * self.size
        for plan in self.schedule.populations:
            if plan.encoder is not None:
                self.totals.host_macs += plan.population.positions * plan.encoder.weight.size * frames
                self.totals.host_writes += plan.population.size * (frames + self.size)

    def _prepare_constant(self, plan: PopulationPlan, step: int) -> None:
        """Raw current of the bias axons and of the encoder for this step; a static image is convolved once."""
        buffers = self.buffers[plan.number]
        if plan.encoder is None:
            if plan.bias is not None and step == 0:
                buffers.constant = self.fitted(plan, bias_current(plan.bias)[None])
            return
        if step < len(self.frames):
            current = encode(plan.encoder, plan, self.frames[step])
            total = current if plan.bias is None else current + bias_current(plan.bias)
            buffers.constant = self.fitted(plan, total)

    @staticmethod
    def fitted(plan: PopulationPlan, constant: Counts) -> Constant:
        """``constant`` in the width of the population's update kernel."""
        return constant.astype(np.int32) if plan.rules.safe else constant

    def _dense(self, history: dict[str, list[Emission]], item: int) -> Iterator[tuple[str, NDArray[np.int32]]]:
        """Dense (T, P, C) counts of every population but the readout, for one input."""
        for plan in self.schedule.populations:
            population = plan.population
            if population.neuron.kind == "readout":
                continue
            counts = np.zeros((self.network.timesteps, population.positions, population.channels), np.int32)
            for step, emission in enumerate(history[population.name]):
                if emission.payload is not None:
                    counts[step] = emission.payload[item]
                else:
                    rows = slice(item * population.positions, (item + 1) * population.positions + 1)
                    ev.counts_of(Events(emission.events.start[rows], emission.events.channel), counts[step])
            yield population.name, counts


def _new_buffers(plan: PopulationPlan, size: int) -> Buffers:
    population = plan.population
    rows, neurons = population.positions * size, population.neuron.kind in ("lif", "readout")
    state = (rows, population.channels) if neurons else (0, 0)
    return Buffers(
        membrane=np.zeros(state, np.int32),
        currents=[np.zeros(state, np.int32) for _ in plan.incoming or (None,)],
        ops=np.zeros((rows, plan.n_slices), np.int64),
        per_slice=np.zeros((rows, plan.n_slices), np.int64),
        constant=Batch.fitted(plan, np.zeros((1, population.channels), np.int64)),
    )


def encode(encoder: Encoder, plan: PopulationPlan, frame: Counts) -> Counts:
    """Raw current (rows, C) that the host computes from one frame (B, H, W, C)."""
    return projected(encoder, plan.population, {}, frame).reshape(-1, plan.population.channels)


def bias_current(bias: Bias) -> Counts:
    """Raw current (C,) of the always-on axons."""
    digits = zip(bias.weight.astype(np.int64), bias.shifts, strict=True)
    total: Counts = np.sum([row << shift for row, shift in digits], axis=0)
    return total
