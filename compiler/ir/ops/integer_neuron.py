"""Neurons that fire several spikes in one step."""

from __future__ import annotations

from dataclasses import dataclass
from math import inf, isfinite
from typing import ClassVar, Literal

import numpy as np

from compiler.ir.ops.base import Floats, Op, sole
from compiler.ir.types import TensorType
from neurochip.errors import GraphError


@dataclass(frozen=True, slots=True, kw_only=True)
class IntegerNeuron(Op):
    """Neurons that fire as many spikes at once as their membrane has quanta: charge, round, subtract.

    With v = 0 at the start, once a step:

    - charge: ``v = decay * v + gain * x``;
    - fire: ``k = clip(round(v / quantum), 0, levels)`` spikes, rounding half to ``even``, half ``up``, or ``down``;
    - reset: ``v = v - k * subtract``, then ``v = max(v, floor)`` if there is a ``floor``.

    Attributes:
        levels: most spikes of one step; None = no limit.
        decay: 0 = no memory, 1 = no leak.
        quantum, subtract: in units of the membrane; quantum > 0.
    Source: Yao et al. 2025, "Scaling Spike-driven Transformer", arXiv:2411.16061, section IV (integer training, decay 0
        or 1); Sinabs' MultiSpike (rounding down).
    """

    mnemonic: ClassVar[str] = "integer_neuron"
    per_step: ClassVar[bool] = True
    is_neuron: ClassVar[bool] = True
    levels: int | None = 4
    rounding: Literal["even", "up", "down"] = "even"
    decay: float = 0.0
    gain: float = 1.0
    quantum: float = 1.0
    subtract: float = 1.0
    floor: float | None = None

    def infer(self, *types: TensorType) -> TensorType:
        x = sole(types)
        if not x.timed:
            raise GraphError("a neuron needs a value for every time step, got one after a mean over time")
        if self.levels is not None and self.levels < 1:
            raise GraphError(f"expected levels >= 1 or none, got {self.levels}")
        if self.rounding not in ("even", "up", "down"):
            raise GraphError(f"expected rounding to be 'even', 'up' or 'down', got {self.rounding!r}")
        if not (isfinite(self.quantum) and self.quantum > 0):
            raise GraphError(f"expected a finite quantum > 0, got {self.quantum}")
        if not (0 <= self.decay <= 1 and isfinite(self.gain) and isfinite(self.subtract)):
            raise GraphError("expected decay in 0..1 and a finite gain and subtract")
        return TensorType(x.shape, integer=True, low=0, high=inf if self.levels is None else self.levels)

    def reference(self, *xs: Floats) -> Floats:
        (x,) = xs
        spikes = np.empty(x.shape)
        v = np.zeros(x.shape[1:])
        for t in range(len(x)):
            v = self.decay * v + self.gain * x[t] if self.decay else self.gain * x[t]
            spikes[t] = np.clip(self._rounded(v / self.quantum), 0, self.levels)
            v = v - spikes[t] * self.subtract
            if self.floor is not None:
                v = np.maximum(v, self.floor)
        return spikes

    def _rounded(self, quanta: Floats) -> Floats:
        if self.rounding == "even":
            return np.rint(quanta)
        return np.floor(quanta + 0.5) if self.rounding == "up" else np.trunc(quanta)
