"""One row per population: neurons, spikes, operations, traffic and energy, so that every total splits by layer."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from math import prod
from typing import Any

import numpy as np

from neurochip.network.counts import counting_populations, counts_spikes
from neurochip.network.network import Network, Population
from neurochip.network.projections import Bias, Encoder, Gated, Matrix, Product, Projection
from neurochip.network.validate import input_grid
from neurochip.program.image import Program
from neurochip.report.energy import EventCounts, Prices, joules_by_kind, ops_45nm, run_prices
from neurochip.sim.trace import Trace

KINDS = {"encoder": "conv (analog)", "conv": "conv", "max_conv": "conv", "dense": "linear", "gather": "linear"}
"""Projection kind -> what a report calls the layer."""

LISTS = {"conv": "conv", "max_conv": "conv", "pool": "sparse", "einsum": "sparse"}
"""Projection kind -> the kind of synapse list its accumulates come from; others are dense."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AttentionCounts:
    """Three counts of one attention product, three names (sums over all inputs).

    Attributes:
        event_driven: accumulates that the event-driven order really does: sum |k||v| + |q| d per head; with weighted
            sums (DSSA) those of the convolution, and a row of its result for each spike that gates one.
        effective: those of them with both operands non-zero (NeuroBench's effective operations).
        rate_times_dense: dense multiply-accumulates times the mean rate of the two spike operands of each product,
            N d (rate_v + rate_q) per channel: what papers print.
    """

    event_driven: int
    effective: int
    rate_times_dense: float


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerReport:
    """One population with the synapses that feed it; sums over all inputs.

    Attributes:
        kind: ``conv``, ``conv (analog)``, ``linear``, ``attention``, ``pool``, ``relay``, ``sum`` (of spikes),
            ``neuron``, ``readout`` or ``input``.
        spikes, spikes_per_step, rate: of neurons; a product sends payloads instead, counted in ``packets``.
        ac, mac: the model's accumulates and multiply-accumulates; ``mac_every_step`` counts a replayed image T times.
        overhead_ops: accumulates that the model's arithmetic does not know: pools, relays, payload digits, biases.
        dense_macs: multiply-accumulates of the same layer in an ANN, one image.
        dynamic_j: the chip's bill for this layer without static power and host I/O, published figures only.
    """

    name: str
    origin: str
    kind: str
    neurons: int
    cores: int
    depth: int
    spikes: int
    spikes_per_step: tuple[int, ...]
    rate: float
    ac: int
    mac: int
    mac_every_step: int
    overhead_ops: int
    dense_macs: int
    packets: int
    hops: int
    ops_45nm_j: float
    dynamic_j: float
    attention: AttentionCounts | None = None

    def to_dict(self) -> dict[str, Any]:
        """Plain values."""
        return {**asdict(self), "spikes_per_step": list(self.spikes_per_step)}


def layer_reports(program: Program, trace: Trace) -> tuple[LayerReport, ...]:
    """Rows in pipeline order."""
    network = program.network
    prices = run_prices(program, trace)
    dense, counting = dense_macs(program), counting_populations(network)
    return tuple(
        _layer(program, trace, prices, number, population, dense[population.name], counting)
        for number, population in enumerate(network.populations)
    )


def dense_macs(program: Program) -> dict[str, int]:
    """Population -> multiply-accumulates of its weight layers in an ANN; a layer that feeds several counts once."""
    left = {layer.name: layer.dense_macs for layer in program.layers}
    found = {}
    for name, incoming in program.network.incoming.items():
        found[name] = sum(left.pop(p.origin, 0) for p in incoming if p.counted)
    return found


