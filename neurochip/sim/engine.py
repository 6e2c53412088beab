"""The event engine: tick by tick, every population reads the spikes that arrive, updates, and sends packets.

Within a tick all populations read what earlier ticks emitted and commit what they emit at the end (every delay is at
least one tick), so their order cannot matter. State is reset between inputs.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, fields

import numpy as np
from numpy.typing import NDArray

from neurochip.errors import SimulationError
from neurochip.network.inputs import quantise_input
from neurochip.network.projections import Encoder
from neurochip.network.reference import projected
from neurochip.program.image import Program
from neurochip.sim import kernels
from neurochip.sim.clock import Clock, TickWork
from neurochip.sim.kernels import Events
from neurochip.sim.schedule import PopulationPlan, ProjectionPlan, Schedule, make_schedule
from neurochip.sim.trace import CoreCounts, LayerCounts, PopulationCounts, Trace

Counts = NDArray[np.int64]
Observer = Callable[[int, dict[str, NDArray[np.int32]], NDArray[np.int64]], None]
"""Called after each input with (input number, population -> (T, P, C) spike counts, (O,) readout)."""


@dataclass(slots=True, eq=False)
class Emission:
    """What one population sent in one tick: events, or integer payloads of a product."""

    events: Events
    payload: NDArray[np.int32] | None = None


@dataclass(slots=True, eq=False)
class State:
    """Everything that changes while one input runs."""

    membrane: list[NDArray[np.int32]]
    emitted: list[dict[int, Emission]]
    """Per population number: tick of emission -> what was sent."""
    constant: list[NDArray[np.int64]]
    """Per population: (P or 1, C) raw current of bias axons and the encoder, for the step at hand."""


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
    observe: Observer | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Trace:
    """Simulate ``program`` on the inputs ``x`` (B, *shape) or (T, B, *shape).

    Args:
        noc: ``analytic`` bounds each tick's network time from link loads; ``packet`` moves every packet.
        observe: receives every spike of every neuron of each input (for ``--check``).
        progress: called with (inputs done, inputs in all).
    Raises:
        InputError: ``x`` is not what the program takes. SimulationError: unknown ``noc``, or a network deadlock.
    """
    started = time.perf_counter()
    network = program.network
    levels = quantise_input(network.input, x, network.timesteps)
    schedule = make_schedule(program)
    clock = Clock.of(program, noc)
    totals = Totals(
        cores=CoreCounts.zeros(len(program.cores)),
        links=np.zeros(clock.mesh.n_links, np.int64),
        populations={
            p.name: PopulationCounts(spikes=np.zeros(network.timesteps, np.int64)) for p in network.populations
        },
        projections={p.name: LayerCounts() for p in network.projections},
    )
    inputs = levels.shape[1]
    readout = np.zeros((inputs, network.by_name[network.readout.population].channels), np.int64)
    for number in range(inputs):
        readout[number] = run_input(schedule, clock, levels[:, number], totals, number, observe)
        if progress is not None:
            progress(number + 1, inputs)
    spec = network.readout
    return Trace(
        inputs=inputs,
        readout=readout,
        logits=readout * spec.scale / spec.divisor + np.asarray(spec.bias),
        tick_ns=np.array(totals.tick_ns).reshape(inputs, network.ticks),
        wall_seconds=time.perf_counter() - started,
        noc=clock.statistics(),
        **{f.name: getattr(totals, f.name) for f in fields(Totals) if f.name != "tick_ns"},
    )


def run_input(
    schedule: Schedule, clock: Clock, frames: NDArray[np.int64], totals: Totals, number: int, observe: Observer | None
) -> NDArray[np.int64]:
    """Run one input, ``frames`` (T or 1, H, W, C), from rest; returns the readout's membranes (O,)."""
    network = schedule.program.network
    plans = schedule.populations
    by_number = {plan.number: plan for plan in plans}
    state = State(
        membrane=[np.zeros((p.positions, p.channels), np.int32) for p in network.populations],
        emitted=[{} for _ in network.populations],
        constant=[np.zeros((1, p.channels), np.int64) for p in network.populations],
    )
    totals.host_writes += _start_encoders(plans, frames, state, totals)
    history: dict[str, list[Emission]] = {plan.population.name: [] for plan in plans} if observe else {}
    tick_ns = np.zeros(network.ticks)
    for tick in range(network.ticks):
        work = clock.new_work()
        bundles: dict[int, Events] = {}
        for plan in plans:
            step = tick - plan.population.depth
            if not 0 <= step < network.timesteps:
                continue
            emission = _run_step(schedule, clock, plan, step, tick, frames, state, bundles, by_number, totals, work)
            state.emitted[plan.number][tick] = emission
            if observe:
                history[plan.population.name].append(emission)
        tick_ns[tick] = clock.finish(work, totals)
    totals.tick_ns.append(tick_ns)
    last = network.by_name[network.readout.population]
    readout: NDArray[np.int64] = state.membrane[network.populations.index(last)].astype(np.int64).sum(axis=0)
    if observe:
        observe(number, dict(_dense(plans, history)), readout)
    return readout


