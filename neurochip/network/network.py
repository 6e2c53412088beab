"""The network a chip executes: populations, projections, and how input enters and results leave."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from neurochip.network.arithmetic import Arithmetic
from neurochip.network.projections import STORED_IF_SET, Projection, Source

NeuronKind = Literal["lif", "source", "product", "readout", "burst", "graded"]
ResetKind = Literal["hard", "soft"]
Coding = Literal["spikes", "graded", "digits", "unary"]
Home = Literal["core", "host"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Neuron:
    """One neuron model with integer parameters, shared by a whole population.

    Attributes:
        kind: ``lif`` fires; ``source`` replays input spikes; ``product`` sends its integer input on as a payload
            (spiking attention) and keeps no state; ``readout`` integrates and never fires; ``burst`` sends the sum
            of a step's input, if positive, as that many spikes in the ticks that follow, one a tick, and then forgets;
            ``graded`` sends that sum, in units of ``threshold``, as a payload of at most the population's ``high``, and
            then forgets.
        decay: leak field of ``Arithmetic``; 0 keeps the membrane, ``2**decay_bits`` would forget it.
        threshold: raw membrane units; compared as the chip's ``Arithmetic.fires`` says.
        reset: ``hard`` sets the membrane to 0, ``soft`` subtracts ``threshold + threshold_offset``.
            A burst's spikes stand for ``threshold + threshold_offset`` raw units each.
        threshold_offset: what was taken off the threshold so that ``>`` acts as ``>=`` on the reachable grid.
    """

    kind: NeuronKind
    decay: int = 0
    threshold: int = 0
    reset: ResetKind = "hard"
    threshold_offset: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Population:
    """``height * width`` positions times ``channels`` neurons; neuron id = (y * width + x) * channels + c.

    Attributes:
        origin: name of the Graph node this came from; a compiler-made population names its cause.
        depth: pipeline stage in ticks: step t runs at tick t * interval + depth.
        high: largest number of spikes (or payload) a neuron emits in one step.
        home: ``host``: the host computes these neurons and exchanges spikes with the chip.
        copies: how often a core holds each neuron, with the same synapses, where a neuron reaches few destinations;
            the copies fire together. Set by the mapping.
        inverted: channels whose neurons fire where the model's are silent, and the other way round.
        compartments: how many of a core's neurons each takes: dendrites whose currents meet count (``MaxConv``), and
            the compartments that send digits, or the one that sends a payload spike by spike where nothing resets
            softly.
        coding: ``graded`` = a payload travels in one packet, and a synapse that it reaches multiplies; ``digits`` = a
            graded neuron sends its payload in binary, the highest digit first, one a tick, each from a compartment
            of its own; ``unary`` = it sends that many unit spikes, one a tick; otherwise spikes are unit spikes, and a
            product's payload travels as its binary digits at once.
        signed: payloads of a product or source may be negative, down to ``-high``; digits of such a product have axons
            of their own.
    """

    name: str
    height: int
    width: int
    channels: int
    neuron: Neuron
    origin: str
    depth: int = 0
    high: int = 1
    home: Home = field(default="core", metadata=STORED_IF_SET)
    copies: int = field(default=1, metadata=STORED_IF_SET)
    inverted: tuple[int, ...] = field(default=(), metadata=STORED_IF_SET)
    compartments: int = field(default=1, metadata=STORED_IF_SET)
    coding: Coding = field(default="spikes", metadata=STORED_IF_SET)
    signed: bool = field(default=False, metadata=STORED_IF_SET)

    @property
    def positions(self) -> int:
        """Number of grid positions."""
        return self.height * self.width

    @property
    def size(self) -> int:
        """Number of neurons."""
        return self.positions * self.channels

    @property
    def duration(self) -> int:
        """Ticks over which the spikes of one step leave, the population's own tick included."""
        if self.coding == "digits":
            return self.digits
        return self.high if self.neuron.kind == "burst" or self.coding == "unary" else 1

    @property
    def digits(self) -> int:
        """Compartments that send the binary digits of a payload, one each; 0 where payloads travel otherwise."""
        return self.high.bit_length() if self.coding == "digits" else 0

    @property
    def returns(self) -> int:
        """Spikes of a neuron's compartments that take what they send off its sum, each by an axon of its own.

        The last digit leaves nothing, and a neuron of one compartment that sends unit spikes resets softly.
        """
        return 1 if self.coding == "unary" and self.compartments > 1 else max(0, self.digits - 1)


