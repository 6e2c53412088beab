"""The parts of a chip description, in file order; see ``chips/loihi.yaml`` for a complete example."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from neurochip.chip.abilities import AxonTypes, BiasPlace, CoreModes, Dendrites, Formats, Software
from neurochip.chip.quantity import (
    Bits,
    Count,
    ExponentRange,
    Frequency,
    Places,
    Section,
    Status,
    Time,
    Widths,
)
from neurochip.network.arithmetic import Arithmetic

AttentionMethod = Literal["processor", "unit", "plastic", "coincidence", "graded"]
EncoderHome = Literal["host", "core"]
Routers = Count[Literal["routers"]]
Chips = Count[Literal["chips"]]


class Mesh(Section):
    """The routers of one chip; ``multicast: unicast`` = one packet per target core, ``tree`` = one packet per link.

    A torus closes the rows and columns of all chips of ``boards``, used or not; in a ``triangular_torus`` a packet may
    also move one column and one row at once. ``router_entries``: routing-table entries of a router, one for each source
    tile whose packets leave the router otherwise than straight on. ``reach``: how far an address goes along one axis.
    """

    columns: Routers
    rows: Routers
    topology: Literal["mesh", "torus", "triangular_torus"]
    cores_per_router: Count[Literal["cores"]]
    routing: Literal["xy"]
    multicast: Literal["unicast", "tree"]
    packet: Bits
    router_entries: Count[Literal["entries"]] | None = None
    reach: Routers | None = None


class Boards(Section):
    """Chips joined edge to edge: their routers form one larger mesh whose links at chip borders are slower."""

    max_chips: Chips
    columns: Chips
    rows: Chips


class SynapseMemory(Section):
    """Synapse memory of a core, and how lists of synapses are stored in it.

    A list of n synapses is stored in blocks of at most ``block`` synapses. A block takes
    ``header + n_block * (weight [+ delay] + tag [+ index])`` bits, rounded up to whole words; lists that cover
    consecutive neurons leave the index out, lists without delays leave the delay out.
    """

    words: Count[Literal["words"]]
    word: Bits
    header: Bits
    block: Count[Literal["synapses"]]
    index: Bits
    delay: Bits
    tag: Bits


class Core(Section):
    """Limits of one neuron core, and what its synapses and neurons are made of.

    ``fan_out_per_neuron``: (core, axon) destinations of one neuron, and ``fan_in_per_neuron``: axons one neuron can
    read, only where the chip limits them beside the axons of the core.
    """

    neurons: Count[Literal["neurons"]]
    input_axons: Count[Literal["axons"]]
    output_axons: Count[Literal["axons"]]
    fan_out_per_neuron: Count[Literal["axons"]] | None = None
    fan_in_per_neuron: Count[Literal["axons"]] | None = None
    synapse_memory: SynapseMemory
    weight_sharing: bool
    axon_types: AxonTypes | None = None
    modes: CoreModes | None = None
    software: Software | None = None
    formats: Formats | None = None


class Weights(Section):
    """Widths of a signed weight and how it reaches the membrane.

    A weight of ``b`` bits (sign included) adds ``w << shift`` with ``shift = base_shift + max(0, aligned - b) + e`` and
    the exponent ``e`` shared by a list. It is stored in the narrowest of the ``stored`` fields that holds it.
    ``sign``: ``row`` = all synapses of an axon have one sign, so that a source whose weights mix signs takes two
    axons; otherwise each weight has its own. ``field``: bits of a weight shifted by its exponent, so that wide weights
    have smaller exponents. ``one_bit``: what a weight of a single bit is: ``sign`` = -1 or +1.
    """

    widths: Widths
    stored: Widths
    default: Bits
    aligned: Bits
    base_shift: Bits
    exponent: ExponentRange
    sign: Literal["weight", "row"] | None = None
    one_bit: Literal["sign"] | None = None
    field: Bits | None = None


class NeuronRules(Section):
    """The exact integer rules of a neuron update, and where they are documented.

    ``bias``: where a bias can live (default: always-on axons, and registers if ``arithmetic.bias_bits``);
    ``per_neuron_threshold``: each neuron has its own; ``product``: a neuron may send the product of two inputs as a
    graded spike.
    """

    sources: Annotated[tuple[str, ...], Field(min_length=1)]
    status: Status
    note: str = ""
    arithmetic: Arithmetic
    bias: tuple[BiasPlace, ...] | None = None
    per_neuron_threshold: bool | None = None
    product: bool | None = None
    dendrites: Dendrites | None = None


class Delays(Section):
    """``max``: the longest delay of an edge, emission to integration, in ticks."""

    max: Count[Literal["ticks"]]


class Spikes(Section):
    """``counts``: every packet that hits an axon in a tick counts; ``payload``: width of a graded value."""

    counts: bool
    payload: Bits


class Processors(Section):
    """Embedded processors of a chip and the routers they hang on.

    ``mac_array``: each is a core like those of ``core.software``, with its matrix unit.
    """

    count: Count[Literal["processors"]]
    routers: Places
    clock: Frequency
    mac_array: bool | None = None


class EncoderPlace(Section):
    """Where analog input becomes integer currents, and how those reach the first neurons.

    ``where: host``: the host convolves; ``core``: the input's values travel as payloads to the cores of the first
    neurons, whose synapses multiply. ``also``: the other place, for models that the first does not take exactly, and
    for users who ask for it.

    ``delivery``, of what the host convolves: ``registers`` (also if absent) are written; ``spikes``: the host computes
    the first neurons, too, and sends their spikes, because no register can be written while the chip runs.
    """

    where: EncoderHome
    also: EncoderHome | None = None
    delivery: Literal["registers", "spikes"] | None = None

    @property
    def places(self) -> tuple[EncoderHome, ...]:
        """Every place, the preferred one first."""
        return (self.where,) if self.also in (None, self.where) else (self.where, self.also)


class ReadoutPlace(Section):
    """Where the last linear layer adds up: in membranes that the host reads, or on the host from the last spikes."""

    where: Literal["membrane", "host"]


class TickRule(Section):
    """``barrier``: a tick lasts as long as its work, then a barrier; ``fixed``: it lasts ``tick``, come what may.

    ``shortest``: the shortest fixed tick that was shown to work. ``continuous``: there are no ticks, time is physical
    and runs ``speedup`` times faster than the biology it models; such a chip is described, never simulated.
    """

    kind: Literal["barrier", "fixed", "continuous"]
    tick: Time | None = None
    shortest: Time | None = None
    speedup: Count[Literal["times"]] | None = None