def _run_step(
    schedule: Schedule,
    clock: Clock,
    plan: PopulationPlan,
    step: int,
    tick: int,
    frames: NDArray[np.int64],
    state: State,
    bundles: dict[int, Events],
    by_number: dict[int, PopulationPlan],
    totals: Totals,
    work: TickWork,
) -> Emission:
    """One population's step: gather input, update, count, send."""
    population, counts = plan.population, totals.populations[plan.population.name]
    per_slice = np.zeros((population.positions, plan.n_slices), np.int64)
    if population.neuron.kind == "source":
        frame = frames[min(step, len(frames) - 1)].reshape(population.positions, population.channels)
        emission = Emission(kernels.events_of(frame))
        kernels.slice_spikes(emission.events, plan.slice_width, per_slice)
    elif population.neuron.kind == "product":
        emission = _run_product(schedule, plan, tick, state, bundles, totals, work)
        assert emission.payload is not None
        kernels.slice_digits(emission.payload, plan.slice_width, per_slice)
    else:
        for projection in plan.incoming:
            _add(schedule, projection, tick, state, bundles, totals, work)
        _prepare_constant(plan, frames, step, state)
        _count_bias(plan, totals, work)
        current = (
            plan.incoming[0].synapses.current
            if plan.incoming
            else np.zeros((population.positions, population.channels), np.int32)
        )
        for other in plan.incoming[1:]:
            current += other.synapses.current
            other.synapses.current[:] = 0
        active = np.zeros_like(per_slice)
        events, wraps, clips = kernels.update(
            current, state.constant[plan.number], state.membrane[plan.number], plan.rules, active, plan.slice_width
        )
        emission = Emission(events)
        totals.wraps, totals.clips = totals.wraps + wraps, totals.clips + clips
        counts.active += int(active.sum())
        kernels.tile_sums(active, plan.tiles, population.width, work.active)
        kernels.slice_spikes(events, plan.slice_width, per_slice)
        kernels.tile_sums(per_slice, plan.tiles, population.width, work.spikes)
    counts.spikes[step] += per_slice.sum()
    if len(plan.routes):
        packets = np.zeros(len(plan.routes), np.int64)
        kernels.route_packets(per_slice, emission.events, plan.routes, population.width, packets)
        work.send(plan.route_source, plan.route_target, packets)
        clock.count_moves(plan.route_source, plan.route_target, packets, counts)
    return emission


def _add(
    schedule: Schedule,
    plan: ProjectionPlan,
    tick: int,
    state: State,
    bundles: dict[int, Events],
    totals: Totals,
    work: TickWork,
) -> None:
    """Deliver the spikes that arrive at ``tick`` through one projection."""
    synapses = plan.synapses
    synapses.ops[:] = 0
    if plan.kernel is kernels.add_payload:
        ((source, delay),) = schedule.bundles[plan.bundle]
        payload = state.emitted[source][tick - delay].payload
        if payload is None:
            raise SimulationError(f"projection {plan.projection.name!r}: expected payloads, found spikes")
        kernels.add_payload(payload, plan.window, synapses, plan.boxes)
    else:
        plan.kernel(_arriving(schedule, plan.bundle, tick, state, bundles), plan.window, synapses, plan.boxes)
    totals.projections[plan.projection.name].ops += int(synapses.ops.sum())
    kernels.tile_sums(synapses.ops, plan.tiles, plan.window.out_width, work.ops[plan.lists])


