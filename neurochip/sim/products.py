"""Products of spikes and payloads: attention on processors, units and in learning synapses; graded neurons."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from neurochip.network.arithmetic import Arithmetic
from neurochip.network.network import Population
from neurochip.network.projections import Product
from neurochip.network.reference import bounded, by_head, matmul, outer_product
from neurochip.sim.bursts import by_slice, in_turn, leaving
from neurochip.sim.kernels import payloads
from neurochip.sim.kernels.events import Events, counts_of, events_by_slice, events_of
from neurochip.sim.kernels.ticks import DENSE, LEARNING, Work
from neurochip.sim.kernels.traffic import tile_sums
from neurochip.sim.schedule import PopulationPlan
from neurochip.sim.state import Constant, Emission
from neurochip.sim.trace import LayerCounts

Counts = NDArray[np.int64]


def attended(plan: PopulationPlan, operands: list[Events], size: int) -> tuple[NDArray[np.int32], Counts]:
    """Payloads (B, P, C) of a product population, and (tiles, B, 5) counts of ``kernels.payloads.attend``."""
    population, product = plan.population, plan.product
    assert product is not None
    payload = np.zeros((size, population.positions, population.channels), np.int32)
    depth = population.channels // product.heads
    return payload, np.stack([payloads.attend(*operands, int(row[4]), depth, 0, payload) for row in plan.tiles])


def book_attended(counts: Counts, plan: PopulationPlan, totals: LayerCounts, work: Work) -> None:
    """Book what ``attended`` counted on the processors or units that did it."""
    done, effective, coincidences = (int(n) for n in counts.sum(axis=(0, 1))[:3])
    totals.ops += done
    totals.effective += effective
    totals.coincidences += coincidences
    for row, of_tile in zip(plan.tiles, counts, strict=True):
        each = np.full(len(of_tile), plan.whole_products[0]) if plan.whole_products else of_tile[:, 0]
        work.processor_ops[:, row[5]] += each
        totals.booked += int(each.sum())


def payload_emission(payload: NDArray[np.int32], coding: str) -> Emission:
    """What a product sends: a packet for each payload (B, P, C), or for each of its binary digits."""
    rows = payload.shape[0] * payload.shape[1]
    if coding == "graded":
        return Emission(one_packet_each(payload.reshape(rows, -1)), payload)
    return Emission(Events(np.zeros(rows + 1, np.int64), np.zeros(0, np.int32)), payload)


@dataclass(frozen=True, slots=True, eq=False)
class Learnt:
    """What synapses that learn a product did in a step.

    Attributes:
        payload: (rows, C) sums of the synapses that q reached. ops: (rows, heads) spikes of q in each head.
        updates: (B, C) synapses changed on the way to each target channel: written, and cleared afterwards.
        coincidences: spikes of k and v that met. effective: reads of synapses that are not zero. saturations: elements
            beyond the limit.
    """

    payload: NDArray[np.int32]
    reads: Counts
    updates: Counts
    coincidences: int
    effective: int
    saturations: int


def learnt(product: Product, operands: list[Events], grid: tuple[int, int, int, int]) -> Learnt:
    """``q min(k^T v, limit)`` of all heads; ``grid`` (B, H, W, C) of each operand."""
    batch, height, width, channels = grid
    q, k, v = (dense(x, channels).reshape(grid).astype(np.int64) for x in operands)
    outer = outer_product(k, v, product.heads)
    held = np.minimum(outer, product.limit) if product.limit else outer
    sums = matmul(by_head(q, product.heads), held).transpose(0, 2, 1, 3).reshape(-1, channels)
    changed = (outer + (outer != 0)).sum(axis=2).reshape(batch, channels)
    return Learnt(
        payload=sums.astype(np.int32),
        reads=q.reshape(batch * height * width, product.heads, -1).sum(axis=2),
        updates=changed,
        coincidences=int(outer.sum()),
        effective=int((by_head(q, product.heads).sum(axis=2)[..., None] * (held != 0)).sum()),
        saturations=int((outer > held).sum()),
    )


def book_learnt(found: Learnt, plan: PopulationPlan, totals: LayerCounts, work: Work) -> None:
    """Book reads and updates on the cores that hold a copy of the synapses.

    Every spike of q in a head reaches the channels of that head that its token's core holds.
    """
    population = plan.population
    owner = np.arange(population.channels) * found.reads.shape[1] // population.channels
    ops = np.add.reduceat(found.reads[:, owner], np.arange(0, population.channels, plan.slice_width), axis=1)
    done = int(ops.sum())
    totals.add(done + found.coincidences, done)
    totals.effective += found.effective + found.coincidences
    totals.coincidences += found.coincidences
    totals.updates += tile_updates(found.updates, plan, work.ops[LEARNING])
    tile_sums(ops, plan.tiles, (population.height, population.width), work.ops[DENSE])


def tile_updates(updates: Counts, plan: PopulationPlan, learning: Counts) -> int:
    """Book ``updates`` (B, C) on every core that holds a copy, in ``learning`` (B, n_cores); returns their sum."""
    total = 0
    for row in plan.tiles:
        low = int(row[4]) * plan.slice_width
        changed = updates[:, low : low + plan.slice_width].sum(axis=1)
        learning[:, row[5]] += changed
        total += int(changed.sum())
    return total


def graded(
    current: NDArray[np.int32], constant: Constant, plan: PopulationPlan, rules: Arithmetic
) -> tuple[NDArray[np.int32], Counts, int, int]:
    """A graded population's tick; clears ``current`` (rows, C).

    Returns (payloads (rows, C), neurons with input by (row, slice), wrapped currents, saturated payloads).
    """
    total = (current.astype(np.int64) << plan.rules.shift) + constant
    current[:] = 0
    kept, wraps = bounded(total, rules.current_bits, rules.current_overflow)
    population = plan.population
    value = np.maximum(kept // population.neuron.threshold, 0)
    payload = np.minimum(value, population.high).astype(np.int32)
    return payload, by_slice(kept != 0, plan.slice_width), wraps, int((value > population.high).sum())


def replayed(frame: Counts, population: Population) -> Emission:
    """What a source sends of an input ``frame`` (B, H, W, C): spikes, or its values as payloads."""
    rows = np.ascontiguousarray(frame.reshape(-1, population.channels))
    if population.coding != "graded":
        return Emission(events_of(rows))
    payload = rows.astype(np.int32).reshape(len(frame), population.positions, population.channels)
    return payload_emission(payload, population.coding)


def graded_emission(payload: NDArray[np.int32], population: Population) -> Emission:
    """What graded neurons send in their own tick: ``payload`` (rows, C), its highest digit or its first unit spike."""
    if population.coding == "digits":
        return digit(payload, 0, population)
    if population.coding == "unary":
        first, *others = in_turn(payload, population.duration)
        return Emission(first, burst=payload, ahead=float(payload.mean()), following=tuple(others))
    return Emission(one_packet_each(payload), by_input(payload, population))


def later(values: NDArray[np.int32], first: Emission, since: int, plan: PopulationPlan) -> tuple[Emission, Counts]:
    """What of a step's ``values`` (rows, C) leaves ``since`` ticks after the neurons' own, when ``first`` left.

    Also returns how many neurons have something left, (rows, n_slices).
    """
    population = plan.population
    if population.coding == "digits":
        rest = values & ((1 << (population.digits - since)) - 1) != 0
        return digit(values, since, population), by_slice(rest, plan.slice_width)
    events = leaving(values, since) if first.ahead is None else first.following[since - 1]
    return Emission(events, ahead=first.ahead), events_by_slice(events, plan.slice_width, plan.n_slices)


def digit(payload: NDArray[np.int32], since: int, population: Population) -> Emission:
    """The digit of ``payload`` (rows, C) that leaves ``since`` ticks after the neurons' own tick, highest first."""
    worth = np.int32(1 << (population.digits - 1 - since))
    nothing = Events(np.zeros(len(payload) + 1, np.int64), np.zeros(0, np.int32))
    return Emission(nothing, by_input(payload & worth, population), payload.astype(np.int64) if since == 0 else None)


def by_input(payload: NDArray[np.int32], population: Population) -> NDArray[np.int32]:
    """(rows, C) as (inputs, positions, C)."""
    return payload.reshape(-1, population.positions, population.channels)


def one_packet_each(payload: NDArray[np.int32]) -> Events:
    """One event for every payload (rows, C) that is not zero."""
    events: Events = events_of((payload != 0).astype(np.int64))
    return events


def dense(events: Events, channels: int) -> NDArray[np.int32]:
    """Spikes of every neuron, (rows, C)."""
    counts = np.zeros((len(events.start) - 1, channels), np.int32)
    counts_of(events, counts)
    return counts
