"""Booking of layers: what happened in all steps goes to the cores that do it and the ticks in which they do."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial

import numpy as np
from numpy.typing import NDArray

from neurochip.sim import products
from neurochip.sim.clock import LISTS, Clock
from neurochip.sim.kernels import planes
from neurochip.sim.kernels.ticks import BLOCK, enter
from neurochip.sim.kernels.traffic import tile_sums
from neurochip.sim.schedule import PopulationPlan
from neurochip.sim.state import Totals
from neurochip.sim.trace import PopulationCounts
from neurochip.sim.waves.blocks import Layer
from neurochip.sim.waves.forms import Flight, Plane
from neurochip.sim.waves.plans import BOXES, WavePlan, WaveProjection

Counts = NDArray[np.int64]
Int32 = NDArray[np.int32]


@dataclass(slots=True, eq=False)
class WaveBooks:
    """Books of ticks that are still open. All calls come one after the other.

    What is to be booked in a tick is kept in its short form, by box and tile, until the tick is closed: so the counts
    of all cores are those of one tick, and stay in the cache. ``lag``: how many ticks before the own tick of a
    population what it reads may arrive. ``until``: see ``kernels.ticks.Idle``.
    """

    flight: Flight
    clock: Clock
    totals: Totals
    lag: int
    open: dict[int, list[Callable[[int], None]]] = field(default_factory=dict)
    until: Counts = field(init=False)

    def __post_init__(self) -> None:
        self.clock.start(self.flight.inputs)
        self.until = np.full(len(self.clock.board.noc_core) // BLOCK + 1, -1, np.int64)

    def close(self, layers: list[Layer], ticks: tuple[int, int], tick_ns: NDArray[np.float64]) -> None:
        """Take in ``layers``, and end the ticks from the first to before the last."""
        for layer in layers:
            self._book(layer, layer.population.depth)
        for tick in range(*ticks):
            for put in self.open.pop(tick, ()):
                put(tick)
            idle = self.clock.board.idle._replace(until=self.until, tick=tick)
            self.clock.finish(self.clock.work, tick_ns[:, tick], idle)

    def _each_step(self, tick: int, enter: Callable[..., None], values: NDArray[np.integer], *others: object) -> None:
        """Put off ``enter(rows of a step, *others, tick)``, ``values`` (lanes, ...), until its ticks are closed."""
        interval, inputs = self.flight.schedule.program.network.interval, self.flight.inputs
        for step in range(self.flight.steps):
            rows = values[step * inputs : (step + 1) * inputs]
            self.open.setdefault(tick + step * interval, []).append(partial(enter, rows, *others))

    def _book(self, layer: Layer, tick: int) -> None:
        """Book all steps of a population whose first runs in ``tick``."""
        plan, kind = layer.wave.plan, layer.population.neuron.kind
        for later, packets in enumerate(layer.sent.by_tick if kind != "readout" else ()):
            self._send(layer, packets, later, tick + later)
        if kind in ("lif", "readout", "graded"):
            self._book_neurons(layer, tick)
        if layer.attended is not None:
            self._each_step(tick, self._attended, layer.attended.transpose(1, 0, 2), plan)

    def _attended(self, counts: Counts, plan: PopulationPlan, tick: int) -> None:
        """Book what heads counted, (B, tiles, 5), in the tick at hand."""
        if plan.product is not None:
            totals, work = self.totals.projections[plan.product.name], self.clock.work
            products.book_attended(counts.transpose(1, 0, 2), plan, totals, work)
            self.until[plan.tiles[:, 5] // BLOCK] = tick

    def _send(self, layer: Layer, packets: Plane, later: int, tick: int) -> None:
        """Book what leaves ``later`` ticks after the population's own, its neurons being active then."""
        flight, plan, population = self.flight, layer.wave.plan, layer.population
        counts = self.totals.populations[population.name]
        grid = packets.reshape(flight.lanes, population.height, population.width, -1)
        spikes = np.zeros((flight.lanes, len(plan.tiles)), np.int32)
        planes.box_sums(grid, 0, layer.wave.tiles, spikes)
        counts.spikes += spikes.sum(axis=1, dtype=np.int64).reshape(flight.steps, -1).sum(axis=1)
        if population.neuron.kind in ("lif", "graded"):
            self._enter(spikes * np.int32(population.copies), plan.tiles, self.clock.work.spikes, tick)
            if later or layer.wave.relay:
                self._book_active(layer, spikes, tick)
        boxes = np.zeros((flight.lanes, len(layer.wave.boxes.boxes)), np.int32)
        if boxes.size:
            planes.box_sums(grid, 0, layer.wave.boxes, boxes)
            self._each_step(tick, self._packets, boxes, layer.wave, counts)

    def _packets(self, packets: Int32, wave: WavePlan, counts: PopulationCounts, tick: int) -> None:
        """Book packets of each box, (B, boxes), in the tick at hand."""
        self.clock.send(self.clock.board.bookings[wave.plan.number], packets, counts, self.clock.work)
        self.until[wave.blocks] = tick

    def _enter(self, values: Int32, tiles: Int32, book: Counts, tick: int) -> None:
        """Add ``values`` (lanes, tiles) to ``book`` (B, n_cores) at the tiles' cores, the first step in ``tick``."""
        self._each_step(tick, enter, values, tiles, book, self.until)

    def _book_active(self, layer: Layer, active: Int32, tick: int) -> None:
        """Book neurons with input or charge, (lanes, tiles), and their copies."""
        population = layer.population
        active = active * np.int32(population.copies * population.compartments)
        self.totals.populations[population.name].active += int(active.sum(dtype=np.int64))
        self._enter(active, layer.wave.plan.tiles, self.clock.work.active, tick)

    def _book_neurons(self, layer: Layer, tick: int) -> None:
        """Book updates, biases and what arrived."""
        flight, plan = self.flight, layer.wave.plan
        active = np.zeros((flight.lanes, len(plan.tiles)), np.int32)
        for block in layer.found:
            active[block.place.item :: flight.inputs] += block.active
            self.totals.wraps += block.wraps
            self.totals.clips += block.clips
            self.totals.saturations += block.saturations
        if not layer.wave.relay:
            self._book_active(layer, active, tick)
        for bias in plan.biases:
            each = len(bias.shifts) * bias.spikes_a_step(flight.schedule.program.network.interval)
            every = int(plan.bias_ops[1].sum()) * each * flight.lanes
            self.totals.projections[bias.name].add(every)
            ops = np.broadcast_to(layer.wave.sizes * np.int32(each), active.shape)
            self._enter(ops, plan.tiles, self.clock.work.ops[LISTS.index("dense")], tick)
        for number in range(len(layer.wave.incoming)):
            self._book_arrivals(layer, number, tick)

    def _book_arrivals(self, layer: Layer, number: int, tick: int) -> None:
        """Book what arrived through one projection."""
        flight, projection, population = self.flight, layer.wave.incoming[number], layer.population
        plan, width = projection.plan, layer.wave.plan.slice_width
        book, totals = self.clock.work.ops[LISTS.index(plan.lists)], self.totals.projections[plan.projection.name]
        if projection.how == BOXES:
            ops = layer.whole[number][1]
            totals.add(int(ops.sum()))
            by_row = ops.reshape(flight.lanes, population.positions, -1)
            self._each_step(tick - projection.early[0], self._boxes, by_row, layer.wave, projection)
            return
        found: list[tuple[int, Int32]] = []
        for early, positions in layer.positions.get(number, ()):
            found.append((early, reached := np.zeros((flight.lanes, len(plan.tiles)), np.int32)))
            planes.reach_sums(positions, plan.window, plan.tiles, reached)
            reached *= np.minimum(width, population.channels - plan.tiles[:, 4] * width)
        for early, packets in layer.packets.get(number, ()):
            found.append((early, reached := np.zeros((flight.lanes, len(plan.tiles)), np.int32)))
            grid = packets.reshape(len(packets), population.height, population.width, -1)
            planes.box_sums(grid, 0, projection.spots, reached)
        if not found:
            found.append((-projection.early[0], reached := np.zeros((flight.lanes, len(plan.tiles)), np.int32)))
            for block in layer.found:
                reached[block.place.item :: flight.inputs] += block.reached[number]
        for early, reached in found:
            totals.add(int(reached.sum(dtype=np.int64)))
            self._enter(reached, plan.tiles, book, tick + early)

    def _boxes(self, ops: Counts, wave: WavePlan, projection: WaveProjection, tick: int) -> None:
        """Book accumulates (B, P, slices) in the tick at hand."""
        tiles, p = projection.plan.tiles, wave.plan.population
        book = self.clock.work.ops[LISTS.index(projection.plan.lists)]
        tile_sums(ops.reshape(-1, ops.shape[2]), tiles, (p.height, p.width), book)
        self.until[tiles[:, 5] // BLOCK] = tick
