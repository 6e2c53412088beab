"""Checker, part four: axons of one bit and of types, number bases, and where biases and outer layers live."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from compiler.mapping.check_arithmetic import current_range
from compiler.mapping.check_strobes import strobe_problems
from neurochip.network.network import Population
from neurochip.network.projections import Bias, Conv, Dense, Einsum, Encoder, Gather, Pool, Projection
from neurochip.program.image import Program

Ints = NDArray[np.int64]
_IN_NEURONS = ("register", "threshold")


def crossbar_problems(program: Program) -> Iterator[str]:
    """Every rule about axons, their types, biases and the host that ``program`` breaks."""
    for population in program.network.populations:
        yield from _host(program, population)
        incoming = program.network.incoming[population.name]
        for projection in incoming:
            if population.home == "core":
                where = f"projection {projection.name!r}"
                yield from (f"{where}: {fault}" for fault in _axons(program, projection))
                yield from (f"{where}: {fault}" for fault in _base(program, projection, population))
        yield from _registers(program, population, incoming)
        yield from (f"projection {p.name!r}: {fault}" for p in incoming for fault in _register(program, p))
        yield from _saturation(program, population, incoming)
        yield from _thresholds(program, population, incoming)
        yield from strobe_problems(program, population)


def _host(program: Program, population: Population) -> Iterator[str]:
    """Analog input and readout are where the chip has them."""
    chip, incoming = program.chip, program.network.incoming[population.name]
    encoded = any(isinstance(p, Encoder) for p in incoming)
    where = f"population {population.name!r}"
    if population.home == "host" and not encoded and population.neuron.kind == "lif":
        behind = {s.population for p in incoming for s in p.sources}
        homes = {p.name: p.home for p in program.network.populations}
        if any(homes[name] != "host" for name in behind):
            yield f"{where}: neurons that read the chip's spikes are on the host"
    if encoded and chip.encoder.delivery == "spikes" and population.home == "core":
        yield f"{where}: the host cannot write its currents, {chip.name!r} takes analog input as spikes only"
    wanted = "host" if chip.reads_out_on_host else "core"
    if population.neuron.kind == "readout" and population.home != wanted:
        yield f"{where}: expected the readout on the {wanted}, found it on the {population.home}"


def _axons(program: Program, projection: Projection) -> Iterator[str]:
    """Axons that take one spike a tick have one source that sends no more."""
    if program.chip.spikes.counts or not projection.sources or projection.kind == "product":
        return
    by_name = program.network.by_name
    if len(projection.sources) > 1:
        yield f"{len(projection.sources)} sources on shared axons of one spike a tick"
    for source in projection.sources:
        population = by_name[source.population]
        if population.high > 1 and population.neuron.kind != "burst" and population.coding != "graded":
            yield f"{source.population!r} sends up to {population.high} spikes a tick, an axon takes one"


def _base(program: Program, projection: Projection, population: Population) -> Iterator[str]:
    """On crossbars every weight is a sum of the values of distinct lines; elsewhere there are no types."""
    limits = program.chip.limits
    types = projection.types if isinstance(projection, Bias) else next((s.types for s in projection.sources), ())
    if program.chip.weights.sign == "row":
        yield from _signs(projection)
        return
    if not limits.axon_types:
        if types or projection.base is not None:
            yield f"axons of types {types}, but the chip's have none"
        return
    if isinstance(projection, Encoder) or (isinstance(projection, Bias) and projection.place in _IN_NEURONS):
        return
    if not types or max(types) >= limits.axon_types:
        yield f"axon types {types}, expected some of 0 to {limits.axon_types - 1}"
    if isinstance(projection, Bias):
        return
    base = projection.base
    if base is None:
        yield "no number base, but the chip's axons have types"
        return
    weight = _raw(projection, population.channels)
    for channel in range(population.channels):
        reached = {0}
        for line in base[:, channel].tolist():
            reached |= {value + line for value in reached}
        if not reached.issuperset(np.unique(weight[:, channel]).tolist()):
            yield f"channel {channel}: a weight is no sum of the lines {base[:, channel].tolist()}"
            return


def _signs(projection: Projection) -> Iterator[str]:
    """Where the rows of a core have one sign each: weights of an axon of type 0 are >= 0, those of type 1 <= 0."""
    if isinstance(projection, Bias):
        rows = list(zip(projection.types, projection.weight, strict=False)) if projection.place == "axon" else []
        if projection.place == "axon" and len(projection.types) != len(projection.weight):
            yield f"{len(projection.types)} axon types for {len(projection.weight)} digits"
    elif isinstance(projection, Dense | Conv | Gather | Pool | Einsum):
        rows = [(t, np.asarray(projection.weight)) for source in projection.sources for t in source.types or (-1,)]
    else:
        return
    for kind, weight in rows:
        if kind not in (0, 1) or (weight.min() < 0 if kind == 0 else weight.max() > 0):
            yield f"weights of {weight.min()} to {weight.max()} on an axon of type {kind}: 0 excites, 1 inhibits"
            return


def _raw(projection: Projection, channels: int) -> Ints:
    """What a spike adds to each target channel, (n, channels), raw units."""
    if isinstance(projection, Dense | Conv | Gather):
        return np.asarray(projection.weight.reshape(-1, channels).astype(np.int64) * 2**projection.shift)
    if isinstance(projection, Pool | Einsum):
        return np.full((1, channels), projection.weight * 2**projection.shift, np.int64)
    return np.zeros((1, channels), np.int64)


def _registers(program: Program, population: Population, incoming: tuple[Projection, ...]) -> Iterator[str]:
    """A neuron has one weight for each axon type, whatever projection uses it, and it fits its register."""
    limits = program.chip.limits
    if not limits.axon_types or population.home == "host":
        return
    top = 1 << (limits.axon_type_bits - 1)
    held: dict[int, Ints] = {}
    for projection in incoming:
        if isinstance(projection, Bias) and projection.place not in _IN_NEURONS and projection.types:
            shifts = np.array(projection.shifts, np.int64)[:, None]
            rows = projection.weight.astype(np.int64) * 2**shifts
            types = projection.types
        elif projection.base is not None:
            rows, types = projection.base.astype(np.int64), projection.sources[0].types
        else:
            continue
        for kind, row in zip(types, rows, strict=True):
            before = held.get(kind, np.zeros_like(row))
            if ((row != 0) & (before != 0) & (row != before)).any():
                yield f"population {population.name!r}: a neuron has two weights for axon type {kind}"
            if row.min(initial=0) < -top or row.max(initial=0) >= top:
                yield f"population {population.name!r}: a weight beyond {limits.axon_type_bits} bits for type {kind}"
            held[kind] = np.where(row != 0, row, before)


def _register(program: Program, projection: Projection) -> Iterator[str]:
    """Biases in registers fit them, and the chip has them."""
    if not isinstance(projection, Bias) or projection.place != "register":
        return
    rules = program.chip.arithmetic
    total = sum(row.astype(np.int64) * 2**s for row, s in zip(projection.weight, projection.shifts, strict=True))
    top = 2**rules.bias_bits // 2
    if "register" not in program.chip.bias_places or np.max(total) >= top or np.min(total) < -top:
        yield f"biases of {np.min(total)} to {np.max(total)} in registers of {rules.bias_bits} bits"


def _saturation(program: Program, population: Population, incoming: tuple[Projection, ...]) -> Iterator[str]:
    """Crossbars add one synapse after the other: no order of them may leave the membrane's width in one step."""
    rules, network = program.chip.arithmetic, program.network
    if not program.chip.limits.axon_types or population.home == "host" or population.neuron.kind == "product":
        return
    ends = [current_range(network, p) for p in incoming if not (isinstance(p, Bias) and p.place == "threshold")]
    top = 1 << (min(rules.current_bits, rules.membrane_bits) - 1)
    low = sum((np.minimum(least, 0) for least, _ in ends), np.zeros(population.channels, np.int64))
    high = sum((np.maximum(most, 0) for _, most in ends), np.zeros(population.channels, np.int64))
    if low.min() < -top or high.max() > top - 1:
        yield f"population {population.name!r}: a step adds {low.min()} to {high.max()}, beyond the membrane's bits"


