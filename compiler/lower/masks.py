"""Masks -> populations of logic neurons: AND fires on two inputs of two, AND NOT on the first alone."""

from __future__ import annotations

from typing import Any

import numpy as np

from compiler.ir.graph import Node
from compiler.ir.ops.mask import AndNot, Mul
from compiler.lower.state import Lowering
from compiler.lower.values import Index, Spikes, Value
from compiler.passes.registers import Demand, neuron_registers
from neurochip.errors import UnsupportedError
from neurochip.network.projections import Conv, Dense, Pool, Projection


def lower_mask(state: Lowering, node: Node) -> Value:
    """``Mul`` and ``AndNot`` of binary spikes: neurons without memory, one for each element of the result.

    AND: both weights 1, threshold 2. AND NOT: weights 1 and -1, threshold 1. An operand with axes of size 1 reaches
    every neuron that repeats it. Raises ``UnsupportedError`` for operands that are no spikes of one neuron each.
    """
    op = node.op
    assert isinstance(op, Mul | AndNot)
    a, b = (_operand(state, node, name) for name in node.inputs)
    if isinstance(op, Mul) and a.sources == b.sources and np.array_equal(a.index, b.index):
        return a  # s and s is s
    shape = state.graph.types[node.name].shape
    main = next((x for x in (a, b) if x.index.shape == shape and x.index.size == x.grid.size), None)
    if main is None:
        raise UnsupportedError(
            f"{op.mnemonic} {node.name!r}: repeats both operands, so that no neuron of them stands for one element of "
            "the result; repeat one of them only"
        )
    negative = -1 if isinstance(op, AndNot) else 1
    links = [
        _link(node, f"{node.name}.{letter}", x, _seen(main, np.broadcast_to(x.index, shape)), main, weight)
        for letter, x, weight in (("a", a, 1), ("b", b, negative))
    ]
    demand = Demand(
        name=node.name, tau=1.0, threshold=1 if negative < 0 else 2, fires="ge", reset="hard",
        low=min(negative, 0), high=1 if negative < 0 else 2, timesteps=state.graph.timesteps,
    )  # fmt: skip
    neuron, shift = neuron_registers(demand, state.rules, state.shifts())
    state.add_population(node.name, main.grid, neuron, node.name)
    state.connect(node.name, links, shift)
    return Spikes((node.name,), main.grid, main.index)


def _operand(state: Lowering, node: Node, name: str) -> Spikes:
    value, kind = state.values[name], state.graph.types[name]
    if not isinstance(value, Spikes) or not kind.is_binary or len(value.sources) != 1:
        raise UnsupportedError(
            f"{node.op.mnemonic} {node.name!r}: expected binary spikes of one neuron layer as {name!r}, got {kind}; "
            "only spikes can be masked or mask others: put a neuron behind it"
        )
    return value


def _seen(main: Spikes, index: Index) -> Index:
    """For each neuron of the result the neuron of the operand that it reads."""
    seen = np.empty(main.grid.size, np.int64)
    seen[main.index.ravel()] = index.ravel()
    return seen


def _link(node: Node, name: str, operand: Spikes, seen: Index, main: Spikes, weight: int) -> Projection:
    """Synapses of ``weight`` from ``operand`` to the neurons of ``main``'s grid, neuron i from neuron ``seen[i]``."""
    grid, source = main.grid, operand.grid
    ids = np.arange(grid.size)
    position, channel = ids // grid.channels, ids % grid.channels
    common: dict[str, Any] = {"name": name, "sources": operand.shared(), "target": node.name, "origin": node.name}
    if source == grid and np.array_equal(seen, ids):
        return Pool(**common, weight=weight)
    heads = seen[: grid.channels] % source.channels
    reach = (grid.height, grid.width)
    around = (reach[0] - 1, reach[1] - 1)  # every window holds the only position
    if source.positions == 1 and source.channels == grid.channels and np.array_equal(seen, channel):
        return Pool(**common, weight=weight, kernel=reach, padding=around)
    if source.positions == 1 and np.array_equal(seen, heads[channel]):
        taps = np.zeros((*reach, source.channels, grid.channels), np.int8)
        taps[:, :, heads, np.arange(grid.channels)] = weight
        return Conv(**common, weight=taps, padding=around, counted=False)
    same_place = (source.height, source.width) == (grid.height, grid.width)
    if same_place and np.array_equal(seen, position * source.channels + heads[channel]):
        matrix = np.zeros((source.channels, grid.channels), np.int8)
        matrix[heads, np.arange(grid.channels)] = weight
        return Dense(**common, weight=matrix, counted=False)
    raise UnsupportedError(
        f"{node.op.mnemonic} {node.name!r}: operands on grids of {grid.height} x {grid.width} x {grid.channels} "
        f"and {source.height} x {source.width} x {source.channels} neurons in orders that no synapses match; "
        "mask neurons of the same tokens, or repeat over all tokens or the channels of a head"
    )
