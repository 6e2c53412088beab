"""Readouts -> non-firing integrators whose membranes the host sums and scales."""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil

import numpy as np

from compiler.ir.graph import Node
from compiler.ir.ops.readout import Readout
from compiler.lower.state import Lowering
from compiler.lower.synapses import synapses_of
from compiler.lower.values import PENDING, Grid, Logits, Value
from compiler.passes.registers import readout_limit
from neurochip.errors import UnsupportedError
from neurochip.network.network import Neuron, ReadoutSpec
from neurochip.network.projections import Conv, Gather, Projection, Weights


@dataclass(frozen=True, slots=True, eq=False)
class Part:
    """One weight matrix into the readout, and the most that one step adds to a membrane, whichever way.

    ``grid``: positions that may be split over several integrators; None if each position has weights of its own.
    """

    projection: Projection
    bound: int
    grid: Grid | None


def lower_readout(state: Lowering, node: Node) -> Value:
    """Non-firing integrators; the grid is split into blocks until no membrane can clip."""
    if node.name in state.graph.outputs:
        lower_readouts(state, node, (node,))
    return Logits()


def lower_readouts(state: Lowering, output: Node, nodes: tuple[Node, ...]) -> None:
    """One population for the result ``output``, the sum of the readouts ``nodes``, which have one unit."""
    ops = [node.op for node in nodes if isinstance(node.op, Readout)]
    parts = [_part(state, node) for node in nodes]
    top = readout_limit(state.rules, state.graph.timesteps, state.weights.shift_low)
    blocks = _blocks(output.name, parts, state.graph.timesteps, top)
    outputs = len(ops[0].weight)
    target = state.add_population(output.name, Grid(*blocks, outputs), Neuron(kind="readout"), output.name)
    state.connect(target, (part.projection for part in parts), state.weights.shift_low)
    bias = np.sum([np.zeros(outputs), *(op.bias for op in ops if op.bias is not None)], axis=0)
    state.readout = ReadoutSpec(
        population=target,
        scale=ops[0].scale / (1 << state.weights.shift_low),
        divisor=ops[0].divisor,
        bias=tuple(bias.tolist()),
    )


def _part(state: Lowering, node: Node) -> Part:
    op, spikes = node.op, state.spikes(node)
    assert isinstance(op, Readout)
    grid = spikes.grid
    flat = np.moveaxis(spikes.index, op.positions, range(len(op.positions))).reshape(-1, op.weight.shape[1])
    name, sources, weight = synapses_of(node), spikes.shared(), np.empty_like(op.weight.T)
    high = sum(state.populations[source].high for source in spikes.sources)
    step = high * int(max(np.maximum(op.weight, 0).sum(1).max(), -np.minimum(op.weight, 0).sum(1).min()))
    if len(flat) != grid.positions:
        weight[flat.reshape(-1)] = op.weight.T
        kernel: Weights = weight.reshape(grid.height, grid.width, grid.channels, len(op.weight))
        return Part(Conv(name=name, sources=sources, target=PENDING, origin=node.name, weight=kernel), step, None)
    order = flat[0] % grid.channels
    if not np.array_equal(flat, flat[:, :1] // grid.channels * grid.channels + order):
        raise UnsupportedError(f"readout {node.name!r}: its positions are not those of the neurons before it")
    weight[order] = op.weight.T
    weight = np.ascontiguousarray(weight)
    gather = Gather(name=name, sources=sources, target=PENDING, origin=node.name, weight=weight)
    return Part(gather, step * grid.positions, grid)


MOST_POSITIONS = 16
"""Positions that one block of a readout adds up: more would make its core the slowest of every tick."""


def _blocks(name: str, parts: list[Part], timesteps: int, top: int) -> tuple[int, int]:
    """Fewest equal blocks (rows, columns) such that what all parts can add in all steps to one of them fits ``top``.

    No block has more than ``MOST_POSITIONS``.
    """
    grids = {part.grid for part in parts}
    total = sum(part.bound for part in parts) * timesteps
    grid = next(iter(grids)) if len(grids) == 1 else None
    rows = [n for n in range(1, grid.height + 1) if grid.height % n == 0] if grid else [1]
    columns = [n for n in range(1, grid.width + 1) if grid.width % n == 0] if grid else [1]
    fewest = ceil(grid.positions / MOST_POSITIONS) if grid else 1
    fitting = [(r * c, r, c) for r in rows for c in columns if total // (r * c) <= top and r * c >= fewest]
    if not fitting:
        raise UnsupportedError(
            f"readout {name!r}: {total // (rows[-1] * columns[-1])} can add up in a membrane that holds {top}; "
            "use fewer --weight-bits"
        )
    _, r, c = min(fitting)
    return r, c
