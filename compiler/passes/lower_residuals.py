"""Sums of spikes become several inputs of one layer."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import ClassVar

from compiler.ir.graph import Graph, Node
from compiler.ir.ops import (
    Add,
    AvgPool,
    Conv2d,
    Linear,
    Mean,
    Neuron,
    Op,
    Reshape,
    Scale,
    Sum,
    SumPool,
    TimeMean,
    Transpose,
)
from compiler.passes.rewrite import called
from compiler.passes.target import Target
from neurochip.errors import UnsupportedError

DISTRIBUTES: tuple[type[Op], ...] = (Reshape, Transpose, Sum, Mean, TimeMean, SumPool, AvgPool, Scale)
"""Unary ops f with f(x + y) = f(x) + f(y)."""


@dataclass(frozen=True, slots=True)
class LowerResiduals:
    """Give weight layers the addends instead of their sum; leave only sums of currents, right before neurons.

    Nested sums flatten, and layout ops, means and pools act on each addend (as ``name.1``, ``name.2``, ...). An
    addend that is added twice is listed twice. A weight layer that reads a sum of currents (a membrane shortcut) acts
    on each of them, too; its bias stays with the first.

    Requires: batch norms and scales are folded.
    Ensures: every Add is read by Neurons only, or is an output; every weight layer reads values that nothing adds
        up. Spikes are equal (counts exactly, sums of currents up to the order of addition); outputs to rtol 1e-9.
    Source: Fang et al. 2021, "SEW ResNet", arXiv:2102.04159: addition of spikes as a residual.
    """

    name: ClassVar[str] = "lower-residuals"

    def run(self, graph: Graph, target: Target) -> Graph:
        """Raises UnsupportedError for a sum that something else than a weight layer or a neuron needs."""
        if not graph.of_type(Add):
            return graph
        expansion = _Expansion(graph)
        for node in graph.nodes:
            expansion.visit(node)
        for name in graph.outputs:
            if expansion.addends[name] != (name,) and not expansion.output(name):
                raise UnsupportedError(
                    f"{called(expansion.sum_of(name))}: its sum is the output of the model; "
                    "put a weight layer behind it, or add up its addends outside"
                )
        return graph.with_nodes(expansion.nodes).without_dead_nodes()


@dataclass(slots=True)
class _Expansion:
    """Nodes made so far, and for each value of the old graph the new values whose sum it is."""

    graph: Graph
    nodes: list[Node] = field(default_factory=list)
    addends: dict[str, tuple[str, ...]] = field(default_factory=dict)

    def visit(self, node: Node) -> None:
        """Make ``node`` read addends."""
        parts = [self.addends[name] for name in node.inputs]
        together = tuple(name for part in parts for name in part)
        if isinstance(node.op, Add):
            self.addends[node.name] = together
        elif len(together) == len(parts):
            self.keep(node, together)
        elif isinstance(node.op, DISTRIBUTES):
            self.addends[node.name] = self.distributed(node, together)
        elif isinstance(node.op, Neuron):
            self.keep(node, (self.current(node.inputs[0], together),))
        elif isinstance(node.op, Conv2d | Linear) and self.adds_spikes(node):
            self.keep(node, together)
        elif isinstance(node.op, Conv2d | Linear) and self.adds_currents(node):
            self.addends[node.name] = self.weighted(node, together)
        else:
            raise UnsupportedError(self.refusal(node))

    def adds_spikes(self, node: Node) -> bool:
        """Every sum that ``node`` reads, averaged or not, is one of spikes."""
        sums = [self.sum_of(name) for name in node.inputs if len(self.addends[name]) > 1]
        return all(self.graph.type_of(add).is_counts for add in sums)

    def adds_currents(self, node: Node) -> bool:
        """Every sum that ``node`` reads is one of real values."""
        return all(not self.graph.types[name].integer for name in node.inputs)

    def weighted(self, node: Node, addends: tuple[str, ...]) -> tuple[str, ...]:
        """The weight layer ``node`` on each addend, the first with its bias."""
        assert isinstance(node.op, Conv2d | Linear)
        names = []
        for i, addend in enumerate(addends):
            names.append(self.graph.fresh_name(f"{node.name}.{i + 1}"))
            op = node.op if i == 0 else replace(node.op, bias=None)
            self.nodes.append(Node(names[-1], op, (addend,)))
        return tuple(names)

    def output(self, name: str) -> bool:
        """Make the sum of currents ``name`` a node again, for it is the result; False if it adds up spikes."""
        if self.graph.type_of(self.sum_of(name)).is_counts:
            return False
        self.nodes.append(Node(name, Add(), self.addends[name]))
        return True

    def keep(self, node: Node, inputs: tuple[str, ...]) -> None:
        """``node`` with other inputs."""
        self.nodes.append(Node(node.name, node.op, inputs))
        self.addends[node.name] = (node.name,)

    def distributed(self, node: Node, addends: tuple[str, ...]) -> tuple[str, ...]:
        """The op of ``node`` on each distinct addend."""
        copies: dict[str, str] = {}
        for addend in addends:
            if addend not in copies:
                copies[addend] = self.graph.fresh_name(f"{node.name}.{len(copies) + 1}")
                self.nodes.append(Node(copies[addend], node.op, (addend,)))
        return tuple(copies[addend] for addend in addends)

    def current(self, name: str, addends: tuple[str, ...]) -> str:
        """One Add, called ``name``, for all neurons that read it."""
        if all(node.name != name for node in self.nodes):
            self.nodes.append(Node(name, Add(), addends))
        return name

    def sum_of(self, name: str) -> Node:
        """The last Add on the way to ``name``."""
        node = self.graph.node(name)
        while not isinstance(node.op, Add):
            summed = [x for x in node.inputs if len(self.addends[x]) > 1]
            node = self.graph.node(summed[0])
        return node

    def refusal(self, node: Node) -> str:
        """Why ``node`` cannot read a sum."""
        name = next(name for name in node.inputs if len(self.addends[name]) > 1)
        add, kind = self.sum_of(name), self.graph.types[name]
        return (
            f"{called(add)}: its sum {kind} feeds {called(node)}, which cannot take the addends one by one; "
            "put a neuron between them, or add behind it"
        )
