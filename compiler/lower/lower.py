"""Quantised Graph -> Network: every op becomes populations and projections, or a change of layout."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from compiler.ir.graph import Graph, Node
from compiler.ir.ops.attention import Attention
from compiler.ir.ops.base import Op
from compiler.ir.ops.conv import Conv2d
from compiler.ir.ops.elementwise import Add, Scale
from compiler.ir.ops.feedback import Feedback
from compiler.ir.ops.input import Input
from compiler.ir.ops.linear import Linear
from compiler.ir.ops.mask import AndNot, Mul
from compiler.ir.ops.neuron import Neuron as NeuronOp
from compiler.ir.ops.pool import MaxPool, SumPool
from compiler.ir.ops.quantised import QuantiseInput, Requantise
from compiler.ir.ops.readout import Readout
from compiler.ir.ops.reduce import Sum
from compiler.ir.ops.register_neuron import RegisterNeuron
from compiler.ir.ops.running import Delay
from compiler.ir.ops.shape import Reshape, Transpose
from compiler.ir.ops.weighted_product import WeightedProduct
from compiler.lower.feedback import lower_delay, lower_feedback, with_steps_back
from compiler.lower.masks import lower_mask
from compiler.lower.products import lower_weighted_product
from compiler.lower.readout import lower_readout, lower_readouts
from compiler.lower.state import Lowering
from compiler.lower.sums import lower_scale, lower_sum, summed_current
from compiler.lower.synapses import channel_order, lower_conv, lower_linear, lower_max_pool, lower_pool, synapses_of
from compiler.lower.units import bias_digits
from compiler.lower.values import PENDING, Current, Levels, Logits, Spikes, Sums, Value, value_grid
from compiler.passes.registers import Demand, neuron_registers, possible_shifts
from neurochip.chip.spec import ChipSpec, WeightFormat
from neurochip.errors import UnsupportedError
from neurochip.network.network import InputSpec, Network, Neuron
from neurochip.network.projections import Bias, Encoder, Pool, Product, Source


def lower_graph(graph: Graph, chip: ChipSpec, weight_bits: int) -> Network:
    """Lower a graph that has been through every pass. Depths and delays are left to ``balance``.

    Raises ``UnsupportedError`` naming the node when an op has no lowering on ``chip``.
    """
    state = Lowering(graph, chip.arithmetic, chip.weight_format(weight_bits), chip.max_compartments)
    state.activation_bits = chip.activation_bits if chip.one_mode_a_core else 0
    for node in graph.nodes:
        state.values[node.name] = lower_node(state, node)
    with_steps_back(state)
    if state.readout is None or state.input is None:
        raise UnsupportedError(
            f"graph {graph.name!r}: expected one input and one readout; see --print-after lower-readout"
        )
    return Network(
        name=graph.name,
        timesteps=graph.timesteps,
        populations=tuple(state.populations.values()),
        projections=tuple(state.projections),
        input=state.input,
        readout=state.readout,
        arithmetic=chip.arithmetic,
    )


def lower_input(state: Lowering, node: Node) -> Value:
    """Spike counts become a source population; analog input stays on the host until it is quantised."""
    kind = state.graph.types[node.name]
    grid, index = value_grid(kind.shape)
    if not kind.integer:
        return Levels(grid, index)
    low, high = int(kind.low), int(kind.high)
    state.input = InputSpec(shape=kind.shape, kind="spikes", scale=1.0, low=low, high=high)
    state.add_population(node.name, grid, Neuron(kind="source"), node.name, high=high)
    return Spikes((node.name,), grid, index)


def lower_quantise_input(state: Lowering, node: Node) -> Value:
    """The host's quantiser: it becomes the network's input, whose values cores may take as payloads."""
    op, value = node.op, state.values[node.inputs[0]]
    assert isinstance(op, QuantiseInput)
    if not isinstance(value, Levels):
        raise UnsupportedError(f"node {node.name!r}: only the model's input is quantised on the host")
    shape = state.graph.types[node.name].shape
    state.input = InputSpec(shape=shape, kind="analog", scale=op.scale, low=op.low, high=op.high)
    if state.graph.of_type(Requantise):
        return value
    high, grid = max(op.high, -op.low), value.grid  # no host rescales what the first layer makes of it: payloads
    name = state.add_population(node.name, grid, Neuron(kind="source"), node.name, high=high, signed=op.low < 0)
    state.populations[name] = replace(state.populations[name], coding="graded")
    return Spikes((name,), grid, value.index)


def lower_attention(state: Lowering, node: Node) -> Value:
    """A product population: its payload is the integer ``q (k^T v)``."""
    op = node.op
    assert isinstance(op, Attention)
    parts = [state.values[name] for name in node.inputs]
    first, sources = parts[0], []
    for name, part in zip(node.inputs, parts, strict=True):
        if not isinstance(part, Spikes) or len(part.sources) != 1 or state.populations[part.sources[0]].high != 1:
            raise UnsupportedError(
                f"attention {node.name!r}: operand {name!r} must be the spikes of one binary neuron layer"
            )
        assert isinstance(first, Spikes)
        if part.grid != first.grid or not np.array_equal(part.index, first.index):
            raise UnsupportedError(f"attention {node.name!r}: q, k and v differ in layout")
        channel_order(node, part, identity=True)
        sources.append(Source(part.sources[0]))
    assert isinstance(first, Spikes)
    name = state.add_population(node.name, first.grid, Neuron(kind="product"), node.name, high=state.interval(node)[1])
    state.projections.append(
        Product(name=f"{name}.product", sources=tuple(sources), target=name, origin=node.name, heads=op.heads)
    )
    return Spikes((name,), first.grid, first.index)


def lower_add(state: Lowering, node: Node) -> Value:
    """Currents of several layers add up in one population; spikes add up on shared axons."""
    parts = [state.values[name] for name in node.inputs]
    if all(isinstance(part, Logits) for part in parts):
        lower_readouts(state, node, state.graph.producers(node))
        return Logits()
    if all(isinstance(part, Spikes) for part in parts):
        return state.spikes(node)
    first = parts[0]
    if not isinstance(first, Current) or not all(
        isinstance(p, Current) and p.grid == first.grid and np.array_equal(p.index, first.index) for p in parts
    ):
        raise UnsupportedError(
            f"node {node.name!r}: adds values that are not currents of one layout; put neurons before it"
        )
    currents = [p for p in parts if isinstance(p, Current)]
    biases = [c.bias for c in currents if c.bias is not None]
    return Current(
        tuple(p for c in currents for p in c.projections), currents[0].grid, currents[0].index,
        sum(biases[1:], biases[0]) if biases else None, *state.interval(node),
        encoded=any(c.encoded for c in currents),
    )  # fmt: skip


def lower_layout(state: Lowering, node: Node) -> Value:
    """Reshape or transpose: no hardware, only another order of the same neurons."""
    op, value = node.op, state.values[node.inputs[0]]
    assert not isinstance(value, Logits)
    summed = value.index.shape[-1:] if isinstance(value, Sums) else ()
    if isinstance(op, Reshape):
        return replace(value, index=value.index.reshape(*op.shape, *summed))
    assert isinstance(op, Transpose)
    order = (*op.order, len(op.order)) if summed else op.order
    return replace(value, index=value.index.transpose(order))


def lower_requantise(state: Lowering, node: Node) -> Value:
    """The host's rescaling: a part of the encoder."""
    op, value = node.op, state.values[node.inputs[0]]
    assert isinstance(op, Requantise)
    if not isinstance(value, Current) or not value.encoded:
        raise UnsupportedError(f"node {node.name!r}: only the first layer's current is requantised")
    (encoder,) = value.projections
    assert isinstance(encoder, Encoder)
    low, high = state.interval(node)
    finished = replace(encoder, multiplier=op.multiplier, down=op.shift)
    return replace(value, projections=(finished,), low=low, high=high)


