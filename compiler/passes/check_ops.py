"""Ops that no pass makes spikes of are refused before anything else, by name."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from compiler.ir.graph import Graph
from compiler.ir.ops import (
    Accumulate,
    Clip,
    Embedding,
    Filter,
    Gelu,
    Increment,
    IntegerNeuron,
    LayerNorm,
    LeakyMembrane,
    LeakyNeuron,
    MultiThresholdNeuron,
    Onset,
    Op,
    Relu,
    Sigmoid,
    Silu,
    Softmax,
    Step,
    Tanh,
    TernaryNeuron,
    Wkv,
)
from compiler.passes.rewrite import called
from compiler.passes.target import Target
from neurochip.errors import UnsupportedError

REFUSED: tuple[type[Op], ...] = (
    Accumulate,
    Increment,
    Onset,
    Filter,
    Step,
    LayerNorm,
    Softmax,
    Relu,
    Clip,
    Gelu,
    Sigmoid,
    Silu,
    Tanh,
    Embedding,
    Wkv,
    IntegerNeuron,
    MultiThresholdNeuron,
    TernaryNeuron,
    LeakyNeuron,
    LeakyMembrane,
)
"""Functions of real values, and neurons other than those that fire at most once a step and reset to one value."""


@dataclass(frozen=True, slots=True)
class CheckOps:
    """Refuse models with functions of real values, or neurons of several levels, that spikes cannot carry.

    Ensures: no op of ``REFUSED`` is there; the graph is unchanged.
    """

    name: ClassVar[str] = "check-ops"

    def run(self, graph: Graph, target: Target) -> Graph:
        """Raises UnsupportedError naming the first such op, and how many there are of which kind."""
        others = [node for node in graph.nodes if isinstance(node.op, REFUSED)]
        if others:
            kinds = [node.op.mnemonic for node in others]
            counts = ", ".join(f"{kinds.count(kind)} {kind}" for kind in dict.fromkeys(kinds))
            raise UnsupportedError(
                f"{called(others[0])}: no chip takes it as spikes, nor any of: {counts}; train a model with "
                "binary neurons between its weight layers instead"
            )
        return graph
