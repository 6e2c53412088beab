"""Time: give every population a depth, every source a delay, and long delays relay populations (design: pipeline)."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from math import ceil

import numpy as np

from compiler.lower.depths import schedule
from neurochip.errors import UnsupportedError
from neurochip.network.arithmetic import Arithmetic
from neurochip.network.network import Network, Neuron, Population
from neurochip.network.projections import Pool, Projection, Source


def balance(network: Network, max_delay: int, *, exact: bool = False) -> Network:
    """Set depths and delays so that step t of every population meets step t of its sources.

    A spike may arrive up to ``interval - 1`` ticks before the tick in which its target needs it. Where even so the
    longest delay does not reach, relay populations repeat the spikes, shared by all readers of a source. Loops of
    edges that read earlier steps may lengthen the interval, and so do sums that are sent over several ticks, as relays
    repeat single spikes. With ``exact``, single spikes reach cores in their target's own tick and in no earlier one, as
    neurons need that compare in every tick. Raises ``UnsupportedError`` for a loop within one step.
    """
    interval, depth = schedule(network)
    while (needed := waiting(network, depth, max_delay)) > interval:
        network = replace(network, interval=needed)
        interval, depth = schedule(network)
    populations = tuple(replace(p, depth=depth[p.name]) for p in network.populations)
    timed = replace(network, populations=populations, interval=interval)
    delays = _Delays(timed, max_delay, exact)
    projections = [delays.set(p) for p in network.projections]
    everyone = [*populations, *delays.relays.values()]
    order = sorted(range(len(everyone)), key=lambda i: (everyone[i].depth, i))
    return replace(
        timed, populations=tuple(everyone[i] for i in order), projections=(*projections, *delays.links.values())
    )


def waiting(network: Network, depth: dict[str, int], max_delay: int) -> int:
    """Least interval in which every reader of sums that are sent over several ticks hears them without relays."""
    serial = {p.name for p in network.populations if p.coding in ("digits", "unary")}
    spans = (depth[p.target] - depth[s.population] for p in network.projections for s in p.sources
             if s.population in serial)  # fmt: skip
    return max((span + 1 - max_delay for span in spans), default=1)


@dataclass(slots=True)
class _Delays:
    """The delays of a network whose depths are set; collects relays and their synapses by (source, ticks after it)."""

    network: Network
    longest: int
    exact: bool = False
    relays: dict[tuple[str, int], Population] = field(default_factory=dict)
    links: dict[tuple[str, int], Projection] = field(default_factory=dict)

    def set(self, projection: Projection) -> Projection:
        """``projection`` with every source's delay, or reading the last relay before it."""
        if not projection.sources:
            return projection
        target = self.network.by_name[projection.target]
        return replace(projection, sources=tuple(self._tap(source, target) for source in projection.sources))

    def _tap(self, source: Source, target: Population) -> Source:
        population, span = self.network.by_name[source.population], self.network.span(source, target.name)
        latest = span - population.duration + 1
        strict = target.neuron.kind == "burst" or (self.exact and target.home == "core" and population.duration == 1)
        early = 0 if strict else self.network.interval - population.duration
        if latest - early <= self.longest:
            return replace(source, delay=min(latest, self.longest))
        self._refuse_payload(population, span)
        step = self.longest + (0 if self.exact else self.network.interval - 1)
        last = self.longest + (0 if strict else self.network.interval - 1)
        hops = ceil((span - last) / step)
        offsets = [min(hop * step, span - 1) for hop in range(1, hops + 1)]
        before = population.name
        for hop, offset in enumerate(offsets, start=1):
            name = relay_name(population.name, hop) if offset == hop * step else f"{population.name}.wait{offset}"
            self._relay(population, name, offset, before)
            before = name
        return replace(source, population=before, delay=min(span - offsets[-1], self.longest))

    def _relay(self, population: Population, name: str, offset: int, before: str) -> None:
        if (population.name, offset) in self.relays:
            return
        rules, depth = self.network.arithmetic, population.depth + offset
        read = population if before == population.name else next(p for p in self.relays.values() if p.name == before)
        neuron = relay_neuron(rules) if population.coding == "spikes" else payload_relay(rules)
        relay = replace(population, name=name, neuron=neuron, depth=depth, copies=1, compartments=1)
        self.relays[population.name, offset] = relay
        source = Source(before, min(depth - read.depth, self.longest))
        self.links[population.name, offset] = repeat(source, relay, self.network)

    def _refuse_payload(self, population: Population, span: int) -> None:
        if population.high > 1 and population.coding != "graded":
            raise UnsupportedError(
                f"{population.name!r} sends payloads {span} ticks ahead, the chip's longest delay is {self.longest} "
                "and relays carry single spikes"
            )


def repeat(source: Source, relay: Population, network: Network) -> Pool:
    """Synapses from ``source`` one to one to neurons of ``relay``; of axon type 0 where the network's have types."""
    shift = network.arithmetic.threshold_shift
    link = Pool(name=f"{relay.name}.synapses", sources=(source,), target=relay.name, origin=relay.origin, shift=shift)
    if relay.home == "host" or not any(s.types for p in network.projections for s in p.sources):
        return link
    base = np.full((1, relay.channels), 1 << shift, np.int16)
    return replace(link, sources=(replace(source, types=(0,)),), base=base)


def relay_neuron(rules: Arithmetic) -> Neuron:
    """A neuron that repeats each spike a tick later: input of 1 << threshold_shift fires it, and firing clears it."""
    return Neuron(kind="lif", threshold=0 if rules.fires == "gt" else 1 << rules.threshold_shift)


def payload_relay(rules: Arithmetic) -> Neuron:
    """A neuron that sends the payload it receives with a weight of 1 << threshold_shift on, a tick later."""
    return Neuron(kind="graded", threshold=1 << rules.threshold_shift)


def relay_name(name: str, hop: int) -> str:
    """Name of the ``hop``-th relay of population ``name``."""
    return f"{name}.relay{hop}"
