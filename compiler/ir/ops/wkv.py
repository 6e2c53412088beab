"""The recurrence of RWKV, which stands in for attention in SpikeGPT."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from compiler.ir.ops.base import Floats, Op, Weights, check_array
from compiler.ir.types import TensorType
from neurochip.errors import GraphError


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Wkv(Op):
    """The mean of v over all steps so far, weighted by exp(k) and by age; inputs k and v (..., C).

    ``y[t] = (exp(u + k[t]) v[t] + sum_{i<t} exp(k[i] + (t - 1 - i) w) v[i])`` divided by the same without v,
    with ``w = -exp(decay)``.

    Attributes:
        decay: (C,), the logarithm of how fast earlier steps fade.
        first: (C,), u, added to k of the step itself.
    Source: Zhu et al. 2023, "SpikeGPT", arXiv:2302.13939, equations 6 and 7; RWKV-LM, version 2.
    """

    mnemonic: ClassVar[str] = "wkv"
    per_step: ClassVar[bool] = True
    decay: Weights
    first: Weights

    def infer(self, *types: TensorType) -> TensorType:
        if len(types) != 2 or not all(x.timed for x in types):
            raise GraphError("expected 2 inputs (k, v) with time steps")
        k, v = types
        if k.shape != v.shape or not k.shape:
            raise GraphError(f"expected k and v of one shape (..., C), got {k.shape} and {v.shape}")
        check_array("decay", self.decay, k.shape[-1:])
        check_array("first", self.first, k.shape[-1:])
        return TensorType(v.shape, low=v.low, high=v.high)

    def reference(self, *xs: Floats) -> Floats:
        k, v = xs
        w, u = -np.exp(self.decay.astype(np.float64)), self.first.astype(np.float64)
        y = np.empty(v.shape)
        # Numerator and denominator are kept divided by exp(scale), so that nothing overflows.
        top, bottom, scale = np.zeros(v.shape[1:]), np.zeros(v.shape[1:]), np.full(v.shape[1:], -np.inf)
        for t in range(len(v)):
            now = u + k[t]
            largest = np.maximum(scale, now)
            old, new = np.exp(scale - largest), np.exp(now - largest)
            y[t] = (old * top + new * v[t]) / (old * bottom + new)
            largest = np.maximum(scale + w, k[t])
            old, new = np.exp(scale + w - largest), np.exp(k[t] - largest)
            top, bottom, scale = old * top + new * v[t], old * bottom + new, largest
        return y
