"""Means over time and positions and the linear head as one readout."""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import prod
from typing import ClassVar

import numpy as np

from compiler.ir.graph import Graph, Node
from compiler.ir.ops import Add, Linear, Mean, Op, Readout, Reshape, Sum, TimeMean, Transpose
from compiler.passes.rewrite import Index, called, chain_back
from compiler.passes.target import Target
from neurochip.errors import UnsupportedError

REMEDY = "end the model in a mean over time and one linear layer, in any order"

AVERAGES: tuple[type[Op], ...] = (Reshape, Transpose, Sum, Mean, TimeMean)
"""Ops of which every element read counts in exactly one element of the result, all with the same weight."""


@dataclass(frozen=True, slots=True)
class LowerReadout:
    """Replace what lies between the last spikes and each output by one ``Readout`` with the output's name.

    Any order of means over positions, a mean over time, layout ops and at most one linear layer will do. Which
    feature an element of the spikes counts for is found by carrying labels through those ops, not by their axes.
    Without a linear layer the weight is the identity. A sum of such values (the readout of a membrane shortcut)
    becomes a sum of Readouts ``name.1``, ``name.2``, ... of one divisor.

    Requires: residuals and pools are lowered; each output is a vector of one mean over time.
    Ensures: every output is a Readout of spikes, the addends of a residual sum side by side, or a sum of
        Readouts; no Mean or TimeMean remains; the divisor stays a whole number apart; outputs equal to rtol 1e-9.
    Source: linearity.
    """

    name: ClassVar[str] = "lower-readout"

    def run(self, graph: Graph, target: Target) -> Graph:
        """Raises UnsupportedError for outputs that are no such function of spikes, and for means elsewhere."""
        for name in graph.outputs:
            node = graph.node(name)
            if isinstance(node.op, Add):
                graph = graph.replace_nodes({name: _sum_of_readouts(graph, node)}).without_dead_nodes()
            elif not isinstance(node.op, Readout):
                graph = graph.replace_nodes({name: (_readout(graph, name),)}).without_dead_nodes()
        for node in graph.of_type(Mean, TimeMean):
            found = ", ".join(called(reader) for reader in graph.consumers(node.name))
            raise UnsupportedError(
                f"{called(node)}: a mean belongs to the readout at the end of the model, but this one feeds {found}; "
                "put a neuron behind a pool in its place"
            )
        return graph


@dataclass(frozen=True, slots=True, eq=False)
class _Average:
    """A value as averages over elements and steps of another, which may be a layout of spikes.

    Attributes:
        base: the node whose elements are averaged.
        label: for each of them the label of the one element of the value it counts for.
        divisor: how many elements are averaged to one, steps apart.
        steps: how many means over time.
    """

    base: Node
    label: Index
    divisor: int
    steps: int


def _average(graph: Graph, name: str, label: Index, *, through_layouts: bool) -> _Average:
    """The elements of ``name`` carry ``label``; carry the labels back to what they are averages of.

    Layout ops before the first mean stay out of it unless ``through_layouts``.
    """
    divisor, steps = 1, 0
    chain = list(chain_back(graph, name, AVERAGES))
    base = chain.pop()
    while chain and not through_layouts and isinstance(chain[-1].op, Reshape | Transpose):
        base = chain.pop()
    for node in chain:
        shape = graph.input_types(node)[0].shape
        if isinstance(node.op, Reshape):
            label = label.reshape(shape)
        elif isinstance(node.op, Transpose):
            label = label.transpose(np.argsort(node.op.order))
        elif isinstance(node.op, Mean | Sum):
            kept = isinstance(node.op, Sum) and node.op.keep
            label = np.broadcast_to(label if kept else np.expand_dims(label, node.op.axes), shape)
            divisor *= prod(shape[axis] for axis in node.op.axes) if isinstance(node.op, Mean) else 1
        else:
            steps += 1
    return _Average(base, label, divisor, steps)


def _sum_of_readouts(graph: Graph, total: Node) -> tuple[Node, ...]:
    """A Readout for each addend of the output ``total``, and their sum; all divide by the number of steps."""
    nodes = []
    for i, part in enumerate(total.inputs):
        node = _readout(graph, part)
        assert isinstance(node.op, Readout)
        weight = node.op.weight.astype(np.float64) * (graph.timesteps / node.op.divisor)
        op = replace(node.op, weight=weight, divisor=graph.timesteps)
        nodes.append(Node(graph.fresh_name(f"{total.name}.{i + 1}"), op, node.inputs))
    return *nodes, Node(total.name, Add(), tuple(node.name for node in nodes))


def _readout(graph: Graph, name: str) -> Node:
    """The Readout that makes the value ``name`` from spikes."""
    shape = graph.types[name].shape
    if len(shape) != 1:
        raise UnsupportedError(
            f"output '{name}': expected a vector with one number for each class, got shape {shape}; {REMEDY}"
        )
    classes = np.arange(prod(shape))
    behind = _average(graph, name, classes, through_layouts=True)
    head = behind.base
    if isinstance(head.op, Linear):
        outputs, features = head.op.weight.shape
        if outputs != shape[0] or not (behind.label == classes).all():
            raise UnsupportedError(f"output '{name}': reorders the outputs of {called(head)}; {REMEDY}")
        feature = np.broadcast_to(np.arange(features), (*behind.label.shape[:-1], features))
        before = [_average(graph, source, feature, through_layouts=False) for source in head.inputs]
        weight, bias = head.op.weight, head.op.bias
    else:
        before = [_average(graph, name, classes, through_layouts=False)]
        behind = _Average(head, classes, 1, 0)
        weight, bias = np.eye(shape[0], dtype=np.float32), None
    for average in before:
        _check(graph, name, average, behind.steps + average.steps)
    first = before[0]
    if any(x.divisor != first.divisor or not np.array_equal(x.label, first.label) for x in before):
        raise UnsupportedError(f"output '{name}': its addends are averaged in different ways; {REMEDY}")
    axes = range(first.label.ndim)
    positions = tuple(a for a in axes if (first.label == first.label.take([0], axis=a)).all())
    columns = first.label[tuple(0 if axis in positions else slice(None) for axis in axes)].ravel()
    in_place = np.array_equal(columns, np.arange(weight.shape[1]))
    readout = Readout(
        weight=weight if in_place else weight[:, columns],
        bias=bias,
        divisor=behind.divisor * first.divisor * graph.timesteps,
        positions=positions,
    )
    sources = tuple(average.base.name for average in before)
    return Node(name, readout, sources)


def _check(graph: Graph, name: str, average: _Average, steps: int) -> None:
    """Raise UnsupportedError unless ``average`` is one of spikes and of one mean over time."""
    kind = graph.type_of(average.base)
    if not kind.is_counts:
        raise UnsupportedError(
            f"output '{name}': averages {called(average.base)}, which gives {kind}; only spikes can be read out: "
            "put a neuron before the head"
        )
    if steps != 1 and not (steps == 0 and graph.timesteps == 1):  # one step is its own mean
        raise UnsupportedError(f"output '{name}': expected one mean over time, found {steps}; {REMEDY}")
