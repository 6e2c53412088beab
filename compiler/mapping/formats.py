"""Register formats: how many different neurons, thresholds and synapse lists one core can choose from; its mode."""

from __future__ import annotations

from dataclasses import dataclass, field

from neurochip.chip.spec import ChipSpec
from neurochip.network.network import Network, Population
from neurochip.network.projections import Bias, Conv, Einsum, Encoder, Pool, Product

Values = frozenset[tuple[object, ...]]
KINDS = ("neuron", "threshold", "synapse")


def modes_of(network: Network, population: Population) -> frozenset[str]:
    """``spiking`` if axons bring spikes to ``population``, ``graded`` if they bring payloads; biases fit either."""
    sources = (network.by_name[s.population] for p in network.incoming[population.name] for s in p.sources)
    return frozenset("graded" if source.coding == "graded" else "spiking" for source in sources)


def formats_of(network: Network, population: Population) -> dict[str, Values]:
    """Kind -> the different register values that a tile of ``population`` needs; lists differ by shift and index."""
    neuron, lists = population.neuron, set()
    for projection in network.incoming[population.name]:
        shifts = projection.shifts if isinstance(projection, Bias) else (projection.shift,)
        if not isinstance(projection, Encoder | Product):
            lists |= {(shift, isinstance(projection, Conv | Pool | Einsum)) for shift in shifts}
    return {
        "neuron": frozenset({(neuron.kind, neuron.decay, neuron.threshold)}),
        "threshold": frozenset({(neuron.threshold,)}),
        "synapse": frozenset(lists),
        "mode": frozenset((mode,) for mode in modes_of(network, population)),
    }


def limited(chip: ChipSpec) -> bool:
    """Whether a core of ``chip`` holds some tiles only apart from others, whatever room it has."""
    return chip.core.formats is not None or chip.one_mode_a_core


@dataclass(slots=True)
class Held:
    """What cores hold, as numbers of ``states``, within the limits of ``chip``; 0 is an empty core."""

    chip: ChipSpec
    states: list[dict[str, Values]] = field(default_factory=lambda: [{}])

    @property
    def limits(self) -> dict[str, int]:
        """Kind -> most different values of a core, where there is a limit."""
        formats = self.chip.core.formats
        found = {kind: getattr(formats, kind) for kind in KINDS} if formats is not None else {}
        limits = {kind: limit.value for kind, limit in found.items() if limit is not None}
        return {**limits, "mode": 1} if self.chip.one_mode_a_core else limits

    def fits(self, state: int) -> bool:
        """Whether a core can hold what ``state`` holds."""
        return all(len(self.states[state].get(kind, ())) <= limit for kind, limit in self.limits.items())

    def joined(self, state: int, needed: dict[str, Values]) -> int:
        """The state of a core of ``state`` that takes ``needed``."""
        held = self.states[state]
        both = {kind: held.get(kind, frozenset()) | values for kind, values in needed.items()}
        if both not in self.states:
            self.states.append(both)
        return self.states.index(both)
