"""Neurons of converted networks, with spikes of both signs."""

from __future__ import annotations

from dataclasses import dataclass
from math import isfinite
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from compiler.ir.ops.base import Floats, Op, sole
from compiler.ir.types import TensorType
from neurochip.errors import GraphError


@dataclass(frozen=True, slots=True, kw_only=True)
class MultiThresholdNeuron(Op):
    """Neurons with ``levels`` thresholds of either sign, each twice the one below; at most one fires a step.

    With v = 0 at the start, ``v = v + x``; then from the largest level p down to 1 the first pair is looked for with
    ``v >= positive * (2^(p-1) - 1/2)`` or ``-v >= negative * (2^(p-1) - 1/2)``. The result, the value of the spike, is
    ``positive * 2^(p-1)`` or ``-negative * 2^(p-1)``, or the sum of both where both hold; 0 if there is none. It is
    subtracted from v.

    Attributes:
        positive, negative: the smallest threshold of either sign (calibration may make them <= 0).
        levels: n >= 1.
    Source: Huang et al. 2024, "Towards High-performance Spiking Transformers from ANN to SNN Conversion", ACM MM,
        arXiv:2502.21193, section 4.2 and the authors' code.
    """

    mnemonic: ClassVar[str] = "multi_threshold_neuron"
    per_step: ClassVar[bool] = True
    is_neuron: ClassVar[bool] = True
    positive: float
    negative: float
    levels: int = 8

    def infer(self, *types: TensorType) -> TensorType:
        x = sole(types)
        if not x.timed:
            raise GraphError("a neuron needs a value for every time step, got one after a mean over time")
        if not 1 <= self.levels <= 64:
            raise GraphError(f"expected 1 to 64 levels, got {self.levels}")
        if not (isfinite(self.positive) and isfinite(self.negative)):
            raise GraphError(f"expected finite thresholds, got {self.positive} and {self.negative}")
        up, down = (size * 2.0 ** (self.levels - 1) for size in (self.positive, -self.negative))
        return TensorType(x.shape, low=min(up, 0) + min(down, 0), high=max(up, 0) + max(down, 0))

    def spike_counts(self, y: Floats) -> Floats:
        return np.abs(np.sign(y))

    def level_counts(self, y: Floats) -> NDArray[np.int64]:
        """Spikes of each step and level, (T, 2 n): +n, -n, ..., +1, -1; y are values (T, B, ...) of this op."""
        sizes = [2.0**p for p in reversed(range(self.levels))]
        values = [value for size in sizes for value in (self.positive * size, -self.negative * size)]
        flat = y.reshape(len(y), -1)
        return np.stack([np.count_nonzero(flat == value, axis=1) for value in values], axis=1)

    def reference(self, *xs: Floats) -> Floats:
        (x,) = xs
        fired = np.zeros(x.shape)
        v = np.zeros(x.shape[1:])
        for t in range(len(x)):
            v = v + x[t]
            silent = np.ones(v.shape, dtype=bool)
            for p in reversed(range(self.levels)):
                up, down = self.positive * 2.0**p, self.negative * 2.0**p
                value = up * (v - up + self.positive / 2 >= 0) - down * (-v - down + self.negative / 2 >= 0)
                value = value * silent
                fired[t] += value
                silent &= value == 0
            v = v - fired[t]
        return fired


@dataclass(frozen=True, slots=True, kw_only=True)
class TernaryNeuron(Op):
    """Neurons that fire +1 or -1 and never emit more than ``high`` or less than ``low`` in all (ST-BIF).

    With q = 1/2 and s = 0 at the start: ``q = q + x / threshold``; +1 if q >= 1 and s < high, -1 if q < 0 and s > low;
    the spike is subtracted from q and added to s. After enough steps s is x rounded to low..high.

    Attributes:
        threshold: in units of the input.
        low, high: smallest and largest sum of spikes.
    Source: You et al. 2024, "SpikeZIP-TF", ICML, arXiv:2406.03470, section 3.2.
    """

    mnemonic: ClassVar[str] = "ternary_neuron"
    per_step: ClassVar[bool] = True
    is_neuron: ClassVar[bool] = True
    threshold: float
    low: int
    high: int

    def infer(self, *types: TensorType) -> TensorType:
        x = sole(types)
        if not x.timed:
            raise GraphError("a neuron needs a value for every time step, got one after a mean over time")
        if not isfinite(self.threshold) or self.threshold == 0:
            raise GraphError(f"expected a finite threshold other than 0, got {self.threshold}")
        if not self.low <= 0 <= self.high:
            raise GraphError(f"expected low <= 0 <= high, got {self.low} and {self.high}")
        return TensorType(x.shape, integer=True, low=-1, high=1)

    def spike_counts(self, y: Floats) -> Floats:
        return np.abs(y)

    def reference(self, *xs: Floats) -> Floats:
        (x,) = xs
        spikes = np.zeros(x.shape)
        q, total = np.full(x.shape[1:], 0.5), np.zeros(x.shape[1:])
        for t in range(len(x)):
            q = q + x[t] / self.threshold
            spikes[t] = 1.0 * ((q - 1 >= 0) & (total < self.high)) - ((q < 0) & (total > self.low))
            q -= spikes[t]
            total += spikes[t]
        return spikes
