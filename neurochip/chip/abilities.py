"""What only some chips have: optional parts of a description. An absent part means the chip does not have it."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from neurochip.chip.quantity import Bits, Count, Frequency, Places, Section, Widths

BiasPlace = Literal["axon", "register", "threshold"]
Join = Literal["add", "max"]


class AxonTypes(Section):
    """A binary crossbar: a synapse is one bit, and its weight is the neuron's for the type of the axon.

    Each axon has one of ``count`` types; each neuron has one signed weight of ``weight`` bits for every type. A model's
    weight is spread over several axons whose types' weights form a number base: as many as it has bits, or more where
    there are fewer types than bits. ``weights.widths`` end at ``weight`` bits.
    """

    count: Count[Literal["types"]]
    weight: Bits


class CoreModes(Section):
    """What a core does with what its axons bring, one mode a core.

    ``spiking``: accumulates weights of binary spikes; ``graded``: multiplies weights by activations of ``activation``
    bits, unsigned or (where values may be negative) signed, and accumulates in ``accumulator`` bits. Always-on axons
    (biases) are spikes of a spiking core, and on a graded one activations of any value.
    """

    kinds: Annotated[tuple[Literal["spiking", "graded"], ...], Field(min_length=1)]
    activation: Bits
    accumulator: Bits | None = None


class MacArray(Section):
    """A matrix unit in a core: ``lanes`` multiply-accumulates a cycle of ``clock`` on operands of ``operands`` bits.

    It computes whole products of matrices, zeros included. Events whose cost gives no ``latency`` run on it.
    """

    lanes: Count[Literal["MACs per cycle"]]
    operands: Widths
    clock: Frequency

    @property
    def mac_ns(self) -> float | None:
        """Time of one multiply-accumulate where all lanes work, ns; None if the clock is not published."""
        return None if not self.clock.base else 1e3 / (self.lanes.value * self.clock.base)


class Software(Section):
    """Cores that are processors: neurons and synapses are a program, times per event are measured averages.

    ``memory`` is the data memory of a core, of which a neuron takes ``neuron`` bytes.
    """

    clock: Frequency
    memory: Count[Literal["KiB"]]
    neuron: Count[Literal["bytes"]]
    mac_array: MacArray | None = None


class Formats(Section):
    """How many different sets of registers the neurons and the synapse lists of one core can choose from."""

    neuron: Count[Literal["formats"]] | None = None
    threshold: Count[Literal["thresholds"]] | None = None
    synapse: Count[Literal["formats"]] | None = None


class Dendrites(Section):
    """Neurons of several compartments: ``joins`` are the ways two dendrites' currents meet."""

    compartments: Count[Literal["compartments"]]
    joins: Annotated[tuple[Join, ...], Field(min_length=1)]


class Learning(Section):
    """Weights that change while a model runs.

    A rule changes signed weights of ``weight`` bits every ``period`` ticks, one synapse at a time at the cost of the
    event ``learning_update``. ``by``: an engine in every core, or a processor that writes synapse memory.
    ``rule``: what the engine can compute.
    """

    by: Literal["core", "processor"]
    rule: Literal["sum_of_products", "program"]
    weight: Bits
    period: Count[Literal["ticks"]]


class AttentionUnit(Section):
    """A core that multiplies two spike operands by gated accumulation: ``S = q (k^T v)`` for each head.

    ``lanes`` accumulates run each cycle of ``clock``. ``operands`` holds the bits of q, k and v of the heads a unit
    works on, ``sums`` the integers of ``k^T v`` (or ``q k^T``) and of S, each of ``accumulator`` bits. A unit with
    ``weights`` (bits for those of a head) also multiplies spikes by weighted sums of spikes (DSSA): it adds up rows of
    weights, each read beside its sum, so that an accumulate is two operations, and then rows of the sums. A sum wider
    than an accumulator takes two, and one operation more.
    Costs: events ``unit_op`` for each accumulate (with its share of the buffers) and ``unit_message`` for each packet.
    """

    count: Count[Literal["units"]]
    routers: Places | None = None
    lanes: Count[Literal["accumulates per cycle"]]
    clock: Frequency
    operands: Count[Literal["bits"]]
    sums: Count[Literal["bits"]]
    accumulator: Bits
    weights: Count[Literal["bits"]] | None = None
