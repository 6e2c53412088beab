"""Products of spikes with weighted sums of spikes (dual spike self-attention, DSSA) by every method that can."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from compiler.legal.assembly import Assembly
from compiler.legal.target import Choices
from neurochip.chip.spec import ChipSpec
from neurochip.errors import CapacityError, UnsupportedError
from neurochip.network.axes import shape_of
from neurochip.network.network import Network, Population
from neurochip.network.projections import Conv, Gated, Matrix, Pool, Projection, Source, narrowest
from neurochip.network.validate_products import MAX_WORDS

SUMS, MASKED = "s,t,hi", "ab,st,hi"
OPERANDS: dict[str, tuple[str, str]] = {"channels": ("a,b,hi", "a,b,hst"), "positions": ("a,b,hst", "a,b,hi")}
"""What is summed over -> axes of the spikes z and of the result: tokens ab, positions st of y, head h, channel i."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class WeightedSite:
    """A product of spikes z with a convolution y of spikes x, and the neurons that read it."""

    population: Population
    matrix: Matrix
    gated: Gated
    x: Population
    z: Population
    readers: tuple[Projection, ...]

    @property
    def sizes(self) -> dict[str, int]:
        """Letter -> size of every axis."""
        rows, columns = self.matrix.grid(self.x.height, self.x.width)
        depth = self.matrix.weight.shape[-1] // self.gated.heads
        return {"a": self.z.height, "b": self.z.width, "s": rows, "t": columns, "h": self.gated.heads, "i": depth}

    @property
    def bounds(self) -> tuple[int, int]:
        """Largest sizes that a positive and a negative element of y can have, 0 if there is none."""
        weight = self.matrix.weight.astype(np.int64).reshape(-1, self.matrix.weight.shape[-1])
        most = np.maximum(weight, 0).sum(axis=0) * self.x.high + self.matrix.bias
        least = np.minimum(weight, 0).sum(axis=0) * self.x.high + self.matrix.bias
        return max(0, int(most.max())), max(0, -int(least.min()))

    @property
    def signs(self) -> list[tuple[str, int, int, int]]:
        """(name, sign, largest size, largest size of the other sign) of the parts that y has."""
        plus, minus = self.bounds
        parts = [("plus", 1, plus, minus), ("minus", -1, minus, plus)]
        return [part for part in parts if part[2]] or [("plus", 1, 1, 0)]


def weighted_site(network: Network, population: Population) -> WeightedSite:
    """Where the weighted product ``population`` stands in ``network``."""
    incoming = network.incoming[population.name]
    matrix = next(p for p in incoming if isinstance(p, Matrix))
    gated = next(p for p in incoming if isinstance(p, Gated))
    return WeightedSite(
        population=population, matrix=matrix, gated=gated, x=network.by_name[matrix.sources[0].population],
        z=network.by_name[gated.sources[0].population],
        readers=tuple(p for p in network.projections if any(s.population == population.name for s in p.sources)),
    )  # fmt: skip


def on_processor(network: Network, place: WeightedSite, chip: ChipSpec, choices: Choices) -> Network:
    """As lowered."""
    if not chip.processors:
        raise refusal(place, chip, "processor", "it has none that is embedded")
    return network


