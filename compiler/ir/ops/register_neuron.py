"""Neurons in the integer arithmetic of a chip."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np

from compiler.ir.ops.base import Floats, Op, sole
from compiler.ir.types import TensorType
from neurochip.errors import GraphError
from neurochip.network.arithmetic import Arithmetic
from neurochip.network.network import Neuron as Registers
from neurochip.network.reference import bounded, update


@dataclass(frozen=True, slots=True, kw_only=True)
class RegisterNeuron(Op):
    """A neuron as a chip computes it where its registers cannot hold what ``Neuron`` computes exactly.

    The whole current enters as ``x << shift``; leak, integration, overflow, comparison and reset follow the chip.

    Attributes:
        decay, threshold, reset, threshold_offset: registers; see ``neurochip.network.network.Neuron``.
        rules: what differs from the default ``Arithmetic``, as JSON.
    """

    mnemonic: ClassVar[str] = "register_neuron"
    per_step: ClassVar[bool] = True
    is_neuron: ClassVar[bool] = True
    shift: int
    decay: int
    threshold: int
    reset: Literal["hard", "soft"] = "hard"
    threshold_offset: int = 0
    rules: str = "{}"

    @property
    def registers(self) -> Registers:
        """The registers of the population."""
        return Registers(
            kind="lif", decay=self.decay, threshold=self.threshold, reset=self.reset,
            threshold_offset=self.threshold_offset,
        )  # fmt: skip

    def infer(self, *types: TensorType) -> TensorType:
        x = sole(types)
        if not (x.timed and x.integer):
            raise GraphError(f"expected whole currents for every time step, got {x}")
        if not 0 <= self.shift <= 32 or self.decay < 0:
            raise GraphError(f"expected a shift of 0 to 32 and a decay >= 0, got {self.shift} and {self.decay}")
        return TensorType.spikes(x.shape)

    def reference(self, *xs: Floats) -> Floats:
        (x,) = xs
        rules, neuron = Arithmetic.model_validate_json(self.rules), self.registers
        spikes = np.empty(x.shape)
        membrane = np.zeros(x.shape[1:], np.int64)
        for t in range(len(x)):
            raw = np.rint(x[t]).astype(np.int64) << self.shift
            current, _ = bounded(raw, rules.current_bits, rules.current_overflow)
            spikes[t], membrane, _ = update(neuron, rules, membrane, current)
        return spikes
