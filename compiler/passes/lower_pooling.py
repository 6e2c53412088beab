"""Pools as what neurons can do: OR populations, sums, and strided synapses."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np

from compiler.ir.graph import Graph, Node
from compiler.ir.ops import AvgPool, Conv2d, MaxPool, Mean, Neuron, Reshape, SumPool
from compiler.passes.rewrite import base_of, called, readers, with_op
from compiler.passes.target import Target
from neurochip.errors import UnsupportedError

OR = Neuron(tau=1.0, decay_input=False, threshold=1.0)
"""Fires whenever anything arrives; tau = 1 forgets the rest."""


@dataclass(frozen=True, slots=True)
class LowerPooling:
    """Express pools by sums over windows.

    - MaxPool of binary spikes: ``SumPool`` called ``name.window``, then OR neurons called ``name``.
    - MaxPool of currents before neurons only, with T = 1: the neurons in front of it (``name.each``), OR behind them,
      for a maximum exceeds a threshold if any of its arguments does.
    - MaxPool of other currents stays where the host (first layer) or dendrites that join by their maximum do it.
    - AvgPool before neurons only: SumPool, and thresholds times the size of the window.
    - AvgPool before convolutions of kernel 1 without padding: into their weights.
    - AvgPool over the whole image elsewhere: ``Mean``, for ``lower-readout``.

    Requires: residuals are lowered.
    Ensures: no AvgPool remains, nor a MaxPool of spikes; spikes and outputs equal (AvgPool: up to rounding, rtol
        1e-9).
    Source: Rueckauer et al. 2017, Frontiers in Neuroscience 11:682, on average pooling; the maximum of
        0 and 1 is their logical OR.
    """

    name: ClassVar[str] = "lower-pooling"

    def run(self, graph: Graph, target: Target) -> Graph:
        """Raises UnsupportedError for maxima of counts or reals, and for averages that no neuron follows."""
        for node in graph.of_type(MaxPool):
            graph = _maximum(graph, node, target)
        for node in graph.of_type(AvgPool):
            graph = _averaged(graph, node)
        return graph


def _maximum(graph: Graph, node: Node, target: Target) -> Graph:
    pool = node.op
    assert isinstance(pool, MaxPool)
    (kind,) = graph.input_types(node)
    window = SumPool(kernel=pool.kernel, stride=pool.stride, padding=pool.padding)
    if kind.is_binary:
        total = Node(graph.fresh_name(f"{node.name}.window"), window, node.inputs)
        return graph.replace_nodes({node.name: [total, Node(node.name, OR, (total.name,))]})
    source = base_of(graph, node.inputs[0])
    if kind.is_counts or not isinstance(source.op, Conv2d):
        remedy = "pool each addend before they are added" if kind.is_counts else "pool the results of one convolution"
        raise UnsupportedError(
            f"{called(node)}: the maximum of binary spikes is an OR population, but {called(source)} gives {kind}; "
            f"{remedy}"
        )
    if not graph.input_types(source)[0].is_counts:
        return graph
    neurons = graph.consumers(node.name)
    if graph.timesteps == 1 and node.name not in graph.outputs and all(isinstance(n.op, Neuron) for n in neurons):
        changes: dict[str, list[Node]] = {node.name: []}
        for neuron in neurons:
            each = Node(graph.fresh_name(f"{neuron.name}.each"), neuron.op, node.inputs)
            total = Node(graph.fresh_name(f"{neuron.name}.window"), window, (each.name,))
            changes[neuron.name] = [each, total, Node(neuron.name, OR, (total.name,))]
        return graph.replace_nodes(changes)
    if not target.dendrites:
        raise UnsupportedError(
            f"{called(node)}: takes the maximum of real currents of {called(source)}, and neither T = 1 makes it an OR "
            "of spikes nor has this chip dendrites that join by their maximum; choose a chip with neuron.dendrites, "
            "T = 1 with neurons right behind the pool, or move the pool behind the neuron, which gives other results: "
            "train again"
        )
    return graph


def _averaged(graph: Graph, node: Node) -> Graph:
    pool = node.op
    assert isinstance(pool, AvgPool)
    ends = list(readers(graph, node.name))
    neurons = [end for end in ends if end is not None and isinstance(end.op, Neuron)]
    if len(neurons) == len(ends):
        total = SumPool(kernel=pool.kernel, stride=pool.stride, padding=pool.padding)
        changes = {end.name: [with_op(end, _less_sensitive(end, pool.window))] for end in neurons}
        return graph.replace_nodes(changes | {node.name: [with_op(node, total)]})
    direct = [end for end in graph.consumers(node.name) if _takes_average(graph, end, node)]
    if len(direct) == len(ends):
        changes = {end.name: [Node(end.name, _strided(end, pool), node.inputs)] for end in direct}
        return graph.replace_nodes(changes).without_dead_nodes()
    channels, *image = graph.input_types(node)[0].shape
    if pool.kernel == tuple(image) and pool.padding == (0, 0):
        mean = Node(graph.fresh_name(f"{node.name}.mean"), Mean(axes=(1, 2)), node.inputs)
        return graph.replace_nodes({node.name: [mean, Node(node.name, Reshape(shape=(channels, 1, 1)), (mean.name,))]})
    found = ", ".join(dict.fromkeys("the output" if end is None else called(end) for end in ends))
    raise UnsupportedError(
        f"{called(node)}: averages of spikes are no spikes, and it feeds {found}; put a neuron behind the pool, "
        "or use a convolution with a stride in its place"
    )


def _less_sensitive(node: Node, window: int) -> Neuron:
    assert isinstance(node.op, Neuron)
    return replace(node.op, threshold=node.op.threshold * window, v_reset=node.op.v_reset * window)


def _takes_average(graph: Graph, node: Node, pool: Node) -> bool:
    op = node.op
    pointwise = isinstance(op, Conv2d) and op.kernel == (1, 1) and op.padding == (0, 0)
    return pointwise and node.inputs == (pool.name,)


def _strided(node: Node, pool: AvgPool) -> Conv2d:
    """A convolution of kernel 1 on averages as one convolution with the window of the pool."""
    op = node.op
    assert isinstance(op, Conv2d)
    weight = np.broadcast_to(op.weight.astype(np.float64) / pool.window, (*op.weight.shape[:2], *pool.kernel))
    stride = (op.stride[0] * pool.stride[0], op.stride[1] * pool.stride[1])
    return replace(op, weight=weight.copy(), stride=stride, padding=pool.padding)
