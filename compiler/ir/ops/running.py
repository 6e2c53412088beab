"""What depends on earlier steps without being a neuron: sums, differences and delays in time."""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import inf
from typing import ClassVar

import numpy as np

from compiler.ir.ops.affine import check_repeats
from compiler.ir.ops.base import Floats, Op, Weights, sole
from compiler.ir.types import TensorType
from neurochip.errors import GraphError


@dataclass(frozen=True, slots=True, kw_only=True)
class Accumulate(Op):
    """The sum of all steps so far, or their ``mean``: ``y[t] = sum of x[0..t]``, divided by t + 1.

    Source: Huang et al. 2024, arXiv:2502.21193, section 4.1: the input of expectation compensation (mean).
    """

    mnemonic: ClassVar[str] = "accumulate"
    per_step: ClassVar[bool] = True
    mean: bool = False

    def infer(self, *types: TensorType) -> TensorType:
        x = _timed(types)
        if self.mean:
            return replace(x, integer=False)
        return replace(x, low=0 if x.low >= 0 else -inf, high=0 if x.high <= 0 else inf)

    def reference(self, *xs: Floats) -> Floats:
        (x,) = xs
        total = np.cumsum(x, axis=0)
        return total / _numbers(x) if self.mean else total


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Filter(Op):
    """A sum that fades: ``y[t] = decay * y[t-1] + x[t]``, y before the start 0. A synaptic current, a leaky readout.

    Attributes:
        decay: 0..1; a number, or an array with as many axes as ``shape``, each as long or of size 1.
    """

    mnemonic: ClassVar[str] = "filter"
    per_step: ClassVar[bool] = True
    decay: float | Weights

    def infer(self, *types: TensorType) -> TensorType:
        x = _timed(types)
        if isinstance(self.decay, np.ndarray):
            check_repeats("decay", self.decay, x)
        largest, smallest = float(np.max(self.decay)), float(np.min(self.decay))
        if not 0 <= smallest <= largest <= 1:
            raise GraphError(f"expected decay in 0..1, got {self.decay}")
        longest = inf if largest == 1 else 1 / (1 - largest)
        low, high = (0.0 if bound == 0 else bound * longest for bound in (min(x.low, 0), max(x.high, 0)))
        return TensorType(x.shape, low=low, high=high)

    def reference(self, *xs: Floats) -> Floats:
        (x,) = xs
        y = np.array(x)
        for t in range(1, len(x)):
            y[t] += self.decay * y[t - 1]
        return y


@dataclass(frozen=True, slots=True, kw_only=True)
class Increment(Op):
    """What a step adds: ``y[t] = x[t] - x[t-1]``, or ``(t+1) x[t] - t x[t-1]`` of a ``mean``; x before the start is 0.

    The inverse of ``Accumulate``. Around a function F of the accumulated value it is the expectation compensation of F.
    Source: Huang et al. 2024, arXiv:2502.21193, equations 9 to 12; You et al. 2024, arXiv:2406.03470, section 3.3.
    """

    mnemonic: ClassVar[str] = "increment"
    per_step: ClassVar[bool] = True
    mean: bool = False

    def infer(self, *types: TensorType) -> TensorType:
        x = _timed(types)
        if self.mean:
            return TensorType(x.shape)
        return replace(x, low=x.low - max(x.high, 0), high=x.high - min(x.low, 0))

    def reference(self, *xs: Floats) -> Floats:
        (x,) = xs
        total = x * _numbers(x) if self.mean else x
        return np.diff(total, axis=0, prepend=np.zeros((1, *x.shape[1:])))


@dataclass(frozen=True, slots=True, kw_only=True)
class Delay(Op):
    """The value of the step before, 0 in the first: ``y[t] = x[t-1]``."""

    mnemonic: ClassVar[str] = "delay"
    per_step: ClassVar[bool] = True

    def infer(self, *types: TensorType) -> TensorType:
        x = _timed(types)
        return replace(x, low=min(x.low, 0), high=max(x.high, 0))

    def reference(self, *xs: Floats) -> Floats:
        (x,) = xs
        return np.concatenate([np.zeros((1, *x.shape[1:])), x[:-1]])


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Onset(Op):
    """Add a constant in the first step only: ``y[0] = x[0] + offset``.

    Attributes:
        offset: with as many axes as ``shape``, each as long or of size 1.
    """

    mnemonic: ClassVar[str] = "onset"
    per_step: ClassVar[bool] = True
    offset: Weights

    def infer(self, *types: TensorType) -> TensorType:
        x = _timed(types)
        check_repeats("offset", self.offset, x)
        offset = self.offset.astype(np.float64)
        low, high = x.low + min(float(offset.min()), 0), x.high + max(float(offset.max()), 0)
        return TensorType(x.shape, low=low, high=high)

    def reference(self, *xs: Floats) -> Floats:
        (x,) = xs
        y = x.copy()
        y[0] += self.offset.astype(np.float64)
        return y


@dataclass(frozen=True, slots=True, kw_only=True)
class Step(Op):
    """The value of the step ``index`` alone, counted from 0, or from the last one backwards if < 0; untimed."""

    mnemonic: ClassVar[str] = "step"
    per_step: ClassVar[bool] = True
    index: int

    def infer(self, *types: TensorType) -> TensorType:
        return replace(_timed(types), timed=False)

    def reference(self, *xs: Floats) -> Floats:
        (x,) = xs
        if not -len(x) <= self.index < len(x):
            raise GraphError(f"there is no step {self.index} of {len(x)}")
        value: Floats = x[self.index][None]
        return value


def _timed(types: tuple[TensorType, ...]) -> TensorType:
    x = sole(types)
    if not x.timed:
        raise GraphError("expected a value with time steps, got one after a mean over time")
    return x


def _numbers(x: Floats) -> Floats:
    """1, 2, ..., T along the time axis."""
    return np.arange(1.0, len(x) + 1).reshape(-1, *[1] * (x.ndim - 1))