def _thresholds(program: Program, population: Population, incoming: tuple[Projection, ...]) -> Iterator[str]:
    """Biases in thresholds: each neuron has one, which silence does not reach, and no membrane outlives a step."""
    folded = [p for p in incoming if isinstance(p, Bias) and p.place == "threshold"]
    if not folded or population.home == "host":
        return
    chip, rules, where = program.chip, program.chip.arithmetic, f"population {population.name!r}"
    if "threshold" not in chip.bias_places or not chip.neuron.per_neuron_threshold:
        yield f"{where}: biases in thresholds, but the chip's neurons do not each have one"
    if program.network.timesteps > 1:
        yield f"{where}: biases in thresholds of membranes that outlive a step"
    total = np.zeros(population.channels, np.int64)
    for bias in folded:
        for row, shift in zip(bias.weight.astype(np.int64), bias.shifts, strict=True):
            total += row * 2**shift
    raw, unit = population.neuron.threshold - total, 1 << rules.threshold_shift
    least = unit if rules.fires == "ge" else 0
    if (raw % unit).any() or raw.min() < least or raw.max() >= unit << rules.threshold_bits:
        yield (
            f"{where}: thresholds of {raw.min()} to {raw.max()} less the bias, expected {least} to "
            f"{(unit << rules.threshold_bits) - unit} in steps of {unit}"
        )
