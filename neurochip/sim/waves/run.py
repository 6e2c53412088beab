"""All layers of some inputs, one after the other; while a layer is computed, those before are booked."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, field
from functools import partial
from itertools import groupby

import numpy as np
from numpy.typing import NDArray

from neurochip.sim.clock import Clock
from neurochip.sim.constants import always_on, count_encoders, encoded
from neurochip.sim.kernels import planes
from neurochip.sim.schedule import PopulationPlan, Schedule
from neurochip.sim.state import Observer, Totals
from neurochip.sim.waves.blocks import Constant, Layer, Room, attend, compute, places, whole_sums
from neurochip.sim.waves.books import WaveBooks
from neurochip.sim.waves.forms import Flight, Sent, timed
from neurochip.sim.waves.plans import BOXES, ROWS, VALUES, WavePlan, WaveProjection
from neurochip.sim.workers import Workers

Counts = NDArray[np.int64]
Int32 = NDArray[np.int32]

MOST_BEHIND = 4
"""Layers that wait to be booked, beyond which computing waits: what they sent is in memory until then."""


@dataclass(slots=True, eq=False)
class Waves:
    """Some inputs, ``frames`` (T or 1, B, H, W, C), all steps of a layer at once.

    ``first``: number of the first one. ``observe`` receives every spike of each.
    """

    schedule: Schedule
    plans: tuple[WavePlan, ...]
    clock: Clock
    totals: Totals
    workers: Workers
    frames: Counts
    first: int
    observe: Observer | None
    flight: Flight = field(init=False)
    room: Room = field(init=False, default_factory=Room)
    membrane: Int32 = field(init=False)

    def run(self) -> Counts:
        """All layers; returns readout membranes (B, O)."""
        network, size = self.schedule.program.network, self.frames.shape[1]
        count_encoders(self.schedule.populations, self.frames, self.totals)
        self.flight = Flight(self.schedule, size)
        lag = max((early for wave in self.plans for p in wave.incoming for early in p.early), default=0)
        books = WaveBooks(self.flight, self.clock, self.totals, lag)
        last = network.by_name[network.readout.population]
        self.membrane = np.zeros((size, last.positions, last.channels), np.int32)
        tick_ns = np.zeros((size, network.ticks))
        behind: deque[Future[None]] = deque()
        tick = 0
        for depth, group in groupby(self.plans, key=lambda wave: wave.plan.population.depth):
            layers = self._compute(list(group))
            over = max(tick, depth - books.lag)
            behind.append(self.workers.queue(partial(books.close, layers, (tick, over), tick_ns)))
            tick = over
            self._forget(depth)
            if len(behind) > MOST_BEHIND:
                behind.popleft().result()
        for booked in behind:
            booked.result()
        books.close([], (tick, network.ticks), tick_ns)
        self.totals.tick_ns.append(tick_ns)
        readout: Counts = self.membrane.astype(np.int64).sum(axis=1)
        if self.observe is not None:
            for item in range(size):
                self.observe(self.first + item, self._recorded(item), readout[item])
        return readout

    def _recorded(self, item: int) -> dict[str, Int32]:
        """Dense (T, P, C) counts of every population but the readout, for one input."""
        found = {}
        for wave in self.plans:
            sent = self.flight.sent[wave.plan.number]
            values = sent.packets.astype(np.int32) if sent.payload is None else sent.payload
            if wave.plan.population.neuron.kind != "readout":
                found[wave.plan.population.name] = np.ascontiguousarray(values[item :: self.flight.inputs])
        return found

    def _forget(self, depth: int) -> None:
        """Drop what no later layer reads."""
        self.flight.arrived.clear()
        for wave in self.plans if self.observe is None else ():
            if wave.last_read <= depth:
                self.flight.sent.pop(wave.plan.number, None)

    def _compute(self, waves: list[WavePlan]) -> list[Layer]:
        """Populations of one depth: first the forms of what arrives, then block by block."""
        flight = self.flight
        wanted: dict[int, list[WaveProjection]] = {}
        for projection in (p for w in waves if not w.relay for p in w.incoming if not p.plan.payload):
            wanted.setdefault(projection.plan.bundle, []).append(projection)
        operands = {number for wave in waves for number, _ in wave.plan.product_sources}
        first: list[Callable[[], object]] = [partial(flight.arrive, projections) for projections in wanted.values()]
        first += [flight.sent[number].as_events for number in operands]
        self.workers.map(_call, first)
        layers = self.workers.map(self._layer, waves)
        todo: list[Callable[[], object]] = []
        for layer in layers:
            blocks = places(flight, layer, self.workers.threads)
            todo += [partial(compute, flight, self.room, layer, place, self.membrane) for place in blocks]
            heads = range(0 if layer.attended is None else len(layer.attended))
            todo += [partial(attend, flight, layer, head) for head in heads]
        self.workers.map(_call, todo)
        for layer in layers:
            if layer.sent.payload is not None:
                planes.ones(layer.sent.payload, layer.sent.packets)
            if layer.population.duration > 1:
                layer.sent.split()
            flight.sent[layer.wave.plan.number] = layer.sent
        return layers

    def _layer(self, wave: WavePlan) -> Layer:
        """Room for a population, and what does not go block by block."""
        flight, p = self.flight, wave.plan.population
        shape, nothing = (flight.lanes, p.positions, p.channels), np.zeros((1, 1, 1), np.int32)
        if p.neuron.kind == "source":
            frames = np.broadcast_to(self.frames, (flight.steps, *self.frames.shape[1:]))
            return Layer(wave, Sent(np.ascontiguousarray(frames, np.uint8).reshape(shape)), nothing)
        if wave.relay:
            (source,) = flight.sources(wave.incoming[0])
            heard = timed([source], wave.incoming[0])
            return Layer(wave, Sent(source.packets, events=source.events), nothing, packets={0: heard})
        if wave.plan.product is not None:
            layer = Layer(wave, Sent(np.empty(shape, np.uint8), np.zeros(shape, np.int32)), nothing)
            layer.attended = np.zeros((len(wave.plan.tiles), flight.lanes, 5), np.int64)
            return layer
        layer = Layer(wave, Sent(np.empty(shape, np.uint8)), self._constant(wave))
        for number, projection in enumerate(wave.incoming):
            if projection.how == BOXES:
                layer.whole[number] = whole_sums(flight, wave, projection)
            elif projection.how == ROWS:
                layer.positions[number] = flight.arrived[projection.plan.bundle].positions
            elif projection.how == VALUES or not projection.joined:
                layer.packets[number] = timed(flight.sources(projection), projection)
        return layer

    def _constant(self, wave: WavePlan) -> Constant:
        """Raw current of bias axons and the encoder, (T or 1, rows of all inputs or 1, C)."""
        plan = wave.plan
        if plan.encoder is None:
            return _fitted(plan, always_on(plan)[None, None])
        if len(self.frames) == 1:
            return _fitted(plan, encoded(plan, plan.encoder, self.frames[0])[None])
        frames = [np.asarray(encoded(plan, plan.encoder, frame), np.int64) for frame in self.frames]
        return _fitted(plan, np.stack(frames))


def _fitted(plan: PopulationPlan, constant: Constant) -> Constant:
    """``constant`` in the width of the kernel that reads it."""
    return constant.astype(np.int32, copy=False) if plan.rules.narrow else constant.astype(np.int64, copy=False)


def _call(do: Callable[[], object]) -> None:
    do()
