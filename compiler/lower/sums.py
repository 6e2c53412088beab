"""Sums of spikes over tokens, over channels or over both -> synapses of weight one."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from compiler.ir.graph import Node
from compiler.ir.ops.elementwise import Scale
from compiler.ir.ops.linear import Linear
from compiler.ir.ops.reduce import Sum
from compiler.lower.state import Lowering
from compiler.lower.values import PENDING, Current, Grid, Index, Spikes, Sums, Value
from neurochip.errors import UnsupportedError
from neurochip.network.projections import Dense, Gather, MaxConv, Pool, Projection, Source, narrowest


def lower_sum(state: Lowering, node: Node) -> Value:
    """A sum keeps the neurons it adds up until the op that reads it says with which synapses."""
    op, value = node.op, state.values[node.inputs[0]]
    assert isinstance(op, Sum)
    if isinstance(value, Current) and all(isinstance(p, MaxConv) for p in value.projections):
        return _summed_maxima(state, node, value)
    if not isinstance(value, Spikes | Sums):
        raise UnsupportedError(f"node {node.name!r}: adds up real values; put a neuron or a weight layer before it")
    index = value.index if isinstance(value, Sums) else value.index[..., None]
    kept = [axis for axis in range(index.ndim - 1) if axis not in op.axes]
    members = index.transpose(*kept, *op.axes, index.ndim - 1)
    return Sums(value.sources, value.grid, members.reshape(*state.graph.types[node.name].shape, -1))


def lower_scale(state: Lowering, node: Node) -> Value:
    """A whole gain on spikes or their sums: the weight of their synapses."""
    op, value = node.op, state.values[node.inputs[0]]
    assert isinstance(op, Scale)
    gain = int(op.factor)
    if isinstance(value, Spikes):
        link = Pool(name=f"{node.name}.synapses", sources=value.shared(), target=PENDING, origin=node.name)
        value = Current((link,), value.grid, value.index, None, 0, 0)
    if isinstance(value, Sums):
        value = summed_current(state, node, value)
    if not isinstance(value, Current) or gain != op.factor or len(value.projections) != 1:
        raise UnsupportedError(f"node {node.name!r}: expected a whole gain on sums of spikes, got {op.factor:g}")
    (unit,) = value.projections
    assert isinstance(unit, Pool | Dense | Gather)
    low, high = state.interval(node)
    return replace(value, projections=(_times(unit, gain),), low=low, high=high)


def _times(unit: Pool | Dense | Gather, gain: int) -> Projection:
    if isinstance(unit, Pool):
        return replace(unit, weight=unit.weight * gain)
    return replace(unit, weight=narrowest(unit.weight.astype(np.int64) * gain))


def _summed_maxima(state: Lowering, node: Node, value: Current) -> Current:
    """Maxima at all positions, added up by dendrites of one neuron a channel."""
    op, grid = node.op, value.grid
    assert isinstance(op, Sum)
    kept = [axis for axis in range(value.index.ndim) if axis not in op.axes]
    shape = state.graph.types[node.name].shape
    ids = value.index.transpose(*kept, *op.axes).reshape(int(np.prod(shape)), -1)
    channel = ids[:, 0] % grid.channels
    everywhere = np.arange(grid.positions) * grid.channels + channel[:, None]
    if ids.shape != (grid.channels, grid.positions) or not np.array_equal(np.sort(ids, axis=1), everywhere):
        raise UnsupportedError(_refusal(node, grid))
    bias = None if value.bias is None else value.bias * grid.positions
    grid = Grid(1, 1, grid.channels)
    return Current(value.projections, grid, channel.reshape(shape), bias, *state.interval(node))


def summed_current(state: Lowering, node: Node, value: Sums) -> Current:
    """The current of neurons that read ``value``, one neuron an element.

    Over every position of one channel: a pool as large as the grid. Over channels of one position: a 0/1 matrix. Over
    channels of every position: the same matrix, gathered. Raises ``UnsupportedError`` for other sums.
    """
    grid, shape = value.grid, value.index.shape[:-1]
    ids = value.index.reshape(-1, value.index.shape[-1])
    channels, places = _distinct(ids % grid.channels), _distinct(ids // grid.channels)
    low, high = (int(b) for b in (state.graph.types[node.inputs[0]].low, state.graph.types[node.inputs[0]].high))
    name, sources = f"{node.name}.synapses", tuple(Source(s) for s in value.sources)
    if channels is None or places is None or channels.shape[1] * places.shape[1] != ids.shape[1]:
        raise UnsupportedError(_refusal(node, grid))
    projection: Projection
    if places.shape[1] == grid.positions:
        if channels.shape[1] == 1 and len(ids) == grid.channels:
            whole = (grid.height, grid.width)
            projection = Pool(name=name, sources=sources, target=PENDING, origin=node.name, kernel=whole, stride=whole)
            return Current((projection,), Grid(1, 1, grid.channels), channels.reshape(shape), None, low, high)
        weight = _matrix(channels, grid.channels)
        projection = Gather(name=name, sources=sources, target=PENDING, origin=node.name, weight=weight, counted=False)
        index = np.arange(len(ids)).reshape(shape)
        return Current((projection,), Grid(1, 1, len(ids)), index, None, low, high)
    if places.shape[1] == 1:
        groups, group = np.unique(channels, axis=0, return_inverse=True)
        index = places[:, 0] * len(groups) + group.ravel()
        if np.array_equal(np.sort(index), np.arange(grid.positions * len(groups))):
            weight = _matrix(groups, grid.channels)
            projection = Dense(
                name=name, sources=sources, target=PENDING, origin=node.name, weight=weight, counted=False
            )
            target = Grid(grid.height, grid.width, len(groups))
            return Current((projection,), target, index.reshape(shape), None, low, high)
    raise UnsupportedError(_refusal(node, grid))


def gathered_linear(state: Lowering, node: Node, value: Sums, bias: NDArray[np.int64] | None) -> Current:
    """A matrix on the sums of every channel over all positions."""
    op, grid = node.op, value.grid
    assert isinstance(op, Linear)
    ids = value.index.reshape(-1, value.index.shape[-1])
    order = ids[:, 0] % grid.channels
    everywhere = np.sort(ids, axis=1) == np.arange(grid.positions) * grid.channels + order[:, None]
    if ids.shape != (grid.channels, grid.positions) or not everywhere.all() or op.weight.shape[1] != grid.channels:
        raise UnsupportedError(_refusal(node, grid))
    weight = np.empty_like(op.weight.T)
    weight[order] = op.weight.T
    gather = Gather(
        name=f"{node.name}.synapses", sources=tuple(Source(s) for s in value.sources), target=PENDING,
        origin=node.name, weight=np.ascontiguousarray(weight),
    )  # fmt: skip
    outputs = len(op.weight)
    index = np.arange(outputs).reshape(state.graph.types[node.name].shape)
    return Current((gather,), Grid(1, 1, outputs), index, bias, *state.interval(node))


def _distinct(rows: Index) -> Index | None:
    """The sorted distinct values of each row, (rows, n); None if their numbers differ."""
    ordered = np.sort(rows, axis=1)
    first = np.concatenate([np.ones((len(rows), 1), bool), ordered[:, 1:] != ordered[:, :-1]], axis=1)
    counts = first.sum(axis=1)
    return ordered[first].reshape(len(rows), -1) if (counts == counts[0]).all() else None


def _matrix(groups: Index, channels: int) -> NDArray[np.int8]:
    """(channels, groups) int8: 1 where a channel belongs to a group."""
    weight = np.zeros((channels, len(groups)), np.int8)
    np.put_along_axis(weight, groups.T, 1, axis=0)
    return weight


def _refusal(node: Node, grid: Grid) -> str:
    return (
        f"node {node.name!r}: sums over parts of a grid of {grid.height} x {grid.width} x {grid.channels} neurons "
        "that are neither all positions of a channel nor channels of one position; sum over whole axes"
    )
