"""Weight layers and pools -> projections that wait for their population."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from compiler.ir.graph import Node
from compiler.ir.ops.conv import Conv2d
from compiler.ir.ops.linear import Linear
from compiler.ir.ops.pool import MaxPool, SumPool
from compiler.lower.state import Lowering
from compiler.lower.sums import gathered_linear
from compiler.lower.values import PENDING, Current, Grid, Index, Levels, Spikes, Sums, Value, image_index
from neurochip.errors import UnsupportedError
from neurochip.network.projections import Conv, Dense, Encoder, MaxConv, Pool, Projection


def lower_conv(state: Lowering, node: Node) -> Value:
    """A convolution of spikes, or the encoder if it reads the quantised input."""
    op = node.op
    assert isinstance(op, Conv2d)
    outputs, height, width = state.graph.types[node.name].shape
    grid = Grid(height, width, outputs)
    weight = np.ascontiguousarray(op.weight.transpose(2, 3, 1, 0))  # (kh, kw, I/g, O)
    first = state.values[node.inputs[0]]
    if isinstance(first, Levels):
        return encoded(state, node, grid, image_index(grid), weight, op.stride, op.padding)
    spikes = state.spikes(node)
    expect_layout(node, spikes, image_index(spikes.grid))
    name, sources = synapses_of(node), spikes.shared()
    projection: Projection
    if (*weight.shape[:2], *op.stride, op.groups) == (1, 1, 1, 1, 1) and op.padding == (0, 0):
        # lists of a Dense need no index
        projection = Dense(name=name, sources=sources, target=PENDING, origin=node.name, weight=weight[0, 0])
    else:
        projection = Conv(
            name=name, sources=sources, target=PENDING, origin=node.name, weight=weight, groups=op.groups,
            stride=op.stride, padding=op.padding,
        )  # fmt: skip
    return Current((projection,), grid, image_index(grid), integers(op.bias), *state.interval(node))


def lower_linear(state: Lowering, node: Node) -> Value:
    """Token-wise if the last axis is the channels; a convolution of the whole grid if it is the whole population."""
    op = node.op
    assert isinstance(op, Linear)
    outputs, inputs = op.weight.shape
    first = state.values[node.inputs[0]]
    if isinstance(first, Levels):
        grid = Grid(first.grid.height, first.grid.width, outputs)
        index = first.index[..., :1] // first.grid.channels * outputs + np.arange(outputs)
        return encoded(state, node, grid, index, op.weight.T.reshape(1, 1, inputs, outputs))
    if isinstance(first, Sums):
        return gathered_linear(state, node, first, integers(op.bias))
    spikes = state.spikes(node)
    channels = spikes.grid.channels
    bounds = (integers(op.bias), *state.interval(node))
    if inputs == spikes.grid.size and spikes.grid.positions > 1:
        weight = np.empty_like(op.weight.T)
        weight[spikes.index.reshape(inputs)] = op.weight.T
        kernel = weight.reshape(spikes.grid.height, spikes.grid.width, channels, outputs)
        full = Conv(name=synapses_of(node), sources=spikes.shared(), target=PENDING, origin=node.name, weight=kernel)
        return Current((full,), Grid(1, 1, outputs), np.arange(outputs), *bounds)
    order = channel_order(node, spikes)
    weight = np.empty_like(op.weight.T)
    weight[order] = op.weight.T
    grid = Grid(spikes.grid.height, spikes.grid.width, outputs)
    index = spikes.index[..., :1] // channels * outputs + np.arange(outputs)
    dense = Dense(
        name=synapses_of(node), sources=spikes.shared(), target=PENDING, origin=node.name,
        weight=np.ascontiguousarray(weight),
    )  # fmt: skip
    return Current((dense,), grid, index, *bounds)


def lower_pool(state: Lowering, node: Node) -> Value:
    """Sums over windows: synapses of weight one."""
    op, spikes = node.op, state.spikes(node)
    assert isinstance(op, SumPool)
    expect_layout(node, spikes, image_index(spikes.grid))
    channels, height, width = state.graph.types[node.name].shape
    grid = Grid(height, width, channels)
    pool = Pool(
        name=synapses_of(node), sources=spikes.shared(), target=PENDING, origin=node.name,
        kernel=op.kernel, stride=op.stride, padding=op.padding,
    )  # fmt: skip
    return Current((pool,), grid, image_index(grid), None, *state.interval(node))


def lower_max_pool(state: Lowering, node: Node) -> Value:
    """Maxima of currents: in the host's encoder, or in dendrites that join."""
    op, value = node.op, state.values[node.inputs[0]]
    assert isinstance(op, MaxPool)
    if not isinstance(value, Current) or len(value.projections) != 1:
        raise UnsupportedError(f"node {node.name!r}: takes maxima of what is no current of one layer; pool its parts")
    expect_layout(node, value, image_index(value.grid))
    (link,) = value.projections
    joined: Projection
    if isinstance(link, Encoder):
        joined = replace(link, pool_kernel=op.kernel, pool_stride=op.stride, pool_padding=op.padding)
    elif isinstance(link, Conv | Dense) and state.dendrites:
        joined = _joined(link, op)
    else:
        raise UnsupportedError(f"node {node.name!r}: this chip has no dendrites that join by their maximum; use T = 1")
    channels, height, width = state.graph.types[node.name].shape
    grid = Grid(height, width, channels)
    low, high = state.interval(node)
    return replace(value, projections=(joined,), grid=grid, index=image_index(grid), low=low, high=high)


