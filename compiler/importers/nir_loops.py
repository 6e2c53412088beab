"""Loops of a NIR graph: which edges carry the value of the step before.

NIR's equations know no steps, so that a file does not say where a loop waits. All frameworks that write loops run the
nodes one behind the other and feed spikes back in the next step; so it is here. An edge that closes a loop, in a search
from the inputs in the file's order, is the way back; if matrices or pools without another reader or source lie on
it, the value waits in front of them, at the neuron that gave it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from compiler.importers.nir_file import NirNode

STATELESS = frozenset(
    ("Linear", "Affine", "Conv1d", "Conv2d", "Scale", "Flatten", "SumPool2d", "AvgPool2d", "pass")
)  # fmt: skip

Edge = tuple[str, str]


def late_edges(nodes: Mapping[str, NirNode], inputs: Mapping[str, Sequence[str]]) -> frozenset[Edge]:
    """The edges whose target reads the step before; without them there is no loop."""
    readers: dict[str, list[str]] = {name: [] for name in nodes}
    for target, sources in inputs.items():
        for source in sources:
            readers[source].append(target)
    starts = [*(name for name, node in nodes.items() if node.kind == "Input"), *nodes]
    return frozenset(_waiting(edge, nodes, inputs, readers) for edge in _closing(starts, readers))


def _closing(starts: Sequence[str], readers: Mapping[str, Sequence[str]]) -> Iterator[Edge]:
    """Edges that lead back to a node on the way to them, depth first."""
    done: set[str] = set()
    for start in starts:
        if start in done:
            continue
        way, ahead = {start: None}, [(start, iter(readers[start]))]
        while ahead:
            name, following = ahead[-1]
            reader = next(following, None)
            if reader is None:
                done.add(name)
                del way[name]
                ahead.pop()
            elif reader in way:
                yield name, reader
            elif reader not in done:
                way[reader] = None
                ahead.append((reader, iter(readers[reader])))


def _waiting(
    edge: Edge,
    nodes: Mapping[str, NirNode],
    inputs: Mapping[str, Sequence[str]],
    readers: Mapping[str, Sequence[str]],
) -> Edge:
    """The edge at which the value waits: in front of what has no state on the way back."""
    source, target = edge
    seen = {target}
    while nodes[source].kind in STATELESS and len(inputs[source]) == 1 == len(readers[source]) and source not in seen:
        seen.add(source)
        source, target = inputs[source][0], source
    return source, target
