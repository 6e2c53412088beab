"""Time: give every population a depth, every source a delay, and long delays relay populations (design: pipeline)."""

from __future__ import annotations

from dataclasses import replace
from math import ceil

import networkx as nx

from neurochip.errors import UnsupportedError
from neurochip.network.arithmetic import Arithmetic
from neurochip.network.network import Network, Neuron, Population
from neurochip.network.projections import Encoder, Pool, Projection, Source


def balance(network: Network, max_delay: int) -> Network:
    """Set depths and delays so that step t of every population meets step t of its sources.

    A delay longer than ``max_delay`` goes through relay populations, shared by all readers of a source.
    Raises ``UnsupportedError`` for recurrent networks, whose loops need delays of their own.
    """
    depth = depths(network)
    relays: dict[tuple[str, int], Population] = {}
    projections = [_delayed(network, p, depth, max_delay, relays) for p in network.projections]
    populations = [replace(p, depth=depth[p.name]) for p in network.populations] + list(relays.values())
    links = [_relay_link(network, source, hop, relays, depth, max_delay) for source, hop in relays]
    order = sorted(range(len(populations)), key=lambda i: (populations[i].depth, i))
    return replace(network, populations=tuple(populations[i] for i in order), projections=(*projections, *links))


def depths(network: Network) -> dict[str, int]:
    """Longest path, in ticks, from the input to each population."""
    edges = nx.DiGraph()
    edges.add_nodes_from(p.name for p in network.populations)
    edges.add_edges_from((s.population, p.target) for p in network.projections for s in p.sources)
    if not nx.is_directed_acyclic_graph(edges):
        loop = " -> ".join(a for a, _ in nx.find_cycle(edges))
        raise UnsupportedError(f"recurrent connection {loop}: loops are not lowered yet; unroll the model over time")
    depth: dict[str, int] = {}
    for name in nx.topological_sort(edges):
        depth[name] = max((depth[before] + 1 for before in edges.predecessors(name)), default=0)
    return depth


def _delayed(
    network: Network,
    projection: Projection,
    depth: dict[str, int],
    longest: int,
    relays: dict[tuple[str, int], Population],
) -> Projection:
    if isinstance(projection, Encoder) or not projection.sources:
        return projection
    sources = tuple(
        _tap(network, source.population, depth[projection.target], depth, longest, relays)
        for source in projection.sources
    )
    return replace(projection, sources=sources)


def _tap(
    network: Network,
    name: str,
    arrival: int,
    depth: dict[str, int],
    longest: int,
    relays: dict[tuple[str, int], Population],
) -> Source:
    """Where to read ``name`` so that it arrives at depth ``arrival``: itself, or the last relay before."""
    span = arrival - depth[name]
    hops = ceil(span / longest) - 1
    population = network.by_name[name]
    for hop in range(1, hops + 1):
        if population.high > 1:
            raise UnsupportedError(
                f"{name!r} sends payloads {span} ticks ahead, the chip's longest delay is {longest} "
                "and relays carry single spikes"
            )
        relays.setdefault(
            (name, hop),
            replace(
                population,
                name=relay_name(name, hop),
                neuron=relay_neuron(network.arithmetic),
                depth=depth[name] + hop * longest,
                origin=population.origin,
            ),
        )
    if hops == 0:
        return Source(name, span)
    return Source(relay_name(name, hops), span - hops * longest)


def _relay_link(
    network: Network,
    name: str,
    hop: int,
    relays: dict[tuple[str, int], Population],
    depth: dict[str, int],
    longest: int,
) -> Projection:
    before = name if hop == 1 else relay_name(name, hop - 1)
    target = relays[name, hop]
    return Pool(
        name=f"{target.name}.synapses", sources=(Source(before, longest),), target=target.name, origin=target.origin,
        shift=network.arithmetic.threshold_shift,
    )  # fmt: skip


def relay_neuron(rules: Arithmetic) -> Neuron:
    """A neuron that repeats each spike a tick later: input of 1 << threshold_shift fires it, and firing clears it."""
    return Neuron(kind="lif", threshold=0 if rules.fires == "gt" else 1 << rules.threshold_shift)


def relay_name(name: str, hop: int) -> str:
    """Name of the ``hop``-th relay of population ``name``."""
    return f"{name}.relay{hop}"
