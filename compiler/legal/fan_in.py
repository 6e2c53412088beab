"""What one neuron asks of a core, and how its sum falls into parts: sizes, units and bounds of partial sums."""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import gcd
from typing import Literal

import numpy as np

from compiler.legal.base import Ints
from compiler.legal.complement import by_channel
from compiler.legal.number_base import typed
from compiler.legal.strobes import has_waits, held_back
from compiler.mapping.demand import input_axons, source_of, synapse_words
from neurochip.chip.spec import ChipSpec
from neurochip.network.network import Network, Population
from neurochip.network.projections import Conv, Dense, Gather, Pool, Projection, narrowest

Axis = Literal["inputs", "rows"]
"""Along what a convolution is cut: ranges of its input channels, or rows of its kernel, which groups keep."""

STROBE_AXONS = 2
"""Always-on axons kept free for neurons that read bursts on crossbars."""


@dataclass(frozen=True, slots=True)
class Needs:
    """Axons and synapse words of a core that holds a single neuron of a population."""

    axons: int
    words: int

    def fit(self, chip: ChipSpec) -> bool:
        """Whether a core of ``chip`` has them."""
        return self.axons <= chip.limits.input_axons and self.words <= chip.limits.synapse_words

    def times(self, chip: ChipSpec) -> float:
        """Share of a core, above 1 for too much."""
        return max(self.axons / chip.limits.input_axons, self.words / chip.limits.synapse_words)


def needs(network: Network, population: Population, chip: ChipSpec, bits: int) -> dict[str, Needs]:
    """What one neuron of ``population`` takes for each of its incoming projections, by name; axon types included."""
    if chip.limits.axon_types and network.timesteps > 1 and has_waits(network):
        network = held_back(network, population)  # strobes take axons
    incoming = network.incoming[population.name]
    if chip.limits.axon_types:
        lined = {p.name: p for p in typed(network, population, chip)}
        incoming = tuple(lined.get(p.name, p) for p in incoming)
    one = np.ones(1, np.int64)
    found = {}
    for projection in incoming:
        source = source_of(network, projection)
        axons = input_axons(projection, source, population, one, one, one, chip)
        words = synapse_words(projection, source, population, one, one, one, chip, bits)
        rows = rows_of(projection, chip)
        found[projection.name] = Needs(rows * int(np.max(axons)), rows * int(np.max(words)))
    sources = (network.by_name[s.population] for p in incoming for s in p.sources)
    reads = any(s.neuron.kind == "burst" for s in sources)
    if chip.limits.axon_types and network.timesteps == 1 and population.neuron.kind == "lif" and reads:
        found[f"{population.name}.strobe"] = Needs(STROBE_AXONS, STROBE_AXONS)  # see ``strobes``
    return found


def rows_of(projection: Projection, chip: ChipSpec) -> int:
    """Axons in the place of one: two where a row of synapses has one sign and the weights have both."""
    weight = np.asarray(getattr(projection, "weight", 0))
    return 2 if chip.weights.sign == "row" and weight.min() < 0 < weight.max() else 1


def together(parts: list[Needs]) -> Needs:
    """The sum of ``parts``."""
    return Needs(sum(p.axons for p in parts), sum(p.words for p in parts))


def as_conv(projection: Projection, source: Population, target: Population) -> Conv | None:
    """``projection`` as a convolution with the same sums; None for kinds whose sums have no parts.

    What single synapses bring has no parts either, nor what still arrives in the ticks of a burst.
    """
    if source.neuron.kind == "burst":
        return None
    if isinstance(projection, Conv):
        return projection
    if isinstance(projection, Pool) and projection.kernel != (1, 1):
        return by_channel(projection, source.channels)
    if not isinstance(projection, Dense | Gather):
        return None
    block = (1, 1)
    if isinstance(projection, Gather):
        block = (source.height // target.height, source.width // target.width)
    weight = np.broadcast_to(projection.weight, (*block, *projection.weight.shape))
    return Conv(
        name=projection.name,
        sources=projection.sources,
        target=projection.target,
        origin=projection.origin,
        shift=projection.shift,
        counted=projection.counted,
        weight=np.ascontiguousarray(weight),
        stride=block,
    )


def cuts_of(conv: Conv, axis: Axis) -> int:
    """Into how many parts ``conv`` can be cut, by ranges of its inputs or by rows of its kernel; 0 for not at all."""
    if axis == "rows":
        return len(conv.weight) if conv.rows is None else 0
    return conv.weight.shape[2] if conv.groups == 1 else 0


def cut(conv: Conv, part: int, parts: int, axis: Axis, *, sign: int) -> Conv:
    """The ``part``-th of ``parts`` nearly equal ranges of ``conv`` along ``axis``, times ``sign``."""
    whole = conv.weight.shape[2 if axis == "inputs" else 0]
    first, last = part * whole // parts, (part + 1) * whole // parts
    if axis == "rows":
        weight = narrowest(conv.weight[first:last].astype(np.int32) * sign)
        return replace(conv, weight=weight, rows=(first, whole))
    weight = narrowest(conv.weight[:, :, first:last].astype(np.int32) * sign)
    offset = conv.channels[0] if conv.channels is not None else 0
    return replace(conv, weight=weight, channels=(offset + first, offset + last))


def largest_sums(network: Network, convs: list[Conv]) -> Ints:
    """Largest raw current that each channel of the target of all ``convs`` can reach in one step, at least 0."""
    total = np.zeros(convs[0].weight.shape[-1], np.int64)
    for conv in convs:
        spikes = sum(network.by_name[s.population].high for s in conv.sources)
        up = np.maximum(conv.weight, 0).sum(axis=(0, 1, 2), dtype=np.int64)
        total += up * spikes << conv.shift
    return total


def common_unit(convs: list[Conv]) -> int:
    """Greatest common divisor of all weights, raw units; 0 if all are zero."""
    return gcd(*(int(np.gcd.reduce(c.weight.astype(np.int64), axis=None)) << c.shift for c in convs))
