"""Blocks of positions of a layer in all steps: what arrives, and what the neurons make of it, within the cache."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from itertools import pairwise
from math import prod
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from neurochip.network.network import Population
from neurochip.sim import products
from neurochip.sim.kernels import dense, payloads, planes
from neurochip.sim.kernels.indexed import add_indexed
from neurochip.sim.kernels.neurons import Steps, count_steps, update_steps, update_steps_narrow
from neurochip.sim.kernels.planes import Place
from neurochip.sim.kernels.synapses import Synapses, Tasks, Window, add_block_rows
from neurochip.sim.payload_sums import deliver_payloads
from neurochip.sim.waves.forms import Flight, Plane, Sent
from neurochip.sim.waves.plans import BOXES, POOL, VALUES, WavePlan, WaveProjection

Int32 = NDArray[np.int32]
Counts = NDArray[np.int64]
Whole = TypeVar("Whole", bound=np.integer)
Constant = NDArray[np.int32 | np.int64]

BLOCK_SUMS = 1 << 17
"""Sums of weights, 4 bytes each, that a block of positions keeps in the second-level cache in all steps."""
ROW_NEURONS = 2048
"""Neurons that are updated as one row, where rows are shorter."""


@dataclass(slots=True, eq=False)
class Block:
    """What was counted in a block: (T, tiles) neurons with input or charge; by projection, what reached its tiles."""

    place: Place
    active: Int32
    reached: dict[int, Int32]
    wraps: int
    clips: int
    saturations: int = 0


@dataclass(slots=True, eq=False)
class Layer:
    """A population while it is computed, and what its bookings need.

    ``constant`` (T or 1, rows of all inputs or 1, C): raw current of bias axons and the encoder. By number of
    projection: ``whole``: sums and accumulates of those that are not delivered block by block; ``positions``,
    ``packets``: spikes at each position of the sources, or what these sent, each with the tick of arrival as seen from
    the population's own. ``found``: of each block of positions. ``attended``: what each head counted.
    """

    wave: WavePlan
    sent: Sent
    constant: Constant
    whole: dict[int, tuple[Int32, Counts]] = field(default_factory=dict)
    positions: dict[int, list[tuple[int, Int32]]] = field(default_factory=dict)
    packets: dict[int, list[tuple[int, Plane]]] = field(default_factory=dict)
    found: list[Block] = field(default_factory=list)
    attended: Counts | None = None

    @property
    def population(self) -> Population:
        """The population."""
        return self.wave.plan.population


@dataclass(slots=True, eq=False)
class Room:
    """Arrays of one thread that each block finds as the last one left them."""

    local: threading.local = field(default_factory=threading.local)

    def array(self, name: str, shape: tuple[int, ...], kind: type) -> NDArray[np.generic]:
        """Room of this shape; one ``name`` has one ``kind``."""
        size, known = prod(shape), getattr(self.local, name, None)
        if known is None or known.size < size:
            known = np.empty(size, kind)
            setattr(self.local, name, known)
        found: NDArray[np.generic] = known[:size].reshape(shape)
        return found

    def zeros(self, name: str, shape: tuple[int, ...]) -> Int32:
        """Zeros, int32."""
        found: Int32 = self.array(name, shape, np.int32).view(np.int32)
        found[:] = 0
        return found

    def plane(self, name: str, shape: tuple[int, ...]) -> Plane:
        """Bytes."""
        found: Plane = self.array(name, shape, np.uint8).view(np.uint8)
        return found


def places(flight: Flight, layer: Layer, threads: int) -> list[Place]:
    """Blocks of rows of positions of each input; none where nothing is computed block by block."""
    population = layer.population
    if layer.wave.relay or population.neuron.kind in ("source", "product"):
        return []
    sums = flight.steps * population.size
    count = min(population.height, max(threads, -(-sums // BLOCK_SUMS)))
    edges = np.linspace(0, population.height, count + 1).astype(int).tolist()
    return [Place(item, flight.inputs, y0, y1) for item in range(flight.inputs) for y0, y1 in pairwise(edges)]


def whole_sums(flight: Flight, wave: WavePlan, projection: WaveProjection) -> tuple[Int32, Counts]:
    """Sums (lanes, P, C) and accumulates (lanes * P, slices) of a projection that goes box by box."""
    plan, population = projection.plan, wave.plan.population
    current = np.zeros((flight.lanes * population.positions, population.channels), np.int32)
    ops = np.zeros((len(current), wave.plan.n_slices), np.int64)
    synapses = Synapses(plan.weight, plan.groups, current, ops, wave.plan.slice_width)
    tasks = Tasks(plan.boxes, 0, len(plan.boxes) * flight.lanes)
    if plan.payload:
        for sent in flight.sources(projection):
            if sent.payload is not None:
                deliver_payloads(sent.payload, plan, synapses, tasks)
    else:
        events = flight.arrived[plan.bundle].events
        if plan.offsets is not None and events is not None:
            values = products.dense(events, plan.offsets.size // (plan.window.height * plan.window.width))
            add_indexed(values.ravel(), plan.offsets, synapses, tasks)
        else:
            plan.kernel(events, plan.window, synapses, tasks)
    return current.reshape(flight.lanes, population.positions, -1), ops


def attend(flight: Flight, layer: Layer, head: int) -> None:
    """One head of an attention product."""
    plan = layer.wave.plan
    if plan.product is not None and layer.attended is not None:
        depth = plan.population.channels // plan.product.heads
        operands = [flight.sent[number].events for number, _ in plan.product_sources]
        layer.attended[head] = payloads.attend(*operands, int(plan.tiles[head, 4]), depth, 0, layer.sent.payload)


def compute(flight: Flight, room: Room, layer: Layer, place: Place, membrane: Int32) -> None:
    """A block of positions in all steps; a readout's last ``membrane`` (B, P, C) is kept."""
    wave, population = layer.wave, layer.population
    n = (place.y1 - place.y0) * population.width
    wide = max([population.channels, *(len(p.panels) * dense.PANEL for p in wave.incoming)])
    current = room.zeros("sums", (flight.steps, n, wide) if wave.incoming else (1, 1, wide))
    reached: dict[int, Int32] = {}
    for number, projection in enumerate(wave.incoming):
        shift = projection.plan.extra_shift
        sums = room.zeros("other", current.shape) if shift else current
        _deliver(flight, room, layer, number, place, sums, reached)
        if shift:
            current += sums << shift
    touched = room.plane("touched", (flight.steps, n, population.channels))
    wraps, clips = _update(room, layer, place, current, touched, membrane)
    active = np.zeros((flight.steps, len(wave.plan.tiles)), np.int32)
    planes.box_sums(_grid(touched, population, place), place.y0, wave.tiles, active)
    graded = population.neuron.kind == "graded"
    layer.found.append(Block(place, active, reached, wraps, 0 if graded else clips, clips if graded else 0))