def _layer(
    program: Program,
    trace: Trace,
    prices: Prices,
    number: int,
    population: Population,
    dense: int,
    counting: frozenset[str],
) -> LayerReport:
    network = program.network
    incoming = network.incoming[population.name]
    counts = trace.populations[population.name]
    done = {p.name: trace.projections[p.name].ops for p in incoming}
    multiplied = {p.name for p in incoming if is_graded(network, p) and not counts_spikes(p, counting)}
    ac = sum(done[p.name] for p in incoming if p.counted and not isinstance(p, Encoder) and p.name not in multiplied)
    mac, every = _macs(program, trace, population)
    payload_macs = sum(done[p.name] for p in incoming if p.counted and p.name in multiplied)
    mac, every = mac + payload_macs, every + payload_macs
    payloads = population.neuron.kind == "product"
    per_step = tuple(0 if payloads else int(n) for n in counts.spikes)
    own = program.tiles["core"][program.tiles["population"] == number]
    billed = joules_by_kind(prices, layer_counts(program, trace, population))
    return LayerReport(
        name=population.name,
        origin=population.origin,
        kind="sum" if population.name in counting else kind_of(population, incoming, analog_projections(network)),
        neurons=population.size,
        cores=len(np.unique(own)),
        depth=population.depth,
        spikes=sum(per_step),
        spikes_per_step=per_step,
        rate=sum(per_step) / (population.size * network.timesteps * trace.inputs),
        ac=ac,
        mac=mac,
        mac_every_step=every,
        overhead_ops=sum(done.values()) - ac - payload_macs,
        dense_macs=dense,
        packets=counts.packets,
        hops=counts.hops_x + counts.hops_y,
        ops_45nm_j=ops_45nm(ac, mac).total_j,
        dynamic_j=sum(billed.values()),
        attention=attention_counts(program, trace, incoming),
    )


def _macs(program: Program, trace: Trace, population: Population) -> tuple[int, int]:
    """Multiply-accumulates on analog input: as done, and as if a still image were convolved anew at each step."""
    network = program.network
    encoders = [p for p in network.projections if isinstance(p, Encoder) and p.counted]
    macs = {p.name: prod(p.conv_grid(*input_grid(network)[:2])) * p.weight.size for p in encoders}
    own = sum(macs[p.name] for p in encoders if p.target == population.name)
    if not own:
        return 0, 0
    frames = trace.host_macs // sum(macs.values())
    return own * frames, own * network.timesteps * trace.inputs


def analog_projections(network: Network) -> frozenset[str]:
    """Projections whose sources replay analog values as payloads."""
    replayed = {p.name for p in network.populations if p.neuron.kind == "source" and p.coding == "graded"}
    return frozenset(p.name for p in network.projections if any(s.population in replayed for s in p.sources))


def kind_of(population: Population, incoming: tuple[Projection, ...], analog: frozenset[str] = frozenset()) -> str:
    """What the layer is called in a report; ``analog``: projections of analog values."""
    if population.neuron.kind == "source":
        return "input"
    if population.neuron.kind == "readout":
        return "readout"
    if population.neuron.kind == "product":
        return "attention"
    if ".relay" in population.name or population.name.endswith(".split"):
        return "relay"
    if any(p.kind in ("einsum", "product") for p in incoming):
        return "attention"
    synapses = [p for p in incoming if not isinstance(p, Bias)]
    main = next((p for p in synapses if p.counted), synapses[0] if synapses else None)
    if main is None:
        return "neuron"
    if main.kind == "pool":
        return "pool" if getattr(main, "kernel", (1, 1)) != (1, 1) else "neuron"
    if not main.counted and main.origin == population.origin:  # a mask, or a sum over channels
        return "neuron"
    return KINDS["encoder"] if main.name in analog else KINDS[main.kind]


