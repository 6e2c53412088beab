"""Neurons with more inputs than a core: partial sums on several cores, which arrive as bursts or payloads."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from math import ceil
from typing import ClassVar, TypeVar

from compiler.legal.fan_in import Axis, Needs, as_conv, cuts_of, needs, together
from compiler.legal.partial_sums import Part, collected, conv_parts, einsum_parts, possible
from compiler.legal.strobes import has_waits
from compiler.legal.target import Choices
from compiler.mapping.narrower import narrower
from neurochip.chip.spec import ChipSpec
from neurochip.errors import CapacityError, UnsupportedError
from neurochip.network.network import Network, Population
from neurochip.network.projections import Einsum, Projection

Kind = TypeVar("Kind", bound=Projection)
AXES: tuple[Axis, ...] = ("inputs", "rows")

HALF = "P"
"""Name of the axis that counts the blocks of an axis cut in two; graphs use small letters."""

MORE_CORES = 1.25
"""Cores, as a multiple of the fewest, that shorter bursts are worth: their length is every step's."""


class SplitFanIn:
    """Cuts sums that no core can take in one piece into parts, each with neurons of its own.

    The part of a sum that its neuron sends is never negative, so each part has two populations, ``NAME.plus0`` and
    ``NAME.minus0`` with all weights negated, of whose neurons at most one of two sends; what they send arrives with
    weights +1 and -1. With graded spikes it is a payload, in two digits if it is too wide for one. Else it is a burst
    of unit spikes, one a tick, and the interval grows to the largest bound of a part, proven from the signs of its
    weights. A part that cannot be positive has no neurons in ``plus``, nor one that cannot be negative in ``minus``.

    Requires: soft resets for bursts (each spike takes one unit off the sum), and neurons that forget a negative sum,
    which is a membrane with a floor at 0 that nothing but its own tick charges.
    Ensures: every neuron fits a core; sums and spikes do not change.
    """

    name: ClassVar[str] = "split-fan-in"

    def run(self, network: Network, chip: ChipSpec, choices: Choices) -> Network:
        """Raises CapacityError for sums that cannot be split, UnsupportedError for chips that cannot send parts."""
        while True:
            waits = has_waits(network)
            for population in network.populations:
                if population.home == "core" and population.neuron.kind in ("lif", "readout"):
                    network = fitted(network, population, chip, choices)
            if waits == has_waits(network) or not chip.limits.axon_types:
                return network  # else neurons that leak need axons for strobes, too: see ``strobes``


@dataclass(frozen=True, slots=True, kw_only=True)
class Split:
    """One way to split: ``parts`` in the place of the projections ``replaced``; ``projections`` into and from them.

    ``cores``: an estimate of all it takes; ``bound``: ticks of the longest burst, 1 for payloads.
    """

    replaced: frozenset[str]
    parts: tuple[Part, ...]
    projections: tuple[Projection, ...]
    cores: float
    bound: int


def fitted(network: Network, population: Population, chip: ChipSpec, choices: Choices) -> Network:
    """``network`` with the sum of ``population`` in parts, if it needs that."""
    demand = needs(network, population, chip, choices.weight_bits)
    whole = together(list(demand.values()))
    if whole.fit(chip):
        return network
    refuse_without_parts(network, population, whole, chip, choices.weight_bits)
    splits = list(candidates(network, population, demand, chip, choices))
    within = [s for s in splits if s.bound <= choices.max_interval]
    if not within:
        raise CapacityError(refusal(network, population, whole, splits, chip, choices))
    least = min(s.cores for s in within)
    cheap = [s for s in within if s.cores <= least * MORE_CORES]
    best = min(cheap, key=lambda s: (s.bound, s.cores))
    return with_parts(network, population, best.replaced, best.parts, best.projections)


def candidates(
    network: Network, population: Population, demand: dict[str, Needs], chip: ChipSpec, choices: Choices
) -> Iterator[Split]:
    """For the largest one, two, ... projections: few parts and, on chips with bursts, more of them."""
    weights, by_name = chip.weight_format(choices.weight_bits), network.by_name
    arriving = (p for p in network.incoming[population.name] if p.sources)
    incoming = sorted(arriving, key=lambda p: -demand[p.name].times(chip))
    convs = [c for p in incoming if (c := as_conv(p, by_name[p.sources[0].population], population)) is not None]
    found = False
    for axis in AXES:
        if found:
            break  # rows where no ranges of inputs do: few inputs, or groups
        for chosen in prefixes([c for c in convs if cuts_of(c, axis)]):
            least = ceil(together([demand[c.name] for c in chosen]).times(chip))
            for count in range(least, min(4 * least + 4, *(cuts_of(c, axis) for c in chosen)) + 1):
                parts = tuple(conv_parts(network, population, chosen, count, axis, chip, weights))
                split = split_into(network, population, chosen, parts, chip, choices)
                if split is not None:
                    found = True
                    yield split
                    if split.bound <= 1:
                        break
    for sums in prefixes([p for p in incoming if isinstance(p, Einsum)]):
        for axes, kept in summed_axes(sums):
            parts = tuple(einsum_parts(network, population, axes, kept, chip, weights))
            split = split_into(network, population, sums, parts, chip, choices)
            if split is not None:
                yield split