def _deliver(
    flight: Flight, room: Room, layer: Layer, number: int, place: Place, current: Int32, reached: dict[int, Int32]
) -> None:
    """Add what arrives through one projection to ``current`` (T, n, at least C)."""
    projection, population = layer.wave.incoming[number], layer.population
    plan, arrived = projection.plan, flight.arrived.get(projection.plan.bundle)
    if projection.how == VALUES:
        for sent in flight.sources(projection):
            planes.add_values(sent.payload, int(plan.weight[0, 0]), place, population.width, current)
    elif projection.how == BOXES:
        first = place.y0 * population.width
        sums = layer.whole[number][0][place.item :: flight.inputs, first : first + current.shape[1]]
        current[:, :, : population.channels] += sums
    elif arrived is None:
        return
    elif projection.how == POOL:
        heard = room.plane("heard", (flight.steps, current.shape[1], population.channels))
        planes.add_pool(arrived.counts, plan.window, projection.taps, place, current, heard)
        counts = reached[number] = np.zeros((flight.steps, len(plan.tiles)), np.int32)
        planes.box_sums(_grid(heard, population, place), place.y0, projection.spots, counts)
    elif not arrived.by_product(projection):
        add_block_rows(arrived.events, plan.window, plan.weight, projection.groups, place, current)
    elif projection.block != (1, 1):
        grid = population.height, population.width
        window = Window(*grid, *grid, 1, 1, 1, 1, 0, 0)
        dense.multiply(arrived.gathered, window, projection.panels, place, current)
    else:
        dense.multiply(arrived.padded[plan.padding], plan.window, projection.panels, place, current)


def _update(room: Room, layer: Layer, place: Place, current: Int32, touched: Plane, membrane: Int32) -> tuple[int, int]:
    """The neurons of a block in all steps; several short rows as one. Returns wrapped currents, clipped values."""
    plan, width, (_, n, channels) = layer.wave.plan, layer.population.width, touched.shape
    times = 1
    if current.shape[2] == channels:
        times = next(k for k in range(width, 0, -1) if width % k == 0 and (k * channels <= ROW_NEURONS or k == 1))
    last = room.zeros("membrane", (n // times, times * channels))
    rows = Steps(
        current=_joined(current, times),
        constant=_joined(layer.constant, times),
        spikes=_joined(layer.sent.packets, times),
        touched=_joined(touched, times),
        membrane=last,
        item=place.item,
        first=place.y0 * width // times,
    )
    if plan.population.neuron.kind == "graded":
        wraps, clips = count_steps(rows, plan.rules, plan.population.high)
    else:
        wraps, clips = (update_steps_narrow if plan.rules.narrow else update_steps)(rows, plan.rules)
    if plan.rules.readout:
        membrane[place.item, place.y0 * width : place.y0 * width + n] = last.reshape(n, channels)
    return int(wraps), int(clips)


def _joined(rows: NDArray[Whole], times: int) -> NDArray[Whole]:
    """``times`` rows each as one; one row that stands for all, so many times."""
    if times == 1:
        return rows
    if rows.shape[1] == 1:
        return np.concatenate([rows] * times, axis=2)
    return rows.reshape(len(rows), -1, times * rows.shape[2])


def _grid(plane: Plane, population: Population, place: Place) -> Plane:
    """(T, n, C) as (T, rows, width, C)."""
    return plane.reshape(len(plane), place.y1 - place.y0, population.width, -1)
