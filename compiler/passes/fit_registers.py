"""Neurons whose exact arithmetic a chip's registers cannot hold take the chip's."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from compiler.ir.graph import Graph, Node
from compiler.ir.ops import Add, Neuron, RegisterNeuron, Requantise
from compiler.passes.quantise import LINKS
from compiler.passes.registers import Demand, is_exact, neuron_registers, possible_shifts
from compiler.passes.rewrite import called, chain_back, with_op
from compiler.passes.target import Target
from neurochip.errors import UnsupportedError


@dataclass(frozen=True, slots=True)
class FitRegisters:
    """Replace a Neuron by a ``RegisterNeuron`` where the chip would round, clip or compare otherwise.

    A Neuron stays where the registers compute the same: a dyadic leak whose fractional bits fit below the threshold's
    grid, and membranes that provably stay within their width. Elsewhere (time constants that are no powers of two,
    many steps, large currents, bias registers) the graph adopts the chip's arithmetic, so that the network computes
    what this graph computes, spike for spike.

    Requires: every current is a whole number with proven bounds.
    Ensures: the chip computes every neuron exactly as the graph does.
    Source: the registers of the chip file.
    """

    name: ClassVar[str] = "fit-registers"

    def run(self, graph: Graph, target: Target) -> Graph:
        """Raises UnsupportedError for a leak or reset the chip has not, and for currents beyond its width."""
        return graph.replace_nodes({node.name: [_fitted(graph, node, target)] for node in graph.of_type(Neuron)})


def _fitted(graph: Graph, node: Node, target: Target) -> Node:
    op = node.op
    assert isinstance(op, Neuron)
    (kind,) = graph.input_types(node)
    if not kind.integer or op.threshold != int(op.threshold):
        raise UnsupportedError(f"{called(node)}: expected whole currents and a whole threshold, got {kind}")
    demand = Demand(
        name=node.name, tau=op.tau, threshold=int(op.threshold), fires=op.fires, reset=op.reset,
        low=int(kind.low), high=int(kind.high), timesteps=graph.timesteps,
        approximate_leak="leak" in target.approximate,
    )  # fmt: skip
    parts = [isinstance(graph.node(name).op, Requantise) for name in _parts(graph, node.inputs[0])]
    weights = range(target.shift_low, target.shift_high + 1)
    shifts = possible_shifts(target.arithmetic, weights, encoded=any(parts), weighted=not all(parts))
    neuron, shift = neuron_registers(demand, target.arithmetic, shifts)
    if is_exact(demand, target.arithmetic, neuron, shift):
        return node
    rules = target.arithmetic.model_dump_json(exclude_defaults=True)
    return with_op(
        node,
        RegisterNeuron(
            shift=shift, decay=neuron.decay, threshold=neuron.threshold, reset=neuron.reset,
            threshold_offset=neuron.threshold_offset, rules=rules,
        ),
    )  # fmt: skip


def _parts(graph: Graph, name: str) -> list[str]:
    """What is added up to a current."""
    node = chain_back(graph, name, LINKS)[-1]
    if isinstance(node.op, Add):
        return [part for each in node.inputs for part in _parts(graph, each)]
    return [node.name]