@dataclass(frozen=True, slots=True, kw_only=True)
class InputSpec:
    """What a user's input array must be, and how it becomes integers.

    Attributes:
        shape: (C, H, W) of one image, or (features,) of one step of spikes.
        kind: ``analog`` enters through an Encoder projection, or as payloads of a source population; ``spikes`` are
            counts replayed by a source population.
        scale, low, high: quantised value = clip(round-half-even(x / scale), low, high); spikes use scale 1.
    """

    shape: tuple[int, ...]
    kind: Literal["analog", "spikes"]
    scale: float
    low: int
    high: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadoutSpec:
    """logits[o] = (scale * sum over positions of membrane[p, o]) / divisor + bias[o], of the final integers."""

    population: str
    scale: float
    divisor: int
    bias: tuple[float, ...]


@dataclass(frozen=True, kw_only=True, eq=False)
class Network:
    """All that a chip must execute, and nothing else. ``run`` is the integer reference (``reference.py``).

    ``interval``: ticks from one step to the next. What reaches a population in the ``interval`` ticks up to its own
    tick of a step belongs to that step; neurons update in their own tick.
    """

    name: str
    timesteps: int
    populations: tuple[Population, ...]
    projections: tuple[Projection, ...]
    input: InputSpec
    readout: ReadoutSpec
    arithmetic: Arithmetic
    interval: int = field(default=1, metadata=STORED_IF_SET)

    @cached_property
    def by_name(self) -> dict[str, Population]:
        """Populations by name."""
        return {p.name: p for p in self.populations}

    @cached_property
    def incoming(self) -> dict[str, tuple[Projection, ...]]:
        """Projections into each population, in order."""
        found: dict[str, list[Projection]] = {p.name: [] for p in self.populations}
        for projection in self.projections:
            found[projection.target].append(projection)
        return {name: tuple(items) for name, items in found.items()}

    @property
    def ticks(self) -> int:
        """Ticks one input takes, from the first tick of the first population to the last of the readout."""
        return (self.timesteps - 1) * self.interval + 1 + max(p.depth for p in self.populations)

    def span(self, source: Source, target: str) -> int:
        """Ticks from ``source``'s own tick to the own tick of ``target`` that takes in what it sends."""
        return source.steps_back * self.interval + self.by_name[target].depth - self.by_name[source.population].depth

    def run(self, x: NDArray[np.generic]) -> NetworkRun:
        """Run quantise-free user input ``x`` through the integer reference; see ``reference.run_network``."""
        from neurochip.network.reference import run_network

        return run_network(self, x)

    def __repr__(self) -> str:
        neurons = sum(p.size for p in self.populations)
        return (
            f"Network({self.name!r}: {len(self.populations)} populations, {neurons:,} neurons, "
            f"{len(self.projections)} projections, T = {self.timesteps})"
        )


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class NetworkRun:
    """Result of the integer reference.

    Attributes:
        spikes: population name -> (B, T, positions, channels) int32 counts emitted at each step (not for readouts).
        readout: (B, O) int64 final membranes, summed over the readout's positions; logits: (B, O) float64.
        wraps, clips: how often a current wrapped or a membrane clipped (0 when the compiler proved the bound).
        saturations: how often a graded payload, or an element of a ``k^T v`` held in synapses, met its limit.
    """

    spikes: dict[str, NDArray[np.int32]]
    readout: NDArray[np.int64]
    logits: NDArray[np.float64]
    wraps: int
    clips: int
    saturations: int = 0
