"""Neurons with more inputs than a core: partial sums on several cores, which arrive as bursts or payloads."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from math import ceil
from typing import ClassVar

from compiler.legal.fan_in import Needs, as_conv, common_unit, cut, largest_sums, needs, together
from compiler.legal.target import Choices
from neurochip.chip.spec import ChipSpec, WeightFormat
from neurochip.errors import CapacityError, UnsupportedError
from neurochip.network.network import Coding, Network, Neuron, Population
from neurochip.network.projections import Conv, Pool, Projection, Source

MORE_CORES = 1.25
"""Cores, as a multiple of the fewest, that shorter bursts are worth: their length is every step's."""


class SplitFanIn:
    """Cuts sums that no core can take in one piece into parts, each with neurons of its own.

    The part of a sum that its neuron sends is never negative, so each part has two populations, ``NAME.plus0`` and
    ``NAME.minus0`` with all weights negated, of whose neurons at most one of two sends; what they send arrives with
    weights +1 and -1. With graded spikes it is a payload. Else it is a burst of unit spikes, one a tick, and the
    interval grows to the largest bound of a part, proven from the signs of its weights. A part that cannot be
    positive has no neurons in ``plus``, nor one that cannot be negative in ``minus``.

    Requires: soft resets for bursts (each spike takes one unit off the sum), and neurons that forget a negative sum,
    which is a membrane with a floor at 0 that nothing but its own tick charges.
    Ensures: every neuron fits a core; sums and spikes do not change.
    """

    name: ClassVar[str] = "split-fan-in"

    def run(self, network: Network, chip: ChipSpec, choices: Choices) -> Network:
        """Raises CapacityError for sums that cannot be split, UnsupportedError for chips that cannot send parts."""
        for population in network.populations:
            if population.home == "core" and population.neuron.kind in ("lif", "readout"):
                network = fitted(network, population, chip, choices)
        return network


@dataclass(frozen=True, slots=True, kw_only=True)
class Split:
    """One way to split: ``convs`` in parts; ``sums``: the populations of the parts; ``projections`` into and from them.

    ``cores``: an estimate of all it takes; ``bound``: ticks of the longest burst, 1 for payloads.
    """

    convs: list[Conv]
    sums: tuple[Population, ...]
    projections: tuple[Projection, ...]
    cores: float
    bound: int


def fitted(network: Network, population: Population, chip: ChipSpec, choices: Choices) -> Network:
    """``network`` with the sum of ``population`` in parts, if it needs that."""
    demand = needs(network, population, chip, choices.weight_bits)
    whole = together(list(demand.values()))
    if whole.fit(chip):
        return network
    refuse_without_parts(population, whole, chip)
    splits = list(candidates(network, population, demand, chip, choices))
    within = [s for s in splits if s.bound <= choices.max_interval]
    if not within:
        raise CapacityError(refusal(population, whole, splits, chip, choices))
    least = min(s.cores for s in within)
    cheap = [s for s in within if s.cores <= least * MORE_CORES]
    best = min(cheap, key=lambda s: (s.bound, s.cores))
    return with_parts(network, population, best.convs, best.sums, best.projections)


def candidates(
    network: Network, population: Population, demand: dict[str, Needs], chip: ChipSpec, choices: Choices
) -> Iterator[Split]:
    """For the largest one, two, ... projections: the fewest parts that fit, and on chips with bursts also more."""
    by_name = network.by_name
    convs = [
        conv
        for p in network.incoming[population.name]
        if p.sources and (conv := as_conv(p, by_name[p.sources[0].population], population)) is not None
    ]
    convs.sort(key=lambda c: -demand[c.name].times(chip))
    for count in range(1, len(convs) + 1):
        chosen = convs[:count]
        rest = together([n for name, n in demand.items() if name not in {c.name for c in chosen}])
        if not rest.fit(chip):
            continue
        least = ceil(together([demand[c.name] for c in chosen]).times(chip))
        for parts in range(least, min(4 * least + 4, *(c.weight.shape[2] for c in chosen)) + 1):
            split = split_into(network, population, chosen, parts, rest, chip, choices)
            if split is not None:
                yield split
                if split.bound <= 1:
                    break


def split_into(
    network: Network,
    population: Population,
    convs: list[Conv],
    parts: int,
    rest: Needs,
    chip: ChipSpec,
    choices: Choices,
) -> Split | None:
    """``convs`` in ``parts`` parts each; None if that does not fit."""
    unit = common_unit(convs)
    value = one_synapse(unit, chip.weight_format(choices.weight_bits))
    if value is None or unit % (1 << network.arithmetic.threshold_shift):
        return None
    made = list(partial_sums(network, population, convs, parts, unit, chip))
    sums = tuple(population for population, _ in made)
    top = (1 << (network.arithmetic.current_bits - 1)) - 1
    payload = chip.spikes.payload.value
    if any(s.high * unit > top or (payload and s.high >= 1 << payload) for s in sums):
        return None
    projections = (*(p for _, into in made for p in into), *collected(population, sums, value, chip))
    trial = with_parts(network, population, convs, sums, projections)
    each = [together(list(needs(trial, s, chip, choices.weight_bits).values())) for s in sums]
    left = together(list(needs(trial, population, chip, choices.weight_bits).values()))
    if not all(n.fit(chip) for n in (*each, left)):
        return None
    own = Needs(left.axons - rest.axons, left.words - rest.words)
    return Split(
        convs=convs,
        sums=sums,
        projections=projections,
        cores=sum(cores_of(s, n, chip) for s, n in zip(sums, each, strict=True))
        + population.size / room(own, rest, chip),
        bound=max(s.duration for s in sums),
    )


