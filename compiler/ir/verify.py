"""What every graph between two stages must satisfy."""

from __future__ import annotations

from compiler.ir.graph import Graph
from compiler.ir.ops.feedback import Feedback
from neurochip.errors import GraphError


def verify(graph: Graph) -> Graph:
    """Return ``graph`` if it is well-formed; raise GraphError naming the node that is not.

    Checks: T >= 1; unique names; inputs made by earlier nodes; outputs exist; every type follows from the
    inputs, timed and untimed never mixed; what comes back fits its source;
    every value is an output or read by a node that matters.
    """
    if graph.timesteps < 1:
        raise GraphError(f"graph '{graph.name}': expected timesteps >= 1, got {graph.timesteps}")
    seen: set[str] = set()
    for node in graph.nodes:
        if node.name in seen:
            raise GraphError(f"two nodes are called '{node.name}'")
        for name in node.inputs:
            if name not in seen:
                later = "a later node makes" if name in graph.by_name else "no node makes"
                raise GraphError(f"node '{node.name}' reads '{name}', which {later}")
        seen.add(node.name)
    if not graph.outputs:
        raise GraphError(f"graph '{graph.name}' has no outputs")
    for name in graph.outputs:
        if name not in seen:
            raise GraphError(f"output '{name}' of graph '{graph.name}' is not a node")
    if not graph.inputs:
        raise GraphError(f"graph '{graph.name}' has no input node")
    _check_loops(graph)
    alive = graph.needed()
    for node in reversed(graph.nodes):
        if node.name not in alive:
            raise GraphError(f"node '{node.name}' ({node.op.mnemonic}) is dead: nothing reads it and it is no output")
    return graph


def _check_loops(graph: Graph) -> None:
    types = graph.types
    for node in graph.of_type(Feedback):
        if not isinstance(node.op, Feedback):
            continue
        if node.op.source not in types:
            raise GraphError(f"node '{node.name}' (feedback): its source '{node.op.source}' is no node")
        found = types[node.op.source]
        if not node.op.takes(found):
            raise GraphError(
                f"node '{node.name}' (feedback): expected a source of type {types[node.name]} with steps, "
                f"found '{node.op.source}' of type {found}"
            )
