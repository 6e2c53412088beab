"""Spiking neurons."""

from __future__ import annotations

from dataclasses import dataclass
from math import isfinite
from typing import ClassVar, Literal

import numpy as np

from compiler.ir.ops.base import Floats, Op, sole
from compiler.ir.types import TensorType
from neurochip.errors import GraphError


@dataclass(frozen=True, slots=True, kw_only=True)
class Neuron(Op):
    """Integrate-and-fire neurons: charge, fire, reset, once a step; the membrane starts at v0.

    With v0 = ``v_reset`` (0 under soft reset), evaluated in this order of operations:

    - charge: ``v = v + x`` if ``tau`` is None;
      ``v = v + (x - (v - v0)) / tau`` if ``decay_input``; else ``v = v - (v - v0) / tau + x``;
    - fire: ``s = v >= threshold`` (``fires="ge"``) or ``v > threshold`` (``"gt"``);
    - reset where s: ``v = v_reset`` (``reset="hard"``) or ``v = v - threshold`` (``"soft"``).

    Attributes:
        tau: membrane time constant in steps, >= 1; None = no leak (IF); 1 = no memory.
        decay_input: the input is divided by tau, too.
        threshold: in units of the input.
    Source: Fang et al. 2023, "SpikingJelly", Science Advances 9, eadi1480 (IFNode, LIFNode).
    """

    mnemonic: ClassVar[str] = "neuron"
    per_step: ClassVar[bool] = True
    is_neuron: ClassVar[bool] = True
    tau: float | None = 2.0
    decay_input: bool = True
    threshold: float = 1.0
    fires: Literal["ge", "gt"] = "ge"
    reset: Literal["hard", "soft"] = "hard"
    v_reset: float = 0.0

    @property
    def rest(self) -> float:
        """v0: the membrane at the start, and what it decays to."""
        return self.v_reset if self.reset == "hard" else 0.0

    def infer(self, *types: TensorType) -> TensorType:
        x = sole(types)
        if not x.timed:
            raise GraphError("a neuron needs a value for every time step, got one after a mean over time")
        if self.tau is not None and not (self.tau >= 1 and isfinite(self.tau)):
            raise GraphError(f"expected tau >= 1 or none, got {self.tau}")
        if not (isfinite(self.threshold) and isfinite(self.v_reset)):
            raise GraphError(f"expected a finite threshold and v_reset, got {self.threshold} and {self.v_reset}")
        if self.fires not in ("ge", "gt"):
            raise GraphError(f"expected fires to be 'ge' or 'gt', got {self.fires!r}")
        if self.reset not in ("hard", "soft"):
            raise GraphError(f"expected reset to be 'hard' or 'soft', got {self.reset!r}")
        if self.reset == "soft" and self.v_reset != 0:
            raise GraphError(f"expected v_reset 0 with a soft reset, got {self.v_reset}")
        return TensorType.spikes(x.shape)

    def charge(self, v: Floats, x: Floats) -> Floats:
        """The membrane after one step's input, before it fires."""
        if self.tau is None:
            return v + x
        if self.decay_input:
            return v + (x - (v - self.rest)) / self.tau
        return v - (v - self.rest) / self.tau + x

    def reference(self, *xs: Floats) -> Floats:
        (x,) = xs
        spikes = np.empty(x.shape)
        v = np.full(x.shape[1:], self.rest)
        for t in range(len(x)):
            v = self.charge(v, x[t])
            fired = v >= self.threshold if self.fires == "ge" else v > self.threshold
            spikes[t] = fired
            if self.reset == "hard":
                np.copyto(v, self.v_reset, where=fired)
            else:
                v -= self.threshold * fired
        return spikes
