"""Products of spikes become what the chip computes them with: AND neurons, payloads, learning synapses, a unit."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import ClassVar

from compiler.legal.coincidence import Builder, sizes_of
from compiler.legal.expansions import Coding, Expansion, Shape, expansions
from compiler.legal.target import Choices
from compiler.legal.weighted import WEIGHTED_METHODS, weighted_site
from neurochip.chip.spec import ChipSpec
from neurochip.errors import CapacityError, UnsupportedError
from neurochip.network.network import Network, Population
from neurochip.network.projections import Gated, Pool, Product, Projection


class AttentionMethods:
    """Gives every product population the attention method that was chosen.

    - ``processor``: stays as it is, on an embedded processor. ``unit``: the same on an attention unit.
    - ``coincidence``, ``graded``: an expansion into neurons (``compiler.legal.expansions``) charges the attention
      neurons instead of the product population, which disappears.
    - ``plastic``: the attention neurons' own synapses hold ``k^T v``; the product population disappears.

    Products with weighted sums (DSSA) have the same methods but ``plastic``: see ``compiler.legal.weighted``.

    Exact: the attention neurons receive the same integers, unless a payload or weight saturates, which is counted.
    """

    name: ClassVar[str] = "attention"

    def run(self, network: Network, chip: ChipSpec, choices: Choices) -> Network:
        """Raises ``UnsupportedError`` or ``CapacityError`` naming the layer, what it needs, and a remedy."""
        products = [p for p in network.populations if p.neuron.kind == "product"]
        if not products:
            return network
        if choices.attention not in METHODS:
            raise UnsupportedError(
                f"layer {products[0].origin!r}: chip {chip.name!r} has no attention method that this model can use; "
                f"it lists: {', '.join(chip.attention_methods) or 'none'}"
            )
        for population in products:
            if any(isinstance(p, Gated) for p in network.incoming[population.name]):
                there = weighted_site(network, population)
                network = WEIGHTED_METHODS[choices.attention](network, there, chip, choices)
                continue
            network = METHODS[choices.attention](network, site(network, population), chip, choices)
        return network


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Site:
    """A product population, the projection that defines it, and what reads it."""

    population: Population
    product: Product
    readers: tuple[Projection, ...]

    @property
    def shape(self) -> Shape:
        """Sizes of the attention layer."""
        p, heads = self.population, self.product.heads
        return Shape(height=p.height, width=p.width, heads=heads, depth=p.channels // heads)


def site(network: Network, population: Population) -> Site:
    """Where attention layer ``population`` stands in ``network``."""
    (product,) = network.incoming[population.name]
    assert isinstance(product, Product)
    readers = tuple(p for p in network.projections if any(s.population == population.name for s in p.sources))
    return Site(population=population, product=product, readers=readers)


def neurons_behind(place: Site, method: str) -> tuple[Pool, ...]:
    """The one-to-one projections that read a product. Raises ``UnsupportedError`` for any other reader."""
    found = []
    for reader in place.readers:
        if not isinstance(reader, Pool) or reader.kernel != (1, 1) or len(reader.sources) != 1:
            raise UnsupportedError(
                f"layer {place.population.origin!r}: method {method!r} charges the neurons behind the product, "
                f"but {reader.name!r} adds or weighs products first; use --attention processor or unit"
            )
        found.append(reader)
    return tuple(found)


def on_processor(network: Network, place: Site, chip: ChipSpec, choices: Choices) -> Network:
    """As lowered."""
    if not chip.processors:
        raise UnsupportedError(
            f"layer {place.population.origin!r}: attention by processor needs an embedded processor, {chip.name!r} has "
            f"none; it lists: {', '.join(chip.attention_methods)}"
        )
    return network


def on_unit(network: Network, place: Site, chip: ChipSpec, choices: Choices) -> Network:
    """An attention unit computes each head; results travel as payloads where the chip has them wide enough."""
    unit, shape, origin = chip.attention_unit, place.shape, place.population.origin
    if unit is None:
        raise UnsupportedError(f"layer {origin!r}: {chip.name!r} has no attention units")
    operands = 3 * shape.tokens * shape.depth
    sums = (min(shape.depth**2, shape.tokens**2) + shape.tokens * shape.depth) * unit.accumulator.value
    for what, need, has in (("operands", operands, unit.operands.value), ("sums", sums, unit.sums.value)):
        if need > has:
            raise CapacityError(
                f"layer {origin!r}: a head of {shape.tokens} tokens x {shape.depth} channels needs {need:,} bits of "
                f"{what}, a unit of {chip.name!r} has {has:,}; split heads, or use another --attention"
            )
    if place.population.high >= 1 << (unit.accumulator.value - 1):
        raise CapacityError(
            f"layer {origin!r}: products reach {place.population.high}, the sums of a unit of {chip.name!r} hold "
            f"{(1 << (unit.accumulator.value - 1)) - 1}; split heads, or use another --attention"
        )
    fits = place.population.high < 1 << chip.activation_bits
    population = replace(place.population, coding="graded" if fits else "spikes")
    product = replace(place.product, method="unit")
    return replace(
        network,
        populations=tuple(population if p is place.population else p for p in network.populations),
        projections=tuple(product if p is place.product else p for p in network.projections),
    )


def by_learning(network: Network, place: Site, chip: ChipSpec, choices: Choices) -> Network:
    """Synapses of the attention neurons learn ``k^T v`` token by token and are then read by q, token by token."""
    origin, learning = place.population.origin, chip.learning
    if learning is None:
        raise UnsupportedError(f"layer {origin!r}: the synapses of {chip.name!r} cannot learn; use another --attention")
    readers = neurons_behind(place, "plastic")
    if any(reader.weight != 1 for reader in readers):
        raise UnsupportedError(f"layer {origin!r}: method 'plastic' needs neurons that take products with weight 1")
    ticks = token_ticks(place.shape.tokens, learning.period.value)
    if ticks > choices.max_interval:
        raise UnsupportedError(
            f"layer {origin!r}: learning {place.shape.tokens} tokens one by one and reading them takes {ticks} ticks a "
            f"step, at most {choices.max_interval} are allowed; raise --max-interval, or use another --attention"
        )
    limit = (1 << (learning.weight.value - 1)) - 1
    made = {
        reader.name: replace(
            place.product, name=reader.name, target=reader.target, shift=reader.shift, method="plastic", limit=limit,
            counted=True,
        )
        for reader in readers
    }  # fmt: skip
    return replace(
        network,
        populations=tuple(p for p in network.populations if p is not place.population),
        projections=tuple(made.get(p.name, p) for p in network.projections if p is not place.product),
        interval=max(network.interval, ticks),
    )


def token_ticks(tokens: int, period: int) -> int:
    """Ticks of a step in which ``tokens`` are learnt, one each ``period`` ticks, read one a tick, and then cleared."""
    return tokens * period + tokens + period


def by_coincidence(network: Network, place: Site, chip: ChipSpec, choices: Choices) -> Network:
    """AND neurons, on any chip."""
    return expanded(network, place, chip, choices, "coincidence")


def by_payloads(network: Network, place: Site, chip: ChipSpec, choices: Choices) -> Network:
    """Neurons that send their sums as graded spikes."""
    if not chip.activation_bits:
        raise UnsupportedError(
            f"layer {place.population.origin!r}: spikes of {chip.name!r} carry no payload; use another --attention"
        )
    return expanded(network, place, chip, choices, "graded")


def plans_of(shape: Shape, chip: ChipSpec, method: str, max_interval: int) -> list[Expansion]:
    """Expansions that ``method`` can use on ``chip``: of one tick a step, then of bursts, each by fewest neurons."""
    codings: tuple[Coding, ...] = ("graded",) if method == "graded" else ("digits", "levels", "burst")
    found = expansions(shape, codings, chip.max_delay)
    quick = [plan for plan in found if plan.interval == 1]
    slow = [plan for plan in found if 1 < plan.interval <= max_interval and chip.arithmetic.soft_reset]
    return [*quick, *slow]


def expanded(network: Network, place: Site, chip: ChipSpec, choices: Choices, method: str) -> Network:
    """The first expansion that fits, and whose gates the chip can make, in place of the product.

    Raises ``CapacityError`` if no board holds any.
    """
    neurons_behind(place, method)
    plans = plans_of(place.shape, chip, method, choices.max_interval)
    taken = sum(p.size for p in network.populations if p.home == "core" and p.neuron.kind not in ("product", "source"))
    capacity = chip.max_chips * chip.cores_per_chip * chip.limits.neurons
    origin = place.population.origin
    fitting = [plan for plan in plans if taken + plan.neurons <= capacity]
    if not fitting:
        least = min(plans, key=lambda plan: plan.neurons)
        raise CapacityError(
            f"layer {origin!r}: attention by {method} takes {least.neurons:,} neurons at least ({least}) beside "
            f"{taken:,} of other layers; the largest {chip.name!r} system has {capacity:,}; use another --attention, "
            "fewer tokens, or smaller heads"
        )
    refusal: UnsupportedError | None = None
    for plan in fitting:
        try:
            return replaced(network, place, plan, chip, choices)
        except UnsupportedError as error:  # gates that this chip cannot make; another order may need others
            refusal = refusal or error
    raise refusal or UnsupportedError(f"layer {origin!r}: no expansion of attention by {method}")


def replaced(network: Network, place: Site, plan: Expansion, chip: ChipSpec, choices: Choices) -> Network:
    """``plan`` built in place of the product population; every reader of it gets synapses of its own."""
    q, k, v = (source.population for source in place.product.sources)
    populations: list[Population] = []
    projections: list[Projection] = []
    for reader in neurons_behind(place, choices.attention):
        builder = Builder(
            name=place.population.name, origin=place.population.origin, q=q, k=k, v=v, target=reader.target,
            shift=reader.shift, plan=plan, chip=chip, weights=chip.weight_format(choices.weight_bits),
            timesteps=network.timesteps, scale=reader.weight, sizes=sizes_of(place.shape, plan.terms),
        )  # fmt: skip
        builder.build()
        made = {p.name for p in builder.populations}
        projections += [p for p in builder.projections if not populations or p.target not in made]
        populations = populations or builder.populations
    order: list[Population] = []
    for population in network.populations:
        order += populations if population is place.population else [population]
    gone = {reader.name for reader in place.readers} | {place.product.name}
    return replace(
        network,
        populations=tuple(order),
        projections=(*(p for p in network.projections if p.name not in gone), *projections),
        interval=max(network.interval, plan.interval),
    )


METHODS: dict[str, Callable[[Network, Site, ChipSpec, Choices], Network]] = {
    "processor": on_processor,
    "unit": on_unit,
    "plastic": by_learning,
    "coincidence": by_coincidence,
    "graded": by_payloads,
}
"""Method -> what it makes of one attention layer."""
