"""Partial sums: the populations that send the parts of a sum, what they read, and what their readers receive."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from compiler.legal.fan_in import Axis, common_unit, cut, largest_sums
from neurochip.chip.spec import ChipSpec, WeightFormat
from neurochip.network.axes import shape_of
from neurochip.network.network import Coding, Network, Neuron, Population
from neurochip.network.projections import Conv, Einsum, Pool, Projection, Source


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """A population that sends a part of a sum, if positive, in whole multiples of ``|raw|``.

    ``raw``: what one of its spikes, or one of its payload, adds to the whole. ``axes``: the ``Einsum`` axes from it
    to the whole, None for one to one.
    """

    population: Population
    into: tuple[Projection, ...]
    raw: int
    axes: tuple[str, str] | None = None
    sizes: tuple[tuple[str, int], ...] = ()


def conv_parts(
    network: Network,
    population: Population,
    convs: Sequence[Conv],
    parts: int,
    axis: Axis,
    chip: ChipSpec,
    weights: WeightFormat,
) -> Iterator[Part]:
    """The sums over ranges of all ``convs`` along ``axis``: for each range what is above zero and what is below."""
    unit = common_unit(list(convs))
    for part in range(parts if unit else 0):
        first = True
        for suffix, sign in (("plus", 1), ("minus", -1)):
            name = f"{population.name}.{suffix}{part}"
            pieces = tuple(
                replace(
                    cut(c, part, parts, axis, sign=sign),
                    name=f"{c.name}.{suffix}{part}",
                    target=name,
                    counted=c.counted and first,  # each accumulate of the model once
                )
                for c in convs
            )
            high = int(largest_sums(network, list(pieces)).max()) // unit
            if high:
                whole = Part(population=replace(population, name=name, high=high), into=pieces, raw=sign * unit)
                yield from senders(whole, chip, weights)
                first = False


def einsum_parts(
    network: Network,
    population: Population,
    einsums: Sequence[Einsum],
    kept: str,
    chip: ChipSpec,
    weights: WeightFormat,
) -> Iterator[Part]:
    """The sums of each of ``einsums`` for every value of the axes ``kept``, of which there are no negative ones."""
    for einsum in einsums:
        sizes, target = einsum.size_of, einsum.axes[1]
        axes = target + kept
        height, width, channels = shape_of(axes, sizes)
        name = f"{population.name}.sum.{einsum.name}"
        into = replace(einsum, name=f"{einsum.name}.parts", target=name, axes=(einsum.axes[0], axes))
        into = replace(into, weight=abs(einsum.weight), sizes=used(into.axes, sizes))
        high = into.fan_in * sum(network.by_name[s.population].high for s in einsum.sources)
        whole = Part(
            population=replace(population, name=name, height=height, width=width, channels=channels, high=high),
            into=(into,),
            raw=einsum.weight << einsum.shift,
            axes=(axes, target),
            sizes=used((axes, target), sizes),
        )
        yield from senders(whole, chip, weights)


def used(axes: tuple[str, str], sizes: dict[str, int]) -> tuple[tuple[str, int], ...]:
    """Sizes of the letters in ``axes``."""
    return tuple((letter, size) for letter, size in sizes.items() if letter in axes[0] + axes[1])


def senders(whole: Part, chip: ChipSpec, weights: WeightFormat) -> Iterator[Part]:
    """``whole`` as one population, or as two digits where a payload is too narrow for it.

    The lower digit takes what the upper one sends off its own sum, ``v - base * (v // base)``; the base is the largest
    power of two that a payload and a synapse can hold.
    """
    population, unit = whole.population, abs(whole.raw)
    top = (1 << chip.activation_bits) - 1
    neuron, coding = sum_neuron(unit, chip)
    if coding == "spikes" or population.high <= top:
        yield replace(whole, population=replace(population, neuron=neuron, coding=coding))
        return
    powers = (1 << bits for bits in range(chip.activation_bits, 0, -1))
    base = next((b for b in powers if one_synapse(unit * b, weights) is not None), top + 1)
    name = f"{population.name}.upper"
    coarse = replace(neuron, threshold=unit * base)
    upper = replace(population, name=name, neuron=coarse, high=population.high // base, coding=coding)
    into = tuple(replace(p, name=f"{p.name}.upper", target=name, counted=False) for p in whole.into)
    yield replace(whole, population=upper, into=into, raw=whole.raw * base)
    lower = replace(population, neuron=neuron, high=base - 1, coding=coding)
    value = one_synapse(unit * base, weights) or (0, 0)
    off = Pool(
        name=f"{population.name}.rest", sources=(Source(name),), target=population.name, origin=population.origin,
        shift=value[1], weight=-value[0],
    )  # fmt: skip
    yield replace(whole, population=lower, into=(*whole.into, off))


def sum_neuron(unit: int, chip: ChipSpec) -> tuple[Neuron, Coding]:
    """A neuron that sends its sum in units of ``unit``, and how its value travels."""
    if chip.activation_bits:
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


def possible(parts: Sequence[Part], network: Network, chip: ChipSpec, weights: WeightFormat) -> bool:
    """Whether registers and synapses can hold the parts: units on the threshold's grid, values one synapse has."""
    top = (1 << (network.arithmetic.current_bits - 1)) - 1
    payload = (1 << chip.activation_bits) - 1
    for part in parts:
        unit = abs(part.raw)
        if unit % (1 << network.arithmetic.threshold_shift) or one_synapse(unit, weights) is None:
            return False
        if part.population.high * unit > top or (part.population.coding == "graded" and part.population.high > payload):
            return False
    return bool(parts)


def collected(
    population: Population, parts: Sequence[Part], chip: ChipSpec, weights: WeightFormat
) -> Iterator[Projection]:
    """What the neurons receive from their parts; parts of one value share an axon where axons count spikes."""
    groups: dict[object, list[Part]] = {}
    for part in parts:
        alone = part.axes is not None or not chip.spikes.counts
        groups.setdefault(part.population.name if alone else part.raw, []).append(part)
    for mine in groups.values():
        first = mine[0]
        size, shift = one_synapse(abs(first.raw), weights) or (0, 0)
        weight = size if first.raw > 0 else -size
        name, sources = f"{first.population.name}.synapses", tuple(Source(p.population.name) for p in mine)
        if first.axes is None:
            yield Pool(
                name=name, sources=sources, target=population.name, origin=population.origin, shift=shift,
                weight=weight,
            )  # fmt: skip
        else:
            yield Einsum(
                name=name, sources=sources, target=population.name, origin=population.origin, shift=shift,
                weight=weight, counted=False, axes=first.axes, sizes=first.sizes,
            )  # fmt: skip
