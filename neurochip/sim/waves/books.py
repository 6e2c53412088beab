"""Booking of layers: what happened in all steps goes to the cores that do it and the ticks in which they do."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from neurochip.sim import products
from neurochip.sim.clock import LISTS, Clock
from neurochip.sim.kernels import planes
from neurochip.sim.kernels.ledger import BLOCK_BITS, Ledger, book_steps, scatter
from neurochip.sim.kernels.ticks import Work
from neurochip.sim.kernels.traffic import Books, book_packets, tile_sums
from neurochip.sim.state import Totals
from neurochip.sim.waves.blocks import Layer
from neurochip.sim.waves.forms import Flight, Plane
from neurochip.sim.waves.plans import BOXES

Int32 = NDArray[np.int32]


@dataclass(slots=True, eq=False)
class WaveBooks:
    """The ticks that layers in hand are booked on. All calls come one after the other.

    ``lag``: how many ticks before the own tick of a population what it reads may arrive.
    """

    flight: Flight
    clock: Clock
    totals: Totals
    lag: int
    ledger: Ledger = field(init=False)
    works: list[Work] = field(init=False)

    def __post_init__(self) -> None:
        flight, network = self.flight, self.flight.schedule.program.network
        lasting = max(p.duration for p in network.populations)
        slots = self.lag + (flight.steps - 1) * network.interval + lasting
        self.ledger = self.clock.new_ledger(slots, flight.inputs, together=slots == flight.steps)
        self.works = [self._work(slot) for slot in range(slots)]

    @property
    def interval(self) -> int:
        """Ticks from one step to the next."""
        return self.flight.schedule.program.network.interval

    def _work(self, slot: int) -> Work:
        """The books of the ticks of one slot."""
        ledger, mine = self.ledger, slice(slot * self.flight.inputs, (slot + 1) * self.flight.inputs)
        return Work(
            ops=ledger.ops[slot],
            processor_ops=ledger.processor_ops[slot],
            active=ledger.active[slot],
            spikes=ledger.spikes[slot],
            books=Books(
                sent=ledger.sent[slot],
                received=ledger.received[:, mine].T,
                longest=ledger.longest[slot],
                spans=ledger.spans[:, mine].T,
            ),
        )

    def close(self, layers: list[Layer], ticks: tuple[int, int], tick_ns: NDArray[np.float64]) -> None:
        """End the ticks from the first to before the last, which is the first that ``layers`` are booked on."""
        for tick in range(*ticks):
            idle = self.clock.board.idle._replace(until=self.ledger.until, tick=tick)
            self.clock.finish(self.works[tick % len(self.works)], tick_ns[:, tick], idle)
        for layer in layers:
            self._book(layer, layer.population.depth)

    def _book(self, layer: Layer, tick: int) -> None:
        """Book all steps of a population whose first runs in ``tick``."""
        plan, kind = layer.wave.plan, layer.population.neuron.kind
        for later, packets in enumerate(layer.sent.by_tick if kind != "readout" else ()):
            self._send(layer, packets, later, tick + later)
        if kind in ("lif", "readout", "graded"):
            self._book_neurons(layer, tick)
        if layer.attended is None or plan.product is None:
            return
        for step in range(self.flight.steps):
            part = layer.attended[:, step * self.flight.inputs : (step + 1) * self.flight.inputs]
            work = self._at(tick, step, plan.tiles[:, 5].astype(np.int64) >> BLOCK_BITS)
            products.book_attended(part, plan, self.totals.projections[plan.product.name], work)

    def _at(self, tick: int, step: int, blocks: NDArray[np.int64]) -> Work:
        """The books of ``step`` of what begins in ``tick``, for ``blocks`` of cores."""
        tick += step * self.interval
        self.ledger.until[blocks] = np.maximum(self.ledger.until[blocks], tick)
        return self.works[tick % len(self.works)]

    def _send(self, layer: Layer, packets: Plane, later: int, tick: int) -> None:
        """Book what leaves ``later`` ticks after the population's own, its neurons being active then."""
        flight, plan, population = self.flight, layer.wave.plan, layer.population
        counts = self.totals.populations[population.name]
        grid = packets.reshape(flight.lanes, population.height, population.width, -1)
        spikes = np.zeros((flight.lanes, len(plan.tiles)), np.int32)
        planes.box_sums(grid, 0, layer.wave.tiles, spikes)
        counts.spikes += spikes.sum(axis=1, dtype=np.int64).reshape(flight.steps, -1).sum(axis=1)
        if population.neuron.kind in ("lif", "graded"):
            self._enter(spikes * np.int32(population.copies), plan.tiles, self.ledger.spikes, tick)
            if later or layer.wave.relay:
                self._book_active(layer, spikes, tick)
        boxes = np.zeros((flight.lanes, len(layer.wave.boxes.boxes)), np.int32)
        if not boxes.size:
            return
        planes.box_sums(grid, 0, layer.wave.boxes, boxes)
        fanout = self.clock.board.bookings[plan.number].fanout
        if len(self.works) == flight.steps:
            self.clock.count_moves(book_steps(boxes, fanout, self.ledger, tick), counts)
            return
        for step in range(flight.steps):
            books = self._at(tick, step, layer.wave.blocks).books
            part = boxes[step * flight.inputs : (step + 1) * flight.inputs]
            self.clock.count_moves(book_packets(part, fanout, books), counts)

    def _enter(self, values: Int32, tiles: Int32, book: NDArray[np.int64], tick: int) -> None:
        """Add ``values`` (lanes, tiles) to ``book`` at the tiles' cores, those of the first step in ``tick``."""
        scatter(values, tiles[:, 5], book, self.ledger.until, tick, self.interval)

    def _book_active(self, layer: Layer, active: Int32, tick: int) -> None:
        """Book neurons with input or charge, (lanes, tiles), and their copies."""
        population = layer.population
        active = active * np.int32(population.copies * population.compartments)
        self.totals.populations[population.name].active += int(active.sum(dtype=np.int64))
        self._enter(active, layer.wave.plan.tiles, self.ledger.active, tick)

    def _book_neurons(self, layer: Layer, tick: int) -> None:
        """Book updates, biases and what arrived."""
        flight, plan = self.flight, layer.wave.plan
        active = np.zeros((flight.lanes, len(plan.tiles)), np.int32)
        for block in layer.found:
            active[block.place.item :: flight.inputs] += block.active
            self.totals.wraps += block.wraps
            self.totals.clips += block.clips
            self.totals.saturations += block.saturations
        self._book_active(layer, active, tick)
        cores, neurons = plan.bias_ops
        for bias in plan.biases:
            ops = neurons * (len(bias.shifts) * bias.spikes_a_step(self.interval))
            for step in range(flight.steps):
                self._at(tick, step, cores >> BLOCK_BITS).ops[LISTS.index("dense")][:, cores] += ops
            self.totals.projections[bias.name].add(int(ops.sum()) * flight.lanes)
        for number in range(len(layer.wave.incoming)):
            self._book_arrivals(layer, number, tick)

    def _book_arrivals(self, layer: Layer, number: int, tick: int) -> None:
        """Book what arrived through one projection."""
        flight, projection, population = self.flight, layer.wave.incoming[number], layer.population
        plan, width = projection.plan, layer.wave.plan.slice_width
        grid = (population.height, population.width)
        book, totals = self.ledger.ops[:, LISTS.index(plan.lists)], self.totals.projections[plan.projection.name]
        if projection.how == BOXES:
            ops = layer.whole[number][1]
            rows = flight.inputs * population.positions
            for step in range(flight.steps):
                work = self._at(tick - projection.early[0], step, plan.tiles[:, 5].astype(np.int64) >> BLOCK_BITS)
                part = ops[step * rows : (step + 1) * rows]
                tile_sums(part, plan.tiles, grid, work.ops[LISTS.index(plan.lists)])
            totals.add(int(ops.sum()))
            return
        found: list[tuple[int, Int32]] = []
        for early, positions in layer.positions.get(number, ()):
            found.append((early, reached := np.zeros((flight.lanes, len(plan.tiles)), np.int32)))
            planes.reach_sums(positions, plan.window, plan.tiles, reached)
            reached *= np.minimum(width, population.channels - plan.tiles[:, 4] * width)
        for early, packets in layer.packets.get(number, ()):
            found.append((early, reached := np.zeros((flight.lanes, len(plan.tiles)), np.int32)))
            planes.box_sums(packets.reshape(len(packets), *grid, -1), 0, projection.spots, reached)
        if not found:
            found.append((-projection.early[0], reached := np.zeros((flight.lanes, len(plan.tiles)), np.int32)))
            for block in layer.found:
                reached[block.place.item :: flight.inputs] += block.reached[number]
        for early, reached in found:
            totals.add(int(reached.sum(dtype=np.int64)))
            self._enter(reached, plan.tiles, book, tick + early)
