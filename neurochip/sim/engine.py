"""The event engine: tick by tick, every population reads the spikes that arrive, updates, and sends packets.

Within a tick all populations read what earlier ticks emitted (every delay is at least one tick), so their order cannot
matter. Several inputs run side by side, each from rest, with counts and times of their own.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, field, fields
from functools import partial
from threading import Lock

import numpy as np
from numpy.typing import NDArray

from neurochip.errors import SimulationError
from neurochip.network.inputs import quantise_input
from neurochip.network.network import Network
from neurochip.network.projections import Product
from neurochip.program.image import Program
from neurochip.sim import bursts, products
from neurochip.sim.arrivals import Arrival, Padding, add_ahead, arrival_of, multiply
from neurochip.sim.clock import LISTS, Board, Clock
from neurochip.sim.constants import always_on, count_encoders, encoded
from neurochip.sim.kernels import traffic
from neurochip.sim.kernels.events import Events
from neurochip.sim.kernels.indexed import add_indexed
from neurochip.sim.kernels.neurons import update, update_safe
from neurochip.sim.kernels.synapses import Synapses, Tasks
from neurochip.sim.kernels.ticks import Work
from neurochip.sim.kernels.vectors import Vectors
from neurochip.sim.payload_sums import deliver_payloads
from neurochip.sim.schedule import PopulationPlan, ProjectionPlan, Schedule, make_schedule
from neurochip.sim.state import Buffers, Emission, Observer, Sent, Totals, fitted, new_buffers, recorded
from neurochip.sim.trace import LayerCounts, PopulationCounts, Trace
from neurochip.sim.vectors import run_vectors, vectors_of
from neurochip.sim.waves.plans import WavePlan, wave_plans
from neurochip.sim.waves.run import Waves
from neurochip.sim.weighted import book_weighed, weighed
from neurochip.sim.workers import Workers

Counts = NDArray[np.int64]
Prepared = tuple[Schedule, Board, Vectors | None, tuple[WavePlan, ...] | None]
BATCH_NEURONS = 1 << 23
"""Inputs run side by side while they hold at most so many neurons, which bounds memory to some hundred MB."""
MAX_BATCH = 64


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
    schedule, board, vectors, waves = prepared(program)
    clock = Clock.of(board, noc, threads)
    totals = Totals(
        populations={
            p.name: PopulationCounts(spikes=np.zeros(network.timesteps, np.int64)) for p in network.populations
        },
        projections={p.name: LayerCounts() for p in network.projections},
    )
    ready, inputs = time.perf_counter(), levels.shape[1]
    size = batch_size(network, inputs)
    readouts = []
    if vectors is not None and observe is None and clock.runs is None:
        readouts.append(run_vectors(vectors, clock, totals, schedule, levels))
    with Workers(threads) as workers:
        for first in range(0, inputs if not readouts else 0, size):
            frames = levels[:, first : first + size]
            if waves is None or clock.runs is not None:
                readouts.append(Batch(schedule, clock, totals, workers, frames, first, observe).run())
            else:
                readouts.append(Waves(schedule, waves, clock, totals, workers, frames, first, observe).run())
            if progress is not None:
                progress(min(first + size, inputs), inputs)
    readout, spec = np.concatenate(readouts), network.readout
    return Trace(
        inputs=inputs,
        readout=readout,
        logits=readout * spec.scale / spec.divisor + np.asarray(spec.bias),
        tick_ns=np.concatenate(totals.tick_ns),
        setup_seconds=ready - started,
        wall_seconds=time.perf_counter() - ready,
        noc=clock.statistics(),
        cores=clock.core_counts(inputs * network.ticks),
        links=clock.link_packets(),
        **{f.name: getattr(clock.moves, f.name) for f in fields(clock.moves)},
        **{f.name: getattr(totals, f.name) for f in fields(Totals) if f.name != "tick_ns"},
    )


def prepared(program: Program) -> Prepared:
    """What a run needs to know of ``program``; made on its first run and kept with it, as nothing can change it."""
    known = vars(program)
    if "prepared" not in known:
        schedule = make_schedule(program)
        board = Board.of(program, schedule.populations)
        vectors = vectors_of(schedule, board)
        known["prepared"] = schedule, board, vectors, wave_plans(schedule, board) if vectors is None else None
    found: Prepared = known["prepared"]
    return found


def batch_size(network: Network, inputs: int) -> int:
    """How many inputs to run side by side."""
    neurons: int = sum(p.size for p in network.populations)
    return max(1, min(inputs, MAX_BATCH, BATCH_NEURONS // neurons))


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
    arrivals: dict[int, Arrival] = field(init=False, default_factory=dict)
    tick: int = field(init=False, default=0)
    books: Lock = field(init=False, default_factory=Lock)

    def __post_init__(self) -> None:
        self.buffers = new_buffers(self.schedule, self.size)

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
        count_encoders(plans, self.frames, self.totals)
        self.clock.start(self.size)
        history: dict[str, list[Emission]] = {plan.population.name: [] for plan in plans}
        tick_ns = np.zeros((self.size, network.ticks))
        longest_first = sorted(plans, key=lambda plan: plan.cost, reverse=True)  # so that threads end together
        listening: dict[int, set[int]] = {}
        closing: Future[None] | None = None
        for self.tick in range(network.ticks):
            heard = listening.pop(self.tick, set())
            now = [p for p in longest_first if p.number in heard or 0 <= self._step_of(p)[1] < p.population.duration]
            self._collect(now)
            sent = [one for one in self.workers.map(self._advance, now) if one is not None]
            for delay, reader in (who for one in sent for who in self.schedule.listeners[one.plan.number]):
                listening.setdefault(self.tick + delay, set()).add(reader)
            for one in sent if self.observe is not None else ():
                if one.since == 0:
                    history[one.plan.population.name].append(one.emission)
            if closing is not None:
                closing.result()  # ticks are closed in order, so that sums do not depend on threads
            closing = self.workers.queue(partial(self._close, sent, self.clock.turn(), tick_ns[:, self.tick]))
        if closing is not None:
            closing.result()
        self.clock.settle()
        self.totals.tick_ns.append(tick_ns)
        last = network.by_name[network.readout.population]
        membrane = self.buffers[network.populations.index(last)].membrane.astype(np.int64)
        readout: Counts = membrane.reshape(self.size, last.positions, last.channels).sum(axis=1)
        if self.observe is not None:
            for item in range(self.size):
                self.observe(self.first + item, dict(recorded(plans, history, network, item)), readout[item])
        return readout

    def _collect(self, plans: list[PopulationPlan]) -> None:
        """Find the spikes of every bundle that arrives now, in the forms that are wanted."""
        self.arrivals.clear()
        forms: dict[tuple[int, Padding | None], None] = {}
        for projection in (p for plan in plans for p in plan.incoming if not p.payload):
            arrival = self._arriving(projection.bundle)
            if arrival is not None and not arrival.at_once(projection):
                forms[projection.bundle, projection.padding if projection.suits(arrival.density) else None] = None
        self.workers.map(self._form, list(forms))

    def _form(self, wanted: tuple[int, Padding | None]) -> None:
        """Make one form of the spikes of a bundle."""
        bundle, padding = wanted
        if padding is None:
            self.arrivals[bundle].as_events()
        else:
            self.arrivals[bundle].as_counts(padding)

    def _step_of(self, plan: PopulationPlan) -> tuple[int, int]:
        """The step a population runs or ran last, and the ticks since; -1 ticks outside its steps."""
        step, since = divmod(self.tick - plan.population.depth, self.network.interval)
        return step, since if 0 <= step < self.network.timesteps else -1

    def _advance(self, plan: PopulationPlan) -> Sent | None:
        """One population's tick: read, update, send. Populations share nothing but the books, which have a lock.

        Between its own ticks a population takes in what arrives early, and sends what is left of a burst or payload.
        """
        (step, since), buffers = self._step_of(plan), self.buffers[plan.number]
        for number, projection in enumerate(plan.incoming):
            self._deliver(plan, projection, buffers.currents[number])
        if since == 0:
            emission = self._step(plan, step)
        elif 0 < since < plan.population.duration:
            emission, active = products.later(buffers.membrane, buffers.emitted[self.tick - since], since, plan)
            self._book_active(plan, active)
        else:
            return None
        buffers.emit(self.tick, emission)
        return Sent(plan, step, since, emission)

    def _step(self, plan: PopulationPlan, step: int) -> Emission:
        """Update with all that has arrived for the step."""
        population, buffers = plan.population, self.buffers[plan.number]
        if population.neuron.kind == "source":
            return products.replayed(self.frames[min(step, len(self.frames) - 1)], population)
        if population.neuron.kind == "product":
            return self._product(plan)
        self._prepare_constant(plan, step)
        current = buffers.currents[0]
        if plan.product is not None:
            self._learn(plan, plan.product)
        for projection, other in zip(plan.incoming[1:], buffers.currents[1:], strict=True):
            current += other << projection.extra_shift
            other[:] = 0
        if plan.incoming and plan.incoming[0].extra_shift:
            raise SimulationError(
                f"population {population.name!r}: expected its first projection to have the least shift"
            )
        if population.neuron.kind == "burst":
            values, touched, wraps = bursts.charge(current, buffers.constant, plan, self.network.arithmetic)
            buffers.membrane[:] = values
            emission, active, clips = Emission(bursts.leaving(values, 0), burst=values), touched, 0
        elif population.neuron.kind == "graded":
            value, active, wraps, over = products.graded(current, buffers.constant, plan, self.network.arithmetic)
            buffers.membrane[:] = value
            emission, clips = products.graded_emission(value, population), 0
            with self.books:
                self.totals.saturations += over
        else:
            active = buffers.ops
            active[:] = 0
            kernel = update_safe if plan.rules.safe else update
            events, wraps, clips = kernel(
                current, buffers.constant, buffers.membrane, plan.rules, active, plan.slice_width
            )
            emission = Emission(events)
        self._book_active(plan, active)
        with self.books:
            self.totals.wraps += wraps
            self.totals.clips += int(clips)
            cores, neurons = plan.bias_ops
            for bias in plan.biases if population.home == "core" else ():
                ops = neurons * (len(bias.shifts) * bias.spikes_a_step(self.network.interval))
                self.clock.work.ops[LISTS.index("dense")][:, cores] += ops
                self.totals.projections[bias.name].add(int(ops.sum()) * self.size)
        return emission

    def _book_active(self, plan: PopulationPlan, active: Counts) -> None:
        """Book neurons with input or charge, (rows, slices), and their copies; the host's are not the chip's."""
        if plan.population.home == "host":
            return
        active = active * (plan.population.copies * plan.population.compartments)
        with self.books:
            self.totals.populations[plan.population.name].active += int(active.sum())
            traffic.tile_sums(
                active, plan.tiles, (plan.population.height, plan.population.width), self.clock.work.active
            )

    def _deliver(self, plan: PopulationPlan, projection: ProjectionPlan, current: NDArray[np.int32]) -> None:
        """Add the spikes that arrive now through one projection."""
        buffers = self.buffers[plan.number]
        payloads = self._payloads(projection) if projection.payload else []
        if not payloads and (projection.payload or projection.bundle not in self.arrivals):
            return
        buffers.ops[:] = 0
        synapses = Synapses(projection.weight, projection.groups, current, buffers.ops, plan.slice_width)
        tasks, model = Tasks(projection.boxes, 0, len(projection.boxes) * self.size), 0
        if projection.payload:
            model = sum(deliver_payloads(payload, projection, synapses, tasks) for payload in payloads)
        elif projection.offsets is not None:
            heard = projection.window.height * projection.window.width
            values = products.dense(self.arrivals[projection.bundle].as_events(), projection.offsets.size // heard)
            add_indexed(values.ravel(), projection.offsets, synapses, tasks)
        elif projection.suits((arrival := self.arrivals[projection.bundle]).density):
            multiply(arrival, projection, plan.slice_width, current, buffers.ops)
        elif projection.one_to_one and arrival.ahead is not None:
            add_ahead(arrival, projection, synapses, tasks)
        else:
            projection.kernel(arrival.as_events(), projection.window, synapses, tasks)
        grid = (plan.population.height, plan.population.width)
        done, booked = model if projection.tally else int(buffers.ops.sum()), buffers.ops
        if projection.crosspoints is not None:
            booked = projection.crosspoints.events(self.arrivals[projection.bundle].as_events())
        with self.books:
            if plan.population.home == "host":
                self.totals.projections[projection.projection.name].add(done, 0)
                self.totals.host_ops += done
                return
            self.totals.projections[projection.projection.name].add(done, int(booked.sum()))
            traffic.tile_sums(booked, projection.tiles, grid, self.clock.work.ops[LISTS.index(projection.lists)])

    def _payloads(self, projection: ProjectionPlan) -> list[NDArray[np.int32]]:
        """What arrives now of each source of a projection of payloads."""
        found = [self.buffers[s].emitted.get(self.tick - d) for s, d in self.schedule.bundles[projection.bundle]]
        payloads = [one.payload for one in found if one is not None]
        if any(payload is None for payload in payloads):
            raise SimulationError(f"projection {projection.projection.name!r}: expected payloads, found spikes")
        return [payload for payload in payloads if payload is not None]

    def _arriving(self, bundle: int) -> Arrival | None:
        """Spikes that reach a bundle's axons now; None if its sources sent nothing that arrives now."""
        if bundle not in self.arrivals:
            sources = self.schedule.bundles[bundle]
            found = (self.buffers[source].emitted.get(self.tick - delay) for source, delay in sources)
            emissions = [one for one in found if one is not None]
            if not emissions:
                return None
            self.arrivals[bundle] = arrival_of(self.network, sources, emissions)
        return self.arrivals[bundle]

    def _product(self, plan: PopulationPlan) -> Emission:
        """Spiking attention on processors or units, one head a tile."""
        if plan.weighted is not None:
            payload, counts = weighed(plan.weighted, plan, self._operands(plan), self.size)
            with self.books:
                book_weighed(counts, plan.weighted, plan, self.totals.projections, self.clock.work)
            return products.payload_emission(payload, plan.population.coding)
        assert plan.product is not None
        payload, counts = products.attended(plan, self._operands(plan), self.size)
        with self.books:
            products.book_attended(counts, plan, self.totals.projections[plan.product.name], self.clock.work)
        return products.payload_emission(payload, plan.population.coding)

    def _operands(self, plan: PopulationPlan) -> list[Events]:
        """Spikes of q, k and v in the step at hand."""
        return [self.buffers[number].emitted[self.tick - delay].events for number, delay in plan.product_sources]

    def _learn(self, plan: PopulationPlan, product: Product) -> None:
        """Synapses learn ``k^T v`` and are read by q; their work counts in the population's own tick of the step."""
        p, buffers = plan.population, self.buffers[plan.number]
        found = products.learnt(product, self._operands(plan), (self.size, p.height, p.width, p.channels))
        buffers.currents[0][:] += found.payload << (product.shift - plan.rules.shift)
        with self.books:
            self.totals.saturations += found.saturations
            products.book_learnt(found, plan, self.totals.projections[product.name], self.clock.work)

    def _close(self, sent: list[Sent], work: Work, out: NDArray[np.float64]) -> None:
        """Book what was sent in a tick, then the tick; it may run beside the next tick, which books elsewhere."""
        for one in sent:
            self._send(one.plan, one.step, one.emission, work)
        self.clock.finish(work, out)

    def _send(self, plan: PopulationPlan, step: int, emission: Emission, work: Work) -> None:
        """Count what a population emitted, and put its packets on their routes."""
        population = plan.population
        booking = self.clock.board.bookings[plan.number]
        sums = np.zeros((self.size, population.height + 1, population.width + 1, booking.n_pieces + 1), np.int32)
        if emission.payload is not None and population.coding != "graded":
            traffic.digit_sums(emission.payload, booking.piece, sums)
        else:
            traffic.spike_sums(emission.events, booking.piece, sums)
        packets = np.empty((self.size, len(booking.fanout.boxes)), np.int64)
        traffic.box_spikes(sums, booking.fanout.boxes, packets)
        counts = self.totals.populations[population.name]
        counts.spikes[step] += sums[:, -1, -1, -1].sum()
        if population.neuron.kind in ("lif", "burst", "graded") and population.home == "core":
            traffic.core_spikes(sums * np.int32(population.copies), booking.tiles, work.spikes)
        if packets.size:
            self.clock.send(booking, packets, counts, work)

    def _prepare_constant(self, plan: PopulationPlan, step: int) -> None:
        """Raw current of the bias axons and of the encoder for this step; a static image is convolved once."""
        if plan.encoder is not None and step < len(self.frames):
            self.buffers[plan.number].constant = encoded(plan, plan.encoder, self.frames[step])
        elif plan.encoder is None and plan.biases and step == 0:
            self.buffers[plan.number].constant = fitted(plan, always_on(plan)[None])
