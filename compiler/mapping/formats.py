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
    """The formats that cores hold so far, within the limits of ``chip``; without limits nothing is kept."""

    chip: ChipSpec
    cores: dict[int, dict[str, Values]] = field(default_factory=dict)

    @property
    def limits(self) -> dict[str, int]:
        """Kind -> most different values of a core, where there is a limit."""
        formats = self.chip.core.formats
        found = {kind: getattr(formats, kind) for kind in KINDS} if formats is not None else {}
        limits = {kind: limit.value for kind, limit in found.items() if limit is not None}
        return {**limits, "mode": 1} if self.chip.one_mode_a_core else limits

    def fits(self, core: int, needed: dict[str, Values]) -> bool:
        """Whether ``core`` can hold ``needed`` beside what it holds."""
        held = self.cores.get(core, {})
        return all(len(held.get(kind, frozenset()) | needed[kind]) <= limit for kind, limit in self.limits.items())

    def add(self, core: int, needed: dict[str, Values]) -> None:
        """``core`` takes ``needed``."""
        held = self.cores.setdefault(core, {})
        for kind, values in needed.items():
            held[kind] = held.get(kind, frozenset()) | values
