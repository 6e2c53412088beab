"""The two ends of a network on chips whose registers nobody can write or read while they run."""

from __future__ import annotations

from dataclasses import replace
from typing import ClassVar

from compiler.legal.target import Choices
from neurochip.chip.spec import ChipSpec
from neurochip.errors import UnsupportedError
from neurochip.network.network import Network, Population
from neurochip.network.projections import Bias, Encoder, MaxConv


class HostEnds:
    """The first neurons behind analog input, and the last linear layer, run on the host where the chip asks for it.

    Analog input that the host convolves, with ``encoder.delivery: spikes``: the host computes the neurons behind it,
    too, and sends their spikes. Input that cores multiply stays as it is: the host replays its values as payloads.
    ``readout.where: host``: the last neurons send their spikes to the host, which does the linear head in the same
    integers. The host's operations and the packets from and to it are counted apart.
    """

    name: ClassVar[str] = "host-ends"

    def run(self, network: Network, chip: ChipSpec, choices: Choices) -> Network:
        """Raises UnsupportedError for neurons that add encoded input and spikes, for maxima of payloads, and where
        nothing is left for the chip.
        """
        refuse_maxima(network, chip)
        names = {name for p in network.populations if (name := host_name(network, p, chip))}
        populations = tuple(replace(p, home="host") if p.name in names else p for p in network.populations)
        if all(p.home == "host" or p.neuron.kind == "source" for p in populations):
            raise UnsupportedError(
                f"network {network.name!r}: with both its ends on the host nothing is left for {chip.name!r}; put "
                "neurons behind the first layer"
            )
        return replace(network, populations=populations)


def refuse_maxima(network: Network, chip: ChipSpec) -> None:
    """Raises UnsupportedError for dendrites that would join what payloads bring."""
    for projection in network.projections:
        graded = any(network.by_name[s.population].coding == "graded" for s in projection.sources)
        if graded and isinstance(projection, MaxConv):
            raise UnsupportedError(
                f"layer {projection.origin!r}: takes maxima of what analog input charges, and dendrites of "
                f"{chip.name!r} join what spikes bring; let the host encode (--encoder host), or pool spikes"
            )


def host_name(network: Network, population: Population, chip: ChipSpec) -> str | None:
    """Name of ``population`` if it runs on the host."""
    if population.neuron.kind == "readout":
        return population.name if chip.reads_out_on_host else None
    incoming = network.incoming[population.name]
    if chip.encoder.delivery != "spikes" or not any(isinstance(p, Encoder) for p in incoming):
        return None
    others = [p for p in incoming if not isinstance(p, Encoder | Bias)]
    if others:
        raise UnsupportedError(
            f"layer {population.origin!r}: adds analog input and spikes of {others[0].sources[0].population!r}, "
            f"and {chip.name!r} takes analog input that the host convolves only as spikes; put neurons behind the "
            "first layer"
        )
    return population.name
