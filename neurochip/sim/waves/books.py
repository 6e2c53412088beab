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
from neurochip.sim.kernels.traffic import Books, tile_sums
from neurochip.sim.state import Totals
from neurochip.sim.waves.blocks import Layer
from neurochip.sim.waves.forms import Flight
from neurochip.sim.waves.plans import BOXES, POOL, ROWS, VALUES

Int32 = NDArray[np.int32]


@dataclass(slots=True, eq=False)
class WaveBooks:
    """The ticks that layers in hand are booked on. All calls come one after the other."""

    flight: Flight
    clock: Clock
    totals: Totals
    ledger: Ledger = field(init=False)
    works: list[Work] = field(init=False)

    def __post_init__(self) -> None:
        flight = self.flight
        self.ledger = self.clock.new_ledger(flight.steps, flight.inputs)
        self.works = [self._work(slot) for slot in range(flight.steps)]

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
            self._book(layer, ticks[1])

    def _book(self, layer: Layer, tick: int) -> None:
        """Book all steps of a population on the ticks from ``tick``."""
        flight, plan, population = self.flight, layer.wave.plan, layer.population
        counts, kind = self.totals.populations[population.name], population.neuron.kind
        grid = layer.sent.packets.reshape(flight.lanes, population.height, population.width, -1)
        spikes = np.zeros((flight.lanes, len(plan.tiles)), np.int32)
        if kind != "readout":
            planes.box_sums(grid, 0, layer.wave.tiles, spikes)
        counts.spikes += spikes.sum(axis=1, dtype=np.int64).reshape(flight.steps, -1).sum(axis=1)
        if kind == "lif":
            self._enter(spikes * np.int32(population.copies), plan.tiles, self.ledger.spikes, tick)
        if kind in ("lif", "readout"):
            self._book_neurons(layer, spikes, tick)
        if layer.attended is not None and plan.product is not None:
            self.ledger.until[plan.tiles[:, 5] >> BLOCK_BITS] = tick + flight.steps - 1
            for step in range(flight.steps):
                part = layer.attended[:, step * flight.inputs : (step + 1) * flight.inputs]
                work = self.works[(tick + step) % len(self.works)]
                products.book_attended(part, plan, self.totals.projections[plan.product.name], work)
        packets = np.zeros((flight.lanes, len(layer.wave.boxes.boxes)), np.int32)
        if packets.size:
            planes.box_sums(grid, 0, layer.wave.boxes, packets)
            fanout = self.clock.board.bookings[plan.number].fanout
            self.clock.count_moves(book_steps(packets, fanout, self.ledger, tick), counts)

    def _enter(self, values: Int32, tiles: Int32, book: NDArray[np.int64], tick: int) -> None:
        """Add ``values`` (lanes, tiles) to ``book`` at the tiles' cores."""
        scatter(values, tiles[:, 5], book, self.ledger.until, tick)

    def _book_neurons(self, layer: Layer, spikes: Int32, tick: int) -> None:
        """Book updates, biases and what arrived; a relay is active where it fires."""
        flight, plan, population = self.flight, layer.wave.plan, layer.population
        active = spikes if layer.wave.relay else np.zeros_like(spikes)
        for block in layer.found:
            active[block.place.item :: flight.inputs] += block.active
            self.totals.wraps += block.wraps
            self.totals.clips += block.clips
        active = active * np.int32(population.copies * population.compartments)
        self.totals.populations[population.name].active += int(active.sum(dtype=np.int64))
        self._enter(active, plan.tiles, self.ledger.active, tick)
        cores, neurons = plan.bias_ops
        for bias in plan.biases:
            ops = neurons * (len(bias.shifts) * bias.spikes_a_step(flight.schedule.program.network.interval))
            self.ledger.ops[:, LISTS.index("dense"), :, cores] += ops[:, None, None]
            self.totals.projections[bias.name].add(int(ops.sum()) * flight.lanes)
        for number in range(len(layer.wave.incoming)):
            self._book_arrivals(layer, number, tick)

    def _book_arrivals(self, layer: Layer, number: int, tick: int) -> None:
        """Book what arrived through one projection."""
        flight, projection, population = self.flight, layer.wave.incoming[number], layer.population
        plan, width = projection.plan, layer.wave.plan.slice_width
        book, totals = self.ledger.ops[:, LISTS.index(plan.lists)], self.totals.projections[plan.projection.name]
        if projection.how == BOXES:
            ops = layer.whole[number][1]
            rows, grid = flight.inputs * population.positions, (population.height, population.width)
            self.ledger.until[plan.tiles[:, 5] >> BLOCK_BITS] = tick + flight.steps - 1
            for step in range(flight.steps):
                part = ops[step * rows : (step + 1) * rows]
                tile_sums(part, plan.tiles, grid, book[(tick + step) % flight.steps])
            totals.add(int(ops.sum()))
            return
        reached = np.zeros((flight.lanes, len(plan.tiles)), np.int32)
        if projection.how == ROWS:
            planes.reach_sums(layer.positions[number], plan.window, plan.tiles, reached)
            reached *= np.minimum(width, population.channels - plan.tiles[:, 4] * width)
        elif projection.how == VALUES or layer.wave.relay:
            for packets in layer.packets[number]:
                grid_of = packets.reshape(len(packets), population.height, population.width, -1)
                planes.box_sums(grid_of, 0, projection.spots, reached)
        for block in layer.found if projection.how == POOL else ():
            reached[block.place.item :: flight.inputs] += block.reached[number]
        totals.add(int(reached.sum(dtype=np.int64)))
        self._enter(reached, plan.tiles, book, tick)
