"""A model as named values in SSA form: what importers build and passes rewrite."""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Literal

from compiler.ir.ops.base import Op
from compiler.ir.ops.input import Input
from compiler.ir.types import TensorType
from neurochip.errors import GraphError

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

    from compiler.ir.run import GraphRun

Origin = Literal["file", "--set", "default", "tensor shapes"]


@dataclass(frozen=True, slots=True)
class Node:
    """One value and the op that makes it from other values.

    Attributes:
        name: unique in the graph; neurons are called as the module they were, e.g. ``block.0.attn.q_lif``.
        inputs: names of the values the op reads, in order.
    """

    name: str
    op: Op
    inputs: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Setting:
    """One fact about the model that its weights do not tell, and where it came from."""

    name: str
    value: object
    origin: str


@dataclass(frozen=True, eq=False, repr=False)
class Graph:
    """Nodes in topological order. Every rewriting method returns a new graph.

    Attributes:
        outputs: names of the values that are the result.
        timesteps: T, how many steps the model runs for one input.
        settings: facts taken from outside the weights (T, heads, thresholds, ...), with their origin.
        ignored: tensors of the model file that its forward pass never reads.
    """

    name: str
    nodes: tuple[Node, ...]
    outputs: tuple[str, ...]
    timesteps: int
    settings: tuple[Setting, ...] = ()
    ignored: tuple[str, ...] = ()

    @cached_property
    def by_name(self) -> dict[str, Node]:
        """Nodes by name, in order."""
        return {node.name: node for node in self.nodes}

    @cached_property
    def types(self) -> dict[str, TensorType]:
        """The type of every value; raises GraphError naming the node that does not fit its inputs."""
        types: dict[str, TensorType] = {}
        for node in self.nodes:
            missing = [name for name in node.inputs if name not in types]
            if missing:
                raise GraphError(f"node '{node.name}' reads '{missing[0]}', which no earlier node makes")
            try:
                types[node.name] = node.op.infer(*(types[name] for name in node.inputs))
            except GraphError as error:
                raise GraphError(f"node '{node.name}' ({node.op.mnemonic}): {error}") from None
        return types

    @cached_property
    def _consumers(self) -> dict[str, tuple[Node, ...]]:
        found: dict[str, list[Node]] = {node.name: [] for node in self.nodes}
        for node in self.nodes:
            for name in dict.fromkeys((*node.inputs, *node.op.loops_from())):
                found.setdefault(name, []).append(node)
        return {name: tuple(nodes) for name, nodes in found.items()}

    def node(self, name: str) -> Node:
        """The node called ``name``; raises GraphError if there is none."""
        try:
            return self.by_name[name]
        except KeyError:
            raise GraphError(f"graph '{self.name}' has no node '{name}'") from None

    def type_of(self, node: Node | str) -> TensorType:
        """The type of a node's value."""
        return self.types[node if isinstance(node, str) else node.name]

    def input_types(self, node: Node | str) -> tuple[TensorType, ...]:
        """The types of what a node reads."""
        node = self.node(node) if isinstance(node, str) else node
        return tuple(self.types[name] for name in node.inputs)

    def of_type(self, *ops: type[Op]) -> tuple[Node, ...]:
        """Nodes whose op is one of ``ops``, in order."""
        return tuple(node for node in self.nodes if isinstance(node.op, ops))

    @property
    def inputs(self) -> tuple[Node, ...]:
        """The ``Input`` nodes, in order."""
        return self.of_type(Input)

    def producer(self, node: Node, index: int = 0) -> Node:
        """The node that makes input number ``index`` of ``node``."""
        return self.node(node.inputs[index])

    def producers(self, node: Node) -> tuple[Node, ...]:
        """The nodes that make the inputs of ``node``, in order."""
        return tuple(self.node(name) for name in node.inputs)

    def consumers(self, name: str) -> tuple[Node, ...]:
        """The nodes that read a value, each once, in order; earlier nodes that it comes back to are among them."""
        self.node(name)
        return self._consumers[name]

    def sole_consumer(self, name: str) -> Node | None:
        """The only node that reads a value; None if there are several, none, or the value is an output."""
        consumers = self.consumers(name)
        return consumers[0] if len(consumers) == 1 and name not in self.outputs else None

    def macs(self, node: Node | str) -> int:
        """Multiply-accumulates for one image: per step, or in all if the value is untimed. Padding counts."""
        node = self.node(node) if isinstance(node, str) else node
        return node.op.dense_macs(*self.input_types(node))

    def fresh_name(self, stem: str) -> str:
        """``stem``, or ``stem.1``, ``stem.2``, ... if it is taken."""
        name, number = stem, 0
        while name in self.by_name:
            number += 1
            name = f"{stem}.{number}"
        return name

    def with_nodes(self, nodes: Iterable[Node], outputs: Sequence[str] | None = None) -> Graph:
        """These nodes instead, put into topological order; ties keep the order given.

        Raises GraphError for a name used twice, an unknown input or a cycle.
        """
        outputs = self.outputs if outputs is None else tuple(outputs)
        return replace(self, nodes=in_order(tuple(nodes)), outputs=outputs)

    def replace_nodes(self, changes: Mapping[str, Sequence[Node]], renames: Mapping[str, str] | None = None) -> Graph:
        """Put ``changes[name]`` in the place of each node ``name`` (nothing removes it), then ``rewire``.

        The new nodes may read values of any node of the result.
        """
        for name in changes:
            self.node(name)
        nodes = [new for node in self.nodes for new in changes.get(node.name, (node,))]
        names = dict(renames or {})
        nodes = [replace(node, inputs=tuple(names.get(name, name) for name in node.inputs)) for node in nodes]
        return self.with_nodes(nodes, [names.get(name, name) for name in self.outputs])

    def rewire(self, renames: Mapping[str, str]) -> Graph:
        """Whoever reads value ``old`` reads ``renames[old]`` instead; outputs too."""
        return self.replace_nodes({}, renames)

    def needed(self) -> set[str]:
        """Names of the outputs and of all that they depend on, in this step or an earlier one."""
        alive: set[str] = set(self.outputs)
        size = -1
        while len(alive) > size:  # once more than there are loops inside loops
            size = len(alive)
            for node in reversed(self.nodes):
                if node.name in alive:
                    alive.update(node.inputs, node.op.loops_from())
        return alive

    def without_dead_nodes(self) -> Graph:
        """Only inputs and what an output depends on."""
        alive = self.needed()
        kept = tuple(node for node in self.nodes if node.name in alive or isinstance(node.op, Input))
        return replace(self, nodes=kept)

    def run(
        self,
        x: ArrayLike | Mapping[str, ArrayLike],
        *,
        record: Literal["counts", "spikes", "values"] = "counts",
    ) -> GraphRun:
        """Evaluate in float64, the reference for all that follows; see ``compiler.ir.run.run_graph``."""
        from compiler.ir.run import run_graph

        return run_graph(self, x, record=record)

    def __repr__(self) -> str:
        neurons = sum(node.op.is_neuron for node in self.nodes)
        return (
            f"<Graph {self.name!r}: {len(self.nodes)} nodes, {neurons} neuron layers, "
            f"T = {self.timesteps}, outputs {', '.join(self.outputs)}>"
        )

    def __str__(self) -> str:
        from compiler.ir.text import print_graph

        return print_graph(self)


