"""When each population runs: depths such that whatever a step needs can be there in time, and the least interval."""

from __future__ import annotations

from dataclasses import dataclass

import networkx as nx

from neurochip.errors import UnsupportedError
from neurochip.network.network import Network
from neurochip.network.projections import Product, Projection, Source
from neurochip.network.validate import MAX_INTERVAL


@dataclass(frozen=True, slots=True)
class Edge:
    """``target`` takes in step t - ``back`` of ``source``, at least ``latency`` ticks after the source's own tick."""

    source: str
    target: str
    latency: int
    back: int


def edges(network: Network) -> list[Edge]:
    """Every connection, with the ticks from a source's own tick until all it sends for a step can have arrived.

    Synapses that learn a product hear its tokens one after the other, over the whole interval.
    """
    by_name = network.by_name

    def latency(projection: Projection, source: Source) -> int:
        serial = isinstance(projection, Product) and projection.method == "plastic"
        return network.interval if serial else by_name[source.population].duration

    return [Edge(s.population, p.target, latency(p, s), s.steps_back) for p in network.projections for s in p.sources]


def schedule(network: Network) -> tuple[int, dict[str, int]]:
    """(interval, depth of each population): the longest paths, in ticks, from the input.

    A loop of edges that read ``k`` steps back together must be run through in ``k`` intervals, so loops may lengthen
    the interval. A population that sends for several ticks waits until its first reader needs it, as what it reads can
    wait in relays and what it sends cannot. Raises ``UnsupportedError`` for a loop within one step.
    """
    connections = edges(network)
    _refuse_loops([e for e in connections if not e.back])
    names = [p.name for p in network.populations]
    interval = network.interval
    while (depth := longest_paths(names, connections, interval)) is None:
        interval += 1
        if interval > MAX_INTERVAL:
            raise UnsupportedError(f"network {network.name!r}: its loops take more than {MAX_INTERVAL} ticks a step")
    for population in reversed(network.populations):
        readers = [e for e in connections if e.source == population.name]
        if population.duration > 1 and readers:
            needed = min(depth[e.target] + e.back * interval - e.latency for e in readers)
            depth[population.name] = max(depth[population.name], needed)
    return interval, depth


def longest_paths(names: list[str], connections: list[Edge], interval: int) -> dict[str, int] | None:
    """Least depths >= 0 that leave every connection its latency in ``interval``; None if a loop needs a longer one."""
    depth = dict.fromkeys(names, 0)
    for _ in range(len(names) + 1):
        moved = False
        for e in connections:
            least = depth[e.source] + e.latency - e.back * interval
            if least > depth[e.target]:
                depth[e.target], moved = least, True
        if not moved:
            return depth
    return None


def _refuse_loops(within_a_step: list[Edge]) -> None:
    graph = nx.DiGraph((e.source, e.target) for e in within_a_step)
    if not nx.is_directed_acyclic_graph(graph):
        loop = " -> ".join(a for a, _ in nx.find_cycle(graph))
        raise UnsupportedError(
            f"recurrent connection {loop}: a step would need its own result; one edge of the loop must read an earlier "
            "step (a delay of at least one step in the model)"
        )
