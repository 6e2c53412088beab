"""What is not spiking about a model, read from its graph, in the words of a survey of spiking transformers.

Source: Hu et al., "Toward Large-scale Spiking Neural Networks: A Comprehensive Survey and Future Directions",
arXiv:2409.02111, table 5. A layer of weights is ``addition`` where it reads spikes or counts of them, each of which
adds weights, and ``multiplication`` where it reads real values; so is a product of two values at run time if both are
real. The first layer, which reads the analog input, and the linear readout behind the means are left out, as in that
table.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from functools import cached_property

from compiler.ir.graph import Graph, Node
from compiler.ir.ops import (
    Add,
    Affine,
    AndNot,
    Attention,
    BatchNorm,
    Concat,
    Conv2d,
    Linear,
    MatMul,
    MaxPool,
    Mean,
    Mul,
    Readout,
    Reshape,
    Scale,
    Slice,
    Sum,
    TimeMean,
    Transpose,
    Wkv,
)

WEIGHTS = (Conv2d, Linear)
PRODUCTS = (MatMul, Attention, Wkv)
JOINS = (Add, AndNot, Mul)
PASSED = (Reshape, Transpose, Scale, MaxPool, Mul, Sum, *PRODUCTS)
"""What may stand between the neurons of q, k and v and the projection behind the attention."""

MOVED = (Add, Concat, MaxPool, Reshape, Scale, Slice, Transpose)
"""What makes spikes out of spikes."""

ORDER = ("mask", "addition", "multiplication", "real-valued max-pool")


@dataclass(frozen=True, slots=True, kw_only=True)
class Survey:
    """The row of a model in the table; ``none`` where it has no such part.

    Attributes:
        stacked: layers of the blocks outside attention. attention: weights and products of the attention.
        residual: what residual connections carry: ``integers``, ``real values`` or ``binary spikes``; ``learnable
            weights`` if any shortcut has weights of its own.
        embedding: the other layers (stem, down-sampling) and all max-pools outside attention.
        counts, reals: weight layers that read counts above 1, and real values (the first layer and the readout too).
    """

    stacked: str
    attention: str
    residual: str
    embedding: str
    counts: tuple[str, ...]
    reals: tuple[str, ...]

    def to_dict(self) -> dict[str, object]:
        """As plain values."""
        return asdict(self)


def survey(graph: Graph) -> Survey:
    """Derive the row of ``graph``, which is a float graph as the importers make it."""
    return _Parts(graph).survey()


class _Parts:
    """The parts of one graph as sets of node names; ancestors as bit masks by position."""

    def __init__(self, graph: Graph) -> None:
        self._graph = graph
        self._place = {node.name: index for index, node in enumerate(graph.nodes)}
        self._above: dict[str, int] = {}
        for node in graph.nodes:
            mask = 0
            for name in node.inputs:
                mask |= self._above[name] | 1 << self._place[name]
            self._above[node.name] = mask

    def survey(self) -> Survey:
        """The four columns and the layers behind them."""
        weights = [node for node in self._graph.of_type(*WEIGHTS) if node not in self._readout]
        inside = [node for node in weights if node.name in self._attention and not self._reads_input(node)]
        outside = [node for node in weights if node.name not in self._attention and not self._reads_input(node)]
        # Without attention there are no tokens to embed: all layers are the stack.
        stacked = [node for node in outside if not self._attention or self._in_a_branch(node)]
        embedding = [node for node in outside if node not in stacked]
        pools = self._graph.of_type(MaxPool)
        real_pools = [p for p in pools if p.name not in self._attention and p.name not in self._spiking]
        words = {self._word(node) for node in embedding} | {"real-valued max-pool" for _ in real_pools}
        readers = self._graph.of_type(*WEIGHTS, Readout)
        return Survey(
            stacked=_joined({self._word(node) for node in stacked}),
            attention=_joined({self._word(node) for node in inside} | self._product_words()),
            residual=self._residual(),
            embedding=_joined(words),
            counts=tuple(n.name for n in readers if self._reads_spikes(n) and not self._reads_binary(n)),
            reals=tuple(n.name for n in readers if not self._reads_spikes(n)),
        )

    def _descends(self, node: Node, ancestor: str) -> bool:
        return bool(self._above[node.name] >> self._place[ancestor] & 1)

    def _reads_input(self, node: Node) -> bool:
        return any(name in {i.name for i in self._graph.inputs} for name in node.inputs)

    def _word(self, node: Node) -> str:
        return "addition" if self._reads_spikes(node) else "multiplication"

    def _reads_spikes(self, node: Node) -> bool:
        return all(name in self._spiking for name in node.inputs)

    def _reads_binary(self, node: Node) -> bool:
        return all(kind.is_binary for kind in self._graph.input_types(node))

    @cached_property
    def _spiking(self) -> frozenset[str]:
        """Spikes, counts of them, and spikes of several or signed levels, wherever they are moved to."""
        found: set[str] = set()
        for node in self._graph.nodes:
            moved = isinstance(node.op, MOVED) and all(name in found for name in node.inputs)
            if self._graph.type_of(node).is_counts or node.op.is_neuron or moved:
                found.add(node.name)
        return frozenset(found)

    @cached_property
    def _readout(self) -> list[Node]:
        """Layers behind a mean over positions or steps."""
        means = [node.name for node in self._graph.of_type(Mean, TimeMean)]
        return [n for n in self._graph.of_type(*WEIGHTS) if any(self._descends(n, mean) for mean in means)]

    @cached_property
    def _attention(self) -> frozenset[str]:
        """From the layers that make q, k and v to the projection of the result."""
        found: set[str] = set()
        waiting = list(self._graph.of_type(*PRODUCTS, Sum))
        while waiting:
            node = waiting.pop()
            if node.name in found:
                continue
            found.add(node.name)
            found |= self._operands(node)
            for reader in self._graph.consumers(node.name):
                if isinstance(reader.op, WEIGHTS):
                    found |= self._chain(reader)
                elif (isinstance(reader.op, PASSED) and not self._is_join(reader)) or (
                    reader.op.is_neuron and isinstance(node.op, PASSED)
                ):
                    waiting.append(reader)
        return frozenset(found)

    def _operands(self, node: Node) -> set[str]:
        """What makes the operands of a product, up to the first layers of weights and those right before them."""
        found: set[str] = set()
        waiting = [(producer, node) for producer in self._graph.producers(node)]
        while waiting:
            made, reader = waiting.pop()
            if made.name in found or not made.inputs or self._is_join(made):
                continue
            # Weights end the operand; a neuron without weights before it fires what the blocks hand on.
            if (self._is_linear(reader) or reader.op.is_neuron) and not self._is_linear(made):
                continue
            found.add(made.name)
            waiting += [(producer, made) for producer in self._graph.producers(made)]
        return found

    def _chain(self, node: Node) -> set[str]:
        """A weight layer and what reads it without a neuron or a join between."""
        found = {node.name}
        for reader in self._graph.consumers(node.name):
            if self._is_linear(reader):
                found |= self._chain(reader)
        return found

    def _is_linear(self, node: Node) -> bool:
        """Weights and norms, as they stand in a row without a neuron."""
        return isinstance(node.op, (*WEIGHTS, BatchNorm, Affine))

    def _is_join(self, node: Node) -> bool:
        """Whether a shortcut meets its branch: one of two values is made from the other, or it is a sum."""
        if isinstance(node.op, Add):
            return True
        if not isinstance(node.op, Mul | AndNot):
            return False
        a, b = (self._graph.node(name) for name in node.inputs)
        return self._descends(a, b.name) or self._descends(b, a.name)

    @cached_property
    def _joins(self) -> list[tuple[Node, str, str]]:
        """(join, shortcut, branch) outside the readout; a shortcut that is a branch itself comes first."""
        means = [node.name for node in self._graph.of_type(Mean, TimeMean)]
        found = []
        for node in self._graph.of_type(*JOINS):
            names = list(dict.fromkeys(node.inputs))
            if node.name in self._attention or len(names) != 2 or any(self._descends(node, mean) for mean in means):
                continue
            a, b = (self._graph.node(name) for name in names)
            found.append((node, b.name, a.name) if self._descends(a, b.name) else (node, a.name, b.name))
        return found

    def _in_a_branch(self, node: Node) -> bool:
        """Whether a weight layer lies between an identity shortcut and its join."""
        for _, shortcut, branch in self._joins:
            end = self._graph.node(branch)
            if self._descends(node, shortcut) and (end is node or self._descends(end, node.name)):
                return True
        return False

    def _residual(self) -> str:
        if not self._joins:
            return "none"
        if any(self._has_weights(shortcut, branch) for _, shortcut, branch in self._joins):
            return "learnable weights"
        if not all(node.name in self._spiking for node, _, _ in self._joins):
            return "real values"
        binary = all(self._graph.type_of(node).is_binary for node, _, _ in self._joins)
        return "binary spikes" if binary else "integers"

    def _has_weights(self, shortcut: str, branch: str) -> bool:
        """Whether a shortcut is no identity but has a weight layer behind what it shares with its branch."""
        end = self._graph.node(branch)
        if self._descends(end, shortcut):
            return False
        own = (self._above[shortcut] | 1 << self._place[shortcut]) & ~self._above[branch]
        return any(own >> self._place[node.name] & 1 for node in self._graph.of_type(*WEIGHTS))

    def _product_words(self) -> set[str]:
        words = set()
        for node in self._graph.nodes:
            if node.name not in self._attention:
                continue
            if isinstance(node.op, Mul):
                words.add("mask" if self._gates(node) else "multiplication")
            elif isinstance(node.op, Sum):
                words.add("addition")
            elif isinstance(node.op, PRODUCTS):
                words.add("addition" if self._gates(node) else "multiplication")
        return words

    def _gates(self, node: Node) -> bool:
        """Whether at most one operand is real: the other, spikes or counts, only gates it."""
        return len(node.inputs) > 1 and sum(name not in self._spiking for name in node.inputs) <= 1


def _joined(words: set[str]) -> str:
    return " & ".join(word for word in ORDER if word in words) or "none"