def layer_counts(program: Program, trace: Trace, population: Population) -> EventCounts:
    """What this layer's synapses, neurons, spikes and packets bill for; packets are charged to their sender."""
    counts = trace.populations[population.name]
    network = program.network
    ops = dict.fromkeys(("dense", "conv", "sparse", "processor", "unit", "mac"), 0)
    learnt = 0
    for projection in network.incoming[population.name]:
        done = trace.projections[projection.name]
        ops[list_of(network, projection)] += done.booked
        learnt += done.updates
    on_core = population.neuron.kind in ("lif", "readout", "burst", "graded") and population.home == "core"
    messages = counts.to_processors + (0 if on_core else counts.packets)
    units = messages if uses_units(network, population) else 0
    held = population.size * population.copies * population.compartments
    updates = held * program.network.ticks * trace.inputs if on_core else 0
    return EventCounts(
        ops_dense=ops["dense"],
        ops_conv=ops["conv"],
        ops_sparse=ops["sparse"],
        processor_ops=ops["processor"],
        idle=updates - counts.active,
        active=counts.active,
        spikes=int(counts.spikes.sum()) * population.copies if on_core else 0,
        axons_in=counts.packets - counts.to_processors,
        axons_out=counts.packets if on_core else 0,
        hops_x=counts.hops_x,
        hops_y=counts.hops_y,
        crossings=counts.crossings,
        local=counts.local,
        processor_messages=messages - units,
        macs=ops["mac"],
        learning_updates=learnt,
        unit_ops=ops["unit"],
        unit_messages=units,
    )


def list_of(network: Network, projection: Projection) -> str:
    """What does the operations of ``projection``: a kind of synapse list, a multiplier, a processor or a unit."""
    if isinstance(projection, Product):
        return "dense" if projection.method == "plastic" else projection.method
    if isinstance(projection, Matrix | Gated):
        return projection.method
    if is_graded(network, projection):
        return "mac"
    return LISTS.get(projection.kind, "dense")


def is_graded(network: Network, projection: Projection) -> bool:
    """Whether its sources send payloads in single packets, so that its synapses multiply."""
    return any(network.by_name[s.population].coding == "graded" for s in projection.sources)


def uses_units(network: Network, population: Population) -> bool:
    """Whether the packets that leave the neuro-cores for or from ``population`` go to or come from attention units."""
    products = [p for p in network.projections if isinstance(p, Product | Matrix | Gated) and p.method == "unit"]
    return any(population.name in (p.target, *(s.population for s in p.sources)) for p in products)


def attention_counts(program: Program, trace: Trace, incoming: tuple[Projection, ...]) -> AttentionCounts | None:
    """Counts of the attention product among ``incoming``, if there is one."""
    if any(isinstance(p, Gated) for p in incoming):
        return weighted_counts(program, trace, incoming)
    product = next((p for p in incoming if isinstance(p, Product)), None)
    if product is None:
        return None
    network = program.network
    counts = trace.projections[product.name]
    q, _, v = (network.by_name[s.population] for s in product.sources)
    steps = network.timesteps * trace.inputs
    rates = {p.name: trace.populations[p.name].spikes.sum() / (p.size * steps) for p in (q, v)}
    dense = q.size * (q.channels // product.heads) * steps
    return AttentionCounts(
        event_driven=counts.ops,
        effective=counts.effective,
        rate_times_dense=float(dense * (rates[q.name] + rates[v.name])),
    )


def weighted_counts(program: Program, trace: Trace, incoming: tuple[Projection, ...]) -> AttentionCounts:
    """Counts of a product with weighted sums: the convolution and the rows that spikes gate together."""
    network, dense = program.network, 0.0
    for part in incoming:
        source, target = network.by_name[part.sources[0].population], network.by_name[part.target]
        if isinstance(part, Matrix):
            operations = prod(part.grid(source.height, source.width)) * part.weight.size
        else:
            operations = source.size * (target.channels // getattr(part, "heads", 1))
        dense += operations * float(trace.populations[source.name].spikes.sum()) / source.size
    done = [trace.projections[p.name] for p in incoming]
    return AttentionCounts(
        event_driven=sum(counts.ops for counts in done),
        effective=sum(counts.effective for counts in done),
        rate_times_dense=dense,
    )
