"""A chip description as a frozen value: limits, rules and costs, each figure with its source."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import Field, model_validator
from pydantic_core import PydanticCustomError

from neurochip.chip.abilities import AttentionUnit, BiasPlace, Learning, MacArray
from neurochip.chip.costs import Costs
from neurochip.chip.profiles import Profile, assumptions, figures
from neurochip.chip.quantity import Section
from neurochip.chip.rules import problems
from neurochip.chip.sections import (
    AttentionMethod,
    Boards,
    Core,
    Delays,
    EncoderPlace,
    Mesh,
    NeuronRules,
    Processors,
    ReadoutPlace,
    Spikes,
    TickRule,
    Weights,
)
from neurochip.chip.suggest import did_you_mean
from neurochip.chip.yaml_writer import write_yaml
from neurochip.errors import ChipError
from neurochip.network.arithmetic import Arithmetic

Key = Annotated[str, Field(pattern=r"^[A-Za-z][A-Za-z0-9_.-]*$", max_length=64)]


@dataclass(frozen=True, slots=True, kw_only=True)
class CoreLimits:
    """What one core holds, as plain integers.

    ``header_bits``, ``index_bits``, ``delay_bits``, ``tag_bits`` and ``block_synapses`` describe synapse lists as
    ``sections.SynapseMemory`` says. ``fan_out_per_neuron`` is ``None`` where only ``output_axons`` limits it, and
    ``fan_in_per_neuron`` where only ``input_axons`` does. ``axon_types`` is 0 unless synapses are the bits of a
    crossbar; ``axon_type_bits`` is the signed width of a type's weight.
    """

    neurons: int
    input_axons: int
    output_axons: int
    fan_out_per_neuron: int | None
    synapse_words: int
    word_bits: int
    header_bits: int
    block_synapses: int
    index_bits: int
    delay_bits: int
    tag_bits: int
    fan_in_per_neuron: int | None = None
    axon_types: int = 0
    axon_type_bits: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class WeightFormat:
    """A signed weight of ``bits``: ``low <= w <= high``; the membrane receives ``(sum of w) << shift``.

    ``shift_low <= shift <= shift_high``; the weight occupies ``stored_bits`` in synapse memory. A single bit is -1 or
    +1: without ``zero``, lists leave out synapses of weight 0.
    """

    bits: int
    low: int
    high: int
    shift_low: int
    shift_high: int
    stored_bits: int

    @property
    def zero(self) -> bool:
        """Whether a synapse can have the weight 0."""
        return self.bits > 1


class ChipSpec(Section):
    """One chip, as its YAML file describes it. Load with ``neurochip.chip.load.load_chip``.

    Attributes are the sections of the file; the properties below give the plain numbers other modules use.
    """

    schema_: Annotated[Literal["neurochip/1"], Field(alias="schema")]
    name: Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]*$", max_length=64)]
    title: Annotated[str, Field(min_length=1)]
    description: Annotated[str, Field(min_length=1)]
    not_modelled: tuple[str, ...]
    sources: Annotated[dict[Key, Annotated[str, Field(min_length=1)]], Field(min_length=1)]
    mesh: Mesh
    boards: Boards
    core: Core
    weights: Weights
    neuron: NeuronRules
    delays: Delays
    spikes: Spikes
    embedded_processors: Processors | None = None
    attention_unit: AttentionUnit | None = None
    learning: Learning | None = None
    attention: tuple[AttentionMethod, ...]
    encoder: EncoderPlace
    readout: ReadoutPlace | None = None
    time: TickRule
    profiles: Annotated[dict[Key, Profile], Field(min_length=1)]
    default_profile: str

    @model_validator(mode="after")
    def _consistent(self) -> ChipSpec:
        found = tuple(problems(self))
        if found:
            text = "; ".join(f"{'.'.join(map(str, path))}: {message}" for path, message in found)
            raise PydanticCustomError("chip", "{text}", {"text": text, "problems": found})
        return self

    @property
    def limits(self) -> CoreLimits:
        """The limits of one core."""
        memory = self.core.synapse_memory
        fan_out, fan_in = self.core.fan_out_per_neuron, self.core.fan_in_per_neuron
        types = self.core.axon_types
        return CoreLimits(
            neurons=self.core.neurons.value,
            input_axons=self.core.input_axons.value,
            output_axons=self.core.output_axons.value,
            fan_out_per_neuron=None if fan_out is None else fan_out.value,
            synapse_words=memory.words.value,
            word_bits=memory.word.value,
            header_bits=memory.header.value,
            block_synapses=memory.block.value,
            index_bits=memory.index.value,
            delay_bits=memory.delay.value,
            tag_bits=memory.tag.value,
            fan_in_per_neuron=None if fan_in is None else fan_in.value,
            axon_types=0 if types is None else types.count.value,
            axon_type_bits=0 if types is None else types.weight.value,
        )

    @property
    def max_compartments(self) -> int:
        """Most compartments of a neuron whose currents join by their maximum; 0 where there are no such dendrites."""
        dendrites = self.neuron.dendrites
        return dendrites.compartments.value if dendrites is not None and "max" in dendrites.joins else 0

    @property
    def mesh_columns(self) -> int:
        """Router columns of one chip."""
        return self.mesh.columns.value

    @property
    def mesh_rows(self) -> int:
        """Router rows of one chip."""
        return self.mesh.rows.value

    @property
    def cores_per_router(self) -> int:
        """Neuron cores on each router."""
        return self.mesh.cores_per_router.value

    @property
    def cores_per_chip(self) -> int:
        """Neuron cores of one chip."""
        return self.mesh_columns * self.mesh_rows * self.cores_per_router

    @property
    def max_chips(self) -> int:
        """Chips that one system can join."""
        return self.boards.max_chips.value

    @property
    def chip_columns(self) -> int:
        """Columns of the grid of chips."""
        return self.boards.columns.value

    @property
    def chip_rows(self) -> int:
        """Rows of the grid of chips."""
        return self.boards.rows.value

    @property
    def ring_routers(self) -> tuple[int, int]:
        """Routers once round a torus of all chips along x and y; 0 where no link closes the rows and columns."""
        if self.mesh.topology == "mesh":
            return 0, 0
        return self.mesh_columns * self.chip_columns, self.mesh_rows * self.chip_rows

    @property
    def weight_sharing(self) -> bool:
        """Whether several positions of a tile can use one stored copy of their weights."""
        return self.core.weight_sharing

    @property
    def weight_bits(self) -> tuple[int, ...]:
        """Weight widths the chip can use, sign included, ascending."""
        return self.weights.widths.value

    @property
    def default_weight_bits(self) -> int:
        """The width used unless the user asks for another."""
        return self.weights.default.value

    @property
    def arithmetic(self) -> Arithmetic:
        """The integer rules of a neuron update."""
        return self.neuron.arithmetic

    @property
    def max_delay(self) -> int:
        """Longest delay of an edge, emission to integration, in ticks."""
        return self.delays.max.value

    @property
    def processors(self) -> tuple[tuple[int, int], ...]:
        """Router (column, row) of each embedded processor of a chip; empty if there are none."""
        return () if self.embedded_processors is None else self.embedded_processors.routers.value

    @property
    def mac_array(self) -> MacArray | None:
        """The matrix unit of every neuron core, which multiplies payloads by weights; None where there is none."""
        return None if self.core.software is None else self.core.software.mac_array

    @property
    def processors_multiply(self) -> bool:
        """Whether embedded processors have that matrix unit, too."""
        processors = self.embedded_processors
        return self.mac_array is not None and processors is not None and bool(processors.mac_array)

    @property
    def activation_bits(self) -> int:
        """Widest payload that synapses multiply; 0 where they do not."""
        modes, array = self.core.modes, self.mac_array
        bits = self.spikes.payload.value
        bits = bits if modes is None else min(bits, modes.activation.value if "graded" in modes.kinds else 0)
        return bits if array is None else min(bits, max(array.operands.value))

    @property
    def one_mode_a_core(self) -> bool:
        """Whether the inputs of a core must all be spikes or all be payloads."""
        return self.core.modes is not None and len(set(self.core.modes.kinds)) > 1

    @property
    def reads_out_on_host(self) -> bool:
        """Whether the host adds up the last linear layer, because nothing but spikes leaves the chip."""
        return self.readout is not None and self.readout.where == "host"

    @property
    def bias_places(self) -> tuple[BiasPlace, ...]:
        """Where a neuron's bias can live, the chip's preference first."""
        if self.neuron.bias is not None:
            return self.neuron.bias
        return ("axon", "register") if self.arithmetic.bias_bits else ("axon",)

    @property
    def refusal(self) -> str | None:
        """Why no model can be compiled for or simulated on this chip; ``None`` where it can."""
        if self.time.kind != "continuous":
            return None
        return (
            f"chip '{self.name}' computes in continuous time: its membranes are voltages that change between "
            "spikes, so there is no tick to simulate and no integer to reproduce. Its capacity, precision and energy "
            f"are described (neurochip chips show {self.name}); choose a chip with ticks"
        )

    @property
    def attention_methods(self) -> tuple[AttentionMethod, ...]:
        """Ways this chip can compute spiking attention."""
        return self.attention

    @property
    def profile_names(self) -> tuple[str, ...]:
        """Names of the cost profiles, in file order."""
        return tuple(self.profiles)

    @property
    def assumed(self) -> tuple[str, ...]:
        """Figures outside the profiles that no source gives, one line each."""
        listed = tuple((path, figure) for path, figure in figures(self) if path[0] != "profiles")
        return tuple(assumptions(listed))

    @property
    def digest(self) -> str:
        """SHA-256 (hex) of the canonical JSON; equal for equal descriptions, whatever their layout."""
        return hashlib.sha256(json.dumps(self._data(), sort_keys=True, separators=(",", ":")).encode()).hexdigest()

    def weight_format(self, bits: int | None = None) -> WeightFormat:
        """Range and shifts of signed weights of ``bits`` (default: the chip's); symmetric, so -2**(bits-1) is unused.

        Raises:
            ChipError: the chip has no weights of that width.
        """
        bits = self.default_weight_bits if bits is None else bits
        if bits not in self.weight_bits:
            widths = ", ".join(map(str, self.weight_bits))
            raise ChipError(
                f"chip '{self.name}' has no {bits}-bit weights; choose one of {widths} bits (sign included)"
            )
        shift = self.weights.base_shift.value + max(0, self.weights.aligned.value - bits)
        low_exponent, high_exponent = self.weights.exponent.value
        high = max(1, 2 ** (bits - 1) - 1)
        types = self.core.axon_types
        if types is not None:  # the base {1, 2, ..., -2**(bits-1)} << shift must fit a type's weight
            high_exponent = min(high_exponent, types.weight.value - bits - shift)
        if self.weights.field is not None:
            high_exponent = min(high_exponent, self.weights.field.value - bits)
        return WeightFormat(
            bits=bits,
            low=-high,
            high=high,
            shift_low=max(0, shift + low_exponent),
            shift_high=max(0, shift + high_exponent),
            stored_bits=1 if types is not None else min(width for width in self.weights.stored.value if width >= bits),
        )

    def costs(self, profile: str | None = None) -> Costs:
        """The costs of one profile (default: ``default_profile``) in pJ, ns and mW.

        Raises:
            ChipError: no such profile.
        """
        name = self.default_profile if profile is None else profile
        if name not in self.profiles:
            raise ChipError(
                f"chip '{self.name}' has no profile '{name}'{did_you_mean(name, self.profiles)}; "
                f"it has: {', '.join(self.profiles)}"
            )
        array = self.mac_array
        return self.profiles[name].plain(name, self.assumed, None if array is None else array.mac_ns)

    def to_json(self) -> str:
        """The whole description; ``ChipSpec.model_validate_json`` restores an equal one."""
        return self.model_dump_json(by_alias=True, indent=1)

    def to_yaml(self) -> str:
        """The whole description as a chip file (comments are not kept); ``parse_chip`` restores an equal one."""
        return write_yaml(self._data())

    def _data(self) -> dict[str, Any]:
        # Absent optional parts are left out, so that a later optional key does not change the digest of today's files.
        data: dict[str, Any] = _stated(self.model_dump(mode="json", by_alias=True))
        return data

    def __repr__(self) -> str:
        return (
            f"ChipSpec({self.name!r}: {self.cores_per_chip} cores of {self.limits.neurons} neurons on "
            f"{self.mesh_columns} x {self.mesh_rows} routers, up to {self.max_chips} chips, "
            f"profiles {', '.join(self.profiles)})"
        )

    __str__ = __repr__


def _stated(part: Any) -> Any:
    """``part`` without absent options and empty notes; figures start with their value."""
    if isinstance(part, list):
        return [_stated(item) for item in part]
    if not isinstance(part, dict):
        return part
    keys = sorted(part, key=lambda key: {"value": 0, "unit": 1}.get(key, 2))
    return {key: _stated(part[key]) for key in keys if key == "value" or part[key] not in (None, "")}
