"""A product of spikes with a convolution of spikes (DSSA) as one op."""

from __future__ import annotations

from dataclasses import replace
from math import prod

import numpy as np
from numpy.typing import NDArray

from compiler.ir.graph import Graph, Node
from compiler.ir.ops import Affine, Conv2d, MatMul, Op, Reshape, Slice, Transpose, WeightedProduct
from compiler.passes.rewrite import Index, called, chain_back, layout_nodes, moved, spliced
from neurochip.errors import UnsupportedError

PARTS: tuple[type[Op], ...] = (Reshape, Transpose, Slice)
"""Ops that may stand between the convolution and the product: they move elements, or take some."""

REMEDY = (
    "dual spike self-attention (DSSA) needs spikes times a convolution of spikes that keeps the heads apart, "
    "with a neuron behind the product"
)


def fused_weighted(graph: Graph, product: Node) -> Graph | None:
    """``graph`` with ``product`` as a ``WeightedProduct``; None if it is no such product.

    A factor for each head behind it goes into the weights. Raises ``UnsupportedError`` for products of a convolution
    of spikes with spikes in layouts that the op has not.
    """
    op = product.op
    assert isinstance(op, MatMul)
    ends = [chain_back(graph, name, PARTS)[-1] for name in product.inputs]
    real = [isinstance(end.op, Conv2d) and not graph.type_of(end).integer for end in ends]
    if sum(real) != 1:
        return None
    place = real.index(True)
    weights, spikes = ends[place], ends[1 - place]
    if not graph.type_of(spikes).is_binary or not _reads_spikes(graph, weights):
        return None
    matrices = [_elements(graph, name) for name in product.inputs]
    matrices = [
        m.swapaxes(1, 2) if swap else m for m, swap in zip(matrices, (op.transpose_a, op.transpose_b), strict=True)
    ]
    if place == 1:  # (a b)^T = b^T a^T
        matrices = [m.swapaxes(1, 2) for m in matrices]
    y, z = matrices[place], matrices[1 - place]
    result = np.arange(y.shape[0] * y.shape[1] * z.shape[2]).reshape(y.shape[0], y.shape[1], z.shape[2])
    result = (result.swapaxes(1, 2) if place == 1 else result).reshape(graph.type_of(product).shape)
    made, last = _op(graph, product, weights, y), product
    scale = graph.sole_consumer(product.name)
    if scale is not None and (gains := _gain_of_heads(scale, y.shape[0], graph.type_of(product).shape)) is not None:
        made, last = _times(made, gains), scale
    index = z.reshape(-1, z.shape[2])
    layout = layout_nodes(graph, spikes.name, index, f"{product.name}.z", graph.type_of(spikes).shape)
    read = layout[-1].name if layout else spikes.name
    node = Node(product.name, made, (weights.inputs[0], read))
    behind = layout_nodes(graph, node.name, result, f"{product.name}.heads", (y.shape[0] * y.shape[1], z.shape[2]))
    nodes = [*layout, node, *behind]
    return spliced(graph, product.name, nodes, {last.name} - {product.name}, {last.name: nodes[-1].name})


def _reads_spikes(graph: Graph, conv: Node) -> bool:
    return len(conv.inputs) == 1 and graph.types[conv.inputs[0]].is_binary


def _elements(graph: Graph, name: str) -> Index:
    """(heads, rows, columns) of the operand ``name``: which element of the end of its chain each one is."""
    *links, end = chain_back(graph, name, PARTS)
    index: Index = np.arange(prod(graph.type_of(end).shape)).reshape(graph.type_of(end).shape)
    for link in reversed(links):
        if isinstance(link.op, Slice):
            taken = link.op.reference(index[None, None].astype(np.float64))[0, 0]
            index = taken.astype(np.int64)
        else:
            index = moved(link.op, index)
    return index.reshape(-1, *index.shape[-2:])


def _op(graph: Graph, product: Node, layer: Node, y: Index) -> WeightedProduct:
    """The op whose matrices are the elements ``y`` (heads, rows, columns) of the convolution ``layer``."""
    conv = layer.op
    assert isinstance(conv, Conv2d)
    _, rows, columns = graph.type_of(layer).shape
    channel, position = y // (rows * columns), y % (rows * columns)
    everywhere = np.arange(rows * columns)
    over_channels = y.shape[1] == len(everywhere) and bool((position == everywhere[:, None]).all())
    over_positions = y.shape[2] == len(everywhere) and bool((position == everywhere).all())
    channels = channel[:, 0, :] if over_channels else channel[:, :, 0]
    same = channel == (channels[:, None, :] if over_channels else channels[:, :, None])
    if not (over_channels or over_positions) or not same.all() or conv.groups != 1:
        raise UnsupportedError(
            f"{called(product)}: expected matrices of channels and positions of {called(layer)}, one of each head, "
            f"found {y.shape[1]} x {y.shape[2]} of {rows * columns} positions; {REMEDY}"
        )
    chosen = channels.ravel()
    return WeightedProduct(
        weight=conv.weight[chosen], bias=None if conv.bias is None else conv.bias[chosen], stride=conv.stride,
        padding=conv.padding, heads=len(y), over="channels" if over_channels else "positions",
    )  # fmt: skip


def _gain_of_heads(node: Node, heads: int, shape: tuple[int, ...]) -> NDArray[np.float64] | None:
    """Factors of the heads, (heads,), if ``node`` multiplies by such; all axes before the matrices are heads."""
    if not isinstance(node.op, Affine) or node.op.gain is None or node.op.offset is not None:
        return None
    gain = np.broadcast_to(node.op.gain.astype(np.float64), shape).reshape(heads, -1)
    return gain[:, 0] if bool((gain == gain[:, :1]).all()) else None


def _times(op: WeightedProduct, gains: NDArray[np.float64]) -> WeightedProduct:
    each = np.repeat(gains, len(op.weight) // len(gains))
    bias = None if op.bias is None else op.bias.astype(np.float64) * each
    return replace(op, weight=op.weight.astype(np.float64) * each[:, None, None, None], bias=bias)
