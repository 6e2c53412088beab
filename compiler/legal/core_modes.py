"""One mode a core: neurons that read payloads get the spikes they read as payloads, too."""

from __future__ import annotations

from dataclasses import replace
from typing import ClassVar

from compiler.legal.target import Choices
from compiler.lower.balance import payload_relay, repeat
from compiler.mapping.formats import modes_of
from neurochip.chip.spec import ChipSpec
from neurochip.errors import UnsupportedError
from neurochip.network.network import Network, Population
from neurochip.network.projections import Source

SUFFIX = ".activations"


class CoreModes:
    """Where a core takes spikes or payloads but never both: spikes beside payloads go through neurons that send them on
    as payloads, a tick later.

    Their cores are spiking in what they read and graded in what they send. Neurons that read spikes only, or payloads
    only, are left alone: the mapping keeps them on cores of their own mode.

    Ensures: every population reads spikes only or payloads only; spikes and sums do not change.
    """

    name: ClassVar[str] = "core-modes"

    def run(self, network: Network, chip: ChipSpec, choices: Choices) -> Network:
        """Raises UnsupportedError for payloads on a chip whose cores take none, and for bursts beside payloads."""
        modes = chip.core.modes
        if modes is None:
            return network
        for population in network.populations:
            found = modes_of(network, population)
            on_core = population.home == "core" and population.neuron.kind != "product"
            if on_core and len(found) > 1 and chip.one_mode_a_core:
                network = with_activations(network, population)
            elif on_core and not found <= set(modes.kinds):
                raise UnsupportedError(
                    f"layer {population.origin!r} ({population.name}): its inputs are {' and '.join(sorted(found))}, "
                    f"the cores of {chip.name!r} are {' or '.join(modes.kinds)}; choose another chip"
                )
        return network


def with_activations(network: Network, population: Population) -> Network:
    """``network`` with every spike that ``population`` reads as a payload."""
    for projection in network.incoming[population.name]:
        spiking = [s for s in projection.sources if network.by_name[s.population].coding == "spikes"]
        if not spiking:
            continue
        for source in spiking:
            network = with_sender(network, network.by_name[source.population], population)
        apart = [
            replace(
                projection,
                name=projection.name if number == 0 else f"{projection.name}@{source.population}",
                sources=(_as_activations(source, network),),
            )
            for number, source in enumerate(projection.sources)
        ]
        kept = [part for p in network.projections for part in (apart if p.name == projection.name else [p])]
        network = replace(network, projections=tuple(kept))
    return network


def with_sender(network: Network, source: Population, reader: Population) -> Network:
    """``network`` with neurons that send the spikes of ``source`` as payloads, unless it has them."""
    if source.name + SUFFIX in network.by_name:
        return network
    if source.neuron.kind in ("burst", "product"):
        raise UnsupportedError(
            f"layer {reader.origin!r} ({reader.name}): reads payloads, and of {source.name!r} spikes that come over "
            "several ticks or axons, which no core of one mode takes; choose another chip"
        )
    sender = replace(
        source, name=source.name + SUFFIX, neuron=payload_relay(network.arithmetic), coding="graded", home="core",
        copies=1, compartments=1, depth=0,
    )  # fmt: skip
    link = repeat(Source(source.name), sender, network)
    at = network.populations.index(source) + 1
    populations = (*network.populations[:at], sender, *network.populations[at:])
    return replace(network, populations=populations, projections=(*network.projections, link))


def _as_activations(source: Source, network: Network) -> Source:
    sender = source.population + SUFFIX
    spiking = network.by_name[source.population].coding == "spikes"
    return replace(source, population=sender) if spiking else source
