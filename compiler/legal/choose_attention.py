"""Which attention method a chip should use: every method it lists is tried and priced before anything is mapped."""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import prod

from compiler.legal.attention import AttentionMethods
from compiler.legal.target import Choices
from compiler.passes.units import FIRING_RATE
from neurochip.chip.costs import Costs, Event
from neurochip.chip.spec import ChipSpec
from neurochip.errors import CapacityError, UnsupportedError
from neurochip.network.network import Network, Population
from neurochip.network.projections import Conv, Einsum, Gated, Matrix, Product

DENSITY = 0.5
"""Share of ones assumed among the binary digits of counts and products."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """What one method would cost. ``neurons``: beside those of the model; ``interval``: ticks of a step.

    ``step_j``: dynamic energy of one step of the whole network in joules at assumed spike rates; None if the chip
    publishes no price for something the method does. ``refusal``: why the chip cannot, or "".
    """

    method: str
    neurons: int = 0
    interval: int = 1
    step_j: float | None = None
    refusal: str = ""

    def __str__(self) -> str:
        if self.refusal:
            return f"{self.method}: {self.refusal}"
        energy = "energy not published" if self.step_j is None else f"{self.step_j * 1e6:.3g} uJ a step"
        return f"{self.method}: {self.neurons:,} neurons more, {self.interval} ticks a step, {energy}"


def estimates(network: Network, chip: ChipSpec, choices: Choices, costs: Costs) -> tuple[Estimate, ...]:
    """One for each method that ``chip`` lists, in the chip's order."""
    found = []
    for method in chip.attention_methods:
        try:
            expanded = AttentionMethods().run(network, chip, replace(choices, attention=method))
        except (CapacityError, UnsupportedError) as error:
            found.append(Estimate(method=method, refusal=str(error)))
            continue
        more = _on_cores(expanded) - _on_cores(network)
        joules = step_joules(expanded, costs, frozenset(p.name for p in expanded.populations) - set(network.by_name))
        found.append(Estimate(method=method, neurons=more, interval=expanded.interval, step_j=joules))
    return tuple(found)


def choose_attention(wanted: str, network: Network, found: tuple[Estimate, ...]) -> str:
    """The method to use: ``wanted``, or for ``auto`` the cheapest of those found to work.

    Cheapest is the least energy of a step if the chip publishes all prices that the methods need; otherwise the
    fewest neurons more, then the fewest ticks, then the chip's own order. ``none`` for a network without attention.
    Raises ``UnsupportedError`` if no method works.
    """
    products = [p for p in network.populations if p.neuron.kind == "product"]
    if wanted != "auto":
        return wanted
    if not products:
        return "none"
    working = [estimate for estimate in found if not estimate.refusal]
    if not working:
        reasons = "".join(f"\n  - {estimate}" for estimate in found)
        raise UnsupportedError(
            f"layer {products[0].origin!r}: no attention method of the chip works:{reasons or ' it lists none'}"
        )
    if all(estimate.step_j is not None for estimate in working):
        return min(working, key=lambda e: (e.step_j or 0.0, e.neurons)).method
    return min(working, key=lambda e: (e.neurons, e.interval)).method


def print_estimates(found: tuple[Estimate, ...], chosen: str) -> str:
    """One line a method, the chosen one marked."""
    lines = [f"{'->' if estimate.method == chosen else '  '} {estimate}" for estimate in found]
    return "\n".join(lines) or "the chip lists no attention method"


def _on_cores(network: Network) -> int:
    return sum(p.size for p in network.populations if on_core(p))


def on_core(population: Population) -> bool:
    """Whether neuro-cores update its neurons."""
    return population.home == "core" and population.neuron.kind not in ("product", "source")


