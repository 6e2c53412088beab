"""Readout -> non-firing integrators whose membranes the host sums and scales."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from compiler.ir.graph import Node
from compiler.ir.ops.readout import Readout
from compiler.lower.state import Lowering
from compiler.lower.synapses import synapses_of
from compiler.lower.values import Grid, Spikes, Value
from neurochip.errors import UnsupportedError
from neurochip.network.network import Neuron, ReadoutSpec
from neurochip.network.projections import Conv, Gather


def lower_readout(state: Lowering, node: Node) -> Value:
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
    name, sources = synapses_of(node), spikes.shared()
    if per_position:
        weight = np.ascontiguousarray(weight)
        state.projections.append(
            Gather(name=name, sources=sources, target=target, origin=node.name, shift=shift, weight=weight)
        )
    else:
        kernel = weight.reshape(grid.height, grid.width, grid.channels, outputs)
        state.projections.append(
            Conv(name=name, sources=sources, target=target, origin=node.name, shift=shift, weight=kernel)
        )
    bias = tuple(float(b) for b in op.bias) if op.bias is not None else (0.0,) * outputs
    state.readout = ReadoutSpec(population=target, scale=op.scale / (1 << shift), divisor=op.divisor, bias=bias)
    return Spikes((target,), Grid(*blocks, outputs), np.arange(outputs))


def split_blocks(grid: Grid, bound: int, top: int, name: str) -> tuple[int, int]:
    """Fewest equal blocks (rows, columns) such that ``bound`` per position times a block's positions fits ``top``."""
    rows = [n for n in range(1, grid.height + 1) if grid.height % n == 0]
    columns = [n for n in range(1, grid.width + 1) if grid.width % n == 0]
    fitting = [(r * c, r, c) for r in rows for c in columns if bound * (grid.positions // (r * c)) <= top]
    if not fitting:
        raise UnsupportedError(
            f"readout {name!r}: one position can add {bound} to a membrane that holds {top}; use fewer --weight-bits"
        )
    _, r, c = min(fitting)
    return r, c
