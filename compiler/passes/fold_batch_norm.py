"""Batch norms into the synapses before them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np

from compiler.ir.graph import Graph, Node
from compiler.ir.ops import BatchNorm, Conv2d, Floats, Linear
from compiler.passes.rewrite import LAYOUT, called, chain_back, layout_index, with_op, without_idle_layouts
from compiler.passes.target import Target
from neurochip.errors import UnsupportedError

REMEDY = "give the batch norm a convolution or linear layer of its own, or leave it out and train again"


@dataclass(frozen=True, slots=True)
class FoldBatchNorm:
    """Absorb each batch norm into the Conv2d or Linear that feeds it, directly or through a change of layout.

    Requires: frozen statistics (evaluation mode); weights still real.
    Ensures: no BatchNorm remains; the folded weights and biases are float64; outputs equal to rtol 1e-9.
        Layout ops that cancel out once the norm is gone disappear.
    Source: Jacob et al. 2018, arXiv:1712.05877, section 3.2, batch-norm folding.
    """

    name: ClassVar[str] = "fold-batch-norm"

    def run(self, graph: Graph, target: Target) -> Graph:
        """Raises UnsupportedError for a batch norm whose producer is shared or no weight layer."""
        norms = graph.of_type(BatchNorm)
        for norm in norms:
            graph = _folded(graph, graph.node(norm.name))
        return without_idle_layouts(graph) if norms else graph


def _folded(graph: Graph, norm: Node) -> Graph:
    *layouts, layer = chain_back(graph, norm.inputs[0], LAYOUT)
    if not isinstance(layer.op, Conv2d | Linear):
        raise UnsupportedError(
            f"{called(norm)}: expected to follow a conv2d or linear layer, found {called(layer)}; {REMEDY}"
        )
    for node in (*layouts, layer):
        if graph.sole_consumer(node.name) is None:
            others = [called(reader) for reader in graph.consumers(node.name) if reader.name != norm.name]
            raise UnsupportedError(
                f"{called(norm)}: cannot be folded into {called(layer)}, whose result is also read by "
                f"{', '.join(others) or 'the output'}; {REMEDY}"
            )
    gain, offset = _per_channel(graph, norm, layer)
    op = layer.op
    weight = op.weight.astype(np.float64) * gain.reshape(-1, *[1] * (op.weight.ndim - 1))
    bias = offset if op.bias is None else op.bias.astype(np.float64) * gain + offset
    folded = with_op(layer, replace(op, weight=weight, bias=bias))
    return graph.replace_nodes({norm.name: (), layer.name: (folded,)}, {norm.name: norm.inputs[0]})


def _per_channel(graph: Graph, norm: Node, layer: Node) -> tuple[Floats, Floats]:
    """Gain and offset of each output channel of ``layer``: (O,) each."""
    assert isinstance(norm.op, BatchNorm)
    seen_by_norm = layout_index(graph, layer, norm.inputs[0])
    axis = norm.op.axis % seen_by_norm.ndim
    along = [1] * seen_by_norm.ndim
    along[axis] = -1
    shape = graph.type_of(layer).shape
    channels: list[Floats] = []
    for values in norm.op.gain_and_offset():
        flat = np.empty(seen_by_norm.size)
        flat[seen_by_norm] = np.broadcast_to(values.reshape(along), seen_by_norm.shape)
        channel_axis = 0 if isinstance(layer.op, Conv2d) else len(shape) - 1
        rows = np.moveaxis(flat.reshape(shape), channel_axis, 0).reshape(shape[channel_axis], -1)
        if not (rows == rows[:, :1]).all():
            raise UnsupportedError(
                f"{called(norm)}: normalises axis {norm.op.axis}, which is not the output channel of "
                f"{called(layer)}; normalise its output channels instead"
            )
        channels.append(rows[:, 0])
    return channels[0], channels[1]
