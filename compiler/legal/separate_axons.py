"""Residual sums where an axon is one bit a tick: every source gets axons of its own."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import ClassVar

from compiler.legal.target import Choices
from neurochip.chip.spec import ChipSpec
from neurochip.errors import UnsupportedError
from neurochip.network.network import Network
from neurochip.network.projections import Product, Projection


class SeparateAxons:
    """Splits projections of several sources into one for each: two spikes on one axon in one tick would be one.

    Sources of counts must be bursts, one spike a tick. What the host reads may share: it counts.

    Ensures: every projection with axons into a core has one source, of at most one spike a tick; the sums of currents
    do not change.
    """

    name: ClassVar[str] = "separate-axons"

    def run(self, network: Network, chip: ChipSpec, choices: Choices) -> Network:
        """Raises UnsupportedError for sources that send several spikes in one tick."""
        if chip.spikes.counts:
            return network
        parts = [part for projection in network.projections for part in separated(network, projection, chip)]
        return replace(network, projections=tuple(parts))


def separated(network: Network, projection: Projection, chip: ChipSpec) -> Iterator[Projection]:
    """``projection`` once for each of its sources, with its name and then with the source's added."""
    if not projection.sources or isinstance(projection, Product):
        yield projection
        return
    if network.by_name[projection.target].home == "host":
        yield projection
        return
    for source in projection.sources:
        population = network.by_name[source.population]
        if population.high > 1 and population.neuron.kind != "burst" and population.coding != "graded":
            raise UnsupportedError(
                f"layer {projection.origin!r}: reads up to {population.high} spikes a step from {population.name!r}, "
                f"an axon of {chip.name!r} takes one a tick; encode the input in binary spikes, or choose another chip"
            )
    first, *others = projection.sources
    yield replace(projection, sources=(first,))
    for source in others:
        yield replace(projection, name=f"{projection.name}@{source.population}", sources=(source,))