def lower_neuron(state: Lowering, node: Node) -> Value:
    """A population that receives the current so far."""
    op, value = node.op, state.values[node.inputs[0]]
    assert isinstance(op, NeuronOp | RegisterNeuron)
    if isinstance(value, Spikes):  # attention products and relays: one-to-one
        low, high = (int(b) for b in (state.graph.types[node.inputs[0]].low, state.graph.types[node.inputs[0]].high))
        link = Pool(name=synapses_of(node), sources=value.shared(), target=PENDING, origin=node.name)
        value = Current((link,), value.grid, value.index, None, low, high)
    if isinstance(value, Sums):
        value = summed_current(state, node, value)
    if not isinstance(value, Current):
        raise UnsupportedError(
            f"neuron {node.name!r}: reads the analog input directly; put a conv or linear layer before it"
        )
    if isinstance(op, RegisterNeuron):
        neuron, shift = op.registers, op.shift
    else:
        demand = Demand(
            name=node.name, tau=op.tau, threshold=whole(node, op.threshold), fires=op.fires, reset=op.reset,
            low=value.low, high=value.high, timesteps=state.graph.timesteps,
        )  # fmt: skip
        neuron, shift = neuron_registers(demand, state.rules, current_shifts(state, value))
    state.add_population(node.name, value.grid, neuron, node.name)
    state.connect(node.name, value.projections, shift)
    if value.bias is not None and value.bias.any():
        weight, digit_shifts = bias_digits(value.bias, shift, bias_weights(state, value), node.name)
        state.projections.append(
            Bias(
                name=f"{node.name}.bias",
                sources=(),
                target=node.name,
                origin=node.name,
                weight=weight,
                shifts=digit_shifts,
            )
        )
    return Spikes((node.name,), value.grid, value.index)