def in_order(nodes: tuple[Node, ...]) -> tuple[Node, ...]:
    """Topological order that keeps the given order wherever it is free to."""
    place = {node.name: index for index, node in enumerate(nodes)}
    if len(place) < len(nodes):
        twice = next(node.name for index, node in enumerate(nodes) if place[node.name] != index)
        raise GraphError(f"two nodes are called '{twice}'")
    waiting: list[int] = []
    readers: list[list[int]] = [[] for _ in nodes]
    for index, node in enumerate(nodes):
        sources = dict.fromkeys(node.inputs)
        waiting.append(len(sources))
        for name in sources:
            if name not in place:
                raise GraphError(f"node '{node.name}' reads '{name}', which no node makes")
            readers[place[name]].append(index)
    ready = [index for index, count in enumerate(waiting) if count == 0]
    ordered: list[Node] = []
    while ready:
        index = heapq.heappop(ready)
        ordered.append(nodes[index])
        for reader in readers[index]:
            waiting[reader] -= 1
            if waiting[reader] == 0:
                heapq.heappush(ready, reader)
    if len(ordered) < len(nodes):
        stuck = next(node.name for index, node in enumerate(nodes) if waiting[index] > 0)
        raise GraphError(f"node '{stuck}' depends on itself")
    return tuple(ordered)
