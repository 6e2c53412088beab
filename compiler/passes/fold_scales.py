"""Constant factors into thresholds and weights; one form for every neuron."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np

from compiler.ir.graph import Graph, Node
from compiler.ir.ops import AvgPool, Conv2d, Linear, Mean, Neuron, Op, Reshape, Scale, Sum, SumPool, TimeMean, Transpose
from compiler.passes.rewrite import called, chain_back, readers, with_op
from compiler.passes.target import Target
from neurochip.errors import UnsupportedError

COMMUTES: tuple[type[Op], ...] = (Reshape, Transpose, Sum, Mean, TimeMean, SumPool, AvgPool)
"""Unary ops f with f(c x) = c f(x)."""


@dataclass(frozen=True, slots=True)
class FoldScales:
    """Make every neuron ``v = (1 - 1/tau) v + x; fire v >= threshold; reset 0`` and every Scale disappear.

    With u = tau (v - v_reset) (``decay_input``) or u = v - v_reset, the input enters undivided, the reset is to 0
    and the threshold becomes tau (threshold - v_reset) or threshold - v_reset. A factor before neurons divides
    their thresholds; elsewhere it multiplies the weights before or behind it.

    Requires: batch norms are folded.
    Ensures: no Scale remains; decay_input False and v_reset 0 everywhere; spikes equal (exactly so if tau and the
        factors are dyadic, else up to a membrane that meets its threshold within rounding); outputs to rtol 1e-9.
    Source: Yao et al. 2024, "Spike-driven Transformer V2", arXiv:2404.03663: s u_th for the factor;
        the substitution for u is elementary.
    """

    name: ClassVar[str] = "fold-scales"

    def run(self, graph: Graph, target: Target) -> Graph:
        """Raises UnsupportedError for a factor with no weights or thresholds to take it."""
        while scales := graph.of_type(Scale):
            graph = _folded(graph, scales[0])
        changes = {node.name: [with_op(node, _canonical(node.op))] for node in graph.of_type(Neuron)}
        return graph.replace_nodes(changes)


def _canonical(op: Op) -> Neuron:
    assert isinstance(op, Neuron)
    threshold = op.threshold - op.rest
    if op.decay_input and op.tau is not None:
        threshold *= op.tau
    return replace(op, threshold=threshold, decay_input=False, v_reset=0.0)


def _folded(graph: Graph, scale: Node) -> Graph:
    """The graph without ``scale``."""
    assert isinstance(scale.op, Scale)
    factor = scale.op.factor
    ends = list(readers(graph, scale.name, COMMUTES))
    nodes = [node for node in ends if node is not None]
    changed: dict[str, Node] | None = None
    if len(nodes) == len(ends):
        changed = _into_readers(graph, scale, factor, nodes)
    if changed is None:
        changed = _into_producer(graph, scale, factor)
    if changed is None:
        raise UnsupportedError(_refusal(graph, scale, factor, ends))
    changes = {name: [node] for name, node in changed.items()}
    return graph.replace_nodes(changes | {scale.name: []}, {scale.name: scale.inputs[0]})


def _into_readers(graph: Graph, scale: Node, factor: float, nodes: list[Node]) -> dict[str, Node] | None:
    """Readers that take the factor: neurons, another Scale, or weight layers whose inputs all come from ``scale``."""
    if all(isinstance(node.op, Neuron) for node in nodes) and factor > 0:
        return {node.name: with_op(node, _less_sensitive(node.op, factor)) for node in nodes}
    if all(isinstance(node.op, Scale) for node in nodes):
        return {
            node.name: with_op(node, Scale(factor=node.op.factor * factor))
            for node in nodes
            if isinstance(node.op, Scale)
        }
    if all(_reads_only(graph, node, scale) for node in nodes):
        return {node.name: with_op(node, _stronger(node.op, factor, bias=False)) for node in nodes}
    return None


def _reads_only(graph: Graph, node: Node, scale: Node) -> bool:
    """A weight layer, every input of which is ``scale`` seen through ops that commute with it."""
    if not isinstance(node.op, Conv2d | Linear):
        return False
    return all(scale in chain_back(graph, name, (*COMMUTES, Scale)) for name in node.inputs)


def _into_producer(graph: Graph, scale: Node, factor: float) -> dict[str, Node] | None:
    """The weight layer before ``scale``, if nothing else reads it."""
    *between, layer = chain_back(graph, scale.inputs[0], COMMUTES)
    alone = all(graph.sole_consumer(node.name) is not None for node in (*between, layer))
    if not alone or not isinstance(layer.op, Conv2d | Linear):
        return None
    return {layer.name: with_op(layer, _stronger(layer.op, factor, bias=True))}


def _less_sensitive(op: Op, factor: float) -> Neuron:
    """The neuron that fires on x as ``op`` does on ``factor`` times x."""
    assert isinstance(op, Neuron)
    return replace(op, threshold=op.threshold / factor, v_reset=op.v_reset / factor)


def _stronger(op: Op, factor: float, *, bias: bool) -> Conv2d | Linear:
    assert isinstance(op, Conv2d | Linear)
    weight = op.weight.astype(np.float64) * factor
    offset = op.bias.astype(np.float64) * factor if bias and op.bias is not None else op.bias
    return replace(op, weight=weight, bias=offset)


def _refusal(graph: Graph, scale: Node, factor: float, ends: list[Node | None]) -> str:
    producer = chain_back(graph, scale.inputs[0], COMMUTES)[-1]
    found = ", ".join(dict.fromkeys("the output" if node is None else called(node) for node in ends))
    return (
        f"{called(scale)}: the factor {factor:g} can go into thresholds (if > 0) or into the weights of a conv2d or "
        f"linear layer, but it stands between {called(producer)} and {found}; "
        "scale the weights of a layer before training, or put a neuron or a weight layer next to it"
    )
