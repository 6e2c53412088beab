"""Quantised Graph -> Network: every op becomes populations and projections, or a change of layout."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial

import numpy as np
from numpy.typing import NDArray

from compiler.ir.graph import Graph, Node
from compiler.ir.ops.attention import Attention
from compiler.ir.ops.base import Op
from compiler.ir.ops.conv import Conv2d
from compiler.ir.ops.elementwise import Add
from compiler.ir.ops.input import Input
from compiler.ir.ops.linear import Linear
from compiler.ir.ops.neuron import Neuron as NeuronOp
from compiler.ir.ops.pool import SumPool
from compiler.ir.ops.quantised import QuantiseInput, Requantise
from compiler.ir.ops.readout import Readout
from compiler.ir.ops.shape import Reshape, Transpose
from compiler.lower.units import Demand, bias_digits, neuron_registers
from compiler.lower.values import Current, Grid, Levels, Spikes, Value, image_index, value_grid
from neurochip.chip.spec import ChipSpec, WeightFormat
from neurochip.errors import UnsupportedError
from neurochip.network.arithmetic import Arithmetic
from neurochip.network.network import InputSpec, Network, Neuron, Population, ReadoutSpec
from neurochip.network.projections import (
    Bias,
    Conv,
    Dense,
    Encoder,
    Gather,
    Pool,
    Product,
    Projection,
    Source,
)


def lower_graph(graph: Graph, chip: ChipSpec, weight_bits: int) -> Network:
    """Lower a graph that has been through every pass. Depths and delays are left to ``balance``.

    Raises ``UnsupportedError`` naming the node when an op has no lowering on ``chip``.
    """
    state = _Lowering(graph, chip.arithmetic, chip.weight_format(weight_bits))
    for node in graph.nodes:
        state.values[node.name] = state.lower(node)
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


@dataclass(slots=True)
class _Lowering:
    """The network under construction."""

    graph: Graph
    rules: Arithmetic
    weights: WeightFormat
    values: dict[str, Value] = field(default_factory=dict)
    populations: dict[str, Population] = field(default_factory=dict)
    projections: list[Projection] = field(default_factory=list)
    input: InputSpec | None = None
    readout: ReadoutSpec | None = None

    def lower(self, node: Node) -> Value:
        """The value of ``node``; adds what the chip must execute."""
        for kind, rule in RULES:
            if isinstance(node.op, kind):
                return rule(self, node)
        raise UnsupportedError(
            f"node {node.name!r}: op {node.op.mnemonic!r} has no lowering to spikes at this point; "
            "run with --print-after quantise to see the graph, and move a neuron in front of it when training"
        )

    def spikes(self, node: Node) -> Spikes:
        """The inputs of ``node`` as one sum of spikes on shared axons."""
        parts = [self.values[name] for name in node.inputs]
        for name, part in zip(node.inputs, parts, strict=True):
            if not isinstance(part, Spikes):
                raise UnsupportedError(
                    f"node {node.name!r}: expected spikes, found real-valued {name!r}; put a neuron between them"
                )
        first = parts[0]
        assert isinstance(first, Spikes)
        sources: list[str] = []
        for part in parts:
            assert isinstance(part, Spikes)
            if part.grid != first.grid or not np.array_equal(part.index, first.index):
                raise UnsupportedError(f"node {node.name!r}: its inputs differ in layout and cannot share axons")
            sources.extend(part.sources)
        return Spikes(tuple(sources), first.grid, first.index)

    def add_population(self, name: str, grid: Grid, neuron: Neuron, origin: str, high: int = 1) -> str:
        """Add a population and return its name."""
        self.populations[name] = Population(
            name=name,
            height=grid.height,
            width=grid.width,
            channels=grid.channels,
            neuron=neuron,
            origin=origin,
            high=high,
        )
        return name

    def interval(self, node: Node) -> tuple[int, int]:
        """Proven integer bounds of ``node``."""
        kind = self.graph.types[node.name]
        return int(kind.low), int(kind.high)


def lower_input(state: _Lowering, node: Node) -> Value:
    """Spike counts become a source population; analog input stays on the host until it is quantised."""
    kind = state.graph.types[node.name]
    grid, index = value_grid(kind.shape)
    if not kind.integer:
        return Levels(grid, index)
    low, high = int(kind.low), int(kind.high)
    state.input = InputSpec(shape=kind.shape, kind="spikes", scale=1.0, low=low, high=high)
    state.add_population(node.name, grid, Neuron(kind="source"), node.name, high=high)
    return Spikes((node.name,), grid, index)


def lower_quantise_input(state: _Lowering, node: Node) -> Value:
    op, value = node.op, state.values[node.inputs[0]]
    assert isinstance(op, QuantiseInput)
    if not isinstance(value, Levels):
        raise UnsupportedError(f"node {node.name!r}: only the model's input is quantised on the host")
    shape = state.graph.types[node.name].shape
    state.input = InputSpec(shape=shape, kind="analog", scale=op.scale, low=op.low, high=op.high)
    return value


def lower_conv(state: _Lowering, node: Node) -> Value:
    op = node.op
    assert isinstance(op, Conv2d)
    outputs, height, width = state.graph.types[node.name].shape
    grid = Grid(height, width, outputs)
    weight = np.ascontiguousarray(op.weight.transpose(2, 3, 1, 0))  # (kh, kw, I/g, O)
    geometry = {"stride": op.stride, "padding": op.padding}
    first = state.values[node.inputs[0]]
    if isinstance(first, Levels):
        return encoded(state, node, grid, image_index(grid), weight, geometry)
    spikes = state.spikes(node)
    expect_layout(node, spikes, image_index(spikes.grid))
    make = partial(Conv, **origin(node, spikes), weight=weight, groups=op.groups, **geometry)
    return Current((make,), grid, image_index(grid), integers(op.bias), *state.interval(node))


def lower_linear(state: _Lowering, node: Node) -> Value:
    """Token-wise if the last axis is the channels; a convolution over the whole grid if it is the flattened population."""
    op = node.op
    assert isinstance(op, Linear)
    outputs, inputs = op.weight.shape
    first = state.values[node.inputs[0]]
    if isinstance(first, Levels):
        grid = Grid(first.grid.height, first.grid.width, outputs)
        index = first.index[..., :1] // first.grid.channels * outputs + np.arange(outputs)
        return encoded(state, node, grid, index, op.weight.T.reshape(1, 1, inputs, outputs), {})
    spikes = state.spikes(node)
    channels = spikes.grid.channels
    bounds = (integers(op.bias), *state.interval(node))
    if inputs == spikes.grid.size and spikes.grid.positions > 1:
        weight = np.empty_like(op.weight.T)
        weight[spikes.index.reshape(inputs)] = op.weight.T
        kernel = weight.reshape(spikes.grid.height, spikes.grid.width, channels, outputs)
        make = partial(Conv, **origin(node, spikes), weight=kernel)
        return Current((make,), Grid(1, 1, outputs), np.arange(outputs), *bounds)
    order = channel_order(node, spikes)
    weight = np.empty_like(op.weight.T)
    weight[order] = op.weight.T
    grid = Grid(spikes.grid.height, spikes.grid.width, outputs)
    index = spikes.index[..., :1] // channels * outputs + np.arange(outputs)
    make = partial(Dense, **origin(node, spikes), weight=np.ascontiguousarray(weight))
    return Current((make,), grid, index, *bounds)


def lower_pool(state: _Lowering, node: Node) -> Value:
    op, spikes = node.op, state.spikes(node)
    assert isinstance(op, SumPool)
    expect_layout(node, spikes, image_index(spikes.grid))
    channels, height, width = state.graph.types[node.name].shape
    grid = Grid(height, width, channels)
    make = partial(Pool, **origin(node, spikes), kernel=op.kernel, stride=op.stride, padding=op.padding)
    return Current((make,), grid, image_index(grid), None, *state.interval(node))


def lower_attention(state: _Lowering, node: Node) -> Value:
    """A product population: its payload is the integer ``q (k^T v)``."""
    op = node.op
    assert isinstance(op, Attention)
    parts = [state.values[name] for name in node.inputs]
    sources = []
    for name, part in zip(node.inputs, parts, strict=True):
        if not isinstance(part, Spikes) or len(part.sources) != 1 or state.populations[part.sources[0]].high != 1:
            raise UnsupportedError(
                f"attention {node.name!r}: operand {name!r} must be the spikes of one binary neuron layer"
            )
        if part.grid != parts[0].grid or not np.array_equal(part.index, parts[0].index):
            raise UnsupportedError(f"attention {node.name!r}: q, k and v differ in layout")
        channel_order(node, part, identity=True)
        sources.append(Source(part.sources[0]))
    first = parts[0]
    assert isinstance(first, Spikes)
    name = state.add_population(node.name, first.grid, Neuron(kind="product"), node.name, high=state.interval(node)[1])
    state.projections.append(
        Product(name=f"{name}.product", sources=tuple(sources), target=name, origin=node.name, heads=op.heads)
    )
    return Spikes((name,), first.grid, first.index)


def lower_add(state: _Lowering, node: Node) -> Value:
    """Currents of several layers add up in one population; spikes add up on shared axons."""
    parts = [state.values[name] for name in node.inputs]
    if all(isinstance(part, Spikes) for part in parts):
        return state.spikes(node)
    first = parts[0]
    if not all(
        isinstance(p, Current) and not p.encoded and p.grid == first.grid and np.array_equal(p.index, first.index)
        for p in parts
    ):
        raise UnsupportedError(
            f"node {node.name!r}: adds values that are not currents of one layout; put neurons before it"
        )
    currents = [p for p in parts if isinstance(p, Current)]
    biases = [c.bias for c in currents if c.bias is not None]
    assert isinstance(first, Current)
    return Current(
        tuple(make for c in currents for make in c.projections), first.grid, first.index,
        sum(biases[1:], biases[0]) if biases else None, *state.interval(node),
    )  # fmt: skip


def lower_layout(state: _Lowering, node: Node) -> Value:
    op, value = node.op, state.values[node.inputs[0]]
    if isinstance(op, Reshape):
        return replace(value, index=value.index.reshape(state.graph.types[node.name].shape))
    assert isinstance(op, Transpose)
    return replace(value, index=value.index.transpose(op.order))


def lower_requantise(state: _Lowering, node: Node) -> Value:
    op, value = node.op, state.values[node.inputs[0]]
    assert isinstance(op, Requantise)
    if not isinstance(value, Current) or not value.encoded:
        raise UnsupportedError(f"node {node.name!r}: only the first layer's current is requantised")
    (make,) = value.projections
    low, high = state.interval(node)
    finished = partial(make, multiplier=op.multiplier, down=op.shift)
    return replace(value, projections=(finished,), low=low, high=high)


def lower_neuron(state: _Lowering, node: Node) -> Value:
    op, value = node.op, state.values[node.inputs[0]]
    assert isinstance(op, NeuronOp)
    if isinstance(value, Spikes):  # attention products and relays: one-to-one
        low, high = (int(b) for b in (state.graph.types[node.inputs[0]].low, state.graph.types[node.inputs[0]].high))
        make = partial(Pool, **origin(node, value))
        value = Current((make,), value.grid, value.index, None, low, high)
    if isinstance(value, Levels):
        raise UnsupportedError(
            f"neuron {node.name!r}: reads the analog input directly; put a conv or linear layer before it"
        )
    demand = Demand(
        name=node.name, tau=op.tau, threshold=whole(node, op.threshold), fires=op.fires, reset=op.reset,
        low=value.low, high=value.high, timesteps=state.graph.timesteps,
    )  # fmt: skip
    rules = state.rules
    shifts = (
        range(rules.bias_shift_max + 1)
        if value.encoded
        else range(state.weights.shift_low, state.weights.shift_high + 1)
    )
    neuron, shift = neuron_registers(demand, rules, shifts)
    state.add_population(node.name, value.grid, neuron, node.name)
    state.projections.extend(make(target=node.name, shift=shift) for make in value.projections)
    if value.bias is not None and value.bias.any() and not value.encoded:
        weight, digit_shifts = bias_digits(value.bias, shift, state.weights, node.name)
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


def lower_readout(state: _Lowering, node: Node) -> Value:
    """Non-firing integrators; the grid is split into blocks until no membrane can clip."""
    op, spikes = node.op, state.spikes(node)
    assert isinstance(op, Readout)
    grid = spikes.grid
    outputs = len(op.weight)
    flat = np.moveaxis(spikes.index, op.positions, range(len(op.positions))).reshape(-1, op.weight.shape[1])
    weight: NDArray[np.int8]
    per_position = len(flat) == grid.positions
    if per_position:
        order = flat[0] % grid.channels
        if not np.array_equal(flat, flat[:, :1] // grid.channels * grid.channels + order):
            raise UnsupportedError(f"readout {node.name!r}: its positions are not those of the neurons before it")
        weight = np.empty_like(op.weight.T)
        weight[order] = op.weight.T
    else:
        weight = np.empty_like(op.weight.T)
        weight[flat.reshape(-1)] = op.weight.T
    high = sum(state.populations[name].high for name in spikes.sources)
    step = int(max(np.maximum(op.weight, 0).sum(1).max(), -np.minimum(op.weight, 0).sum(1).min()))
    shift = state.weights.shift_low
    top = ((1 << (state.rules.membrane_bits - 1)) - 1) >> shift
    blocks = split_blocks(grid, step * high * state.graph.timesteps, top, node.name) if per_position else (1, 1)
    target = state.add_population(node.name, Grid(*blocks, outputs), Neuron(kind="readout"), node.name)
    make: partial[Projection]
    if per_position:
        make = partial(Gather, **origin(node, spikes), weight=np.ascontiguousarray(weight))
    else:
        kernel = weight.reshape(grid.height, grid.width, grid.channels, outputs)
        make = partial(Conv, **origin(node, spikes), weight=kernel)
    state.projections.append(make(target=target, shift=shift))
    bias = tuple(float(b) for b in op.bias) if op.bias is not None else (0.0,) * outputs
    state.readout = ReadoutSpec(population=target, scale=op.scale / (1 << shift), divisor=op.divisor, bias=bias)
    return Spikes((target,), Grid(*blocks, outputs), np.arange(outputs))


def split_blocks(grid: Grid, bound: int, top: int, name: str) -> tuple[int, int]:
    """Smallest (rows, columns) of equal blocks such that ``bound`` per position times a block's positions fits ``top``."""
    rows = [n for n in range(1, grid.height + 1) if grid.height % n == 0]
    columns = [n for n in range(1, grid.width + 1) if grid.width % n == 0]
    fitting = [(r * c, r, c) for r in rows for c in columns if bound * (grid.positions // (r * c)) <= top]
    if not fitting:
        raise UnsupportedError(
            f"readout {name!r}: one position can add {bound} to a membrane that holds {top}; use fewer --weight-bits"
        )
    _, r, c = min(fitting)
    return r, c


def encoded(
    state: _Lowering,
    node: Node,
    grid: Grid,
    index: NDArray[np.int64],
    weight: NDArray[np.integer],
    geometry: dict[str, tuple[int, int]],
) -> Current:
    """The first layer on analog input: an integer convolution on the host."""
    op = node.op
    assert isinstance(op, Conv2d | Linear)
    if isinstance(op, Conv2d) and op.groups != 1:
        raise UnsupportedError(f"layer {node.name!r}: a grouped convolution on analog input has no encoder")
    bias = integers(op.bias)
    make = partial(
        Encoder, name=node.name, sources=(), origin=node.name, weight=weight.astype(np.int16),
        bias=np.zeros(grid.channels, np.int64) if bias is None else bias, **geometry,
    )  # fmt: skip
    return Current((make,), grid, index, None, *state.interval(node), encoded=True)


def origin(node: Node, spikes: Spikes) -> dict[str, object]:
    """Name, origin and sources of the projection made from ``node``."""
    return {
        "name": f"{node.name}.synapses",
        "origin": node.name,
        "sources": tuple(Source(s) for s in spikes.sources),
    }


def expect_layout(node: Node, spikes: Spikes, index: NDArray[np.int64]) -> None:
    """Refuse a windowed op whose input is not laid out as (C, H, W) over the population's own grid."""
    if spikes.index.shape != index.shape or not np.array_equal(spikes.index, index):
        raise UnsupportedError(
            f"node {node.name!r}: its input is a rearranged population; expected (C, H, W) = {index.shape} in place"
        )


def channel_order(node: Node, spikes: Spikes, identity: bool = False) -> NDArray[np.int64]:
    """Channel of each element of the last axis, which must be the same at every position."""
    channels = spikes.grid.channels
    rows = spikes.index.reshape(-1, spikes.index.shape[-1])
    order = rows[0] % channels
    aligned = rows.shape[-1] == channels and np.array_equal(rows, rows[:, :1] // channels * channels + order)
    if not aligned or (identity and not np.array_equal(order, np.arange(channels))):
        raise UnsupportedError(
            f"node {node.name!r}: the last axis of its input is not the channels of one position; found shape "
            f"{spikes.index.shape} over a grid {spikes.grid.height} x {spikes.grid.width} x {channels}"
        )
    return order


def integers(bias: NDArray[np.generic] | None) -> NDArray[np.int64] | None:
    """Bias as int64, or None."""
    return None if bias is None else bias.astype(np.int64)


def whole(node: Node, threshold: float) -> int:
    """A quantised threshold, which must be a whole number."""
    if threshold != int(threshold):
        raise UnsupportedError(
            f"neuron {node.name!r}: threshold {threshold} is not a whole number; run the quantise pass"
        )
    return int(threshold)


RULES: tuple[tuple[type[Op], Callable[[_Lowering, Node], Value]], ...] = (
    (Input, lower_input),
    (QuantiseInput, lower_quantise_input),
    (Conv2d, lower_conv),
    (Linear, lower_linear),
    (SumPool, lower_pool),
    (Attention, lower_attention),
    (Add, lower_add),
    (Reshape, lower_layout),
    (Transpose, lower_layout),
    (Requantise, lower_requantise),
    (NeuronOp, lower_neuron),
    (Readout, lower_readout),
)
"""Op -> lowering rule; the first match counts."""