def bias_weights(state: Lowering, value: Current) -> WeightFormat:
    """Weights of always-on axons: beside payloads on a graded core such an axon carries any value that they can."""
    sources = [state.populations[s.population] for p in value.projections for s in p.sources]
    more = state.activation_bits - 1 if all(source.coding == "graded" for source in sources) else 0
    return replace(state.weights, shift_high=state.weights.shift_high + max(more, 0))


def current_shifts(state: Lowering, value: Current) -> range:
    """Shifts that every part of a current can have."""
    encoders = sum(isinstance(p, Encoder) for p in value.projections)
    return possible_shifts(
        state.rules, state.shifts(), encoded=encoders > 0, weighted=encoders < len(value.projections)
    )


def whole(node: Node, threshold: float) -> int:
    """A quantised threshold, which must be a whole number."""
    if threshold != int(threshold):
        raise UnsupportedError(
            f"neuron {node.name!r}: threshold {threshold} is not a whole number; run the quantise pass"
        )
    return int(threshold)


def lower_node(state: Lowering, node: Node) -> Value:
    """The value of ``node``; adds what the chip must execute."""
    for kind, rule in RULES:
        if isinstance(node.op, kind):
            return rule(state, node)
    raise UnsupportedError(
        f"node {node.name!r}: op {node.op.mnemonic!r} has no lowering to spikes at this point; "
        "run with --print-after quantise to see the graph, and move a neuron in front of it when training"
    )


RULES: tuple[tuple[type[Op], Callable[[Lowering, Node], Value]], ...] = (
    (Input, lower_input),
    (QuantiseInput, lower_quantise_input),
    (Conv2d, lower_conv),
    (Linear, lower_linear),
    (SumPool, lower_pool),
    (MaxPool, lower_max_pool),
    (Attention, lower_attention),
    (WeightedProduct, lower_weighted_product),
    (Add, lower_add),
    (Reshape, lower_layout),
    (Transpose, lower_layout),
    (Requantise, lower_requantise),
    (NeuronOp, lower_neuron),
    (RegisterNeuron, lower_neuron),
    (Sum, lower_sum),
    (Scale, lower_scale),
    (Mul, lower_mask),
    (AndNot, lower_mask),
    (Feedback, lower_feedback),
    (Delay, lower_delay),
    (Readout, lower_readout),
)
"""Op -> lowering rule; the first match counts."""
