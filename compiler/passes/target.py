"""What the passes must know of the chip, and what a pass is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Protocol

from compiler.ir.graph import Graph
from compiler.passes.units import Levels
from neurochip.chip.sections import EncoderHome
from neurochip.network.arithmetic import Arithmetic


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """The integers a chip computes with.

    Attributes:
        arithmetic: widths of bias, threshold and membrane registers.
        weight_low, weight_high: smallest and largest synaptic weight, e.g. -128 and 127.
        weight_zero: whether 0 is a weight; a single bit is -1 or +1.
        shift_low, shift_high: synaptic weights may be shifted by these and all numbers between.
        dendrites: most compartments of a neuron whose currents join by their maximum or sum; 0 = none.
        per_neuron_threshold: a threshold for each neuron; no pass uses it yet, as a ``Neuron`` op has a single one.
        encoder_weight_bits: signed width of the first layer's weights, where the host computes that layer.
        input_bits: width of the quantised analog input.
        approximate: what need not be exact, as the user chose: ``leak`` = a leak of another kind than the chip's.
        encoder: where the first layer reads analog input: ``host``, or ``core``, where synapses multiply its values.
        host_neurons: the host computes the neurons behind the analog input, too, so that no bias register limits them.
    """

    arithmetic: Arithmetic
    weight_low: int
    weight_high: int
    weight_zero: bool = True
    shift_low: int = 0
    shift_high: int = 13
    dendrites: int = 0
    per_neuron_threshold: bool = False
    encoder_weight_bits: int = 8
    input_bits: int = 8
    approximate: tuple[str, ...] = ()
    host_neurons: bool = False
    encoder: EncoderHome = "host"

    @property
    def levels(self) -> Levels:
        """The whole numbers that a synaptic weight can be."""
        return Levels(self.weight_low, self.weight_high, self.weight_zero)


class Pass(Protocol):
    """A rewriting of graphs; its docstring states what it requires, what it ensures and its source."""

    name: ClassVar[str]

    def run(self, graph: Graph, target: Target) -> Graph:
        """The rewritten graph; raises UnsupportedError naming the node and a remedy."""
        ...