def on_unit(network: Network, place: WeightedSite, chip: ChipSpec, choices: Choices) -> Network:
    """A unit holds a head's weights, sums the rows that x spikes for, and adds the rows of the sum that z gates.

    Sums that one accumulator does not hold take two, and each of their additions two operations.
    """
    unit, origin, sizes = chip.attention_unit, place.population.origin, place.sizes
    if unit is None:
        raise refusal(place, chip, "unit", "it has no attention units")
    if unit.weights is None:
        raise refusal(place, chip, "unit", "its attention units hold no weights")
    heads, tokens, width = place.gated.heads, place.z.positions, unit.accumulator.value
    words = [1 if bound < 1 << (width - 1) else MAX_WORDS for bound in (max(place.bounds), place.population.high)]
    sums = (sizes["i"] * sizes["s"] * sizes["t"], place.population.channels // heads * tokens)
    needs = (
        ("operands", place.x.size + place.z.size // heads, unit.operands.value),
        ("sums", sum(n * times for n, times in zip(sums, words, strict=True)) * width, unit.sums.value),
        ("weights", place.matrix.weight.size // heads * chip.weight_format(choices.weight_bits).stored_bits
         + sizes["i"] * width, unit.weights.value),
    )  # fmt: skip
    for what, need, has in needs:
        if need > has:
            raise CapacityError(
                f"layer {origin!r}: a head of dual spike self-attention (DSSA) needs {need:,} bits of {what}, a unit "
                f"of {chip.name!r} has {has:,}; split heads, or use another --attention"
            )
    largest, most = max(place.population.high, *place.bounds), (1 << (MAX_WORDS * width - 1)) - 1
    if largest > most:
        raise CapacityError(
            f"layer {origin!r}: products reach {largest}, {MAX_WORDS} accumulators of a unit of {chip.name!r} hold "
            f"{most}; quantise to fewer bits (--weight-bits), or use another --attention"
        )
    fits = place.population.high < 1 << max(0, chip.activation_bits - place.population.signed)
    made = replace(place.population, coding="graded" if fits else "spikes")
    parts: dict[int, Projection] = {
        id(place.matrix): replace(place.matrix, method="unit", words=words[0]),
        id(place.gated): replace(place.gated, method="unit", words=words[1]),
    }
    return replace(
        network,
        populations=tuple(made if p is place.population else p for p in network.populations),
        projections=tuple(parts.get(id(p), p) for p in network.projections),
    )


def by_learning(network: Network, place: WeightedSite, chip: ChipSpec, choices: Choices) -> Network:
    """Never: synapses learn counts of spikes that meet, and weighted sums are none."""
    raise refusal(place, chip, "plastic", "a learning synapse counts spikes that meet, and a weighted sum is no count")


def by_payloads(network: Network, place: WeightedSite, chip: ChipSpec, choices: Choices) -> Network:
    """Neurons send y, what is above zero and what is below, as payloads; others pass them on where z spikes."""
    payload = chip.activation_bits
    if not payload:
        raise refusal(place, chip, "graded", "its spikes carry no payload")
    if max(place.bounds) >= 1 << payload:
        raise refusal(place, chip, "graded", f"sums reach {max(place.bounds)}, a payload has {payload} bits")
    return expanded(network, place, chip, choices, "graded")


def by_coincidence(network: Network, place: WeightedSite, chip: ChipSpec, choices: Choices) -> Network:
    """Neurons for the binary digits of y, above zero and below; ANDs of each digit with z."""
    return expanded(network, place, chip, choices, "coincidence")


def refusal(place: WeightedSite, chip: ChipSpec, method: str, why: str) -> UnsupportedError:
    """Why ``method`` cannot; what can."""
    others = [m for m in chip.attention_methods if m not in (method, "plastic")]
    remedy = f"use --attention {' or '.join(others)}" if others else "choose a chip with embedded processors"
    return UnsupportedError(
        f"layer {place.population.origin!r}: dual spike self-attention (DSSA) multiplies spikes by weighted sums of "
        f"spikes, which method {method!r} cannot on {chip.name!r}: {why}; {remedy}"
    )


def expanded(network: Network, place: WeightedSite, chip: ChipSpec, choices: Choices, method: str) -> Network:
    """The product population replaced by neurons. Raises ``CapacityError`` if no board holds them."""
    readers = _neurons_behind(place, method)
    neurons = neurons_of(place, method)
    taken = sum(p.size for p in network.populations if p.home == "core" and p.neuron.kind not in ("product", "source"))
    capacity = chip.max_chips * chip.cores_per_chip * chip.limits.neurons
    if neurons + taken > capacity:
        raise CapacityError(
            f"layer {place.population.origin!r}: dual spike self-attention (DSSA) by {method} takes {neurons:,} "
            f"neurons beside {taken:,} of other layers; the largest {chip.name!r} system has {capacity:,}; use another "
            "--attention, fewer tokens, or fewer --weight-bits"
        )
    populations: list[Population] = []
    projections: list[Projection] = []
    for reader in readers:
        parts = WeightedParts(
            name=place.population.name, origin=place.population.origin, target=reader.target, shift=reader.shift,
            chip=chip, weights=chip.weight_format(choices.weight_bits), timesteps=network.timesteps,
            sizes=place.sizes, scale=reader.weight, place=place,
        )  # fmt: skip
        parts.build(method)
        made = {p.name for p in parts.populations}
        projections += [p for p in parts.projections if not populations or p.target not in made]
        populations = populations or parts.populations
    order = [q for p in network.populations for q in (populations if p is place.population else [p])]
    gone = {reader.name for reader in place.readers} | {place.matrix.name, place.gated.name}
    return replace(
        network,
        populations=tuple(order),
        projections=(*(p for p in network.projections if p.name not in gone), *projections),
    )


def _neurons_behind(place: WeightedSite, method: str) -> list[Pool]:
    """The one-to-one projections that read a product. Raises ``UnsupportedError`` for any other reader."""
    found = []
    for reader in place.readers:
        if not isinstance(reader, Pool) or reader.kernel != (1, 1) or len(reader.sources) != 1:
            raise UnsupportedError(
                f"layer {place.population.origin!r}: method {method!r} charges the neurons behind the product, but "
                f"{reader.name!r} adds or weighs products first; use --attention processor or unit"
            )
        found.append(reader)
    return found


def neurons_of(place: WeightedSite, method: str) -> int:
    """Neurons that ``method`` makes: those of y, and one for each of them and each token; of each digit."""
    sums, masked = (int(np.prod(shape_of(axes, place.sizes))) for axes in (SUMS, MASKED))
    return sum((top.bit_length() if method == "coincidence" else 1) * (sums + masked) for _, _, top, _ in place.signs)


@dataclass(slots=True, kw_only=True)
class WeightedParts(Assembly):
    """The neurons that compute the weighted product ``place``."""

    place: WeightedSite

    def build(self, method: str) -> None:
        """Fill ``populations`` and ``projections``. Raises ``UnsupportedError`` for sums beyond registers."""
        for name, sign, top, other in self.place.signs:
            self.fits((2 * top + other) << self.weights.shift_low)
            if method == "graded":
                self.payloads(name, sign, top)
            else:
                self.digits(name, sign, top, other)

    def payloads(self, name: str, sign: int, top: int) -> None:
        """One part of y as payloads, and what z lets pass."""
        mask = self.one_weight(top)
        z, out = OPERANDS[self.place.gated.over]
        shift = self.summing("graded", name, SUMS, top, [])
        self.fits(2 * mask << shift)
        self.weighted(name, sign, shift, counted=sign > 0)
        reads = [(self.part(name), SUMS, 1), (self.place.z.name, z, mask)]
        self.summing("graded", f"{name}.masked", MASKED, top, reads, mask)
        read = (self.part(f"{name}.masked"), MASKED, sign * self.scale)
        self.connect(self.target, out, self.shift, [read], counted=True)

    def digits(self, name: str, sign: int, top: int, other: int) -> None:
        """One part of y as binary digits, the highest first, each taking its value off the lower ones."""
        z, out = OPERANDS[self.place.gated.over]
        for j in reversed(range(top.bit_length())):
            digit, masked = f"{name}.digit{j}", f"{name}.masked{j}"
            higher = [(self.part(f"{name}.digit{i}"), SUMS, -(1 << i)) for i in range(j + 1, top.bit_length())]
            shift = self.gate(digit, SUMS, 1 << j, -other, min(top, (2 << j) - 1), higher)
            self.fits((2 * top + other) << shift)
            self.weighted(digit, sign, shift, counted=sign > 0 and not higher)
            self.gate(masked, MASKED, 2, 0, 2, [(self.part(digit), SUMS, 1), (self.place.z.name, z, 1)])
            read = (self.part(masked), MASKED, sign * (1 << j) * self.scale)
            self.connect(self.target, out, self.shift, [read], counted=True)

    def weighted(self, part: str, sign: int, shift: int, *, counted: bool) -> None:
        """The convolution of x, times ``sign``, into ``part``."""
        matrix = self.place.matrix
        weight = narrowest(sign * matrix.weight.astype(np.int32))
        conv = Conv(
            name=f"{self.part(part)}.{matrix.name.removeprefix(self.name + '.')}", sources=(Source(self.place.x.name),),
            target=self.part(part), origin=self.origin, shift=shift, counted=counted, weight=weight,
            stride=matrix.stride, padding=matrix.padding,
        )  # fmt: skip
        self.projections.append(conv)
        bias: NDArray[np.int64] = sign * matrix.bias.astype(np.int64)
        if bias.any():
            self.offset(part, bias, shift)

    def one_weight(self, top: int) -> int:
        """The least value from ``top`` on that one synapse has beside those of the sums."""
        shift = min(max(self.chip.arithmetic.threshold_shift, self.weights.shift_low), self.weights.shift_high)
        for extra in range(self.weights.shift_high - shift + 1):
            size = -(-top >> extra)
            if size <= self.weights.high:
                return size << extra
        return top

    def fits(self, bound: int) -> None:
        """Raises ``UnsupportedError`` if a current of ``bound`` could leave the chip's registers."""
        rules = self.chip.arithmetic
        top = (1 << (min(rules.current_bits, rules.membrane_bits) - 1)) - 1
        if bound > top:
            raise UnsupportedError(
                f"layer {self.origin!r}: sums of dual spike self-attention (DSSA) reach {bound} with their masks, the "
                f"registers of {self.chip.name!r} hold {top}; quantise to fewer bits (--weight-bits), or use another "
                "--attention"
            )


WEIGHTED_METHODS: dict[str, Callable[[Network, WeightedSite, ChipSpec, Choices], Network]] = {
    "processor": on_processor,
    "unit": on_unit,
    "plastic": by_learning,
    "coincidence": by_coincidence,
    "graded": by_payloads,
}
"""Method -> what it makes of one product with weighted sums."""
