"""What every graph between two stages must satisfy."""

from __future__ import annotations

from compiler.ir.graph import Graph
from neurochip.errors import GraphError


def verify(graph: Graph) -> Graph:
    """Return ``graph`` if it is well-formed; raise GraphError naming the node that is not.

    Checks: T >= 1; unique names; inputs made by earlier nodes; outputs exist; every type follows from the
    inputs, timed and untimed never mixed; every value is an output or read by a node that matters.
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
    _ = graph.types
    alive = set(graph.outputs)
    for node in reversed(graph.nodes):
        if node.name not in alive:
            raise GraphError(f"node '{node.name}' ({node.op.mnemonic}) is dead: nothing reads it and it is no output")
        alive.update(node.inputs)
    return graph