def prefixes(items: list[Kind]) -> Iterator[list[Kind]]:
    """The first one, two, ... of ``items``."""
    return (items[:count] for count in range(1, len(items) + 1))


def summed_axes(sums: list[Einsum]) -> Iterator[tuple[list[Einsum], str]]:
    """Ways to keep axes that all of ``sums`` sum over, whole ones or one cut in two: sums, kept letters."""
    letters = set.intersection(*(set(p.axes[0]) - set(p.axes[1]) - {","} for p in sums))
    sizes = sums[0].size_of
    ordered = sorted(letter for letter in letters if all(p.size_of[letter] == sizes[letter] for p in sums))
    for count in range(1, len(ordered) + 1):
        yield from ((sums, "".join(kept)) for kept in combinations(ordered, count))
    for letter in ordered:
        for length in (n for n in range(2, sizes[letter]) if sizes[letter] % n == 0):
            yield [cut_axis(p, letter, length) for p in sums], HALF


def cut_axis(einsum: Einsum, letter: str, length: int) -> Einsum:
    """``einsum`` with the axis ``letter`` as one of ``length`` blocks and, still ``letter``, the places in a block."""
    sizes = {**einsum.size_of, HALF: length, letter: einsum.size_of[letter] // length}
    source = einsum.axes[0].replace(letter, HALF + letter)
    return replace(einsum, axes=(source, einsum.axes[1]), sizes=tuple(sizes.items()))


def split_into(
    network: Network,
    population: Population,
    replaced: Sequence[Projection],
    parts: tuple[Part, ...],
    chip: ChipSpec,
    choices: Choices,
) -> Split | None:
    """``parts`` in the place of ``replaced``; None if the chip cannot hold them, or if that does not fit."""
    weights, names = chip.weight_format(choices.weight_bits), frozenset(p.name for p in replaced)
    if not possible(parts, network, chip, weights):
        return None
    collect = tuple(collected(population, parts, chip, weights))
    projections = (*(p for part in parts for p in part.into), *collect)
    trial = with_parts(network, population, names, parts, projections)
    try:
        each = [together(list(needs(trial, p.population, chip, choices.weight_bits).values())) for p in parts]
        left = needs(trial, population, chip, choices.weight_bits)
    except UnsupportedError:  # no number base, or no types left for strobes
        return None
    if not all(n.fit(chip) for n in (*each, together(list(left.values())))):
        return None
    own = together([left[p.name] for p in collect])
    rest = together([n for name, n in left.items() if name not in {p.name for p in collect}])
    return Split(
        replaced=names,
        parts=parts,
        projections=projections,
        cores=sum(cores_of(p.population, n, chip) for p, n in zip(parts, each, strict=True))
        + population.size / room(own, rest, chip),
        bound=max(p.population.duration for p in parts),
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


def with_parts(
    network: Network,
    population: Population,
    replaced: frozenset[str],
    parts: Sequence[Part],
    projections: tuple[Projection, ...],
) -> Network:
    """``network`` with the parts listed before ``population``, and ``projections`` in the place of ``replaced``."""
    place, sums = network.populations.index(population), [part.population for part in parts]
    kept = tuple(p for p in network.projections if p.name not in replaced)
    return replace(
        network,
        populations=(*network.populations[:place], *sums, *network.populations[place:]),
        projections=(*kept, *projections),
        interval=max([network.interval, *(s.duration for s in sums)]),
    )


def refuse_without_parts(network: Network, population: Population, whole: Needs, chip: ChipSpec, bits: int) -> None:
    """Raises UnsupportedError where neurons can send no sums."""
    if chip.activation_bits:
        return
    if chip.arithmetic.soft_reset:
        return
    raise UnsupportedError(
        f"{excess(population, whole, chip)}; its neurons cannot send partial sums (that takes graded spikes or soft "
        f"resets); {narrower(network, population, chip, bits)}"
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


def refusal(
    network: Network, population: Population, whole: Needs, splits: list[Split], chip: ChipSpec, choices: Choices
) -> str:
    """Why no split will do."""
    text = excess(population, whole, chip)
    if not splits:
        waits = chip.limits.axon_types and network.timesteps > 1 and not chip.spikes.payload.value
        beside = f" beside the axons that hold a neuron back over T = {network.timesteps} steps" if waits else ""
        remedy = "fewer channels, a smaller kernel, or T = 1" if waits else "fewer channels or a smaller kernel"
        return f"{text}, and its inputs do not split into parts that fit{beside}; use {remedy}"
    least = min(s.bound for s in splits)
    return (
        f"{text}; as partial sums its shortest bursts take {least} ticks a step, and at most {choices.max_interval} "
        f"are allowed; allow more (--max-interval {least}), use fewer --weight-bits, fewer inputs, or a chip with "
        "graded spikes"
    )