def _joined(link: Conv | Dense, pool: MaxPool) -> MaxConv:
    """``link`` with the windows of maxima of ``pool`` behind it; a Dense is a convolution of 1 x 1."""
    if isinstance(link, Dense):
        weight = link.weight[None, None]
        link = Conv(name=link.name, sources=link.sources, target=PENDING, origin=link.origin, weight=weight)
    return MaxConv(
        name=link.name, sources=link.sources, target=PENDING, origin=link.origin, weight=link.weight,
        stride=link.stride, padding=link.padding, groups=link.groups,
        pool_kernel=pool.kernel, pool_stride=pool.stride, pool_padding=pool.padding,
    )  # fmt: skip


def encoded(
    state: Lowering,
    node: Node,
    grid: Grid,
    index: Index,
    weight: NDArray[np.integer],
    stride: tuple[int, int] = (1, 1),
    padding: tuple[int, int] = (0, 0),
) -> Current:
    """The first layer on analog input: an integer convolution on the host; ``lower_requantise`` completes it."""
    op = node.op
    assert isinstance(op, Conv2d | Linear)
    if isinstance(op, Conv2d) and op.groups != 1:
        raise UnsupportedError(f"layer {node.name!r}: a grouped convolution on analog input has no encoder")
    bias = integers(op.bias)
    encoder = Encoder(
        name=node.name, sources=(), target=PENDING, origin=node.name, weight=weight.astype(np.int16),
        bias=np.zeros(grid.channels, np.int64) if bias is None else bias, multiplier=1, down=1,
        stride=stride, padding=padding,
    )  # fmt: skip
    return Current((encoder,), grid, index, None, *state.interval(node), encoded=True)


def synapses_of(node: Node) -> str:
    """Name of the projection made from ``node``."""
    return f"{node.name}.synapses"


def expect_layout(node: Node, spikes: Spikes | Current, index: NDArray[np.int64]) -> None:
    """Refuse a windowed op whose input is not laid out as (C, H, W) over the population's own grid."""
    if spikes.index.shape != index.shape or not np.array_equal(spikes.index, index):
        raise UnsupportedError(
            f"{node.op.mnemonic} {node.name!r}: its windows cross a rearranged population; expected the neurons' own "
            f"(C, H, W) in place, found windows on {index.shape}; pool or convolve images, not tokens by channels"
        )


def channel_order(node: Node, spikes: Spikes, identity: bool = False) -> NDArray[np.int64]:
    """Channel of each element of the last axis, which must be the same at every position."""
    channels = spikes.grid.channels
    rows = spikes.index.reshape(-1, spikes.index.shape[-1])
    order: Index = rows[0] % channels
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
