"""Linear ops with no neuron between them as one weight layer."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np

from compiler.ir.graph import Graph, Node
from compiler.ir.ops import AvgPool, Conv2d, Floats, Linear, MaxPool, Mean, Op, Reshape, Sum, SumPool, TimeMean
from compiler.passes.rewrite import LAYOUT, Index, called, chain_back, layout_index, moved, spliced
from compiler.passes.target import Target
from neurochip.errors import UnsupportedError

SECOND: tuple[type[Op], ...] = (Conv2d, Linear, AvgPool, SumPool, Mean, Sum)
"""Ops that may be merged into the weight layer whose currents they read."""


@dataclass(frozen=True, slots=True)
class MergeLinear:
    """Merge what stands between two neurons, or behind the last ones, into one weight layer of spikes.

    - A convolution or pool behind a convolution (RepConv, SepConv, shortcuts): one convolution, if its padding sees
      zeros where the merged one does: if the second op has no padding, or the first has kernel 1 and no bias.
    - A matrix behind a matrix: their product, also with a mean over time between them.
    - The mean or sum over all positions behind a matrix or a convolution of kernel 1: that layer on sums of spikes;
      behind another convolution: a matrix on all of its input, each weight the sum of the taps that see that input.
    - The mean over all positions behind a maximum of currents: the sum of maxima, the divisor in the weights.

    The first layer stays for others that read it.

    Requires: residuals are lowered, so that chains do not branch.
    Ensures: of what is listed above nothing reads a weight layer any more; outputs equal to rtol 1e-9.
    Source: linearity; Ding et al. 2021, "RepVGG", arXiv:2101.03697, for convolutions in a row.
    """

    name: ClassVar[str] = "merge-linear"

    def run(self, graph: Graph, target: Target) -> Graph:
        """Raises UnsupportedError where the border of an image would see something else than before."""
        for name in [node.name for node in graph.of_type(*SECOND)]:
            graph = _merged(graph, graph.node(name)).without_dead_nodes()
        return graph


def _merged(graph: Graph, second: Node) -> Graph:
    if len(second.inputs) != 1:
        return graph
    between = (*LAYOUT, TimeMean) if isinstance(second.op, Linear) else LAYOUT
    *links, first = chain_back(graph, second.inputs[0], between)
    if isinstance(second.op, Mean | Sum):
        return _over_positions(graph, second, first)
    if isinstance(second.op, Linear):
        return _product(graph, second, first, tuple(links)) if isinstance(first.op, Linear) else graph
    if not isinstance(first.op, Conv2d) or not _in_place(graph, first, second.inputs[0]):
        return graph
    return graph.replace_nodes({second.name: (Node(second.name, composed(first, second), first.inputs),)})


def composed(first: Node, second: Node) -> Conv2d:
    """The convolution that does what ``second``, a convolution or a pool of sums or means, does behind ``first``."""
    a, b = first.op, second.op
    assert isinstance(a, Conv2d)
    if isinstance(b, AvgPool | SumPool):
        share = 1 / b.window if isinstance(b, AvgPool) else 1.0
        weight = np.full((len(a.weight), 1, *b.kernel), share)
        b = Conv2d(weight=weight, stride=b.stride, padding=b.padding, groups=len(weight))
    assert isinstance(b, Conv2d)
    biased = a.bias is not None and bool(a.bias.any())
    if b.padding != (0, 0) and (biased or a.kernel != (1, 1) or a.padding != (0, 0)):
        raise UnsupportedError(
            f"{called(second)}: follows {called(first)} without a neuron between them, and its padding shows zeros "
            f"where one merged layer would see what {called(first)} gives beyond the border; "
            "leave out the padding, or put a neuron between them"
        )
    bias = None if b.bias is None else b.bias.astype(np.float64)
    if biased:
        constant = (_dense(b).sum(axis=(2, 3)) @ np.asarray(a.bias, np.float64)).astype(np.float64)
        bias = constant if bias is None else bias + constant
    weight, groups = _taps(a, b)
    return Conv2d(
        weight=weight, bias=bias, groups=groups,
        stride=(a.stride[0] * b.stride[0], a.stride[1] * b.stride[1]),
        padding=(a.padding[0] + b.padding[0] * a.stride[0], a.padding[1] + b.padding[1] * a.stride[1]),
    )  # fmt: skip


def _taps(a: Conv2d, b: Conv2d) -> tuple[Floats, int]:
    """Weight and groups of b behind a; layers that work channel by channel keep the groups of the other."""
    first, second = (op.weight.astype(np.float64, copy=False) for op in (a, b))
    left, right = first[..., None, None], second[:, :, None, None]
    if b.groups == len(second) == len(first):
        groups = a.groups
    elif a.groups == len(first) and first.shape[1] == 1 and second.shape[1] * b.groups == len(first):
        groups = b.groups
        left = left.reshape(groups, second.shape[1], *left.shape[2:])
        left = left if groups == 1 else left[np.arange(len(second)) // (len(second) // groups)]
    else:
        groups = 1
        left = np.einsum("miyx,omvw->oiyxvw", _dense(a), _dense(b), optimize=True)
        right = np.ones((1, 1, 1, 1, *b.kernel))
    (kh, kw), (sy, sx) = a.kernel, a.stride
    channels = np.broadcast_shapes(left.shape[:2], right.shape[:2])
    weight = np.zeros((*channels, kh + (b.kernel[0] - 1) * sy, kw + (b.kernel[1] - 1) * sx))
    left = np.broadcast_to(left, (*left.shape[:4], *b.kernel))
    for v, w in np.ndindex(b.kernel):
        weight[:, :, v * sy : v * sy + kh, w * sx : w * sx + kw] += left[..., v, w] * right[..., v, w]
    return weight, groups


def _dense(op: Conv2d) -> Floats:
    """The weight without groups, (O, I, kh, kw)."""
    if op.groups == 1:
        return op.weight.astype(np.float64, copy=False)
    outputs, per_in = op.weight.shape[:2]
    per_out = outputs // op.groups
    weight = np.zeros((outputs, per_in * op.groups, *op.kernel))
    for g in range(op.groups):
        rows = slice(g * per_out, (g + 1) * per_out)
        weight[rows, g * per_in : (g + 1) * per_in] = op.weight[rows]
    return weight


def _product(graph: Graph, second: Node, first: Node, links: tuple[Node, ...]) -> Graph:
    """A matrix behind a matrix; means over time between them come after both."""
    a, b = first.op, second.op
    assert isinstance(a, Linear)
    assert isinstance(b, Linear)
    shape = graph.type_of(first).shape
    index = np.arange(graph.type_of(first).size).reshape(shape)
    for node in reversed(links):
        index = index if isinstance(node.op, TimeMean) else moved(node.op, index)
    rows = index.reshape(-1, index.shape[-1])
    order = rows[0] % shape[-1]
    if rows.shape[1] != shape[-1] or not np.array_equal(rows, np.arange(len(rows))[:, None] * shape[-1] + order):
        return graph
    weight = b.weight.astype(np.float64) @ a.weight.astype(np.float64)[order]
    bias = None if b.bias is None else b.bias.astype(np.float64)
    if a.bias is not None:
        constant = b.weight.astype(np.float64) @ a.bias.astype(np.float64)[order]
        bias = constant if bias is None else bias + constant
    ops: list[Op] = [Linear(weight=weight, bias=bias)]
    result = graph.type_of(second).shape
    ops += [Reshape(shape=result)] if result != (*shape[:-1], len(weight)) else []
    ops += [node.op for node in links if isinstance(node.op, TimeMean)]
    return _replaced(graph, second, first.inputs, ops)


def _over_positions(graph: Graph, second: Node, first: Node) -> Graph:
    """A mean or sum over all positions behind a weight layer or a maximum of currents."""
    if not isinstance(first.op, Conv2d | Linear | MaxPool) or graph.type_of(first).is_counts:
        return graph
    order = _channel_sums(graph, second, first)
    if order is None:
        return graph
    positions = graph.type_of(first).size // len(order)
    share = 1 / positions if isinstance(second.op, Mean) else 1.0
    if isinstance(first.op, MaxPool):
        return _sum_of_maxima(graph, second, first, share)
    op = first.op
    bias = None if op.bias is None else op.bias[order].astype(np.float64) * share * positions
    inputs: list[Node] = []
    if isinstance(op, Linear) or (op.kernel == (1, 1) and op.padding == (0, 0) and op.stride == (1, 1)):
        axes = tuple(range(len(graph.type_of(first).shape) - 1)) if isinstance(op, Linear) else (1, 2)
        weight = op.weight.astype(np.float64) if isinstance(op, Linear) else _dense(op)[:, :, 0, 0]
        weight = weight[order] * share
        step: Op = Sum(axes=axes)
    else:
        weight = _seen_everywhere(op, order, graph.input_types(first)[0].shape, graph.type_of(first).shape)
        weight *= share  # in place: the largest weights of all
        step = Reshape(shape=(weight.shape[1],))
    for i, name in enumerate(first.inputs):
        inputs.append(Node(graph.fresh_name(f"{second.name}.{step.mnemonic}{i + 1}"), step, (name,)))
    ops: list[Op] = [Linear(weight=weight, bias=bias)]
    result = graph.type_of(second).shape
    ops += [Reshape(shape=result)] if result != (len(order),) else []
    return _replaced(graph, second, tuple(node.name for node in inputs), ops, inputs)


def _channel_sums(graph: Graph, second: Node, first: Node) -> Index | None:
    """The channel that each element of ``second`` adds up over all positions of ``first``; None if it does not."""
    assert isinstance(second.op, Mean | Sum)
    index, kind = layout_index(graph, first, second.inputs[0]), graph.type_of(first)
    axes = second.op.axes
    members = index.transpose(*(axis for axis in range(index.ndim) if axis not in axes), *axes)
    rows = members.reshape(graph.type_of(second).size, -1)
    channels = kind.shape[-1] if isinstance(first.op, Linear) else kind.shape[0]
    channel = rows % channels if isinstance(first.op, Linear) else rows // (kind.size // channels)
    whole = rows.shape[1] * channels == kind.size and (channel == channel[:, :1]).all()
    return channel[:, 0] if whole else None


def _seen_everywhere(op: Conv2d, order: Index, shape: tuple[int, ...], result: tuple[int, ...]) -> Floats:
    """(O, I * H * W): the sum over all positions of channels ``order`` of a convolution, as a matrix on its flattened
    input. Few of its taps differ, as only those near the border are seen less often.
    """
    inside, which = [], []
    for size, outputs, kernel, stride, padding in zip(
        shape[1:], result[1:], op.kernel, op.stride, op.padding, strict=True
    ):
        at = np.arange(size)[:, None] + padding - np.arange(kernel)  # stride times the output whose tap sees it
        seen = (at % stride == 0) & (at >= 0) & (at // stride < outputs)
        distinct, place = np.unique(seen, axis=0, return_inverse=True)
        inside.append(distinct.astype(np.float64))
        which.append(place.ravel())
    weight: Floats = np.einsum("oiab,ya,xb->oiyx", _dense(op)[order], *inside, optimize=True)
    for axis, place in enumerate(which):
        weight = weight.take(place, axis=2 + axis)
    return weight.reshape(len(weight), -1)


def _sum_of_maxima(graph: Graph, second: Node, pool: Node, share: float) -> Graph:
    """A mean of maxima as a sum of maxima of smaller currents."""
    *links, conv = chain_back(graph, pool.inputs[0], LAYOUT)
    if share == 1 or links or not isinstance(conv.op, Conv2d):
        return graph
    bias = None if conv.op.bias is None else conv.op.bias.astype(np.float64) * share
    small = replace(conv.op, weight=conv.op.weight.astype(np.float64) * share, bias=bias)
    layouts = [node.op for node in reversed(chain_back(graph, second.inputs[0], LAYOUT)[:-1])]
    assert isinstance(second.op, Mean)
    return _replaced(graph, second, conv.inputs, [small, pool.op, *layouts, Sum(axes=second.op.axes)])


def _replaced(
    graph: Graph, second: Node, inputs: tuple[str, ...], ops: list[Op], before: list[Node] | None = None
) -> Graph:
    """``before``, then a chain of ``ops`` that starts from ``inputs`` and ends in a node called as ``second``."""
    nodes = list(before or ())
    for op in ops:
        last = op is ops[-1]
        name = second.name if last else graph.fresh_name(f"{second.name}.{op.mnemonic}")
        nodes.append(Node(name, op, inputs))
        inputs = (name,)
    return spliced(graph, second.name, nodes, (), {})


def _in_place(graph: Graph, first: Node, name: str) -> bool:
    """Whether ``name`` shows ``first`` without rearranging it."""
    index = layout_index(graph, first, name)
    return np.array_equal(index, np.arange(index.size).reshape(graph.type_of(first).shape))