def partial_sums(
    network: Network, population: Population, convs: list[Conv], parts: int, unit: int, chip: ChipSpec
) -> Iterator[tuple[Population, list[Conv]]]:
    """The populations of all parts that can send anything, each with what it reads."""
    neuron, coding = sum_neuron(unit, chip)
    for part in range(parts):
        first = True
        for suffix, sign in (("plus", 1), ("minus", -1)):
            name = f"{population.name}.{suffix}{part}"
            pieces = [
                replace(
                    cut(c, part, parts, sign=sign),
                    name=f"{c.name}.{suffix}{part}",
                    target=name,
                    counted=c.counted and first,  # each accumulate of the model once
                )
                for c in convs
            ]
            high = int(largest_sums(network, pieces).max()) // unit
            if high:
                yield replace(population, name=name, neuron=neuron, high=high, coding=coding), pieces
                first = False


def collected(
    population: Population, sums: tuple[Population, ...], value: tuple[int, int], chip: ChipSpec
) -> Iterator[Pool]:
    """What the neurons receive from their partial sums, on one axon for all of a sign where axons count spikes."""
    for suffix, sign in (("plus", 1), ("minus", -1)):
        mine = [Source(s.name) for s in sums if s.name.startswith(f"{population.name}.{suffix}")]
        shared = [tuple(mine)] if chip.spikes.counts and mine else [(source,) for source in mine]
        for number, sources in enumerate(shared):
            yield Pool(
                name=f"{population.name}.{suffix}.synapses{number}",
                sources=sources,
                target=population.name,
                origin=population.origin,
                shift=value[1],
                weight=sign * value[0],
            )


def cores_of(population: Population, one: Needs, chip: ChipSpec) -> float:
    """Cores of partial sums: the neurons at one position share their axons."""
    shares = max(1, int(1 / one.times(chip)))
    return population.size / min(chip.limits.neurons, shares * population.channels)


def room(each: Needs, shared: Needs, chip: ChipSpec) -> int:
    """Neurons of one core that take ``each`` for themselves and ``shared`` together."""
    axons = (chip.limits.input_axons - shared.axons) // max(1, each.axons)
    words = (chip.limits.synapse_words - shared.words) // max(1, each.words)
    return max(1, min(axons, words, chip.limits.neurons))


def sum_neuron(unit: int, chip: ChipSpec) -> tuple[Neuron, Coding]:
    """A neuron that sends its sum in units of ``unit``, and how its value travels."""
    if chip.spikes.payload.value:
        return Neuron(kind="graded", threshold=unit), "graded"
    rules = chip.arithmetic
    late = 1 << rules.threshold_shift if rules.fires == "gt" else 0
    return Neuron(kind="burst", threshold=unit - late, threshold_offset=late, reset="soft"), "spikes"


def one_synapse(unit: int, weights: WeightFormat) -> tuple[int, int] | None:
    """(weight, shift) with ``weight << shift == unit``, the smallest weight the chip has; None if it has none."""
    for shift in range(weights.shift_high, weights.shift_low - 1, -1):
        if unit and unit % (1 << shift) == 0 and unit >> shift <= weights.high:
            return unit >> shift, shift
    return None


def with_parts(
    network: Network,
    population: Population,
    convs: list[Conv],
    sums: tuple[Population, ...],
    projections: tuple[Projection, ...],
) -> Network:
    """``network`` with ``sums`` listed before ``population``, and ``projections`` in the place of ``convs``."""
    place = network.populations.index(population)
    replaced = {c.name for c in convs}
    kept = tuple(p for p in network.projections if p.name not in replaced)
    return replace(
        network,
        populations=(*network.populations[:place], *sums, *network.populations[place:]),
        projections=(*kept, *projections),
        interval=max([network.interval, *(s.duration for s in sums)]),
    )


def refuse_without_parts(population: Population, whole: Needs, chip: ChipSpec) -> None:
    """Raises UnsupportedError where neurons can send no sums."""
    if chip.spikes.payload.value or chip.arithmetic.soft_reset:
        return
    raise UnsupportedError(
        f"{excess(population, whole, chip)}; its neurons cannot send partial sums (that takes graded spikes or soft "
        "resets); use fewer --weight-bits, fewer inputs, or another chip"
    )


def excess(population: Population, whole: Needs, chip: ChipSpec) -> str:
    """What is too much."""
    limits = chip.limits
    by_axons = whole.axons / limits.input_axons >= whole.words / limits.synapse_words
    found, limit, what = (
        (whole.axons, limits.input_axons, "input axons")
        if by_axons
        else (whole.words, limits.synapse_words, "synapse words")
    )
    return (
        f"layer {population.origin!r} ({population.name}): one neuron needs {found} {what}, a core of {chip.name!r} "
        f"has {limit} ({ceil(found / limit)} times too many)"
    )


def refusal(population: Population, whole: Needs, splits: list[Split], chip: ChipSpec, choices: Choices) -> str:
    """Why no split will do."""
    text = excess(population, whole, chip)
    if not splits:
        return f"{text}, and its inputs do not split into parts that fit; use fewer channels or a smaller kernel"
    least = min(s.bound for s in splits)
    return (
        f"{text}; as partial sums its shortest bursts take {least} ticks a step, and at most {choices.max_interval} "
        f"are allowed; allow more (--max-interval {least}), use fewer --weight-bits, fewer inputs, or a chip with "
        "graded spikes"
    )