def _arriving(schedule: Schedule, bundle: int, tick: int, state: State, bundles: dict[int, Events]) -> Events:
    """Events that reach a bundle's axons at ``tick``; nothing before the pipeline has filled."""
    if bundle not in bundles:
        parts = [
            state.emitted[source][tick - delay].events
            for source, delay in schedule.bundles[bundle]
            if tick - delay in state.emitted[source]
        ]
        if not parts:
            raise SimulationError(
                f"bundle {bundle}: no source has sent anything {tick=} ago; the delays are inconsistent"
            )
        events = parts[0]
        for part in parts[1:]:
            events = kernels.merge(events, part)
        bundles[bundle] = events
    return bundles[bundle]


def _run_product(
    schedule: Schedule,
    plan: PopulationPlan,
    tick: int,
    state: State,
    bundles: dict[int, Events],
    totals: Totals,
    work: TickWork,
) -> Emission:
    """Spiking attention on processors, one head a tile."""
    population, product = plan.population, plan.product
    assert product is not None
    q, k, v = (
        state.emitted[number][tick - source.delay].events
        for number, source in zip(_sources(schedule, product.sources), product.sources, strict=True)
    )
    payload = np.zeros((population.positions, population.channels), np.int32)
    depth = population.channels // product.heads
    counts = totals.projections[product.name]
    for row in plan.tiles:
        done, effective, coincidences = kernels.attend(q, k, v, int(row[4]), depth, payload)
        counts.ops += done
        counts.effective += effective
        counts.coincidences += coincidences
        work.processor_ops[row[5]] += done
    return Emission(Events(np.zeros(population.positions + 1, np.int64), np.zeros(0, np.int32)), payload)


def _sources(schedule: Schedule, sources: tuple[object, ...]) -> list[int]:
    names = {p.name: i for i, p in enumerate(schedule.program.network.populations)}
    return [names[s.population] for s in sources]  # type: ignore[attr-defined]


def _start_encoders(plans: tuple[PopulationPlan, ...], frames: NDArray[np.int64], state: State, totals: Totals) -> int:
    """Count the host's convolutions; returns the words it writes (bias registers set and cleared for each frame)."""
    written = 0
    for plan in plans:
        if plan.encoder is not None:
            macs = plan.population.positions * plan.encoder.weight.size
            totals.host_macs += macs * len(frames)
            written += plan.population.size * (len(frames) + 1)
    return written


def _prepare_constant(plan: PopulationPlan, frames: NDArray[np.int64], step: int, state: State) -> None:
    """Raw current of the bias axons and of the encoder for this step; a static image is convolved once."""
    if plan.encoder is None:
        if plan.bias is not None and step == 0:
            state.constant[plan.number] = _bias_current(plan)[None]
        return
    if step < len(frames):
        current = _encode(plan.encoder, plan, frames[step])
        state.constant[plan.number] = current if plan.bias is None else current + _bias_current(plan)


def _encode(encoder: Encoder, plan: PopulationPlan, frame: NDArray[np.int64]) -> NDArray[np.int64]:
    return projected(encoder, plan.population, {}, frame[None]).reshape(plan.population.positions, -1)


def _bias_current(plan: PopulationPlan) -> NDArray[np.int64]:
    assert plan.bias is not None
    digits = zip(plan.bias.weight.astype(np.int64), plan.bias.shifts, strict=True)
    return np.sum([row << shift for row, shift in digits], axis=0)


def _count_bias(plan: PopulationPlan, totals: Totals, work: TickWork) -> None:
    """Always-on axons: one accumulate a digit and neuron."""
    if plan.bias is None:
        return
    digits = len(plan.bias.shifts)
    totals.projections[plan.bias.name].ops += digits * plan.population.size
    sizes = np.full((plan.population.positions, plan.n_slices), 0, np.int64)
    widths = np.minimum(plan.slice_width, plan.population.channels - np.arange(plan.n_slices) * plan.slice_width)
    sizes[:] = digits * widths
    kernels.tile_sums(sizes, plan.tiles, plan.population.width, work.ops["dense"])


def _dense(
    plans: tuple[PopulationPlan, ...], history: dict[str, list[Emission]]
) -> Iterator[tuple[str, NDArray[np.int32]]]:
    """Dense (T, P, C) counts of every population but the readout."""
    for plan in plans:
        population = plan.population
        if population.neuron.kind == "readout":
            continue
        emissions = history[population.name]
        counts = np.zeros((len(emissions), population.positions, population.channels), np.int32)
        for step, emission in enumerate(emissions):
            if emission.payload is not None:
                counts[step] = emission.payload
            else:
                kernels.counts_of(emission.events, counts[step])
        yield population.name, counts