def step_joules(network: Network, costs: Costs, made: frozenset[str] = frozenset()) -> float | None:
    """Dynamic energy of one step without packets' hops; None if a price is missing. ``made``: as ``step_events``."""
    counts = step_events(network, made)
    if any(costs.energy_pj[event] is None for event, amount in counts.items() if amount):
        return None
    return sum(amount * (costs.energy_pj[event] or 0.0) for event, amount in counts.items()) * 1e-12


def step_events(network: Network, made: frozenset[str] = frozenset()) -> dict[Event, float]:
    """Idle neurons of all ticks of a step, and what attention makes cores, processors and units do.

    ``made``: populations that stand in the place of a product, whose convolutions are attention's, too.
    """
    rates = spike_rates(network)
    counts: dict[Event, float] = {"neuron_inactive": float(_on_cores(network) * network.interval)}
    for projection in network.projections:
        if isinstance(projection, Product):
            found = product_events(network, projection, rates)
        elif isinstance(projection, Matrix | Gated):
            found = weighted_events(network, projection, rates)
        elif isinstance(projection, Einsum):
            source, target = network.by_name[projection.sources[0].population], network.by_name[projection.target]
            event: Event = "mac" if source.coding == "graded" else "synaptic_op_sparse"
            found = {event: target.size * projection.fan_in * rates[source.name]}
        elif isinstance(projection, Conv) and projection.target in made:
            source, target = network.by_name[projection.sources[0].population], network.by_name[projection.target]
            taps = projection.weight.size // projection.groups
            found = {"synaptic_op_conv": target.positions * taps * rates[source.name]}
        else:
            continue
        for event, amount in found.items():
            counts[event] = counts.get(event, 0.0) + amount
    return counts


def spike_rates(network: Network) -> dict[str, float]:
    """Packets of a neuron in a step: assumed for the model's neurons and for digits, multiplied along ANDs."""
    rates: dict[str, float] = {}
    for population in network.populations:
        reads = [p for p in network.incoming[population.name] if isinstance(p, Einsum)]
        if population.neuron.kind == "product":
            rates[population.name] = 1.0 if population.coding == "graded" else population.high.bit_length() * DENSITY
        elif not reads or any(p.counted for p in reads):
            rates[population.name] = FIRING_RATE
        elif population.high == 1 and all(p.fan_in == 1 for p in reads):
            rates[population.name] = prod(rates[name] for name in {p.sources[0].population for p in reads})
        else:
            rates[population.name] = DENSITY * population.high if population.neuron.kind == "burst" else DENSITY
    return rates


def product_events(network: Network, product: Product, rates: dict[str, float]) -> dict[Event, float]:
    """What computes a product in one step: coincidences of k and v, reads by q, and packets in and out."""
    q, k, v = (network.by_name[s.population] for s in product.sources)
    depth = q.channels // product.heads
    met, read = k.size * depth * rates[k.name] * rates[v.name], q.size * depth * rates[q.name]
    if product.method == "plastic":
        return {"learning_update": met + product.heads * depth * depth, "synaptic_op_dense": read}
    packets = sum(p.size * rates[p.name] for p in (q, k, v, network.by_name[product.target]))
    if product.method == "unit":
        return {"unit_op": met + read, "unit_message": packets}
    return {"processor_op": met + read, "processor_message": packets}


def weighted_events(network: Network, part: Matrix | Gated, rates: dict[str, float]) -> dict[Event, float]:
    """What a processor or unit does in one step for one part of a product with weighted sums: rows added, packets."""
    source, target = network.by_name[part.sources[0].population], network.by_name[part.target]
    if isinstance(part, Matrix):
        rows, columns = part.grid(source.height, source.width)
        added, packets = rows * columns * part.weight.size, 0.0
    else:
        added, packets = source.size * (target.channels // part.heads), target.size * rates[target.name]
    sent, done = source.size * rates[source.name], added * rates[source.name]
    if part.method == "unit":
        return {"unit_op": done * part.operations, "unit_message": sent + packets}
    return {"processor_op": done, "processor_message": sent + packets}
