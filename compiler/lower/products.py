"""Products of spikes with weighted sums of spikes (DSSA) -> product populations on embedded processors."""

from __future__ import annotations

import numpy as np

from compiler.ir.graph import Node
from compiler.ir.ops.weighted_product import WeightedProduct
from compiler.lower.state import Lowering
from compiler.lower.synapses import expect_layout, integers
from compiler.lower.values import Grid, Spikes, Value, image_index
from neurochip.errors import UnsupportedError
from neurochip.network.network import Neuron
from neurochip.network.projections import Gated, Matrix, Source, narrowest


def lower_weighted_product(state: Lowering, node: Node) -> Value:
    """A product population at the positions of z; its signed payload is the integer sum of the gated rows."""
    op = node.op
    assert isinstance(op, WeightedProduct)
    x, z = (_spikes(state, node, name) for name in node.inputs)
    expect_layout(node, x, image_index(x.grid))
    rows = z.index.shape[0]
    places = z.index[0] // rows
    if rows != z.grid.channels or not np.array_equal(z.index, places * rows + np.arange(rows)[:, None]):
        raise UnsupportedError(
            f"{op.mnemonic} {node.name!r}: operand {node.inputs[1]!r} must show the channels of each position of one "
            f"layer in order, found {z.index.shape} of {z.grid.height} x {z.grid.width} x {z.grid.channels}"
        )
    grid = Grid(z.grid.height, z.grid.width, state.graph.types[node.name].shape[0])
    low, high = state.interval(node)
    name = state.add_population(
        node.name, grid, Neuron(kind="product"), node.name, high=max(high, -low, 1), signed=low < 0
    )
    weight = np.ascontiguousarray(narrowest(op.weight.transpose(2, 3, 1, 0)))
    bias = integers(op.bias)
    state.projections += [
        Matrix(
            name=f"{name}.matrix", sources=(Source(x.sources[0]),), target=name, origin=node.name, weight=weight,
            bias=np.zeros(weight.shape[-1], np.int32) if bias is None else bias.astype(np.int32),
            stride=op.stride, padding=op.padding,
        ),
        Gated(
            name=f"{name}.gated", sources=(Source(z.sources[0]),), target=name, origin=node.name, heads=op.heads,
            over=op.over,
        ),
    ]  # fmt: skip
    return Spikes((name,), grid, places * grid.channels + np.arange(grid.channels)[:, None])


def _spikes(state: Lowering, node: Node, name: str) -> Spikes:
    part = state.values[name]
    if not isinstance(part, Spikes) or len(part.sources) != 1 or state.populations[part.sources[0]].high != 1:
        raise UnsupportedError(
            f"{node.op.mnemonic} {node.name!r}: operand {name!r} must be the spikes of one binary neuron layer"
        )
    return part
